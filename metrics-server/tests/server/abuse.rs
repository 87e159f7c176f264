//! Abuse by one socket: the server closes the connection or reads it more slowly, and no other viewer notices.
//!
//! `frames.rs` covers frames that break the protocol.

mod connections;
mod floods;
mod huge;
mod silence;

use std::time::Duration;

use metrics_server_testing::{FIN, TEXT, frame};
use serde_json::Value;

/// How many messages a socket may send at once.
const FRAMES: usize = 4_096;

/// Longer than any timeout for an action of a client.
const EVER: Duration = Duration::from_secs(3_600);

fn message(value: &Value) -> Vec<u8> {
    frame(FIN | TEXT, value.to_string().as_bytes())
}

//! A viewer who watches ten seconds of `intro`, rewinds, and watches five again: the messages from a player to a
//! server. `viewer.rs` encodes them.
//!
//! Start a server (`cargo run`), and run `cargo run -p examples --example player -- ws://127.0.0.1:3000/socket
//! HDsj3NfKQTNwn5Ix9g+cfQ==`, with the URL of the server's socket and a key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use examples::viewer::{Error, Viewer};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("name a socket, like ws://127.0.0.1:3000/socket, and a key".into());
    };
    // New for every session, and kept while it lasts: not in a cookie, and not in the storage of a browser.
    let session = format!("{:032x}", rand::random::<u128>());
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;

    let mut viewer = Viewer::join(&socket, &key, &session, "intro").await?;
    // A page that was offline sends its events later, with the times at which they happened. A repeated event counts
    // once if its time is the same.
    viewer.send(at(began, 0, json!({ "name": "play", "from": 0.0, "duration": 60.0 }))).await?;
    viewer.send(at(began, 10_000, json!({ "name": "pause", "to": 10.0 }))).await?;
    viewer.send(at(began, 10_000, json!({ "name": "pause", "to": 10.0 }))).await?;
    viewer.send(at(began, 12_000, json!({ "name": "play", "from": 5.0 }))).await?;
    viewer.send(at(began, 17_000, json!({ "name": "pause", "to": 10.0 }))).await?;
    viewer.leave().await
}

/// Returns the event at `after_ms` milliseconds after the session began.
fn at(began: Duration, after_ms: u64, mut event: Value) -> Value {
    event["timestamp"] = json!(began.as_millis() as u64 + after_ms);
    event
}

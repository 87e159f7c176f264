//! A viewer who watches ten seconds of `intro`, rewinds, and watches five again: what a player tells a server, message by
//! message. How the messages are made is in `viewer.rs`.
//!
//! Start a server (`cargo run`), and run it with
//! `cargo run -p examples --example player -- ws://127.0.0.1:3000/socket HDsj3NfKQTNwn5Ix9g+cfQ==`: the address of the
//! server's socket, and a key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use examples::viewer::{Error, Viewer};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("name a socket, like ws://127.0.0.1:3000/socket, and a key".into());
    };
    // New for every viewing, and kept while it lasts: not a cookie, and not in the storage of a browser.
    let session = format!("{:032x}", rand::random::<u128>());
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;

    let mut viewer = Viewer::join(&socket, &key, &session, "intro").await?;
    // A page that was offline tells later what happened, with the time at which it did. An event that is told twice
    // counts once, as long as its time is the same.
    viewer.tell(at(began, 0, json!({ "name": "play", "from": 0.0, "duration": 60.0 }))).await?;
    viewer.tell(at(began, 10_000, json!({ "name": "pause", "to": 10.0 }))).await?;
    viewer.tell(at(began, 10_000, json!({ "name": "pause", "to": 10.0 }))).await?;
    viewer.tell(at(began, 12_000, json!({ "name": "play", "from": 5.0 }))).await?;
    viewer.tell(at(began, 17_000, json!({ "name": "pause", "to": 10.0 }))).await?;
    viewer.leave().await
}

/// The event, so many milliseconds after the viewing began.
fn at(began: Duration, after_ms: u64, mut event: Value) -> Value {
    event["timestamp"] = json!(began.as_millis() as u64 + after_ms);
    event
}

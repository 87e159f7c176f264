//! The channel protocol, row by row: messages and their replies.

mod events;
mod joins;
mod serializers;
mod topics;
mod upgrade;

use metrics_server_testing::{Client, TestServer};
use serde_json::{Value, json};

const V1: &str = "";
const V2: &str = "vsn=2.0.0";

/// Runs a transcript on a new server: `>` is sent, `<` must be received, `KEY` is the key.
async fn check(version: &str, transcript: &str) {
    let server = TestServer::new().await;
    let mut client = server.connect_to(version).await;
    converse(&mut client, transcript).await;
}

async fn converse(client: &mut Client, transcript: &str) {
    let transcript = transcript.replace("KEY", &client.key);
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(sent) = line.strip_prefix("> ") {
            client.send_text(sent).await;
        } else {
            let expected: Value = serde_json::from_str(line.trim_start_matches("< ")).unwrap();
            assert_eq!(client.message().await, expected, "after {transcript}");
        }
    }
    client.is_quiet().await;
}

fn play(from: f64) -> Value {
    json!({ "name": "play", "from": from })
}

fn pause(to: f64) -> Value {
    json!({ "name": "pause", "to": to })
}

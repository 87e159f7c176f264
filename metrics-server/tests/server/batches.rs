//! Batches of events: counts, refusals, and repetitions.

mod bad;
mod counting;
mod senders;

use metrics_server_testing::{Answer, CHROME, Http, TestServer};
use serde_json::{Value, json};

/// The browser's timestamp of the start.
const START_MS: i64 = 1_718_000_000_000;

/// An event of session `s` on the video `intro`; `second` is its position and its time.
fn event(name: &str, second: f64) -> Value {
    json!({
        "name": name,
        "session_id": "s",
        "embed_id": "intro",
        "video_time": second,
        "duration": 60.1,
        "timestamp": START_MS + (second * 1_000.0) as i64,
        "source_url": "https://site.example/page?query",
        "component": "player",
    })
}

/// The event with a member replaced.
fn with(mut event: Value, member: &str, value: Value) -> Value {
    event[member] = value;
    event
}

/// The event without a member.
fn without(mut event: Value, member: &str) -> Value {
    event.as_object_mut().unwrap().remove(member).unwrap();
    event
}

/// A play and a pause `seconds` later.
fn viewing(seconds: f64) -> Vec<Value> {
    vec![event("play", 0.0), event("pause", seconds)]
}

/// A request with its key in the URL, as a page configures it.
fn batch(server: &TestServer, events: &[Value]) -> Http {
    let key: String = form_encode(&server.key);
    server
        .http("POST", &format!("/v1/events?key={key}"))
        .header("user-agent", CHROME)
        .json(&json!({ "events": events }))
}

fn form_encode(text: &str) -> String {
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[track_caller]
fn expect_accepted(answer: &Answer, accepted: u64) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({ "accepted": accepted, "rejected": [] }));
}

/// The event of a video with metadata.
fn described(event: Value) -> Value {
    with(event, "metadata", json!({ "course": { "id": 7, "tags": ["a", "b"] } }))
}

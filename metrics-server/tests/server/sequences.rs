//! Events that published clients send at the wrong time, and the seconds that their viewers watched.
//!
//! Each sequence was observed in a browser. Events over the websocket have no timestamps unless a test sets one, so the
//! server's clock counts, which the test sets by hand.

mod echoes;
mod jumps;
mod timing;

use Step::Close;
use metrics_server::Settings;
use metrics_server_testing::{CHROME, Client, Database, TestServer, soon};
use metrics_testing::WallClock;
use serde_json::{Value, json};

/// How far a view time may be from the seconds watched: players report their position four times a second.
const NEAR: f64 = 0.31;

/// An action of a page, and the milliseconds before it.
enum Step {
    Event(u32, Value),
    Close(u32),
}

fn play(wait_ms: u32, from: impl Into<Value>) -> Step {
    Step::Event(wait_ms, json!({ "name": "play", "from": from.into(), "duration": 60 }))
}

fn pause(wait_ms: u32, to: impl Into<Value>) -> Step {
    Step::Event(wait_ms, json!({ "name": "pause", "to": to.into(), "duration": 60 }))
}

fn event(wait_ms: u32, event: Value) -> Step {
    Step::Event(wait_ms, event)
}

/// The step in a video of another duration, in seconds.
fn lasting(duration: u32, step: Step) -> Step {
    match step {
        Step::Event(wait_ms, mut event) => {
            event["duration"] = duration.into();
            Step::Event(wait_ms, event)
        }
        close @ Step::Close(_) => close,
    }
}

/// An event with the player's timestamp in milliseconds.
fn stamped(wait_ms: u32, timestamp_ms: i64, mut event: Value) -> Step {
    event["timestamp"] = (1_718_000_000_000 + timestamp_ms).into();
    Step::Event(wait_ms, event)
}

struct Site {
    server: TestServer,
    clock: WallClock,
}

impl Site {
    async fn new() -> Self {
        let (database, clock) = (Database::new().await, WallClock::at(1_718_000_000_000));
        let store = database.open().await;
        let server = database.serve_at(clock.reader(), store, Settings::default(), 100).await;
        Self { server, clock }
    }

    /// Sends the steps over a websocket; after a close, waits until the server has noticed it.
    async fn play(&self, steps: Vec<Step>) {
        let mut client: Option<Client> = Some(self.server.connect().await);
        client.as_mut().unwrap().join("session:a", "intro").await;
        for step in steps {
            match step {
                Step::Event(wait_ms, event) => {
                    self.clock.pass_ms(wait_ms.into());
                    client.as_mut().expect("still open").event("session:a", &event).await;
                }
                Close(wait_ms) => {
                    self.clock.pass_ms(wait_ms.into());
                    client = None;
                    self.nobody_watches().await;
                }
            }
        }
    }

    /// Waits until the server has noticed the end of the connection, and its effects are durable. The count of
    /// `watching` does not show that: it excludes an instance whose last sign of life is more than 20 s ago.
    async fn nobody_watches(&self) {
        soon(async {
            loop {
                let answer = self.server.http("GET", "/metrics").send().await;
                let page = String::from_utf8(answer.body).unwrap();
                let is_none = |name: &str| page.lines().any(|line| line == format!("{name} 0"));
                if is_none("metrics_sessions_connected") && is_none("metrics_waiting_events") {
                    break;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Posts events as one batch: second, name, position and duration of each.
    async fn post(&self, events: &[(f64, &str, f64, f64)]) {
        let event = |&(second, name, position, duration): &(f64, &str, f64, f64)| {
            json!({
                "name": name, "session_id": "a", "embed_id": "intro", "video_time": position,
                "duration": duration, "timestamp": 1_718_000_000_000.0 + second * 1_000.0,
            })
        };
        let events: Vec<_> = events.iter().map(event).collect();
        self.post_events(&events).await;
    }

    async fn post_events(&self, events: &[Value]) -> Value {
        let key = self.server.key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let path = format!("/v1/events?key={key}");
        let request = self.server.http("POST", &path).header("user-agent", CHROME);
        let answer = request.json(&json!({ "events": events })).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The exported session.
    async fn session(&self) -> Value {
        let path = "/api/v1/export/sessions?identifier=intro&format=ndjson&minimum_watch_seconds=0";
        let answer = self.server.http("GET", path).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // The body is chunked, and one of its lines is the session.
        let body = String::from_utf8(answer.body).unwrap();
        let line = body.lines().find(|line| line.starts_with('{')).expect("a session");
        serde_json::from_str(line).unwrap()
    }

    #[track_caller]
    fn check(&self, right: f64) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let watched = self.server.watched("intro").await;
            assert_eq!(watched.plays, u64::from(0.0 < right), "{watched:?}, at {caller}");
            let off = (watched.seconds - right).abs();
            assert!(off <= NEAR, "{} and not {right}, at {caller}", watched.seconds);
        }
    }
}

/// Checks the view time of a session over the websocket, in seconds.
async fn check(right: f64, steps: Vec<Step>) {
    let site = Site::new().await;
    site.play(steps).await;
    site.check(right).await;
}

/// Checks the view time of a batch, in seconds, also after it is sent twice.
async fn check_batch(right: f64, events: &[(f64, &str, f64, f64)]) {
    let site = Site::new().await;
    site.post(events).await;
    site.check(right).await;
    site.post(events).await;
    site.check(right).await;
}

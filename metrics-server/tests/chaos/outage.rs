//! Viewers of a server whose database is unavailable for long.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::interval;

use metrics_server_testing::{Client, FIN, Seen, Server, TEXT, frame};

/// The event rate of all viewers together.
pub(crate) const EVENTS_PER_SECOND: u64 = 1_000;

/// The number of viewers, and the period at which each plays and pauses.
pub(crate) const VIEWERS: u64 = 100;
const EVERY: Duration = Duration::from_millis(200);

/// The length of each of their segments.
const LEN_S: f64 = 0.5;

/// Viewers who watch until the test ends them.
pub(crate) struct Audience {
    viewers: JoinSet<usize>,
    enough: watch::Sender<bool>,
}

impl Audience {
    pub(crate) async fn enter(server: &Server) -> Self {
        let (mut viewers, enough) = (JoinSet::new(), watch::Sender::new(false));
        for viewer in 0..VIEWERS {
            let topic = format!("session:{viewer}");
            let mut client = server.connect().await;
            client.join(&topic, "intro").await;
            viewers.spawn(view(client, topic, enough.subscribe()));
        }
        Self { viewers, enough }
    }

    /// Waits for `span` while the viewers watch. None of them may lose its connection.
    pub(crate) async fn go_on(&mut self, span: Duration) {
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            ended = self.viewers.join_next() => panic!("a viewer does not go on: {ended:?}"),
        }
    }

    /// Ends the viewers once every event is acknowledged. Returns the number of viewers, of their events, and of the
    /// seconds that they watched.
    pub(crate) async fn end(self) -> (u64, usize, f64) {
        self.enough.send_replace(true);
        let pairs: usize = self.viewers.join_all().await.into_iter().sum();
        (VIEWERS, 2 * pairs, LEN_S * pairs as f64)
    }
}

/// Plays and pauses at a steady pace, without waiting for replies; the server must acknowledge every event in the end.
/// Returns the number of pairs.
async fn view(client: Client, topic: String, enough: watch::Receiver<bool>) -> usize {
    let (mut reader, mut writer) = client.split();
    let answers = watch::Sender::new(0);
    let mut answered = answers.subscribe();
    let reading = tokio::spawn(async move {
        loop {
            let seen = reader.next_ever().await;
            let Seen::Text(text) = seen else { panic!("{seen:?} instead of an answer") };
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(message[4]["status"], "ok", "{text}");
            answers.send_modify(|answers| *answers += 1);
        }
    });
    let mut pace = interval(EVERY);
    let mut pairs = 0;
    while !*enough.borrow() {
        pace.tick().await;
        let from = pairs as f64;
        let events = [
            json!({ "name": "play", "from": from }),
            json!({ "name": "pause", "to": from + LEN_S }),
        ];
        for event in events {
            let message = json!(["1", "2", topic, "event", event]).to_string();
            writer.write_all(&frame(FIN | TEXT, message.as_bytes())).await.unwrap();
        }
        pairs += 1;
    }
    answered.wait_for(|answers| *answers == 2 * pairs).await.expect("an answer to everything");
    reading.abort();
    pairs
}

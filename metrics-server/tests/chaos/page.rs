//! A page with a player: it reports events as the published clients do, in any state of the server.
//!
//! Without a connection, or before its join, it buffers events; after the next join it sends them in a burst. Events
//! that were unacknowledged when a connection ended are not sent again, unless the page is one that repeats.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::events::{EventKind, RetryPolicy, acknowledge, event};
use super::ledger::{EventTimes, Ledger, Pair, STRIDE_MS, Sheet, lock};
use super::site::Running;
use metrics_server_testing::{CHROME, Client, FIN, Http, Seen, Server, TEXT, frame};

/// How long a browser waits for a server that does not answer. No server hangs for that long.
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// The delay before a client connects again.
const AGAIN: Duration = Duration::from_millis(50);

/// The state that all viewers share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) running: watch::Receiver<Running>,
    pub(crate) enough: watch::Receiver<bool>,
    /// How many times a viewer requested a server.
    pub(crate) requests: AtomicUsize,
}

impl Stage {
    pub(crate) fn is_enough(&self) -> bool {
        *self.enough.borrow()
    }

    /// Waits for a running server; of several, returns each in turn, like a proxy in front of them.
    pub(crate) async fn server(&self) -> Server {
        let mut running = self.running.clone();
        let running = running.wait_for(|it| !it.is_empty()).await.expect("a test that goes on");
        let index = self.requests.fetch_add(1, Ordering::Relaxed) % running.len();
        running.values().nth(index).expect("it is within the length").clone()
    }
}

/// An event, and its entry in the ledger.
#[derive(Clone, Debug)]
struct SentEvent {
    kind: EventKind,
    event: Value,
}

/// A connection, and the messages that it receives.
struct Link {
    seen: mpsc::UnboundedReceiver<Seen>,
    reading: JoinHandle<()>,
    writer: OwnedWriteHalf,
    joined: bool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// How a page's connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loss {
    /// The server sent a close frame.
    Closed,
    /// The connection ended without a close frame.
    Ended,
}

pub(crate) struct Page {
    stage: Arc<Stage>,
    pub(crate) sheet: Arc<Mutex<Sheet>>,
    retry_policy: RetryPolicy,
    topic: String,
    link: Option<Link>,
    linking: Option<JoinHandle<Option<Link>>>,
    unsent: VecDeque<SentEvent>,
    unanswered: VecDeque<(String, SentEvent)>,
    refs: u64,
    join_ref: String,
    // The error of the viewer's clock.
    skew_ms: i64,
    stamp_ms: i64,
}

impl Page {
    pub(crate) fn open(
        stage: &Arc<Stage>,
        sheet: Sheet,
        retry_policy: RetryPolicy,
        skew_ms: i64,
    ) -> Self {
        let topic = format!("session:{}", sheet.session);
        Self {
            stage: Arc::clone(stage),
            sheet: stage.ledger.open(sheet),
            retry_policy,
            topic,
            link: None,
            linking: None,
            unsent: VecDeque::new(),
            unanswered: VecDeque::new(),
            refs: 0,
            join_ref: String::new(),
            skew_ms,
            stamp_ms: 0,
        }
    }

    /// Plays from a new position, and returns the index of the new pair, which will be `len_ms` long.
    pub(crate) async fn play(&mut self, len_ms: u32) -> usize {
        let pair = {
            let mut sheet = lock(&self.sheet);
            let from_ms = STRIDE_MS * sheet.pairs.len() as u32;
            let times = EventTimes::default();
            sheet.pairs.push(Pair { from_ms, to_ms: from_ms + len_ms, play: times, pause: times });
            sheet.pairs.len() - 1
        };
        self.add(EventKind::Play(pair)).await;
        pair
    }

    /// Pauses, unless the server may have missed the play: it would count the pause to another play.
    pub(crate) async fn pause(&mut self, pair: usize) {
        if self.is_play_sent(pair) {
            self.add(EventKind::Pause(pair)).await;
        }
    }

    fn is_play_sent(&self, pair: usize) -> bool {
        let play = EventKind::Play(pair);
        lock(&self.sheet).pairs[pair].play.acknowledged.is_some()
            || self.unsent.iter().any(|sent| sent.kind == play)
            || self.unanswered.iter().any(|(_, sent)| sent.kind == play)
    }

    pub(crate) async fn add(&mut self, kind: EventKind) {
        // No two events of a player share a millisecond here, so that their order is known.
        self.stamp_ms =
            (chrono::Utc::now().timestamp_millis() + self.skew_ms).max(self.stamp_ms + 1);
        let stamp = (self.retry_policy != RetryPolicy::Plain).then_some(self.stamp_ms);
        let event = event(&mut lock(&self.sheet), kind, ["from", "to"], stamp);
        self.unsent.push_back(SentEvent { kind, event });
        self.flush().await;
    }

    /// Sends a heartbeat, as clients do every 30 s.
    pub(crate) async fn heartbeat(&mut self) {
        self.refs += 1;
        let heartbeat = json!([null, self.refs.to_string(), "phoenix", "heartbeat", {}]);
        self.send(&[heartbeat]).await;
    }

    pub(crate) fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether the page may close: it is joined, and every event is acknowledged.
    pub(crate) fn is_answered(&self) -> bool {
        self.unsent.is_empty()
            && self.unanswered.is_empty()
            && self.link.as_ref().is_some_and(|it| it.joined)
    }

    /// Waits for `span`, or less if the connection ends.
    pub(crate) async fn run_for(&mut self, span: Duration) -> Option<Loss> {
        let end = tokio::time::Instant::now() + span;
        loop {
            let before = self.link.is_some();
            tokio::select! {
                lost = self.step() => if let (true, Some(loss)) = (before, lost) { return Some(loss) },
                () = sleep_until(end) => return None,
            }
        }
    }

    /// Waits until every event is acknowledged, or lost with its connection.
    pub(crate) async fn await_answers(&mut self) {
        while !self.is_answered() {
            self.step().await;
        }
    }

    /// Breaks the connection, as a failure of the viewer's network does.
    pub(crate) fn drop_connection(&mut self) {
        self.lose();
    }

    /// Waits for the next message or change of the connection. Cancel safe.
    async fn step(&mut self) -> Option<Loss> {
        if let Some(link) = &mut self.link {
            return match link.seen.recv().await {
                Some(Seen::Text(text)) => {
                    self.receive(&text).await;
                    None
                }
                Some(Seen::Close(1001, _)) => Some(self.lost(Loss::Closed)),
                Some(Seen::End) | None => Some(self.lost(Loss::Ended)),
                Some(other) => panic!("the server sent {other:?}"),
            };
        }
        let stage = Arc::clone(&self.stage);
        let linking = self.linking.get_or_insert_with(|| tokio::spawn(link(stage)));
        let linked = linking.await.unwrap();
        self.linking = None;
        if let Some(link) = linked {
            self.link = Some(link);
            self.join().await;
        }
        None
    }

    async fn join(&mut self) {
        let payload = {
            let sheet = lock(&self.sheet);
            json!({
                "key": self.stage.ledger.key.as_str(),
                "identifier": format!("video {}", sheet.video),
                "source_url": format!("https://example.com/page/{}", sheet.page),
            })
        };
        self.refs += 1;
        self.join_ref = self.refs.to_string();
        let join = json!([self.join_ref, self.join_ref, self.topic, "phx_join", payload]);
        self.send(&[join]).await;
    }

    async fn receive(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        assert_eq!(message[3], "phx_reply", "{text}");
        if message[2] == "phoenix" {
            return;
        }
        let (status, reason) = (&message[4]["status"], &message[4]["response"]["reason"]);
        if message[1] == *self.join_ref {
            if status != "ok" {
                assert_eq!(reason, "unavailable", "{text}");
                // The page joins again over a new connection.
                self.lose();
                return;
            }
            if let Some(link) = &mut self.link {
                link.joined = true;
            }
            lock(&self.sheet).connected.push((Instant::now(), None));
            self.flush().await;
            return;
        }
        if status != "ok" {
            // The event stays unacknowledged until the connection ends.
            assert_eq!(reason, "not stored", "{text}");
            return;
        }
        let position =
            self.unanswered.iter().position(|(message_ref, _)| message[1] == **message_ref);
        let (_, sent) =
            self.unanswered.remove(position.expect("the event was sent")).expect("it is there");
        acknowledge(&mut lock(&self.sheet), sent.kind);
    }

    /// Sends the buffered events, if the page has joined.
    async fn flush(&mut self) {
        if !self.link.as_ref().is_some_and(|link| link.joined) {
            return;
        }
        let mut messages = Vec::new();
        for sent in std::mem::take(&mut self.unsent) {
            self.refs += 1;
            let message_ref = self.refs.to_string();
            messages.push(json!([self.join_ref, message_ref, self.topic, "event", sent.event]));
            self.unanswered.push_back((message_ref, sent));
        }
        self.send(&messages).await;
    }

    async fn send(&mut self, messages: &[Value]) {
        let frames = messages.iter().map(|it| frame(FIN | TEXT, it.to_string().as_bytes()));
        let bytes = frames.collect::<Vec<_>>().concat();
        if let Some(link) = &mut self.link {
            // After a failed write, the next item of `seen` is the end of the connection.
            drop(timeout(CONNECT_MAX, link.writer.write_all(&bytes)).await.expect("room"));
        }
    }

    fn lost(&mut self, loss: Loss) -> Loss {
        self.lose();
        loss
    }

    /// Drops the connection and its unacknowledged events; a page that repeats buffers them again.
    fn lose(&mut self) {
        self.link = None;
        let mut sheet = lock(&self.sheet);
        if let Some((_, lost)) = sheet.connected.last_mut() {
            lost.get_or_insert_with(Instant::now);
        }
        if self.retry_policy == RetryPolicy::Repeats {
            while let Some((_, sent)) = self.unanswered.pop_back() {
                self.unsent.push_front(sent);
            }
            return;
        }
        self.unanswered.clear();
        let (pairs, unsent) = (sheet.pairs.clone(), self.unsent.clone());
        let known = |pair: usize| {
            pairs[pair].play.acknowledged.is_some()
                || unsent.iter().any(|sent| sent.kind == EventKind::Play(pair))
        };
        self.unsent.retain(|sent| match sent.kind {
            EventKind::Pause(pair) if !known(pair) => {
                sheet.pairs[pair].pause.sent = None;
                false
            }
            _ => true,
        });
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(linking) = &self.linking {
            linking.abort();
        }
    }
}

/// Connects, or waits for `AGAIN` if that fails.
async fn link(stage: Arc<Stage>) -> Option<Link> {
    let server = stage.server().await;
    let http = Http::new(server.address, "GET", "/socket/websocket").query("vsn=2.0.0");
    let http = http.header("user-agent", CHROME);
    let connecting = Client::try_upgrade(http, server.key, b"");
    let client = match timeout(CONNECT_MAX, connecting).await.expect("a server that goes on") {
        Ok(Ok(client)) => client,
        Ok(Err(answer)) => panic!("no websocket: {answer:?}"),
        Err(_) => {
            sleep(AGAIN).await;
            return None;
        }
    };
    let (mut reader, writer) = client.split();
    let (sender, seen) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        loop {
            let next = reader.next_ever().await;
            let last = next == Seen::End;
            if sender.send(next).is_err() || last {
                return;
            }
        }
    });
    Some(Link { seen, reading, writer, joined: false })
}

//! A page with a player on it: it says what happens, as the published clients do, whatever becomes of the server.
//!
//! While it has no connection, or has not joined, it keeps what is to be said; once it has joined again, it says that in
//! a burst. What was on its way when a connection ended is not said again, unless the page is one that repeats.

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

use super::ledger::{Fate, Ledger, Pair, STRIDE_MS, Sheet, lock};
use super::said::{Manners, What, acknowledge, event};
use super::site::Running;
use metrics_server_testing::{CHROME, Client, FIN, Http, Seen, Server, TEXT, frame};

/// How long a browser waits for a server that does not answer. No server is held up for that long.
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// How long a client waits before it tries to connect again.
const AGAIN: Duration = Duration::from_millis(50);

/// What all viewers share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) running: watch::Receiver<Running>,
    pub(crate) enough: watch::Receiver<bool>,
    /// How many times a viewer asked for a server.
    pub(crate) asked: AtomicUsize,
}

impl Stage {
    pub(crate) fn is_enough(&self) -> bool {
        *self.enough.borrow()
    }

    /// A server that runs, once one does: of several, each in turn, as a proxy in front of them picks it.
    pub(crate) async fn server(&self) -> Server {
        let mut running = self.running.clone();
        let running = running.wait_for(|it| !it.is_empty()).await.expect("a test that goes on");
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) % running.len();
        running.values().nth(turn).expect("it is within the length").clone()
    }
}

/// Something that is said, and of what.
#[derive(Clone, Debug)]
struct Said {
    what: What,
    event: Value,
}

/// A connection, and what comes over it.
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
    /// With a close frame.
    Closed,
    /// Without.
    Ended,
}

pub(crate) struct Page {
    stage: Arc<Stage>,
    pub(crate) sheet: Arc<Mutex<Sheet>>,
    manners: Manners,
    topic: String,
    link: Option<Link>,
    linking: Option<JoinHandle<Option<Link>>>,
    unsent: VecDeque<Said>,
    unanswered: VecDeque<(String, Said)>,
    refs: u64,
    join_ref: String,
    // How wrong the viewer's clock is.
    skew_ms: i64,
    stamp_ms: i64,
}

impl Page {
    pub(crate) fn open(stage: &Arc<Stage>, sheet: Sheet, manners: Manners, skew_ms: i64) -> Self {
        let topic = format!("session:{}", sheet.session);
        Self {
            stage: Arc::clone(stage),
            sheet: stage.ledger.open(sheet),
            manners,
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

    /// Plays where it did not yet, and returns the pair that this begins, which will be `len_ms` long.
    pub(crate) async fn play(&mut self, len_ms: u32) -> usize {
        let pair = {
            let mut sheet = lock(&self.sheet);
            let from_ms = STRIDE_MS * sheet.pairs.len() as u32;
            let fate = Fate::default();
            sheet.pairs.push(Pair { from_ms, to_ms: from_ms + len_ms, play: fate, pause: fate });
            sheet.pairs.len() - 1
        };
        self.say(What::Play(pair)).await;
        pair
    }

    /// Pauses, unless the server may never have heard of the play: it would take the pause for that of another.
    pub(crate) async fn pause(&mut self, pair: usize) {
        if self.is_play_known(pair) {
            self.say(What::Pause(pair)).await;
        }
    }

    fn is_play_known(&self, pair: usize) -> bool {
        let play = What::Play(pair);
        lock(&self.sheet).pairs[pair].play.told.is_some()
            || self.unsent.iter().any(|said| said.what == play)
            || self.unanswered.iter().any(|(_, said)| said.what == play)
    }

    pub(crate) async fn say(&mut self, what: What) {
        // Two events of a player do not happen in one millisecond here, so that the order is known.
        self.stamp_ms =
            (chrono::Utc::now().timestamp_millis() + self.skew_ms).max(self.stamp_ms + 1);
        let stamp = (self.manners != Manners::Plain).then_some(self.stamp_ms);
        let event = event(&mut lock(&self.sheet), what, ["from", "to"], stamp);
        self.unsent.push_back(Said { what, event });
        self.flush().await;
    }

    /// Says that it is there, as clients do every 30 s.
    pub(crate) async fn beat(&mut self) {
        self.refs += 1;
        let heartbeat = json!([null, self.refs.to_string(), "phoenix", "heartbeat", {}]);
        self.send(&[heartbeat]).await;
    }

    pub(crate) fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether it may go: all is acknowledged, and the last pair whole.
    pub(crate) fn is_answered(&self) -> bool {
        self.unsent.is_empty()
            && self.unanswered.is_empty()
            && self.link.as_ref().is_some_and(|it| it.joined)
    }

    /// Lets so much time pass, or less if the connection ends.
    pub(crate) async fn live(&mut self, span: Duration) -> Option<Loss> {
        let end = tokio::time::Instant::now() + span;
        loop {
            let before = self.link.is_some();
            tokio::select! {
                lost = self.step() => if let (true, Some(loss)) = (before, lost) { return Some(loss) },
                () = sleep_until(end) => return None,
            }
        }
    }

    /// Waits until everything is answered, or lost.
    pub(crate) async fn await_answers(&mut self) {
        while !self.is_answered() {
            self.step().await;
        }
    }

    /// The network of the viewer breaks.
    pub(crate) fn drop_connection(&mut self) {
        self.lose();
    }

    /// Waits for the next thing that happens to the connection. Cancel safe.
    async fn step(&mut self) -> Option<Loss> {
        if let Some(link) = &mut self.link {
            return match link.seen.recv().await {
                Some(Seen::Text(text)) => {
                    self.hear(&text).await;
                    None
                }
                Some(Seen::Close(1001, _)) => Some(self.lost(Loss::Closed)),
                Some(Seen::End) | None => Some(self.lost(Loss::Ended)),
                Some(other) => panic!("the server said {other:?}"),
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

    async fn hear(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        assert_eq!(message[3], "phx_reply", "{text}");
        if message[2] == "phoenix" {
            return;
        }
        let (status, reason) = (&message[4]["status"], &message[4]["response"]["reason"]);
        if message[1] == *self.join_ref {
            if status != "ok" {
                assert_eq!(reason, "unavailable", "{text}");
                // It asks again, with a new connection.
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
            // It stays without an answer, until the connection ends.
            assert_eq!(reason, "not stored", "{text}");
            return;
        }
        let place = self.unanswered.iter().position(|(message_ref, _)| message[1] == **message_ref);
        let (_, said) = self.unanswered.remove(place.expect("what was said")).expect("it is there");
        acknowledge(&mut lock(&self.sheet), said.what);
    }

    /// Says what was not said yet, if anybody hears it.
    async fn flush(&mut self) {
        if !self.link.as_ref().is_some_and(|link| link.joined) {
            return;
        }
        let mut messages = Vec::new();
        for said in std::mem::take(&mut self.unsent) {
            self.refs += 1;
            let message_ref = self.refs.to_string();
            messages.push(json!([self.join_ref, message_ref, self.topic, "event", said.event]));
            self.unanswered.push_back((message_ref, said));
        }
        self.send(&messages).await;
    }

    async fn send(&mut self, messages: &[Value]) {
        let frames = messages.iter().map(|it| frame(FIN | TEXT, it.to_string().as_bytes()));
        let bytes = frames.collect::<Vec<_>>().concat();
        if let Some(link) = &mut self.link {
            // If it fails, the end of the connection is what is heard next.
            drop(timeout(CONNECT_MAX, link.writer.write_all(&bytes)).await.expect("room"));
        }
    }

    fn lost(&mut self, loss: Loss) -> Loss {
        self.lose();
        loss
    }

    /// The connection is gone, and with it what was not answered.
    fn lose(&mut self) {
        self.link = None;
        let mut sheet = lock(&self.sheet);
        if let Some((_, lost)) = sheet.connected.last_mut() {
            lost.get_or_insert_with(Instant::now);
        }
        if self.manners == Manners::Repeats {
            while let Some((_, said)) = self.unanswered.pop_back() {
                self.unsent.push_front(said);
            }
            return;
        }
        self.unanswered.clear();
        let (told, unsent) = (sheet.pairs.clone(), self.unsent.clone());
        let known = |pair: usize| {
            told[pair].play.told.is_some()
                || unsent.iter().any(|said| said.what == What::Play(pair))
        };
        self.unsent.retain(|said| match said.what {
            What::Pause(pair) if !known(pair) => {
                sheet.pairs[pair].pause.said = None;
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

/// Connects, or waits a little if that fails.
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

//! A store, a clock, and a receiver whose answers a test chooses.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_core::budget::Budget;
use metrics_core::event::Action;
use metrics_core::store::SqliteStore;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_testing::{Identity, WallClock};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::super::Webhooks;
use super::super::engine::Engine;
use crate::answer::Answers;
use crate::counters::Counters;

pub(super) const SECRET: &str = "kept by both sides only";

/// Noon on Monday, 30 March 2026, 30 s after which rules see the minute before.
const NOON_MS: i64 = 1_774_872_030_000;

/// A server without its routes.
pub(super) struct Fixture {
    pub(super) metrics: Metrics,
    pub(super) clock: WallClock,
    pub(super) counters: Counters,
    pub(super) directory: TempDir,
    answers: Answers,
    key: ApiKey,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        let clock = WallClock::at(NOON_MS);
        let metrics = Metrics::builder(Arc::new(store)).clock(clock.reader()).start();
        let key = metrics.create_key().await.unwrap();
        let answers = Answers::within(Budget::new(1 << 30));
        Self { metrics, clock, counters: Counters::default(), directory, answers, key }
    }

    pub(super) fn rules_file(&self) -> PathBuf {
        self.directory.path().join("webhooks.json")
    }

    /// Starts the task on a file of rules, with the state of an earlier one.
    pub(super) async fn start(&self, rules: &Value) -> Engine {
        std::fs::write(self.rules_file(), rules.to_string()).unwrap();
        let webhooks = Webhooks::from_file(self.rules_file()).unwrap();
        Engine::start(webhooks.state_file(self.directory.path().join("state"))).await
    }

    pub(super) async fn turn(&self, engine: &mut Engine) -> Duration {
        engine.turn(&self.metrics, &self.answers, &self.counters).await
    }

    /// Lets time pass, and does what is due then.
    pub(super) async fn after(&self, engine: &mut Engine, seconds: f64) -> Duration {
        self.clock.pass(seconds);
        self.turn(engine).await
    }

    /// A viewer who begins to play now.
    pub(super) async fn play(&self, session: &str, video: &str) -> Viewing {
        let join = Join::new(self.key.clone(), session, Video::labelled(video));
        let join = join
            .user_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0");
        let viewing = self.metrics.join(join).await.unwrap();
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing
    }

    /// A viewer who watched for 10 seconds, all at once.
    pub(super) async fn watch(&self, session: &str, video: &str) {
        let viewing = self.play(session, video).await;
        viewing.apply(PlayerEvent::pause(10.0)).await.unwrap();
        viewing.leave().durable().await.unwrap();
    }

    /// A viewer whose video cannot be played.
    pub(super) async fn fail(&self, session: &str, video: &str) {
        let viewing = self.play(session, video).await;
        viewing.apply(PlayerEvent::new(Action::PlaybackFailure)).await.unwrap();
        viewing.leave().durable().await.unwrap();
    }

    /// The number of deliveries by outcome, without those that are 0.
    pub(super) fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        self.counters.webhooks().deliveries().into_iter().filter(|(_, count)| 0 < *count).collect()
    }
}

/// How a receiver treats a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Answer(u16),
    /// Answers with a status, and never sends the body.
    Begin(u16),
    Redirect(String),
    /// Closes the connection with a reset, before an answer.
    Reset,
    /// Never answers.
    Hang,
    /// Answers when the test says so.
    Wait(Arc<Notify>),
}

/// A request that a receiver received.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

/// A receiver of deliveries. It accepts all for which a test chose no other answer.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    acts: Mutex<VecDeque<Act>>,
    got: Mutex<Vec<Got>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self::listen(None).await
    }

    /// A receiver over TLS.
    pub(super) async fn secure(identity: Identity) -> Self {
        Self::listen(Some(identity)).await
    }

    async fn listen(identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Shared> = Arc::default();
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, identity) = (Arc::clone(&serving), identity.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate sends nothing.
                    let Some(identity) = identity else {
                        let mut stream = stream;
                        if shared.serve(&mut stream).await {
                            stream.set_zero_linger().unwrap();
                        }
                        return;
                    };
                    if let Ok(mut stream) = identity.acceptor().accept(stream).await {
                        shared.serve(&mut stream).await;
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// Rules with this receiver.
    pub(super) fn rules(&self, rules: &Value) -> Value {
        let url = format!("http://{}/hook?a=b", self.address);
        json!({"url": url, "secret": SECRET, "rules": rules})
    }

    /// Treats the next requests in these ways.
    pub(super) fn act(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.acts.lock().unwrap().extend(acts);
    }

    /// Takes the requests that arrived.
    pub(super) fn take(&self) -> Vec<Got> {
        std::mem::take(&mut *self.shared.got.lock().unwrap())
    }

    /// The number of requests that arrived and were not taken.
    pub(super) fn seen(&self) -> usize {
        self.shared.got.lock().unwrap().len()
    }

    /// The types of the deliveries that arrived.
    #[track_caller]
    pub(super) fn check(&self, expected: &[&str]) -> Vec<Value> {
        let bodies: Vec<_> = self.take().iter().map(Got::json).collect();
        let types: Vec<_> = bodies.iter().map(|it| it["type"].as_str().unwrap()).collect();
        assert_eq!(types, expected, "{bodies:?}");
        bodies
    }
}

impl Shared {
    /// Reads a request and treats it. Returns whether the connection is to be reset.
    async fn serve(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            if let Some(request) = complete(&bytes) {
                break request;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return false;
            }
        };
        let mut lines = head.lines();
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        self.got.lock().unwrap().push(Got { path, headers: headers.collect(), body });
        let act = self.acts.lock().unwrap().pop_front().unwrap_or(Act::Answer(204));
        let answer = match act {
            Act::Answer(204) => "HTTP/1.1 204 X\r\n\r\n".to_owned(),
            Act::Answer(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nwell"),
            Act::Redirect(to) => {
                format!("HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            }
            Act::Begin(status) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nwe");
                let _sent = stream.write_all(head.as_bytes()).await;
                std::future::pending().await
            }
            Act::Reset => return true,
            Act::Hang => std::future::pending().await,
            Act::Wait(go) => {
                go.notified().await;
                "HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
        };
        // The client may be gone.
        let _sent = stream.write_all(answer.as_bytes()).await;
        false
    }
}

/// The head and the body of a request, once all of it is there.
fn complete(bytes: &[u8]) -> Option<(String, String)> {
    let (head, body) = std::str::from_utf8(bytes).ok()?.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    (length.parse() == Ok(body.len())).then(|| (head.to_owned(), body.to_owned()))
}

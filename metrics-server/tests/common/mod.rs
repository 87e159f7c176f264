//! A server on a database of its own, and clients that speak with it over real sockets.

#![allow(dead_code, unused_imports, reason = "each file of tests uses a part of this")]

mod http;
mod phoenix;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_core::Metrics;
use metrics_core::store::SqliteStore;
use metrics_server::{Service, Settings, serve};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub(crate) use http::{Answer, Http, split_head};
pub(crate) use phoenix::{BINARY, CLOSE, CONTINUATION, Client, FIN, PING, PONG, Seen, TEXT, frame};

/// How long anything may take that a test waits for.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// What a browser on a Mac says.
pub(crate) const CHROME: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";

/// What a search engine says.
pub(crate) const GOOGLEBOT: &str =
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// Waits for something that must happen soon.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let Ok(output) = timeout(WAIT, future).await else {
            panic!("nothing happened in {WAIT:?}, awaited at {caller}");
        };
        output
    }
}

/// A database in a directory that is removed at the end.
#[derive(Clone)]
pub(crate) struct Database {
    directory: Arc<TempDir>,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self { directory: Arc::new(TempDir::new().unwrap()) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("metrics.db")
    }

    /// A server that uses it. More than one may.
    pub(crate) async fn serve(&self, settings: Settings) -> TestServer {
        self.serve_some(settings, 1_000).await
    }

    /// The same, for so many connections at once.
    pub(crate) async fn serve_some(
        &self,
        settings: Settings,
        connections_max: usize,
    ) -> TestServer {
        let store = SqliteStore::open(self.path()).await.unwrap();
        let metrics = Metrics::builder(Arc::new(store)).clock(clock()).start();
        let key = match metrics.keys().await.unwrap().into_iter().next() {
            Some(record) => record.key,
            None => metrics.create_key().await.unwrap(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let service = Service::new(metrics.clone(), settings);
        // A sender that is dropped is no order to stop: the test may have kept the address only.
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let serving = tokio::spawn(serve(listener, service, connections_max, stopped));
        let (key, database) = (key.as_str().to_owned(), self.clone());
        TestServer { address, key, metrics, database, stop, serving }
    }

    /// How many sessions are in it, as another process sees it.
    pub(crate) async fn count_sessions(&self) -> u64 {
        use metrics_core::store::Store as _;
        let store = SqliteStore::open(self.path()).await.unwrap();
        store.count_sessions().await.unwrap()
    }

    /// A copy of its files as they are now, which is what a crash leaves.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        for file in fs::read_dir(self.directory.path()).unwrap() {
            let file = file.unwrap();
            // The third file, `-shm`, is no more than an index of the log and made anew from it.
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                fs::copy(file.path(), copy.directory.path().join(file.file_name())).unwrap();
            }
        }
        copy
    }

    /// Whether any of its files contains `text`.
    #[track_caller]
    pub(crate) fn contains(&self, text: &str) -> bool {
        let files = fs::read_dir(self.directory.path()).unwrap();
        files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

/// The time of day, as it passes for the runtime: a test that pauses the one pauses the other.
fn clock() -> metrics_core::recorder::Clock {
    let (start, began) = (chrono::Utc::now(), Instant::now());
    metrics_core::recorder::Clock::new(move || start + began.elapsed())
}

/// A server at a port of its own.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) metrics: Metrics,
    pub(crate) database: Database,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// On a new database, with one key.
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Database::new().serve(settings).await
    }

    /// Stops, and returns what is on the disk when a process would end: nothing that is written later counts.
    pub(crate) async fn stop(self) -> Database {
        self.stop.send(()).unwrap();
        soon(self.serving).await.unwrap();
        self.database.copy()
    }

    /// Begins to stop, and returns what ends when it has.
    pub(crate) fn begin_stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.serving
    }

    pub(crate) async fn restart(self, settings: Settings) -> Self {
        self.stop().await.serve(settings).await
    }

    pub(crate) fn http(&self, method: &str, path: &str) -> Http {
        Http::new(self.address, method, path)
    }

    /// Asks for a report.
    pub(crate) async fn report(&self, report: &str, query: &Value) -> Value {
        let answer = self.http("POST", &format!("/api/v1/{report}")).json(query).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// All that was watched of a video, however little it was.
    pub(crate) async fn watched(&self, identifier: &str) -> Watched {
        let query = json!({ "identifier": identifier, "minimum_watch_seconds": 0 });
        self.select(&query).await
    }

    pub(crate) async fn select(&self, query: &Value) -> Watched {
        let report = self.report("plays", query).await;
        let buckets = report["views"].as_array().unwrap();
        let sum = |field: &str| buckets.iter().map(|it| it[field].as_f64().unwrap()).sum::<f64>();
        // Whole milliseconds: sums of floats are not exact.
        let seconds = |field: &str| (sum(field) * 1_000.0).round() / 1_000.0;
        Watched {
            plays: sum("views") as u64,
            seconds: seconds("total_view_time"),
            unique: seconds("unique_total_view_time"),
        }
    }

    /// A client of the current generation.
    pub(crate) async fn connect(&self) -> Client {
        self.connect_to("vsn=2.0.0").await
    }

    /// A client that connects with these parameters.
    #[track_caller]
    pub(crate) fn connect_to(&self, query: &str) -> impl Future<Output = Client> {
        let connecting = self.upgrade(query, &[("user-agent", CHROME)]);
        async {
            match connecting.await {
                Ok(client) => client,
                Err(answer) => panic!("no websocket: {answer:?}"),
            }
        }
    }

    /// A client, or why it was refused.
    pub(crate) fn upgrade(
        &self,
        query: &str,
        headers: &[(&str, &str)],
    ) -> impl Future<Output = Result<Client, Answer>> + use<> {
        let mut http = Http::new(self.address, "GET", "/socket/websocket").query(query);
        for (name, value) in headers {
            http = http.header(name, value);
        }
        let key = self.key.clone();
        async move { Client::upgrade(http, key).await }
    }
}

/// What was watched of a video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Watched {
    pub(crate) plays: u64,
    pub(crate) seconds: f64,
    pub(crate) unique: f64,
}

impl Watched {
    pub(crate) const NOTHING: Self = Self { plays: 0, seconds: 0.0, unique: 0.0 };

    /// One play of so many seconds, each seen once.
    pub(crate) fn once(seconds: f64) -> Self {
        Self { plays: 1, seconds, unique: seconds }
    }
}

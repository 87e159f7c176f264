//! A server on a database of its own, and clients that speak with it over real sockets.
//!
//! `METRICS_TEST_STORE` says on which store, see [`Backend::of_this_run`].

#![allow(dead_code, unused_imports, reason = "each file of tests uses a part of this")]

mod bystander;
mod http;
mod longpoll;
mod phoenix;
mod process;
mod server;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use metrics_core::Metrics;
use metrics_core::limits::Limits;
use metrics_core::recorder::Clock;
use metrics_core::store::Store;
use metrics_server::{Service, Settings, serve};
use metrics_testing::Backend;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub(crate) use bystander::Bystander;
pub(crate) use http::{Answer, Http, split_head};
pub(crate) use longpoll::Poller;
pub(crate) use phoenix::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, PING, PONG, Reader, Seen, TEXT, frame,
};
pub(crate) use process::{Process, binary};
pub(crate) use server::{Server, Watched};

/// How long anything may take that a test waits for, on a busy machine as well.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// What a browser on a Mac says.
pub(crate) const CHROME: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";

/// What a search engine says.
pub(crate) const GOOGLEBOT: &str =
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// What a browser says that a program drives.
pub(crate) const HEADLESS_CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
    (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36";

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

/// As `METRICS_LIMITS` has it: no rates, for tests whose viewers all have one address and one key.
pub(crate) const NO_RATES: &str = "joins=none,joins_per_address=none,events=none,events_per_address=none,\
    new_videos=none,new_videos_per_address=none,new_pages=none,new_pages_per_address=none";

/// A database that is removed at the end.
#[derive(Clone)]
pub(crate) struct Database {
    database: Arc<metrics_testing::Database>,
    limits: Limits,
}

impl Database {
    pub(crate) async fn new() -> Self {
        Self::of(metrics_testing::Database::new(Backend::of_this_run()).await)
    }

    fn of(database: metrics_testing::Database) -> Self {
        Self { database: Arc::new(database), limits: Limits::default() }
    }

    /// Servers on it limit no rates.
    pub(crate) fn without_rates(mut self) -> Self {
        for limit in NO_RATES.split(',') {
            let (name, value) = limit.split_once('=').unwrap();
            self.limits.set(name, value).unwrap();
        }
        self
    }

    /// On the server of which this is the address.
    pub(crate) async fn on(server: &str) -> Self {
        Self::of(metrics_testing::Database::on(server).await)
    }

    /// As `DATABASE_URL` has it.
    pub(crate) fn url(&self) -> String {
        self.database.url()
    }

    /// Another handle on it, as another process has one.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        self.database.open().await
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
        self.serve_over(self.open().await, settings, connections_max).await
    }

    /// The same over a handle that need not be as usual.
    pub(crate) async fn serve_over(
        &self,
        store: Arc<dyn Store>,
        settings: Settings,
        connections_max: usize,
    ) -> TestServer {
        self.serve_at(clock(), store, settings, connections_max).await
    }

    /// The same, by this clock.
    pub(crate) async fn serve_at(
        &self,
        clock: Clock,
        store: Arc<dyn Store>,
        settings: Settings,
        connections_max: usize,
    ) -> TestServer {
        let metrics = Metrics::builder(store).clock(clock).limits(self.limits.clone()).start();
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
        let server = Server { address, key: key.as_str().to_owned() };
        TestServer { server, metrics, database: self.clone(), stop, serving }
    }

    /// How many sessions are in it, as another process sees it.
    pub(crate) async fn count_sessions(&self) -> u64 {
        self.open().await.count_sessions().await.unwrap()
    }

    /// A copy of it as it is now, which is what a crash leaves.
    pub(crate) async fn copy(&self) -> Self {
        let database = Arc::new(self.database.copy().await);
        Self { database, limits: self.limits.clone() }
    }

    /// Whether `text` is anywhere in it.
    pub(crate) async fn contains(&self, text: &str) -> bool {
        self.database.contains(text).await
    }
}

/// The time of day, as it passes for the runtime: a test that pauses the one pauses the other.
fn clock() -> Clock {
    let (start, began) = (chrono::Utc::now(), Instant::now());
    Clock::new(move || start + began.elapsed())
}

/// A server at a port of its own, in this process.
pub(crate) struct TestServer {
    server: Server,
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
        Database::new().await.serve(settings).await
    }

    /// Stops, and returns what is on the disk when a process would end: nothing that is written later counts.
    pub(crate) async fn stop(self) -> Database {
        self.stop.send(()).unwrap();
        soon(self.serving).await.unwrap();
        self.database.copy().await
    }

    /// Begins to stop, and returns what ends when it has.
    pub(crate) fn begin_stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.serving
    }

    pub(crate) async fn restart(self, settings: Settings) -> Self {
        self.stop().await.serve(settings).await
    }
}

impl Deref for TestServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

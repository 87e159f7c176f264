//! Servers and clients for the tests of the workspace. Not for other use.
//!
//! * [`Database`] is a test's own database, on the store that [`Backend::of_this_run`] names.
//! * [`TestServer`] is a server on it in this process, [`Process`] the binary in another; both are a [`Server`].
//! * [`Client`] speaks the channel protocol over a websocket, [`Poller`] over long polling, [`Http`] writes requests.
//! * [`EventStream`] reads server-sent events.
//! * [`Bystander`] watches while others misbehave, as [`abuses`] do.
//!
//! Functions here panic on any result that a test does not expect.

#![expect(clippy::missing_panics_doc, reason = "a test that cannot go on panics")]

pub mod abuses;
mod bystander;
mod channel;
mod events;
mod http;
mod longpoll;
mod phoenix;
mod process;
mod server;
pub mod websocket;

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

pub use bystander::Bystander;
pub use events::{EventStream, Received};
pub use http::{Answer, Http, split_head};
pub use longpoll::Poller;
pub use phoenix::{Client, Reader, Seen};
pub use process::{Process, binary};
pub use server::{Server, Watched};
pub use websocket::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame};

/// How long a test waits for an expected event, on a busy machine as well.
pub const WAIT: Duration = Duration::from_secs(20);

/// The `User-Agent` of a browser on a Mac.
pub const CHROME: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";

/// The `User-Agent` of a search engine.
pub const GOOGLEBOT: &str =
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// The `User-Agent` of an automated browser.
pub const HEADLESS_CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
    (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36";

/// Names of events that players send, and of one that none sends: they are counted, and mean nothing else.
pub const OTHER_EVENTS: [&str; 10] = [
    "durationchange",
    "loadedmetadata",
    "loadeddata",
    "canplay",
    "canplaythrough",
    "playing",
    "ended",
    "ratechange",
    "volumechange",
    "something_new",
];

/// Waits for a future that must complete within `WAIT`.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let Ok(output) = timeout(WAIT, future).await else {
            panic!("nothing happened in {WAIT:?}, awaited at {caller}");
        };
        output
    }
}

/// A value of `METRICS_LIMITS` without rate limits, for tests whose viewers all have one address and one key.
pub const NO_RATES: &str = "joins=none,joins_per_address=none,events=none,events_per_address=none,\
    new_videos=none,new_videos_per_address=none,new_pages=none,new_pages_per_address=none";

/// A database that is removed when its last handle is dropped.
#[derive(Clone, Debug)]
pub struct Database {
    database: Arc<metrics_testing::Database>,
    limits: Limits,
}

impl Database {
    /// Creates a database on the store of this run.
    pub async fn new() -> Self {
        Self::of(metrics_testing::Database::new(Backend::of_this_run()).await)
    }

    fn of(database: metrics_testing::Database) -> Self {
        Self { database: Arc::new(database), limits: Limits::default() }
    }

    /// Disables the rate limits of servers on this database.
    pub fn without_rates(mut self) -> Self {
        for limit in NO_RATES.split(',') {
            let (name, value) = limit.split_once('=').unwrap();
            self.limits.set(name, value).unwrap();
        }
        self
    }

    /// Creates a database on the database server at this URL.
    pub async fn on(server: &str) -> Self {
        Self::of(metrics_testing::Database::on(server).await)
    }

    /// The URL, as a value of `DATABASE_URL`.
    pub fn url(&self) -> String {
        self.database.url()
    }

    /// Opens another handle on it, as another process does.
    pub async fn open(&self) -> Arc<dyn Store> {
        self.database.open().await
    }

    /// Starts a server on it. More than one may run.
    pub async fn serve(&self, settings: Settings) -> TestServer {
        self.serve_some(settings, 1_000).await
    }

    /// Starts a server for at most `connections_max` connections at once.
    pub async fn serve_some(&self, settings: Settings, connections_max: usize) -> TestServer {
        self.serve_over(self.open().await, settings, connections_max).await
    }

    /// Starts a server over the handle `store`, which may be a faulty one.
    pub async fn serve_over(
        &self,
        store: Arc<dyn Store>,
        settings: Settings,
        connections_max: usize,
    ) -> TestServer {
        self.serve_at(clock(), store, settings, connections_max).await
    }

    /// Starts a server over `store` with this clock.
    pub async fn serve_at(
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
        // A dropped sender does not stop the server: the test may have kept the address only.
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let serving = tokio::spawn(serve(listener, service, connections_max, stopped));
        let server = Server { address, key: key.as_str().to_owned() };
        TestServer { server, metrics, database: self.clone(), stop, serving }
    }

    /// The number of stored sessions, counted over a new handle.
    pub async fn count_sessions(&self) -> u64 {
        self.open().await.count_sessions().await.unwrap()
    }

    /// A copy of its current contents, which a crash would leave.
    pub async fn copy(&self) -> Self {
        let database = Arc::new(self.database.copy().await);
        Self { database, limits: self.limits.clone() }
    }

    /// Whether `text` occurs anywhere in it.
    pub async fn contains(&self, text: &str) -> bool {
        self.database.contains(text).await
    }
}

/// A clock that follows the runtime's: a test that pauses the runtime's pauses both.
fn clock() -> Clock {
    let (start, began) = (chrono::Utc::now(), Instant::now());
    Clock::new(move || start + began.elapsed())
}

/// A server at a port of its own, in this process.
#[derive(Debug)]
pub struct TestServer {
    server: Server,
    /// The library behind the server.
    pub metrics: Metrics,
    /// The server's database.
    pub database: Database,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// Starts a server on a new database with one key.
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    /// Starts a server on a new database, with these settings.
    pub async fn with(settings: Settings) -> Self {
        Database::new().await.serve(settings).await
    }

    /// Stops the server, and returns a copy of the disk at the end of the process: later writes do not count.
    pub async fn stop(self) -> Database {
        self.stop.send(()).unwrap();
        soon(self.serving).await.unwrap();
        self.database.copy().await
    }

    /// Begins to stop, and returns the task that ends when the server has stopped.
    pub fn begin_stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.serving
    }

    /// Stops the server, and starts another on a copy of the database.
    pub async fn restart(self, settings: Settings) -> Self {
        self.stop().await.serve(settings).await
    }
}

impl Deref for TestServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

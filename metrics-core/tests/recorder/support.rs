//! A database file that any number of servers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use metrics_core::export::Export;
use metrics_core::interval::Segments;
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::session::Stored;
use metrics_core::store::{SqliteStore, Store};
use metrics_core::upkeep;
use metrics_core::{
    ApiKey, BucketQuery, Builder, Join, Metrics, Reports, Selection, Video, Viewing,
};
use metrics_testing::{Faults, WallClock};
use tempfile::TempDir;

pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// A database that any number of servers share.
pub(crate) struct Site {
    directory: TempDir,
    pub(crate) clock: WallClock,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), clock: WallClock::at(START_MS) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("metrics.db")
    }

    /// Another handle on the same file, which shares no cache with others.
    pub(crate) async fn store(&self) -> SqliteStore {
        SqliteStore::open(self.path()).await.unwrap()
    }

    /// A server that stores its sessions in the file.
    pub(crate) async fn server(&self) -> Metrics {
        self.server_over(self.store().await)
    }

    pub(crate) fn server_over(&self, store: impl Store) -> Metrics {
        self.builder(Arc::new(store)).start()
    }

    pub(crate) fn builder(&self, store: Arc<dyn Store>) -> Builder {
        Metrics::builder(store).clock(self.clock.reader())
    }

    /// A server, and the percentage of its store's calls that fail.
    pub(crate) async fn faulty_server(&self) -> (Metrics, Arc<AtomicUsize>) {
        let store = Faults::default().over(Arc::new(self.store().await));
        let failures = store.intercept.failures();
        (self.server_over(store), failures)
    }

    /// The stored state of a session, from any server.
    pub(crate) async fn stored(&self, key: &ApiKey, session: &str) -> Option<Stored> {
        let id = SessionId::new(key, session);
        let loaded = upkeep::load(&self.store().await, &[id]).await.unwrap().remove(0);
        loaded.map(|loaded| loaded.stored)
    }

    /// The stored segments of a session, in seconds.
    pub(crate) async fn segments(&self, key: &ApiKey, session: &str) -> Vec<(f64, f64)> {
        self.stored(key, session).await.map_or_else(Vec::new, |stored| segments(&stored))
    }

    /// Where the viewers of the stored sessions come from, as sorted JSON.
    pub(crate) async fn arrivals(&self) -> Vec<String> {
        let (store, mut export) = (self.store().await, Export::all());
        let mut arrivals = Vec::new();
        while let Some(records) = export.next(&store).await.unwrap() {
            let known = records.iter().map(|it| it.subject.arrival.to_json().unwrap_or_default());
            arrivals.extend(known);
        }
        arrivals.sort();
        arrivals
    }

    /// The number of stored plays, and their view time in milliseconds.
    pub(crate) async fn plays(&self) -> (u64, u64) {
        let store = self.store().await;
        let query = BucketQuery::from(Selection::default());
        let query = query.during(metrics_core::Timeframe::From(instant(0)));
        let buckets = Reports::new(&store, instant(START_MS)).plays(&query).await.unwrap();
        buckets.iter().fold((0, 0), |(plays, view_ms), bucket| {
            (plays + bucket.totals.plays, view_ms + bucket.totals.view_ms)
        })
    }
}

pub(crate) fn segments(stored: &Stored) -> Vec<(f64, f64)> {
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    let segments = Segments::decode(&stored.segments).unwrap();
    segments.iter().map(|it| (seconds(it.start_ms()), seconds(it.end_ms()))).collect()
}

pub(crate) fn joining(key: &ApiKey, session: &str) -> Join {
    Join::new(key.clone(), session, Video::labelled("intro"))
}

pub(crate) async fn join(metrics: &Metrics, key: &ApiKey, session: &str) -> Viewing {
    metrics.join(joining(key, session)).await.unwrap()
}

/// A database, a server, and a key.
pub(crate) async fn one_server() -> (Site, Metrics, ApiKey) {
    let site = Site::new();
    let metrics = site.server().await;
    let key = metrics.create_key().await.unwrap();
    (site, metrics, key)
}

/// A database, two servers that share it, and a key that both know.
pub(crate) async fn two_servers() -> (Site, [Metrics; 2], ApiKey) {
    let site = Site::new();
    let servers = [site.server().await, site.server().await];
    let key = servers[0].create_key().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    (site, servers, key)
}

/// A database, a server, a key, and the percentage of the server's calls of the store that fail.
pub(crate) async fn faulty_server() -> (Site, Metrics, ApiKey, Arc<AtomicUsize>) {
    let site = Site::new();
    let (metrics, failures) = site.faulty_server().await;
    let key = metrics.create_key().await.unwrap();
    (site, metrics, key, failures)
}

/// Fails if `future` takes longer than ten minutes: it must be waiting for something that never comes.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), future).await.expect("it hangs")
}

/// Waits until the writer has checked every session once, as it does in each `CHECKPOINT`.
pub(crate) async fn wait_for_checkpoint() {
    tokio::time::sleep(metrics_core::recorder::CHECKPOINT + Duration::from_secs(1)).await;
}

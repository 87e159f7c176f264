//! A database file, a wall clock that is moved by hand, and a store that fails when it is told to.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use metrics_core::engagement::{Parts, Seconds};
use metrics_core::interval::Segments;
use metrics_core::key::SessionId;
use metrics_core::query::{Scan, instant};
use metrics_core::recorder::Clock;
use metrics_core::report::{PlayCell, SourceCell};
use metrics_core::session::Stored;
use metrics_core::store::{
    Cursor, Error, Instance, KeyRecord, Loaded, Outcome, Page, SessionWrite, SqliteStore, Store,
};
use metrics_core::time_bucket::Buckets;
use metrics_core::{ApiKey, BucketQuery, Join, Metrics, Selection, Video, Viewing};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// A database that any number of servers share.
pub(crate) struct Site {
    directory: TempDir,
    pub(crate) clock: WallClock,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), clock: WallClock::new() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("metrics.db")
    }

    /// Another handle on the same file, that knows nothing of any other.
    pub(crate) async fn store(&self) -> SqliteStore {
        SqliteStore::open(self.path()).await.unwrap()
    }

    /// A server that keeps its sessions there.
    pub(crate) async fn server(&self) -> Metrics {
        self.server_over(self.store().await)
    }

    pub(crate) fn server_over(&self, store: impl Store) -> Metrics {
        Metrics::builder(Arc::new(store)).clock(self.clock.reader()).start()
    }

    /// What the file has of a session, whoever has written it.
    pub(crate) async fn stored(&self, key: &ApiKey, session: &str) -> Option<Stored> {
        let id = SessionId::new(key, session);
        self.store().await.load(&[id]).await.unwrap().remove(0).map(|loaded| loaded.stored)
    }

    /// The segments that the file has of a session, in seconds.
    pub(crate) async fn segments(&self, key: &ApiKey, session: &str) -> Vec<(f64, f64)> {
        self.stored(key, session).await.map_or_else(Vec::new, |stored| segments(&stored))
    }

    /// How many plays the file has, and their view time in milliseconds.
    pub(crate) async fn plays(&self) -> (u64, u64) {
        let store = self.store().await;
        let scan = BucketQuery::from(Selection::default());
        let scan = scan.during(metrics_core::Timeframe::From(instant(0))).scan(instant(START_MS));
        let cells = store.plays(&scan, TimeDelta::days(1)).await.unwrap();
        cells.iter().fold((0, 0), |(plays, view_ms), cell| {
            (plays + cell.figures.plays, view_ms + cell.figures.view_ms)
        })
    }
}

pub(crate) fn segments(stored: &Stored) -> Vec<(f64, f64)> {
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    let segments = Segments::decode(&stored.segments).unwrap();
    segments.iter().map(|it| (seconds(it.start_ms()), seconds(it.end_ms()))).collect()
}

/// A wall clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct WallClock {
    now_ms: Arc<AtomicI64>,
}

impl WallClock {
    fn new() -> Self {
        Self { now_ms: Arc::new(AtomicI64::new(START_MS)) }
    }

    pub(crate) fn pass(&self, seconds: f64) {
        self.now_ms.fetch_add((seconds * 1_000.0) as i64, Relaxed);
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        instant(self.now_ms.load(Relaxed))
    }

    fn reader(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

pub(crate) fn joining(key: &ApiKey, session: &str) -> Join {
    Join::new(key.clone(), session, Video::labelled("intro"))
}

pub(crate) async fn join(metrics: &Metrics, key: &ApiKey, session: &str) -> Viewing {
    metrics.join(joining(key, session)).await.unwrap()
}

/// Fails if it takes so long that it must be waiting for something that never comes.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), future).await.expect("it hangs")
}

/// Lets the writer look at every session once, as it does every so often.
pub(crate) async fn look_round() {
    tokio::time::sleep(metrics_core::recorder::CHECKPOINT + Duration::from_secs(1)).await;
}

/// A store that loses its connection now and then, before or after it has done what it was asked, and that
/// refuses one session.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: SqliteStore,
    random: Mutex<StdRng>,
    failures: Arc<AtomicUsize>,
    poison: Mutex<Option<SessionId>>,
    keys_late: Duration,
}

impl Faulty {
    pub(crate) fn new(inner: SqliteStore) -> Self {
        Self {
            inner,
            random: Mutex::new(StdRng::seed_from_u64(7)),
            failures: Arc::default(),
            poison: Mutex::default(),
            keys_late: Duration::ZERO,
        }
    }

    /// Fails so many out of a hundred calls.
    pub(crate) fn failing(self, percent: usize) -> Self {
        self.failures.store(percent, Relaxed);
        self
    }

    /// Answers with the keys that there were up to so long ago.
    pub(crate) fn with_late_keys(self, keys_late: Duration) -> Self {
        Self { keys_late, ..self }
    }

    /// Refuses every batch with this session.
    pub(crate) fn refusing(self, poison: SessionId) -> Self {
        *self.poison.lock().unwrap() = Some(poison);
        self
    }

    /// How many out of a hundred calls fail.
    pub(crate) fn failures(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.failures)
    }

    fn fails(&self) -> bool {
        self.random.lock().unwrap().random_range(0..100) < self.failures.load(Relaxed)
    }

    async fn connected<T: Send>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        if self.fails() {
            return Err(unavailable());
        }
        let answer = call.await?;
        if self.fails() { Err(unavailable()) } else { Ok(answer) }
    }
}

fn unavailable() -> Error {
    Error::Unavailable { store: "a faulty store", source: "the connection is lost".into() }
}

#[async_trait]
impl Store for Faulty {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        let answer = self.connected(self.inner.keys()).await;
        let late_ms =
            self.random.lock().unwrap().random_range(0..=self.keys_late.as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(late_ms)).await;
        answer
    }

    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        self.inner.create_key(key, now).await
    }

    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        self.inner.revoke_key(key, now).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Loaded>>, Error> {
        self.connected(self.inner.load(ids)).await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        let poison = *self.poison.lock().unwrap();
        if writes.iter().any(|write| Some(write.id) == poison) {
            let source = "it is poison".into();
            return Err(Error::Rejected { store: "a faulty store", operation: "commit", source });
        }
        self.connected(self.inner.commit(writes)).await
    }

    async fn plays(&self, scan: &Scan, grain: TimeDelta) -> Result<Vec<PlayCell>, Error> {
        self.inner.plays(scan, grain).await
    }

    async fn sources(&self, scan: &Scan, grain: TimeDelta) -> Result<Vec<SourceCell>, Error> {
        self.inner.sources(scan, grain).await
    }

    async fn parts(&self, scan: &Scan, parts: u32) -> Result<Parts, Error> {
        self.inner.parts(scan, parts).await
    }

    async fn seconds(&self, scan: &Scan, buckets: Buckets) -> Result<Seconds, Error> {
        self.inner.seconds(scan, buckets).await
    }

    async fn watching(&self, selection: &Selection, now: DateTime<Utc>) -> Result<u64, Error> {
        self.inner.watching(selection, now).await
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.connected(self.inner.beat(instance, now)).await
    }

    async fn export(&self, cursor: Option<&Cursor>, limit: u32) -> Result<Page, Error> {
        self.inner.export(cursor, limit).await
    }

    async fn forget(&self, start: DateTime<Utc>) -> Result<(), Error> {
        self.inner.forget(start).await
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.inner.count_sessions().await
    }

    async fn check(&self) -> Result<(), Error> {
        self.connected(self.inner.check()).await
    }
}

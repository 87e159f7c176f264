//! Sessions are kept as long as they may be, and no longer.

#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use metrics_core::store::{Error, Store};
use metrics_core::time_bucket::Span;
use metrics_core::upkeep;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_testing::{Backend, Call, Database, Method, Through, WallClock, Way, on_every_store};
use tokio::time::{advance, sleep};

const DAY_SECONDS: f64 = 86_400.0;

/// A server that starts with old sessions in its database.
struct Site {
    store: Arc<dyn Store>,
    clock: WallClock,
    key: ApiKey,
    _database: Database,
}

impl Site {
    async fn new(backend: Backend) -> Self {
        let database = Database::new(backend).await;
        let store = database.open().await;
        let clock = WallClock::at(1_700_000_000_000);
        let key = ApiKey::generate();
        assert!(store.create_key(&key, clock.now()).await.unwrap());
        Self { store, clock, key, _database: database }
    }

    fn server(&self, retention: Option<&str>) -> Metrics {
        self.server_over(Arc::clone(&self.store), retention)
    }

    fn server_over(&self, store: Arc<dyn Store>, retention: Option<&str>) -> Metrics {
        let builder = Metrics::builder(store).clock(self.clock.reader());
        match retention {
            Some(span) => builder.retention(span.parse::<Span>().unwrap()).start(),
            None => builder.start(),
        }
    }

    async fn join(&self, metrics: &Metrics, session: &str) -> Viewing {
        let join = Join::new(self.key.clone(), session, Video::labelled("intro"));
        metrics.join(join).await.unwrap()
    }

    /// Records a session that starts now.
    async fn watch(&self, metrics: &Metrics, session: &str) {
        let viewing = self.join(metrics, session).await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
        viewing.leave().durable().await.unwrap();
    }

    async fn sessions(&self) -> u64 {
        self.store.count_sessions().await.unwrap()
    }
}

/// Lets every task do what it has to do by now.
async fn settle() {
    sleep(Duration::from_secs(1)).await;
}

/// Lets an hour pass at once, so that not everything is done that is done all the time.
async fn hour() {
    advance(Duration::from_secs(3_600)).await;
    settle().await;
}

on_every_store!(old_sessions_are_deleted_at_the_start_and_every_hour, what_is_kept_is_kept);

async fn old_sessions_are_deleted_at_the_start_and_every_hour(backend: Backend) {
    let site = Site::new(backend).await;
    let metrics = site.server(None);
    for session in ["one", "two", "three"] {
        site.watch(&metrics, session).await;
        site.clock.pass(20.0 * DAY_SECONDS);
    }
    metrics.stop().await;
    // They are 60, 40 and 20 days old.
    let metrics = site.server(Some("50 days"));
    settle().await;
    assert_eq!(site.sessions().await, 2);

    site.clock.pass(20.0 * DAY_SECONDS);
    settle().await;
    assert_eq!(site.sessions().await, 2);
    hour().await;
    assert_eq!(site.sessions().await, 1);

    metrics.stop().await;
    site.clock.pass(20.0 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 1);
}

async fn what_is_kept_is_kept(backend: Backend) {
    let site = Site::new(backend).await;
    let metrics = site.server(Some("1 month"));
    site.watch(&metrics, "a").await;
    site.clock.pass(29.0 * DAY_SECONDS);
    for _ in 0..3 {
        hour().await;
    }
    assert_eq!(site.sessions().await, 1);
    assert!(metrics.accepts_key(&site.key).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn without_a_retention_everything_is_kept() {
    let site = Site::new(Backend::Sqlite).await;
    let metrics = site.server(None);
    site.watch(&metrics, "a").await;
    site.clock.pass(10_000.0 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_today_is_kept_whatever_is_asked_for() {
    let site = Site::new(Backend::Sqlite).await;
    let metrics = site.server(Some("0 days"));
    site.watch(&metrics, "a").await;
    site.clock.pass(0.9 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 1);
    site.clock.pass(0.2 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 0);
}

/// Fails all but recording, as long as it is told to.
#[derive(Clone, Debug)]
struct Failing(Arc<AtomicBool>);

#[async_trait]
impl Way for Failing {
    async fn go<T: Send + 'static>(&self, method: Method, call: Call<T>) -> Result<T, Error> {
        if matches!(method, Method::Snapshot | Method::Upkeep) && self.0.load(Relaxed) {
            let source = "the connection is lost".into();
            return Err(Error::Unavailable { store: "a failing store", source });
        }
        call.await
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_failed_is_made_an_hour_later() {
    let site = Site::new(Backend::Sqlite).await;
    let failing = Arc::new(AtomicBool::new(true));
    let way = Failing(Arc::clone(&failing));
    let store = Through { store: Arc::clone(&site.store), way };
    let metrics = site.server_over(Arc::new(store), Some("30 days"));
    site.watch(&metrics, "a").await;
    site.clock.pass(31.0 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 1);
    failing.store(false, Relaxed);
    hour().await;
    assert_eq!(site.sessions().await, 0);
}

/// Nobody watches one video for a day, but a page may stay open.
#[tokio::test(start_paused = true)]
async fn a_viewer_whose_session_was_deleted_goes_on_with_a_new_one() {
    let site = Site::new(Backend::Sqlite).await;
    let metrics = site.server(Some("1 day"));
    let viewing = site.join(&metrics, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    site.clock.pass(1.5 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 0);
    // The next play begins a session like any other.
    viewing.apply(PlayerEvent::new(metrics_core::Action::Seeked)).await.unwrap();
    viewing.apply(PlayerEvent::play(10.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(13.0)).await.unwrap();
    metrics.stop().await;
    let id = metrics_core::key::SessionId::new(&site.key, "a");
    let loaded = upkeep::load(&*site.store, &[id]).await.unwrap().remove(0);
    let stored = loaded.unwrap().stored;
    assert_eq!((stored.view_ms, stored.started_at_ms), (3_000, site.clock.now_ms()));
}

//! Sessions are deleted when they exceed the retention, and not before.

#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use metrics_core::compute::compute;
use metrics_core::retention;
use metrics_core::store::{Error, Store, VideoScope};
use metrics_core::time_bucket::Span;
use metrics_core::upkeep;
use metrics_core::{Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_testing::{
    Backend, Call, Intercept, Intercepted, Method, WallClock, on_every_store, on_own_runtime,
};
use tokio::time::{advance, sleep};

use crate::fixture::Site;

const DAY_SECONDS: f64 = 86_400.0;

impl Site {
    /// A server that deletes sessions older than this.
    fn server_keeping(&self, retention: Option<&str>) -> Metrics {
        self.server_keeping_in(Arc::clone(&self.store), retention)
    }

    fn server_keeping_in(&self, store: Arc<dyn Store>, retention: Option<&str>) -> Metrics {
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

/// The number of computations that a turn of retention may take, with a margin.
const COMPUTATIONS_MAX: u32 = 32;

/// Runs every task that is due by now, within a second.
///
/// All tests of the process share the threads of [`compute`], and the paused clock jumps while a turn waits for one. So
/// this queues behind the computation of the turn, once for each that it may take.
async fn run_due_tasks() {
    for _ in 0..COMPUTATIONS_MAX {
        sleep(Duration::from_secs(1) / COMPUTATIONS_MAX).await;
        on_own_runtime(async { compute(|| ()).await.unwrap() }).await;
    }
}

/// Advances time by an hour in one step, so that frequent tasks run only once.
async fn hour() {
    advance(Duration::from_secs(3_600)).await;
    run_due_tasks().await;
}

on_every_store!(
    old_sessions_are_deleted_every_hour,
    sessions_within_the_retention_are_kept,
    a_clock_that_is_years_ahead_deletes_next_to_nothing,
    an_outage_of_months_is_made_up_for,
    an_instance_with_a_wrong_clock_deletes_nothing_early,
    many_instances_have_one_turn_an_hour,
);

async fn old_sessions_are_deleted_every_hour(backend: Backend) {
    let site = Site::new(backend).await;
    let metrics = site.server_keeping(None);
    for session in ["one", "two", "three", "four", "five"] {
        site.watch(&metrics, session).await;
        site.clock.pass(20.0 * DAY_SECONDS);
    }
    metrics.stop().await;
    // The sessions are 100, 80, 60, 40 and 20 days old. The retention clock starts at the start of the last one.
    let metrics = site.server_keeping(Some("70 days"));
    run_due_tasks().await;
    assert_eq!(site.sessions().await, 5);
    hour().await;
    assert_eq!(site.sessions().await, 4);
    // No other session is due before the retention clock has caught up.
    for _ in 0..100 {
        site.clock.pass(3_600.0);
        hour().await;
    }
    assert_eq!(site.sessions().await, 3);
    let mut snapshot = site.store.snapshot().await.unwrap();
    assert_eq!(snapshot.videos(&VideoScope::default(), None, 10).await.unwrap().len(), 1);

    metrics.stop().await;
    site.clock.pass(60.0 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 3);
}

/// Records `days` sessions, one a day, the last one a day ago.
async fn days_of_sessions(site: &Site, days: u32) {
    let metrics = site.server_keeping(None);
    for day in 0..days {
        site.watch(&metrics, &format!("day {day}")).await;
        site.clock.pass(DAY_SECONDS);
    }
    metrics.stop().await;
}

async fn a_clock_that_is_years_ahead_deletes_next_to_nothing(backend: Backend) {
    let site = Site::new(backend).await;
    days_of_sessions(&site, 40).await;
    site.clock.pass(3_650.0 * DAY_SECONDS);
    let metrics = site.server_keeping(Some("30 days"));
    run_due_tasks().await;
    assert_eq!(site.sessions().await, 40);
    // Sessions recorded with this clock do not advance the retention clock.
    site.watch(&metrics, "ahead").await;
    hour().await;
    let after_an_hour = site.sessions().await;
    // The last session before the start was 39 days after the first, and time up to a day ahead of the retention clock
    // is trusted.
    assert_eq!(after_an_hour, 31);
    for _ in 0..8 {
        hour().await;
    }
    // The retention clock advances by two days in eight hours.
    assert_eq!(site.sessions().await, after_an_hour - 2);
    metrics.stop().await;

    // Correcting the clock deletes no session.
    site.clock.pass(-3_650.0 * DAY_SECONDS);
    let metrics = site.server_keeping(Some("30 days"));
    run_due_tasks().await;
    hour().await;
    assert_eq!(site.sessions().await, after_an_hour - 2);
    metrics.stop().await;
}

async fn an_outage_of_months_is_made_up_for(backend: Backend) {
    let site = Site::new(backend).await;
    days_of_sessions(&site, 120).await;
    let metrics = site.server_keeping(Some("100 days"));
    run_due_tasks().await;
    hour().await;
    assert_eq!(site.sessions().await, 100);
    metrics.stop().await;
    site.clock.pass(90.0 * DAY_SECONDS);
    let metrics = site.server_keeping(Some("100 days"));
    run_due_tasks().await;
    hour().await;
    assert!(99 <= site.sessions().await);
    // The retention clock advances by six hours an hour, and time by one: 18 days for 90.
    let mut last = site.sessions().await;
    for _ in 0..18 {
        for _ in 0..24 {
            site.clock.pass(3_600.0);
            hour().await;
        }
        let left = site.sessions().await;
        assert!((last - left) <= 7, "{last} {left}");
        last = left;
    }
    // The rest: a turn deletes at most a quarter of all sessions.
    for _ in 0..12 {
        site.clock.pass(3_600.0);
        hour().await;
    }
    assert!(last <= 10, "{last}");
    metrics.stop().await;
}

async fn an_instance_with_a_wrong_clock_deletes_nothing_early(backend: Backend) {
    let site = Site::new(backend).await;
    days_of_sessions(&site, 60).await;
    let wrong = WallClock::at(site.clock.now_ms() + 3_650 * 86_400_000);
    let right = site.server_keeping(Some("50 days"));
    let builder = Metrics::builder(Arc::clone(&site.store)).clock(wrong.reader());
    let other = builder.retention("50 days".parse::<Span>().unwrap()).start();
    run_due_tasks().await;
    for _ in 0..48 {
        for clock in [&site.clock, &wrong] {
            clock.pass(3_600.0);
        }
        hour().await;
    }
    // Two days passed, and the other instance's clock is trusted for a day and six hours more.
    let left = site.sessions().await;
    assert!((60 - 10 - 2 - 2..=60 - 10 - 2).contains(&left), "{left}");
    right.stop().await;
    other.stop().await;
}

async fn sessions_within_the_retention_are_kept(backend: Backend) {
    let site = Site::new(backend).await;
    let metrics = site.server_keeping(Some("1 month"));
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
    let metrics = site.server_keeping(None);
    site.watch(&metrics, "a").await;
    site.clock.pass(10_000.0 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_today_is_kept_under_every_retention() {
    let site = Site::new(Backend::Sqlite).await;
    let metrics = site.server_keeping(None);
    site.watch(&metrics, "a").await;
    site.clock.pass(0.9 * DAY_SECONDS);
    for session in ["b", "c", "d"] {
        site.watch(&metrics, session).await;
    }
    metrics.stop().await;
    site.clock.pass(60.0);
    let _metrics = site.server_keeping(Some("0 days"));
    run_due_tasks().await;
    hour().await;
    assert_eq!(site.sessions().await, 4);
    site.clock.pass(0.2 * DAY_SECONDS);
    hour().await;
    assert_eq!(site.sessions().await, 3);
}

/// A turn reaches the limit after a mistyped setting, after a day with most of all sessions, or on a site with few.
#[tokio::test(start_paused = true)]
async fn a_turn_deletes_a_quarter_and_the_next_ones_the_others() {
    let site = Site::new(Backend::Sqlite).await;
    days_of_sessions(&site, 9).await;
    let span: Span = "1 day".parse().unwrap();
    let metrics = site.server_keeping(Some("1 day"));
    run_due_tasks().await;
    let due = retention::due(&*site.store, span, site.clock.now()).await.unwrap().unwrap();
    assert_eq!((due.sessions.sessions, due.total, due.at_most()), (8, 9, 2));
    assert_eq!(due.sessions.first_start_ms, Some(1_700_000_000_000));
    // The turns go on until no session is due.
    for left in [7, 6, 5, 4, 3, 2, 1, 1] {
        hour().await;
        assert_eq!(site.sessions().await, left);
    }
    metrics.stop().await;
}

#[tokio::test(start_paused = true)]
async fn more_than_a_quarter_is_deleted_at_once_on_request() {
    let site = Site::new(Backend::Sqlite).await;
    days_of_sessions(&site, 7).await;
    let span: Span = "4 days".parse().unwrap();
    let due = retention::due(&*site.store, span, site.clock.now()).await.unwrap().unwrap();
    assert_eq!((due.sessions.sessions, site.sessions().await), (3, 7));

    let erased = retention::delete_old(&*site.store, span, site.clock.now()).await.unwrap();
    assert_eq!((erased.sessions, site.sessions().await), (due.sessions, 4));
    assert_eq!(site.store.retention_clock().await.unwrap(), Some(site.clock.now()));
}

/// Instances that start at different times, with clocks that are wrong in the same way, catch up no faster than one.
async fn many_instances_have_one_turn_an_hour(backend: Backend) {
    const HOURS: i64 = 12;
    let site = Site::new(backend).await;
    days_of_sessions(&site, 2).await;
    let newest_ms = site.clock.now_ms() - 86_400_000;
    site.clock.pass(3_650.0 * DAY_SECONDS);
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(site.server_keeping(Some("400 days")));
        advance(Duration::from_secs(600)).await;
        run_due_tasks().await;
    }
    for _ in 0..HOURS {
        hour().await;
    }
    let clock = site.store.retention_clock().await.unwrap().unwrap();
    let hours = (clock.timestamp_millis() - newest_ms) / 3_600_000;
    assert!((6 * (HOURS - 2)..=6 * (HOURS + 1)).contains(&hours), "{hours}");
    // Another instance takes over from one that ends.
    instances.remove(0).stop().await;
    for _ in 0..3 {
        hour().await;
    }
    let later = site.store.retention_clock().await.unwrap().unwrap();
    assert!(clock < later);
    for instance in instances {
        instance.stop().await;
    }
}

/// Fails snapshots and upkeep while the flag is set, but never recording.
#[derive(Clone, Debug)]
struct Failing(Arc<AtomicBool>);

#[async_trait]
impl Intercept for Failing {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
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
    let failing = Arc::new(AtomicBool::new(false));
    let intercept = Failing(Arc::clone(&failing));
    let store = Intercepted { store: Arc::clone(&site.store), intercept };
    let metrics = site.server_keeping(None);
    site.watch(&metrics, "a").await;
    site.clock.pass(31.0 * DAY_SECONDS);
    for session in ["b", "c", "d"] {
        site.watch(&metrics, session).await;
    }
    metrics.stop().await;
    site.clock.pass(60.0);
    let _metrics = site.server_keeping_in(Arc::new(store), Some("30 days"));
    run_due_tasks().await;
    failing.store(true, Relaxed);
    hour().await;
    assert_eq!(site.sessions().await, 4);
    failing.store(false, Relaxed);
    hour().await;
    assert_eq!(site.sessions().await, 3);
}

/// Nobody watches one video for a day, but a page may stay open.
#[tokio::test(start_paused = true)]
async fn a_viewer_whose_session_was_deleted_goes_on_with_a_new_one() {
    let site = Site::new(Backend::Sqlite).await;
    let metrics = site.server_keeping(None);
    let viewing = site.join(&metrics, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    site.clock.pass(1.5 * DAY_SECONDS);
    retention::delete_old(&*site.store, "1 day".parse().unwrap(), site.clock.now()).await.unwrap();
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

//! Clocks that are wrong: the server's, which is set while it runs, and those of players.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics_core::event::Action;
use metrics_core::query::instant;
use metrics_core::recorder::{CHECKPOINT, Clock};
use metrics_core::store::Error;
use metrics_core::{Metrics, PlayerEvent, Selection};
use metrics_testing::{Call, Intercept, Intercepted, Method, WallClock};

use crate::support::{START_MS, Site, join, one_server, soon, wait_for_checkpoint};

/// A server whose time of day is not the one that passes.
async fn stepping(site: &Site) -> (Metrics, WallClock) {
    let passed = WallClock::at(0);
    let (wall, steady) = (site.clock.clone(), passed.clone());
    let clock = Clock::new(move || wall.now())
        .with_steady(move || Duration::from_millis(steady.now_ms().try_into().unwrap()));
    let store = Arc::new(site.store().await);
    (Metrics::builder(store).clock(clock).start(), passed)
}

#[tokio::test(start_paused = true)]
async fn setting_the_time_of_day_during_playback_changes_no_number() {
    const HOUR_S: f64 = 3_600.0;
    for step in [-24.0 * HOUR_S, -1.0, HOUR_S, 24.0 * HOUR_S] {
        let site = Site::new();
        let (metrics, passed) = stepping(&site).await;
        let key = metrics.create_key().await.unwrap();
        let viewing = join(&metrics, &key, "a").await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        passed.pass(5.0);
        site.clock.pass(5.0 + step);
        wait_for_checkpoint().await;
        assert_eq!(site.segments(&key, "a").await, [(0.0, 5.0)], "step {step}");
        passed.pass(3.0);
        site.clock.pass(3.0);
        viewing.apply(PlayerEvent::play(20.0)).await.unwrap();
        passed.pass(4.0);
        site.clock.pass(4.0 - step);
        drop(viewing);
        passed.pass(30.0);
        site.clock.pass(30.0);
        let viewing = join(&metrics, &key, "a").await;
        passed.pass(2.0);
        site.clock.pass(2.0);
        soon(viewing.leave().durable()).await.unwrap();
        assert_eq!(site.segments(&key, "a").await, [(0.0, 8.0), (20.0, 56.0)], "step {step}");
        assert_eq!(site.stored(&key, "a").await.unwrap().started_at_ms, START_MS);
    }
}

/// The machine of the viewer sleeps, and its player says nothing when it goes to sleep.
#[tokio::test(start_paused = true)]
async fn a_viewer_who_slept_for_eight_hours_did_not_watch_for_eight_hours() {
    const NIGHT_MS: i64 = 8 * 3_600_000;
    for stamped in [false, true] {
        let (site, metrics, key) = one_server().await;
        let event = |event: PlayerEvent| {
            let clock_ms = site.clock.now_ms() - 3 * 86_400_000;
            if stamped { event.with_timestamp(clock_ms) } else { event }
        };
        let viewing = join(&metrics, &key, "a").await;
        viewing.apply(event(PlayerEvent::play(0.0))).await.unwrap();
        site.clock.pass(10.0);
        let last_received = site.clock.moment();
        site.clock.pass(60.0);
        soon(viewing.lose(last_received).durable()).await.unwrap();
        site.clock.pass_ms(NIGHT_MS);
        wait_for_checkpoint().await;
        let viewing = join(&metrics, &key, "a").await;
        site.clock.pass(5.0);
        soon(viewing.leave().durable()).await.unwrap();
        assert_eq!(site.segments(&key, "a").await, [(0.0, 15.0)], "stamped: {stamped}");
    }
}

/// A batch opens a segment, and the next one comes after a night.
#[tokio::test(start_paused = true)]
async fn a_page_that_slept_and_sends_batches_did_not_watch_for_eight_hours() {
    let (site, metrics, key) = one_server().await;
    let visit = async |event: PlayerEvent| {
        let event = event.with_timestamp(site.clock.now_ms());
        let viewing = metrics.visit(crate::support::joining(&key, "a")).await.unwrap();
        soon(viewing.apply(event)).await.unwrap();
    };
    visit(PlayerEvent::play(0.0)).await;
    for _ in 0..9 {
        site.clock.pass(3_600.0);
        wait_for_checkpoint().await;
    }
    visit(PlayerEvent::play(30.0)).await;
    site.clock.pass(4.0);
    visit(PlayerEvent::pause(34.0)).await;
    assert_eq!(site.segments(&key, "a").await, [(30.0, 34.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_only_gives_heartbeats_after_the_end_does_not_watch() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(50.0).with_duration(60.0)).await.unwrap();
    let watching = async || metrics.watching(&Selection::default()).await.unwrap();
    site.clock.pass(65.0);
    wait_for_checkpoint().await;
    assert_eq!(watching().await, 1);
    site.clock.pass(3_600.0);
    wait_for_checkpoint().await;
    assert_eq!(watching().await, 0);
    assert_eq!(site.segments(&key, "a").await, [(50.0, 60.0)]);
    // A pause that comes after all says better.
    viewing.apply(PlayerEvent::pause(55.0)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(50.0, 55.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_whose_batches_have_heartbeats_is_gone_a_minute_after_the_last() {
    for sends_heartbeats in [true, false] {
        let (site, metrics, key) = one_server().await;
        let visit = async |event: PlayerEvent| {
            let joining = crate::support::joining(&key, "a");
            let joining = if sends_heartbeats { joining.heartbeats() } else { joining };
            let event = event.with_timestamp(site.clock.now_ms()).with_duration(600.0);
            let viewing = metrics.visit(joining).await.unwrap();
            soon(viewing.apply(event)).await.unwrap();
        };
        let watching = async || metrics.watching(&Selection::default()).await.unwrap();
        visit(PlayerEvent::play(0.0)).await;
        site.clock.pass(15.0);
        let name = "timeupdate".to_owned();
        visit(PlayerEvent::new(metrics_core::Action::Other { name })).await;
        assert_eq!(site.segments(&key, "a").await, [(0.0, 15.0)]);
        site.clock.pass(59.0);
        wait_for_checkpoint().await;
        assert_eq!(watching().await, 1);
        site.clock.pass(2.0);
        wait_for_checkpoint().await;
        assert_eq!(watching().await, u64::from(!sends_heartbeats));
        assert_eq!(site.segments(&key, "a").await, [(0.0, 15.0)]);
    }
}

/// In one session, in another, in several commits, and after a restart.
#[tokio::test(start_paused = true)]
async fn segments_that_were_clamped_are_counted_once_each() {
    let (site, metrics, key) = one_server().await;
    let claim = async |metrics: &Metrics, session: &str, clock_ms: i64, to: f64| {
        let viewing = join(metrics, &key, session).await;
        let events = [PlayerEvent::play(0.0), PlayerEvent::pause(to)];
        for (event, after_ms) in events.into_iter().zip([0, 1_000]) {
            soon(viewing.apply(event.with_timestamp(clock_ms + after_ms))).await.unwrap();
        }
    };
    claim(&metrics, "a", 0, 4.0).await;
    assert_eq!(metrics.stats().clamped, 0);
    claim(&metrics, "a", 10_000, 3_600.0).await;
    claim(&metrics, "a", 20_000, 3_600.0).await;
    claim(&metrics, "b", 0, 3_600.0).await;
    assert_eq!(metrics.stats().clamped, 3);
    soon(metrics.stop()).await;

    let metrics = site.server().await;
    claim(&metrics, "a", 30_000, 3_600.0).await;
    assert_eq!(metrics.stats().clamped, 1);
    assert_eq!(site.stored(&key, "a").await.unwrap().counters.details.clamped, 3);
    assert_eq!(site.plays().await, (2, 4_000 + 4 * 1_000));
}

/// A store that takes its time to write.
#[derive(Clone, Debug)]
struct Slow(Duration);

#[async_trait]
impl Intercept for Slow {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        if method == Method::Commit {
            tokio::time::sleep(self.0).await;
        }
        call.await
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_with_much_to_write_delays_no_checkpoint() {
    const COMMIT: Duration = Duration::from_millis(500);
    let site = Site::new();
    let began = tokio::time::Instant::now();
    let clock = Clock::new(move || instant(START_MS) + began.elapsed());
    let store = Intercepted::by(Slow(COMMIT), Arc::new(site.store().await));
    let metrics = Metrics::builder(Arc::new(store)).clock(clock).start();
    let key = metrics.create_key().await.unwrap();
    let busy = join(&metrics, &key, "busy").await;
    busy.apply(PlayerEvent::play(0.0)).await.unwrap();
    let writing = tokio::spawn(async move {
        loop {
            busy.apply(PlayerEvent::new(Action::Seeked)).await.unwrap();
        }
    });
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    let played = tokio::time::Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(CHECKPOINT).await;
        let reached = site.segments(&key, "a").await.first().map_or(0.0, |(_, to)| *to);
        // One commit is under way when it is due, and one has it.
        let missing = played.elapsed().as_secs_f64() - reached;
        assert!(missing <= (CHECKPOINT + 3 * COMMIT).as_secs_f64(), "{missing} s are missing");
    }
    writing.abort();
}

//! Servers that stop, and servers that are killed.

use metrics_core::{ApiKey, Metrics, PlayerEvent, Selection, Viewing};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Site, join, one_server, soon, wait_for_checkpoint};

/// One run of a server, until it is killed.
struct Run {
    runtime: Runtime,
    metrics: Metrics,
}

impl Run {
    fn start(site: &Site) -> Self {
        let runtime =
            Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let metrics = runtime.block_on(site.server());
        Self { runtime, metrics }
    }

    /// The first run on a database, and its first session.
    fn begin() -> (Site, Self, ApiKey, Viewing) {
        let site = Site::new();
        let run = Self::start(&site);
        let key = run.runtime.block_on(run.metrics.create_key()).unwrap();
        let viewing = run.join(&key, "a");
        (site, run, key, viewing)
    }

    fn join(&self, key: &ApiKey, session: &str) -> Viewing {
        self.runtime.block_on(join(&self.metrics, key, session))
    }

    fn apply(&self, viewing: &Viewing, event: PlayerEvent) {
        self.runtime.block_on(soon(viewing.apply(event))).unwrap();
    }

    fn segments(&self, site: &Site, key: &ApiKey) -> Vec<(f64, f64)> {
        self.runtime.block_on(site.segments(key, "a"))
    }

    /// Ends it as a crash does: nobody says goodbye.
    fn kill(self, viewings: impl IntoIterator<Item = Viewing>) {
        viewings.into_iter().for_each(std::mem::forget);
        std::mem::forget(self.metrics);
        drop(self.runtime);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_after_a_restart() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    site.clock.pass(5.0);
    drop(viewing);
    soon(metrics.stop()).await;
    site.clock.pass(5.0);

    let metrics = site.server().await;
    let viewing = join(&metrics, &key, "a").await;
    site.clock.pass(5.0);
    viewing.apply(PlayerEvent::pause(14.0)).await.unwrap();
    viewing.apply(PlayerEvent::play(30.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(31.0)).await.unwrap();

    assert_eq!(site.segments(&key, "a").await, [(0.0, 14.0), (30.0, 31.0)]);
    assert_eq!(site.plays().await, (1, 15_000));
}

#[test]
fn acknowledged_events_survive_a_crash() {
    let (site, run, key, viewing) = Run::begin();
    run.apply(&viewing, PlayerEvent::play(0.0));
    run.apply(&viewing, PlayerEvent::pause(3.0));
    run.kill([viewing]);

    let run = Run::start(&site);
    assert_eq!(run.segments(&site, &key), [(0.0, 3.0)]);
    let viewing = run.join(&key, "a");
    run.apply(&viewing, PlayerEvent::play(10.0));
    run.apply(&viewing, PlayerEvent::pause(12.0));
    assert_eq!(run.segments(&site, &key), [(0.0, 3.0), (10.0, 12.0)]);
    assert_eq!(run.runtime.block_on(site.plays()), (1, 5_000));
}

#[test]
fn a_crash_loses_at_most_the_playback_since_the_checkpoint() {
    let (site, run, key, viewing) = Run::begin();
    run.apply(&viewing, PlayerEvent::play(0.0));
    site.clock.pass(15.0);
    run.runtime.block_on(wait_for_checkpoint());
    site.clock.pass(10.0);
    run.kill([viewing]);

    let run = Run::start(&site);
    assert_eq!(run.segments(&site, &key), [(0.0, 15.0)]);
}

#[test]
fn a_lone_pause_after_a_crash_makes_the_open_segment_exact() {
    let (site, run, key, viewing) = Run::begin();
    run.apply(&viewing, PlayerEvent::play(0.0));
    site.clock.pass(15.0);
    run.runtime.block_on(wait_for_checkpoint());
    site.clock.pass(6.0);
    run.kill([viewing]);

    let run = Run::start(&site);
    let viewing = run.join(&key, "a");
    run.apply(&viewing, PlayerEvent::pause(20.75));
    assert_eq!(run.segments(&site, &key), [(0.0, 20.75)]);
}

#[test]
fn a_viewer_who_was_watching_through_a_crash_watches_on() {
    let (site, run, key, viewing) = Run::begin();
    run.apply(&viewing, PlayerEvent::play(0.0));
    run.kill([viewing]);
    site.clock.pass(8.0);

    let run = Run::start(&site);
    let viewing = run.join(&key, "a");
    site.clock.pass(4.0);
    drop(viewing);
    run.runtime.block_on(soon(run.metrics.stop()));
    assert_eq!(run.segments(&site, &key), [(0.0, 12.0)]);
}

#[test]
fn a_server_that_was_killed_leaves_the_count() {
    let (site, run, _key, viewing) = Run::begin();
    run.apply(&viewing, PlayerEvent::play(0.0));
    run.kill([viewing]);

    let run = Run::start(&site);
    let watching = || run.runtime.block_on(run.metrics.watching(&Selection::default())).unwrap();
    assert_eq!(watching(), 1);
    site.clock.pass(30.0);
    assert_eq!(watching(), 0);
}

/// Dropping a commit half way must neither hang nor panic, and leaves it whole or undone.
#[test]
fn a_crash_in_the_middle_of_a_commit_leaves_it_complete_or_undone() {
    for turns in 0..30 {
        let (site, run, key, viewing) = Run::begin();
        run.runtime.block_on(async {
            drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
            drop(viewing.submit(&PlayerEvent::pause(2.0)).unwrap());
            for _ in 0..turns {
                tokio::task::yield_now().await;
                std::thread::sleep(std::time::Duration::from_micros(30));
            }
        });
        run.kill([viewing]);
        let run = Run::start(&site);
        let segments = run.segments(&site, &key);
        assert!([vec![], vec![(0.0, 2.0)]].contains(&segments), "{segments:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_under_way_when_its_server_is_killed_does_not_hang() {
    let site = Site::new();
    let viewing = std::thread::scope(|threads| {
        let killed = threads.spawn(|| {
            let run = Run::start(&site);
            let key = run.runtime.block_on(run.metrics.create_key()).unwrap();
            let viewing = run.join(&key, "a");
            drop(run.runtime);
            viewing
        });
        killed.join().unwrap()
    });
    soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap_err();
}

//! Spool files of servers that stop while their store is unavailable, and their recovery.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_core::arrival::{Arrival, ArrivalPart};
use metrics_core::event::Action;
use metrics_core::recorder::{Recovered, Spool, SpoolError, Stopped};
use metrics_core::store::Store;
use metrics_core::{ApiKey, Metrics, PlayerEvent};
use metrics_testing::{Faults, KillSwitch};

use crate::support::{Site, join, joining, segments, soon, wait_for_checkpoint};

/// The time limit of a stop.
const LIMIT: Duration = Duration::from_secs(10);

/// A server whose store can become unavailable, or be killed.
struct Server {
    metrics: Metrics,
    failures: Arc<std::sync::atomic::AtomicUsize>,
    kill_switch: KillSwitch,
    key: ApiKey,
}

impl Server {
    async fn new(site: &Site) -> Self {
        let faults = Faults::default();
        let (failures, kill_switch) = (faults.failures(), faults.kill_switch());
        let metrics = site.server_over(faults.over(Arc::new(site.store().await)));
        let key = metrics.create_key().await.unwrap();
        Self { metrics, failures, kill_switch, key }
    }
}

fn spool(site: &Site) -> Spool {
    Spool::new(site.path().parent().unwrap(), "metrics.db")
}

#[track_caller]
fn file(stopped: Result<Stopped, SpoolError>, expected: usize) -> PathBuf {
    match stopped.unwrap() {
        Stopped::Spooled { sessions, file } => {
            assert_eq!(sessions, expected);
            file
        }
        other => panic!("nothing was left: {other:?}"),
    }
}

async fn recover(site: &Site) -> Recovered {
    let store: Arc<dyn Store> = Arc::new(site.store().await);
    soon(spool(site).recover(&store)).await.unwrap()
}

fn recovered(sessions: usize) -> Recovered {
    let mut expected = Recovered::default();
    (expected.files, expected.sessions) = (1, sessions);
    expected
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spilled_while_the_store_is_available() {
    let site = Site::new();
    let server = Server::new(&site).await;
    let viewing = join(&server.metrics, &server.key, "a").await;
    drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
    drop(viewing.submit(&PlayerEvent::pause(2.0)).unwrap());
    drop(viewing);
    let stopped = soon(server.metrics.stop_within(LIMIT, &spool(&site))).await.unwrap();
    assert_eq!(stopped, Stopped::Durable);
    assert_eq!(site.segments(&server.key, "a").await, [(0.0, 2.0)]);
    assert_eq!(recover(&site).await, Recovered::default());
}

/// A spilled session keeps where its viewer comes from.
#[tokio::test(start_paused = true)]
async fn where_viewers_come_from_is_recovered() {
    let site = Site::new();
    let server = Server::new(&site).await;
    server.failures.store(100, Relaxed);
    let arrival = Arrival::default()
        .with(ArrivalPart::Referrer, "https://b.example/?q=1")
        .with(ArrivalPart::Country, "nl");
    let viewing = server.metrics.join(joining(&server.key, "a").arrival(arrival)).await.unwrap();
    drop(viewing.submit(&PlayerEvent::play(5.0)).unwrap());
    drop(viewing);
    file(soon(server.metrics.stop_within(LIMIT, &spool(&site))).await, 1);
    assert_eq!(recover(&site).await, recovered(1));
    assert_eq!(site.arrivals().await, [r#"{"country":"NL","referrer":"b.example"}"#]);
}

/// Events that were durable before the outage, events during the outage, and a segment that is open at the stop.
#[tokio::test(start_paused = true)]
async fn spilled_sessions_are_recovered_at_the_next_start() {
    let site = Site::new();
    let server = Server::new(&site).await;
    let old = join(&server.metrics, &server.key, "old").await;
    old.apply(PlayerEvent::play(0.0)).await.unwrap();
    server.failures.store(100, Relaxed);
    let new = join(&server.metrics, &server.key, "new").await;
    let idle = join(&server.metrics, &server.key, "idle").await;
    let mut waiting = new.submit(&PlayerEvent::play(5.0).with_duration(60.0)).unwrap();
    drop(new.submit(&PlayerEvent::new(Action::PlaybackFailure)).unwrap());
    for _ in 0..20 {
        site.clock.pass(10.0);
        wait_for_checkpoint().await;
    }
    drop((old, new, idle));
    let left = soon(server.metrics.stop_within(LIMIT, &spool(&site))).await;
    let file = file(left, 2);
    soon(waiting.durable()).await.unwrap_err();

    site.clock.pass(3_600.0);
    assert_eq!(recover(&site).await, recovered(2));
    assert!(!file.exists());
    assert_eq!(site.segments(&server.key, "old").await, [(0.0, 200.0)]);
    assert_eq!(site.segments(&server.key, "new").await, [(5.0, 60.0)]);
    assert_eq!(site.stored(&server.key, "new").await.unwrap().counters.failures, 1);
    assert!(site.stored(&server.key, "idle").await.is_none());

    // The viewer continues the session.
    let metrics = site.server().await;
    let viewing = join(&metrics, &server.key, "old").await;
    viewing.apply(PlayerEvent::pause(190.0)).await.unwrap();
    assert_eq!(site.segments(&server.key, "old").await, [(0.0, 190.0)]);
}

/// The server stops before the result of a commit is known.
#[tokio::test(start_paused = true)]
async fn committed_events_are_not_recovered_again() {
    for commits in [true, false] {
        let site = Site::new();
        let server = Server::new(&site).await;
        let viewing = join(&server.metrics, &server.key, "a").await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing.apply(PlayerEvent::pause(1.0)).await.unwrap();
        let failure = PlayerEvent::new(Action::PlaybackFailure);
        drop(viewing.submit(&failure).unwrap());
        drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
        drop(viewing.submit(&PlayerEvent::pause(1.0)).unwrap());
        server.kill_switch.kill_at_commit(commits);
        soon(server.kill_switch.killed()).await;
        drop(viewing.submit(&failure).unwrap());
        drop(viewing);
        let landed = site.stored(&server.key, "a").await.unwrap().counters.failures;
        assert_eq!(landed, u32::from(commits));
        file(soon(server.metrics.stop_within(LIMIT, &spool(&site))).await, 1);
        assert_eq!(recover(&site).await, recovered(1));
        let stored = site.stored(&server.key, "a").await.unwrap();
        assert_eq!(segments(&stored), [(0.0, 1.0), (0.0, 1.0)], "landed: {commits}");
        assert_eq!(stored.counters.failures, 2, "landed: {commits}");
    }
}

/// The machine crashes during the recovery, before the file is removed.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_recovered_twice_counts_once() {
    let site = Site::new();
    let server = Server::new(&site).await;
    server.failures.store(100, Relaxed);
    let failure = PlayerEvent::new(Action::PlaybackFailure);
    for name in ["a", "b"] {
        let viewing = join(&server.metrics, &server.key, name).await;
        drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
        drop(viewing.submit(&failure).unwrap());
        drop(viewing.submit(&PlayerEvent::pause(3.0)).unwrap());
    }
    let file = file(soon(server.metrics.stop_within(LIMIT, &spool(&site))).await, 2);
    let whole = fs::read_to_string(&file).unwrap();
    // Only one of the two sessions, as after a partial recovery.
    let part: Vec<_> = whole.lines().take(2).collect();
    fs::write(&file, part.join("\n")).unwrap();
    assert_eq!(recover(&site).await, recovered(1));
    for _ in 0..2 {
        fs::write(&file, &whole).unwrap();
        assert_eq!(recover(&site).await, recovered(2));
        for name in ["a", "b"] {
            let stored = site.stored(&server.key, name).await.unwrap();
            assert_eq!(segments(&stored), [(0.0, 3.0)]);
            assert_eq!(stored.counters.failures, 1);
        }
    }
}

/// The session continues at another server before the file is recovered.
#[tokio::test(start_paused = true)]
async fn events_at_another_server_in_between_are_kept() {
    let site = Site::new();
    let server = Server::new(&site).await;
    let viewing = join(&server.metrics, &server.key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(1.0)).await.unwrap();
    server.failures.store(100, Relaxed);
    let events =
        [PlayerEvent::play(10.0).with_timestamp(7), PlayerEvent::pause(12.0).with_timestamp(2_007)];
    for event in &events {
        drop(viewing.submit(event).unwrap());
    }
    drop(viewing);
    file(soon(server.metrics.stop_within(LIMIT, &spool(&site))).await, 1);
    let other = site.server().await;
    let viewing = join(&other, &server.key, "a").await;
    viewing.apply(PlayerEvent::play(20.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(24.0)).await.unwrap();
    assert_eq!(recover(&site).await, recovered(1));
    let expected = [(0.0, 1.0), (10.0, 12.0), (20.0, 24.0)];
    assert_eq!(site.segments(&server.key, "a").await, expected);
    // Events without an acknowledgement are sent again, and are recognized as duplicates.
    let viewing = other.visit(crate::support::joining(&server.key, "a")).await.unwrap();
    for event in events {
        viewing.apply(event).await.unwrap();
    }
    assert_eq!(site.segments(&server.key, "a").await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_unavailable_at_the_next_start_is_waited_for() {
    let site = Site::new();
    let server = Server::new(&site).await;
    let viewing = join(&server.metrics, &server.key, "a").await;
    server.failures.store(100, Relaxed);
    drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
    drop(viewing.submit(&PlayerEvent::pause(1.0)).unwrap());
    drop(viewing);
    file(soon(server.metrics.stop_within(LIMIT, &spool(&site))).await, 1);
    let faults = Faults::default().failing(100);
    let failures = faults.failures();
    let store: Arc<dyn Store> = Arc::new(faults.over(Arc::new(site.store().await)));
    let spool = spool(&site);
    let mut taking = std::pin::pin!(spool.recover(&store));
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut taking).await.is_err());
    failures.store(0, Relaxed);
    assert_eq!(soon(taking).await.unwrap(), recovered(1));
    assert_eq!(site.segments(&server.key, "a").await, [(0.0, 1.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_spool_file_holds_no_more_than_the_store() {
    let site = Site::new();
    let server = Server::new(&site).await;
    server.failures.store(100, Relaxed);
    let viewing = join(&server.metrics, &server.key, "name-of-the-session").await;
    let event = PlayerEvent::play(0.0).with_timestamp(1_718_000_012_345);
    drop(viewing.submit(&event).unwrap());
    drop(viewing);
    let file = file(soon(server.metrics.stop_within(LIMIT, &spool(&site))).await, 1);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("intro"), "{text}");
    for secret in ["name-of-the-session", "1718000012345"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_damaged_is_named_and_stays() {
    let site = Site::new();
    let file = site.path().with_file_name("metrics.db.00000001.spool");
    let store: Arc<dyn Store> = Arc::new(site.store().await);
    let header = r#"{"layout":1,"id":1,"instance":2}"#;
    for (text, line) in [
        (String::new(), 1),
        ("{}".to_owned(), 1),
        (r#"{"layout":2,"id":1,"instance":2}"#.to_owned(), 1),
        (format!("{header}\n{{}}"), 2),
    ] {
        fs::write(&file, text).unwrap();
        let refused = spool(&site).recover(&store).await.unwrap_err();
        assert!(
            matches!(refused, SpoolError::Damaged { line: it, .. } if it == line),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("metrics.db.00000001.spool"), "{refused}");
        assert!(file.exists());
    }
}

#[tokio::test(start_paused = true)]
async fn files_of_other_databases_are_left_alone() {
    let site = Site::new();
    for name in
        ["other.db.00000001.spool", "metrics.db.bak.00000001.spool", "metrics.db.00000001.part"]
    {
        fs::write(site.path().with_file_name(name), "nothing of ours").unwrap();
    }
    assert_eq!(recover(&site).await, Recovered::default());
}

#[tokio::test(start_paused = true)]
async fn a_spill_that_fails_is_reported() {
    let site = Site::new();
    let server = Server::new(&site).await;
    let viewing = join(&server.metrics, &server.key, "a").await;
    server.failures.store(100, Relaxed);
    drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
    let nowhere = Spool::new(site.path().with_file_name("nowhere"), "metrics.db");
    drop(viewing);
    let refused = soon(server.metrics.stop_within(LIMIT, &nowhere)).await.unwrap_err();
    assert!(matches!(refused, SpoolError::Write { .. }), "{refused:?}");
}

//! Several servers that hold one session at the same time: nothing is lost, and nothing counts twice.
//!
//! These are examples; [`model`](crate::model) has random ones.

use metrics_core::event::Action;
use metrics_core::{Metrics, PlayerEvent};
use tokio::task::JoinSet;

use crate::support::{Site, join, joining, segments, soon, two_servers, wait_for_checkpoint};

#[tokio::test(start_paused = true)]
async fn batches_that_go_round_many_servers_are_all_counted() {
    let site = Site::new();
    let mut servers = Vec::new();
    let key = site.server().await.create_key().await.unwrap();
    for _ in 0..9 {
        servers.push(site.server().await);
    }
    let mut expected = Vec::new();
    for (number, server) in servers.iter().cycle().take(40).enumerate() {
        let from = 10.0 * number as f64;
        let viewing = server.visit(joining(&key, "a")).await.unwrap();
        soon(viewing.apply(PlayerEvent::play(from))).await.unwrap();
        soon(viewing.apply(PlayerEvent::pause(from + 2.0))).await.unwrap();
        expected.push((from, from + 2.0));
    }
    assert_eq!(site.segments(&key, "a").await, expected);
}

/// The batch has events without an effect when they were received first: they might have one now.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_sent_again_to_another_server_changes_nothing() {
    let (site, [here, there], key) = two_servers().await;
    let send = async |server: &Metrics, events: &[PlayerEvent]| {
        let viewing = server.visit(joining(&key, "a")).await.unwrap();
        for event in events {
            soon(viewing.apply(event.clone())).await.unwrap();
        }
    };
    let batch = [
        PlayerEvent::play(0.0).with_timestamp(1_000),
        PlayerEvent::pause(2.0).with_timestamp(3_000),
        PlayerEvent::pause(12.5).with_timestamp(3_500),
        PlayerEvent::new(Action::RebufferingEnd).with_timestamp(3_600),
    ];
    send(&here, &batch).await;
    send(&there, &[PlayerEvent::play(10.0).with_timestamp(4_000)]).await;
    send(&here, &batch).await;
    send(&there, &[PlayerEvent::pause(14.0).with_timestamp(8_000)]).await;
    assert_eq!(site.segments(&key, "a").await, [(0.0, 2.0), (10.0, 14.0)]);
}

/// The second server receives each `pause` without its `play`.
#[tokio::test(start_paused = true)]
async fn a_segment_may_begin_at_one_server_and_end_at_another() {
    for stamped in [false, true] {
        let (site, [here, there], key) = two_servers().await;
        let mut clock_ms = 0;
        let mut send = async |server: &Metrics, event: PlayerEvent| {
            clock_ms += 1_000;
            let event = if stamped { event.with_timestamp(clock_ms) } else { event };
            let viewing = server.visit(joining(&key, "a")).await.unwrap();
            soon(viewing.apply(event)).await.unwrap();
        };
        for from in [0.0, 10.0, 20.0, 30.0] {
            send(&here, PlayerEvent::play(from)).await;
            send(&there, PlayerEvent::pause(from + 1.0)).await;
        }
        let expected = [(0.0, 1.0), (10.0, 11.0), (20.0, 21.0), (30.0, 31.0)];
        assert_eq!(site.segments(&key, "a").await, expected, "stamped: {stamped}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_returns_from_another_server_is_continued() {
    let (site, [here, there], key) = two_servers().await;
    let viewing = join(&here, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(1.0)).await.unwrap();
    drop(viewing);
    let viewing = join(&there, &key, "a").await;
    viewing.apply(PlayerEvent::play(10.0)).await.unwrap();
    site.clock.pass(3.0);
    soon(viewing.lose(site.clock.moment()).durable()).await.unwrap();
    let viewing = join(&here, &key, "a").await;
    viewing.apply(PlayerEvent::pause(14.5)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 1.0), (10.0, 14.5)]);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_moves_to_another_server_watches_one_session() {
    let (site, [here, there], key) = two_servers().await;
    let old = join(&here, &key, "a").await;
    old.apply(PlayerEvent::play(0.0)).await.unwrap();
    site.clock.pass(10.0);
    // The server of the old connection has not detected its loss yet.
    let new = join(&there, &key, "a").await;
    site.clock.pass(10.0);
    new.apply(PlayerEvent::pause(19.0)).await.unwrap();
    site.clock.pass(40.0);
    soon(old.lose(site.clock.moment()).durable()).await.unwrap();
    new.apply(PlayerEvent::play(30.0)).await.unwrap();
    new.apply(PlayerEvent::pause(31.0)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 19.0), (30.0, 31.0)]);
}

/// A server that detects late that a viewer has moved must not remove segments that the other server wrote.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_late_undoes_nothing() {
    for (stays, expected) in [(true, 90.0), (false, 20.0)] {
        // The server that is started last writes last whenever both write.
        let (site, [there, here], key) = two_servers().await;
        let old = join(&here, &key, "a").await;
        old.apply(PlayerEvent::play(0.0)).await.unwrap();
        site.clock.pass(5.0);
        let last_received = site.clock.moment();
        site.clock.pass(5.0);
        let new = join(&there, &key, "a").await;
        wait_for_checkpoint().await;
        site.clock.pass(10.0);
        let new = Some(new).filter(|_| stays);
        for _ in 0..4 {
            wait_for_checkpoint().await;
            site.clock.pass(15.0);
        }
        soon(old.lose(last_received).durable()).await.unwrap();
        site.clock.pass(10.0);
        wait_for_checkpoint().await;
        drop(new);
        soon(there.stop()).await;
        assert_eq!(site.segments(&key, "a").await, [(0.0, expected)], "stays: {stays}");
    }
}

/// One server opens and closes the segment, while another one writes the same session in between.
#[tokio::test(start_paused = true)]
async fn a_segment_is_exact_although_another_server_writes_while_it_is_open() {
    enum End {
        Play,
        Leave,
        Drop,
    }
    for (end, name) in [(End::Play, "play"), (End::Leave, "leave"), (End::Drop, "drop")] {
        let (site, [here, there], key) = two_servers().await;
        let viewing = join(&here, &key, "a").await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        site.clock.pass(4.0);
        let other = there.visit(joining(&key, "a")).await.unwrap();
        other.apply(PlayerEvent::new(Action::PlaybackFailure)).await.unwrap();
        site.clock.pass(8.0);
        match end {
            End::Play => viewing.apply(PlayerEvent::play(50.0)).await.unwrap(),
            End::Leave => soon(viewing.leave().durable()).await.unwrap(),
            End::Drop => drop(viewing),
        }
        soon(here.stop()).await;
        assert_eq!(site.segments(&key, "a").await, [(0.0, 12.0)], "{name}");
        assert_eq!(site.stored(&key, "a").await.unwrap().counters.failures, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_on_many_threads_lose_nothing_and_double_nothing() {
    const ROUNDS: u32 = 60;
    let site = Site::new();
    let (here, there) = (site.server().await, site.server().await);
    let key = here.create_key().await.unwrap();
    while !there.accepts_key(&key).await.unwrap() {
        tokio::task::yield_now().await;
    }
    let mut tasks = JoinSet::new();
    for session in 0..8 {
        let name = session.to_string();
        let begin = join(&here, &key, &name).await;
        soon(begin.apply(PlayerEvent::play(1_000.0))).await.unwrap();
        soon(begin.apply(PlayerEvent::pause(1_001.0))).await.unwrap();
        // One server receives the plays, both receive failures.
        let (plays, key_of_plays) = (here.clone(), key.clone());
        let name_of_plays = name.clone();
        tasks.spawn(async move {
            for round in 0..ROUNDS {
                let viewing = join(&plays, &key_of_plays, &name_of_plays).await;
                let from = 3.0 * f64::from(round);
                let mut begun = viewing.submit(&PlayerEvent::play(from)).unwrap();
                if round % 2 == 0 {
                    soon(begun.durable()).await.unwrap();
                }
                soon(viewing.apply(PlayerEvent::pause(from + 2.0))).await.unwrap();
            }
        });
        for server in [here.clone(), there.clone()] {
            let (key, name) = (key.clone(), name.clone());
            tasks.spawn(async move {
                let viewing = server.visit(joining(&key, &name)).await.unwrap();
                for round in 0..ROUNDS {
                    let failure = PlayerEvent::new(Action::PlaybackFailure);
                    let mut failed = viewing.submit(&failure).unwrap();
                    if round % 3 == 0 {
                        soon(failed.durable()).await.unwrap();
                    }
                }
            });
        }
    }
    soon(tasks.join_all()).await;
    soon(here.stop()).await;
    soon(there.stop()).await;
    let mut expected: Vec<_> =
        (0..ROUNDS).map(|round| (3.0 * f64::from(round), 3.0 * f64::from(round) + 2.0)).collect();
    expected.push((1_000.0, 1_001.0));
    for session in 0..8 {
        let stored = site.stored(&key, &session.to_string()).await.unwrap();
        assert_eq!(stored.counters.failures, 2 * ROUNDS, "session {session}");
        assert_eq!(segments(&stored), expected, "session {session}");
    }
}

//! Stopping: everything is durable, and nothing waits for ever.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_core::event::Action;
use metrics_core::{EventError, PlayerEvent};
use tokio::task::JoinSet;

use crate::support::{faulty_server, join, one_server, soon};

#[tokio::test(flavor = "multi_thread")]
async fn stopping_makes_everything_durable() {
    let (site, metrics, key) = one_server().await;
    let mut viewings = Vec::new();
    for number in 0..600 {
        let viewing = join(&metrics, &key, &number.to_string()).await;
        drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
        drop(viewing.submit(&PlayerEvent::pause(2.0)).unwrap());
        drop(viewing.submit(&PlayerEvent::play(10.0)).unwrap());
        viewings.push(viewing);
    }
    site.clock.pass(3.0);
    drop(viewings);
    soon(metrics.stop()).await;
    assert_eq!(site.plays().await, (600, 600 * 5_000));
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_an_unavailable_store() {
    let (site, metrics, key, failures) = faulty_server().await;
    let viewing = join(&metrics, &key, "a").await;
    failures.store(100, Relaxed);
    drop(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
    drop(viewing.submit(&PlayerEvent::pause(2.0)).unwrap());
    drop(viewing);
    let stopping = tokio::spawn({
        let metrics = metrics.clone();
        async move { metrics.stop().await }
    });
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!stopping.is_finished());
    failures.store(0, Relaxed);
    soon(stopping).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 2.0)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_after_the_stop_fails() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    soon(metrics.stop()).await;
    soon(metrics.stop()).await;

    for _ in 0..3 {
        let refused = soon(viewing.apply(PlayerEvent::play(5.0))).await;
        assert!(matches!(refused, Err(EventError::NotStored(_))), "{refused:?}");
    }
    let late = join(&metrics, &key, "b").await;
    let refused = soon(late.apply(PlayerEvent::play(0.0))).await;
    assert!(matches!(refused, Err(EventError::NotStored(_))), "{refused:?}");
    soon(metrics.ready()).await;
    assert_eq!(site.segments(&key, "a").await, [(0.0, 2.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopping_ends_although_events_keep_coming() {
    let (site, metrics, key) = one_server().await;
    let mut senders = JoinSet::new();
    for number in 0..16 {
        let viewing = join(&metrics, &key, &number.to_string()).await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        senders.spawn(async move {
            let failure = PlayerEvent::new(Action::PlaybackFailure);
            let mut under_way = Vec::new();
            loop {
                match viewing.submit(&failure) {
                    Ok(acknowledgement) => under_way.push(acknowledgement),
                    Err(EventError::NotStored(_)) => break,
                    Err(err) => panic!("{err:?}"),
                }
                tokio::task::yield_now().await;
            }
            let mut stored = 0;
            for mut acknowledgement in under_way {
                stored += u32::from(acknowledgement.durable().await.is_ok());
            }
            (number, stored)
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::timeout(Duration::from_secs(20), metrics.stop()).await.expect("it goes on");
    for (number, acknowledged) in soon(senders.join_all()).await {
        let stored = site.stored(&key, &number.to_string()).await.unwrap();
        assert_eq!(stored.counters.failures, acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_ends_with_the_last_viewing() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    drop(metrics);
    soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap();
    site.clock.pass(2.0);
    let mut left = viewing.leave();
    soon(left.durable()).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 2.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acknowledgement_is_lost_under_load() {
    let (site, metrics, key) = one_server().await;
    let busy = Arc::new(AtomicBool::new(true));
    let mut tasks = JoinSet::new();
    for number in 0..64_u32 {
        let (metrics, key, busy) = (metrics.clone(), key.clone(), Arc::clone(&busy));
        tasks.spawn(async move {
            let mut rounds = 0;
            // A few sessions each, so that tasks meet in them.
            let name = (number % 24).to_string();
            while busy.load(Relaxed) || rounds == 0 {
                let viewing = join(&metrics, &key, &name).await;
                let seek = PlayerEvent::new(Action::Seeked);
                soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap();
                let first = viewing.submit(&seek).unwrap();
                let second = viewing.submit(&seek).unwrap();
                for mut acknowledgement in [second, first] {
                    soon(acknowledgement.durable()).await.unwrap();
                }
                soon(viewing.leave().durable()).await.unwrap();
                rounds += 1;
            }
            (name, 2 * rounds)
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    busy.store(false, Relaxed);
    let done = soon(tasks.join_all()).await;
    soon(metrics.stop()).await;
    for name in (0..24).map(|number| number.to_string()) {
        let sent: u32 = done.iter().filter(|(it, _)| *it == name).map(|(_, seeks)| *seeks).sum();
        let stored = site.stored(&key, &name).await.unwrap();
        assert_eq!(stored.counters.details.seeks, sent);
    }
}

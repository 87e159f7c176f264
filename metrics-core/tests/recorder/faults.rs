//! Stores that fail, and stores that refuse.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_core::event::Action;
use metrics_core::key::SessionId;
use metrics_core::{EventError, PlayerEvent};
use metrics_testing::Faults;

use crate::support::{Site, faulty_server, join, segments, soon, wait_for_checkpoint};

#[tokio::test(start_paused = true)]
async fn events_wait_for_an_unavailable_store() {
    let (site, metrics, key, failures) = faulty_server().await;
    let viewing = join(&metrics, &key, "a").await;
    failures.store(100, Relaxed);
    let mut played = viewing.submit(&PlayerEvent::play(0.0)).unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(60), played.durable()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    let mut paused = viewing.submit(&PlayerEvent::pause(2.0)).unwrap();
    let stats = metrics.stats();
    assert_eq!((stats.waiting, stats.unavailable_since), (3, Some(site.clock.now())));
    failures.store(0, Relaxed);
    soon(played.durable()).await.unwrap();
    soon(paused.durable()).await.unwrap();
    let stats = metrics.stats();
    assert_eq!((stats.waiting, stats.unavailable_since), (0, None));
    assert_eq!(site.segments(&key, "a").await, [(0.0, 2.0)]);
}

/// The store is unavailable when the segment ends, which must not lose playback since the last checkpoint.
#[tokio::test(start_paused = true)]
async fn an_open_segment_is_exact_although_the_store_was_unavailable() {
    for percent in [20, 50] {
        for seed in 0..20 {
            let (site, metrics, key, failures) = faulty_server().await;
            let viewing = join(&metrics, &key, "a").await;
            viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
            failures.store(percent, Relaxed);
            // Other calls, so that each seed fails another call.
            for _ in 0..seed {
                metrics.store().check().await.ok();
            }
            soon(viewing.apply(PlayerEvent::new(Action::RebufferingStart { from: None })))
                .await
                .unwrap();
            site.clock.pass(2.0);
            soon(viewing.apply(PlayerEvent::new(Action::RebufferingEnd))).await.unwrap();
            site.clock.pass(10.0);
            soon(viewing.apply(PlayerEvent::play(30.0))).await.unwrap();
            site.clock.pass(5.0);
            drop(viewing);
            soon(metrics.stop()).await;
            let stored = site.stored(&key, "a").await.unwrap();
            assert_eq!(segments(&stored), [(0.0, 10.0), (30.0, 35.0)]);
            let counters = &stored.counters;
            assert_eq!((counters.rebufferings, counters.rebuffering_ms), (1, 2_000));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_refused_does_not_affect_the_others() {
    let site = Site::new();
    let inner = site.store().await;
    let key = site.server().await.create_key().await.unwrap();
    let poison = SessionId::new(&key, "poison");
    let metrics = site.server_over(Faults::default().refusing(poison).over(Arc::new(inner)));
    let mut viewings = Vec::new();
    for name in ["before", "poison", "after"] {
        viewings.push(join(&metrics, &key, name).await);
    }
    let mut acknowledgements = Vec::new();
    for viewing in &viewings {
        acknowledgements.push(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
        acknowledgements.push(viewing.submit(&PlayerEvent::pause(2.0)).unwrap());
    }

    let mut stored = Vec::new();
    for acknowledgement in &mut acknowledgements {
        stored.push(soon(acknowledgement.durable()).await.is_ok());
    }

    assert_eq!(stored, [true, true, false, false, true, true]);
    assert_eq!(site.segments(&key, "before").await, [(0.0, 2.0)]);
    assert_eq!(site.segments(&key, "after").await, [(0.0, 2.0)]);
    assert!(site.stored(&key, "poison").await.is_none());
    // The recorder does not retry the refused session for ever.
    let refused = soon(viewings[1].apply(PlayerEvent::play(0.0))).await;
    assert!(matches!(refused, Err(EventError::NotStored(_))), "{refused:?}");
    drop(viewings);
    soon(metrics.stop()).await;
}

/// Every acknowledged event is stored, also if it was sent before the store refused the session.
#[tokio::test(start_paused = true)]
async fn nothing_that_is_lost_with_a_refusal_is_acknowledged() {
    for turns in 0..60 {
        let site = Site::new();
        let inner = site.store().await;
        let key = site.server().await.create_key().await.unwrap();
        let poison = SessionId::new(&key, "poison");
        let metrics = site.server_over(Faults::default().refusing(poison).over(Arc::new(inner)));
        let viewing = join(&metrics, &key, "poison").await;
        let mut acknowledgements = vec![viewing.submit(&PlayerEvent::play(0.0)).unwrap()];
        for _ in 0..turns {
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_micros(50));
        }
        acknowledgements.push(viewing.submit(&PlayerEvent::play(5.0)).unwrap());
        for acknowledgement in &mut acknowledgements {
            soon(acknowledgement.durable()).await.unwrap_err();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn space_is_freed_when_events_become_durable() {
    let (site, metrics, key, failures) = faulty_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    soon(metrics.ready()).await;

    failures.store(100, Relaxed);
    let failure = PlayerEvent::new(Action::PlaybackFailure);
    let mut last = None;
    for _ in 0..200_000 {
        last = Some(viewing.submit(&failure).unwrap());
    }
    let waiting = tokio::time::timeout(Duration::from_secs(60), metrics.ready()).await;
    assert!(waiting.is_err());

    failures.store(0, Relaxed);
    soon(metrics.ready()).await;
    soon(last.unwrap().durable()).await.unwrap();
    assert_eq!(site.stored(&key, "a").await.unwrap().counters.failures, 200_000);
    wait_for_checkpoint().await;
    soon(metrics.ready()).await;
}

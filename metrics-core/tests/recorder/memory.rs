//! A memory budget that is used up: the recorder refuses new data, and loses nothing that it accepted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_core::budget::Budget;
use metrics_core::event::Action;
use metrics_core::{ApiKey, EventError, JoinError, Metrics, PlayerEvent};
use metrics_testing::Faults;
use serde_json::json;

use crate::support::{Site, joining, soon, wait_for_checkpoint};

/// Enough for a hundred sessions, more or less.
const BUDGET: usize = 1024 * 1024;

/// The bytes of data of each session.
const TEXT: usize = 10_000;

fn server(site: &Site, store: impl metrics_core::store::Store, budget: &Budget) -> Metrics {
    let metrics = Metrics::builder(Arc::new(store)).clock(site.clock.reader());
    metrics.memory(budget.clone()).start()
}

/// Sends batches of new sessions until one is refused, and returns how many sessions were taken.
async fn fill(metrics: &Metrics, key: &ApiKey, first: usize) -> usize {
    for number in first.. {
        let data = json!({ "text": "x".repeat(TEXT) });
        let join = joining(key, &number.to_string());
        let join = join.session_data(data.as_object().unwrap().clone());
        match metrics.visit(join).await {
            Ok(viewing) => {
                drop(viewing.submit(&PlayerEvent::play(0.0).with_timestamp(0)).unwrap());
                drop(viewing.submit(&PlayerEvent::pause(2.0).with_timestamp(2_000)).unwrap());
            }
            Err(JoinError::Memory) => return number - first,
            Err(err) => panic!("{err}"),
        }
    }
    unreachable!("there is no end of numbers")
}

#[tokio::test(start_paused = true)]
async fn waiting_events_are_bounded_in_bytes_and_all_are_written() {
    let (site, budget) = (Site::new(), Budget::new(BUDGET));
    let store = Faults::default().over(Arc::new(site.store().await));
    let failures = store.intercept.failures();
    let metrics = server(&site, store, &budget);
    let key = metrics.create_key().await.unwrap();
    assert!(metrics.accepts_key(&key).await.unwrap());

    failures.store(100, Relaxed);
    let taken = fill(&metrics, &key, 0).await;
    assert!((30..BUDGET / TEXT).contains(&taken), "{taken}");
    assert!(budget.used() <= BUDGET * 3 / 4, "{budget:?}");
    let crowded = tokio::time::timeout(Duration::from_secs(60), metrics.ready()).await;
    assert!(crowded.is_err(), "it reads on");
    let stats = metrics.stats();
    assert_eq!((stats.session_bytes, stats.joins.no_memory), (budget.used(), 1));

    failures.store(0, Relaxed);
    soon(metrics.ready()).await;
    wait_for_checkpoint().await;
    // Durable sessions make room for others.
    let more = fill(&metrics, &key, taken).await;
    assert!(0 < more);
    soon(metrics.stop()).await;
    let sessions = (taken + more) as u64;
    assert_eq!(site.plays().await, (sessions, sessions * 2_000));
    drop(metrics);
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_are_evicted_when_others_need_the_memory() {
    let (site, budget) = (Site::new(), Budget::new(BUDGET));
    let metrics = server(&site, site.store().await, &budget);
    let key = metrics.create_key().await.unwrap();
    for number in 0..10 {
        let viewing = metrics.visit(joining(&key, &number.to_string())).await.unwrap();
        soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap();
        soon(viewing.apply(PlayerEvent::pause(2.0))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(metrics.stats().in_memory, 10, "there is room for them");

    let answers = budget.try_reserve(BUDGET - budget.used()).unwrap();
    let refused = metrics.visit(joining(&key, "another")).await;
    assert!(matches!(refused, Err(JoinError::Memory)), "{refused:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stats = metrics.stats();
    assert_eq!((stats.in_memory, stats.session_bytes), (0, 0));

    drop(answers);
    let viewing = metrics.visit(joining(&key, "another")).await.unwrap();
    soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap();
    drop(viewing);
    soon(metrics.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn an_existing_session_grows_until_no_memory_remains() {
    let (site, budget) = (Site::new(), Budget::new(BUDGET));
    let metrics = server(&site, site.store().await, &budget);
    let key = metrics.create_key().await.unwrap();
    let viewing = metrics.join(joining(&key, "a")).await.unwrap();
    soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap();
    let before = budget.used();
    for number in 0..1_000 {
        let at_ms = 100_000 * number;
        let play = PlayerEvent::play(0.0).with_timestamp(at_ms);
        soon(viewing.apply(play)).await.unwrap();
        let pause = PlayerEvent::pause(50.0).with_timestamp(at_ms + 50_000);
        soon(viewing.apply(pause)).await.unwrap();
    }
    assert!(before + 8 * 900 <= budget.used(), "{before} bytes before, {budget:?} after");

    let answers = budget.try_reserve(BUDGET - budget.used()).unwrap();
    // A connected viewer joins again, which takes no memory.
    let again = metrics.join(joining(&key, "a")).await.unwrap();
    let refused = again.apply(PlayerEvent::new(Action::PlaybackFailure)).await;
    assert_eq!(refused, Err(EventError::Memory));
    assert_eq!(metrics.stats().events.no_memory, 1);
    drop(answers);
    soon(again.apply(PlayerEvent::new(Action::PlaybackFailure))).await.unwrap();
    drop((viewing, again));
    soon(metrics.stop()).await;
    assert_eq!(site.stored(&key, "a").await.unwrap().counters.failures, 1);
}

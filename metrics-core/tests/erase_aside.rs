//! Sessions are erased off the threads that serve: events are acknowledged while an erasure waits for a processor.
//!
//! A file of its own, as it keeps all processors of its process busy.

#![cfg(feature = "sqlite")]

use std::sync::{Arc, Mutex, mpsc};

use chrono::{DateTime, Utc};
use metrics_core::compute::{compute, parallelism};
use metrics_core::store::{SqliteStore, Store};
use metrics_core::upkeep::{self, Erasure, count_selected, erase};
use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};

/// One thread serves everything, and all threads that compute are held up: if sessions were decoded by the thread that
/// serves, the erasure would go on.
#[tokio::test]
async fn events_are_acknowledged_while_sessions_are_erased() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let metrics = Metrics::builder(Arc::clone(&store)).start();
    let key = metrics.create_key().await.unwrap();
    for number in 0..20 {
        let join = Join::new(key.clone(), number.to_string(), Video::labelled("intro"));
        let viewing = metrics.join(join.page("https://a.example/reset/")).await.unwrap();
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing.leave().durable().await.unwrap();
        if number == 9 {
            upkeep::close(&*store, DateTime::<Utc>::MAX_UTC, 100).await.unwrap();
        }
    }
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let busy: Vec<_> = (0..parallelism())
        .map(|_| {
            let held = Arc::clone(&held);
            tokio::spawn(compute(move || held.lock().unwrap().recv()))
        })
        .collect();
    tokio::task::yield_now().await;
    let erasure = Erasure::of(Selection::key(key.clone())).on_page("https://a.example/reset/");
    let (counting, erasing) = (Arc::clone(&store), Arc::clone(&store));
    let selected = erasure.clone();
    let counting = tokio::spawn(async move { count_selected(&*counting, &selected).await });
    let erasing = tokio::spawn(async move { erase(&*erasing, &erasure).await });

    let join = Join::new(key, "bystander", Video::labelled("intro"));
    let bystander = metrics.join(join).await.unwrap();
    for second in 0..20 {
        bystander.apply(PlayerEvent::play(f64::from(second))).await.unwrap();
        bystander.apply(PlayerEvent::pause(f64::from(second) + 1.0)).await.unwrap();
    }
    assert!(!counting.is_finished() && !erasing.is_finished());

    drop(release);
    for busy in busy {
        busy.await.unwrap().unwrap().unwrap_err();
    }
    assert!(counting.await.unwrap().unwrap().sessions <= 20);
    assert_eq!(erasing.await.unwrap().unwrap().sessions.sessions, 20);
    assert_eq!(store.count_sessions().await.unwrap(), 1);
}

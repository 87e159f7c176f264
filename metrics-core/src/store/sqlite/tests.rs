//! Connections that are lent, and come home.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn a_report_that_nobody_waits_for_keeps_its_connection_until_it_ends() {
    const ABANDONED: usize = 100;
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    let store = Arc::new(store);
    let began = Arc::new(AtomicUsize::new(0));
    let mut endings = Vec::new();
    let mut reports = JoinSet::new();
    for _ in 0..ABANDONED {
        let (end, ended) = mpsc::channel::<()>();
        endings.push(end);
        let (store, began) = (Arc::clone(&store), Arc::clone(&began));
        reports.spawn(async move {
            let wait = move |_: &mut SqliteConnection| {
                began.fetch_add(1, Ordering::Relaxed);
                // An error means the same: the test has let go of the other end.
                let _ended = ended.recv();
                Ok(())
            };
            store.read(&store.reports, "wait", wait).await
        });
    }
    while began.load(Ordering::Relaxed) < READERS {
        tokio::task::yield_now().await;
    }
    reports.shutdown().await;
    assert_eq!(store.reports.permits.available_permits(), 0);
    drop(endings);
    // It waits for one of those that run, and for none of those that had not begun.
    assert_eq!(store.count_sessions().await.unwrap(), 0);
    assert_eq!(began.load(Ordering::Relaxed), READERS);
}

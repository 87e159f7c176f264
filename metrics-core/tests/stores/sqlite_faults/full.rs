//! Disks that are full or read-only, and commits larger than their memory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use metrics_core::store::{Error, Outcome, SessionWrite, SqliteStore, Store as _};
use metrics_core::{Metrics, PlayerEvent};
use metrics_testing::{Call, Intercept, Intercepted, Method, SmallDisk};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{WAIT, check_whole, expect, fault, open_in, refusal, some, wait_for_store};

const FULL: &str = "SQLite is unavailable: database or disk is full: make room on its disk";

async fn check_full_disk(batch: usize) {
    let disk = SmallDisk::new(32);
    let (store, path, key) = open_in(disk.path()).await;
    let before = some(&key, "before", 100);
    assert_eq!(store.commit(before).await.unwrap(), [Outcome::Written; 100]);
    disk.fill();
    let (mut written, mut refused) = (100, None);
    // The first commits reuse the log's space of an earlier transaction.
    for round in 0..100 {
        let writes = some(&key, &round.to_string(), batch);
        match store.commit(Arc::clone(&writes)).await {
            Ok(_) => written += batch,
            err => {
                assert_eq!(fault(err), FULL);
                refused = Some(writes);
                break;
            }
        }
    }
    let refused = refused.expect("a full disk has no room for all that");
    // Nothing of the refused commit is stored, other sessions are readable, and each retry fails in the same way.
    for _ in 0..3 {
        assert_eq!(fault(store.commit(Arc::clone(&refused)).await), FULL);
        assert_eq!(store.count_sessions().await.unwrap(), written as u64);
        let ids: Vec<_> = refused.iter().map(|write| write.id).collect();
        assert!(store.load(&ids).await.unwrap().iter().all(Option::is_none));
    }
    disk.empty();
    let outcomes = store.commit(Arc::clone(&refused)).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Written));
    assert_eq!(store.count_sessions().await.unwrap(), (written + batch) as u64);
    drop(store);
    check_whole(&path);
}

#[tokio::test]
async fn a_commit_that_a_full_disk_has_no_room_for_is_undone_and_can_be_repeated() {
    check_full_disk(1).await;
}

/// SQLite then reaches the end of the disk before the commit, and rolls back by itself.
#[tokio::test]
async fn a_commit_that_is_larger_than_the_memory_for_it_is_undone_and_can_be_repeated() {
    check_full_disk(5_000).await;
}

/// The error is retryable: `--wait-for-store` waits for space on the disk.
#[tokio::test]
async fn a_file_on_a_full_disk_is_opened_when_there_is_room() {
    let disk = SmallDisk::new(4);
    let (store, path, key) = open_in(disk.path()).await;
    store.commit(some(&key, "before", 10)).await.unwrap();
    drop(store);
    let new = disk.path().join("new.db");
    disk.fill();
    expect(fault(SqliteStore::open(&path).await), "room on its disk");
    expect(fault(SqliteStore::open(&new).await), "room on its disk");
    disk.empty();
    assert_eq!(SqliteStore::open(&path).await.unwrap().count_sessions().await.unwrap(), 10);
    SqliteStore::open(&new).await.unwrap().check().await.unwrap();
    check_whole(&path);
}

#[tokio::test]
async fn a_file_on_a_disk_that_can_only_be_read_is_refused() {
    let disk = SmallDisk::new(4);
    let (store, path, key) = open_in(disk.path()).await;
    store.commit(some(&key, "before", 10)).await.unwrap();
    drop(store);
    disk.set_read_only(true);
    expect(refusal(&path).await, "writable");
    let err = SqliteStore::open(disk.path().join("new.db")).await.unwrap_err().to_string();
    expect(err, "writable");
    disk.set_read_only(false);
    assert_eq!(SqliteStore::open(&path).await.unwrap().count_sessions().await.unwrap(), 10);
}

/// A store that is readable, but not writable until `repaired` is set.
#[derive(Clone, Debug)]
struct Unwritable {
    tries: watch::Sender<u32>,
    repaired: Arc<AtomicBool>,
}

#[async_trait]
impl Intercept for Unwritable {
    async fn intercept<T: Send + 'static>(&self, _: Method, call: Call<T>) -> Result<T, Error> {
        call.await
    }

    fn inspect(&self, _: &[SessionWrite]) -> Result<(), Error> {
        self.tries.send_modify(|tries| *tries += 1);
        if self.repaired.load(Relaxed) {
            return Ok(());
        }
        Err(Error::Unavailable { store: "SQLite", source: "the disk is full".into() })
    }
}

/// Otherwise each retry would report the store available and then unavailable again.
#[tokio::test]
async fn a_store_that_can_be_read_but_not_written_stays_unavailable() {
    let directory = TempDir::new().unwrap();
    let (store, _path, key) = open_in(directory.path()).await;
    let intercept = Unwritable { tries: watch::Sender::new(0), repaired: Arc::default() };
    let store = Intercepted { store: Arc::new(store), intercept: intercept.clone() };
    let metrics = Metrics::new(store);
    let viewing = wait_for_store(&metrics, &key, "waits").await;
    let since = metrics.stats().unavailable_since;
    assert!(since.is_some());
    // The recorder loads the session before each try.
    let mut tries = intercept.tries.subscribe();
    tokio::time::timeout(WAIT, tries.wait_for(|tries| 4 < *tries)).await.unwrap().unwrap();
    assert_eq!(metrics.stats().unavailable_since, since);
    intercept.repaired.store(true, Relaxed);
    viewing.submit(&PlayerEvent::play(7.0)).unwrap().durable().await.unwrap();
    assert_eq!(metrics.stats().unavailable_since, None);
}

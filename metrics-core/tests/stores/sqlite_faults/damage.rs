//! Files that are damaged: while they are open, and before they are opened.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use metrics_core::recorder::{Spool, Stopped};
use metrics_core::store::{Outcome, SqliteStore, Store};
use metrics_core::{Metrics, Selection};
use tempfile::TempDir;

use super::{
    check_whole, connect, expect, fault, open_in, read_open, refusal, some, wait_for_store,
};

const DAMAGED: &str = "SQLite is damaged: database disk image is malformed: the file is damaged: stop all servers \
    on it, which spill their waiting sessions, restore a backup, and start again";

/// Bytes of a file that can be damaged and mended again.
struct Bytes {
    path: PathBuf,
    from: u64,
    before: Vec<u8>,
}

impl Bytes {
    /// The root page of a table.
    fn root_of(path: &Path, table: &str) -> Self {
        let mut connection = connect(path);
        // Moves everything from the log into the file.
        connection.batch_execute("pragma wal_checkpoint(truncate)").unwrap();
        let number = |query: &str| -> i64 {
            diesel::dsl::sql::<BigInt>(query).get_result(&mut connect(path)).unwrap()
        };
        let size = number("select page_size from pragma_page_size");
        let page = number(&format!("select rootpage from sqlite_schema where name = '{table}'"));
        Self::at(path, (size * (page - 1)) as u64, size as usize)
    }

    fn at(path: &Path, from: u64, len: usize) -> Self {
        let mut before = vec![0; len];
        let mut file = fs::File::open(path).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        file.read_exact(&mut before).unwrap();
        Self { path: path.to_owned(), from, before }
    }

    fn overwrite(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.from)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn damage(&self) {
        self.overwrite(&vec![0xA5; self.before.len()]);
    }

    fn restore(&self) {
        self.overwrite(&self.before);
    }
}

#[tokio::test]
async fn a_damaged_file_accepts_nothing_until_it_is_opened_again() {
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    store.commit(some(&key, "before", 100)).await.unwrap();
    drop(store);
    let root = Bytes::root_of(&path, "open_sessions");
    let store = SqliteStore::open(&path).await.unwrap();
    root.damage();
    let writes = some(&key, "after", 10);
    assert!(!store.is_damaged());
    for _ in 0..3 {
        assert_eq!(fault(read_open(&store).await), DAMAGED);
        assert!(store.is_damaged());
        assert_eq!(fault(store.commit(Arc::clone(&writes)).await), DAMAGED);
        assert_eq!(fault(store.check().await), DAMAGED);
    }
    // A snapshot that cannot be opened reports the damage too, instead of an unavailable store.
    let mut snapshots = Vec::new();
    for _ in 0..16 {
        match store.snapshot().await {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(err) => assert_eq!(fault::<()>(Err(err)), DAMAGED),
        }
    }
    assert!(snapshots.len() < 16);
    drop(snapshots);
    root.restore();
    // The store refuses writes until it is opened again: the operator's copy would replace the file and lose them.
    assert_eq!(fault(store.commit(Arc::clone(&writes)).await), DAMAGED);
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.commit(writes).await.unwrap(), [Outcome::Written; 10]);
    assert_eq!(read_open(&store).await.unwrap(), 110);
    drop(store);
    check_whole(&path);
}

#[tokio::test]
async fn sessions_that_a_damaged_file_cannot_accept_are_kept_for_an_intact_one() {
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    store.commit(some(&key, "before", 100)).await.unwrap();
    drop(store);
    let root = Bytes::root_of(&path, "open_sessions");
    let whole = fs::read(&path).unwrap();
    let metrics = Metrics::new(SqliteStore::open(&path).await.unwrap());
    assert!(metrics.accepts_key(&key).await.unwrap());
    root.damage();
    let viewings =
        [wait_for_store(&metrics, &key, "a").await, wait_for_store(&metrics, &key, "b").await];
    drop(viewings);
    let spool = Spool::new(directory.path(), "metrics.db");
    let stopped = metrics.stop_within(Duration::from_millis(100), &spool).await.unwrap();
    assert!(matches!(stopped, Stopped::Spooled { sessions: 2, .. }), "{stopped:?}");
    drop(metrics);

    // As an operator restores a copy: without the old log.
    for ending in ["-wal", "-shm"] {
        let beside = path.with_file_name(format!("metrics.db{ending}"));
        if beside.exists() {
            fs::remove_file(beside).unwrap();
        }
    }
    fs::write(&path, whole).unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path).await.unwrap());
    let recovered = spool.recover(&store).await.unwrap();
    assert_eq!((recovered.files, recovered.sessions, recovered.refused), (1, 2, 0));
    assert_eq!(store.count_sessions().await.unwrap(), 102);
    let metrics = Metrics::builder(store).start();
    let plays = metrics.plays(&Selection::identifier("intro").into()).await.unwrap();
    // The others are older than a week.
    let totals = plays.iter().map(|bucket| (bucket.totals.plays, bucket.totals.view_ms));
    assert_eq!(totals.collect::<Vec<_>>(), [(2, 10_000)]);
    check_whole(&path);
}

#[tokio::test]
async fn a_file_that_is_found_damaged_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    store.commit(some(&key, "before", 100)).await.unwrap();
    drop(store);
    let damaged = "SQLite cannot be used: the file is damaged (database disk image is malformed): restore a \
                   backup, and remove the files beside it that end in -wal and -shm";
    let whole = fs::read(&path).unwrap();
    let cut = |len: usize| fs::write(&path, &whole[..len]).unwrap();
    cut(whole.len() / 2);
    assert_eq!(refusal(&path).await, damaged);
    // In the middle of a page.
    cut(whole.len() / 2 + 1_000);
    assert_eq!(refusal(&path).await, damaged);
    cut(50);
    assert_eq!(refusal(&path).await, damaged);
    cut(whole.len());
    // The table of the schema, and the header that is read first.
    let schema = Bytes::at(&path, 100, 3_900);
    schema.damage();
    expect(refusal(&path).await, "malformed");
    schema.restore();
    let header = Bytes::at(&path, 0, 100);
    header.damage();
    expect(refusal(&path).await, "file is not a database");
    header.restore();
    assert_eq!(SqliteStore::open(&path).await.unwrap().count_sessions().await.unwrap(), 100);
    check_whole(&path);
}

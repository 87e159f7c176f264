//! SQLite stores whose disk is full, or whose file is damaged, missing, locked or torn.
//!
//! Such a store acknowledges nothing that is not stored, reports the fault, and continues when the fault is mended.

#![cfg(feature = "sqlite")]

use std::error::Error as _;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use std::{mem, thread};

use async_trait::async_trait;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use metrics_core::recorder::{Spool, Stopped};
use metrics_core::store::{
    Error, OpenScan, Outcome, SessionWrite, SqliteStore, Store, Subject, Videos,
};
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Selection, Video};
use metrics_testing::{Call, Method, SmallDisk, Through, Way};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::fixture::{self, now};

/// The timeout of everything that a test waits for.
const WAIT: Duration = Duration::from_secs(20);

/// The first write of a session with `bytes` bytes of session data.
fn write(key: &ApiKey, session: &str, bytes: usize) -> SessionWrite {
    let write = fixture::write(key, session, 0);
    let data = Some(format!("{{\"data\":\"{}\"}}", "x".repeat(bytes)));
    let subject = Subject { source: None, session_data: data, ..(*write.subject).clone() };
    SessionWrite { subject: Arc::new(subject), ..write }
}

/// Writes of `sessions` sessions of a kibibyte each.
fn some(key: &ApiKey, name: &str, sessions: usize) -> Arc<[SessionWrite]> {
    (0..sessions).map(|number| write(key, &format!("{name} {number}"), 1_024)).collect()
}

async fn open_in(directory: &Path) -> (SqliteStore, PathBuf, ApiKey) {
    let path = directory.join("metrics.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let key = ApiKey::generate();
    assert!(store.create_key(&key, now()).await.unwrap());
    (store, path, key)
}

fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

/// Counts the open sessions, which a report reads first.
async fn read_open(store: &SqliteStore) -> Result<usize, Error> {
    let scan = OpenScan { videos: Videos::All, from_ms: 0, to_ms: i64::MAX, watched_at: None };
    Ok(store.snapshot().await?.open_sessions(&scan, None, 1_000).await?.len())
}

#[track_caller]
fn check_whole(path: &Path) {
    let check = diesel::dsl::sql::<Text>("pragma integrity_check");
    assert_eq!(check.load::<String>(&mut connect(path)).unwrap(), ["ok"]);
}

/// The error and its cause, as logged. The error must be retryable.
#[track_caller]
fn fault<T: std::fmt::Debug>(done: Result<T, Error>) -> String {
    let err = done.unwrap_err();
    assert!(err.is_retryable(), "{err:?}");
    format!("{err}: {}", err.source().expect("a cause"))
}

const FULL: &str = "SQLite is unavailable: database or disk is full: make room on its disk";

const DAMAGED: &str = "SQLite is damaged: database disk image is malformed: the file is damaged: stop all servers \
    on it, which spill their waiting sessions, restore a backup, and start again";

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

    fn put(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.from)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn damage(&self) {
        self.put(&vec![0xA5; self.before.len()]);
    }

    fn mend(&self) {
        self.put(&self.before);
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_takes_nothing_until_it_is_opened_again() {
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
    root.mend();
    // The store refuses writes until it is opened again: the operator's copy would replace the file and lose them.
    assert_eq!(fault(store.commit(Arc::clone(&writes)).await), DAMAGED);
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.commit(writes).await.unwrap(), [Outcome::Written; 10]);
    assert_eq!(read_open(&store).await.unwrap(), 110);
    drop(store);
    check_whole(&path);
}

/// Joins, submits two events that wait for the store, and returns the session once the store is unavailable.
async fn wait_for_store(metrics: &Metrics, key: &ApiKey, session: &str) -> metrics_core::Viewing {
    let viewing = metrics.join(Join::new(key.clone(), session, Video::labelled("intro"))).await;
    let viewing = viewing.unwrap();
    let mut played = viewing.submit(&PlayerEvent::play(0.0)).unwrap();
    let mut paused = viewing.submit(&PlayerEvent::pause(5.0)).unwrap();
    let away = async {
        while metrics.stats().unavailable_since.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        done = played.durable() => panic!("nothing can be stored, and it is {done:?}"),
        done = paused.durable() => panic!("nothing can be stored, and it is {done:?}"),
        done = tokio::time::timeout(WAIT, away) => done.unwrap(),
    }
    viewing
}

#[tokio::test]
async fn sessions_that_a_damaged_file_cannot_take_are_kept_for_one_that_is_whole() {
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

/// The error message after an operator moved this file.
fn moved(name: &str) -> String {
    format!(
        "SQLite is unavailable: {name}: it was removed or replaced while it was in use: put it back; or, to \
         continue with another file, stop all servers on it, which spill their waiting sessions, and start again"
    )
}

#[tokio::test]
async fn a_file_that_is_moved_away_takes_nothing_until_it_is_back() {
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    store.commit(some(&key, "before", 10)).await.unwrap();
    let away = directory.path().join("away");
    for (round, name) in ["metrics.db", "metrics.db-wal"].into_iter().enumerate() {
        let file = directory.path().join(name);
        fs::rename(&file, &away).unwrap();
        let writes = some(&key, name, 10);
        assert_eq!(fault(store.commit(Arc::clone(&writes)).await), moved(name));
        assert_eq!(fault(store.check().await), moved(name));
        // The store creates no file in its place.
        assert!(!file.exists());
        // The store accepts no other file in its place.
        fs::copy(&away, &file).unwrap();
        assert_eq!(fault(store.commit(Arc::clone(&writes)).await), moved(name));
        fs::rename(&away, &file).unwrap();
        assert_eq!(store.commit(writes).await.unwrap(), [Outcome::Written; 10]);
        assert_eq!(store.count_sessions().await.unwrap(), 20 + 10 * round as u64);
    }
    drop(store);
    check_whole(&path);
}

#[tokio::test]
async fn a_file_that_another_process_locks_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    let mut other = connect(&path);
    other.batch_execute("begin immediate").unwrap();
    let writes = some(&key, "waits", 10);
    assert_eq!(
        fault(store.commit(Arc::clone(&writes)).await),
        "SQLite is unavailable: database is locked: another process holds a lock on the file"
    );
    assert_eq!(store.count_sessions().await.unwrap(), 0);
    other.batch_execute("rollback").unwrap();
    assert_eq!(store.commit(writes).await.unwrap(), [Outcome::Written; 10]);
}

#[tokio::test]
async fn a_log_that_is_torn_has_every_commit_before_the_tear_and_no_part_of_another() {
    const COMMITS: usize = 40;
    const PIECES: u64 = 60;
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    let log = directory.path().join("metrics.db-wal");
    let mut ends = Vec::new();
    for commit in 0..COMMITS {
        store.commit(some(&key, &commit.to_string(), 3)).await.unwrap();
        ends.push(fs::metadata(&log).unwrap().len());
    }
    // The files after a kill. All commits are still in the log; the file has only the tables.
    let (file, log) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    drop(store);
    assert!(ends.is_sorted() && ends.last() == Some(&(log.len() as u64)), "{ends:?}");
    let mut random = StdRng::seed_from_u64(11);
    let random_places = (0..PIECES).map(|_| random.random_range(ends[0]..=log.len() as u64));
    for cut in random_places.chain(ends.clone()) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("metrics.db");
        fs::write(&path, &file).unwrap();
        fs::write(directory.path().join("metrics.db-wal"), &log[..cut as usize]).unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        let there = ends.partition_point(|end| *end <= cut);
        assert_eq!(store.count_sessions().await.unwrap(), 3 * there as u64, "cut at {cut}");
        let ids: Vec<_> = (0..COMMITS)
            .flat_map(|commit| some(&key, &commit.to_string(), 3).to_vec())
            .map(|write| write.id)
            .collect();
        let loaded = store.load(&ids).await.unwrap();
        assert!(loaded.iter().enumerate().all(|(at, it)| it.is_some() == (at < 3 * there)));
        // The store accepts new commits.
        let after = store.commit(some(&key, "after", 3)).await.unwrap();
        assert_eq!(after, [Outcome::Written; 3]);
        drop(store);
        check_whole(&path);
    }
}

#[track_caller]
fn expect(told: impl AsRef<str>, text: &str) {
    let told = told.as_ref();
    assert!(told.contains(text), "{told}");
}

/// The error message of a file that cannot be opened. The file must stay as it is.
async fn refusal(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let err = SqliteStore::open(path).await.unwrap_err();
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    assert!(!err.is_retryable(), "{err}");
    err.to_string()
}

#[tokio::test]
async fn a_file_that_is_seen_to_be_damaged_is_refused_and_left_alone() {
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
    schema.mend();
    let header = Bytes::at(&path, 0, 100);
    header.damage();
    expect(refusal(&path).await, "file is not a database");
    header.mend();
    assert_eq!(SqliteStore::open(&path).await.unwrap().count_sessions().await.unwrap(), 100);
    check_whole(&path);
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

/// Holds one read transaction until the log is too long, and then one after another. Each begins before the last one
/// ends.
fn read_without_end(path: &Path, log: PathBuf, end: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let [mut one, mut two] = [connect(path), connect(path)];
    let begin = "begin; select count(*) from keys";
    one.batch_execute(begin).unwrap();
    thread::spawn(move || {
        while !end.load(Relaxed) {
            if fs::metadata(&log).unwrap().len() < 128 << 20 {
                thread::yield_now();
                continue;
            }
            two.batch_execute(begin).unwrap();
            one.batch_execute("commit").unwrap();
            mem::swap(&mut one, &mut two);
        }
    })
}

/// SQLite itself restarts the log only at a moment without readers.
#[tokio::test]
async fn the_log_is_cut_also_if_somebody_reads_at_every_moment() {
    const MEBIBYTES_MAX: u64 = 500;
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    let log = directory.path().join("metrics.db-wal");
    let end = Arc::new(AtomicBool::new(false));
    let reader = read_without_end(&path, log.clone(), Arc::clone(&end));
    let (mut longest, mut written) = (0, 0);
    loop {
        assert!(written < MEBIBYTES_MAX, "the log has grown to {longest} bytes");
        let write = write(&key, &written.to_string(), 1 << 20);
        assert_eq!(store.commit([write].into()).await.unwrap(), [Outcome::Written]);
        written += 1;
        let length = fs::metadata(&log).unwrap().len();
        if length < longest {
            break;
        }
        longest = length;
    }
    end.store(true, Relaxed);
    reader.join().unwrap();
    assert!(120 << 20 < longest, "{longest}");
    assert_eq!(store.count_sessions().await.unwrap(), written);
    drop(store);
    check_whole(&path);
}

/// A store that is readable, but not writable until `mended` is set.
#[derive(Clone, Debug)]
struct Unwritable {
    tries: watch::Sender<u32>,
    mended: Arc<AtomicBool>,
}

#[async_trait]
impl Way for Unwritable {
    async fn go<T: Send + 'static>(&self, _: Method, call: Call<T>) -> Result<T, Error> {
        call.await
    }

    fn inspect(&self, _: &[SessionWrite]) -> Result<(), Error> {
        self.tries.send_modify(|tries| *tries += 1);
        if self.mended.load(Relaxed) {
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
    let way = Unwritable { tries: watch::Sender::new(0), mended: Arc::default() };
    let store = Through { store: Arc::new(store), way: way.clone() };
    let metrics = Metrics::new(store);
    let viewing = wait_for_store(&metrics, &key, "waits").await;
    let since = metrics.stats().unavailable_since;
    assert!(since.is_some());
    // The recorder loads the session before each try.
    let mut tries = way.tries.subscribe();
    tokio::time::timeout(WAIT, tries.wait_for(|tries| 4 < *tries)).await.unwrap().unwrap();
    assert_eq!(metrics.stats().unavailable_since, since);
    way.mended.store(true, Relaxed);
    viewing.submit(&PlayerEvent::play(7.0)).unwrap().durable().await.unwrap();
    assert_eq!(metrics.stats().unavailable_since, None);
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_and_its_log_are_readable_to_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    store.commit(some(&key, "a", 10)).await.unwrap();
    for ending in ["", "-wal", "-shm"] {
        let file = path.with_file_name(format!("metrics.db{ending}"));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

/// Neither moved rows nor free pages contain its text.
#[tokio::test]
async fn nothing_of_an_erased_session_is_left_in_the_file() {
    use metrics_core::upkeep::{Erasure, close, erase, merge};

    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    let store: Arc<dyn Store> = Arc::new(store);
    let metrics = Metrics::builder(Arc::clone(&store)).start();
    let join = |session: &str, word: &str| {
        let data = serde_json::json!({ "word": word });
        Join::new(key.clone(), session, Video::labelled(format!("video {word}")))
            .page(format!("https://example.com/{word}/page"))
            .session_data(data.as_object().unwrap().clone())
    };
    for number in 0..60 {
        let word = if number % 2 == 0 { "secretword" } else { "publicword" };
        let viewing = metrics.join(join(&number.to_string(), word)).await.unwrap();
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing.apply(PlayerEvent::pause(5.0)).await.unwrap();
        viewing.leave().durable().await.unwrap();
        if number % 6 == 5 {
            let later = chrono::Utc::now() + chrono::TimeDelta::days(1);
            let (videos, _) = close(&*store, later, 100).await.unwrap();
            merge(&*store, videos).await.unwrap();
        }
    }
    metrics.stop().await;
    let erasure = Erasure::of(Selection::identifier("video secretword"));
    let erased = erase(&*store, &erasure).await.unwrap();
    assert_eq!((erased.sessions.sessions, erased.videos), (30, 1));
    drop((metrics, store));
    // Closing the last connection moves the log into the file.
    let bytes = fs::read(&path).unwrap();
    let has = |word: &[u8]| bytes.windows(word.len()).any(|it| it == word);
    assert!(has(b"publicword") && !has(b"secretword"));
    let log = path.with_file_name("metrics.db-wal");
    assert!(fs::metadata(log).map_or(true, |log| log.len() == 0));
}

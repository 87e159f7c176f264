//! The file and its log: moved, locked, torn, read without end, and free of erased sessions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::{mem, thread};

use diesel::connection::SimpleConnection as _;
use metrics_core::store::{Outcome, SqliteStore, Store};
use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use super::{check_whole, connect, fault, open_in, some, write};

/// The error message after an operator moved this file.
fn moved(name: &str) -> String {
    format!(
        "SQLite is unavailable: {name}: it was removed or replaced while it was in use: put it back; or, to \
         continue with another file, stop all servers on it, which spill their waiting sessions, and start again"
    )
}

#[tokio::test]
async fn a_moved_file_accepts_nothing_until_it_is_back() {
    let directory = TempDir::new().unwrap();
    let (store, path, key) = open_in(directory.path()).await;
    store.commit(some(&key, "before", 10)).await.unwrap();
    let aside = directory.path().join("away");
    for (round, name) in ["metrics.db", "metrics.db-wal"].into_iter().enumerate() {
        let file = directory.path().join(name);
        fs::rename(&file, &aside).unwrap();
        let writes = some(&key, name, 10);
        assert_eq!(fault(store.commit(Arc::clone(&writes)).await), moved(name));
        assert_eq!(fault(store.check().await), moved(name));
        // The store creates no file in its place.
        assert!(!file.exists());
        // The store accepts no other file in its place.
        fs::copy(&aside, &file).unwrap();
        assert_eq!(fault(store.commit(Arc::clone(&writes)).await), moved(name));
        fs::rename(&aside, &file).unwrap();
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
async fn a_torn_log_has_every_commit_before_the_tear_and_no_part_of_another() {
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
async fn no_data_of_an_erased_session_remain_in_the_file() {
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

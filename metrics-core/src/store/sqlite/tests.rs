//! Lent connections return; statements are prepared once, and stay prepared.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::snapshot::SqliteSnapshot;
use super::*;
use crate::arrival::Arrival;
use crate::block::{Block, Group, Groups, RowId};
use crate::interval::{Interval, Segments};
use crate::key::{ApiKey, SessionId};
use crate::query::instant;
use crate::session::{Counters, Minutes, Stored};
use crate::source::Source;
use crate::store::{
    BlockId, Detail, Location as Where, OpenScan, OpenSession, Outcome, Resumable, Rewrite,
    SessionWrite, Snapshot as _, Store as _, Subject, VideoId, VideoScope, Videos,
};
use crate::totals::DayTotals;
use crate::user_agent::UserAgentClass;
use crate::video::Video;

#[tokio::test]
async fn an_abandoned_query_keeps_its_connection_until_it_ends() {
    const ABANDONED: usize = 100;
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    let store = Arc::new(store);
    let began = Arc::new(AtomicUsize::new(0));
    let mut endings = Vec::new();
    let mut queries = JoinSet::new();
    for _ in 0..ABANDONED {
        let (end, ended) = mpsc::channel::<()>();
        endings.push(end);
        let (store, began) = (Arc::clone(&store), Arc::clone(&began));
        queries.spawn(async move {
            let wait = move |_: &mut SqliteConnection| {
                began.fetch_add(1, Ordering::Relaxed);
                // An error means the same: the test has dropped the other end.
                let _ended = ended.recv();
                Ok(())
            };
            store.read("wait", wait).await
        });
    }
    while began.load(Ordering::Relaxed) < UPKEEPERS {
        tokio::task::yield_now().await;
    }
    queries.shutdown().await;
    assert_eq!(store.upkeep.permits.available_permits(), 0);
    drop(endings);
    // It waits for one of the running queries, and for none of those that had not begun.
    assert_eq!(store.count_sessions().await.unwrap(), 0);
    assert_eq!(began.load(Ordering::Relaxed), UPKEEPERS);
}

/// The statements executed on a connection, and those that it caches.
#[derive(Clone, Default)]
struct Statements {
    executed: Arc<std::sync::Mutex<BTreeSet<String>>>,
    kept: Arc<std::sync::Mutex<BTreeSet<String>>>,
}

impl Instrumentation for Statements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let (of, text) = match event {
            InstrumentationEvent::StartQuery { query, .. } => (&self.executed, query.to_string()),
            InstrumentationEvent::CacheQuery { sql, .. } => (&self.kept, sql.to_owned()),
            _ => return,
        };
        let text = text.split(" -- binds").next().unwrap_or_default().trim().to_owned();
        of.lock().unwrap().insert(text);
    }
}

/// A session that starts at `started_at_ms`.
fn write(key: &ApiKey, session: &str, expected: u32, started_at_ms: i64) -> SessionWrite {
    let segments: Segments = Interval::new(0, 5_000).into_iter().collect();
    let subject = Subject {
        key: key.clone(),
        video: Video::labelled("intro"),
        source: Source::parse("http://example.com/"),
        user_agent: UserAgentClass::default(),
        session_data: None,
        arrival: Arrival::default(),
    };
    let stored = Stored {
        started_at_ms,
        last_event_at_ms: started_at_ms,
        duration_ms: None,
        view_ms: segments.len_ms(),
        unique_ms: segments.union().len_ms(),
        segments: segments.encode(),
        minutes: Minutes::of_view(started_at_ms, segments.len_ms()),
        counters: Counters::default(),
        resume: vec![1, 0, 0],
    };
    let id = SessionId::new(key, session);
    SessionWrite { id, subject: Arc::new(subject), expected, stored, watched_at: None }
}

async fn store_with_key() -> (SqliteStore, ApiKey, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    let key = ApiKey::generate();
    store.create_key(&key, instant(0)).await.unwrap();
    (store, key, directory)
}

async fn commit(store: &SqliteStore, write: SessionWrite) -> Outcome {
    store.commit([write].into()).await.unwrap().remove(0)
}

/// Moves quiet sessions into a block.
fn closing(sessions: &[OpenSession]) -> Rewrite {
    let first = &sessions[0];
    let rows = sessions.iter().map(|session| {
        let mut row = session.row.clone();
        row.stored = row.stored.finalized();
        row
    });
    let mut totals = DayTotals::default();
    for session in sessions {
        let stored = &session.row.stored;
        let times = (stored.view_ms, stored.unique_ms);
        totals.add(stored.started_at_ms, session.row.user_agent, times, 1);
    }
    Rewrite {
        add: vec![(first.key, first.video, Block::encode(rows.collect()))],
        close: sessions.iter().map(|session| (session.id, session.version)).collect(),
        totals: vec![(first.key, 0, totals)],
        ..Rewrite::default()
    }
}

async fn close(store: &SqliteStore) -> Vec<OpenSession> {
    let quiet = store.quiet(DateTime::<Utc>::MAX_UTC, 1_000).await.unwrap();
    assert_eq!(store.rewrite(closing(&quiet)).await.unwrap(), Outcome::Written);
    quiet
}

/// The heads of all blocks, and their sessions.
async fn blocks(store: &SqliteStore) -> (Vec<BlockId>, Vec<Block>) {
    let mut snapshot = store.snapshot().await.unwrap();
    let summaries = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 1_000).await.unwrap();
    let ids: Vec<_> = summaries.iter().map(|summary| summary.id).collect();
    let blocks = snapshot.groups(&ids, Groups::ALL).await.unwrap();
    (ids, blocks)
}

/// Begins a session, continues it, closes it, and opens it again.
async fn record(store: &SqliteStore, key: &ApiKey, session: &str) {
    for expected in 0..2 {
        assert_eq!(commit(store, write(key, session, expected, 0)).await, Outcome::Written);
    }
    let reopen = close(store).await;
    let (remove, _) = self::blocks(store).await;
    let rewrite = Rewrite { remove, reopen, ..Rewrite::default() };
    assert_eq!(store.rewrite(rewrite).await.unwrap(), Outcome::Written);
    assert_eq!(commit(store, write(key, session, 2, 0)).await, Outcome::Written);
    let (_, blocks) = blocks(store).await;
    assert_eq!(blocks, []);
    close(store).await;
    let (remove, _) = self::blocks(store).await;
    store.rewrite(Rewrite { remove, ..Rewrite::default() }).await.unwrap();
}

#[tokio::test]
async fn statements_for_every_session_are_prepared_once() {
    let (store, key, _directory) = store_with_key().await;
    let statements = Statements::default();
    let instrument = |statements: Statements| {
        move |connection: &mut SqliteConnection, _: &mut Ids| {
            connection.set_instrumentation(statements);
            Ok(())
        }
    };
    store.write("look on", instrument(statements.clone())).await.unwrap();
    record(&store, &key, "a").await;
    let kept = statements.kept.lock().unwrap().clone();
    statements.executed.lock().unwrap().clear();

    record(&store, &key, "b").await;

    assert_eq!(*statements.kept.lock().unwrap(), kept);
    let executed = statements.executed.lock().unwrap().clone();
    let prepared: Vec<_> = executed.difference(&kept).collect();
    // The last was cached before the instrumentation was set.
    assert_eq!(prepared, ["COMMIT", "begin immediate", "pragma data_version"]);
    // `limit ?` would make SQLite prepare a cached statement again.
    assert!(executed.iter().all(|sql| !sql.contains("LIMIT ?")), "{executed:#?}");
    assert!(9 < executed.len(), "{executed:#?}");
}

#[tokio::test]
async fn a_session_is_open_or_closed_at_every_moment() {
    let (store, key, _directory) = store_with_key().await;
    let id = SessionId::new(&key, "a");
    let location = async || store.load(&[id]).await.unwrap().remove(0).map(|found| found.location);
    assert_eq!(commit(&store, write(&key, "a", 0, 7)).await, Outcome::Written);
    assert!(matches!(location().await, Some(Where::Open(_))));

    let mut quiet = close(&store).await;
    let closed = Where::Closed {
        key: quiet[0].key,
        video: quiet[0].video,
        started_at_ms: 7,
        resume: vec![1, 0, 0],
    };
    assert_eq!(location().await.as_ref(), Some(&closed));
    assert_eq!(store.count_sessions().await.unwrap(), 1);
    for expected in 0..3 {
        assert_eq!(commit(&store, write(&key, "a", expected, 7)).await, Outcome::Conflict);
    }
    assert_eq!(store.rewrite(closing(&quiet)).await.unwrap(), Outcome::Conflict, "twice");

    let (remove, _) = blocks(&store).await;
    let reopen = |version, remove: &[BlockId]| {
        let reopen = vec![OpenSession { version, ..quiet[0].clone() }];
        Rewrite { remove: remove.to_vec(), reopen, ..Rewrite::default() }
    };
    for (version, remove) in [(2, &remove[..]), (1, &[BlockId(99)])] {
        let outcome = store.rewrite(reopen(version, remove)).await.unwrap();
        assert_eq!(outcome, Outcome::Conflict, "{version} {remove:?}");
        assert_eq!(location().await.as_ref(), Some(&closed));
    }
    assert_eq!(store.rewrite(reopen(1, &remove)).await.unwrap(), Outcome::Written);
    assert!(matches!(location().await, Some(Where::Open(_))));
    assert_eq!(store.count_sessions().await.unwrap(), 1);
    let reopened = store.quiet(instant(8), 1).await.unwrap();
    assert_eq!(reopened, quiet);

    quiet[0].version = 2;
    let delete = |version| Rewrite { delete_open: vec![(id, version)], ..Rewrite::default() };
    assert_eq!(store.rewrite(delete(2)).await.unwrap(), Outcome::Conflict);
    assert_eq!(store.rewrite(delete(1)).await.unwrap(), Outcome::Written);
    assert_eq!(location().await, None);
    assert_eq!(store.count_sessions().await.unwrap(), 0);
}

#[tokio::test]
async fn resume_states_are_listed_deleted_and_dropped() {
    let (store, key, _directory) = store_with_key().await;
    for (session, start) in [("a", 1), ("b", 2), ("c", 3)] {
        commit(&store, write(&key, session, 0, start)).await;
    }
    let closed = close(&store).await;
    let resumable = async |limit| {
        let mut snapshot = store.snapshot().await.unwrap();
        let (mut all, mut after) = (Vec::<Resumable>::new(), None);
        loop {
            let page = snapshot.resumable(after, limit).await.unwrap();
            after = page.last().map(|it| it.id);
            let is_last = page.len() < limit as usize;
            all.extend(page);
            if is_last {
                return all;
            }
        }
    };
    let all = resumable(2).await;
    assert!(all.is_sorted_by_key(|it| it.id));
    assert_eq!(all.len(), 3);
    let of = |start: i64| all.iter().find(|it| it.started_at_ms == start).unwrap();
    assert_eq!((of(2).version, of(2).last_event_at_ms), (1, 2));

    let wrong = vec![
        (of(1).video, 2, RowId::from(of(1).id)),
        (VideoId(of(1).video.0 + 1), 1, of(1).id.into()),
        (of(1).video, 1, RowId(RowId::from(of(1).id).0 ^ 1)),
    ];
    store.rewrite(Rewrite { delete_closed: wrong, ..Rewrite::default() }).await.unwrap();
    assert_eq!(resumable(10).await.len(), 3);
    let delete_closed = vec![(of(1).video, 1, RowId::from(of(1).id))];
    store.rewrite(Rewrite { delete_closed, ..Rewrite::default() }).await.unwrap();
    assert_eq!(resumable(10).await.len(), 2);

    assert_eq!(store.finalize(instant(3), 10).await.unwrap(), 1);
    assert_eq!(resumable(10).await, [of(3).clone()]);
    assert_eq!(store.load(&[closed[1].id]).await.unwrap(), [None]);

    let import = Rewrite { resumable: all.clone(), ..Rewrite::default() };
    assert_eq!(store.rewrite(import.clone()).await.unwrap(), Outcome::Written);
    assert_eq!(store.rewrite(import).await.unwrap(), Outcome::Written);
    assert_eq!(resumable(1).await, all);
}

#[tokio::test]
async fn blocks_of_any_size_keep_their_groups() {
    let (store, key, _directory) = store_with_key().await;
    for number in 0..300 {
        commit(&store, write(&key, &number.to_string(), 0, number)).await;
    }
    let quiet = store.quiet(DateTime::<Utc>::MAX_UTC, 1_000).await.unwrap();
    let (small, large) = quiet.split_at(2);
    for sessions in [small, large] {
        assert_eq!(store.rewrite(closing(sessions)).await.unwrap(), Outcome::Written);
    }
    let (ids, blocks) = blocks(&store).await;
    assert!(blocks[0].bytes() < 4_000 && 4_000 < blocks[1].bytes());
    assert_eq!(blocks[0], closing(small).add[0].2);
    assert_eq!(blocks[1], closing(large).add[0].2);
    // Not in the order of their ids; one does not exist.
    let selected = [ids[1], BlockId(99), ids[0]];
    let groups = Groups::default().with(Group::Starts).with(Group::Pages).with(Group::Quality);
    let mut snapshot = store.snapshot().await.unwrap();
    let some = snapshot.groups(&selected, groups).await.unwrap();
    assert_eq!(some.len(), 2);
    for (read, whole) in some.iter().zip([&blocks[1], &blocks[0]]) {
        assert_eq!((read.sessions, read.first_start_ms), (whole.sessions, whole.first_start_ms));
        for group in Group::ALL {
            let expected = whole.group(group).filter(|_| groups.has(group));
            assert_eq!(read.group(group), expected, "{group:?}");
        }
    }
    let summaries = snapshot.blocks(&Videos::All, 2, 2, None, 10).await.unwrap();
    assert_eq!(summaries.iter().map(|summary| summary.id).collect::<Vec<_>>(), [ids[1]]);
    let totals = snapshot.totals(Some(&key), 0, 0, Detail::Days).await.unwrap();
    assert_eq!(totals[0].plays(0).unwrap().plays, 300);
}

#[tokio::test]
async fn a_snapshot_has_one_moment_and_returns_its_connection() {
    let (store, key, directory) = store_with_key().await;
    commit(&store, write(&key, "a", 0, 1)).await;
    let scan = OpenScan { videos: Videos::All, from_ms: 0, to_ms: 10, watched_at: None };
    let mut snapshot = store.snapshot().await.unwrap();
    commit(&store, write(&key, "b", 0, 2)).await;
    assert_eq!(snapshot.open_sessions(&scan, None, 10).await.unwrap().len(), 1);
    close(&store).await;
    assert_eq!(snapshot.open_sessions(&scan, None, 10).await.unwrap().len(), 1);
    let summaries = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 10).await.unwrap();
    assert_eq!(summaries, []);
    assert_eq!(snapshot.videos(&VideoScope::default(), None, 10).await.unwrap().len(), 1);
    assert_eq!(store.snapshots.permits.available_permits(), SNAPSHOTS_MAX - 1);
    drop(snapshot);
    assert_eq!(store.snapshots.permits.available_permits(), SNAPSHOTS_MAX);
    // No reader blocks the checkpoint.
    let mut connection =
        SqliteConnection::establish(directory.path().join("metrics.db").to_str().unwrap()).unwrap();
    let checkpoint =
        diesel::dsl::sql::<diesel::sql_types::BigInt>("pragma wal_checkpoint(truncate)");
    assert_eq!(checkpoint.get_result::<i64>(&mut connection).unwrap(), 0, "not busy");

    let mut snapshot = store.snapshot().await.unwrap();
    let summaries = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 10).await.unwrap();
    assert_eq!(summaries.len(), 1);
}

#[tokio::test]
async fn a_snapshot_ends_with_a_call_that_is_dropped() {
    let (store, _key, _directory) = store_with_key().await;
    let mut snapshot = begin(&store).await;
    let (end, ended) = mpsc::channel::<()>();
    let call = snapshot.read("wait", move |_| Ok(ended.recv().is_err()));
    assert!(tokio::time::timeout(Duration::ZERO, call).await.is_err());
    assert_eq!(store.snapshots.permits.available_permits(), SNAPSHOTS_MAX - 1);
    assert_eq!(store.running.available_permits(), READERS - 1);
    let another = snapshot.read("go on", |_| Ok(())).await;
    assert!(another.is_err_and(|err| err.is_retryable()));
    drop(end);
    // The connection is no longer in a transaction.
    let all = store.snapshots.permits.acquire_many(SNAPSHOTS_MAX as u32).await.unwrap();
    for connection in store.snapshots.lock().iter_mut() {
        transaction(connection, "begin", |_| Ok::<_, DieselError>(())).unwrap();
    }
    drop(all);
}

async fn begin(store: &SqliteStore) -> SqliteSnapshot {
    let reader = store.snapshots.acquire(&store.files).await.unwrap();
    let (files, running) = (Arc::clone(&store.files), Arc::clone(&store.running));
    SqliteSnapshot::begin(files, running, reader).await.unwrap()
}

/// Sessions are opened again from a snapshot, also during many reports.
#[tokio::test]
async fn abandoned_snapshots_delay_no_other() {
    let (store, key, _directory) = store_with_key().await;
    commit(&store, write(&key, "a", 0, 1)).await;
    let mut snapshots = Vec::new();
    for _ in 0..3 * READERS {
        snapshots.push(begin(&store).await);
    }
    for snapshot in &mut snapshots {
        let videos = snapshot.videos(&VideoScope::default(), None, 10).await.unwrap();
        assert_eq!(videos.len(), 1);
    }
    drop(snapshots);
    assert_eq!(store.snapshots.lock().len(), READERS, "the others are closed");
}

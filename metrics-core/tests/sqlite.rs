//! The conformance suite on SQLite, one file per case; then what only a file can do.

#![cfg(feature = "sqlite")]

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use metrics_core::client::Client;
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::{Scan, instant};
use metrics_core::session::{Counters, Stored};
use metrics_core::store::{
    Error, Migrations, Outcome, Record, SessionWrite, SqliteStore, Store, Subject,
};
use metrics_core::time_bucket::{Buckets, Width};
use metrics_core::{ApiKey, Metrics, PlayerEvent, Selection, Source, Video};
use tempfile::TempDir;

metrics_core::store_conformance!(empty_store());

async fn empty_store() -> (SqliteStore, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    (store, directory)
}

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

fn now() -> DateTime<Utc> {
    instant(1_700_000_000_000)
}

fn write(key: &ApiKey, session: &str, expected: u32) -> SessionWrite {
    let segments: Segments = Interval::new(0, 5_000).into_iter().collect();
    let subject = Subject {
        key: key.clone(),
        video: Video::labelled("intro"),
        source: Source::parse("http://example.com/"),
        client: Client::default(),
        session_data: None,
    };
    SessionWrite {
        id: SessionId::new(key, session),
        subject: Arc::new(subject),
        expected,
        stored: Stored {
            started_at_ms: now().timestamp_millis(),
            last_event_at_ms: now().timestamp_millis(),
            duration_ms: None,
            view_ms: segments.len_ms(),
            unique_ms: segments.union().len_ms(),
            segments: segments.encode(),
            counters: Counters::default(),
            resume: vec![1, 0, 0],
        },
        watched_at: None,
    }
}

async fn commit(
    store: &SqliteStore,
    writes: impl IntoIterator<Item = SessionWrite>,
) -> Vec<Outcome> {
    store.commit(writes.into_iter().collect()).await.unwrap()
}

async fn key(store: &SqliteStore) -> ApiKey {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, now()).await.unwrap());
    key
}

async fn version(store: &SqliteStore, key: &ApiKey, session: &str) -> Option<u32> {
    let loaded = store.load(&[SessionId::new(key, session)]).await.unwrap().remove(0);
    loaded.map(|loaded| loaded.version)
}

fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

#[track_caller]
fn count(path: &Path, table: &str) -> i64 {
    let query = diesel::dsl::sql::<diesel::sql_types::BigInt>("select count(*) from ");
    query.sql(table).get_result(&mut connect(path)).unwrap()
}

#[tokio::test]
async fn a_file_that_is_opened_again_has_kept_everything() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0), write(&key, "b", 0)]).await;
    commit(&store, [write(&key, "a", 1)]).await;
    let before = store.keys().await.unwrap();
    drop(store);

    let store = SqliteStore::open(&path).await.unwrap();

    assert_eq!(store.keys().await.unwrap(), before);
    assert_eq!(version(&store, &key, "a").await, Some(2));
    assert_eq!(store.count_sessions().await.unwrap(), 2);
}

#[tokio::test]
async fn concurrent_first_plays_make_one_row() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let one = Arc::new(SqliteStore::open(&path).await.unwrap());
    // Half of them through another handle, which knows nothing of the rows that the first has made.
    let two = Arc::new(SqliteStore::open(&path).await.unwrap());
    let key = key(&one).await;
    let mut tasks = tokio::task::JoinSet::new();
    for viewer in 0..20 {
        let store = Arc::clone(if viewer % 2 == 0 { &one } else { &two });
        let write = write(&key, &viewer.to_string(), 0);
        tasks.spawn(async move { store.commit([write].into()).await.unwrap() });
    }
    let outcomes = tasks.join_all().await.concat();
    assert_eq!(outcomes, [Outcome::Written; 20]);
    assert_eq!(
        ["loose_sessions", "videos", "sources"].map(|table| count(&path, table)),
        [20, 1, 1]
    );
}

#[tokio::test]
async fn two_handles_on_one_file_see_each_other() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let one = SqliteStore::open(&path).await.unwrap();
    let two = SqliteStore::open(&path).await.unwrap();
    let key = key(&one).await;
    assert_eq!(two.keys().await.unwrap().len(), 1);

    assert_eq!(commit(&one, [write(&key, "a", 0)]).await, [Outcome::Written]);
    assert_eq!(version(&two, &key, "a").await, Some(1));
    assert_eq!(commit(&two, [write(&key, "a", 0)]).await, [Outcome::Conflict]);
    assert_eq!(commit(&two, [write(&key, "a", 1)]).await, [Outcome::Written]);
    assert_eq!(commit(&one, [write(&key, "a", 1)]).await, [Outcome::Conflict]);
    assert_eq!(version(&one, &key, "a").await, Some(2));
}

#[tokio::test]
async fn a_new_file_may_be_opened_by_several_at_once() {
    for _ in 0..10 {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("metrics.db");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            tasks.spawn(SqliteStore::open(path.clone()));
        }
        for opened in tasks.join_all().await {
            opened.unwrap().check().await.unwrap();
        }
    }
}

/// What an operator reads when the file cannot be used.
async fn reason(path: impl AsRef<Path>) -> String {
    match SqliteStore::open(path).await {
        Err(err @ Error::Unusable { .. }) => {
            assert!(!err.is_retryable());
            err.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    std::fs::write(&path, "").unwrap();
    SqliteStore::open(&path).await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let text = "my diary, not a database\n".repeat(200);
    std::fs::write(&path, &text).unwrap();
    assert_eq!(
        reason(&path).await,
        "SQLite cannot be used: the file cannot be used (file is not a database): \
         it must be a database of ours that can be written, or not exist yet"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    assert_eq!(
        reason(directory.path()).await,
        "SQLite cannot be used: the file cannot be opened (unable to open database file): \
         name one in a directory that exists and can be written"
    );
}

#[tokio::test]
async fn a_file_in_a_missing_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing");
    assert_eq!(
        reason(missing.join("metrics.db")).await,
        "SQLite cannot be used: the file cannot be opened (unable to open database file): \
         name one in a directory that exists and can be written"
    );
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_database_in_memory_is_refused() {
    let expected =
        "SQLite cannot be used: it needs a file; use one in a temporary directory for a test";
    assert_eq!(reason(":memory:").await, expected);
    assert_eq!(reason("").await, expected);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    drop(SqliteStore::open(&path).await.unwrap());
    // Not by the permissions of the file, which do not stop a superuser.
    let read_only = format!("file:{}?mode=ro", path.display());
    assert_eq!(
        reason(read_only).await,
        "SQLite cannot be used: the file cannot be used (attempt to write a readonly database): \
         it must be a database of ours that can be written, or not exist yet"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    drop(SqliteStore::open(&path).await.unwrap());
    let newer = "insert into __diesel_schema_migrations (version) values ('29991231')";
    connect(&path).batch_execute(newer).unwrap();
    assert_eq!(
        reason(&path).await,
        "SQLite cannot be used: a newer version has changed its tables: \
         use that version, or another file"
    );
}

#[tokio::test]
async fn tables_that_are_only_to_be_checked_are_not_changed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let check = || SqliteStore::open_with(&path, Migrations::Check);
    let outdated = "SQLite cannot be used: its tables are not up to date: \
                    start once with --migrate-only, or without --no-migrate";
    assert_eq!(check().await.unwrap_err().to_string(), outdated);
    assert_eq!(count(&path, "sqlite_schema"), 0);

    let store = SqliteStore::open(&path).await.unwrap();
    let key = key(&store).await;
    drop(store);
    assert_eq!(check().await.unwrap().keys().await.unwrap()[0].key, key);

    let before = count(&path, "sqlite_schema");
    connect(&path).batch_execute("delete from __diesel_schema_migrations").unwrap();
    assert_eq!(check().await.unwrap_err().to_string(), outdated);
    assert_eq!(count(&path, "sqlite_schema"), before);

    let newer = "insert into __diesel_schema_migrations (version) values ('29991231')";
    connect(&path).batch_execute(newer).unwrap();
    assert!(check().await.unwrap_err().to_string().contains("a newer version"));
    std::fs::write(&path, "my diary, not a database\n".repeat(200)).unwrap();
    assert!(check().await.unwrap_err().to_string().contains("file is not a database"));
}

#[tokio::test]
async fn migrations_go_down_and_up_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    drop(store);

    let mut connection = connect(&path);
    connection.batch_execute("pragma foreign_keys = on").unwrap();
    connection.revert_all_migrations(MIGRATIONS).unwrap();
    drop(connection);
    let left = "sqlite_schema where name not like 'sqlite_%' and name not like '\\_\\_diesel%' escape '\\'";
    assert_eq!(count(&path, left), 0);

    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.count_sessions().await.unwrap(), 0);
    assert!(store.create_key(&key, now()).await.unwrap());
    assert_eq!(commit(&store, [write(&key, "a", 0)]).await, [Outcome::Written]);
}

/// A session that was heard of yesterday, and remembers something.
fn young(key: &ApiKey, session: &str, expected: u32) -> SessionWrite {
    let mut write = write(key, session, expected);
    write.stored.started_at_ms = (Utc::now() - TimeDelta::days(1)).timestamp_millis();
    write.stored.last_event_at_ms = write.stored.started_at_ms + 1;
    write.stored.resume = vec![1, 0, 0, 1, 2, 3, 4];
    write
}

async fn roll_up(store: &SqliteStore) {
    while 0 < store.roll_up(DateTime::<Utc>::MAX_UTC, 1_000).await.unwrap() {}
}

/// The version of the migration that gave sessions that go on a table of their own.
const LIVE_SESSIONS: &str = "20261127";

/// Loose sessions, those that are rolled up, and those that are over; ids that came again, which the tables of before
/// did not know.
#[tokio::test]
async fn sessions_are_taken_along_from_the_tables_of_before_and_back() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let key = key(&store).await;
    let first = young(&key, "young", 0);
    let yesterday = instant(first.stored.started_at_ms);
    let second = SessionWrite { expected: 1, ..first.clone() };
    let third = SessionWrite { expected: 2, ..first.clone() };
    commit(&store, [write(&key, "old", 0), first, write(&key, "again", 0)]).await;
    commit(&store, [second]).await;
    roll_up(&store).await;
    assert_eq!(store.settle(now() + TimeDelta::seconds(1), 10).await.unwrap(), 2);
    commit(&store, [young(&key, "again", 0)]).await;
    roll_up(&store).await;
    commit(&store, [write(&key, "loose", 0)]).await;
    let records = store.export(None, 10).await.unwrap().records;
    assert_eq!(records.len(), 5);
    drop(store);

    let mut connection = connect(&path);
    while connection.revert_last_migration(MIGRATIONS).unwrap().to_string() != LIVE_SESSIONS {}
    drop(connection);
    assert_eq!(count(&path, "sessions where rolled = 1"), 4);
    assert_eq!(count(&path, "sessions where rolled = 0 and version = 1"), 1);
    assert_eq!(count(&path, "sessions where version = 2 and length(resume) = 7"), 1);
    let ids = "(select id from sessions group by id)";
    assert_eq!(count(&path, ids), 5, "each has an id of its own");
    // What is over is found by its age when the tables are brought up to date.
    connect(&path)
        .batch_execute("update sessions set version = 7 where length(resume) < 4")
        .unwrap();

    let store = SqliteStore::open(&path).await.unwrap();
    let there = store.export(None, 10).await.unwrap().records;
    // Sessions that began at one instant are in the order of their ids, and some were given another.
    let told = |records: &[Record]| -> Vec<_> {
        let mut told: Vec<_> =
            records.iter().map(|it| format!("{:?} {:?}", it.subject, it.stored)).collect();
        told.sort_unstable();
        told
    };
    assert_eq!(told(&there), told(&records));
    for (session, expected) in
        [("old", None), ("young", Some(2)), ("again", Some(1)), ("loose", Some(7))]
    {
        assert_eq!(version(&store, &key, session).await, expected, "{session}");
    }
    for day in [now(), yesterday] {
        assert!(!store.check_rollups(day.date_naive(), true).await.unwrap(), "made anew");
    }
    assert_eq!(commit(&store, [third, write(&key, "loose", 7)]).await, [Outcome::Written; 2]);
    for day in [now(), yesterday] {
        assert!(store.check_rollups(day.date_naive(), false).await.unwrap());
    }
    roll_up(&store).await;
    assert_eq!(store.count_sessions().await.unwrap(), 5);
}

/// To the millisecond, of more videos than are looked at in one transaction.
#[tokio::test]
async fn what_started_before_is_forgotten_and_nothing_else() {
    let (store, _directory) = empty_store().await;
    let key = key(&store).await;
    let now_ms = now().timestamp_millis();
    let mut writes = Vec::new();
    for number in 0..7_500 {
        let mut write = write(&key, &number.to_string(), 0);
        let video = Video::labelled((number % 2_500).to_string());
        write.subject = Arc::new(Subject { video, ..(*write.subject).clone() });
        write.stored.started_at_ms = if number < 5_000 { now_ms - 1 } else { now_ms };
        writes.push(write);
    }
    commit(&store, writes).await;
    store.forget(now()).await.unwrap();
    assert_eq!(store.count_sessions().await.unwrap(), 2_500);
    store.forget(now() + TimeDelta::milliseconds(1)).await.unwrap();
    assert_eq!(store.count_sessions().await.unwrap(), 0);
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_hurts_no_other() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let metrics = Metrics::new(SqliteStore::open(&path).await.unwrap());
    let key = metrics.create_key().await.unwrap();
    let damaged = SessionId::new(&key, "damaged");
    metrics.store().commit([write(&key, "damaged", 0)].into()).await.unwrap();
    connect(&path).batch_execute("update loose_sessions set resume = x'ff', version = -1").unwrap();

    let loaded = metrics.store().load(&[damaged]).await;
    assert!(matches!(loaded, Err(ref err) if !err.is_retryable()), "{loaded:?}");

    let join = |session: &str| {
        metrics.join(metrics_core::Join::new(key.clone(), session, Video::labelled("intro")))
    };
    let (bad, good) = (join("damaged").await.unwrap(), join("good").await.unwrap());
    let submit = |viewing: &metrics_core::Viewing| viewing.submit(&PlayerEvent::play(0.0)).unwrap();
    let (mut bad, mut good) = (submit(&bad), submit(&good));
    bad.durable().await.unwrap_err();
    good.durable().await.unwrap();
}

/// Sessions enough for a commit, or a report, to take a while.
async fn fill(store: &SqliteStore, key: &ApiKey, sessions: u32) {
    for batch in 0..sessions / 1_000 {
        let names = (0..1_000).map(|number| format!("{batch} {number}"));
        commit(store, names.map(|name| write(key, &name, 0))).await;
    }
}

async fn check_dropped_commits(directory: &Path) {
    let path = directory.join("metrics.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let key = key(&store).await;
    for round in 0..20_u64 {
        let writes: Arc<[_]> =
            (0..200).map(|number| write(&key, &format!("{round} {number}"), 0)).collect();
        let limit = std::time::Duration::from_micros(200 * round);
        let done = tokio::time::timeout(limit, store.commit(Arc::clone(&writes))).await;
        let ids: Vec<_> = writes.iter().map(|write| write.id).collect();
        // Also while it is still under way.
        for _ in 0..5 {
            let loaded = store.load(&ids).await.unwrap();
            let stored = loaded.iter().flatten().count();
            assert!(stored == 200 || (stored == 0 && done.is_err()), "{stored} of 200");
        }
        // The store is as good as before.
        assert!(store.commit(writes).await.is_ok());
        assert_eq!(store.load(&ids).await.unwrap().iter().flatten().count(), 200);
    }
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_whole_or_undone() {
    let directory = TempDir::new().unwrap();
    check_dropped_commits(directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_dropped_is_whole_or_undone_on_many_threads() {
    let directory = TempDir::new().unwrap();
    check_dropped_commits(directory.path()).await;
}

/// A client that hangs up must not cost a thread, nor a connection for ever.
#[tokio::test]
async fn reports_that_are_dropped_leave_their_connections_behind() {
    let (store, _directory) = empty_store().await;
    let key = key(&store).await;
    fill(&store, &key, 10_000).await;
    let scan =
        Scan { selection: Selection::key(key), from_ms: 0, to_ms: i64::MAX, minimum_view_ms: 0 };
    for _ in 0..50 {
        let report = store.parts(&scan, 100);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, report).await.is_err());
    }
    let cells = store.plays(&scan, Buckets::new(Width::DAY)).await.unwrap();
    assert_eq!(cells.iter().map(|cell| cell.figures.plays).sum::<u64>(), 10_000);
}

/// What only a disk or an operator can do to them.
#[tokio::test]
async fn sums_that_are_wrong_are_found_and_mended() {
    let (store, directory) = empty_store().await;
    let path = directory.path().join("metrics.db");
    let key = key(&store).await;
    fill(&store, &key, 1_000).await;
    while 0 < store.roll_up(now() + TimeDelta::seconds(1), 1_000).await.unwrap() {}
    let day = now().date_naive();
    assert_eq!(store.rollup_days().await.unwrap(), Some((day, day)));
    let scan = Scan {
        selection: Selection::key(key),
        from_ms: 0,
        to_ms: 2 * now().timestamp_millis(),
        minimum_view_ms: 0,
    };
    let plays = async || -> u64 {
        let cells = store.plays(&scan, Buckets::new(Width::DAY)).await.unwrap();
        cells.iter().map(|cell| cell.figures.plays).sum()
    };
    assert_eq!(plays().await, 1_000);
    for spoil in [
        "delete from rollup_plays where scope < 0",
        "update rollup_plays set hours = x'0100', head = null",
        "delete from rollup_sources",
        "update rollup_places set end_ms = end_ms + 1",
        "insert into rollup_places (at, end_ms, seconds, places) \
            select at + 268435456, end_ms, seconds, places from rollup_places",
    ] {
        connect(&path)
            .batch_execute(
                "insert or ignore into videos select 2, key_id, x'00', 'b', null from videos",
            )
            .unwrap();
        connect(&path).batch_execute(spoil).unwrap();
        assert!(!store.check_rollups(day, false).await.unwrap(), "{spoil}");
        assert!(
            !store.check_rollups(day, false).await.unwrap(),
            "to look changes nothing: {spoil}"
        );
        assert!(!store.check_rollups(day, true).await.unwrap(), "{spoil}");
        assert!(store.check_rollups(day, false).await.unwrap(), "{spoil}");
        assert_eq!(plays().await, 1_000, "{spoil}");
    }
}

/// Sums of whole days that were made before they were in two parts are not taken over by the migration.
#[tokio::test]
async fn days_of_before_are_answered_from_their_hours_until_they_are_made_anew() {
    let (store, directory) = empty_store().await;
    let path = directory.path().join("metrics.db");
    let key = key(&store).await;
    let midnight = now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    let every_quarter = (0..96).map(|quarter| {
        let mut write = write(&key, &quarter.to_string(), 0);
        write.stored.started_at_ms =
            (midnight + TimeDelta::minutes(15 * quarter)).timestamp_millis();
        write.stored.last_event_at_ms = write.stored.started_at_ms;
        write
    });
    commit(&store, every_quarter).await;
    roll_up(&store).await;
    drop(store);
    let with_sums = "rollup_plays where head is not null and tail is not null";
    assert_eq!(count(&path, with_sums), 2, "of a key and a video");

    connect(&path).revert_last_migration(MIGRATIONS).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(count(&path, with_sums), 0);
    let mut scan =
        Scan { selection: Selection::key(key), from_ms: 0, to_ms: i64::MAX, minimum_view_ms: 0 };
    let plays = async |scan: &Scan| -> u64 {
        let cells = store.plays(scan, Buckets::new(Width::DAY)).await.unwrap();
        cells.iter().map(|cell| cell.figures.plays).sum()
    };
    for is_right in [false, true] {
        // Of 5 s each: the first three need the head of a day only, and the others its tail as well.
        for (minimum_view_ms, expected) in [(0, 96), (3_000, 96), (5_000, 96), (6_000, 0)] {
            scan.minimum_view_ms = minimum_view_ms;
            assert_eq!(plays(&scan).await, expected, "{minimum_view_ms} ms");
        }
        assert_eq!(store.check_rollups(now().date_naive(), true).await.unwrap(), is_right);
    }
    assert_eq!(count(&path, with_sums), 2);
}

//! The conformance suite on SQLite, one file per case; then tests specific to a file.

#![cfg(feature = "sqlite")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use metrics_core::key::SessionId;
use metrics_core::store::{
    Error, Migrations, OpenScan, Outcome, SqliteStore, Store, Subject, Videos,
};
use metrics_core::{ApiKey, Metrics, PlayerEvent, Video, upkeep};
use tempfile::TempDir;

use crate::fixture::{check_dropped_commits, commit, key, now, write};

metrics_core::store_conformance!(empty_store());

async fn empty_store() -> (SqliteStore, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    (store, directory)
}

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

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
    // Half of the commits use another handle, which has not cached the rows that the first one adds.
    let two = Arc::new(SqliteStore::open(&path).await.unwrap());
    let key = key(&*one).await;
    let mut tasks = tokio::task::JoinSet::new();
    for viewer in 0..20 {
        let store = Arc::clone(if viewer % 2 == 0 { &one } else { &two });
        let write = write(&key, &viewer.to_string(), 0);
        tasks.spawn(async move { store.commit([write].into()).await.unwrap() });
    }
    let outcomes = tasks.join_all().await.concat();
    assert_eq!(outcomes, [Outcome::Written; 20]);
    assert_eq!(["open_sessions", "videos"].map(|table| count(&path, table)), [20, 1]);
}

#[tokio::test]
async fn two_handles_on_one_file_share_their_writes() {
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

/// The error message of a file that is unusable.
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
        "SQLite cannot be used: the file cannot be used (file is not a database): it must be a writable database \
         of metrics, or not exist yet"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    assert_eq!(
        reason(directory.path()).await,
        "SQLite cannot be used: the file cannot be opened (unable to open database file): name one in an \
         existing, writable directory"
    );
}

#[tokio::test]
async fn a_file_in_a_missing_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing");
    assert_eq!(
        reason(missing.join("metrics.db")).await,
        "SQLite cannot be used: the file cannot be opened (unable to open database file): name one in an \
         existing, writable directory"
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
    // Read-only by the URL: permissions of the file do not stop a superuser.
    let read_only = format!("file:{}?mode=ro", path.display());
    assert_eq!(
        reason(read_only).await,
        "SQLite cannot be used: the file cannot be used (attempt to write a readonly database): it must be a \
         writable database of metrics, or not exist yet"
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

/// The texts of all tables and indexes.
fn schema(path: &Path) -> Vec<String> {
    let texts = "select sql from sqlite_schema where sql is not null and name not like '\\_\\_diesel%' escape '\\' \
        order by name";
    diesel::dsl::sql::<diesel::sql_types::Text>(texts).load(&mut connect(path)).unwrap()
}

#[tokio::test]
async fn a_file_with_older_names_of_columns_keeps_its_sessions() {
    const BEFORE: &str = "20261203";
    let (store, directory) = empty_store().await;
    let path = directory.path().join("metrics.db");
    let key = key(&store).await;
    fill(&store, &key, 1_000).await;
    while 0 < upkeep::close(&store, DateTime::<Utc>::MAX_UTC, 1_000).await.unwrap().1 {}
    commit(&store, [write(&key, "open", 0)]).await;
    drop(store);

    let last = |connection: &mut SqliteConnection| {
        let applied = connection.applied_migrations().unwrap();
        applied.iter().map(ToString::to_string).max().unwrap_or_default()
    };
    let mut connection = connect(&path);
    while BEFORE < &*last(&mut connection) {
        connection.revert_last_migration(MIGRATIONS).unwrap();
    }
    let older = directory.path().join("older.db");
    let mut connection = connect(&older);
    while &*last(&mut connection) < BEFORE {
        connection.run_next_migration(MIGRATIONS).unwrap();
    }
    assert_eq!(schema(&path), schema(&older));

    assert!(SqliteStore::open_with(&path, Migrations::Check).await.is_err());
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.count_sessions().await.unwrap(), 1_001);
    assert_eq!(version(&store, &key, "open").await, Some(1));
    let verified = upkeep::verify(&store, |_| {}).await.unwrap();
    assert_eq!((verified.sessions, &verified.wrong[..]), (1_000, &[][..]));
    assert_eq!(commit(&store, [write(&key, "another", 0)]).await, [Outcome::Written]);
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_affects_no_other() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let metrics = Metrics::new(SqliteStore::open(&path).await.unwrap());
    let key = metrics.create_key().await.unwrap();
    let damaged = SessionId::new(&key, "damaged");
    metrics.store().commit([write(&key, "damaged", 0)].into()).await.unwrap();
    connect(&path).batch_execute("update open_sessions set resume = x'ff', version = -1").unwrap();

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

/// Writes enough sessions for a commit or a report to take a while.
async fn fill(store: &SqliteStore, key: &ApiKey, sessions: u32) {
    for batch in 0..sessions / 1_000 {
        let names = (0..1_000).map(|number| format!("{batch} {number}"));
        commit(store, names.map(|name| write(key, &name, 0))).await;
    }
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_complete_or_undone() {
    let (store, _directory) = empty_store().await;
    check_dropped_commits(&store, Duration::from_micros(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_dropped_is_complete_or_undone_on_many_threads() {
    let (store, _directory) = empty_store().await;
    check_dropped_commits(&store, Duration::from_micros(200)).await;
}

/// A dropped report must not cost a thread, nor a connection for ever.
#[tokio::test]
async fn reports_that_are_dropped_leave_their_connections_behind() {
    let (store, _directory) = empty_store().await;
    let key = key(&store).await;
    fill(&store, &key, 10_000).await;
    let scan = OpenScan { videos: Videos::All, from_ms: 0, to_ms: i64::MAX, watched_at: None };
    for _ in 0..50 {
        let report = async {
            let mut snapshot = store.snapshot().await.unwrap();
            snapshot.open_sessions(&scan, None, 10_000).await
        };
        assert!(tokio::time::timeout(std::time::Duration::ZERO, report).await.is_err());
    }
    let mut snapshot = store.snapshot().await.unwrap();
    let open = snapshot.open_sessions(&scan, None, 20_000).await.unwrap();
    assert_eq!(open.len(), 10_000);
}

/// Both ways of finding open sessions return all of them.
#[tokio::test]
async fn pages_of_open_sessions_of_a_video_with_many_leave_none_out() {
    let (store, _directory) = empty_store().await;
    let key = key(&store).await;
    let mut other = write(&key, "other", 0);
    other.subject =
        Arc::new(Subject { video: Video::labelled("other"), ..(*other.subject).clone() });
    commit(&store, [other]).await;
    fill(&store, &key, 12_000).await;
    let named = [Video::labelled("intro"), Video::labelled("other")].map(|it| (key.clone(), it));
    let ids = store.add_videos(&named).await.unwrap();
    for (videos, expected) in [(&ids[..1], 12_000), (&ids[1..], 1), (&ids[..], 12_001)] {
        let videos = Videos::These(videos.iter().map(|(_, video)| *video).collect());
        let scan = OpenScan { videos, from_ms: 0, to_ms: i64::MAX, watched_at: None };
        let mut snapshot = store.snapshot().await.unwrap();
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = snapshot.open_sessions(&scan, after, 5_000).await.unwrap();
            after = page.last().map(|session| session.id);
            all.extend(page.iter().map(|session| session.id));
            if page.len() < 5_000 {
                break;
            }
        }
        assert!(all.is_sorted() && all.len() == expected, "{} of {expected}", all.len());
    }
}

/// Only a disk or an operator can make totals wrong.
#[tokio::test]
async fn wrong_totals_are_found_and_corrected() {
    let (store, directory) = empty_store().await;
    let path = directory.path().join("metrics.db");
    let key = key(&store).await;
    fill(&store, &key, 2_000).await;
    while 0 < upkeep::close(&store, DateTime::<Utc>::MAX_UTC, 1_000).await.unwrap().1 {}
    let wrong = async |repair| {
        let verified = if repair {
            upkeep::rebuild(&store, |_| {}).await
        } else {
            upkeep::verify(&store, |_| {}).await
        };
        let verified = verified.unwrap();
        assert_eq!(verified.sessions, 2_000);
        verified.wrong.iter().filter_map(upkeep::WrongTotals::date).collect::<Vec<_>>()
    };
    assert_eq!(wrong(false).await, []);
    let day = now().date_naive();
    let tomorrow = day.succ_opt().unwrap();
    for (spoil, days) in [
        ("delete from totals", vec![day]),
        ("update totals set row_id = row_id + 1", vec![day, tomorrow]),
    ] {
        connect(&path).batch_execute(spoil).unwrap();
        assert_eq!(wrong(false).await, days, "{spoil}");
        assert_eq!(wrong(false).await, days, "to look changes nothing: {spoil}");
        assert_eq!(wrong(true).await, days, "{spoil}");
        assert_eq!(wrong(false).await, [], "{spoil}");
    }
}

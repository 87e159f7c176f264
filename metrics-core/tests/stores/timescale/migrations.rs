//! Migrations: down and up again, by many instances at once, and from the previous version.

use std::time::Duration;

use diesel_async::{AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use metrics_core::key::SessionId;
use metrics_core::store::{Location, Outcome, Store as _, TimescaleOptions, TimescaleStore};
use metrics_core::upkeep;
use metrics_testing::Backend::{Postgres, Timescale};
use metrics_testing::{Backend, Database};
use tokio::time::timeout;

use super::{check, close, count, empty_store, reason, sql, text, until, verified};
use crate::fixture::{commit, key, now, write};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/timescale");

async fn check_migrations(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    drop(store);

    let url = format!("{}?options=-c%20search_path%3Dmetrics%2Cpublic", database.url());
    let connection = AsyncPgConnection::establish(&url).await.unwrap();
    AsyncMigrationHarness::new(connection).revert_all_migrations(MIGRATIONS).unwrap();
    let left = "pg_class join pg_namespace n on n.oid = relnamespace
        where nspname = 'metrics' and relname not like '\\_\\_diesel%'";
    assert_eq!(count(&sql(&database.url()).await, left).await, 0);

    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    assert_eq!(store.count_sessions().await.unwrap(), 0);
    assert!(store.create_key(&key, now()).await.unwrap());
    assert_eq!(commit(&store, [write(&key, "a", 0)]).await, [Outcome::Written]);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_down_and_up_again_on_timescaledb() {
    check_migrations(Timescale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_down_and_up_again_on_postgresql() {
    check_migrations(Postgres).await;
}

async fn check_start_at_once(backend: Backend) {
    let database = Database::new(backend).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = database.url();
        tasks.spawn(async move { TimescaleStore::connect(&url).await });
    }
    for connected in tasks.join_all().await {
        connected.unwrap().check().await.unwrap();
    }
}

/// A lock that stops each migration at its first table.
const GATE: &str = "
    create function gate() returns event_trigger language plpgsql as
        'begin perform pg_advisory_xact_lock_shared(1); end';
    create event trigger gate on ddl_command_start when tag in ('CREATE TABLE') execute function gate();
    select pg_advisory_lock(1)";

async fn check_dropped_start(backend: Backend) {
    let database = Database::new(backend).await;
    let url = database.url();
    let admin = sql(&url).await;
    if backend == Timescale {
        admin.batch_execute("create extension if not exists timescaledb").await.unwrap();
    }
    admin.batch_execute(GATE).await.unwrap();
    let waiting = "pg_locks join pg_database d on d.oid = database
        where locktype = 'advisory' and not granted and datname = current_database()";
    let at_gate = format!("{waiting} and classid = 0 and objid = 1");

    let first = TimescaleStore::connect(&url);
    let stopped = until("at the gate", async || count(&admin, &at_gate).await == 1);
    tokio::select! {
        () = stopped => {},
        connected = first => panic!("{connected:?}"),
    }
    // The first instance is dropped. Its statement still runs, and so the second instance waits for it.
    let second = tokio::spawn(async move { TimescaleStore::connect(&url).await });
    until("waiting", async || count(&admin, waiting).await == 2).await;
    assert_eq!(count(&admin, &at_gate).await, 1);
    admin.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    second.await.unwrap().unwrap().check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_waits_for_the_migrations_of_a_dropped_one() {
    check_dropped_start(Timescale).await;
    check_dropped_start(Postgres).await;
}

/// Works on a single-threaded runtime too.
#[tokio::test]
async fn many_instances_may_start_at_once() {
    check_start_at_once(Timescale).await;
    check_start_at_once(Postgres).await;
}

#[tokio::test]
async fn tables_that_are_not_up_to_date_are_refused_where_they_may_not_be_changed() {
    let database = Database::new(Postgres).await;
    let missing = reason(&database.url(), check()).await;
    let expected = "its tables are not up to date (20261130, ";
    assert!(missing.starts_with(expected), "{missing}");
    assert_eq!(
        count(&sql(&database.url()).await, "pg_namespace where nspname = 'metrics'").await,
        0
    );

    drop(TimescaleStore::connect(&database.url()).await.unwrap());
    TimescaleStore::connect_with(&database.url(), check()).await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let (_store, database) = empty_store(Postgres).await;
    let newer = "insert into metrics.__diesel_schema_migrations (version) values ('29991231')";
    sql(&database.url()).await.batch_execute(newer).await.unwrap();
    let refused = "a newer version has changed its tables: use that version, or another database";
    assert_eq!(reason(&database.url(), TimescaleOptions::default()).await, refused);
    assert_eq!(reason(&database.url(), check()).await, refused);
}

/// The tables of the previous version, as its migrations made them.
const BEFORE: &str = include_str!("previous_version.sql");

/// A database of the previous version, with sessions of every kind: final, closed, and open.
async fn previous_version(backend: Backend) -> Database {
    let database = Database::new(backend).await;
    let admin = sql(&database.url()).await;
    if backend == Timescale {
        admin.batch_execute("create extension if not exists timescaledb").await.unwrap();
    }
    let applied = ["20261125", "20261126", "20261127", "20261128", "20261129"]
        .map(|version| format!("('{version}', now())"))
        .join(", ");
    let before = format!(
        "create schema metrics; set search_path = metrics, public; {BEFORE};
         create table __diesel_schema_migrations (version varchar(50) primary key, run_on timestamp not null);
         insert into __diesel_schema_migrations values {applied}"
    );
    admin.batch_execute(&before).await.unwrap();
    if backend == Timescale {
        let make = "select create_hypertable('metrics.sessions', 'started_at', chunk_time_interval => interval '7 days',
            create_default_indexes => false)";
        admin.batch_execute(make).await.unwrap();
    }
    let fill = r#"
        insert into keys (key, created_at) values ('one', '2026-01-01'), ('two', '2026-01-02');
        insert into videos (key_id, digest, identifier)
            select 1 + n % 2, md5('v' || n)::uuid, 'video-' || n from generate_series(1, 50) n;
        insert into sources (url) values ('http://example.com/a'), ('http://example.com/b');
        insert into sessions (started_at, last_event_at, view_ms, startup_ms, video_id, source_id, unique_ms, duration_ms,
                browser, platform, device, id, segments, session_data)
            select timestamptz '2026-02-01' + n * interval '7 minutes', timestamptz '2026-02-02' + n * interval '7 minutes',
                5000, 100, case when n % 2 = 0 then 1 else 1 + n % 50 end, 1 + n % 2, 5000, 60000, n % 8, n % 6, n % 4,
                md5('s' || n)::uuid, '\x008827', case when n % 10 = 0 then '{"a": 1}'::jsonb end
            from generate_series(1, 40000) n;
        insert into live_sessions (started_at, last_event_at, version, video_id, id, rolled, resume)
            select started_at, last_event_at, 3, video_id, id, true, '\x010000' from sessions
            where id in (select md5('s' || n)::uuid from generate_series(39901, 40000) n);
        insert into live_sessions (started_at, last_event_at, version, view_ms, video_id, source_id, unique_ms, browser,
                platform, device, id, segments, resume)
            select now(), now(), 1, 5000, 1, 1, 5000, 1, 1, 1, md5('o' || n)::uuid, '\x008827', '\x010000'
            from generate_series(1, 20) n"#;
    admin.batch_execute(fill).await.unwrap();
    database
}

async fn check_previous_version(backend: Backend) {
    let database = previous_version(backend).await;
    let missing = reason(&database.url(), check()).await;
    assert!(missing.starts_with("its tables are not up to date (20261130, "), "{missing}");

    // The first of three instances is dropped in the middle of its migrations; the others start at once.
    let url = database.url();
    let connecting = TimescaleStore::connect(&url);
    drop(timeout(Duration::from_millis(400), connecting).await);
    let (one, two) = tokio::join!(TimescaleStore::connect(&url), TimescaleStore::connect(&url));
    let (store, _two) = (one.unwrap(), two.unwrap());

    assert_eq!(store.count_sessions().await.unwrap(), 40_020);
    assert_eq!(verified(&store).await, 40_000);
    let admin = sql(&database.url()).await;
    assert_eq!(count(&admin, "metrics.session_rows").await, 40_000);
    assert_eq!(count(&admin, "metrics.sessions where page like '%/a'").await, 20_020);
    assert_eq!(count(&admin, "pg_namespace where nspname = 'metrics_before'").await, 0);
    let hypertables = i64::from(backend == Timescale);
    let installed = "pg_extension where extname = 'timescaledb'";
    assert_eq!(count(&admin, installed).await, hypertables);

    let digest = |name: &str| format!("select md5('{name}')::uuid::text");
    let id = async |name: &str| {
        let hex = text(&admin, &digest(name)).await.replace('-', "");
        SessionId::from_bytes(u128::from_str_radix(&hex, 16).unwrap().to_be_bytes())
    };
    let ids = [id("s39999").await, id("s1").await, id("o1").await];
    let found = store.load(&ids).await.unwrap();
    let places: Vec<_> = found.iter().map(|it| it.as_ref().map(|it| &it.location)).collect();
    assert!(matches!(places[..], [Some(Location::Closed { .. }), None, Some(Location::Open(_))]));
    let reopened = upkeep::load(&store, &ids[..1]).await.unwrap();
    assert_eq!(reopened[0].as_ref().unwrap().version, 3);
    assert_eq!(reopened[0].as_ref().unwrap().stored.duration_ms, Some(60_000));
    // New rows have ids of their own.
    let key = key(&store).await;
    assert_eq!(commit(&store, [write(&key, "new", 0)]).await, [Outcome::Written]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_the_previous_version_are_migrated_on_timescaledb() {
    check_previous_version(Timescale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_the_previous_version_are_migrated_on_postgresql() {
    check_previous_version(Postgres).await;
}

#[tokio::test]
async fn tables_older_than_the_previous_version_are_refused() {
    let database = previous_version(Postgres).await;
    let admin = sql(&database.url()).await;
    let older = "delete from metrics.__diesel_schema_migrations where version = '20261129'";
    admin.batch_execute(older).await.unwrap();
    let refused = reason(&database.url(), TimescaleOptions::default()).await;
    assert!(refused.ends_with("start that version once"), "{refused}");
    assert_eq!(count(&admin, "metrics.sessions").await, 40_000);
}

/// A database whose last migration is `2026-12-03_key_settings` keeps its sessions.
async fn check_older_names(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0), write(&key, "b", 0)]).await;
    close(&store).await;
    commit(&store, [write(&key, "open", 0)]).await;
    drop(store);

    let admin = sql(&database.url()).await;
    let later = "metrics.__diesel_schema_migrations where '20261203' < version";
    let url = format!("{}?options=-c%20search_path%3Dmetrics%2Cpublic", database.url());
    let connection = AsyncPgConnection::establish(&url).await.unwrap();
    let mut harness = AsyncMigrationHarness::new(connection);
    for _ in 0..count(&admin, later).await {
        harness.revert_last_migration(MIGRATIONS).unwrap();
    }
    let older = "information_schema.columns where table_schema = 'metrics'
        and (table_name, column_name) in (('blocks', 'clients'), ('totals', 'sums'), ('totals', 'hours'))";
    assert_eq!(count(&admin, older).await, 3);
    let function =
        "pg_proc where pronamespace = 'metrics'::regnamespace and proname = 'tell_of_keys'";
    assert_eq!(count(&admin, function).await, 1);

    let missing = reason(&database.url(), check()).await;
    assert!(missing.starts_with("its tables are not up to date (20261204"), "{missing}");
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    assert_eq!((count(&admin, older).await, count(&admin, function).await), (0, 0));
    assert_eq!(store.count_sessions().await.unwrap(), 3);
    assert_eq!(verified(&store).await, 2);
    assert_eq!(count(&admin, "metrics.sessions").await, 3);
    assert_eq!(count(&admin, "metrics.segments").await, 3);
    assert_eq!(commit(&store, [write(&key, "another", 0)]).await, [Outcome::Written]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_older_names_keeps_its_sessions_on_timescaledb() {
    check_older_names(Timescale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_older_names_keeps_its_sessions_on_postgresql() {
    check_older_names(Postgres).await;
}

//! The conformance suite on TimescaleDB and on plain PostgreSQL, one database per case; then tests specific to a
//! server.

#![cfg(feature = "timescale")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::{AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use metrics_core::block::{Block, Groups, RowId};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::session::{Counters, Stored};
use metrics_core::store::{
    BlockId, Detail, Error, Instance, Location, Migrations, OpenScan, Outcome, Rewrite,
    SessionWrite, Snapshot, Store, Subject, TimescaleOptions, TimescaleStore, Videos,
};
use metrics_core::totals::DayTotals;
use metrics_core::upkeep;
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_core::{ApiKey, Join, JoinError, Metrics, Source, Video};
use metrics_testing::Backend::{Postgres, Timescale};
use metrics_testing::{Backend, Call, Database, Method, Through, Way};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_postgres::{Client as Sql, NoTls};

use crate::fixture::{commit, key, now, write};

mod timescaledb {
    metrics_core::store_conformance!(super::empty_store(metrics_testing::Backend::Timescale));
}

mod postgres {
    metrics_core::store_conformance!(super::empty_store(metrics_testing::Backend::Postgres));
}

/// Compresses closed sessions after each call of upkeep, where the edition can compress.
mod compressed {
    metrics_core::store_conformance!(super::compressed_store() =>
        a_closed_session_goes_on_as_it_was,
        a_rewrite_does_all_that_it_says,
        sessions_before_an_instant_are_deleted,
        many_sessions_are_deleted_at_once,
        imported_sessions_are_closed,
        concurrent_imports_add_no_session_twice,
        erasures_are_those_of_brute_force,
        imports_of_videos_that_are_deleted_are_kept,
    );
}

async fn empty_store(backend: Backend) -> (TimescaleStore, Database) {
    let database = Database::new(backend).await;
    (TimescaleStore::connect(&database.url()).await.unwrap(), database)
}

async fn compressed_store() -> (Through<Compressing>, Database) {
    let (store, database) = empty_store(Timescale).await;
    let way = Compressing { sql: Arc::new(sql(&database.url()).await) };
    unscheduled(&way.sql).await;
    (Through::by(way, Arc::new(store)), database)
}

/// Compresses one chunk after the other, as TimescaleDB does with old chunks, and returns their names.
async fn compress(sql: &Sql) -> Result<Vec<String>, tokio_postgres::Error> {
    let chunks = "select chunk::text from show_chunks('metrics.session_rows') chunk";
    let chunks = sql.query(chunks, &[]).await?;
    let chunks: Vec<String> = chunks.iter().map(|chunk| chunk.get(0)).collect();
    for chunk in &chunks {
        sql.batch_execute(&format!("select compress_chunk('{chunk}', true)")).await?;
    }
    Ok(chunks)
}

/// Deletes the compression job. It would run at any moment of a test, and the second of two compressions fails.
async fn unscheduled(sql: &Sql) {
    let jobs = "timescaledb_information.jobs where proc_name like '%compression%'";
    sql.batch_execute(&format!("select delete_job(job_id) from {jobs}")).await.unwrap();
}

#[derive(Clone, Debug)]
struct Compressing {
    sql: Arc<Sql>,
}

impl Compressing {
    async fn compress(&self) {
        match compress(&self.sql).await {
            // New chunks may exist since.
            Ok(chunks) => {
                for chunk in chunks {
                    let loose = format!(
                        "timescaledb_information.chunks where not is_compressed
                         and format('%I.%I', chunk_schema, chunk_name)::regclass = '{chunk}'::regclass"
                    );
                    assert_eq!(count(&self.sql, &loose).await, 0);
                }
            }
            // The Apache edition cannot compress; reports are the same in both editions.
            Err(err) => {
                assert_eq!(text(&self.sql, "show timescaledb.license").await, "apache", "{err}");
            }
        }
    }
}

#[async_trait]
impl Way for Compressing {
    async fn go<T: Send + 'static>(&self, method: Method, call: Call<T>) -> Result<T, Error> {
        let answer = call.await;
        if method == Method::Upkeep {
            self.compress().await;
        }
        answer
    }
}

fn name(database: &Database) -> String {
    database.url().rsplit_once('/').unwrap().1.to_owned()
}

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/timescale");

fn started(write: SessionWrite, at: DateTime<Utc>) -> SessionWrite {
    let stored = Stored { started_at_ms: at.timestamp_millis(), ..write.stored };
    SessionWrite { stored, ..write }
}

/// Closes all sessions that have no segment open, and merges their blocks.
async fn close(store: &dyn Store) {
    loop {
        let (videos, closed) = upkeep::close(store, DateTime::<Utc>::MAX_UTC, 1_000).await.unwrap();
        upkeep::merge(store, videos).await.unwrap();
        if closed == 0 {
            return;
        }
    }
}

/// All open sessions.
fn everything() -> OpenScan {
    OpenScan { videos: Videos::All, from_ms: i64::MIN, to_ms: i64::MAX, watched_at: None }
}

/// Asserts that the totals of each day equal those of the blocks, and returns how many sessions the blocks have.
async fn verified(store: &dyn Store) -> u64 {
    let verified = upkeep::verify(store, |_| ()).await.unwrap();
    assert_eq!(verified.wrong, []);
    verified.sessions
}

/// A plain SQL connection to the database, as an operator has.
async fn sql(url: &str) -> Sql {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn text(sql: &Sql, query: &str) -> String {
    sql.query_one(query, &[]).await.unwrap().get(0)
}

async fn count(sql: &Sql, of: &str) -> i64 {
    sql.query_one(&format!("select count(*) from {of}"), &[]).await.unwrap().get(0)
}

/// Waits until `is` returns true, for at most 30 seconds.
async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// The message of a database that is unusable.
async fn reason(url: &str, options: TimescaleOptions) -> String {
    match TimescaleStore::connect_with(url, options).await {
        Err(err @ Error::Unusable { .. }) => {
            assert!(!err.is_retryable());
            let text = err.to_string();
            text.strip_prefix("TimescaleDB cannot be used: ").unwrap().to_owned()
        }
        other => panic!("{other:?}"),
    }
}

fn check() -> TimescaleOptions {
    TimescaleOptions::default().with_connections(5).with_migrations(Migrations::Check)
}

#[tokio::test]
async fn sessions_are_a_hypertable_where_there_is_timescaledb() {
    let (store, database) = empty_store(Timescale).await;
    let sql = sql(&database.url()).await;
    let wide = text(
        &sql,
        "select time_interval::text from timescaledb_information.dimensions
         where hypertable_schema = 'metrics' and hypertable_name = 'session_rows'",
    )
    .await;
    assert_eq!(wide, "7 days");

    let key = key(&store).await;
    let weeks = (0..3)
        .map(|week| started(write(&key, &format!("{week}"), 0), now() + TimeDelta::weeks(week)));
    commit(&store, weeks).await;
    close(&store).await;
    assert_eq!(count(&sql, "timescaledb_information.chunks").await, 3);

    // The next hourly upkeep (`finalize`) drops chunks without sessions.
    let third = (now() + TimeDelta::weeks(2)).timestamp_millis();
    assert_eq!(upkeep::delete_before(&store, third).await.unwrap(), 2);
    store.finalize(DateTime::<Utc>::MIN_UTC, 10).await.unwrap();
    assert_eq!(count(&sql, "timescaledb_information.chunks").await, 1);
    assert_eq!(count(&sql, "metrics.sessions").await, 1);

    // Only the community edition can compress.
    let community = text(&sql, "show timescaledb.license").await == "timescale";
    let jobs = "timescaledb_information.jobs where proc_name like '%compression%'";
    assert_eq!(count(&sql, jobs).await, i64::from(community));
}

#[tokio::test]
async fn sessions_are_a_plain_table_where_there_is_none() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    assert_eq!(commit(&store, [write(&key, "a", 0)]).await, [Outcome::Written]);
    close(&store).await;
    let sql = sql(&database.url()).await;
    assert_eq!(count(&sql, "metrics.session_rows").await, 1);
    assert_eq!(count(&sql, "pg_extension where extname = 'timescaledb'").await, 0);
}

/// Erasing sessions, open or closed, deletes the pages that only they refer to; other pages stay.
async fn check_pages(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let sql = sql(&database.url()).await;
    let key = key(&store).await;
    let on = |session: &str, label: &str, page: &str| {
        let write = write(&key, session, 0);
        let source = Source::parse(page);
        let video = Video::labelled(label);
        let subject = Subject { video, source, ..Subject::clone(&write.subject) };
        SessionWrite { subject: Arc::new(subject), ..write }
    };
    let (shared, own) = ("https://example.com/shared", "https://example.com/reset/token");
    let closed = [on("a", "gone", shared), on("b", "kept", shared), on("c", "gone", own)];
    commit(&store, closed).await;
    close(&store).await;
    assert_eq!(count(&sql, "metrics.pages").await, 2);
    // An open session that was closed before, and an open session with a new page.
    let reopened = upkeep::load(&store, &[SessionId::new(&key, "c")]).await.unwrap();
    assert!(reopened[0].is_some());
    commit(&store, [on("d", "gone", "https://example.com/open")]).await;

    let erasure = upkeep::Erasure::of(metrics_core::Selection::identifier("gone"));
    let erased = upkeep::erase(&store, &erasure).await.unwrap();

    assert_eq!((erased.sessions.sessions, erased.videos, erased.pages), (3, 1, 1));
    let urls = text(&sql, "select string_agg(url, ' ') from metrics.pages").await;
    assert_eq!(urls, shared);
    assert_eq!(count(&sql, "metrics.pages where maybe_unused").await, 0);
    assert_eq!(count(&sql, &format!("metrics.sessions where page = '{shared}'")).await, 1);
    // A deleted page can be added again.
    commit(&store, [on("e", "kept", own)]).await;
    close(&store).await;
    assert_eq!(count(&sql, &format!("metrics.sessions where page = '{own}'")).await, 1);
}

#[tokio::test]
async fn pages_without_sessions_are_deleted() {
    check_pages(Timescale).await;
    check_pages(Postgres).await;
}

/// The first write of a session on a page, with a video of its own.
fn on_page(key: &ApiKey, session: &str, page: &str) -> SessionWrite {
    let write = write(key, session, 0);
    let (video, source) = (Video::labelled(session), Source::parse(page));
    let subject = Subject { video, source, ..Subject::clone(&write.subject) };
    SessionWrite { subject: Arc::new(subject), ..write }
}

/// A page is marked `maybe_unused` when its session is deleted, although another transaction clears the mark.
async fn check_noted(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    // Within a transaction, `pg_stat_activity` does not change: only another connection can poll it.
    let (sql, other) = (sql(&database.url()).await, self::sql(&database.url()).await);
    let key = key(&store).await;
    for is_closed in [false, true] {
        commit(&store, [on_page(&key, "kept", "https://example.com/a")]).await;
        close(&store).await;
        let session = format!("gone {is_closed}");
        commit(&store, [on_page(&key, &session, "https://example.com/a")]).await;
        if is_closed {
            close(&store).await;
        }
        let clear = "begin; select from metrics.pages for update; update metrics.pages set maybe_unused = false";
        sql.batch_execute(clear).await.unwrap();
        let erasure = upkeep::Erasure::of(metrics_core::Selection::identifier(&*session));
        let deleting = upkeep::erase(&store, &erasure);
        let committing = async {
            let waiting = format!("{OTHERS} and wait_event_type = 'Lock'");
            until("waits for the page", async || 0 < count(&other, &waiting).await).await;
            sql.batch_execute("commit").await.unwrap();
        };
        let (erased, ()) = tokio::join!(deleting, committing);
        assert_eq!(erased.unwrap().sessions.sessions, 1);
        // The deletion found the other session of the page, and cleared the mark.
        assert_eq!(count(&sql, "metrics.pages where maybe_unused").await, 0);
        let all = upkeep::Erasure::of(metrics_core::Selection::default());
        assert_eq!(upkeep::erase(&store, &all).await.unwrap().pages, 1);
    }
}

#[tokio::test]
async fn a_page_whose_sessions_are_deleted_is_noted_whatever_is_noted_beside() {
    check_noted(Timescale).await;
    check_noted(Postgres).await;
}

/// Unused pages are found without locks, so that sessions on these pages can be closed meanwhile.
async fn check_unlocked(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let (sql, other) = (sql(&database.url()).await, self::sql(&database.url()).await);
    let key = key(&store).await;
    commit(&store, [on_page(&key, "a", "https://example.com/a")]).await;
    close(&store).await;
    upkeep::delete_before(&store, i64::MAX).await.unwrap();
    assert_eq!(store.delete_unused(10).await.unwrap().videos, 1);
    sql.batch_execute("begin; lock table metrics.session_rows").await.unwrap();
    let finding = store.delete_unused(10);
    let looking = async {
        let waiting = format!("{OTHERS} and wait_event_type = 'Lock'");
        until("reads rows", async || 0 < count(&other, &waiting).await).await;
        let free = "select from metrics.pages for update nowait";
        assert_eq!(other.query(free, &[]).await.unwrap().len(), 1);
        assert!(store.load(&[SessionId::new(&key, "a")]).await.unwrap()[0].is_none());
        // A session that is closed before the page is locked keeps the page.
        sql.batch_execute("commit").await.unwrap();
    };
    let (unused, ()) = tokio::join!(finding, looking);
    assert_eq!(unused.unwrap().pages, 1);
}

#[tokio::test]
async fn unused_pages_are_found_without_locks() {
    check_unlocked(Timescale).await;
    check_unlocked(Postgres).await;
}

/// Sessions begin and are deleted on a few pages while `delete_unused` runs: each row's page exists, and none remains.
async fn check_beside(backend: Backend) {
    const ROUNDS: usize = 25;
    let (store, database) = empty_store(backend).await;
    let sql = sql(&database.url()).await;
    let key = key(&store).await;
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let is_going = || !is_over.load(std::sync::atomic::Ordering::Relaxed);
    let deleting = async {
        while is_going() {
            store.delete_unused(1_000).await.unwrap();
        }
    };
    let recording = async {
        for round in 0..ROUNDS {
            for number in 0..4 {
                let page = format!("https://example.com/{}", (round + number) % 3);
                let write = on_page(&key, &format!("{round} {number}"), &page);
                while commit(&store, [write.clone()]).await != [Outcome::Written] {}
                if number % 2 == 0 {
                    close(&store).await;
                }
            }
            close(&store).await;
            assert_eq!(count(&sql, "metrics.session_rows").await, 4);
            let lost = "metrics.session_rows where page_id not in (select id from metrics.pages)";
            assert_eq!(count(&sql, lost).await, 0);
            upkeep::delete_before(&store, i64::MAX).await.unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(deleting, recording);
    upkeep::erase(&store, &upkeep::Erasure::of(metrics_core::Selection::default())).await.unwrap();
    assert_eq!(count(&sql, "metrics.pages").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_deleted_beside_sessions_that_come_and_go() {
    check_beside(Timescale).await;
    check_beside(Postgres).await;
}

/// Joins with a key whose settings cannot be decoded are refused; other keys stay valid.
#[tokio::test]
async fn a_key_that_cannot_be_read_disables_no_other() {
    let (store, database) = empty_store(Postgres).await;
    let sql = sql(&database.url()).await;
    let (damaged, later, sound) = (key(&store).await, key(&store).await, key(&store).await);
    for (key, settings) in [
        (&damaged, r#"{"hosts": 1}"#),
        (&later, r#"{"limits": {"replays": "5/week"}, "colour": 7}"#),
    ] {
        let set = "update metrics.keys set settings = $1::text::jsonb where key = $2";
        assert_eq!(sql.execute(set, &[&settings, &key.as_str()]).await.unwrap(), 1);
    }
    // A row whose `key` is not a valid key.
    let add = "insert into metrics.keys (key, created_at) values ('a key', now())";
    sql.batch_execute(add).await.unwrap();
    let metrics = Metrics::new(store);
    let join = |key: &ApiKey| Join::new(key.clone(), "a", Video::labelled("intro"));
    for key in [&later, &sound] {
        metrics.join(join(key)).await.unwrap();
    }
    assert!(matches!(metrics.join(join(&damaged)).await, Err(JoinError::Origin)));
    assert_eq!(metrics.keys().await.unwrap().len(), 3);
}

/// An operator may install the extension later.
#[tokio::test]
async fn a_plain_table_becomes_a_hypertable_with_all_its_sessions() {
    let database = Database::new(Timescale).await;
    let admin = sql(&database.url()).await;
    // Simulates a server without TimescaleDB: the store does not add the extension to an existing schema.
    admin.batch_execute("create schema metrics").await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    close(&store).await;
    assert_eq!(count(&admin, "pg_extension where extname = 'timescaledb'").await, 0);
    drop(store);

    sql(&database.url()).await.batch_execute("create extension timescaledb").await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();

    assert_eq!(commit(&store, [write(&key, "b", 0)]).await, [Outcome::Written]);
    let reopened = upkeep::load(&store, &[SessionId::new(&key, "a")]).await.unwrap();
    assert!(reopened[0].is_some());
    assert_eq!(store.count_sessions().await.unwrap(), 2);
    let admin = sql(&database.url()).await;
    assert_eq!(count(&admin, "timescaledb_information.hypertables").await, 1);
}

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

#[tokio::test]
async fn a_read_only_database_is_refused() {
    let (_store, database) = empty_store(Postgres).await;
    let read_only =
        format!("alter database {} set default_transaction_read_only = on", name(&database));
    sql(&database.url()).await.batch_execute(&read_only).await.unwrap();
    let refused = reason(&database.url(), TimescaleOptions::default()).await;
    assert!(refused.starts_with("it is read-only, like a replica: name the primary"), "{refused}");
}

#[tokio::test]
async fn a_database_that_cannot_hold_all_texts_is_refused() {
    let database = Database::new(Postgres).await;
    let latin = format!("{}_latin", name(&database));
    let make = format!("create database {latin} encoding 'LATIN1' locale 'C' template template0");
    sql(&database.url()).await.batch_execute(&make).await.unwrap();
    let url = database.url().replace(&name(&database), &latin);
    let refused = reason(&url, TimescaleOptions::default()).await;
    sql(&database.url()).await.batch_execute(&format!("drop database {latin}")).await.unwrap();
    assert!(refused.starts_with("the database is in LATIN1: create one with"), "{refused}");
}

#[tokio::test]
async fn a_missing_database_is_told_from_a_missing_server() {
    let database = Database::new(Postgres).await;
    let url = database.url().replace(&name(&database), "nowhere");
    assert_eq!(
        reason(&url, TimescaleOptions::default()).await,
        "there is no database \"nowhere\": create one with `createdb nowhere`, or name another in the URL"
    );
    // No process listens on a port that was just released.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let away = TimescaleStore::connect(&format!("postgres://me@127.0.0.1:{port}/metrics")).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })), "{away:?}");
}

/// The URL of a server that refuses all connections with this error code.
async fn refusing(code: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let len = socket.read_u32().await.unwrap();
            socket.read_exact(&mut vec![0; len as usize - 4]).await.unwrap();
            let fields = format!("SFATAL\0C{code}\0Mno\0\0");
            socket.write_u8(b'E').await.unwrap();
            socket.write_u32(fields.len() as u32 + 4).await.unwrap();
            socket.write_all(fields.as_bytes()).await.unwrap();
        }
    });
    format!("postgres://me:secret@127.0.0.1:{port}/metrics?sslmode=disable")
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let cases = [
        ("28P01", "the server refuses the password of user \"me\": correct it in the URL"),
        (
            "28000",
            "the server refuses user \"me\" (db error: FATAL: no): name a user who may log in, or \
            allow it in the server's pg_hba.conf",
        ),
        (
            "42501",
            "user \"me\" may not connect to database \"metrics\": grant it with \
            `grant connect on database metrics to me`",
        ),
    ];
    for (code, expected) in cases {
        assert_eq!(reason(&refusing(code).await, TimescaleOptions::default()).await, expected);
    }
    // Too many connections, and starting up.
    for code in ["53300", "57P03"] {
        let away = TimescaleStore::connect(&refusing(code).await).await;
        assert!(matches!(away, Err(ref err) if err.is_retryable()), "{code}: {away:?}");
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_its_password() {
    let cases = [
        ("postgres://me:secret@localhost:port/metrics", "its URL cannot be read"),
        ("postgres://me:secret@localhost/metrics?colour=red", "its URL cannot be read"),
        (
            "postgres://me:secret@localhost/metrics?sslmode=allow",
            "sslmode is \"allow\": it must be",
        ),
        ("postgres://me:secret@localhost/metrics?sslrootcert=a.pem", "sslrootcert requires"),
        (
            "postgres://me:secret@localhost/metrics?sslmode=verify-full&sslrootcert=missing.pem",
            "sslrootcert \"missing.pem\" cannot be read",
        ),
    ];
    for (url, expected) in cases {
        let refused = reason(url, TimescaleOptions::default()).await;
        assert!(refused.starts_with(expected), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
    let few = TimescaleOptions::default().with_connections(4);
    let refused = reason("postgres://me@localhost/metrics", few).await;
    assert_eq!(refused, "4 connections are too few: at least 5 are required");
}

/// A role that may only log in is refused with this text, and accepted once it may create schemas.
async fn check_rights(backend: Backend, right: &str) {
    let database = Database::new(backend).await;
    let admin = sql(&database.url()).await;
    let role = format!("{}_user", name(&database));
    let make = format!("create role {role} login");
    admin.batch_execute(&make).await.unwrap();
    let server = database.url();
    let server = server.split_once('@').unwrap().1.split_once('/').unwrap().0;
    let url = format!("postgres://{role}@{server}/{}", name(&database));

    let refused = reason(&url, TimescaleOptions::default()).await;
    admin
        .batch_execute(&format!("grant create on database {} to {role}", name(&database)))
        .await
        .unwrap();
    let granted = TimescaleStore::connect(&url).await;
    let works = match &granted {
        Ok(store) => store.check().await.is_ok(),
        Err(_) => false,
    };
    drop(granted);
    admin.batch_execute(&format!("drop owned by {role} cascade; drop role {role}")).await.unwrap();
    assert!(refused.contains(right), "{refused}");
    assert!(works, "{refused}");
}

#[tokio::test]
async fn a_user_who_may_not_make_the_tables_is_told_what_to_grant() {
    check_rights(Postgres, "its owner must run `grant create on database").await;
}

#[tokio::test]
async fn a_user_who_may_not_add_timescaledb_is_told_who_may() {
    check_rights(Timescale, "a superuser must run `create extension timescaledb`").await;
}

/// `revoke_key` and an SQL update both notify instances.
#[tokio::test]
async fn all_instances_are_told_of_a_key_that_is_revoked() {
    let (one, database) = empty_store(Postgres).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    // The store polls until it listens: then no call returns before a change.
    let mut seen = 0;
    let quiet = Duration::from_secs(2);
    while let Ok(number) = timeout(quiet, two.keys_changed(seen)).await {
        seen = number;
    }
    let (told, revoked) =
        tokio::join!(timeout(quiet, two.keys_changed(seen)), one.revoke_key(&key, now()));
    assert!(revoked.unwrap());
    assert_ne!(told, Ok(seen));
    seen = told.unwrap();

    let by_hand = "update metrics.keys set disabled_at = null";
    let admin = sql(&database.url()).await;
    let (told, done) =
        tokio::join!(timeout(quiet, two.keys_changed(seen)), admin.batch_execute(by_hand));
    done.unwrap();
    assert_ne!(told.unwrap(), seen);
}

const OTHERS: &str =
    "pg_stat_activity where datname = current_database() and application_name = 'metrics'";

#[tokio::test]
async fn connections_that_are_cut_are_made_anew() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    let admin = sql(&database.url()).await;
    for version in 1..5 {
        let cut = format!("select pg_terminate_backend(pid) from {OTHERS}");
        admin.query(&cut, &[]).await.unwrap();
        // The first connection may detect the cut only when it writes.
        let mut again = store.commit([write(&key, "a", version)].into()).await;
        while let Err(err) = &again {
            assert!(err.is_retryable(), "{err:?}");
            again = store.commit([write(&key, "a", version)].into()).await;
        }
        assert_eq!(again.unwrap(), [Outcome::Written]);
        until("listens again", || async {
            0 < count(&admin, &format!("{OTHERS} and query = 'listen metrics_keys'")).await
        })
        .await;
    }
    let loaded = store.load(&[SessionId::new(&key, "a")]).await.unwrap();
    assert_eq!(loaded[0].as_ref().unwrap().version, 5);
}

/// A dropped report must not cost a connection, and the server must cancel its query.
#[tokio::test]
async fn reports_that_are_dropped_are_stopped() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    let mut locking = sql(&database.url()).await;
    let lock = locking.transaction().await.unwrap();
    lock.batch_execute("lock table metrics.open_sessions in access exclusive mode").await.unwrap();
    for _ in 0..20 {
        let mut snapshot = store.snapshot().await.unwrap();
        let limit = Duration::from_millis(50);
        assert!(timeout(limit, snapshot.open_sessions(&everything(), None, 1)).await.is_err());
        // A snapshot is unusable after a dropped call.
        let again = snapshot.resumable(None, 1).await;
        assert!(matches!(again, Err(Error::Unavailable { .. })), "{again:?}");
    }
    let waiting = format!("{OTHERS} and wait_event_type = 'Lock'");
    let admin = sql(&database.url()).await;
    until("stopped", || async { count(&admin, &waiting).await == 0 }).await;
    lock.rollback().await.unwrap();
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.open_sessions(&everything(), None, 10).await.unwrap().len(), 1);
}

/// Each snapshot has its own moment, and no connection stays in a transaction.
#[tokio::test]
async fn connections_come_back_clean_from_snapshots() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    for round in 0..50_u64 {
        let mut snapshot = store.snapshot().await.unwrap();
        let open = snapshot.open_sessions(&everything(), None, 1_000).await.unwrap();
        assert_eq!(open.len() as u64, round);
        commit(&store, [write(&key, &round.to_string(), 0)]).await;
        if round % 5 == 0 {
            // Drops the call before its end.
            let limit = Duration::from_micros(20 * round);
            let _any = timeout(limit, snapshot.resumable(None, 10)).await;
        }
    }
    let admin = sql(&database.url()).await;
    let open = format!("{OTHERS} and state like 'idle in transaction%'");
    until("clean", || async { count(&admin, &open).await == 0 }).await;
}

async fn check_dropped_commits(backend: Backend) {
    let (store, _database) = empty_store(backend).await;
    let key = key(&store).await;
    for round in 0..20_u64 {
        let writes: Arc<[_]> =
            (0..200).map(|number| write(&key, &format!("{round} {number}"), 0)).collect();
        let limit = Duration::from_micros(500 * round);
        let done = timeout(limit, store.commit(Arc::clone(&writes))).await;
        let ids: Vec<_> = writes.iter().map(|write| write.id).collect();
        // This holds also while the dropped commit is in progress.
        for _ in 0..5 {
            let loaded = store.load(&ids).await.unwrap();
            let stored = loaded.iter().flatten().count();
            assert!(stored == 200 || (stored == 0 && done.is_err()), "{stored} of 200");
        }
        // The store works as before.
        assert!(store.commit(writes).await.is_ok());
        assert_eq!(store.load(&ids).await.unwrap().iter().flatten().count(), 200);
    }
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_whole_or_undone_on_timescaledb() {
    check_dropped_commits(Timescale).await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_whole_or_undone_on_postgresql() {
    check_dropped_commits(Postgres).await;
}

/// Two instances write many of the same sessions at once, in any order: every commit returns an outcome.
#[tokio::test(flavor = "multi_thread")]
async fn writers_of_the_same_sessions_do_not_lock_each_other_out() {
    let (one, database) = empty_store(Timescale).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    let stores: [Arc<dyn Store>; 2] = [Arc::new(one), Arc::new(two)];
    let mut tasks = tokio::task::JoinSet::new();
    for (number, store) in stores.iter().cloned().enumerate() {
        let key = key.clone();
        tasks.spawn(async move {
            let ids: Vec<_> =
                (0..300).map(|session| SessionId::new(&key, &session.to_string())).collect();
            let mut written = 0;
            for _ in 0..20 {
                let loaded = store.load(&ids).await.unwrap();
                let mut writes: Vec<_> = loaded
                    .iter()
                    .enumerate()
                    .map(|(session, loaded)| {
                        let version = loaded.as_ref().map_or(0, |loaded| loaded.version);
                        started(write(&key, &session.to_string(), version), Utc::now())
                    })
                    .collect();
                if number == 1 {
                    writes.reverse();
                }
                let outcomes = store.commit(writes.into()).await.unwrap();
                written += outcomes.iter().filter(|outcome| **outcome == Outcome::Written).count();
            }
            written
        });
    }
    let written: usize = tasks.join_all().await.into_iter().sum();
    let ids: Vec<_> = (0..300).map(|session| SessionId::new(&key, &session.to_string())).collect();
    let loaded = stores[0].load(&ids).await.unwrap();
    let versions: u32 = loaded.iter().flatten().map(|loaded| loaded.version).sum();
    assert_eq!(versions as usize, written);
    assert_eq!(stores[0].count_sessions().await.unwrap(), 300);
}

/// The row ids of all sessions, open and closed.
async fn row_ids(store: &dyn Store) -> Vec<RowId> {
    let mut snapshot = store.snapshot().await.unwrap();
    let open = snapshot.open_sessions(&everything(), None, 100_000).await.unwrap();
    let mut ids: Vec<_> = open.into_iter().map(|session| session.row.id).collect();
    for block in blocks(&mut *snapshot).await {
        ids.extend(block.rows().unwrap().into_iter().map(|row| row.id));
    }
    ids.sort_unstable();
    ids
}

async fn blocks(snapshot: &mut dyn Snapshot) -> Vec<Block> {
    let heads = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 100_000).await.unwrap();
    let ids: Vec<_> = heads.into_iter().map(|head| head.id).collect();
    snapshot.groups(&ids, Groups::ALL).await.unwrap()
}

/// TimescaleDB compresses chunks at any moment, concurrently with writes. The Apache edition does not.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_whole_while_their_chunks_are_compressed() {
    const NEW: usize = 30;
    let (store, database) = empty_store(Timescale).await;
    let key = key(&store).await;
    let compressing = sql(&database.url()).await;
    unscheduled(&compressing).await;
    let admin = sql(&database.url()).await;
    let compressing = tokio::spawn(async move {
        loop {
            if let Err(err) = compress(&compressing).await {
                return err;
            }
        }
    });
    let mut ids = Vec::new();
    let mut versions: Vec<u32> = Vec::new();
    for round in 0..12 {
        let (old, all) = (versions.len(), versions.len() + NEW);
        versions.resize(all, 0);
        // All new sessions, and some stored ones.
        let changed = (0..all).filter(|number| old <= *number || number % 7 == round % 7);
        let mut writes = Vec::new();
        for number in changed {
            let write = write(&key, &number.to_string(), versions[number]);
            versions[number] += 1;
            // The sessions start in three chunks, several per commit.
            writes.push(started(write, now() + TimeDelta::days(number as i64 % 15)));
        }
        ids.extend(writes[writes.len() - NEW..].iter().map(|write| write.id));
        let written = vec![Outcome::Written; writes.len()];
        assert_eq!(commit(&store, writes).await, written, "round {round}");
        if round % 3 != 0 {
            close(&store).await;
        }

        let mut sorted: Vec<RowId> = ids.iter().map(|id| RowId::from(*id)).collect();
        sorted.sort_unstable();
        assert_eq!(row_ids(&store).await, sorted, "round {round}");
        assert_eq!(count(&admin, "metrics.sessions").await, all as i64, "round {round}");
        // Loading opens the closed sessions again for the next writes.
        let loaded = upkeep::load(&store, &ids).await.unwrap();
        let loaded: Vec<_> = loaded.iter().flatten().map(|loaded| loaded.version).collect();
        assert_eq!(loaded, versions, "round {round}");
    }
    let apache = text(&sql(&database.url()).await, "show timescaledb.license").await == "apache";
    if apache || compressing.is_finished() {
        let err = compressing.await.unwrap();
        assert!(apache, "{err:?}");
    } else {
        compressing.abort();
    }
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_hurts_no_other() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "good", 0), write(&key, "bad", 0)]).await;
    let bad = SessionId::new(&key, "bad");
    let damage = format!("update metrics.open_sessions set version = -1 where id = '{bad:?}'");
    sql(&database.url()).await.batch_execute(&damage).await.unwrap();
    let loaded = store.load(&[bad]).await;
    assert!(matches!(loaded, Err(ref err) if !err.is_retryable()), "{loaded:?}");
    assert!(store.load(&[SessionId::new(&key, "good")]).await.unwrap()[0].is_some());
}

/// Acknowledged commits are durable even if the database has `synchronous_commit = off`.
#[tokio::test]
async fn commits_wait_for_the_disk() {
    let (_store, database) = empty_store(Postgres).await;
    let careless = format!(
        "alter database {} set synchronous_commit = off;
         create function metrics.look() returns trigger language plpgsql as
            'begin new.key = current_setting($s$synchronous_commit$s$); return new; end';
         create trigger look before insert on metrics.keys for each row execute function metrics.look()",
        name(&database)
    );
    sql(&database.url()).await.batch_execute(&careless).await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    key(&store).await;
    assert_eq!(store.keys().await.unwrap()[0].key.as_str(), "on");
}

/// The SQL views.
async fn check_views(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let key = key(&store).await;
    let mut watched = write(&key, "open", 0);
    watched.watched_at = Some(Instance(1));
    let mut full = write(&key, "full", 0);
    full.subject = Arc::new(Subject {
        user_agent: UserAgentClass {
            browser: Browser::Firefox,
            platform: Platform::Linux,
            device: Device::Desktop,
        },
        session_data: Some(r#"{"group":"a"}"#.into()),
        ..(*full.subject).clone()
    });
    let segments: Segments = [(0, 4_000), (2_000, 6_500), (300_000, 300_001)]
        .into_iter()
        .filter_map(|(start, end)| Interval::new(start, end))
        .collect();
    full.stored.segments = segments.encode();
    full.stored.duration_ms = Some(400_000);
    full.stored.counters =
        Counters { rebufferings: 2, startup_ms: Some(250), ..Counters::default() };
    commit(&store, [watched, full]).await;
    close(&store).await;

    let admin = sql(&database.url()).await;
    let rows = admin
        .query(
            "select is_open, row_id, key, identifier, page, browser, platform, device, duration_seconds, startup_seconds,
                rebufferings, session_data::text
             from metrics.sessions order by is_open",
            &[],
        )
        .await
        .unwrap();
    let [closed, open] = &rows[..] else { panic!("{rows:?}") };
    assert!(open.get::<_, bool>(0));
    let row_id = |name| RowId::from(SessionId::new(&key, name)).0.cast_signed();
    assert_eq!([closed.get::<_, i64>(1), open.get(1)], ["full", "open"].map(row_id));
    assert_eq!(closed.get::<_, String>(2), key.as_str());
    let texts: Vec<String> = (3..8).map(|column| closed.get(column)).collect();
    assert_eq!(texts, ["intro", "http://example.com/", "firefox", "linux", "desktop"]);
    assert_eq!([closed.get::<_, f64>(8), closed.get(9)], [400.0, 0.25]);
    assert_eq!(closed.get::<_, i64>(10), 2);
    assert_eq!(closed.get::<_, String>(11), r#"{"group": "a"}"#);

    let segments =
        "select from_seconds, to_seconds from metrics.segments where row_id = $1 order by 1";
    let segments = admin.query(segments, &[&row_id("full")]).await.unwrap();
    let segments: Vec<(f64, f64)> = segments.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(segments, [(0.0, 4.0), (2.0, 6.5), (300.0, 300.001)]);
}

#[tokio::test]
async fn sql_sees_every_session_and_segment() {
    check_views(Timescale).await;
    check_views(Postgres).await;
}

#[tokio::test]
async fn sql_knows_the_names_of_classes() {
    let (_store, database) = empty_store(Postgres).await;
    let admin = sql(&database.url()).await;
    let check = async |function: &str, code: u8, name: &str| {
        assert_eq!(
            text(&admin, &format!("select metrics.{function}({code}::smallint)")).await,
            name
        );
    };
    for it in Browser::ALL {
        check("browser_name", it.code(), it.name()).await;
    }
    for it in Platform::ALL {
        check("platform_name", it.code(), it.name()).await;
    }
    for it in Device::ALL {
        check("device_name", it.code(), it.name()).await;
    }
    check("browser_name", 200, "other").await;
}

/// The tables of the previous version, as its migrations made them.
const BEFORE: &str = include_str!("timescale/version_before.sql");

/// A database of the previous version, with sessions of every kind: final, closed, and open.
async fn version_before(backend: Backend) -> Database {
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

async fn check_taken_over(backend: Backend) {
    let database = version_before(backend).await;
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
async fn sessions_of_the_version_before_are_taken_over_on_timescaledb() {
    check_taken_over(Timescale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_the_version_before_are_taken_over_on_postgresql() {
    check_taken_over(Postgres).await;
}

#[tokio::test]
async fn tables_older_than_the_version_before_are_refused() {
    let database = version_before(Postgres).await;
    let admin = sql(&database.url()).await;
    let older = "delete from metrics.__diesel_schema_migrations where version = '20261129'";
    admin.batch_execute(older).await.unwrap();
    let refused = reason(&database.url(), TimescaleOptions::default()).await;
    assert!(refused.ends_with("start that version once"), "{refused}");
    assert_eq!(count(&admin, "metrics.sessions").await, 40_000);
}

/// Two instances add the first totals of the same days at once.
#[tokio::test(flavor = "multi_thread")]
async fn first_totals_of_a_day_are_added_up() {
    for backend in [Timescale, Postgres] {
        let (one, database) = empty_store(backend).await;
        let two = TimescaleStore::connect(&database.url()).await.unwrap();
        let key = key(&one).await;
        for day in 0..10 {
            let at = now() + TimeDelta::days(day);
            let writes =
                (0..2).map(|number| started(write(&key, &format!("{day} {number}"), 0), at));
            commit(&one, writes).await;
            let quiet = one.quiet(DateTime::<Utc>::MAX_UTC, 10).await.unwrap();
            let rewrites = quiet.iter().map(|session| {
                let mut totals = DayTotals::default();
                let (stored, times) = (&session.row.stored, (5_000, 5_000));
                totals.add(stored.started_at_ms, session.row.user_agent, times, 1);
                Rewrite {
                    close: vec![(session.id, session.version)],
                    totals: vec![(
                        session.key,
                        stored.started_at_ms.div_euclid(86_400_000),
                        totals,
                    )],
                    ..Rewrite::default()
                }
            });
            let [a, b] = rewrites.collect::<Vec<_>>().try_into().unwrap();
            let (a, b) = tokio::join!(one.rewrite(a), two.rewrite(b));
            assert_eq!([a.unwrap(), b.unwrap()], [Outcome::Written; 2]);
        }
        let mut snapshot = one.snapshot().await.unwrap();
        let totals = snapshot.totals(Some(&key), 0, i64::MAX, Detail::Days).await.unwrap();
        let plays = totals.iter().map(|it| it.plays(0).unwrap().plays);
        assert_eq!(plays.collect::<Vec<_>>(), [2; 10], "{backend:?}");
    }
}

/// Two instances replace the same blocks: one succeeds, and the other gets a conflict.
#[tokio::test(flavor = "multi_thread")]
async fn rewrites_do_not_lock_each_other_out() {
    let (one, database) = empty_store(Postgres).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    for round in 0..20 {
        let writes =
            (0..10).map(|at| started(write(&key, &format!("{round} {at}"), 0), instant(at)));
        commit(&one, writes).await;
        for _ in 0..10 {
            upkeep::close(&one, DateTime::<Utc>::MAX_UTC, 1).await.unwrap();
        }
        let mut snapshot = one.snapshot().await.unwrap();
        let heads = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 1_000).await.unwrap();
        drop(snapshot);
        let mut remove: Vec<BlockId> = heads.iter().rev().take(10).map(|head| head.id).collect();
        let a = Rewrite { remove: remove.clone(), ..Rewrite::default() };
        remove.reverse();
        let b = Rewrite { remove, ..Rewrite::default() };
        let (a, b) = tokio::join!(one.rewrite(a), two.rewrite(b));
        let mut outcomes = [a.unwrap(), b.unwrap()];
        outcomes.sort_unstable_by_key(|outcome| *outcome == Outcome::Conflict);
        assert_eq!(outcomes, [Outcome::Written, Outcome::Conflict], "round {round}");
    }
}

/// An index on a column that usual writes change would cost each write new entries in all indexes.
#[tokio::test]
async fn no_index_holds_what_a_usual_write_changes() {
    let (_store, database) = empty_store(Postgres).await;
    let changes = "version|instance|last_event_at|duration_ms|view_ms|unique_ms|segments|startup_ms|rebuffer|failures
        |details|resume";
    let indexes = "pg_indexes where schemaname = 'metrics' and tablename = 'open_sessions'";
    let sql = sql(&database.url()).await;
    assert_eq!(count(&sql, indexes).await, 3);
    let changes = changes.replace(char::is_whitespace, "");
    assert_eq!(count(&sql, &format!("{indexes} and indexdef ~ '{changes}'")).await, 0);
}

/// A plan made for a small table would stay in use after the table has grown.
#[tokio::test]
async fn writes_find_their_sessions_by_an_index_however_few_there_are() {
    for backend in [Timescale, Postgres] {
        let (store, database) = empty_store(backend).await;
        let key = key(&store).await;
        commit(&store, [write(&key, "a", 0)]).await;
        drop(store);
        let admin = sql(&database.url()).await;
        admin.batch_execute("vacuum analyze metrics.open_sessions").await.unwrap();
        let scans = async |kind: &str| -> i64 {
            let scans = format!(
                "select {kind} from pg_stat_user_tables
                 where schemaname = 'metrics' and relname = 'open_sessions'"
            );
            admin.query_one(&scans, &[]).await.unwrap().get(0)
        };
        let gone = async || count(&admin, OTHERS).await == 0;
        until("closed", gone).await;
        let (whole, by_index) = (scans("seq_scan").await, scans("idx_scan").await);

        let store = TimescaleStore::connect(&database.url()).await.unwrap();
        for version in 1..20 {
            let recent = started(write(&key, &version.to_string(), 0), Utc::now());
            let writes = [write(&key, "a", version), recent];
            assert_eq!(commit(&store, writes).await, [Outcome::Written; 2]);
        }
        drop(store);

        until("told", async || by_index + 19 <= scans("idx_scan").await).await;
        assert_eq!(scans("seq_scan").await, whole, "{backend:?}");
    }
}

/// Statements are planned once. A plan made for an empty table must not scan the grown table for every batch.
#[tokio::test]
async fn statements_planned_for_empty_tables_read_only_their_rows() {
    const SESSIONS: usize = 2_000;
    const BATCH: u32 = 100;
    for backend in [Timescale, Postgres] {
        let (store, database) = empty_store(backend).await;
        let key = key(&store).await;
        let close_all = async |limit| {
            while 0 < upkeep::close(&store, DateTime::<Utc>::MAX_UTC, limit).await.unwrap().1 {}
        };
        commit(&store, [write(&key, "first", 0)]).await;
        close_all(BATCH).await;
        let admin = sql(&database.url()).await;
        admin.batch_execute("vacuum analyze metrics.open_sessions").await.unwrap();
        // Each connection plans its statements now.
        for name in ["a", "b", "c", "d"] {
            commit(&store, [write(&key, name, 0)]).await;
            close_all(BATCH).await;
        }
        let writes = (0..SESSIONS).map(|number| write(&key, &number.to_string(), 0));
        for writes in writes.collect::<Vec<_>>().chunks(500) {
            store.commit(writes.to_vec().into()).await.unwrap();
        }
        close_all(BATCH).await;
        drop(store);

        let gone = async || count(&admin, OTHERS).await == 0;
        until("closed", gone).await;
        let read: i64 = admin
            .query_one(
                "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables
                 where schemaname = 'metrics' and relname = 'open_sessions'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        // Each row is listed, locked, copied and deleted; scanning all remaining rows per batch would add 21,000 reads.
        assert!(read < 8 * SESSIONS as i64, "{backend:?}: {read} rows read");
    }
}

/// One instance closes and finalizes sessions that go on at another.
#[tokio::test(flavor = "multi_thread")]
async fn totals_stay_right_while_closed_sessions_go_on() {
    for backend in [Timescale, Postgres] {
        check_races(backend).await;
    }
}

async fn check_races(backend: Backend) {
    const SESSIONS: usize = 60;
    let (one, database) = empty_store(backend).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    let closing = tokio::spawn(async move {
        for round in 0.. {
            let (videos, _) = upkeep::close(&two, DateTime::<Utc>::MAX_UTC, 7).await?;
            upkeep::merge(&two, videos).await?;
            if round % 20 == 19 {
                two.finalize(DateTime::<Utc>::MAX_UTC, 3).await?;
            }
        }
        Ok::<_, Error>(())
    });
    let names: Vec<_> = (0..SESSIONS).map(|number| number.to_string()).collect();
    let ids: Vec<_> = names.iter().map(|name| SessionId::new(&key, name)).collect();
    let mut begun = 0;
    for round in 0..40 {
        let loaded = upkeep::load(&one, &ids).await.unwrap();
        let mut writes = Vec::new();
        for (number, (name, loaded)) in names.iter().zip(&loaded).enumerate() {
            let write = write(&key, name, loaded.as_ref().map_or(0, |it| it.version));
            match loaded {
                Some(loaded) if (number + round) % 3 == 0 => {
                    let stored =
                        Stored { view_ms: loaded.stored.view_ms + 1, ..loaded.stored.clone() };
                    writes.push(SessionWrite { stored, ..write });
                }
                Some(_) => {}
                None => {
                    let at = now() + TimeDelta::milliseconds(round as i64);
                    writes.push(started(write, at));
                }
            }
        }
        let new: Vec<_> = writes.iter().map(|write| write.expected == 0).collect();
        let outcomes = commit(&one, writes).await;
        let written = new.iter().zip(outcomes).filter(|it| *it == (&true, Outcome::Written));
        begun += written.count() as u64;
    }
    closing.abort();
    assert!(closing.await.unwrap_err().is_cancelled());

    assert_eq!(one.count_sessions().await.unwrap(), begun);
    close(&one).await;
    assert_eq!(verified(&one).await, begun);
    let admin = sql(&database.url()).await;
    assert_eq!(count(&admin, "metrics.session_rows").await, begun as i64);
    let mut snapshot = one.snapshot().await.unwrap();
    let rows = blocks(&mut *snapshot).await.into_iter().flat_map(|block| block.rows().unwrap());
    let view_ms: u64 = rows.map(|row| row.stored.view_ms).sum();
    let totals = snapshot.totals(Some(&key), 0, i64::MAX, Detail::Days).await.unwrap();
    let summed: u64 = totals.iter().map(|it| it.plays(0).unwrap().view_ms).sum();
    assert_eq!(summed, view_ms);
}

/// After an update of TimescaleDB's package, the database refers to a library that no longer exists, until the
/// extension is updated too. No earlier connection is open by then, because the server was restarted.
#[tokio::test]
async fn an_extension_that_is_updated_later_than_its_library_is_waited_for() {
    let database = Database::new(Timescale).await;
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = ApiKey::generate();
    store.create_key(&key, instant(0)).await.unwrap();
    // A connection without the library can change `pg_extension`, as packages and their scripts do.
    let unloaded =
        sql(&format!("{}?options=-c%20timescaledb.disable_load%3Don", database.url())).await;
    let version = "select extversion from pg_extension where extname = 'timescaledb'";
    let version: String = unloaded.query_one(version, &[]).await.unwrap().get(0);
    let set_version = async |version: &str| {
        let set = "update pg_extension set extversion = $1 where extname = 'timescaledb'";
        assert_eq!(unloaded.execute(set, &[&version]).await.unwrap(), 1);
    };
    let restart = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'metrics'";
    set_version("0.0.1").await;
    unloaded.batch_execute(restart).await.unwrap();
    let writes = [write(&key, "a", 0)];
    for _ in 0..3 {
        let failures = [
            store.check().await.unwrap_err(),
            store.commit(writes.clone().into()).await.unwrap_err(),
            store.snapshot().await.err().unwrap(),
        ];
        // Some calls report only that their connection was closed.
        if failures.iter().all(|err| err.advice().is_some()) {
            break;
        }
        assert!(failures.iter().all(Error::is_retryable), "{failures:?}");
    }
    let err = store.check().await.unwrap_err();
    assert!(err.is_retryable() && err.advice().unwrap().contains("alter extension"), "{err:?}");
    assert!(chain(&err).contains("$libdir/timescaledb-0.0.1"), "{err:?}");
    // A store that starts now gets the same error.
    let err = TimescaleStore::connect(&database.url()).await.unwrap_err();
    assert!(chain(&err).contains("alter extension"), "{err:?}");

    set_version(&version).await;
    // The same store continues on new connections.
    assert_eq!(store.commit(writes.into()).await.unwrap(), [Outcome::Written]);
    store.check().await.unwrap();
    drop(store.snapshot().await.unwrap());
    assert_eq!(store.count_sessions().await.unwrap(), 1);
}

fn chain(err: &Error) -> String {
    let (mut text, mut cause) = (err.to_string(), std::error::Error::source(err));
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}

/// A connection that has loaded another version than the database refers to now is unusable. So all connections are
/// closed, not only the one that failed.
#[tokio::test]
async fn connections_with_a_library_that_was_replaced_are_closed() {
    let database = Database::new(Postgres).await;
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    let admin = sql(&database.url()).await;
    let backends = async || -> Vec<i32> {
        let backends = "select pid from pg_stat_activity where datname = current_database()
            and application_name = 'metrics' and query not like 'listen%' order by pid";
        admin.query(backends, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    // Opens several connections.
    let (one, two) = tokio::join!(store.check(), store.count_sessions());
    assert!(one.is_ok() && two.is_ok());
    let before = backends().await;
    admin
        .batch_execute(
            "create function metrics.fail() returns trigger language plpgsql as $$ begin
                raise exception '\"timescaledb\" already loaded with a different version'; end $$;
            create trigger fail before delete on metrics.keys for each statement
                execute function metrics.fail()",
        )
        .await
        .unwrap();
    let err = store.check().await.unwrap_err();
    assert!(err.advice().is_some(), "{err:?}");
    let closed = async {
        while backends().await.iter().any(|pid| before.contains(pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), closed).await.expect("connections stay open");
    admin.batch_execute("drop trigger fail on metrics.keys").await.unwrap();
    store.check().await.unwrap();
}

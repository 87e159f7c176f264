//! The conformance suite on TimescaleDB and on plain PostgreSQL, a database per case; then what only a server can do.

#![cfg(feature = "timescale")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::{AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use metrics_core::client::Client;
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::{Scan, instant};
use metrics_core::report::{PlayCell, PlayFigures};
use metrics_core::session::{Counters, Session, Stored};
use metrics_core::store::{
    Error, Instance, LIVE, Migrations, Outcome, Record, SessionWrite, Store, Subject,
    TimescaleOptions, TimescaleStore,
};
use metrics_core::time_bucket::{Buckets, Width};
use metrics_core::{ApiKey, Selection, Source, Video};
use metrics_testing::Backend::{Postgres, Timescale};
use metrics_testing::{Backend, Call, Database, Method, Through, Way};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_postgres::{Client as Sql, NoTls};

mod timescale {
    metrics_core::store_conformance!(super::empty_store(metrics_testing::Backend::Timescale));
}

mod postgres {
    metrics_core::store_conformance!(super::empty_store(metrics_testing::Backend::Postgres));
}

/// Whatever is stored is compressed at once, where that can be done.
mod compressed {
    metrics_core::store_conformance!(super::compressed_store() =>
        a_session_is_loaded_as_it_was_committed,
        a_write_replaces_all_that_changes,
        what_the_first_write_says_of_the_subject_stays,
        many_sessions_are_committed_and_loaded_at_once,
        a_conflict_does_not_hinder_the_rest_of_the_batch,
        a_repeated_batch_conflicts_and_changes_nothing,
        writers_of_one_session_exclude_each_other,
        session_data_is_selected_by_what_it_contains,
        watching_is_counted_within_a_selection,
        every_session_is_on_one_page,
        a_record_is_what_was_written,
        what_is_old_is_forgotten_and_the_rest_is_kept,
        a_session_that_was_forgotten_may_come_again,
        plays_are_those_of_brute_force,
        sources_are_those_of_brute_force,
        parts_are_those_of_brute_force,
        seconds_are_those_of_brute_force,
    );
}

async fn empty_store(backend: Backend) -> (TimescaleStore, Database) {
    let database = Database::new(backend).await;
    (TimescaleStore::connect(&database.url()).await.unwrap(), database)
}

async fn compressed_store() -> (Through<Compressing>, Database) {
    let (store, database) = empty_store(Timescale).await;
    let way = Compressing { sql: sql(&database.url()).await };
    unscheduled(&way.sql).await;
    (Through::by(way, Arc::new(store)), database)
}

/// Compresses one chunk after the other, as happens by itself when they are old, and returns their names.
async fn compress(sql: &Sql) -> Result<Vec<String>, tokio_postgres::Error> {
    let chunks = "select chunk::text from show_chunks('metrics.sessions') chunk";
    let chunks = sql.query(chunks, &[]).await?;
    let chunks: Vec<String> = chunks.iter().map(|chunk| chunk.get(0)).collect();
    for chunk in &chunks {
        sql.batch_execute(&format!("select compress_chunk('{chunk}', true)")).await?;
    }
    Ok(chunks)
}

/// Takes the job away that compresses. It would do so at any moment of a test, and who comes second is refused.
async fn unscheduled(sql: &Sql) {
    let jobs = "timescaledb_information.jobs where proc_name like '%compression%'";
    sql.batch_execute(&format!("select delete_job(job_id) from {jobs}")).await.unwrap();
}

#[derive(Debug)]
struct Compressing {
    sql: Sql,
}

impl Compressing {
    async fn compress(&self) {
        match compress(&self.sql).await {
            // Others may have come since.
            Ok(chunks) => {
                for chunk in chunks {
                    let loose = format!(
                        "timescaledb_information.chunks where not is_compressed
                         and format('%I.%I', chunk_schema, chunk_name)::regclass = '{chunk}'::regclass"
                    );
                    assert_eq!(count(&self.sql, &loose).await, 0);
                }
            }
            // There is nothing that could compress in the Apache edition; answers are the same in both.
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
        // To roll up is one of those that go by no name.
        if matches!(method, Method::Commit | Method::Other) {
            self.compress().await;
        }
        answer
    }
}

fn name(database: &Database) -> String {
    database.url().rsplit_once('/').unwrap().1.to_owned()
}

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/timescale");

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

fn started(write: SessionWrite, at: DateTime<Utc>) -> SessionWrite {
    let stored = Stored { started_at_ms: at.timestamp_millis(), ..write.stored };
    SessionWrite { stored, ..write }
}

async fn key(store: &dyn Store) -> ApiKey {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, now()).await.unwrap());
    key
}

async fn commit(store: &dyn Store, writes: impl IntoIterator<Item = SessionWrite>) -> Vec<Outcome> {
    store.commit(writes.into_iter().collect()).await.unwrap()
}

/// Rolls up all sessions that have no segment open.
async fn roll_up(store: &dyn Store) {
    while 0 < store.roll_up(DateTime::<Utc>::MAX_UTC, 1_000).await.unwrap() {}
}

fn everything(key: &ApiKey) -> Scan {
    let selection = Selection::key(key.clone());
    Scan { selection, from_ms: i64::MIN, to_ms: i64::MAX, minimum_view_ms: 0 }
}

/// The database as its operator sees it.
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

/// Waits until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// What an operator reads when the database cannot be used.
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
         where hypertable_schema = 'metrics' and hypertable_name = 'sessions'",
    )
    .await;
    assert_eq!(wide, "7 days");

    let key = key(&store).await;
    let weeks = (0..3)
        .map(|week| started(write(&key, &format!("{week}"), 0), now() + TimeDelta::weeks(week)));
    commit(&store, weeks).await;
    roll_up(&store).await;
    assert_eq!(count(&sql, "timescaledb_information.chunks").await, 3);

    // What compresses is part of the community edition only.
    let community = text(&sql, "show timescaledb.license").await == "timescale";
    let jobs = "timescaledb_information.jobs where proc_name like '%compression%'";
    assert_eq!(count(&sql, jobs).await, i64::from(community));
}

#[tokio::test]
async fn sessions_are_a_plain_table_where_there_is_none() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    assert_eq!(commit(&store, [write(&key, "a", 0)]).await, [Outcome::Written]);
    roll_up(&store).await;
    let sql = sql(&database.url()).await;
    assert_eq!(count(&sql, "metrics.sessions").await, 1);
    assert_eq!(count(&sql, "pg_extension where extname = 'timescaledb'").await, 0);
}

/// An operator may install the extension later.
#[tokio::test]
async fn a_plain_table_becomes_a_hypertable_with_all_its_sessions() {
    let database = Database::new(Timescale).await;
    let admin = sql(&database.url()).await;
    // As if the server had not loaded TimescaleDB: a schema that is there is not made TimescaleDB's unasked.
    admin.batch_execute("create schema metrics").await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    roll_up(&store).await;
    assert_eq!(count(&admin, "pg_extension where extname = 'timescaledb'").await, 0);
    drop(store);

    sql(&database.url()).await.batch_execute("create extension timescaledb").await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();

    assert_eq!(
        commit(&store, [write(&key, "a", 1), write(&key, "b", 0)]).await,
        [Outcome::Written; 2]
    );
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

/// Also on a runtime that has one thread only.
#[tokio::test]
async fn many_instances_may_start_at_once() {
    check_start_at_once(Timescale).await;
    check_start_at_once(Postgres).await;
}

#[tokio::test]
async fn tables_that_are_not_up_to_date_are_refused_where_they_may_not_be_changed() {
    let database = Database::new(Postgres).await;
    let missing = reason(&database.url(), check()).await;
    let expected = "its tables are not up to date \
        (20261125, 20261126, 20261127, 20261128, 20261129 missing): ";
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
    assert!(refused.starts_with("the database is in LATIN1: make one with"), "{refused}");
}

#[tokio::test]
async fn a_missing_database_is_told_from_a_missing_server() {
    let database = Database::new(Postgres).await;
    let url = database.url().replace(&name(&database), "nowhere");
    assert_eq!(
        reason(&url, TimescaleOptions::default()).await,
        "there is no database \"nowhere\": make one with `createdb nowhere`, or name another in the URL"
    );
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let away = TimescaleStore::connect(&format!("postgres://me@127.0.0.1:{port}/metrics")).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })), "{away:?}");
}

/// A server that refuses everybody, with this error.
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
        ("28P01", "the server refuses the password of user \"me\": put the right one into the URL"),
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
        ("postgres://me:secret@localhost/metrics?sslrootcert=a.pem", "sslrootcert is of use with"),
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
    assert_eq!(refused, "4 connections are too few: at least 5 are needed");
}

/// A user who may log in, and nothing else.
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
    check_rights(Postgres, "have its owner run `grant create on database").await;
}

#[tokio::test]
async fn a_user_who_may_not_add_timescaledb_is_told_who_may() {
    check_rights(Timescale, "have a superuser run `create extension timescaledb`").await;
}

/// By a call, and by hand.
#[tokio::test]
async fn all_instances_are_told_of_a_key_that_is_revoked() {
    let (one, database) = empty_store(Postgres).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    // Until it listens, it does not wait for being told.
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
        // The first may find out only when it writes.
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

/// A client that hangs up must not cost a connection, nor have the server work for nobody.
#[tokio::test]
async fn reports_that_are_dropped_are_stopped() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    let scan = everything(&key);
    let mut locking = sql(&database.url()).await;
    let lock = locking.transaction().await.unwrap();
    lock.batch_execute("lock table metrics.live_sessions in access exclusive mode").await.unwrap();
    for _ in 0..20 {
        let report = store.parts(&scan, 100);
        assert!(timeout(Duration::from_millis(50), report).await.is_err());
    }
    let waiting = format!("{OTHERS} and wait_event_type = 'Lock'");
    let admin = sql(&database.url()).await;
    until("stopped", || async { count(&admin, &waiting).await == 0 }).await;
    lock.rollback().await.unwrap();
    let cells = store.plays(&scan, Buckets::new(Width::DAY)).await.unwrap();
    assert_eq!(cells[0].figures.plays, 1);
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
async fn a_commit_that_is_dropped_is_whole_or_undone_on_timescaledb() {
    check_dropped_commits(Timescale).await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_whole_or_undone_on_postgresql() {
    check_dropped_commits(Postgres).await;
}

/// Two instances that write many of the same sessions at once, in any order, get an answer each time.
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

/// All sessions, read in pages of a few, in the order of their ids.
async fn exported(store: &dyn Store) -> Vec<SessionId> {
    let mut page = store.export(None, 20).await.unwrap();
    let mut ids: Vec<_> = page.records.iter().map(|record| record.id).collect();
    while let Some(next) = page.next {
        page = store.export(Some(&next), 20).await.unwrap();
        ids.extend(page.records.iter().map(|record| record.id));
    }
    ids.sort_unstable();
    ids
}

/// Chunks are compressed by themselves, whatever else is under way. In the Apache edition they are not.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_whole_while_their_chunks_are_compressed() {
    const NEW: usize = 30;
    let (store, database) = empty_store(Timescale).await;
    let key = key(&store).await;
    let compressing = sql(&database.url()).await;
    unscheduled(&compressing).await;
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
        // All that are new, and some that are stored.
        let changed = (0..all).filter(|number| old <= *number || number % 7 == round % 7);
        let mut writes = Vec::new();
        for number in changed {
            let write = write(&key, &number.to_string(), versions[number]);
            versions[number] += 1;
            // Over three chunks, several at once.
            writes.push(started(write, now() + TimeDelta::days(number as i64 % 15)));
        }
        ids.extend(writes[writes.len() - NEW..].iter().map(|write| write.id));
        let written = vec![Outcome::Written; writes.len()];
        assert_eq!(commit(&store, writes).await, written, "round {round}");
        if round % 3 != 0 {
            roll_up(&store).await;
        }

        let loaded = store.load(&ids).await.unwrap();
        let loaded: Vec<_> = loaded.iter().flatten().map(|loaded| loaded.version).collect();
        assert_eq!(loaded, versions, "round {round}");
        let cells = store.plays(&everything(&key), Buckets::new(Width::DAY)).await.unwrap();
        let plays: u64 = cells.iter().map(|cell| cell.figures.plays).sum();
        assert_eq!(plays, all as u64, "round {round}");
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        assert_eq!(exported(&store).await, sorted, "round {round}");
    }
    let apache = text(&sql(&database.url()).await, "show timescaledb.license").await == "apache";
    if apache || compressing.is_finished() {
        let err = compressing.await.unwrap();
        assert!(apache, "{err:?}");
    } else {
        compressing.abort();
    }
}

/// More sessions than a report keeps, in the sums and not, of a day that does not count whole.
#[tokio::test]
async fn more_viewers_are_counted_than_are_kept() {
    let (store, _database) = empty_store(Timescale).await;
    let key = key(&store).await;
    let many = |first: u32| {
        let key = &key;
        (first..first + 6_000).map(move |at| write(key, &at.to_string(), 0))
    };
    let mut furthest = write(&key, "furthest", 0);
    let segments: Segments = Interval::new(0, 10_000).into_iter().collect();
    furthest.stored.segments = segments.encode();
    commit(&store, many(0).chain([furthest])).await;
    roll_up(&store).await;
    commit(&store, many(6_000)).await;
    let scan = Scan { from_ms: now().timestamp_millis(), ..everything(&key) };
    let parts = store.parts(&scan, 2).await.unwrap().finish();
    assert_eq!(parts.iter().map(|it| it.viewers).collect::<Vec<_>>(), [12_001, 1]);
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_hurts_no_other() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "good", 0), write(&key, "bad", 0)]).await;
    let bad = SessionId::new(&key, "bad");
    let damage = format!("update metrics.live_sessions set version = -1 where id = '{bad:?}'");
    sql(&database.url()).await.batch_execute(&damage).await.unwrap();
    let loaded = store.load(&[bad]).await;
    assert!(matches!(loaded, Err(ref err) if !err.is_retryable()), "{loaded:?}");
    assert!(store.load(&[SessionId::new(&key, "good")]).await.unwrap()[0].is_some());
}

/// However the server is set, what is acknowledged is on its disk.
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

/// What only an operator can do to them.
#[tokio::test]
async fn sums_that_are_wrong_are_found_and_mended() {
    check_mended(Timescale).await;
    check_mended(Postgres).await;
}

async fn check_mended(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let key = key(&store).await;
    commit(&store, (0..100).map(|number| write(&key, &number.to_string(), 0))).await;
    roll_up(&store).await;
    let (day, last) = store.rollup_days().await.unwrap().unwrap();
    assert_eq!(day, last);
    let scan = Scan { from_ms: 0, to_ms: 4_000_000_000_000, ..everything(&key) };
    let plays = async || -> u64 {
        let cells = store.plays(&scan, Buckets::new(Width::DAY)).await.unwrap();
        cells.iter().map(|cell| cell.figures.plays).sum()
    };
    assert_eq!(plays().await, 100);
    let admin = sql(&database.url()).await;
    for spoil in [
        "delete from metrics.rollup_plays where scope < 0",
        r"update metrics.rollup_plays set hours = '\x0100', head = null",
        "delete from metrics.rollup_sources",
        "update metrics.rollup_places set end_ms = end_ms + 1",
        "insert into metrics.rollup_sources select scope, day, ''
         from metrics.rollup_plays on conflict (scope, day) do update set sources = ''",
    ] {
        admin.batch_execute(spoil).await.unwrap();
        assert!(!store.check_rollups(day, false).await.unwrap(), "{spoil}");
        assert!(
            !store.check_rollups(day, false).await.unwrap(),
            "to look changes nothing: {spoil}"
        );
        assert!(!store.check_rollups(day, true).await.unwrap(), "{spoil}");
        assert!(store.check_rollups(day, false).await.unwrap(), "{spoil}");
        assert_eq!(plays().await, 100, "{spoil}");
    }
}

/// The version of the migration that gave sessions that go on a table of their own.
const LIVE_SESSIONS: &str = "20261127";

/// Of every kind: loose, rolled up, settled, and of an id that came again.
async fn check_taken_along(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let key = key(&store).await;
    let at = |write: SessionWrite, days: i64| {
        let mut write = started(write, Utc::now() - TimeDelta::days(days));
        write.stored.last_event_at_ms = write.stored.started_at_ms + 5_000;
        write
    };
    let mut full = at(write(&key, "full", 0), 40);
    full.stored.counters = Counters { rebufferings: 1, startup_ms: Some(2), ..Counters::default() };
    full.stored.duration_ms = Some(60_000);
    let settled = [full, at(write(&key, "settled", 0), 40), at(write(&key, "again", 0), 41)];
    commit(&store, settled).await;
    roll_up(&store).await;
    assert_eq!(store.settle(Utc::now() - LIVE, 10).await.unwrap(), 3);
    let mut rolled = at(write(&key, "rolled", 0), 3);
    rolled.stored.counters.failures = 4;
    rolled.stored.resume = vec![1, 0, 0, 7, 7, 7, 7];
    // One that was heard of, although it began long ago.
    let mut long = at(write(&key, "long", 0), 50);
    long.stored.last_event_at_ms = Utc::now().timestamp_millis();
    commit(&store, [at(write(&key, "again", 0), 2), rolled, long]).await;
    roll_up(&store).await;
    let watched =
        SessionWrite { watched_at: Some(Instance(7)), ..at(write(&key, "watched", 0), 0) };
    commit(&store, [watched, at(write(&key, "loose", 0), 60)]).await;
    let names = ["full", "settled", "again", "rolled", "long", "watched", "loose"];
    let ids = names.map(|name| SessionId::new(&key, name));
    let live = store.load(&ids).await.unwrap();
    let is_live: Vec<_> = live.iter().map(Option::is_some).collect();
    assert_eq!(is_live, [false, false, true, true, true, true, true]);
    let records = store.export(None, 100).await.unwrap().records;
    let cells = store.plays(&everything(&key), Buckets::new(Width::DAY)).await.unwrap();
    drop(store);

    let url = format!("{}?options=-c%20search_path%3Dmetrics%2Cpublic", database.url());
    let connection = AsyncPgConnection::establish(&url).await.unwrap();
    let mut harness = AsyncMigrationHarness::new(connection);
    while harness.revert_last_migration(MIGRATIONS).unwrap().to_string() != LIVE_SESSIONS {}
    drop(harness);

    let admin = sql(&database.url()).await;
    let both = "metrics.session_heads join metrics.sessions using (id, video_id, started_at)";
    assert_eq!(count(&admin, both).await, 8);
    for (state, sessions) in [("rolled", 6), ("not rolled", 2), ("instance = 7", 1)] {
        assert_eq!(count(&admin, &format!("{both} where {state}")).await, sessions, "{state}");
    }
    let over = records.iter().find(|record| record.id == ids[1]).unwrap();
    let resume = format!("select resume from metrics.sessions where id = '{:?}'", ids[1]);
    let resume: Vec<u8> = admin.query_one(&resume, &[]).await.unwrap().get(0);
    // As that version has it, which is read for ever.
    assert_eq!(resume, [1, 0, 0]);
    assert!(!Session::load(&Stored { resume, ..over.stored.clone() }).unwrap().viewing());

    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    assert_eq!(store.load(&ids).await.unwrap(), live);
    let kept = store.export(None, 100).await.unwrap().records;
    assert_eq!(kept.len(), 8);
    // The one that had the id of another by now has its own.
    let known: Vec<_> = kept.iter().filter(|record| ids.contains(&record.id)).collect();
    let of_before = |record: &&Record| records.contains(record);
    assert_eq!((known.len(), known.into_iter().filter(of_before).count()), (7, 7));
    // Sums of plays are made anew.
    let (first, last) = store.rollup_days().await.unwrap().unwrap();
    for day in first.iter_days().take_while(|day| *day <= last) {
        store.check_rollups(day, true).await.unwrap();
    }
    let again = store.plays(&everything(&key), Buckets::new(Width::DAY)).await.unwrap();
    assert_eq!(figures(&again), figures(&cells));
    are_right(&store).await;
}

fn figures(cells: &[PlayCell]) -> PlayFigures {
    let mut sum = PlayFigures::default();
    cells.iter().for_each(|cell| sum.add(&cell.figures));
    sum
}

/// That the sums of every day are.
async fn are_right(store: &dyn Store) {
    let (first, last) = store.rollup_days().await.unwrap().unwrap();
    for day in first.iter_days().take_while(|day| *day <= last) {
        assert!(store.check_rollups(day, false).await.unwrap(), "{day}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_version_before_are_taken_along_on_timescaledb() {
    check_taken_along(Timescale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_version_before_are_taken_along_on_postgresql() {
    check_taken_along(Postgres).await;
}

/// If one did, each write would make new entries in all indexes.
#[tokio::test]
async fn no_index_holds_what_a_usual_write_changes() {
    let (_store, database) = empty_store(Postgres).await;
    let changes = "version|instance|last_event_at|duration_ms|view_ms|unique_ms|segments|startup_ms|rebuffer|failures
        |details|resume";
    let indexes = "pg_indexes where schemaname = 'metrics' and tablename = 'live_sessions'";
    let sql = sql(&database.url()).await;
    assert_eq!(count(&sql, indexes).await, 3);
    let changes = changes.replace(char::is_whitespace, "");
    assert_eq!(count(&sql, &format!("{indexes} and indexdef ~ '{changes}'")).await, 0);
}

/// A plan that was right for a few would be in use when there are many.
#[tokio::test]
async fn writes_find_their_sessions_by_an_index_however_few_there_are() {
    for backend in [Timescale, Postgres] {
        let (store, database) = empty_store(backend).await;
        let key = key(&store).await;
        commit(&store, [write(&key, "a", 0)]).await;
        drop(store);
        let admin = sql(&database.url()).await;
        admin.batch_execute("vacuum analyze metrics.live_sessions").await.unwrap();
        let scans = async |kind: &str| -> i64 {
            let scans = format!(
                "select {kind} from pg_stat_user_tables
                 where schemaname = 'metrics' and relname = 'live_sessions'"
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

/// One instance rolls up and settles what another goes on with.
#[tokio::test(flavor = "multi_thread")]
async fn sums_stay_right_while_sessions_go_on_that_are_rolled_up() {
    for backend in [Timescale, Postgres] {
        check_races(backend).await;
    }
}

async fn check_races(backend: Backend) {
    const SESSIONS: usize = 60;
    let (one, database) = empty_store(backend).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    let rolling_up = tokio::spawn(async move {
        for round in 0.. {
            let sessions = two.roll_up(DateTime::<Utc>::MAX_UTC, 7).await?;
            if round % 20 == 19 {
                two.settle(DateTime::<Utc>::MAX_UTC, 3).await?;
            }
            if sessions == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, Error>(())
    });
    let names: Vec<_> = (0..SESSIONS).map(|number| number.to_string()).collect();
    let ids: Vec<_> = names.iter().map(|name| SessionId::new(&key, name)).collect();
    let mut begun = 0;
    for round in 0..40 {
        let loaded = one.load(&ids).await.unwrap();
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
                // Some of them among those that may be settled.
                None => {
                    let at = Utc::now() - TimeDelta::days(20 * (number as i64 % 3));
                    writes.push(started(write, at));
                }
            }
        }
        let new: Vec<_> = writes.iter().map(|write| write.expected == 0).collect();
        let outcomes = commit(&one, writes).await;
        let written = new.iter().zip(outcomes).filter(|it| *it == (&true, Outcome::Written));
        begun += written.count() as u64;
    }
    rolling_up.abort();
    assert!(rolling_up.await.unwrap_err().is_cancelled());

    assert_eq!(one.count_sessions().await.unwrap(), begun);
    let whole = one.plays(&everything(&key), Buckets::new(Width::DAY)).await.unwrap();
    assert_eq!(figures(&whole).plays, begun);
    are_right(&one).await;
    let mut exported = one.export(None, 10_000).await.unwrap().records;
    exported.sort_by_key(|record| (record.id, record.stored.started_at_ms));
    exported.dedup_by_key(|record| (record.id, record.stored.started_at_ms));
    assert_eq!(exported.len() as u64, begun);
    let view_ms: u64 = exported.iter().map(|record| record.stored.view_ms).sum();
    assert_eq!(figures(&whole).view_ms, view_ms);
}

//! An old database, the tables that it had over the years, and a new store beside it.

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use metrics_core::store::mave::{ImportError, Imported, Mave};
use metrics_core::store::{Record, SqliteStore, Store};
use rand::RngExt as _;
use tempfile::TempDir;
use url::Url;

/// The tables of the newer versions.
pub(crate) const NEWER: &str = r#"
    create table keys (
        id bigserial primary key, key varchar(255) unique, disabled_at timestamp(0),
        inserted_at timestamp(0) not null default '2021-01-01', updated_at timestamp(0)
    );
    create table videos (
        id bigserial primary key, metadata jsonb, key_id bigint references keys,
        inserted_at timestamp(0), updated_at timestamp(0)
    );
    create table sessions (
        id bigserial primary key, "timestamp" timestamp not null, browser varchar(255), platform varchar(255),
        device varchar(255), uri_host varchar(255), uri_path varchar(255), video_id bigint
    );
    create table events (
        "timestamp" timestamp not null, type varchar(255), video_time double precision, session_id bigint,
        video_id bigint
    );
    create table durations (
        session_id bigint, "timestamp" timestamp not null, duration double precision, watched_seconds int4range,
        uniqueness varchar(255), browser varchar(255), platform varchar(255), device varchar(255),
        uri_host varchar(255), uri_path varchar(255), video_id bigint
    );
"#;

/// The tables of the versions of 2023.
pub(crate) const OF_2023: &str = r#"
    create table keys (
        id bigserial primary key, key varchar(255) unique, disabled_at timestamp(0),
        inserted_at timestamp(0) not null default '2023-01-01', updated_at timestamp(0)
    );
    create table videos (
        id bigserial primary key, identifier varchar(2000), metadata jsonb, source_uri jsonb,
        inserted_at timestamp(0), updated_at timestamp(0)
    );
    create table sessions (
        id bigserial primary key, browser_type varchar(255), platform varchar(255), device_type varchar(255),
        metadata jsonb, video_id bigint, key_id bigint, inserted_at timestamp(0) not null, updated_at timestamp(0)
    );
    create table events (id bigserial primary key, name varchar(255), video_time numeric, session_id bigint);
    create table plays (
        "timestamp" timestamptz not null, session_id bigint, "from" numeric, "to" numeric, elapsed_time numeric
    );
"#;

/// A database on the server that the environment names, dropped at the end.
pub(crate) struct Old {
    server: Url,
    name: String,
}

impl Old {
    pub(crate) async fn new(tables: &str) -> Self {
        let server = std::env::var("METRICS_TEST_POSTGRES_URL").expect(
            "METRICS_TEST_POSTGRES_URL is not set: `scripts/timescaledb up plain` prints a server to test with",
        );
        let server: Url = server.parse().expect("METRICS_TEST_POSTGRES_URL is an address");
        let name = format!("test_{:016x}", rand::rng().random::<u64>());
        run(&server, &format!("create database {name}")).await;
        let old = Self { server, name };
        old.run(tables).await;
        old
    }

    pub(crate) fn url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    pub(crate) async fn run(&self, sql: &str) {
        run(&self.url().parse().unwrap(), sql).await;
    }

    /// Imports into a store, without looking at the progress.
    pub(crate) async fn import(&self, store: &dyn Store) -> Result<Imported, ImportError> {
        Mave::connect(&self.url()).await.unwrap().import(store, |_| {}).await
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        let drop = format!("drop database {} with (force)", self.name);
        // On a thread of its own, because the runtime of the test cannot be waited for here.
        let dropped = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(run(&self.server, &drop));
            });
            thread.join().is_ok()
        });
        assert!(dropped || std::thread::panicking(), "{drop}");
    }
}

async fn run(server: &Url, sql: &str) {
    let mut connection = AsyncPgConnection::establish(server.as_str()).await.unwrap();
    connection.batch_execute(sql).await.unwrap();
}

/// A new store, and where its file is.
pub(crate) async fn empty_store() -> (SqliteStore, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    (store, directory)
}

/// Everything that a store has, by session id.
pub(crate) async fn everything(store: &dyn Store) -> Vec<Record> {
    let (mut records, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.export(cursor.as_ref(), 10_000).await.unwrap();
        records.extend(page.records);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    records.sort_by_key(|record| record.id);
    records
}

/// What was left out, a line each.
pub(crate) fn lines(imported: &Imported) -> Vec<String> {
    imported.left_out.iter().map(ToString::to_string).collect()
}

//! A mave database, the tables of its versions over the years, and a new store beside it.

use std::sync::Arc;

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use metrics_core::export::{Export, Record};
use metrics_core::mave::{ImportError, Imported, Mave};
use metrics_core::store::Store;
use metrics_testing::{Backend, Database};

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

/// A mave database.
pub(crate) struct Old {
    database: Database,
}

impl Old {
    pub(crate) async fn new(tables: &str) -> Self {
        Self::on(Backend::Postgres, tables).await
    }

    pub(crate) async fn on(backend: Backend, tables: &str) -> Self {
        let old = Self { database: Database::new(backend).await };
        old.run(tables).await;
        old
    }

    pub(crate) fn url(&self) -> String {
        self.database.url()
    }

    pub(crate) async fn run(&self, sql: &str) {
        let mut connection = AsyncPgConnection::establish(&self.url()).await.unwrap();
        connection.batch_execute(sql).await.unwrap();
    }

    /// Changes a setting for all later connections.
    pub(crate) async fn set(&self, setting: &str) {
        let alter = format!("format('alter database %I set {setting}', current_database())");
        self.run(&format!("do $$ begin execute {alter}; end $$")).await;
    }

    /// Imports into a store, and ignores the progress.
    pub(crate) async fn import(&self, store: &dyn Store) -> Result<Imported, ImportError> {
        Mave::connect(&self.url()).await.unwrap().import(store, |_| {}).await
    }
}

/// A new store, and its database.
pub(crate) async fn empty_store() -> (Arc<dyn Store>, Database) {
    let database = Database::new(Backend::Sqlite).await;
    (database.open().await, database)
}

/// All sessions of a store, by row id.
pub(crate) async fn everything(store: &dyn Store) -> Vec<Record> {
    let (mut records, mut export) = (Vec::new(), Export::all());
    while let Some(some) = export.next(store).await.unwrap() {
        records.extend(some);
    }
    records.sort_by_key(|record| record.id);
    records
}

/// The reasons for rows left out of the import, a line each.
pub(crate) fn lines(imported: &Imported) -> Vec<String> {
    imported.left_out.iter().map(ToString::to_string).collect()
}

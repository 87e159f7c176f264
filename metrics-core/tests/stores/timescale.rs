//! The conformance suite on TimescaleDB and on plain PostgreSQL, one database per case; then tests specific to a
//! server.

#![cfg(feature = "timescale")]

mod commits;
mod connections;
mod migrations;
mod pages;
mod plans;
mod refusals;
mod tables;
mod totals;
mod views;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use metrics_core::session::Stored;
use metrics_core::store::{
    Block, Error, Groups, Migrations, OpenScan, SessionWrite, Snapshot, Store, TimescaleOptions,
    TimescaleStore, Videos,
};
use metrics_core::upkeep;
use metrics_testing::Backend::Timescale;
use metrics_testing::{Backend, Call, Database, Intercept, Intercepted, Method};
use tokio::time::timeout;
use tokio_postgres::{Client as Sql, NoTls};

mod timescaledb {
    metrics_core::store_conformance!(super::empty_store(metrics_testing::Backend::Timescale));
}

mod postgres {
    metrics_core::store_conformance!(super::empty_store(metrics_testing::Backend::Postgres));
}

/// Compresses closed sessions after each call of upkeep, where the edition can compress.
mod compressed {
    metrics_core::store_conformance!(super::compressed_store() =>
        a_reopened_session_is_unchanged,
        a_rewrite_makes_all_its_changes,
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

async fn compressed_store() -> (Intercepted<Compressing>, Database) {
    let (store, database) = empty_store(Timescale).await;
    let intercept = Compressing { sql: Arc::new(sql(&database.url()).await) };
    unscheduled(&intercept.sql).await;
    (Intercepted::by(intercept, Arc::new(store)), database)
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
impl Intercept for Compressing {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
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
async fn until<F: Future<Output = bool>>(name: &str, mut is: impl FnMut() -> F) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never {name}"));
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

const OTHERS: &str =
    "pg_stat_activity where datname = current_database() and application_name = 'metrics'";

async fn blocks(snapshot: &mut dyn Snapshot) -> Vec<Block> {
    let summaries = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 100_000).await.unwrap();
    let ids: Vec<_> = summaries.into_iter().map(|summary| summary.id).collect();
    snapshot.groups(&ids, Groups::ALL).await.unwrap()
}

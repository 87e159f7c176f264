//! The databases of benchmarks, and their size.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use metrics_core::store::{SqliteStore, Store, TimescaleStore};
use metrics_core::upkeep::{close, merge};
use tokio_postgres::{Client, NoTls};

use crate::Failure;

/// A store by name: `sqlite:PATH`, or the URL of a PostgreSQL database.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A database, with TimescaleDB or without.
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(path.into()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        Err("a store is sqlite:PATH or postgres://...".to_owned())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(_) => f.write_str("SQLite"),
            Self::Postgres(_) => f.write_str("PostgreSQL"),
        }
    }
}

/// The size of a table or an index.
#[derive(Debug, QueryableByName)]
pub struct Space {
    /// The name of the table or index.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// The size in bytes.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
}

impl StoreUrl {
    /// Opens the store.
    ///
    /// # Errors
    ///
    /// The store does not open.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
            Self::Postgres(url) => Arc::new(TimescaleStore::connect(url).await?),
        })
    }

    /// Runs the work of autovacuum, which visits a table once a minute, and so rarely while a year is written in ten
    /// minutes: frees the space of replaced rows and blocks.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn vacuum(&self) -> Result<(), Failure> {
        if let Self::Postgres(url) = self {
            postgres(url)
                .await?
                .batch_execute("vacuum open_sessions, closed_sessions, blocks, totals")
                .await?;
        }
        Ok(())
    }

    /// Runs the periodic maintenance of a database: updates the statistics of its tables, and marks the pages that no
    /// longer change.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn tidy(&self) -> Result<(), Failure> {
        if let Self::Postgres(url) = self {
            postgres(url).await?.batch_execute("vacuum (analyze)").await?;
        }
        Ok(())
    }

    /// Returns the size of each table and index, the largest first; of a hypertable with all its chunks.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn space(&self) -> Result<Vec<Space>, Failure> {
        match self {
            Self::Sqlite(path) => {
                let path = path.to_string_lossy().into_owned();
                tokio::task::spawn_blocking(move || {
                    let mut connection = sqlite(&path)?;
                    Ok(diesel::sql_query(
                        "select name, sum(pgsize) as bytes from dbstat where aggregate = 1 group by name order by 2 desc",
                    )
                    .load(&mut connection)?)
                })
                .await?
            }
            Self::Postgres(url) => {
                let rows = postgres(url).await?.query(SPACE, &[]).await?;
                let space =
                    |row: &tokio_postgres::Row| Space { name: row.get(0), bytes: row.get(1) };
                Ok(rows.iter().map(space).collect())
            }
        }
    }
}

/// Opens a separate connection to a file.
///
/// # Errors
///
/// The file does not open.
pub fn sqlite(path: &str) -> Result<SqliteConnection, Failure> {
    Ok(SqliteConnection::establish(path)?)
}

/// Opens a separate connection to a database.
///
/// # Errors
///
/// The connection fails.
///
/// # Panics
///
/// Outside of a Tokio runtime.
pub async fn postgres(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // The task ends with the client, which reports its errors.
    tokio::spawn(connection);
    client.batch_execute("set search_path = metrics, public; set jit = off").await?;
    Ok(client)
}

/// Tables with their TOAST data, and indexes. Chunks count as their hypertable, and indexes of chunks as indexes of the
/// hypertable: their names contain both.
const SPACE: &str = "
    with tables as (
        select c.oid as root, c.relname as root_name, c.oid, c.relname from pg_class c
        where c.relnamespace = 'metrics'::regnamespace and c.relkind = 'r'
        union all
        select p.oid, p.relname, c.oid, c.relname from pg_inherits i
        join pg_class p on p.oid = i.inhparent join pg_class c on c.oid = i.inhrelid
        where p.relnamespace = 'metrics'::regnamespace and p.relkind = 'r'),
    parts as (
        select root_name::text as name, pg_table_size(oid) as bytes from tables
        union all
        select regexp_replace(x.relname, '^' || t.relname || '_', case when t.oid = t.root
            then t.relname || '_' else '' end), pg_relation_size(x.oid)
        from tables t join pg_index i on i.indrelid = t.oid join pg_class x on x.oid = i.indexrelid)
    select name, sum(bytes)::bigint from parts group by name order by 2 desc";

/// The number of sessions that are closed, or made final, at once. Nothing else waits for the store meanwhile.
pub const AT_ONCE: u32 = 10_000;

/// Closes all sessions and merges their blocks, as a server does in the background. Returns the number of open
/// sessions.
///
/// # Errors
///
/// The store fails.
pub async fn close_all(store: &dyn Store) -> Result<u64, Failure> {
    let (mut videos, mut all) = (BTreeSet::new(), 0);
    loop {
        let (changed, closed) = close(store, DateTime::<Utc>::MAX_UTC, AT_ONCE).await?;
        videos.extend(changed);
        all += closed;
        if closed == 0 {
            break;
        }
    }
    merge(store, videos.into_iter().collect()).await?;
    Ok(all)
}

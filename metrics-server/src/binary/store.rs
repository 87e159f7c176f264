//! Opens the stores that settings name.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use metrics_core::store::{
    Error as StoreError, SqliteOptions, SqliteStore, Store, TimescaleOptions, TimescaleStore,
};

use super::chain;
use super::config::{Config, Database, PostgresUrl};

/// How long to wait before a database that cannot be reached is tried again.
const WAIT: Duration = Duration::from_secs(1);

/// Page caches of SQLite take at most this part of the memory budget, beside it.
const CACHES_PART: usize = 8;

/// Opens a store; if it is away and that is wanted, as soon as it can be reached.
pub(super) async fn open(
    config: &Config,
    database: &Database,
) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    loop {
        match try_open(config, database).await {
            Err(err) if config.wait_for_store && err.is_retryable() => {
                tracing::warn!("waiting for the database: {}", chain(&err));
                tokio::time::sleep(WAIT).await;
            }
            opened => return Ok(opened?),
        }
    }
}

async fn try_open(config: &Config, database: &Database) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match database {
        Database::Sqlite(path) => {
            let options = SqliteOptions::default()
                .with_migrations(config.migrations)
                .with_caches(config.memory / CACHES_PART);
            Arc::new(SqliteStore::open_with(path, options).await?)
        }
        Database::Postgres(PostgresUrl(url)) => {
            let options = TimescaleOptions::default()
                .with_connections(config.database_connections)
                .with_migrations(config.migrations);
            Arc::new(TimescaleStore::connect_with(url, options).await?)
        }
    })
}

/// Opens a store that must be there: to open an SQLite file would create it, and there would be nothing in it.
///
/// # Errors
///
/// The file is missing, or the store cannot be opened.
pub(super) async fn open_there(
    config: &Config,
    database: &Database,
) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    match database {
        Database::Sqlite(path) if !path.exists() => {
            Err(format!("the database does not exist: there is no file {}", path.display()).into())
        }
        _ => open(config, database).await,
    }
}

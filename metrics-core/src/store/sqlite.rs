//! The embedded store: one SQLite file, nothing to install.
//!
//! One connection writes, a few read beside it (write-ahead log), each on a thread that may block. Every commit is
//! flushed to the disk before it is acknowledged (`synchronous = full`).
//!
//! A store whose disk is full, or whose file is damaged, locked or gone, is unavailable: it acknowledges nothing, and
//! every call tries again, on a new connection if an error may have harmed the old one.

mod blocks;
mod convert;
mod fault;
mod files;
mod keys;
mod network;
mod open;
mod operations;
mod options;
mod pool;
mod read;
mod rewrite;
mod schema;
mod snapshot;
mod sql;
mod tokens;
mod transaction;
mod unused;
mod write;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use diesel::connection::SimpleConnection as _;
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use tokio::sync::{Mutex, Semaphore};

use self::fault::{Fault, STORE, unusable};
use self::files::OpenFiles;
use self::pool::Readers;
use self::read::QuietFrom;
use self::transaction::transaction;
use self::write::Ids;
use super::common::STATEMENT_MAX;
use super::failure::Failure;
use super::{Error, Migrations};

pub use self::options::SqliteOptions;

/// Number of connections that read for recording: they load sessions and keys.
const UPKEEPERS: usize = 2;

/// Number of snapshots at once, each with a connection. A caller that begins another waits for one to end.
const SNAPSHOTS_MAX: usize = 128;

/// Number of queries of snapshots that run at once. More would compete for the same disk and processors. Queries wait
/// and not snapshots, because a snapshot also serves to open sessions again, which must not wait for the end of a
/// report.
const READERS: usize = 4;

/// A store in one SQLite file.
///
/// Another process may use the same file; each waits for the other's writes.
///
/// While the disk is full, or the file is damaged, locked, or no longer the one at its path, calls fail with
/// [`Error::Unavailable`], which names the remedy. After that, the same writes succeed. SQLite finds damage only where
/// it reads; `pragma integrity_check` reads everything.
///
/// To restore a copy, stop every process that uses the file, remove its files that end in `-wal` and `-shm`, and put
/// the copy at its path.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::store::{SqliteStore, Store as _};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("metrics.db");
/// let store = SqliteStore::open(&path).await?;
/// assert_eq!(store.count_sessions().await?, 0);
/// # Ok::<(), metrics_core::store::Error>(())
/// # }).unwrap();
/// ```
pub struct SqliteStore {
    files: Arc<OpenFiles>,
    writer: Arc<Mutex<Writer>>,
    snapshots: Arc<Readers>,
    // One permit per query of a snapshot.
    running: Arc<Semaphore>,
    // Connections for recording, which must not wait for a report.
    upkeep: Arc<Readers>,
    // Where the next search for sessions to close begins.
    quiet_from: std::sync::Mutex<QuietFrom>,
}

struct Writer {
    connection: SqliteConnection,
    // Ids of rows that were found or added before.
    ids: Ids,
    // SQLite's data version at that time: another process may have deleted rows since.
    data_version: i64,
}

impl SqliteStore {
    /// Opens the database at `path`, creates it if there is none, and migrates its tables.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] if the directory is missing or cannot be written, the file is no SQLite database or damaged,
    /// or a newer version has changed its tables; [`Error::Unavailable`] if the disk is full or fails, or the file is
    /// locked.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Migrations::Run).await
    }

    /// Opens the database at `path` with these options, or with these [`Migrations`] alone.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`Error::Unusable`] if the tables are outdated and [`Migrations`] allows only
    /// a check.
    pub async fn open_with(
        path: impl AsRef<Path>,
        options: impl Into<SqliteOptions>,
    ) -> Result<Self, Error> {
        let SqliteOptions { migrations, caches } = options.into();
        let path = path
            .as_ref()
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| unusable("its path is not UTF-8"))?;
        if path == ":memory:" || path.is_empty() {
            return Err(unusable("it needs a file; use one in a temporary directory for a test"));
        }
        let opened = tokio::task::spawn_blocking(move || {
            network::warn(&path);
            let mut writer = open::writer(&path, migrations, caches)?;
            let readers = (0..READERS + UPKEEPERS)
                .map(|_| open::reader(&path, caches))
                .collect::<Result<Vec<_>, _>>()?;
            let files = OpenFiles::of(path, caches, &mut writer)?;
            Ok::<_, Error>((files, writer, readers))
        });
        let (files, writer, mut readers) =
            opened.await.map_err(|panic| unusable(&panic.to_string()))??;
        Ok(Self {
            files: Arc::new(files),
            writer: Arc::new(Mutex::new(Writer {
                connection: writer,
                ids: Ids::default(),
                data_version: 0,
            })),
            upkeep: Readers::new(readers.drain(..UPKEEPERS).collect(), UPKEEPERS),
            snapshots: Readers::new(readers, SNAPSHOTS_MAX),
            running: Arc::new(Semaphore::new(READERS)),
            quiet_from: std::sync::Mutex::new((i64::MIN, i64::MIN)),
        })
    }

    fn quiet_from(&self) -> std::sync::MutexGuard<'_, QuietFrom> {
        self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `query` on a connection for recording, on a thread that may block. The query runs to its end even if this
    /// future is dropped, and the connection stays lent until then: otherwise abandoned queries would queue up on it, a
    /// thread each, until no threads are left for recording.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let mut reader = self.upkeep.acquire(&self.files).await?;
        let files = Arc::clone(&self.files);
        blocking(operation, move || {
            let connection = reader.connection()?;
            let read = query(connection);
            files.replace_reader(connection, &read);
            read
        })
        .await
    }

    /// Like [`read`](Self::read), on a connection for reports, after a permit for a query.
    async fn report<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        // The semaphore is never closed.
        let running = Arc::clone(&self.running).acquire_owned().await;
        let mut reader = self.snapshots.acquire(&self.files).await?;
        let files = Arc::clone(&self.files);
        blocking(operation, move || {
            let _running = running;
            let connection = reader.connection()?;
            let read = query(connection);
            files.replace_reader(connection, &read);
            read
        })
        .await
    }

    /// Runs `query` in a transaction on the connection that writes, to its end even if this future is dropped.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&mut SqliteConnection, &mut Ids) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        self.write_with(operation, None, query).await
    }

    /// Like [`write`](Self::write), without enforcing foreign keys.
    async fn write_unchecked<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&mut SqliteConnection, &mut Ids) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let around = ("pragma foreign_keys = off", "pragma foreign_keys = on");
        self.write_with(operation, Some(around), query).await
    }

    /// Like [`write`](Self::write), with statements before and after the transaction.
    async fn write_with<T: Send + 'static>(
        &self,
        operation: &'static str,
        around: Option<(&'static str, &'static str)>,
        query: impl FnOnce(&mut SqliteConnection, &mut Ids) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let files = Arc::clone(&self.files);
        blocking(operation, move || {
            let Writer { connection, ids, data_version } = &mut *writer;
            files.check()?;
            around.map(|(before, _)| connection.batch_execute(before)).transpose()?;
            let written = transaction(connection, "begin immediate", |connection| {
                let version = unused::data_version(connection)?;
                if std::mem::replace(data_version, version) != version {
                    ids.clear();
                }
                query(connection, ids)
            });
            let after = around.map(|(_, after)| connection.batch_execute(after)).transpose();
            let written = written.and_then(|written| after.map(|_| written).map_err(Into::into));
            if written.is_err() {
                // The rollback removed the added rows.
                ids.clear();
            }
            files.replace_writer(connection, &written);
            if let Err(err) = files.cut_log(connection) {
                // The log holds the commit all the same.
                tracing::debug!(error = &err as &dyn std::error::Error, "the log stays long");
            }
            written
        })
        .await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

/// Runs `work` on a thread that may block, to its end even if this future is dropped.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|err| Err(DieselError::QueryBuilderError(err.into()).into()));
    done.map_err(|failure| match Fault::of_failure(&failure) {
        Some(fault) => fault.into(),
        None => failure.of(STORE, operation, STATEMENT_MAX, |_| false),
    })
}

#[cfg(test)]
mod tests;

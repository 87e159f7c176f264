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
mod read;
mod rewrite;
mod schema;
mod snapshot;
mod sql;
mod transaction;
mod unused;
mod write;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use self::fault::Fault;
use self::files::OpenFiles;
use self::read::QuietFrom;
use self::snapshot::SqliteSnapshot;
use self::transaction::transaction;
use self::write::Ids;
use super::common::STATEMENT_MAX;
use super::failure::Failure;
use super::{
    Error, Found, Instance, KeyChange, KeyId, KeyRecord, KnownVideo, Migrations, OpenSession,
    Outcome, Rewrite, SessionWrite, Snapshot, Store, Unused, VideoId,
};
use crate::key::{ApiKey, SessionId};
use crate::query::instant;
use crate::video::Video;

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

/// Options of opening an SQLite file.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqliteOptions {
    migrations: Migrations,
    caches: Caches,
}

impl SqliteOptions {
    /// Sets the treatment of outdated tables: they are migrated by default.
    #[must_use]
    pub fn with_migrations(self, migrations: Migrations) -> Self {
        Self { migrations, ..self }
    }

    /// Limits page caches to about `bytes`: half for the connection that writes, at most 64 MiB, and half for 32
    /// connections that read, at most 2 MB each. By default the caches take these maxima.
    #[must_use]
    pub fn with_caches(self, bytes: usize) -> Self {
        Self { caches: Caches::within(bytes), ..self }
    }
}

impl From<Migrations> for SqliteOptions {
    fn from(migrations: Migrations) -> Self {
        Self { migrations, ..Self::default() }
    }
}

/// The largest page cache of a connection, in KiB.
#[derive(Clone, Copy, Debug)]
struct Caches {
    writer_kib: usize,
    reader_kib: usize,
}

impl Caches {
    /// Holds the pages that a batch changes, so that none is read twice, or written before the commit.
    const MOST: Self = Self { writer_kib: 64 * 1024, reader_kib: 2_000 };

    /// With less, each query reads the same pages again and again.
    const LEAST: Self = Self { writer_kib: 4 * 1024, reader_kib: 256 };

    fn within(bytes: usize) -> Self {
        let half_kib = bytes / 1024 / 2;
        Self {
            writer_kib: half_kib.clamp(Self::LEAST.writer_kib, Self::MOST.writer_kib),
            reader_kib: (half_kib / 32).clamp(Self::LEAST.reader_kib, Self::MOST.reader_kib),
        }
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self::MOST
    }
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
        let mut reader = self.upkeep.lend(&self.files).await?;
        let files = Arc::clone(&self.files);
        blocking(operation, move || {
            let connection = reader.connection()?;
            let read = query(connection);
            files.mend_reader(connection, &read);
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
        let mut reader = self.snapshots.lend(&self.files).await?;
        let files = Arc::clone(&self.files);
        blocking(operation, move || {
            let _running = running;
            let connection = reader.connection()?;
            let read = query(connection);
            files.mend_reader(connection, &read);
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
            files.mend_writer(connection, &written);
            if let Err(err) = files.cut_log(connection) {
                // The log holds the commit all the same.
                tracing::debug!(error = &err as &dyn std::error::Error, "the log stays long");
            }
            written
        })
        .await
    }
}

/// Connections that read, each lent to one borrower at a time.
struct Readers {
    idle: std::sync::Mutex<Vec<SqliteConnection>>,
    // Number of connections that stay open.
    kept: usize,
    // One permit per connection that may be lent.
    permits: Arc<Semaphore>,
}

impl Readers {
    fn new(idle: Vec<SqliteConnection>, lent_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(lent_max));
        Arc::new(Self { kept: idle.len(), idle: idle.into(), permits })
    }

    /// Lends a connection, and opens one if every open one is lent.
    async fn lend(self: &Arc<Self>, files: &Arc<OpenFiles>) -> Result<Reader, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit =
            permit.map_err(|err| Error::Unavailable { store: STORE, source: err.into() })?;
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let files = Arc::clone(files);
                let opened = tokio::task::spawn_blocking(move || files.reader()).await;
                opened.map_err(|err| Error::Unavailable { store: STORE, source: err.into() })??
            }
        };
        Ok(Reader { connection: Some(connection), home: Arc::clone(self), _permit: permit })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lent connection, which returns to its pool on drop.
struct Reader {
    // `Some` until then.
    connection: Option<SqliteConnection>,
    home: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    fn connection(&mut self) -> QueryResult<&mut SqliteConnection> {
        self.connection.as_mut().ok_or(DieselError::BrokenTransactionManager)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut idle = self.home.lock();
        if idle.len() < self.home.kept {
            idle.extend(self.connection.take());
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.read("list keys", keys::list).await
    }

    async fn add_key(&self, record: &KeyRecord) -> Result<bool, Error> {
        let record = record.clone();
        self.write("add a key", move |connection, _| Ok(keys::add(connection, &record)?)).await
    }

    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        let (key, change) = (key.clone(), change.clone());
        self.write("change a key", move |connection, _| {
            Ok(keys::change(connection, &key, &change)?)
        })
        .await
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.write("record an instance", move |connection, _| {
            write::beat(connection, instance, now)
        })
        .await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        let videos = videos.to_vec();
        self.read("look up videos", move |connection| {
            connection.transaction(|connection| read::known_videos(connection, &videos))
        })
        .await
    }

    async fn count_videos(&self, keys: &[ApiKey]) -> Result<Vec<u64>, Error> {
        let keys = keys.to_vec();
        self.report("count videos", move |connection| {
            Ok(keys
                .iter()
                .map(|key| read::count_videos(connection, key))
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<(KeyId, VideoId)>, Error> {
        let videos = videos.to_vec();
        self.write("add videos", move |connection, ids| {
            videos.iter().map(|(key, video)| ids.video(connection, key, video)).collect()
        })
        .await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Found>>, Error> {
        let ids = ids.to_vec();
        self.read("load sessions", move |connection| {
            transaction(connection, "begin", |connection| {
                ids.iter().map(|id| read::load(connection, *id)).collect()
            })
        })
        .await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        self.write("commit sessions", move |connection, ids| {
            writes.iter().map(|write| write::write(connection, ids, write)).collect()
        })
        .await
    }

    async fn quiet(
        &self,
        quiet_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        let quiet_since_ms = quiet_since.timestamp_millis();
        let from = *self.quiet_from();
        // Concurrent with recording: sessions that change meanwhile stay open.
        let (quiet, next) = self
            .read("find quiet sessions", move |connection| {
                read::quiet(connection, quiet_since_ms, limit, from)
            })
            .await?;
        *self.quiet_from() = next;
        Ok(quiet)
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Outcome, Error> {
        self.write("rewrite blocks", move |connection, _| rewrite::rewrite(connection, &rewrite))
            .await
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
        let silent_since_ms = silent_since.timestamp_millis();
        self.write("finalize sessions", move |connection, _| {
            Ok(rewrite::finalize(connection, silent_since_ms, limit)?)
        })
        .await
    }

    async fn delete_unused(&self, limit: u32) -> Result<Unused, Error> {
        // Concurrent with recording: there may be many videos to search.
        let videos = self
            .read("find unused videos", move |connection| unused::find(connection, limit))
            .await?;
        if videos.is_empty() {
            return Ok(Unused::default());
        }
        let videos = self.write_unchecked("delete unused videos", move |connection, ids| {
            ids.clear();
            Ok(unused::delete(connection, &videos)?)
        });
        Ok(Unused { videos: videos.await?, pages: 0 })
    }

    async fn retention_clock(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let read = |connection: &mut SqliteConnection| Ok(unused::retention_clock(connection)?);
        Ok(self.read("read the retention clock", read).await?.map(instant))
    }

    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<Outcome, Error> {
        let (expected, at) = (expected.map(|it| it.timestamp_millis()), at.timestamp_millis());
        self.write("set the retention clock", move |connection, _| {
            Ok(unused::set_retention_clock(connection, expected, at)?)
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error> {
        let reader = self.snapshots.lend(&self.files).await?;
        let (files, running) = (Arc::clone(&self.files), Arc::clone(&self.running));
        Ok(Box::new(SqliteSnapshot::begin(files, running, reader).await?))
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.read("count sessions", read::count).await
    }

    fn is_damaged(&self) -> bool {
        self.files.is_damaged()
    }

    async fn check(&self) -> Result<(), Error> {
        self.write("write", |connection, _| Ok(open::touch(connection)?)).await
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

const STORE: &str = "SQLite";

fn unusable(reason: &str) -> Error {
    Error::Unusable { store: STORE, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;

//! The files of the database, and the handling of a connection after an error.

use std::fs::{self, Metadata};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::fault::{Fault, STORE, cannot_open};
use super::open;
use super::options::Caches;
use crate::store::failure::Failure;
use crate::store::{Cause, Error, Migrations};

/// The error after a file in use was moved away.
const MOVED: &str = "it was removed or replaced while it was in use: put it back; or, to continue with another \
                     file, stop all servers on it, which spill their waiting sessions, and start again";

/// The length of the log at which commits wait for readers, so that it can be truncated. SQLite itself checkpoints at
/// 32 MB and never waits, which is enough if there are moments without readers.
const LOG_BYTES_MAX: u64 = 128 << 20;

/// How long a commit may wait for that, once per [`LOG_BYTES_MAX`]. A longer report postpones it.
const CUT_MS_MAX: u32 = 2_000;

/// The open files.
///
/// SQLite goes on with a file that was removed, and all its data would be lost in the end. So before each write,
/// [`OpenFiles::check`] makes sure that the files at the path are still the ones that were opened.
#[derive(Debug)]
pub(super) struct OpenFiles {
    path: String,
    caches: Caches,
    // The file, and its log if it has one.
    files: Vec<(PathBuf, Identity)>,
    // The length of the log at the last attempt to truncate it.
    tried_bytes: AtomicU64,
    // Whether the file was found to be damaged: it stays so until it is opened again.
    is_damaged: AtomicBool,
}

impl OpenFiles {
    /// The files that `connection`, opened at `path`, has open.
    pub(super) fn of(
        path: String,
        caches: Caches,
        connection: &mut SqliteConnection,
    ) -> Result<Self, Error> {
        let file = diesel::dsl::sql::<Text>("select file from pragma_database_list where seq = 0");
        let file: String = file.get_result(connection).map_err(|err| cannot_open(&err))?;
        let log = format!("{file}-wal");
        let there = |file: String| Some((Identity::of(&fs::metadata(&file).ok()?), file.into()));
        let files = [file, log].into_iter().filter_map(there).map(|(it, file)| (file, it));
        Ok(Self {
            path,
            caches,
            files: files.collect(),
            tried_bytes: AtomicU64::new(0),
            is_damaged: AtomicBool::new(false),
        })
    }

    /// Opens another connection that reads the file.
    pub(super) fn reader(&self) -> Result<SqliteConnection, Error> {
        // Opening a removed file would create it.
        let unavailable = |source: Cause| Error::Unavailable { store: STORE, source };
        self.check().map_err(|err| match Fault::of(&err) {
            // A damaged file also gets here, which is not an unavailable one.
            Some(fault) => fault.into(),
            None => unavailable(err.into()),
        })?;
        open::reader(&self.path, self.caches).map_err(|err| unavailable(err.into()))
    }

    /// Makes sure that data written now is found later.
    pub(super) fn check(&self) -> QueryResult<()> {
        if self.is_damaged() {
            return Err(Fault::damage());
        }
        for (file, opened) in &self.files {
            if fs::metadata(file).ok().map(|found| Identity::of(&found)) != Some(*opened) {
                let name = file.file_name().unwrap_or(file.as_os_str()).display();
                let message = Box::new(format!("{name}: {MOVED}"));
                return Err(DieselError::DatabaseError(
                    DatabaseErrorKind::ClosedConnection,
                    message,
                ));
            }
        }
        Ok(())
    }

    /// Returns the bytes of the file and of its log.
    pub(super) fn size_bytes(&self) -> u64 {
        let lengths = self.files.iter().filter_map(|(file, _)| fs::metadata(file).ok());
        lengths.map(|found| found.len()).sum()
    }

    /// Returns whether the file was found to be damaged since it was opened.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Relaxed)
    }

    /// Records the damage that an error reports. Nothing is written from then on: a restored copy would not have it.
    pub(super) fn record(&self, failure: &Failure) {
        let fault = Fault::of_failure(failure).filter(Fault::is_damage);
        if let Some(fault) = fault
            && !self.is_damaged.swap(true, Relaxed)
        {
            tracing::error!(error = &fault as &dyn std::error::Error, "SQLite is damaged");
        }
    }

    /// Truncates the log if it is too long.
    pub(super) fn cut_log(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let log = self.files.get(1).and_then(|(log, _)| fs::metadata(log).ok());
        let bytes = log.map_or(0, |log| log.len());
        if bytes < LOG_BYTES_MAX {
            self.tried_bytes.store(0, Relaxed);
        } else if self.tried_bytes.load(Relaxed) + LOG_BYTES_MAX <= bytes {
            self.tried_bytes.store(bytes, Relaxed);
            let cut =
                format!("pragma busy_timeout = {CUT_MS_MAX}; pragma wal_checkpoint(truncate);");
            let cut = connection.batch_execute(&cut);
            return cut.and(connection.batch_execute(&open::busy_timeout()));
        }
        Ok(())
    }

    /// Replaces the connection that writes if an error may have harmed it.
    pub(super) fn replace_writer<T>(
        &self,
        connection: &mut SqliteConnection,
        done: &Result<T, Failure>,
    ) {
        self.replace(connection, done, |path| open::writer(path, Migrations::Check, self.caches));
    }

    /// Replaces a connection that reads if an error may have harmed it.
    pub(super) fn replace_reader<T>(
        &self,
        connection: &mut SqliteConnection,
        done: &Result<T, Failure>,
    ) {
        self.replace(connection, done, |path| open::reader(path, self.caches));
    }

    fn replace<T>(
        &self,
        connection: &mut SqliteConnection,
        done: &Result<T, Failure>,
        open: impl FnOnce(&str) -> Result<SqliteConnection, Error>,
    ) {
        if let Err(failure) = done {
            self.record(failure);
        }
        let fault = done.as_ref().err().and_then(Fault::of_failure);
        // Opening a removed file would create it. If no connection can be opened, the next error tries again.
        if fault.is_some_and(|fault| fault.is_of_connection())
            && self.check().is_ok()
            && let Ok(another) = open(&self.path)
        {
            *connection = another;
        }
    }
}

/// Distinguishes a file from another one at the same path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    fn of(file: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        Self(file.dev(), file.ino())
    }

    /// On other systems an open file cannot be moved.
    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Self {
        Self(0, 0)
    }
}

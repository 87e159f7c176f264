//! Spool files: a recorder that must end while its store is unavailable spills its inputs, and the next start recovers
//! them.
//!
//! A file holds the sessions that are not durable, each with the inputs that the store may lack. Recovery is as exact
//! as recording: the stored session says how many inputs of the ended recorder it has, so that stored inputs are not
//! added again. Recovered inputs are counted under a number of the file's own, so that a file is recovered once,
//! however often recovery begins.
//!
//! A file reveals no more than the store: it has the same hash of an event's timestamp, and the shifted time that a
//! session has in memory.

mod file;
mod line;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use tokio::sync::watch;

use self::file::{Header, LAYOUT, read, write};
use super::acknowledgement::Acknowledgement;
use super::entry::Spilled;
use super::{Clock, Recorder};
use crate::budget::Budget;
use crate::shutdown::Shutdown;
use crate::store::{Instance, Store};

/// The extension of a file's name.
const EXTENSION: &str = "spool";

/// Spool files in a directory: they hold inputs that an unavailable store could not accept, until the next start.
///
/// ```no_run
/// # async fn example(store: metrics_core::store::SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use metrics_core::Metrics;
/// use metrics_core::recorder::Spool;
/// use metrics_core::store::Store;
///
/// let store: Arc<dyn Store> = Arc::new(store);
/// let spool = Spool::new("/var/lib/metrics", "metrics.db");
/// spool.recover(&store).await?;
/// let metrics = Metrics::builder(store).start();
/// // ..
/// metrics.stop_within(Duration::from_secs(10), &spool).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spool {
    directory: PathBuf,
    name: String,
}

/// How a recorder ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "the operator should learn of a spilled file"]
#[non_exhaustive]
pub enum Stopped {
    /// All recorded events are durable.
    Durable,
    /// The store did not accept all inputs.
    Spooled {
        /// Number of sessions in the file.
        sessions: usize,
        /// The file.
        file: PathBuf,
    },
}

/// The result of recovering the files of earlier runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// Number of files.
    pub files: usize,
    /// Number of sessions in the files.
    pub sessions: usize,
    /// Number of sessions that the store refused; the log says why.
    pub refused: usize,
}

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The file cannot be written: events without an acknowledgement are lost.
    #[error("sessions that the store did not accept cannot be spilled to {file:?}")]
    Write {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The directory or a file in it cannot be read or removed.
    #[error("sessions that an earlier run spilled to {file:?} cannot be recovered")]
    Read {
        /// The file or the directory.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file was changed after it was written, or has another layout.
    #[error("line {line} of {file:?} cannot be read: move the file away to start without it")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The number of the line, from 1 on.
        line: usize,
    },
}

impl Spool {
    /// Files in `directory` whose names begin with `name`, which must be different for each database.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self { directory: directory.into(), name: name.into() }
    }

    /// Writes the inputs of earlier runs to `store`, and removes their files. Waits for an unavailable store.
    ///
    /// Call it before recording begins. Not cancel safe, but it can be called again.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Read`] and [`SpoolError::Damaged`]; files that were recovered before that are gone.
    pub async fn recover(&self, store: &Arc<dyn Store>) -> Result<Recovered, SpoolError> {
        let mut recovered = Recovered::default();
        for file in blocking(self.clone(), |spool| spool.files()).await? {
            let (header, sessions) = blocking(file.clone(), |file| read(&file)).await?;
            recovered.files += 1;
            recovered.sessions += sessions.len();
            recovered.refused += record(Arc::clone(store), header, sessions).await;
            blocking(file, |file| {
                fs::remove_file(&file).map_err(|source| SpoolError::Read { file, source })
            })
            .await?;
        }
        Ok(recovered)
    }

    /// Writes a file of sessions with inputs that a recorder could not store.
    pub(super) async fn spill(
        &self,
        instance: Instance,
        spilled: Vec<Spilled>,
    ) -> Result<Stopped, SpoolError> {
        if spilled.is_empty() {
            return Ok(Stopped::Durable);
        }
        let header = Header { layout: LAYOUT, id: rand::rng().random(), instance: instance.0 };
        let file = self.directory.join(format!("{}.{:08x}.{EXTENSION}", self.name, header.id));
        let sessions = spilled.len();
        let written = file.clone();
        blocking(written, move |file| {
            write(&file, &header, &spilled).map_err(|source| SpoolError::Write { file, source })
        })
        .await?;
        Ok(Stopped::Spooled { sessions, file })
    }

    /// The bytes of the files that were not recovered yet.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Read`] if the directory cannot be read.
    pub async fn size_bytes(&self) -> Result<u64, SpoolError> {
        blocking(self.clone(), |spool| {
            // A file that is gone was recovered meanwhile.
            let lengths = spool.files()?.into_iter().filter_map(|file| fs::metadata(file).ok());
            Ok(lengths.map(|found| found.len()).sum())
        })
        .await
    }

    /// The files of all earlier runs.
    fn files(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let unreadable = |source| SpoolError::Read { file: self.directory.clone(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let is_ours = path.extension() == Some(OsStr::new(EXTENSION))
                && path.file_stem().map(Path::new).and_then(Path::file_stem)
                    == Some(OsStr::new(&self.name));
            if is_ours {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Reads or writes a file on a thread that may block.
async fn blocking<A: Send + 'static, T: Send + 'static>(
    argument: A,
    call: impl FnOnce(A) -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    match tokio::task::spawn_blocking(move || call(argument)).await {
        Ok(done) => done,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
    }
}

/// Records the sessions of a file, and returns how many were refused.
async fn record(store: Arc<dyn Store>, header: Header, sessions: Vec<Spilled>) -> usize {
    // Nothing else is in memory yet, and these sessions fitted when the file was written.
    let memory = Budget::new(usize::MAX);
    let recorder = Recorder::of(store, Clock::system(), u32::MAX, memory, Instance(header.id));
    let recorder = Arc::new(recorder);
    let mut acknowledgements: Vec<Acknowledgement> = Vec::new();
    for spilled in sessions {
        acknowledgements.extend(recorder.recover(spilled, Instance(header.instance)));
    }
    let (_lifeline, shutdown) = watch::channel(Shutdown::Drain);
    recorder.run(shutdown).await;
    let mut refused = 0;
    for mut acknowledgement in acknowledgements {
        refused += usize::from(acknowledgement.durable().await.is_err());
    }
    refused
}

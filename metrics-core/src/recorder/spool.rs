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

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::entry::{Input, Past, Spilled};
use super::{Acknowledgement, Clock, Recorder};
use crate::budget::Budget;
use crate::event::{CheckedEvent, Step};
use crate::key::{ApiKey, SessionId};
use crate::session::Moment;
use crate::shutdown::Shutdown;
use crate::source::Source;
use crate::store::{Instance, Store, Subject};
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::Video;

/// The layout of a file. Other layouts are refused.
const LAYOUT: u32 = 1;

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

/// The first line of a file.
#[derive(Debug, Deserialize, Serialize)]
struct Header {
    layout: u32,
    /// The number of the recorder that counts the inputs when they are recovered.
    id: u32,
    /// The recorder that wrote the file.
    instance: u32,
}

/// A line of a file: a session.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    id: String,
    key: String,
    identifier: Option<String>,
    metadata: Option<String>,
    page: Option<String>,
    // Codes of browser, platform and device.
    client: [u8; 3],
    session_data: Option<String>,
    past: Past,
    inputs: Vec<Happened>,
}

/// An input of a session.
#[derive(Debug, Deserialize, Serialize)]
struct Happened {
    received_ms: i64,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Event {
        step: Step,
        duration_ms: Option<u32>,
        // By the player's clock, shifted by an unknown offset.
        clock_ms: Option<i64>,
        print: Option<u32>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_text: bool,
    },
    Resume,
    Lose,
    Leave,
    Checkpoint,
}

impl Line {
    fn new(spilled: &Spilled) -> Self {
        let Subject { key, video, source, user_agent, session_data } = &*spilled.subject;
        Self {
            id: format!("{:?}", spilled.id),
            key: key.as_str().to_owned(),
            identifier: video.identifier().map(str::to_owned),
            metadata: video.metadata().map(str::to_owned),
            page: source.as_ref().map(|source| source.as_str().to_owned()),
            client: [
                user_agent.browser.code(),
                user_agent.platform.code(),
                user_agent.device.code(),
            ],
            session_data: session_data.clone(),
            past: spilled.past,
            inputs: spilled.inputs.iter().map(Happened::new).collect(),
        }
    }

    /// The session, or `None` if it is not one.
    fn session(self) -> Option<Spilled> {
        let metadata = match &self.metadata {
            Some(metadata) => Some(serde_json::from_str(metadata).ok()?),
            None => None,
        };
        let source = match &self.page {
            Some(page) => Some(Source::parse(page)?),
            None => None,
        };
        let [browser, platform, device] = self.client;
        let id = SessionId::from_bytes(u128::from_str_radix(&self.id, 16).ok()?.to_be_bytes());
        let subject = Arc::new(Subject {
            key: ApiKey::new(&self.key).ok()?,
            video: Video::new(self.identifier, metadata)?,
            source,
            user_agent: UserAgentClass {
                browser: Browser::from_code(browser),
                platform: Platform::from_code(platform),
                device: Device::from_code(device),
            },
            session_data: self.session_data,
        });
        let inputs = self.inputs.into_iter().map(Happened::input).collect();
        Some(Spilled { id, subject, past: self.past, inputs })
    }
}

impl Happened {
    fn new(input: &Input) -> Self {
        let what = match input {
            Input::Event(event, at) => What::Event {
                step: event.step.clone(),
                duration_ms: event.duration_ms,
                clock_ms: at.timestamp_ms,
                print: event.fingerprint,
                is_text: event.has_text_position,
            },
            Input::Resume(_) => What::Resume,
            Input::Lose(_) => What::Lose,
            Input::Leave(_) => What::Leave,
            Input::Checkpoint(_) => What::Checkpoint,
        };
        Self { received_ms: input.received_ms(), what }
    }

    fn input(self) -> Input {
        let at = Moment::received(self.received_ms);
        match self.what {
            What::Event { step, duration_ms, clock_ms, print, is_text } => {
                let event = CheckedEvent {
                    step,
                    duration_ms,
                    timestamp_ms: clock_ms,
                    fingerprint: print,
                    has_text_position: is_text,
                };
                Input::Event(event, Moment { timestamp_ms: clock_ms, ..at })
            }
            What::Resume => Input::Resume(at),
            What::Lose => Input::Lose(at),
            What::Leave => Input::Leave(at),
            What::Checkpoint => Input::Checkpoint(at),
        }
    }
}

/// Writes a file completely or not at all, also when the power fails or the disk is full.
fn write(file: &Path, header: &Header, spilled: &[Spilled]) -> io::Result<()> {
    let part = file.with_extension("part");
    let written = write_part(&part, header, spilled).and_then(|()| fs::rename(&part, file));
    if let Err(err) = written {
        // The file may not exist. The write error matters more than an error of removing it.
        let _removed = fs::remove_file(&part);
        return Err(err);
    }
    // Only on Unix can a directory be opened and synced as a file.
    #[cfg(unix)]
    File::open(file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(())
}

fn write_part(part: &Path, header: &Header, spilled: &[Spilled]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = BufWriter::new(options.open(part)?);
    let mut put = |line: serde_json::Result<String>| writeln!(out, "{}", line?);
    put(serde_json::to_string(header))?;
    // A line at a time: all lines together would double the memory of the sessions.
    spilled.iter().try_for_each(|spilled| put(serde_json::to_string(&Line::new(spilled))))?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn read(file: &Path) -> Result<(Header, Vec<Spilled>), SpoolError> {
    let unreadable = |source| SpoolError::Read { file: file.to_owned(), source };
    let damaged = |line| SpoolError::Damaged { file: file.to_owned(), line };
    let mut lines = (1..).zip(BufReader::new(File::open(file).map_err(unreadable)?).lines());
    let first = lines.next().ok_or_else(|| damaged(1))?.1.map_err(unreadable)?;
    let header: Header = serde_json::from_str(&first).map_err(|_| damaged(1))?;
    if header.layout != LAYOUT {
        return Err(damaged(1));
    }
    let mut sessions = Vec::new();
    for (number, line) in lines {
        let line: Option<Line> = serde_json::from_str(&line.map_err(unreadable)?).ok();
        sessions.push(line.and_then(Line::session).ok_or_else(|| damaged(number))?);
    }
    Ok((header, sessions))
}

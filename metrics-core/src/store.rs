//! Storage of sessions: the [`Store`] trait and its implementations.
//!
//! A store receives whole sessions and returns them, as rows or in blocks. It knows nothing of events, players, filters
//! or time zones.

pub(crate) mod changes;
#[cfg(any(feature = "sqlite", feature = "timescale"))]
mod common;
mod error;

#[cfg(any(feature = "sqlite", feature = "timescale"))]
mod failure;
#[cfg(feature = "timescale")]
mod outdated;
#[cfg(any(feature = "sqlite", feature = "timescale"))]
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "timescale")]
mod timescale;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::key::{ApiKey, KeySettings, SessionId, SettingsChange};
use crate::session::Stored;
use crate::source::Source;
use crate::user_agent::UserAgentClass;
use crate::video::Video;

pub use crate::block::{Block, Group, Groups, Row, RowId};
pub use crate::totals::{DayTotals, StoredTotals};
pub use error::{Cause, Error};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};
#[cfg(feature = "timescale")]
pub(crate) use timescale::connect_elsewhere;
#[cfg(feature = "timescale")]
pub use timescale::{TimescaleOptions, TimescaleStore};

/// The longest silence after which an instance still counts as alive. Instances call [`beat`](Store::beat) every
/// [`BEAT`](crate::recorder::BEAT).
pub const INSTANCE_SILENCE_MAX: TimeDelta = TimeDelta::seconds(20);

/// The time after its last event for which a session can always go on. Resume state is most of a session's storage, and
/// viewers do not come back to a page after weeks: a batch is sent again within minutes, a spool file is recovered at
/// the next start.
pub const FINAL_AFTER: TimeDelta = TimeDelta::days(28);

/// The period in which keys are read from a store without notifications. A revoked key must be refused within a second.
pub const KEYS_POLL: Duration = Duration::from_millis(500);

/// Durable storage for sessions.
///
/// A store keeps keys, videos, one row per open session, encoded [blocks](Block) of closed sessions, and totals
/// per key and day. It decides nothing about their content: code of this crate closes sessions, merges blocks and
/// answers reports, so that all stores give the same answers.
///
/// # Contract
///
/// * A call is atomic: [`commit`](Self::commit) and [`rewrite`](Self::rewrite) store all of a batch, apart from
///   conflicts, or none of it.
/// * A call that returned `Ok` is durable, and every later call sees it.
/// * A call that returned `Err` may still have happened, if the error is
///   [`Unavailable`](Error::Unavailable). All calls may be repeated.
/// * A call whose future is dropped happens completely or not at all.
/// * A session is in exactly one of two forms: a row while it is open, in a block once it is closed.
/// * Texts hold no U+0000, and JSON is canonical and nested at most
///   [`DEPTH_MAX`](crate::containment::DEPTH_MAX) deep. [`Metrics`](crate::Metrics) checks that; direct callers of a
///   store check it themselves.
/// * A store is a handle. It is shared behind an `Arc`, by any number of tasks.
///
/// The suite in `metrics_core::conformance` (feature `conformance`) checks this as far as calls can show it.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// All keys, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the database could not be reached, here and in all other methods.
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error>;

    /// Adds a key with its record, and returns false if it was there already: then nothing is changed.
    async fn add_key(&self, record: &KeyRecord) -> Result<bool, Error>;

    /// Changes a key, and returns false if there is none.
    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error>;

    /// Adds a key without settings: [`add_key`](Self::add_key).
    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        self.add_key(&KeyRecord::new(key.clone(), now)).await
    }

    /// Revokes a key: [`change_key`](Self::change_key).
    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        self.change_key(key, &KeyChange::Revoke(now)).await
    }

    /// Waits until the keys may have changed since the call that returned `seen` (0 for the first), and returns the
    /// number for the next call. Cancel safe.
    ///
    /// The default, for stores without notifications, reports a change every [`KEYS_POLL`].
    async fn keys_changed(&self, seen: u64) -> u64 {
        tokio::time::sleep(KEYS_POLL).await;
        seen + 1
    }

    /// Notes that an instance is alive at `now`.
    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error>;

    /// Returns for each of these videos whether it exists, and how many its key has. A video exists from its first
    /// session on.
    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error>;

    /// Counts the videos of each of these keys. The default is for stores on which this does not slow down recording.
    async fn count_videos(&self, keys: &[ApiKey]) -> Result<Vec<u64>, Error> {
        // Any video will do: the result includes the count of its key.
        let any: Vec<_> = keys.iter().map(|key| (key.clone(), Video::labelled(""))).collect();
        let known = self.known_videos(&any).await?;
        Ok(known.into_iter().map(|known| known.videos_of_key).collect())
    }

    /// Adds videos that are new, and returns the row ids of the key and of the video of each.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if there is no such key.
    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<(KeyId, VideoId)>, Error>;

    /// The sessions with these ids, in their order; `None` for those that do not exist or are final.
    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Found>>, Error>;

    /// Writes the rows of open sessions, and returns the outcome of each. No id is twice in a batch.
    ///
    /// A write with [`expected`](SessionWrite::expected) 0 adds a row, unless an open or closed session has the id. Any
    /// other write replaces the row of that version and the same start: a deleted session may have begun anew under the
    /// same id, and its versions with it.
    ///
    /// Videos that are new are added: any number of concurrent first plays of a video make one video.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the batch can never be stored: then none of it is.
    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error>;

    /// Open sessions without an open segment whose last event is before `quiet_since`, at most `limit` (1 or more), in
    /// the order of their last events, or in any order that returns each of them eventually.
    async fn quiet(
        &self,
        quiet_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error>;

    /// Replaces blocks, with all related changes of a [`Rewrite`], in one transaction.
    ///
    /// Changes nothing and returns [`Outcome::Conflict`] if a block to remove does not exist, if a session does not
    /// exist in the given version, or if a video of [`import_after`](Rewrite::import_after) does not exist or has a
    /// later block.
    async fn rewrite(&self, rewrite: Rewrite) -> Result<Outcome, Error>;

    /// Makes closed sessions final whose last event is before `silent_since`, at most `limit` (1 or more): deletes
    /// their resume state. Returns how many.
    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Result<u64, Error>;

    /// Deletes videos that no session names, at most `limit` (1 or more), and, if no such video is left, all pages that
    /// no session names, if pages are kept apart from sessions. A store may delete some in a later call.
    ///
    /// A concurrent commit of a session of such a video happens as if the video were new, and
    /// [`rewrite`](Self::rewrite) conflicts if a video of [`import_after`](Rewrite::import_after) no longer exists. Row
    /// ids of deleted videos are never used again.
    async fn delete_unused(&self, limit: u32) -> Result<Unused, Error>;

    /// The latest time that retention trusts, over all instances: see [`retention`](crate::retention). `None` before
    /// the first turn.
    async fn retention_clock(&self) -> Result<Option<DateTime<Utc>>, Error>;

    /// Sets the time that [`retention_clock`](Self::retention_clock) returns, to the millisecond. If the current value
    /// is not `expected`, returns [`Outcome::Conflict`].
    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<Outcome, Error>;

    /// Opens a consistent view of all sessions as they are now.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error>;

    /// Counts the sessions, open and closed.
    async fn count_sessions(&self) -> Result<u64, Error>;

    /// Whether the database was found to be damaged since it was opened: then every write fails with
    /// [`Error::DamagedFile`], and nothing is written. The default is for stores that cannot detect damage.
    fn is_damaged(&self) -> bool {
        false
    }

    /// Returns if the store can be read and written.
    async fn check(&self) -> Result<(), Error>;
}

/// A consistent view of a store: all calls return the state of the same moment.
///
/// Lists come in pages: a call returns at most `limit` (1 or more) items after the given one, in the order of their
/// ids. A page with fewer than `limit` items is the last.
///
/// # Errors
///
/// [`Error::TimedOut`] if a call takes too long; else those of [`Store`].
#[async_trait]
pub trait Snapshot: Send {
    /// Videos, by their ids.
    async fn videos(
        &mut self,
        scope: &VideoScope,
        after: Option<VideoId>,
        limit: u32,
    ) -> Result<Vec<VideoRecord>, Error>;

    /// Open sessions, by their ids.
    async fn open_sessions(
        &mut self,
        scan: &OpenScan,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error>;

    /// The heads of blocks with sessions that may have started from `from_ms` to `to_ms` (Unix milliseconds, both
    /// included), by their ids.
    async fn blocks(
        &mut self,
        videos: &Videos,
        from_ms: i64,
        to_ms: i64,
        after: Option<BlockId>,
        limit: u32,
    ) -> Result<Vec<BlockHead>, Error>;

    /// Reads groups of blocks, in the order of `blocks`. Blocks that do not exist are omitted.
    async fn groups(&mut self, blocks: &[BlockId], groups: Groups) -> Result<Vec<Block>, Error>;

    /// Closed sessions that can go on, by their ids.
    async fn resumable(
        &mut self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Resumable>, Error>;

    /// The totals of the days of a key, or of each key, from `first_day` to `last_day` (days since 1970-01-01 UTC, both
    /// included); none for days without closed sessions. With [`Detail::Days`], the hours are omitted.
    async fn totals(
        &mut self,
        key: Option<&ApiKey>,
        first_day: i64,
        last_day: i64,
        detail: Detail,
    ) -> Result<Vec<StoredTotals>, Error>;
}

/// The row id of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub i64);

/// The row id of a video.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VideoId(pub i64);

/// The row id of a block. A block that replaces another has a new id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BlockId(pub i64);

/// Restricts a list of videos. Conditions that are set apply together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VideoScope {
    /// Videos of this key.
    pub key: Option<ApiKey>,
    /// Videos with one of these identifiers.
    pub identifiers: Option<Vec<String>>,
}

impl VideoScope {
    /// Whether the list includes a video.
    #[must_use]
    pub fn has(&self, record: &VideoRecord) -> bool {
        let is_named = |identifiers: &Vec<String>| {
            let identifier = record.video.identifier();
            identifier.is_some_and(|identifier| identifiers.iter().any(|it| it == identifier))
        };
        self.key.as_ref().is_none_or(|key| *key == record.key)
            && self.identifiers.as_ref().is_none_or(is_named)
    }
}

/// A video in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VideoRecord {
    /// Its row id.
    pub id: VideoId,
    /// The row id of its key.
    pub key_id: KeyId,
    /// Its key.
    pub key: ApiKey,
    /// The video.
    pub video: Video,
}

/// The videos whose sessions are read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Videos {
    /// All videos.
    All,
    /// All videos of a key.
    OfKey(ApiKey),
    /// These videos, in order.
    These(Vec<VideoId>),
}

/// The open sessions to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenScan {
    /// Their videos.
    pub videos: Videos,
    /// The first start, in Unix milliseconds.
    pub from_ms: i64,
    /// The last start, in Unix milliseconds.
    pub to_ms: i64,
    /// Only those with an open segment at an instance that is alive at this moment.
    pub watched_at: Option<DateTime<Utc>>,
}

/// An open session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// The version of its row.
    pub version: Version,
    /// The row id of its key.
    pub key: KeyId,
    /// The row id of its video.
    pub video: VideoId,
    /// The session, with its resume state.
    pub row: Row,
}

/// The stored state of a session that can go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Its version, which the next write must expect.
    pub version: Version,
    /// The digest of its video, as returned by [`Video::digest`]: a session has one video.
    pub video: [u8; 16],
    /// The identifier of that video.
    pub identifier: Option<String>,
    /// The form in which it is stored.
    pub location: Location,
}

/// The form in which a session is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most that are loaded are open, and few are loaded at once"
)]
pub enum Location {
    /// As a row of its own.
    Open(Stored),
    /// In a block.
    Closed {
        /// The row id of its key.
        key: KeyId,
        /// The row id of its video.
        video: VideoId,
        /// When it started, in Unix milliseconds.
        started_at_ms: i64,
        /// Its resume state.
        resume: Vec<u8>,
    },
}

/// A closed session that can go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resumable {
    /// Its id.
    pub id: SessionId,
    /// Its version, to be expected by the next write.
    pub version: Version,
    /// The row id of its video.
    pub video: VideoId,
    /// When it started, in Unix milliseconds.
    pub started_at_ms: i64,
    /// Its last event, in Unix milliseconds.
    pub last_event_at_ms: i64,
    /// Its resume state.
    pub resume: Vec<u8>,
}

impl From<OpenSession> for Resumable {
    /// Keeps the fields that a closed session needs beside its block.
    fn from(session: OpenSession) -> Self {
        let OpenSession { id, version, video, row: Row { stored, .. }, .. } = session;
        let Stored { started_at_ms, last_event_at_ms, resume, .. } = stored;
        Self { id, version, video, started_at_ms, last_event_at_ms, resume }
    }
}

/// A block without its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockHead {
    /// Its row id.
    pub id: BlockId,
    /// The row id of its key.
    pub key: KeyId,
    /// The row id of its video.
    pub video: VideoId,
    /// Number of sessions.
    pub sessions: u32,
    /// The first start, in Unix milliseconds.
    pub first_start_ms: i64,
    /// The last start, in Unix milliseconds.
    pub last_start_ms: i64,
}

impl BlockHead {
    /// The head of `block`, which is stored under this id, key and video.
    #[must_use]
    pub fn new(id: BlockId, (key, video): (KeyId, VideoId), block: &Block) -> Self {
        let Block { sessions, first_start_ms, last_start_ms, .. } = *block;
        Self { id, key, video, sessions, first_start_ms, last_start_ms }
    }
}

/// A change of blocks: see [`Store::rewrite`].
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Blocks that are removed.
    pub remove: Vec<BlockId>,
    /// Blocks that are added.
    pub add: Vec<(KeyId, VideoId, Block)>,
    /// Open sessions that are closed: their rows are removed, and their resume state is kept with the version, the
    /// video, the start and the last event.
    pub close: Vec<(SessionId, Version)>,
    /// Closed sessions that are open again, in the version they were closed in: their resume state becomes that of
    /// their row.
    pub reopen: Vec<OpenSession>,
    /// Open sessions that are deleted.
    pub delete_open: Vec<(SessionId, Version)>,
    /// Closed sessions that are deleted from the blocks removed: their resume state is dropped, if there is any.
    pub delete_closed: Vec<(VideoId, i64, RowId)>,
    /// Sessions in `add` that come from another store or file, not from removed blocks or rows. A store that keeps
    /// closed sessions a second time, for SQL, adds them there.
    pub import: Vec<(VideoId, Row)>,
    /// Videos of `import`, each with the last block that was read of it, or `BlockId(i64::MIN)`: a later block is a
    /// conflict, so that two concurrent imports of one file add no session twice.
    pub import_after: Vec<(VideoId, BlockId)>,
    /// Resume state of closed sessions that come from another store.
    pub resumable: Vec<Resumable>,
    /// Changes of totals, per key and day since 1970-01-01 UTC.
    pub totals: Vec<(KeyId, i64, DayTotals)>,
}

/// The resolution of totals that are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Detail {
    /// Totals of whole days.
    Days,
    /// Totals of every hour as well.
    Hours,
}

/// The treatment of tables that are not up to date.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Migrations {
    /// They are brought up to date. Instances that start at once do so one after the other.
    #[default]
    Run,
    /// They are refused.
    Check,
}

/// A change of a key: see [`Store::change_key`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyChange {
    /// Disables it from this time on. A key that is revoked already keeps its first time.
    Revoke(DateTime<Utc>),
    /// Makes it valid again.
    Restore,
    /// Changes some of its settings.
    Settings(SettingsChange),
}

/// A key, its dates and its settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    /// The key.
    pub key: ApiKey,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was revoked, if it was.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Its settings.
    pub settings: KeySettings,
}

impl KeyRecord {
    /// A valid key without settings.
    #[must_use]
    pub fn new(key: ApiKey, created_at: DateTime<Utc>) -> Self {
        Self { key, created_at, disabled_at: None, settings: KeySettings::default() }
    }
}

/// One process that records sessions: a number chosen at random when it starts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instance(pub u32);

/// A number that increases by one with every write of a session, from 1 on.
pub type Version = u32;

/// The properties of a session that never change: those of its first write stay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The key of the session.
    pub key: ApiKey,
    /// The video.
    pub video: Video,
    /// The page, if it is known.
    pub source: Option<Source>,
    /// The classes of browser, platform and device.
    pub user_agent: UserAgentClass,
    /// Data that the page attaches to this viewing: canonical JSON of an object.
    pub session_data: Option<String>,
}

/// A session to be written.
#[derive(Clone, Debug)]
pub struct SessionWrite {
    /// Its id.
    pub id: SessionId,
    /// Its key, video, page, user-agent classes and session data.
    pub subject: Arc<Subject>,
    /// The version that the store must have; 0 if the session must not exist.
    pub expected: Version,
    /// The session.
    pub stored: Stored,
    /// The instance at which a segment is open now.
    pub watched_at: Option<Instance>,
}

impl SessionWrite {
    /// The row of a session that begins with this write.
    #[must_use]
    pub fn row(&self) -> Row {
        Row {
            id: self.id.into(),
            page: self.subject.source.clone(),
            user_agent: self.subject.user_agent,
            session_data: self.subject.session_data.as_deref().map(Arc::from),
            stored: self.stored.clone(),
        }
    }
}

/// Numbers of deleted videos and pages that no session named.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unused {
    /// Videos.
    pub videos: u64,
    /// Pages; 0 in a store that keeps them with their sessions.
    pub pages: u64,
}

/// The stored state of a video.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownVideo {
    /// Whether it exists.
    pub is_there: bool,
    /// How many videos its key has.
    pub videos_of_key: u64,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is stored; the version of a session is the expected one plus one.
    Written,
    /// The store has another version: the session must be loaded again.
    Conflict,
}

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
mod id;
mod key;
#[cfg(feature = "timescale")]
mod outdated;
mod rewrite;
#[cfg(any(feature = "sqlite", feature = "timescale"))]
mod row;
mod session;
mod snapshot;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "timescale")]
mod timescale;
mod video;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::key::{ApiKey, SessionId};
use crate::video::Video;

pub use crate::block::{Block, Group, Groups, Row, RowId};
pub use crate::totals::{DayTotals, StoredTotals};
pub use error::{Cause, Error};
pub use id::{BlockId, Instance, KeyId, Version, VideoId};
pub use key::{KeyChange, KeyRecord};
pub use rewrite::{Rewrite, Unused};
pub use session::{Found, Location, OpenSession, Outcome, Resumable, SessionWrite, Subject};
pub use snapshot::{BlockSummary, Detail, OpenScan, Snapshot};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};
#[cfg(feature = "mave")]
pub(crate) use timescale::connect_to_other;
#[cfg(feature = "timescale")]
pub use timescale::{TimescaleOptions, TimescaleStore};
pub use video::{KnownVideo, VideoRecord, VideoScope, Videos};

/// The longest silence after which an instance still counts as alive. Instances call [`heartbeat`](Store::heartbeat) every
/// [`HEARTBEAT`](crate::recorder::HEARTBEAT).
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
///
/// # Methods by caller
///
/// | caller | methods |
/// |---|---|
/// | **Keys**: operators add and change keys, every instance reads them | [`keys`](Self::keys), [`add_key`](Self::add_key), [`change_key`](Self::change_key), [`create_key`](Self::create_key), [`revoke_key`](Self::revoke_key), [`keys_changed`](Self::keys_changed) |
/// | **Recording**: the [`recorder`](crate::recorder) loads and writes open sessions | [`heartbeat`](Self::heartbeat), [`known_videos`](Self::known_videos), [`load`](Self::load), [`commit`](Self::commit) |
/// | **Imports** and copies, beside methods of all other groups | [`add_videos`](Self::add_videos) |
/// | **Upkeep**: [`upkeep`](crate::upkeep) and [`retention`](crate::retention) close, merge and delete sessions | [`quiet`](Self::quiet), [`rewrite`](Self::rewrite), [`finalize`](Self::finalize), [`delete_unused`](Self::delete_unused), [`retention_clock`](Self::retention_clock), [`set_retention_clock`](Self::set_retention_clock) |
/// | **Reports**, exports and the usage of keys, which only read | [`snapshot`](Self::snapshot), [`count_sessions`](Self::count_sessions), [`count_videos`](Self::count_videos), [`size_bytes`](Self::size_bytes) |
/// | **Health checks** | [`is_damaged`](Self::is_damaged), [`check`](Self::check) |
///
/// Upkeep also loads sessions and reads snapshots. So one trait has all methods, and its contract holds across them: a
/// [`rewrite`](Self::rewrite) and a [`commit`](Self::commit) of one session conflict.
///
/// # A store that wraps another
///
/// It forwards all methods, including those with a default, which the compiler does not require:
/// [`keys_changed`](Self::keys_changed), [`count_videos`](Self::count_videos) and [`is_damaged`](Self::is_damaged). The
/// default would hide the other store's notifications, its own count, and its damage. `create_key` and `revoke_key`
/// call required methods.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    // Keys.

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

    // Recording and imports.

    /// Notes that an instance is alive at `now`.
    async fn heartbeat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error>;

    /// Returns for each of these videos whether it exists, and how many its key has. A video exists from its first
    /// session on.
    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error>;

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

    // Upkeep.

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

    // Reports.

    /// Opens a consistent view of all sessions as they are now.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error>;

    /// Counts the sessions, open and closed.
    async fn count_sessions(&self) -> Result<u64, Error>;

    /// Counts the videos of each of these keys. The default is for stores on which this does not slow down recording.
    async fn count_videos(&self, keys: &[ApiKey]) -> Result<Vec<u64>, Error> {
        // Any video will do: the result includes the count of its key.
        let any: Vec<_> = keys.iter().map(|key| (key.clone(), Video::labelled(""))).collect();
        let known = self.known_videos(&any).await?;
        Ok(known.into_iter().map(|known| known.videos_of_key).collect())
    }

    // Health checks.

    /// The bytes that the database takes on its disks, indexes and logs of its own included, about; `None`, the default,
    /// if the store cannot tell.
    async fn size_bytes(&self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// Whether the database was found to be damaged since it was opened: then every write fails with
    /// [`Error::DamagedFile`], and nothing is written. The default is for stores that cannot detect damage.
    fn is_damaged(&self) -> bool {
        false
    }

    /// Returns if the store can be read and written.
    async fn check(&self) -> Result<(), Error>;
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

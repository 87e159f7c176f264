//! Where sessions are kept: the [`Store`] trait and its implementations.
//!
//! A store is told whole sessions and asked for sums. It knows nothing of events, players or time zones: what a
//! session is was decided before, and what a bucket is will be decided after.

mod error;

#[cfg(any(feature = "conformance", test))]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "timescale"))]
mod failure;
#[cfg(feature = "timescale")]
pub mod mave;
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
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::client::Client;
use crate::engagement::{Parts, Seconds};
use crate::key::{ApiKey, SessionId};
use crate::query::{Scan, Selection};
use crate::report::{PlayCell, SourceCell};
use crate::session::Stored;
use crate::source::Source;
use crate::time_bucket::Buckets;
use crate::video::Video;

pub use error::{Cause, Error};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
#[cfg(feature = "timescale")]
pub use timescale::{TimescaleOptions, TimescaleStore};

/// How long an instance that was not heard of still counts as alive. Instances say so every
/// [`BEAT`](crate::recorder::BEAT).
pub const INSTANCE_SILENCE_MAX: TimeDelta = TimeDelta::seconds(20);

/// For how long after its last event a session can go on, in any case. What it needs for that is most of what is stored
/// of it, and nobody comes back to a page after weeks: a batch is sent again within minutes, a spool is taken up at the
/// next start.
pub const LIVE: TimeDelta = TimeDelta::days(28);

/// How often a store that is not told of changes is asked for its keys. A revoked key must be refused within a second.
pub const KEYS_POLL: Duration = Duration::from_millis(500);

/// Durable storage for sessions.
///
/// # Contract
///
/// * A call is atomic: [`commit`](Self::commit) stores all of a batch, apart from conflicts, or none of it.
/// * A call that returned `Ok` is durable, and every later call sees it.
/// * A call that returned `Err` may still have happened, if the error is
///   [`Unavailable`](Error::Unavailable). All calls may be repeated.
/// * A call whose future is dropped happens whole or not at all.
/// * Answers follow `definitions` to the millisecond: a session belongs to the instant of its start, both ends of
///   a [`Scan`] are included, and containment is PostgreSQL's `@>` on JSON.
/// * It is given nothing that a database could not keep: no text holds U+0000, and JSON is canonical and nested at
///   most [`DEPTH_MAX`](crate::containment::DEPTH_MAX) deep. [`Metrics`](crate::Metrics) sees to that; whoever calls a
///   store directly has to.
/// * A store is a handle. It is shared behind an `Arc`, by any number of tasks.
///
/// The suite in `conformance` (feature `conformance`) checks this as far as it can be seen from outside.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// All keys, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the database could not be reached, here and in all other methods.
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error>;

    /// Adds a key, and returns false if it was there already.
    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error>;

    /// Disables a key, and returns false if there is none. A key that is disabled already keeps its first time.
    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error>;

    /// The sessions with these ids, in their order; `None` for those that are not there or are
    /// [settled](Self::settle).
    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Loaded>>, Error>;

    /// What is stored of these sessions, in their order, settled or not; `None` for those that are not there.
    ///
    /// A store that settles no sessions, as this one does not, looks them up by their ids.
    async fn find(&self, lookups: &[Lookup]) -> Result<Vec<Option<Stored>>, Error> {
        let ids: Vec<_> = lookups.iter().map(|lookup| lookup.id).collect();
        let loaded = self.load(&ids).await?;
        Ok(loaded.into_iter().map(|loaded| Some(loaded?.stored)).collect())
    }

    /// Writes sessions whole, and says of each what became of it. No id is twice in a batch.
    ///
    /// A first write conflicts with a session that has the id. If that is [settled](Self::settle), it only does with one
    /// of the same video and start: under the id of any other, another session begins.
    ///
    /// Videos and sources that are new are added: however many first plays of a video there are at once, it is one
    /// video.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the batch never will be stored: nothing of it is.
    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error>;

    /// Says of each of these videos whether it is there, and how many its key has. Videos are there from the first
    /// session of them on.
    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error>;

    /// Sums plays per cell: a stretch of time that lies in one of `buckets`. A bucket may be answered in any number of
    /// cells.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there is too much to sum, here and in the reports below.
    async fn plays(&self, scan: &Scan, buckets: Buckets) -> Result<Vec<PlayCell>, Error>;

    /// Sums plays per cell and page, those that have a page.
    async fn sources(&self, scan: &Scan, buckets: Buckets) -> Result<Vec<SourceCell>, Error>;

    /// Counts the viewers of each of `parts` equal parts, up to the furthest position watched by any session that
    /// counts.
    async fn parts(&self, scan: &Scan, parts: u32) -> Result<Parts, Error>;

    /// Counts the views and the viewers of every second of video.
    async fn seconds(&self, scan: &Scan, buckets: Buckets) -> Result<Seconds, Error>;

    /// Counts the sessions with an open segment, at instances that are alive at `now`.
    async fn watching(&self, selection: &Selection, now: DateTime<Utc>) -> Result<u64, Error>;

    /// Adds sessions to the sums from which reports are answered, at most so many (1 or more), and returns how many:
    /// those that were last heard of before `quiet_since` and have no segment open. None are left when that is 0.
    ///
    /// Answers are the same before and after. A store without sums, as this one is, has nothing to do.
    async fn roll_up(&self, quiet_since: DateTime<Utc>, at_most: u32) -> Result<u64, Error> {
        let _any = (quiet_since, at_most);
        Ok(0)
    }

    /// Throws away what sessions need to go on, of at most so many (1 or more), and returns how many: those that are
    /// rolled up and were last heard of before `silent_since`. None are left when that is 0.
    ///
    /// They stay in all reports and exports, which tell them as [`Stored::settled`] does.
    ///
    /// A store may keep all sessions as they are for ever, as this one does.
    async fn settle(&self, silent_since: DateTime<Utc>, at_most: u32) -> Result<u64, Error> {
        let _any = (silent_since, at_most);
        Ok(0)
    }

    /// The first and the last day, by UTC, that there are sums or sessions of.
    async fn rollup_days(&self) -> Result<Option<(NaiveDate, NaiveDate)>, Error> {
        Ok(None)
    }

    /// Adds up a day again, and returns whether its sums were as they must be. If not, and if they are to be mended,
    /// they are then.
    async fn check_rollups(&self, day: NaiveDate, mend: bool) -> Result<bool, Error> {
        let _any = (day, mend);
        Ok(true)
    }

    /// Notes that an instance is alive.
    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error>;

    /// Reads sessions whole, at most `limit` (1 or more) of them, in an order of the store's own: from the beginning,
    /// or after the `cursor` of the page before. A session that was there all the time is on one page exactly, as it
    /// is when that page is read; one that comes or goes meanwhile is on one page at most.
    ///
    /// A page may be empty although another follows.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the cursor is not this store's.
    async fn export(&self, cursor: Option<&Cursor>, limit: u32) -> Result<Page, Error>;

    /// Deletes the sessions that started before `start`, and returns when they are gone, from all reports too. A
    /// store may keep the last of them for as long as a part of its table is wide, a week at most.
    ///
    /// Others may record meanwhile, so unlike other calls this may happen in part, if it fails or is dropped. Called
    /// again, it goes on.
    async fn forget(&self, start: DateTime<Utc>) -> Result<(), Error>;

    /// Waits until the keys may have changed since the call that answered `seen` (0 for the first), and answers the
    /// number to go on with. Cancel safe.
    ///
    /// A store that is not told of changes, as this one is not, believes in one every [`KEYS_POLL`].
    async fn keys_changed(&self, seen: u64) -> u64 {
        tokio::time::sleep(KEYS_POLL).await;
        seen + 1
    }

    /// Counts the sessions.
    async fn count_sessions(&self) -> Result<u64, Error>;

    /// Returns if the store can be read and written.
    async fn check(&self) -> Result<(), Error>;
}

/// What is done about tables that are not up to date.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Migrations {
    /// They are brought up to date. Instances that start at once do so one after the other.
    #[default]
    Run,
    /// They are refused.
    Check,
}

/// A key, and since when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    /// The key.
    pub key: ApiKey,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was revoked, if it was.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// One process that records sessions: a number chosen at random when it starts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instance(pub u32);

/// A number that goes up by one with every write of a session, from 1 on.
pub type Version = u32;

/// A session that a store had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Loaded {
    /// Its version, to be expected by the next write.
    pub version: Version,
    /// The video of the session, as [`Video::digest`] has it: a session has one video.
    pub video: [u8; 16],
    /// The identifier of that video.
    pub identifier: Option<String>,
    /// The session.
    pub stored: Stored,
}

/// Names a session of any age.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lookup {
    /// Its id.
    pub id: SessionId,
    /// The key it was sent under.
    pub key: ApiKey,
    /// The video.
    pub video: Video,
    /// When it started, in Unix milliseconds.
    pub started_at_ms: i64,
}

/// Whose session it is, and of what. None of it changes while the session lasts: what the first write says stays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The key it was sent under.
    pub key: ApiKey,
    /// The video.
    pub video: Video,
    /// The page, if it is known.
    pub source: Option<Source>,
    /// With what it is watched.
    pub client: Client,
    /// What the page says about this viewing: canonical JSON of an object.
    pub session_data: Option<String>,
}

/// A session as it is to be stored.
#[derive(Clone, Debug)]
pub struct SessionWrite {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub subject: Arc<Subject>,
    /// The version that the store must have for this to be written; 0 if it must have none.
    pub expected: Version,
    /// The session.
    pub stored: Stored,
    /// The instance at which a segment is open now.
    pub watched_at: Option<Instance>,
}

/// A session, and whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub subject: Subject,
    /// The session.
    pub stored: Stored,
}

impl Record {
    /// What [`Store::find`] finds it by.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        Lookup {
            id: self.id,
            key: self.subject.key.clone(),
            video: self.subject.video.clone(),
            started_at_ms: self.stored.started_at_ms,
        }
    }
}

/// Some of the sessions of a store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The sessions.
    pub records: Vec<Record>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Cursor>,
}

/// A place between two sessions. Only the store that made it can read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cursor(pub Vec<u8>);

/// What a store knows of a video.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownVideo {
    /// Whether it is there.
    pub is_there: bool,
    /// How many videos its key has.
    pub videos_of_key: u64,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is stored; its version is the expected one plus one.
    Written,
    /// The store has another version: the session must be loaded again.
    Conflict,
}

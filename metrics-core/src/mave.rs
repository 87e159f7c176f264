//! Moves what a mave/metrics server has recorded into a store.
//!
//! [`Mave`] reads its PostgreSQL database, with or without TimescaleDB, and changes nothing there. Its tables changed over
//! the years: both the newer ones and those of 2023 are known.
//!
//! What is taken:
//!
//! * **Keys**, with the times at which they were made and disabled.
//! * **Sessions** in which something was played, with their video, page, browser, platform, device and data. A session
//!   starts with its first `play`, or when the old server says, if that time is not known. Where it does not say a
//!   scheme, a page counts as `https`.
//! * **Segments**, from `plays`, else from `events`, else from the whole seconds of `durations`. A `pause` closes a
//!   segment, or another `play` where playback must have got to by then. A play that was never closed counts nothing;
//!   if `durations` has more segments then, they are taken instead.
//!
//! What is not: how long videos are, because what the old server calls a duration may be how long was watched; events
//! other than `play` and `pause`; and whatever [`Imported::left_out`] counts.
//!
//! An import may be repeated, and goes on after an interruption: the id of an old session is made of its key and its old
//! id, so that a store has it once. Every import reads everything, and leaves alone what is there: what was left
//! out before is counted again, or taken if it can be now. So two old databases that share a key cannot be imported
//! into one store, and sessions that go on while they are imported stay as they were then: stop the old server first.
//! Each table is read once, with or without an index, and a thousand sessions are in memory at a time.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use metrics_core::store::SqliteStore;
//! use metrics_core::mave::{Mave, Progress};
//!
//! let store = SqliteStore::open("metrics.db").await?;
//! let mave = Mave::connect("postgres://reader:secret@db.example.com/metrics").await?;
//! let imported = mave
//!     .import(&store, |progress: &Progress| {
//!         println!("{} of {} sessions", progress.sessions_done, progress.sessions_total);
//!     })
//!     .await?;
//! for left_out in &imported.left_out {
//!     println!("left out: {left_out}");
//! }
//! # Ok(())
//! # }
//! ```

mod columns;
mod convert;
mod left_out;
mod read;
mod watched;

use std::collections::HashMap;
use std::fmt;

use chrono::Utc;
use diesel_async::AsyncPgConnection;

use self::convert::Described;
use self::left_out::Tally;
use self::read::{OldSession, Plan, Snapshot};
use self::watched::instant_ms;
use crate::import::{Foreign, insert};
use crate::key::ApiKey;
use crate::query::instant;
use crate::store::{Error, Store};
use crate::upkeep::merge;

pub use crate::copy::Progress;
pub use left_out::{LeftOut, Reason};

/// The database of a mave/metrics server.
pub struct Mave {
    connection: AsyncPgConnection,
    plan: Plan,
}

/// What an import did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// How many keys were added.
    pub keys: u64,
    /// How many sessions were added.
    pub sessions: u64,
    /// How many sessions the store had already, from an import before this one.
    pub already_there: u64,
    /// What could not be taken, by reason. Each can be printed as a line.
    pub left_out: Vec<LeftOut>,
}

/// Why an import ended early. What it had imported stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The old database could not be read to its end.
    #[error(
        "the old database could not be read to its end; what was imported stays, so import again to go on"
    )]
    Read(#[source] Error),
    /// The store did not take everything.
    #[error("the store did not take everything; what was imported stays, so import again to go on")]
    Write(#[source] Error),
}

impl Mave {
    /// Connects to the database at `url`, as in `postgres://user:password@host/database`, and looks for its tables along
    /// the search path. The URL may hold what that of a [`TimescaleStore`](crate::store::TimescaleStore) may.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if it cannot be reached, and [`Error::Unusable`], which says what to do, if it refuses the
    /// user or does not have the tables of a mave/metrics server.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let mut connection = read::connect(url).await?;
        let plan = read::plan(&mut connection).await?;
        Ok(Self { connection, plan })
    }

    /// Writes everything into `store`, and calls `progress` before the first sessions and whenever some are written.
    ///
    /// Dropped, it leaves the sessions that were written so far, and nothing half done.
    ///
    /// # Errors
    ///
    /// [`ImportError`] says which of the two databases failed, and why.
    pub async fn import(
        self,
        store: &dyn Store,
        mut progress: impl FnMut(&Progress),
    ) -> Result<Imported, ImportError> {
        let snapshot = Snapshot::begin(self.connection, self.plan).await;
        let mut snapshot = snapshot.map_err(ImportError::Read)?;
        let (mut imported, mut left_out) = (Imported::default(), Tally::default());
        let keys = import_keys(&mut snapshot, store, &mut imported, &mut left_out).await?;
        let sessions_total = snapshot.count().await.map_err(ImportError::Read)?;
        let mut done = Progress { sessions_done: 0, sessions_total };
        progress(&done);
        loop {
            let sessions = snapshot.sessions().await.map_err(ImportError::Read)?;
            if sessions.is_empty() {
                break;
            }
            let writes = convert_all(&mut snapshot, &sessions, &keys, &mut left_out).await;
            commit(store, writes.map_err(ImportError::Read)?, &mut imported).await?;
            done.sessions_done += sessions.len() as u64;
            progress(&done);
        }
        snapshot.finish(&mut left_out).await.map_err(ImportError::Read)?;
        Ok(Imported { left_out: left_out.finish(), ..imported })
    }
}

impl fmt::Debug for Mave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mave").finish_non_exhaustive()
    }
}

/// Adds all keys to the store, and returns them by their old ids.
async fn import_keys(
    snapshot: &mut Snapshot,
    store: &dyn Store,
    imported: &mut Imported,
    left_out: &mut Tally,
) -> Result<HashMap<i64, ApiKey>, ImportError> {
    let mut keys = HashMap::new();
    for old in snapshot.keys().await.map_err(ImportError::Read)? {
        let Ok(key) = ApiKey::new(old.key.as_deref().unwrap_or_default()) else {
            left_out.one(Reason::InvalidKey, old.id);
            continue;
        };
        let created_at = instant_ms(old.inserted_at_ms).map_or_else(Utc::now, instant);
        let created = store.create_key(&key, created_at).await.map_err(ImportError::Write)?;
        imported.keys += u64::from(created);
        if let Some(disabled_at_ms) = instant_ms(old.disabled_at_ms) {
            let revoked = store.revoke_key(&key, instant(disabled_at_ms)).await;
            revoked.map_err(ImportError::Write)?;
        }
        keys.insert(old.id, key);
    }
    Ok(keys)
}

async fn convert_all(
    snapshot: &mut Snapshot,
    sessions: &[OldSession],
    keys: &HashMap<i64, ApiKey>,
    left_out: &mut Tally,
) -> Result<Vec<Foreign>, Error> {
    let videos = snapshot.videos(sessions).await?;
    let videos: HashMap<_, _> =
        videos.into_iter().map(|(id, video)| (id, Described::new(video))).collect();
    let mut writes = Vec::with_capacity(sessions.len());
    for session in sessions {
        let lines = snapshot.lines(session.id, left_out).await?;
        writes.extend(convert::session(session, &lines, &videos, keys, left_out));
    }
    Ok(writes)
}

async fn commit(
    store: &dyn Store,
    sessions: Vec<Foreign>,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    if sessions.is_empty() {
        return Ok(());
    }
    let inserted = insert(store, sessions).await.map_err(ImportError::Write)?;
    imported.sessions += inserted.added;
    imported.already_there += inserted.already_there + inserted.differing.len() as u64;
    merge(store, inserted.videos).await.map_err(ImportError::Write)?;
    Ok(())
}

#[cfg(test)]
mod tests;

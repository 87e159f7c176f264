//! Imports the database of a mave/metrics server into a store.
//!
//! [`Mave`] reads that server's PostgreSQL database, with or without TimescaleDB, and changes nothing there. The tables
//! changed over the years: both the newer ones and those of 2023 are supported.
//!
//! Imported are:
//!
//! * **Keys**, with the times at which they were created and disabled.
//! * **Sessions** in which something was played, with their video, page, browser, platform, device and data. A session
//!   starts with its first `play`, or at the time in its row if the time of that `play` is unknown. A page without a
//!   scheme counts as `https`.
//! * **Segments**, from `plays`, else from `events`, else from the whole seconds of `durations`. A `pause` closes a
//!   segment; so does another `play`, at the position that playback must have reached. A play that was never closed has
//!   no view time; if `durations` has more segments in that case, they are imported instead.
//!
//! Not imported are durations of videos, because a duration of the old server may be a view time; events other than
//! `play` and `pause`; and the rows that [`Imported::left_out`] counts.
//!
//! An import may be repeated, also after an interruption: the id of an imported session derives from its key and its
//! old id, so a store has it once. Every import reads all rows and does not change sessions in the store; rows that
//! were left out before are counted again, or imported if that is possible now. So two old databases that share a key
//! cannot be imported into one store, and sessions that go on during an import keep the state it read: stop the old
//! server first. Each table is read once, with or without an index, and a thousand sessions are in memory at a time.
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
use crate::source::PageDetail;
use crate::store::{Error, Store};
use crate::upkeep::merge;

pub use crate::copy::Progress;
pub use left_out::{LeftOut, Reason};

/// The database of a mave/metrics server.
pub struct Mave {
    connection: AsyncPgConnection,
    plan: Plan,
    page_detail: PageDetail,
}

/// The result of an import.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// The number of keys added.
    pub keys: u64,
    /// The number of sessions added.
    pub sessions: u64,
    /// The number of sessions that the store had already, from an earlier import.
    pub already_there: u64,
    /// Rows and values that could not be imported, by reason. Each displays as one line.
    pub left_out: Vec<LeftOut>,
}

/// Why an import failed. Sessions imported until then stay in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Reading the old database failed.
    #[error(
        "the old database could not be read completely; imported sessions stay: import again to continue"
    )]
    Read(#[source] Error),
    /// Writing to the store failed.
    #[error(
        "the store did not accept all sessions; imported sessions stay: import again to continue"
    )]
    Write(#[source] Error),
}

impl Mave {
    /// Connects to the database at `url`, as in `postgres://user:password@host/database`, and looks for its tables along
    /// the search path. The URL may hold what that of a [`TimescaleStore`](crate::store::TimescaleStore) may.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the database cannot be reached, and [`Error::Unusable`], with a remedy, if it rejects
    /// the user or has no tables of a mave/metrics server.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let mut connection = read::connect(url).await?;
        let plan = read::plan(&mut connection).await?;
        Ok(Self { connection, plan, page_detail: PageDetail::default() })
    }

    /// Keeps as much of the pages of sessions as `detail`: their paths, by default.
    #[must_use]
    pub fn page_detail(self, detail: PageDetail) -> Self {
        Self { page_detail: detail, ..self }
    }

    /// Writes everything into `store`, and calls `progress` before the first sessions and whenever some are written.
    ///
    /// If the future is dropped, sessions written so far stay in the store; none is written partly.
    ///
    /// # Errors
    ///
    /// [`ImportError`] names the database that failed, and the cause.
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
            let mut writes = writes.map_err(ImportError::Read)?;
            for Foreign { row, .. } in &mut writes {
                row.page = row.page.take().and_then(|page| page.reduced(self.page_detail));
            }
            commit(store, writes, &mut imported).await?;
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

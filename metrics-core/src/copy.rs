//! Copies a database from one store to another, and proves that nothing was lost.
//!
//! Keys keep their times, and sessions their resume state, so that each can go on in the other store. A copy overwrites
//! nothing: a session that the target already has must be the same. So an interrupted copy is simply run again.
//!
//! No server may record into either store meanwhile: its sessions would be missing from the copy or conflict with it,
//! and the comparison at the end would fail.

mod compare;
mod retry;
mod sessions;
mod target;

use std::collections::HashMap;

use self::compare::{compare_counts, compare_reports};
use self::retry::with_retries;
use self::sessions::{Copying, Tally};
use self::target::{check_target, copy_keys, copy_revoked_tokens};
use crate::block::RowId;
use crate::store::{Error, Store};

/// The progress of a copy or an import.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Number of sessions processed.
    pub sessions_done: u64,
    /// Number of sessions to process.
    pub sessions_total: u64,
}

/// The result of a copy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Copied {
    /// The number of keys added.
    pub keys: u64,
    /// The number of sessions added.
    pub sessions: u64,
    /// Number of sessions that the target already had, from an earlier copy.
    pub already_there: u64,
}

/// Why a copy did not complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source failed to answer. If it was unavailable, copy again later.
    #[error("cannot read the source of the copy")]
    Read(#[source] Error),
    /// The target failed to answer. If it was unavailable, copy again later.
    #[error("cannot write the copy")]
    Write(#[source] Error),
    /// The target is another database in use. It is unchanged.
    #[error(
        "the target has other sessions: name an empty database, or the target of an interrupted copy of this one"
    )]
    Occupied,
    /// Keys that are valid in the source are revoked in the target, for good. The target is unchanged.
    #[error(
        "{keys} keys are revoked in the target and valid in the source: name an empty database"
    )]
    Revoked {
        /// Number of these sessions.
        keys: u64,
    },
    /// The target has other versions of some sessions. They are unchanged; all other sessions are copied.
    #[error(
        "{sessions} sessions differ in the target, for example {first:?}: stop all servers on both databases, and \
         copy into an empty database"
    )]
    Differ {
        /// How many.
        sessions: u64,
        /// One of them.
        first: RowId,
    },
    /// Everything was written, but reports from the two stores differ.
    #[error(
        "the copy differs: {name}: {from} became {to}; stop all servers on both databases, and copy into an empty \
         database"
    )]
    Unequal {
        /// The number that differs, and its day.
        name: String,
        /// The number in the source.
        from: u64,
        /// The number in the target.
        to: u64,
    },
}

/// Copies all data of `from` to `to`, and calls `progress` now and then.
///
/// Returns when all of it is durable and both stores report the same sums: of sessions; and per day of plays, their
/// view times, their user-agent classes and their pages.
///
/// The future may be dropped at any moment; another call resumes.
///
/// # Errors
///
/// [`CopyError`] names the reason and the remedy.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::copy::copy;
/// use metrics_core::store::SqliteStore;
///
/// # let directory = tempfile::tempdir()?;
/// # let (old, new) = (directory.path().join("old.db"), directory.path().join("new.db"));
/// let (old, new) = (SqliteStore::open(old).await?, SqliteStore::open(new).await?);
/// let copied = copy(&old, &new, |progress| {
///     println!("{} of {} sessions", progress.sessions_done, progress.sessions_total);
/// });
/// assert_eq!(copied.await?.sessions, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    mut progress: impl FnMut(&Progress),
) -> Result<Copied, CopyError> {
    let sessions_total = with_retries(|| from.count_sessions()).await.map_err(CopyError::Read)?;
    check_target(from, to).await?;
    let mut copying = Copying {
        from,
        to,
        tally: Tally::default(),
        videos: HashMap::new(),
        progress: |sessions_done| progress(&Progress { sessions_done, sessions_total }),
    };
    copying.tally.copied.keys = copy_keys(from, to).await?;
    copy_revoked_tokens(from, to).await?;
    (copying.progress)(0);
    copying.videos().await?;
    copying.open_sessions().await?;
    copying.resume_states().await?;
    let tally = copying.tally;
    if let Some((sessions, first)) = tally.differing {
        return Err(CopyError::Differ { sessions, first });
    }
    compare_counts(from, to).await?;
    compare_reports(from, to, &tally.windows).await?;
    Ok(tally.copied)
}

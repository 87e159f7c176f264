//! Errors of stores, classified by the remedies of the caller.

use std::error::Error as StdError;

use crate::compute::Interrupted;

/// The error of a driver.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a call of a [`Store`](super::Store) failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be reached, is busy, or has no space. Trying again may help.
    #[error("{store} is unavailable")]
    Unavailable {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// The driver's error.
        source: Cause,
    },

    /// The database refused the request. Trying again will not help.
    #[error("{store} refused to {operation}")]
    Rejected {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// The failed operation, as the end of the sentence: `"commit 12 sessions"`.
        operation: &'static str,
        /// The driver's error.
        source: Cause,
    },

    /// The answer took longer than a statement may take. A smaller timeframe or selection may help.
    #[error("{store} took longer than {seconds} s")]
    TimedOut {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// The time limit.
        seconds: u64,
    },

    /// The answer would be too large. Wider buckets or a smaller timeframe may help.
    #[error(transparent)]
    TooLarge(#[from] crate::engagement::TooManySeconds),

    /// Stored bytes could not be decoded: another program changed the database, or its disk is damaged. Restore a
    /// backup.
    #[error("the store holds damaged data")]
    Damaged(#[source] crate::varint::Damaged),

    /// The file of the database was found to be damaged while it was open. Nothing is written to it until it is opened
    /// again, so the same call may succeed after a backup was restored.
    #[error("{store} is damaged")]
    DamagedFile {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// The driver's error, and the remedy.
        source: Cause,
    },

    /// This version cannot use the database.
    #[error("{store} cannot be used: {reason}")]
    Unusable {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// The problem, and the remedy.
        reason: String,
    },
}

impl From<Interrupted> for Error {
    fn from(err: Interrupted) -> Self {
        Self::Unavailable { store: "the report", source: err.into() }
    }
}

impl Error {
    /// Returns true if the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::DamagedFile { .. })
    }

    /// Advice for an operator beside waiting, if there is any. It reveals nothing that must be kept from strangers.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "timescale")]
            Self::Unavailable { source, .. } if source.is::<super::outdated::Outdated>() => {
                Some(super::outdated::Outdated::ADVICE)
            }
            _ => None,
        }
    }
}

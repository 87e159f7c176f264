//! Why a store could not do as it was asked, named by what the caller can do about it.

use std::error::Error as StdError;

use crate::compute::Interrupted;

/// What a driver said.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a [`Store`](super::Store) could not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be reached, is busy, or has no room. Trying again may help.
    #[error("{store} is unavailable")]
    Unavailable {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// What the driver said.
        source: Cause,
    },

    /// The database refused the request. Trying again will not help.
    #[error("{store} refused to {operation}")]
    Rejected {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// What was asked, to complete the sentence: `"commit 12 sessions"`.
        operation: &'static str,
        /// What the driver said.
        source: Cause,
    },

    /// The answer took longer than a statement may take. A smaller timeframe or selection may help.
    #[error("{store} took longer than {seconds} s")]
    TimedOut {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// How long it was allowed to take.
        seconds: u64,
    },

    /// The answer would be too large. Wider buckets or a smaller timeframe may help.
    #[error(transparent)]
    TooLarge(#[from] crate::engagement::TooManySeconds),

    /// Stored bytes could not be decoded: the database was changed by something else, or its disk is damaged. Restore a
    /// backup.
    #[error("the store holds damaged data")]
    Damaged(#[source] crate::varint::Damaged),

    /// The file of the database is damaged, and so noticed while it was open. Nothing is written to it until it is opened
    /// again, so the same call may succeed after a copy was put back.
    #[error("{store} is damaged")]
    DamagedFile {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// What the driver said, and what to do.
        source: Cause,
    },

    /// The database is not one that this version can use.
    #[error("{store} cannot be used: {reason}")]
    Unusable {
        /// The store, as an operator knows it: `"SQLite"`.
        store: &'static str,
        /// What is wrong, and what to do.
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

    /// What an operator can do about it beside waiting, where that is known. It tells nothing that a stranger must not
    /// know.
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

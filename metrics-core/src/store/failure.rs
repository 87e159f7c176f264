//! Failures inside a store, before they become errors for its caller.

use std::time::Duration;

use diesel::result::Error as DieselError;

use super::Error;
use crate::varint::Damaged;

/// A failure on a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Diesel(#[from] DieselError),
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("the key of a session does not exist")]
    NoKey,
    #[error("it takes too long")]
    TooLong,
}

impl Failure {
    /// The error of `store` for this failure of `operation`. `may_pass` distinguishes temporary failures from
    /// rejections of the request.
    pub(super) fn of(
        self,
        store: &'static str,
        operation: &'static str,
        statement_max: Duration,
        may_pass: fn(&DieselError) -> bool,
    ) -> Error {
        match self {
            Self::TooLong => Error::TimedOut { store, seconds: statement_max.as_secs() },
            Self::Diesel(err) if may_pass(&err) => Error::Unavailable { store, source: err.into() },
            other => Error::Rejected { store, operation, source: other.into() },
        }
    }
}

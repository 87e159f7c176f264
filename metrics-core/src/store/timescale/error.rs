//! Errors of the store: constructors, and the distinction between temporary failures and rejected requests.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::COMMIT_MAX;
use crate::store::failure::Failure;
use crate::store::outdated::Outdated;
use crate::store::{Cause, Error};

pub(super) const STORE: &str = "TimescaleDB";

pub(super) fn unusable(reason: impl Into<String>) -> Error {
    Error::Unusable { store: STORE, reason: reason.into() }
}

pub(super) fn unavailable(cause: impl Into<Cause>) -> Error {
    Error::Unavailable { store: STORE, source: cause.into() }
}

pub(super) fn failed(operation: &'static str, err: DieselError) -> Error {
    put(Failure::Diesel(err), operation, COMMIT_MAX)
}

/// Makes an error for operators from a failure.
pub(super) fn put(failure: Failure, operation: &'static str, statement_max: Duration) -> Error {
    if let Failure::Diesel(err) = &failure
        // Errors about data may quote values that clients sent.
        && may_pass(err)
        && let Some(outdated) = Outdated::of(err)
    {
        return unavailable(outdated);
    }
    failure.of(STORE, operation, statement_max, may_pass)
}

/// Whether TimescaleDB was updated while the connection was open.
pub(super) fn is_outdated(err: &Error) -> bool {
    matches!(err, Error::Unavailable { source, .. } if source.is::<Outdated>())
}

/// Whether an error is temporary: caused by the state of the server, not by the request.
///
/// For most errors the driver passes on the text only, in the server's language. Data is checked before it is stored,
/// so the database has no reason to refuse it: an error that is not known to be about the data counts as temporary, and
/// the request is repeated, rather than losing sessions because a disk is full.
pub(super) fn may_pass(err: &DieselError) -> bool {
    const ABOUT_DATA: [&str; 5] = ["invalid", "out of range", "exceeds", "stack depth", "Unicode"];
    match err {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, info) => {
            !ABOUT_DATA.iter().any(|text| info.message().contains(text))
        }
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation,
            _,
        ) => false,
        DieselError::DatabaseError(..)
        | DieselError::BrokenTransactionManager
        | DieselError::RollbackErrorOnCommit { .. } => true,
        _ => false,
    }
}

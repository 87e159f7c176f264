//! Errors of the store: constructors, and the distinction between temporary failures and rejected requests.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::{COMMIT_MAX, messages};
use crate::store::failure::Failure;
use crate::store::outdated::Outdated;
use crate::store::{Cause, Error};

pub(super) const STORE: &str = "TimescaleDB";

/// The error of a database that this version cannot use, with the remedy.
pub(super) fn unusable(reason: impl Into<String>) -> Error {
    Error::Unusable { store: STORE, reason: reason.into() }
}

/// The error of a call that may succeed later.
pub(super) fn unavailable(cause: impl Into<Cause>) -> Error {
    Error::Unavailable { store: STORE, source: cause.into() }
}

/// The error of a failed statement without a time limit of its own.
pub(super) fn failed(operation: &'static str, err: DieselError) -> Error {
    error_of(Failure::Diesel(err), operation, COMMIT_MAX)
}

/// Makes an error for operators from a failure.
pub(super) fn error_of(
    failure: Failure,
    operation: &'static str,
    statement_max: Duration,
) -> Error {
    if let Failure::Diesel(err) = &failure
        // Errors about data may quote values that clients sent.
        && may_pass(err)
        && let Some(outdated) = outdated(err)
    {
        return unavailable(outdated);
    }
    failure.of(STORE, operation, statement_max, may_pass)
}

/// Recognizes an error of a server that cannot load the version of TimescaleDB that the database names.
pub(super) fn outdated(err: &DieselError) -> Option<Outdated> {
    let DieselError::DatabaseError(kind, info) = err else { return None };
    let is_meant = matches!(kind, DatabaseErrorKind::Unknown | DatabaseErrorKind::ClosedConnection)
        && messages::is_about_library(info.message());
    is_meant.then(|| Outdated::new(info.message()))
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
    match err {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, info) => {
            !messages::is_about_data(info.message())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: DatabaseErrorKind, message: &str) -> Option<String> {
        let err = DieselError::DatabaseError(kind, Box::new(message.to_owned()));
        outdated(&err).map(|outdated| outdated.to_string())
    }

    #[test]
    fn errors_of_the_library_are_recognized_in_every_language() {
        for message in [
            r#"could not access file "$libdir/timescaledb-2.19.2": No such file or directory"#,
            r#"konnte nicht auf Datei „$libdir/timescaledb-2.19.2“ zugreifen: Datei oder Verzeichnis nicht gefunden"#,
            r#"could not find function "ts_now" in file "/usr/lib/postgresql/17/lib/timescaledb-2.19.3.so""#,
            r#""timescaledb" already loaded with a different version"#,
            r#"extension "timescaledb" version mismatch: shared library version 2.19.3; SQL version 2.19.2"#,
        ] {
            let told = of(DatabaseErrorKind::Unknown, message).unwrap();
            assert!(told.contains(message) && told.contains("alter extension"), "{told}");
            assert_eq!(Outdated::of_text(&told).unwrap().to_string(), told);
        }
    }

    #[test]
    fn other_errors_are_not_outdated() {
        for message in [
            "could not access file \"pg_wal\"",
            "relation \"timescaledb\" does not exist",
            "disk full",
        ] {
            assert_eq!(of(DatabaseErrorKind::Unknown, message), None);
        }
        let library = "could not access file \"$libdir/timescaledb-2.19.2\"";
        assert_eq!(of(DatabaseErrorKind::UniqueViolation, library), None);
        assert!(outdated(&DieselError::NotFound).is_none());
        assert!(Outdated::of_text(library).is_none());
    }
}

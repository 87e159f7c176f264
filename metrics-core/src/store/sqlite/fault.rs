//! Faults of the file or of its environment, as opposed to errors of a request.
//!
//! diesel passes on the text of an SQLite error, and a code for violated constraints only. All comparisons with texts
//! of SQLite are in this file. The texts have never changed, and they begin with the same words for every statement;
//! names of tables and values come after.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::store::Error;
use crate::store::failure::Failure;

pub(super) const STORE: &str = "SQLite";

const DAMAGED: &str = "the file is damaged: stop all servers on it, which spill their waiting sessions, restore a \
                       backup, and start again";

const DISK: &str = "make room on its disk, or look for errors of the disk in the system's log";

const LOCKED: &str = "another process holds a lock on the file";

const WRITABLE: &str = "its file and directory must exist and be writable";

/// SQLite's text for a damaged page.
const MALFORMED: &str = "database disk image is malformed";

/// The beginning of a text, and the remedy of an operator.
const FAULTS: [(&str, &str); 11] = [
    ("database or disk is full", "make room on its disk"),
    ("disk I/O error", DISK),
    ("attempt to write a readonly database", WRITABLE),
    ("unable to open database", WRITABLE),
    (MALFORMED, DAMAGED),
    ("malformed database schema", DAMAGED),
    ("file is not a database", DAMAGED),
    ("database is locked", LOCKED),
    ("database table is locked", LOCKED),
    ("locking protocol", LOCKED),
    ("out of memory", "the process needs more memory"),
];

/// A fault that lasts until an operator removes it, or until it passes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{message}: {advice}")]
    File { message: String, advice: &'static str },
    #[error("{0}")]
    Moved(String),
    #[error("the connection failed and is opened again: {0}")]
    Connection(String),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        if fault.is_damage() {
            return Self::DamagedFile { store: STORE, source: fault.into() };
        }
        Self::Unavailable { store: STORE, source: fault.into() }
    }
}

impl Fault {
    pub(super) fn of_failure(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Diesel(err) => Self::of(err),
            _ => None,
        }
    }

    /// The fault that an error reports, if it reports one.
    pub(super) fn of(err: &DieselError) -> Option<Self> {
        match err {
            DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, message) => {
                Some(Self::Moved(message.message().to_owned()))
            }
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, message) => {
                Self::of_text(message.message(), str::starts_with)
            }
            DieselError::RollbackErrorOnCommit { commit_error, .. } => {
                Self::of(commit_error).or_else(|| Some(Self::Connection(commit_error.to_string())))
            }
            DieselError::BrokenTransactionManager
            | DieselError::AlreadyInTransaction
            | DieselError::NotInTransaction => Some(Self::Connection(err.to_string())),
            _ => None,
        }
    }

    /// The fault that a text contains, if it wraps the text of SQLite in others.
    pub(super) fn within_text(text: &str) -> Option<Self> {
        Self::of_text(text, |text, message| text.contains(message))
    }

    fn of_text(text: &str, is: fn(&str, &'static str) -> bool) -> Option<Self> {
        let (_, advice) = FAULTS.into_iter().find(|(message, _)| is(text, message))?;
        Some(Self::File { message: text.to_owned(), advice })
    }

    /// Whether the fault may pass by itself, or when the disk gets space: a start may wait for that.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::File { advice, .. } => ![DAMAGED, WRITABLE].contains(advice),
            Self::Moved(_) => false,
            Self::Connection(_) => true,
        }
    }

    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::File { advice, .. } if *advice == DAMAGED)
    }

    /// The error of every call after damage was found.
    pub(super) fn damage() -> DieselError {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(MALFORMED.to_owned()))
    }

    /// Whether the fault may persist in the connection, so that a new one is better.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::File { advice, .. } => [DAMAGED, WRITABLE, DISK].contains(advice),
            Self::Moved(_) => false,
            Self::Connection(_) => true,
        }
    }
}

/// Whether another connection has locked the file or a table.
pub(super) fn is_locked(err: &DieselError) -> bool {
    err.to_string().contains("locked")
}

/// The error of a file that cannot be opened: retryable if the fault may pass.
pub(super) fn cannot_open(err: &dyn std::error::Error) -> Error {
    let err = err.to_string();
    // A migration wraps SQLite's text.
    match Fault::within_text(&err) {
        Some(fault) if fault.may_pass() => fault.into(),
        Some(fault) if fault.is_damage() && !err.contains("not a database") => unusable(&format!(
            "the file is damaged ({err}): restore a backup, and remove the files beside it that end in -wal and \
             -shm"
        )),
        _ => unusable(&format!(
            "the file cannot be used ({err}): it must be a writable database of metrics, or not exist yet"
        )),
    }
}

/// The error of a database that this version cannot use, with the remedy.
pub(super) fn unusable(reason: &str) -> Error {
    Error::Unusable { store: STORE, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(kind: DatabaseErrorKind, text: &str) -> Option<Fault> {
        Fault::of(&DieselError::DatabaseError(kind, Box::new(text.to_owned())))
    }

    /// Texts of SQLite for faults that no test can produce.
    #[test]
    fn faults_and_refusals_differ() {
        for text in ["out of memory", "locking protocol", "database table is locked: sessions"] {
            let fault = classify(DatabaseErrorKind::Unknown, text).expect(text);
            assert!(fault.may_pass() && !fault.is_damage(), "{fault}");
        }
        let damage = classify(DatabaseErrorKind::Unknown, "malformed database schema (sessions)");
        assert!(damage.is_some_and(|it| it.is_damage() && it.is_of_connection() && !it.may_pass()));
        for text in ["SQL logic error", "no such table: disk I/O error", "string or blob too big"] {
            assert!(classify(DatabaseErrorKind::Unknown, text).is_none(), "{text}");
        }
        assert!(classify(DatabaseErrorKind::CheckViolation, "database is locked").is_none());
        assert!(Fault::of(&DieselError::NotFound).is_none());
    }

    #[test]
    fn a_connection_in_the_middle_of_nothing_is_broken() {
        let broken = || Box::new(DieselError::BrokenTransactionManager);
        let full = "database or disk is full".to_owned();
        let full = DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(full));
        let failed = |commit_error| DieselError::RollbackErrorOnCommit {
            rollback_error: broken(),
            commit_error: Box::new(commit_error),
        };
        let fault = Fault::of(&failed(full)).map(|fault| fault.to_string());
        assert_eq!(fault.as_deref(), Some("database or disk is full: make room on its disk"));
        assert!(Fault::of(&failed(DieselError::NotFound)).is_some_and(|it| it.is_of_connection()));
        assert!(Fault::of(&broken()).is_some_and(|it| it.is_of_connection()));
    }
}

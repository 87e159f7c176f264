//! An update of TimescaleDB while connections are open.
//!
//! A database names the version of the extension that it was made for, and each connection loads the library of that
//! version. Once packages replace the library, statements fail until the database is updated too, and connections that
//! loaded the old library may fail even then. So all connections are closed as soon as one reports such a failure.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// The remedy for an operator.
const REMEDY: &str = "update the extension, as the first statement of a new connection, by \
    psql -X -c 'alter extension timescaledb update' DATABASE, or install the version again that the database names";

/// The error of a server that cannot load the version of TimescaleDB that the database names.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Outdated {
    text: String,
}

impl Outdated {
    /// The remedy without the server's text, for every caller who may request its health.
    pub(super) const ADVICE: &str = "TimescaleDB was updated, and the database was not: run `alter extension timescaledb update` in it";

    /// Recognizes an error of the server by the name of the library, which is the same in every language.
    pub(super) fn of(err: &DieselError) -> Option<Self> {
        let DieselError::DatabaseError(kind, info) = err else { return None };
        let message = info.message();
        let is_meant =
            matches!(kind, DatabaseErrorKind::Unknown | DatabaseErrorKind::ClosedConnection)
                && is_about_library(message);
        let told =
            || format!("TimescaleDB was updated, and this database was not ({message}): {REMEDY}");
        is_meant.then(|| Self { text: told() })
    }

    /// Recognizes an error that [`of`](Self::of) returned, after the pool has converted it to text.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        text.ends_with(REMEDY).then(|| Self { text: text.to_owned() })
    }
}

/// Whether a message is about a TimescaleDB library that is missing or has another version.
fn is_about_library(message: &str) -> bool {
    message.contains("$libdir/timescaledb")
        || message.contains("/timescaledb-")
        || (message.contains("\"timescaledb\"") && message.contains("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: DatabaseErrorKind, message: &str) -> Option<String> {
        let err = DieselError::DatabaseError(kind, Box::new(message.to_owned()));
        Outdated::of(&err).map(|outdated| outdated.to_string())
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
    fn other_errors_are_not() {
        for message in [
            "could not access file \"pg_wal\"",
            "relation \"timescaledb\" does not exist",
            "disk full",
        ] {
            assert_eq!(of(DatabaseErrorKind::Unknown, message), None);
        }
        let library = "could not access file \"$libdir/timescaledb-2.19.2\"";
        assert_eq!(of(DatabaseErrorKind::UniqueViolation, library), None);
        assert!(Outdated::of(&DieselError::NotFound).is_none());
        assert!(Outdated::of_text(library).is_none());
    }
}

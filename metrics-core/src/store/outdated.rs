//! An update of TimescaleDB while connections are open.
//!
//! A database names the version of the extension that it was made for, and each connection loads the library of that
//! version. Once packages replace the library, statements fail until the database is updated too, and connections that
//! loaded the old library may fail even then. So all connections are closed as soon as one reports such a failure.

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

    /// The error with this message of the server.
    pub(super) fn new(message: &str) -> Self {
        let text =
            format!("TimescaleDB was updated, and this database was not ({message}): {REMEDY}");
        Self { text }
    }

    /// Restores an error from its own text, to which the pool has converted it.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        text.ends_with(REMEDY).then(|| Self { text: text.to_owned() })
    }
}

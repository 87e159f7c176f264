//! The limit on open files, which bounds the number of connections.
//!
//! A process without free file descriptors can neither accept connections nor reconnect to its database. So connections
//! of clients never use all of them.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of files reserved for other uses than connections of clients and to the database: SQLite has some thirty,
/// the runtime and the log a few, and 128 connections beyond the limit are served for health checks.
const KEPT: u64 = 200;

/// The minimum number of connections. A server with fewer does not start.
const LEAST: usize = 16;

/// The number of connections below which the server logs a warning: enough for a site with some thousand viewers a day.
pub(super) const USEFUL: usize = 1_000;

/// The remedy for an operator.
pub(super) const REMEDY: &str = "raise the limit, with `ulimit -n 65536` before the start, or LimitNOFILE=65536 in a systemd unit";

/// Raises the limit on open files for this number of connections, as far as the system allows, and returns the number
/// of connections that the limit permits.
///
/// Many systems limit a process to 1,024 open files unless it raises the limit.
///
/// # Errors
///
/// The system refuses to raise the limit, or the limit is too low to serve at all.
pub(super) fn raise_limit(connections: usize, to_database: u32) -> io::Result<usize> {
    let kept = KEPT + u64::from(to_database);
    let wanted = kept.saturating_add(connections as u64);
    let limit = getrlimit(Resource::Nofile);
    // None: there is no limit.
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return Ok(connections);
    };
    let most = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current < most {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })?;
    }
    let files = most.max(current);
    let available = usize::try_from(files.saturating_sub(kept)).unwrap_or(usize::MAX);
    if available < LEAST.min(connections) {
        let least = kept.saturating_add(LEAST as u64);
        return Err(io::Error::other(format!(
            "the limit of open files is {files}, and the server needs {least}: {REMEDY}"
        )));
    }
    Ok(available)
}

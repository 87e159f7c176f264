//! Open files, of which every connection is one.
//!
//! A process that has none left cannot accept connections, and cannot reach its database again either. So connections
//! never take all of them, whatever strangers open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many files are for other things than connections of clients and to the database: SQLite has some thirty, the
/// runtime and the log a few, and 128 connections beyond the limit are answered about the health of the server.
const KEPT: u64 = 200;

/// The fewest connections that a server is of use with. With fewer, it does not start.
const LEAST: usize = 16;

/// For how many connections there must be room if the log is not to warn: a site with some thousand visitors a day.
pub(super) const USEFUL: usize = 1_000;

/// What an operator does about it.
pub(super) const REMEDY: &str = "raise the limit, with `ulimit -n 65536` before the start, or LimitNOFILE=65536 in a systemd unit";

/// Makes room for so many connections, as far as the system allows, and returns for how many there is.
///
/// Many systems let a process have 1,024 open files unless it asks for more.
///
/// # Errors
///
/// The system does not let it ask, or lets it open too few files to serve anybody.
pub(super) fn make_room(connections: usize, to_database: u32) -> io::Result<usize> {
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
    let room = usize::try_from(files.saturating_sub(kept)).unwrap_or(usize::MAX);
    if room < LEAST.min(connections) {
        let least = kept.saturating_add(LEAST as u64);
        return Err(io::Error::other(format!(
            "the system lets this process open {files} files, and it needs {least}: {REMEDY}"
        )));
    }
    Ok(room)
}

//! The country of an address, from a database file that the operator provides.
//!
//! An address is looked up in memory and is not kept. The file is read again when it was replaced.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use maxminddb::{MaxMindDbError, PathElement, Reader};
use metrics_core::arrival::ArrivalPart;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// The largest database file, in bytes: it is held in memory, and twice while it is read again. Databases of countries
/// have some 10 MB, those of cities 60 MB.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How often the file may be looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The places of the country in a record: in databases of MaxMind and those like them, and in flat ones.
const PLACES: [&[PathElement<'static>]; 2] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
];

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGeo {
    /// The file cannot be read.
    #[error("{} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file is damaged, or another kind of file.
    #[error("{} is no database in the MaxMind DB format, or is damaged: download it again", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The reason.
        #[source]
        source: MaxMindDbError,
    },
}

/// The time of the last change of a file, and its length.
type Stamp = (SystemTime, u64);

type Database = Reader<Vec<u8>>;

/// A database of the countries of addresses, in the MaxMind DB format (`.mmdb`).
pub struct Geo {
    file: PathBuf,
    state: Mutex<State>,
}

struct State {
    database: Arc<Database>,
    // Of the file that was read, or could not be read, last.
    seen: Option<Stamp>,
    looked_at: Instant,
}

impl Geo {
    /// Reads a file, of at most 256 MiB. It is read again when it was replaced; if that fails, the database that was read
    /// before stays in use.
    ///
    /// # Errors
    ///
    /// [`InvalidGeo`] if the file cannot be read, or is no such database.
    pub fn open(file: impl Into<PathBuf>) -> Result<Self, InvalidGeo> {
        let file = file.into();
        let (seen, database) = read(&file)?;
        let (database, seen) = (Arc::new(database), Some(seen));
        Ok(Self { file, state: Mutex::new(State { database, seen, looked_at: Instant::now() }) })
    }

    /// Returns the country of an address, if the database has one.
    pub(crate) fn country(&self, address: IpAddr) -> Option<String> {
        let database = Arc::clone(&self.state().database);
        country(&database, address)
    }

    /// Looks at the file, at most every ten seconds, and reads it again if it was replaced.
    pub(crate) async fn look(&self) {
        let now = Instant::now();
        let seen = {
            let mut state = self.state();
            if now.duration_since(state.looked_at) < LOOK_EVERY {
                return;
            }
            state.looked_at = now;
            state.seen
        };
        let path = self.file.clone();
        let read_again = move || {
            let stamp = fs::metadata(&path).and_then(|meta| stamp(&meta)).ok();
            (stamp != seen).then(|| (stamp, read(&path)))
        };
        let Ok(Some((stamp, changed))) = spawn_blocking(read_again).await else { return };
        let mut state = self.state();
        match changed {
            Ok((stamp, database)) => {
                tracing::info!("read the database of countries again");
                state.database = Arc::new(database);
                state.seen = Some(stamp);
            }
            Err(err) => {
                tracing::error!(
                    error = &err as &dyn std::error::Error,
                    "the database of countries cannot be read again: the one that was read before stays in use"
                );
                state.seen = stamp;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Geo").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Looks an address up. A damaged record counts as none: no viewer is refused for it.
fn country(database: &Database, address: IpAddr) -> Option<String> {
    let record = database.lookup(address.to_canonical()).ok()?;
    let code = |place: &[_]| record.decode_path::<&str>(place).ok().flatten();
    ArrivalPart::Country.reduce(PLACES.into_iter().find_map(code)?)
}

/// The country of an address in the bytes of a database file.
#[cfg(any(fuzzing, test))]
pub(crate) fn country_in(bytes: Vec<u8>, address: IpAddr) -> Option<String> {
    country(&Reader::from_source(bytes).ok()?, address)
}

fn stamp(meta: &fs::Metadata) -> io::Result<Stamp> {
    Ok((meta.modified()?, meta.len()))
}

/// Reads a database, with the time of its last change.
fn read(path: &Path) -> Result<(Stamp, Database), InvalidGeo> {
    let reading = || {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if FILE_BYTES_MAX < meta.len() {
            return Err(io::Error::other("it has more than 256 MiB"));
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        let stamp = stamp(&meta)?;
        Ok((stamp, bytes))
    };
    let unreadable = |source| InvalidGeo::Unreadable { file: path.to_owned(), source };
    let damaged = |source| InvalidGeo::Damaged { file: path.to_owned(), source };
    let (stamp, bytes) = reading().map_err(unreadable)?;
    Ok((stamp, Reader::from_source(bytes).map_err(damaged)?))
}

#[cfg(test)]
mod tests;

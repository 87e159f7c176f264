//! A database of its own for every test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics_core::conformance::Intercepted;
use metrics_core::store::{SqliteStore, Store, TimescaleStore};
use tempfile::TempDir;

use crate::own_runtime::{OwnRuntime, on_own_runtime};
use crate::server::ServerDatabase;

/// The kind of database of a test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backend {
    /// A file.
    Sqlite,
    /// The server at `METRICS_TEST_TIMESCALE_URL`, with TimescaleDB.
    Timescale,
    /// The server at `METRICS_TEST_POSTGRES_URL`, without.
    Postgres,
}

impl Backend {
    /// All backends.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Timescale, Self::Postgres];

    /// Returns the backend that `METRICS_TEST_STORE` names, SQLite by default: for tests that run once per store.
    #[must_use]
    pub fn of_this_run() -> Self {
        let named = std::env::var_os("METRICS_TEST_STORE").unwrap_or_else(|| "sqlite".into());
        match named.to_str() {
            Some("sqlite") => Self::Sqlite,
            Some("timescale") => Self::Timescale,
            Some("postgres") => Self::Postgres,
            _ => panic!("METRICS_TEST_STORE is {named:?} and not sqlite, timescale or postgres"),
        }
    }
}

/// An empty database that is deleted when this is dropped.
#[derive(Debug)]
pub struct Database {
    location: Location,
}

#[derive(Debug)]
enum Location {
    Directory(TempDir),
    Server(ServerDatabase),
}

impl Database {
    /// Creates a database.
    pub async fn new(backend: Backend) -> Self {
        let location = match backend {
            Backend::Sqlite => Location::Directory(directory()),
            Backend::Timescale => {
                Location::Server(ServerDatabase::on("METRICS_TEST_TIMESCALE_URL").await)
            }
            Backend::Postgres => {
                Location::Server(ServerDatabase::on("METRICS_TEST_POSTGRES_URL").await)
            }
        };
        Self { location }
    }

    /// Creates a database on the server at this URL instead of the server that all tests share.
    pub async fn on(server: &str) -> Self {
        Self {
            location: Location::Server(
                ServerDatabase::new(server.parse().expect("an address")).await,
            ),
        }
    }

    /// Returns the URL, in the form of `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.location {
            Location::Directory(directory) => format!("sqlite:{}", file(directory).display()),
            Location::Server(server) => server.url().into(),
        }
    }

    /// Opens another handle, independent of all others. Its calls take no time by a paused clock.
    pub async fn open(&self) -> Arc<dyn Store> {
        match &self.location {
            Location::Directory(directory) => {
                let opened = SqliteStore::open(file(directory)).await;
                Arc::new(opened.expect("the file is opened"))
            }
            Location::Server(server) => {
                let url = server.url();
                let opened =
                    on_own_runtime(async move { TimescaleStore::connect(url.as_str()).await });
                let store = opened.await.expect("the database is opened");
                Arc::new(Intercepted::by(OwnRuntime, Arc::new(store)))
            }
        }
    }

    /// Copies the database in its current state, as after a crash.
    pub async fn copy(&self) -> Self {
        match &self.location {
            Location::Directory(from) => {
                let to = directory();
                copy_files(from.path(), to.path());
                Self { location: Location::Directory(to) }
            }
            Location::Server(from) => {
                let copy = Self { location: Location::Server(from.sibling().await) };
                // Creates the tables.
                drop(copy.open().await);
                if let Location::Server(to) = &copy.location {
                    to.fill(from.rows().await).await;
                }
                copy
            }
        }
    }

    /// Whether `text` is anywhere in the database: in a file, or in a row of a table, also among bytes.
    pub async fn contains(&self, text: &str) -> bool {
        match &self.location {
            Location::Directory(directory) => files(directory.path()).any(|path| {
                let bytes = fs::read(path).expect("a file that can be read");
                bytes.windows(text.len()).any(|window| window == text.as_bytes())
            }),
            Location::Server(server) => {
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                let rows = server.rows().await;
                rows.values().flatten().any(|row| row.contains(text) || row.contains(&hex))
            }
        }
    }
}

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("metrics.db")
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let files = fs::read_dir(directory).expect("a directory");
    files.map(|file| file.expect("a file").path())
}

fn copy_files(from: &Path, to: &Path) {
    for path in files(from) {
        let name = path.file_name().expect("a file has a name");
        // SQLite rebuilds the third file, `-shm`, from the log: it is only an index.
        if !name.to_string_lossy().ends_with("-shm") {
            fs::copy(&path, to.join(name)).expect("a file that can be read");
        }
    }
}

//! A server under load, with a database of its own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use metrics_testing::Database;
use tempfile::TempDir;

use crate::drive::{Load, Outcome};
use crate::process::Server;
use crate::verify::{check, new_key, reported};

/// A server process with its database.
#[derive(Debug)]
pub struct Target {
    // The first field, so that the server has ended when its database is dropped.
    server: Server,
    database: TestDatabase,
    key: String,
}

/// The database of the server, deleted when this is dropped.
#[derive(Debug)]
enum TestDatabase {
    Nowhere,
    Directory(TempDir),
    Database(Database),
}

impl Target {
    /// Starts a server with an empty database: `sqlite` in the directory `disk`, or on the PostgreSQL server at the URL
    /// `store`. A server without a store is assumed to count nothing.
    ///
    /// # Errors
    ///
    /// The server does not start.
    pub async fn start(binary: &Path, store: Option<&str>, disk: &Path) -> io::Result<Self> {
        let (database, url) = match store {
            None => (TestDatabase::Nowhere, None),
            Some("sqlite") => {
                let directory = tempfile::tempdir_in(disk)?;
                let url = format!("sqlite:{}", directory.path().join("metrics.db").display());
                (TestDatabase::Directory(directory), Some(url))
            }
            Some(server) => {
                let database = Database::on(server).await;
                let url = database.url();
                (TestDatabase::Database(database), Some(url))
            }
        };
        let server = Server::start(binary, url.as_deref()).await?;
        let key = if url.is_some() { new_key(server.address()).await? } else { String::new() };
        Ok(Self { server, database, key })
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Returns a key of the server.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the server counts the events that it receives.
    #[must_use]
    pub fn counts(&self) -> bool {
        !matches!(self.database, TestDatabase::Nowhere)
    }

    /// Stops the server, and deletes its database.
    ///
    /// # Errors
    ///
    /// The server ends with an error.
    pub async fn stop(self) -> io::Result<()> {
        let counts = self.counts();
        let status = self.server.stop().await?;
        if counts && !status.success() {
            return Err(io::Error::other(format!("the server ended with {status}")));
        }
        match self.database {
            TestDatabase::Nowhere => Ok(()),
            TestDatabase::Directory(directory) => directory.close(),
            // Dropping it deletes it on the server.
            TestDatabase::Database(database) => {
                drop(database);
                Ok(())
            }
        }
    }
}

/// Puts a server under load. If it `counts`, its reports must equal the events that were sent.
///
/// # Errors
///
/// An event was not acknowledged, or a count is wrong.
pub async fn drive(load: &Load, counts: bool) -> io::Result<Outcome> {
    if !counts {
        return load.run().await;
    }
    let before = reported(load.server, &load.key).await?;
    let outcome = load.run().await?;
    check(&before, &outcome.tally, &reported(load.server, &load.key).await?)?;
    Ok(outcome)
}

//! A server under load, with a database of its own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use metrics_testing::Database;
use tempfile::TempDir;

use crate::drive::{Load, Outcome};
use crate::process::Server;
use crate::verify::{check, new_key, reported};

/// A server that was started here.
#[derive(Debug)]
pub struct Target {
    // First of all, so that it has ended when its database goes.
    server: Server,
    place: Place,
    key: String,
}

/// Where it keeps sessions; gone when this is dropped.
#[derive(Debug)]
enum Place {
    Nowhere,
    Directory(TempDir),
    Database(Database),
}

impl Target {
    /// Starts a server with an empty database: `sqlite` in the directory `disk`, or on the PostgreSQL server that
    /// `store` is the address of. Without a store it is taken for one that keeps nothing.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start(binary: &Path, store: Option<&str>, disk: &Path) -> io::Result<Self> {
        let (place, url) = match store {
            None => (Place::Nowhere, None),
            Some("sqlite") => {
                let directory = tempfile::tempdir_in(disk)?;
                let url = format!("sqlite:{}", directory.path().join("metrics.db").display());
                (Place::Directory(directory), Some(url))
            }
            Some(server) => {
                let database = Database::on(server).await;
                let url = database.url();
                (Place::Database(database), Some(url))
            }
        };
        let server = Server::start(binary, url.as_deref()).await?;
        let key = if url.is_some() { new_key(server.address()).await? } else { String::new() };
        Ok(Self { server, place, key })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// A key of it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it counts what it is sent.
    #[must_use]
    pub fn counts(&self) -> bool {
        !matches!(self.place, Place::Nowhere)
    }

    /// Stops it, and removes its database.
    ///
    /// # Errors
    ///
    /// It does not end as it should.
    pub async fn stop(self) -> io::Result<()> {
        let counts = self.counts();
        let status = self.server.stop().await?;
        if counts && !status.success() {
            return Err(io::Error::other(format!("the server ended with {status}")));
        }
        match self.place {
            Place::Nowhere => Ok(()),
            Place::Directory(directory) => directory.close(),
            // Drops it on the server.
            Place::Database(database) => {
                drop(database);
                Ok(())
            }
        }
    }
}

/// Puts a server under load. If it `counts`, what it reports must be what it was sent.
///
/// # Errors
///
/// Something was not acknowledged, or counted wrong.
pub async fn drive(load: &Load, counts: bool) -> io::Result<Outcome> {
    if !counts {
        return load.run().await;
    }
    let before = reported(load.server, &load.key).await?;
    let outcome = load.run().await?;
    check(&before, &outcome.tally, &reported(load.server, &load.key).await?)?;
    Ok(outcome)
}

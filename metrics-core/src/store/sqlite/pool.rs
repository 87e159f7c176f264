//! Connections that read, each lent to one caller at a time.

use std::sync::{Arc, PoisonError};

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::STORE;
use super::files::OpenFiles;
use crate::store::Error;

/// Connections that read, each lent to one borrower at a time.
pub(super) struct Readers {
    idle: std::sync::Mutex<Vec<SqliteConnection>>,
    // Number of connections that stay open.
    idle_max: usize,
    // One permit per connection that may be lent.
    pub(super) permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(idle: Vec<SqliteConnection>, connections_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections_max));
        Arc::new(Self { idle_max: idle.len(), idle: idle.into(), permits })
    }

    /// Lends a connection, and opens one if every open one is lent.
    pub(super) async fn acquire(self: &Arc<Self>, files: &Arc<OpenFiles>) -> Result<Reader, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit =
            permit.map_err(|err| Error::Unavailable { store: STORE, source: err.into() })?;
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let files = Arc::clone(files);
                let opened = tokio::task::spawn_blocking(move || files.reader()).await;
                opened.map_err(|err| Error::Unavailable { store: STORE, source: err.into() })??
            }
        };
        Ok(Reader { connection: Some(connection), home: Arc::clone(self), _permit: permit })
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lent connection, which returns to its pool on drop.
pub(super) struct Reader {
    // `Some` until then.
    connection: Option<SqliteConnection>,
    home: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    pub(super) fn connection(&mut self) -> QueryResult<&mut SqliteConnection> {
        self.connection.as_mut().ok_or(DieselError::BrokenTransactionManager)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut idle = self.home.lock();
        if idle.len() < self.home.idle_max {
            idle.extend(self.connection.take());
        }
    }
}

//! A store in TimescaleDB or plain PostgreSQL, for databases that outgrow one file.
//!
//! Recording and reports have connections of their own, so that neither waits for the other; one more listens for
//! changed keys. Features of TimescaleDB beyond PostgreSQL are detected at the start and used; they change no answer.

mod blocks;
mod chain;
mod closed;
mod columns;
mod commit;
mod connect;
mod convert;
mod error;
mod ids;
mod keys;
mod listen;
mod messages;
mod open;
mod operations;
mod options;
mod pool;
mod prepared;
mod read;
mod rewrite;
mod schema;
mod snapshot;
mod tls;
mod tokens;
mod totals;
mod types;
mod unused;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::connect::{Purpose, Target, target};
use self::error::{is_outdated, unusable};
use self::ids::Ids;
use self::listen::{Listening, listen};
use self::open::Edition;
use self::options::{LISTENING, RECORDING};
use self::pool::{ConnectionPool, Query};
use self::unused::Examined;
use super::Error;
use super::common::STATEMENT_MAX;

#[cfg(feature = "mave")]
pub(crate) use self::connect::connect_to_other;
pub use self::options::TimescaleOptions;

/// Time limit of a statement that records. It may wait for a lock, but not for ever.
const COMMIT_MAX: Duration = Duration::from_secs(60);

/// Time limit of the search for unused pages: it reads one column of all closed sessions.
const EXAMINE_MAX: Duration = Duration::from_secs(3_600);

/// Number of connections for that search, each closed after it.
const EXAMINING: u32 = 1;

/// A store in a TimescaleDB or a plain PostgreSQL, 14 or later.
///
/// Any number of instances may use one database. All tables are in the schema `metrics`.
///
/// ```no_run
/// # async fn example() -> Result<(), metrics_core::store::Error> {
/// use metrics_core::Metrics;
/// use metrics_core::store::TimescaleStore;
///
/// let store = TimescaleStore::connect("postgres://metrics:secret@db.example.com/metrics").await?;
/// let metrics = Metrics::new(store);
/// # Ok(())
/// # }
/// ```
pub struct TimescaleStore {
    target: Target,
    edition: Edition,
    recording: ConnectionPool,
    reports: ConnectionPool,
    upkeep: ConnectionPool,
    ids: Arc<Ids>,
    listening: watch::Receiver<Listening>,
    listener: AbortHandle,
}

impl TimescaleStore {
    /// Connects to the database at `url`, and brings its tables up to date.
    ///
    /// The URL is `postgres://user:password@host:port/database`, with these parameters of libpq behind a `?`: `sslmode`
    /// (`disable`, `prefer`, `require`, `verify-full`), `sslrootcert`, `channel_binding`, `application_name`,
    /// `connect_timeout` and `target_session_attrs`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the server cannot be reached. [`Error::Unusable`], with a remedy, if the server
    /// refuses the user, lacks a right, is read-only or too old, or a newer version has changed its tables.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::connect_with(url, TimescaleOptions::default()).await
    }

    /// Connects to the database at `url` with `options`.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), and [`Error::Unusable`] if there are too few connections.
    pub async fn connect_with(url: &str, options: TimescaleOptions) -> Result<Self, Error> {
        let reports =
            options.connections.checked_sub(RECORDING + LISTENING).filter(|some| 0 < *some);
        let reports = reports.ok_or_else(|| {
            let least = TimescaleOptions::CONNECTIONS_MIN;
            unusable(format!(
                "{} connections are too few: at least {least} are required",
                options.connections
            ))
        })?;
        let target = target(url).await?;
        let edition = open::prepare(&target, options.migrations).await?;
        let (state, listening) = watch::channel(Listening::default());
        let listener = tokio::spawn(listen(target.clone(), state)).abort_handle();
        Ok(Self {
            recording: ConnectionPool::new(&target, Purpose::Recording, COMMIT_MAX, RECORDING)?,
            reports: ConnectionPool::new(&target, Purpose::Reports, STATEMENT_MAX, reports)?,
            upkeep: ConnectionPool::new(&target, Purpose::Upkeep, EXAMINE_MAX, EXAMINING)?,
            target,
            edition,
            ids: Arc::default(),
            listening,
            listener,
        })
    }

    async fn report<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl Query<T>,
    ) -> Result<T, Error> {
        let done = self.reports.run(&self.target, operation, query).await;
        done.inspect_err(|err| self.close_outdated(err))
    }

    async fn record<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl Query<T>,
    ) -> Result<T, Error> {
        let done = self.recording.run(&self.target, operation, query).await;
        done.inspect_err(|err| self.close_outdated(err))
    }

    /// Deletes videos without sessions, at most `limit`.
    async fn delete_unused_videos(&self, limit: u32) -> Result<u64, Error> {
        let found = self
            .report("find unused videos", move |connection| {
                unused::find_videos(connection, limit).boxed()
            })
            .await?;
        if found.is_empty() {
            return Ok(0);
        }
        let ids = Arc::clone(&self.ids);
        self.record("delete unused videos", move |connection| {
            async move {
                let deleted = unused::delete_videos(connection, &found).await;
                ids.clear();
                deleted
            }
            .boxed()
        })
        .await
    }

    /// Examines pages that may have no session, on a connection that is closed afterwards.
    async fn examine_pages(&self, after: i64) -> Result<Examined, Error> {
        let examined = self
            .upkeep
            .run(&self.target, "find unused pages", move |connection| {
                unused::examine(connection, after).boxed()
            })
            .await;
        self.upkeep.pool.retain(|_, _| false);
        examined.inspect_err(|err| self.close_outdated(err))
    }

    /// Closes connections that may have loaded a library that was replaced. Those in use are closed when they fail.
    fn close_outdated(&self, err: &Error) {
        if is_outdated(err) {
            for pool in [&self.recording, &self.reports, &self.upkeep] {
                pool.pool.retain(|_, _| false);
            }
        }
    }
}

impl Drop for TimescaleStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl fmt::Debug for TimescaleStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimescaleStore")
            .field("target", &self.target)
            .field("edition", &self.edition)
            .finish_non_exhaustive()
    }
}

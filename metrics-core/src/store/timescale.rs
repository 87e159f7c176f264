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
mod ids;
mod keys;
mod open;
mod prepared;
mod read;
mod rewrite;
mod schema;
mod snapshot;
mod tls;
mod totals;
mod types;
mod unused;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::BigInt;
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError as PoolBackend, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::chain::chain;
use self::connect::{Purpose, Target};
use self::ids::Ids;
use self::open::Edition;
use self::snapshot::TimescaleSnapshot;
use self::types::{timestamp, unix_ms};
use self::unused::Examined;
use super::common::STATEMENT_MAX;
use super::failure::Failure;
use super::outdated::Outdated;
use super::{
    Cause, Error, Found, Instance, KEYS_POLL, KeyChange, KeyId, KeyRecord, KnownVideo, Migrations,
    OpenSession, Outcome, Rewrite, SessionWrite, Snapshot, Store, Unused, VideoId,
};
use crate::key::{ApiKey, SessionId};
use crate::query::instant;
use crate::video::Video;

const STORE: &str = "TimescaleDB";

/// Time limit of a statement that records. It may wait for a lock, but not for ever.
const COMMIT_MAX: Duration = Duration::from_secs(60);

/// How much longer than its own limit the server may take before the connection is closed.
const GRACE: Duration = Duration::from_secs(10);

/// Number of connections for recording: one commits, one reads keys, one notes that this instance is alive.
const RECORDING: u32 = 3;

/// Time limit of the search for unused pages: it reads one column of all closed sessions.
const EXAMINE_MAX: Duration = Duration::from_secs(3_600);

/// Number of connections for that search, each closed after it.
const EXAMINING: u32 = 1;

/// Number of connections that listen for changed keys.
const LISTENING: u32 = 1;

/// The period in which keys are read without a notification, in case one was lost.
const KEYS_LOOK: Duration = Duration::from_secs(10);

/// The delay before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Options of a [`TimescaleStore`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TimescaleOptions {
    /// The largest number of connections, at least [`CONNECTIONS_MIN`](Self::CONNECTIONS_MIN). All but four are for
    /// reports. One more is open during the search for pages without sessions, after sessions were deleted.
    pub connections: u32,
    /// The treatment of tables that are not up to date.
    pub migrations: Migrations,
}

impl TimescaleOptions {
    /// The smallest number of connections.
    pub const CONNECTIONS_MIN: u32 = RECORDING + LISTENING + 1;

    /// Sets the largest number of connections.
    #[must_use]
    pub const fn with_connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// Sets the treatment of tables that are not up to date.
    #[must_use]
    pub const fn with_migrations(mut self, migrations: Migrations) -> Self {
        self.migrations = migrations;
        self
    }
}

impl Default for TimescaleOptions {
    fn default() -> Self {
        Self { connections: 10, migrations: Migrations::default() }
    }
}

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
    recording: Lane,
    reports: Lane,
    upkeep: Lane,
    ids: Arc<Ids>,
    news: watch::Receiver<News>,
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
        let (tell, news) = watch::channel(News::default());
        let listener = tokio::spawn(listen(target.clone(), tell)).abort_handle();
        Ok(Self {
            recording: Lane::new(&target, Purpose::Recording, COMMIT_MAX, RECORDING)?,
            reports: Lane::new(&target, Purpose::Reports, STATEMENT_MAX, reports)?,
            upkeep: Lane::new(&target, Purpose::Upkeep, EXAMINE_MAX, EXAMINING)?,
            target,
            edition,
            ids: Arc::default(),
            news,
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
            for lane in [&self.recording, &self.reports, &self.upkeep] {
                lane.pool.retain(|_, _| false);
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

/// A connection to a database that is not a store, with all parameters of a store's URL. Errors call it a TimescaleDB.
pub(crate) async fn connect_elsewhere(url: &str) -> Result<AsyncPgConnection, Error> {
    target(url).await?.connect(Purpose::Elsewhere).await
}

async fn target(url: &str) -> Result<Target, Error> {
    let url = url.to_owned();
    // Reads certificate files, which blocks.
    tokio::task::spawn_blocking(move || Target::parse(&url))
        .await
        .map_err(|panic| unusable(panic.to_string()))?
}

/// A query or transaction on a connection.
trait Query<T>:
    for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static
{
}

impl<T, F> Query<T> for F where
    F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T, Failure>>
        + Send
        + 'static
{
}

/// A pool of connections for one purpose.
struct Lane {
    pool: Pool<AsyncPgConnection>,
    purpose: Purpose,
    statement_max: Duration,
}

impl Lane {
    fn new(
        target: &Target,
        purpose: Purpose,
        statement_max: Duration,
        connections: u32,
    ) -> Result<Self, Error> {
        let target = target.clone();
        let mut config = ManagerConfig::default();
        // Lost connections are detected anyway; a test on each use would cost a round trip.
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |_| {
            let target = target.clone();
            async move {
                let connecting = target.connect(purpose).await;
                connecting.map_err(|err| ConnectionError::BadConnection(why(&err)))
            }
            .boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), config);
        let pool = Pool::builder(manager).max_size(connections as usize).build();
        let pool = pool.map_err(|err| unusable(err.to_string()))?;
        Ok(Self { pool, purpose, statement_max })
    }

    /// Waits for a free connection.
    async fn get(&self) -> Result<Object<AsyncPgConnection>, Error> {
        match timeout(self.statement_max, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            // The text of `err` includes its causes.
            Ok(Err(PoolError::Backend(err))) => Err(match &err {
                // `custom_setup` made this text.
                PoolBackend::ConnectionError(ConnectionError::BadConnection(text)) => {
                    Outdated::of_text(text)
                        .map_or_else(|| unavailable(err.to_string()), unavailable)
                }
                _ => unavailable(err.to_string()),
            }),
            Ok(Err(err)) => Err(unavailable(err)),
            Err(_) => {
                let busy = format!("no connection was free within {:?}", self.statement_max);
                Err(unavailable(busy))
            }
        }
    }

    /// Runs `query` on a connection, on a task of its own. If this future is dropped, a report is cancelled; all other
    /// queries run to their end, because a transaction that is left open half way would spoil its connection.
    async fn run<T: Send + 'static>(
        &self,
        target: &Target,
        operation: &'static str,
        query: impl Query<T>,
    ) -> Result<T, Error> {
        let connection = self.get().await?;
        let (answer, answered) = oneshot::channel();
        // Only recording changes anything.
        let is_report = self.purpose != Purpose::Recording;
        let limit = self.statement_max + GRACE;
        let began = Instant::now();
        tokio::spawn(to_its_end(connection, target.clone(), is_report, limit, query, answer));
        let answer = answered.await.map_err(|_| unavailable("it does not answer"))?;
        let late = is_report && self.statement_max <= began.elapsed();
        answer.map_err(|failure| {
            // The driver reports only in the server's language why a statement was ended.
            let ended = late && matches!(failure, Failure::Diesel(_));
            let failure = if ended { Failure::TooLong } else { failure };
            put(failure, operation, self.statement_max)
        })
    }
}

/// The reason why there is no connection, without the text that is common to all errors.
fn why(err: &Error) -> String {
    match err {
        Error::Unusable { reason, .. } => reason.clone(),
        Error::Unavailable { source, .. } => chain(&**source),
        other => chain(other),
    }
}

/// Runs a query within `limit` and sends its result. A report is cancelled if its caller is gone.
async fn to_its_end<T>(
    mut connection: Object<AsyncPgConnection>,
    target: Target,
    is_report: bool,
    limit: Duration,
    query: impl Query<T>,
    mut answer: oneshot::Sender<Result<T, Failure>>,
) {
    let token = connection.cancel_token();
    let done = tokio::select! {
        done = timeout(limit, query(&mut connection)) => done.ok(),
        () = answer.closed(), if is_report => None,
    };
    if let Some(done) = done {
        // Before sending, so that the caller finds the connection free.
        drop(connection);
        // Fails if the caller is gone.
        let _ = answer.send(done);
    } else {
        drop(Object::take(connection));
        target.cancel(token).await;
    }
}

/// The state of the listening connection.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// Increases whenever keys may have changed.
    number: u64,
    listening: bool,
}

/// Listens for changed keys until the store is dropped.
async fn listen(target: Target, tell: watch::Sender<News>) {
    let heard = |listening| {
        tell.send_modify(|news| {
            news.number += 1;
            news.listening = listening;
        });
    };
    loop {
        if let Ok(mut connection) = target.connect(Purpose::Upkeep).await
            && connection.batch_execute("listen metrics_keys").await.is_ok()
        {
            // Also the first time: PostgreSQL does not report earlier changes.
            heard(true);
            let mut notifications = std::pin::pin!(connection.notifications_stream());
            while let Some(Ok(_)) = notifications.next().await {
                heard(true);
            }
            heard(false);
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

#[async_trait]
impl Store for TimescaleStore {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.record("list keys", |connection| keys::list(connection).boxed()).await
    }

    async fn add_key(&self, record: &KeyRecord) -> Result<bool, Error> {
        let record = record.clone();
        self.record("add a key", move |connection| {
            async move { keys::add(connection, &record).await }.boxed()
        })
        .await
    }

    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        let (key, change) = (key.clone(), change.clone());
        self.record("change a key", move |connection| {
            async move { keys::change(connection, &key, &change).await }.boxed()
        })
        .await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Found>>, Error> {
        let ids = ids.to_vec();
        self.record("load sessions", move |connection| {
            async move { read::load(connection, &ids).await }.boxed()
        })
        .await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        let ids = Arc::clone(&self.ids);
        self.record("commit sessions", move |connection| {
            async move {
                let written = commit::sessions(connection, &ids, &writes).await;
                if written.is_err() {
                    ids.clear();
                }
                written
            }
            .boxed()
        })
        .await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        let videos = videos.to_vec();
        self.record("look up videos", move |connection| {
            async move { ids::known_videos(connection, &videos).await }.boxed()
        })
        .await
    }

    async fn count_videos(&self, keys: &[ApiKey]) -> Result<Vec<u64>, Error> {
        let keys = keys.to_vec();
        self.report("count videos", move |connection| {
            async move { ids::count_videos(connection, &keys).await }.boxed()
        })
        .await
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<(KeyId, VideoId)>, Error> {
        let (ids, videos) = (Arc::clone(&self.ids), videos.to_vec());
        self.record("add videos", move |connection| {
            async move { ids::add_videos(connection, &ids, &videos).await }.boxed()
        })
        .await
    }

    async fn quiet(
        &self,
        quiet_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        self.record("list quiet sessions", move |connection| {
            read::quiet(connection, quiet_since, limit).boxed()
        })
        .await
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Outcome, Error> {
        let ids = Arc::clone(&self.ids);
        self.record("rewrite blocks", move |connection| {
            async move {
                let done = rewrite::run(connection, &rewrite).await;
                if !rewrite.import_after.is_empty() && !matches!(done, Ok(Outcome::Written)) {
                    // Another instance may have deleted videos whose ids are cached here.
                    ids.clear();
                }
                done
            }
            .boxed()
        })
        .await
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
        let schema = self.edition.schema().map(str::to_owned);
        self.record("finalize sessions", move |connection| {
            async move {
                let finalized = closed::finalize(connection, silent_since, limit).await?;
                if let Some(schema) = schema.filter(|_| finalized == 0)
                    && let Err(err) = closed::drop_empty_chunks(connection, &schema).await
                {
                    tracing::debug!(error = &err as &dyn std::error::Error, "kept empty chunks");
                }
                Ok(finalized)
            }
            .boxed()
        })
        .await
    }

    async fn delete_unused(&self, limit: u32) -> Result<Unused, Error> {
        let videos = self.delete_unused_videos(limit).await?;
        if 0 < videos {
            // Pages are deleted once, after all videos.
            return Ok(Unused { videos, pages: 0 });
        }
        let (mut pages, mut next) = (0, Some(0));
        while let Some(after) = next {
            let examined = self.examine_pages(after).await?;
            next = examined.next;
            pages += self
                .record("delete unused pages", move |connection| {
                    async move { unused::delete_pages(connection, &examined).await }.boxed()
                })
                .await?;
        }
        Ok(Unused { videos, pages })
    }

    async fn retention_clock(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let clock = self.record("read the retention clock", |connection| {
            unused::retention_clock(connection).boxed()
        });
        Ok(clock.await?.map(|at| instant(unix_ms(at))))
    }

    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<Outcome, Error> {
        let ms = |at: DateTime<Utc>| timestamp(at.timestamp_millis());
        let (expected, at) = (expected.map(ms), ms(at));
        self.record("set the retention clock", move |connection| {
            unused::set_retention_clock(connection, expected, at).boxed()
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error> {
        let connection = self.reports.get().await?;
        let snapshot = TimescaleSnapshot::open(connection, self.target.clone()).await;
        Ok(Box::new(snapshot.inspect_err(|err| self.close_outdated(err))?))
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.record("record an instance", move |connection| {
            commit::beat(connection, instance, now).boxed()
        })
        .await
    }

    async fn keys_changed(&self, seen: u64) -> u64 {
        let mut news = self.news.clone();
        let look = if news.borrow().listening { KEYS_LOOK } else { KEYS_POLL };
        let told = timeout(look, news.wait_for(|news| news.number != seen)).await;
        let told = told.map(|news| news.map(|news| news.number));
        match told {
            Ok(Ok(number)) => number,
            // The next periodic read of the keys is due.
            Err(_) => seen,
            // The listening task has ended.
            Ok(Err(_)) => {
                tokio::time::sleep(KEYS_POLL).await;
                seen
            }
        }
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.report("count sessions", |connection| {
            async move {
                let count = diesel::dsl::sql::<BigInt>(
                    "select (select coalesce(sum(sessions), 0) from blocks)::bigint
                        + (select count(*) from open_sessions)",
                );
                let sessions: i64 = count.get_result(connection).await?;
                Ok(sessions.unsigned_abs())
            }
            .boxed()
        })
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        self.record("write", |connection| {
            async move {
                // Changes nothing, but fails if the database cannot be written.
                let touch = diesel::delete(schema::keys::table.filter(schema::keys::id.is_null()));
                touch.execute(connection).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

/// Forces custom plans for the rest of a transaction, on a connection that records: a generic plan of a search for rows
/// in SQL would scan every chunk, because it does not know when the sessions started.
async fn plan_anew(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection
        .batch_execute(
            "set local plan_cache_mode = force_custom_plan; set local enable_seqscan = on",
        )
        .await
}

fn unusable(reason: impl Into<String>) -> Error {
    Error::Unusable { store: STORE, reason: reason.into() }
}

fn unavailable(cause: impl Into<Cause>) -> Error {
    Error::Unavailable { store: STORE, source: cause.into() }
}

fn failed(operation: &'static str, err: DieselError) -> Error {
    put(Failure::Diesel(err), operation, COMMIT_MAX)
}

/// Makes an error for operators from a failure.
fn put(failure: Failure, operation: &'static str, statement_max: Duration) -> Error {
    if let Failure::Diesel(err) = &failure
        // Errors about data may quote values that clients sent.
        && may_pass(err)
        && let Some(outdated) = Outdated::of(err)
    {
        return unavailable(outdated);
    }
    failure.of(STORE, operation, statement_max, may_pass)
}

/// Whether TimescaleDB was updated while the connection was open.
fn is_outdated(err: &Error) -> bool {
    matches!(err, Error::Unavailable { source, .. } if source.is::<Outdated>())
}

/// Whether an error is temporary: caused by the state of the server, not by the request.
///
/// For most errors the driver passes on the text only, in the server's language. Data is checked before it is stored,
/// so the database has no reason to refuse it: an error that is not known to be about the data counts as temporary, and
/// the request is repeated, rather than losing sessions because a disk is full.
fn may_pass(err: &DieselError) -> bool {
    const ABOUT_DATA: [&str; 5] = ["invalid", "out of range", "exceeds", "stack depth", "Unicode"];
    match err {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, info) => {
            !ABOUT_DATA.iter().any(|text| info.message().contains(text))
        }
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation,
            _,
        ) => false,
        DieselError::DatabaseError(..)
        | DieselError::BrokenTransactionManager
        | DieselError::RollbackErrorOnCommit { .. } => true,
        _ => false,
    }
}

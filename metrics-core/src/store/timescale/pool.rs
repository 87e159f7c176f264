//! A pool of connections for each purpose, so that recording does not wait for reports.

use std::time::{Duration, Instant};

use diesel::result::ConnectionError;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError as PoolBackend, RecyclingMethod,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::chain::chain;
use super::connect::{Purpose, Target};
use super::error::{error_of, unavailable, unusable};
use crate::store::Error;
use crate::store::failure::Failure;
use crate::store::outdated::Outdated;

/// How much longer than its own limit the server may take before the connection is closed.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// A query or transaction on a connection.
pub(super) trait Query<T>:
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
pub(super) struct ConnectionPool {
    pub(super) pool: Pool<AsyncPgConnection>,
    purpose: Purpose,
    statement_max: Duration,
}

impl ConnectionPool {
    pub(super) fn new(
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
                connecting.map_err(|err| ConnectionError::BadConnection(reason_of(&err)))
            }
            .boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), config);
        let pool = Pool::builder(manager).max_size(connections as usize).build();
        let pool = pool.map_err(|err| unusable(err.to_string()))?;
        Ok(Self { pool, purpose, statement_max })
    }

    /// Waits for a free connection.
    pub(super) async fn get(&self) -> Result<Object<AsyncPgConnection>, Error> {
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
    pub(super) async fn run<T: Send + 'static>(
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
        tokio::spawn(run_to_end(connection, target.clone(), is_report, limit, query, answer));
        let answer = answered.await.map_err(|_| unavailable("it does not answer"))?;
        let late = is_report && self.statement_max <= began.elapsed();
        answer.map_err(|failure| {
            // The driver reports only in the server's language why a statement was ended.
            let ended = late && matches!(failure, Failure::Diesel(_));
            let failure = if ended { Failure::TooLong } else { failure };
            error_of(failure, operation, self.statement_max)
        })
    }
}

/// The reason why there is no connection, without the text that is common to all errors.
fn reason_of(err: &Error) -> String {
    match err {
        Error::Unusable { reason, .. } => reason.clone(),
        Error::Unavailable { source, .. } => chain(&**source),
        other => chain(other),
    }
}

/// Runs a query within `limit` and sends its result. A report is cancelled if its caller is gone.
async fn run_to_end<T>(
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

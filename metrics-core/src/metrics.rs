//! The handle for applications: records viewings and answers reports.

mod admission;
mod builder;
mod join;
mod keys;
mod reports;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::admission::Bots;
pub use self::builder::Builder;
pub use self::join::{Join, JoinError, SESSION_BYTES_MAX};
pub use self::keys::KeyChanges;
use crate::arrival::ArrivalPart;
use crate::budget::Budget;
use crate::keyring::Keyring;
use crate::quota::Quotas;
use crate::recorder::{Recorder, Spool, SpoolError, Stats, Stopped, Viewing};
use crate::session::Moment;
use crate::shutdown::{Lifeline, Shutdown};
use crate::source::PageDetail;
use crate::store::Store;
use crate::user_agent::{Classification, Classifier, Headers};

/// Video analytics over a store.
///
/// Cheap to clone: all clones share one instance. Its tasks run until all clones and all [`Viewing`]s are dropped: the
/// writer, the upkeep of the store and the keys, and, with [`Builder::retention`], the deletion of old sessions.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::store::SqliteStore;
/// use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("metrics.db");
/// let metrics = Metrics::new(SqliteStore::open(&path).await?);
/// let key = metrics.create_key().await?;
///
/// let session = metrics.join(Join::new(key, "a random id", Video::labelled("intro"))).await?;
/// session.apply(PlayerEvent::play(0.0)).await?; // Durable when it returns.
/// session.apply(PlayerEvent::pause(12.5)).await?;
///
/// let plays = metrics.plays(&Selection::identifier("intro").into()).await?;
/// assert_eq!((plays[0].totals.plays, plays[0].totals.view_ms), (1, 12_500));
/// # metrics.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

/// The parts that all clones share.
struct Inner {
    recorder: Arc<Recorder>,
    keyring: Arc<Keyring>,
    quotas: Arc<Quotas>,
    page_detail: PageDetail,
    // The parts that are recorded.
    arrival_parts: Vec<ArrivalPart>,
    classifier: Classifier,
    bots: Bots,
    lifeline: Lifeline,
    // `true` once the writer has ended.
    ended: watch::Receiver<bool>,
}

impl Metrics {
    /// Starts with the default options: records into `store` and answers reports from it.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with a clock: its tasks need one.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::builder(Arc::new(store)).start()
    }

    /// Returns a builder with the default options.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>) -> Builder {
        Builder::new(store)
    }

    /// Joins a session, or comes back to it, for a viewer with a connection. From now on, the returned [`Viewing`]
    /// reports for the viewer.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if the viewer may not join.
    pub async fn join(&self, join: Join) -> Result<Viewing, JoinError> {
        let Inner { recorder, lifeline, .. } = &*self.inner;
        let admitted = self.admit(join).await;
        self.tally(admitted.and_then(|admitted| Ok(recorder.connect(lifeline, admitted)?)))
    }

    /// Joins a session for a viewer without a connection, who sends batches.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if the viewer may not join.
    pub async fn visit(&self, join: Join) -> Result<Viewing, JoinError> {
        let Inner { recorder, lifeline, .. } = &*self.inner;
        let admitted = self.admit(join).await;
        self.tally(admitted.and_then(|admitted| Ok(recorder.visit(lifeline, admitted)?)))
    }

    /// Waits while the events that wait for the store exceed the limits of number or memory. Call it before reading
    /// more events.
    pub async fn ready(&self) {
        self.inner.recorder.ready().await;
    }

    /// Statistics of recording.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.recorder.stats()
    }

    /// The memory budget that sessions reserve from; see [`Builder::memory`].
    #[must_use]
    pub fn memory(&self) -> &Budget {
        self.inner.recorder.memory()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.inner.recorder.store
    }

    /// The time, by the configured clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.recorder.now()
    }

    /// This moment, by the configured clock.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.inner.recorder.moment()
    }

    /// Stops recording: returns when all recorded events are durable. Later events fail.
    ///
    /// Drop the viewings first, so that their open segments are closed.
    pub async fn stop(&self) {
        self.end(Shutdown::Drain).await;
    }

    /// Stops like [`stop`](Self::stop), but within `limit`: inputs that the store has not accepted by then are spilled
    /// to a file, for [`Spool::recover`] at the next start.
    ///
    /// Not cancel safe: if it is dropped, events that are not durable are lost.
    ///
    /// # Errors
    ///
    /// [`SpoolError`] if the file cannot be written: events without an acknowledgement are lost then.
    pub async fn stop_within(&self, limit: Duration, spool: &Spool) -> Result<Stopped, SpoolError> {
        if timeout(limit, self.end(Shutdown::Drain)).await.is_err() {
            self.end(Shutdown::Abort).await;
        }
        self.inner.recorder.spill(spool).await
    }

    /// Ends the tasks, and waits for the writer.
    async fn end(&self, shutdown: Shutdown) {
        self.inner.lifeline.send_replace(shutdown);
        let mut ended = self.inner.ended.clone();
        // An error means that the writer has ended as well.
        let _gone = ended.wait_for(|ended| *ended).await.is_err();
    }

    /// Classifies the sender of `headers`, for [`Join::classification`].
    #[must_use]
    pub fn classify(&self, headers: Headers<'_>) -> Classification {
        self.inner.classifier.classify(headers)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("store", self.store()).finish_non_exhaustive()
    }
}

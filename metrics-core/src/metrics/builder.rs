//! Options of a [`Metrics`], and its start: the handle and the tasks behind it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::admission::Bots;
use super::{Inner, Metrics};
use crate::arrival::ArrivalPart;
use crate::budget::Budget;
use crate::key::limits::Limits;
use crate::keyring::Keyring;
use crate::quota::Quotas;
use crate::recorder::{Clock, MEMORY, Recorder};
use crate::retention::Retention;
use crate::shutdown::{Lifeline, Shutdown};
use crate::source::PageDetail;
use crate::store::Store;
use crate::time_bucket::Span;
use crate::upkeep::Upkeep;
use crate::user_agent::Classifier;

/// Configures and starts a [`Metrics`].
pub struct Builder {
    store: Arc<dyn Store>,
    bots: Bots,
    clock: Clock,
    retention: Option<Span>,
    limits: Limits,
    page_detail: PageDetail,
    arrival_parts: Vec<ArrivalPart>,
    memory: Budget,
}

impl Builder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            bots: Bots::default(),
            clock: Clock::system(),
            retention: None,
            limits: Limits::default(),
            page_detail: PageDetail::default(),
            arrival_parts: ArrivalPart::ALL.to_vec(),
            memory: Budget::new(MEMORY),
        }
    }

    /// Sets the treatment of bots. The default refuses them.
    #[must_use]
    pub fn bots(self, bots: Bots) -> Self {
        Self { bots, ..self }
    }

    /// Sets how long sessions are kept, from their start on. By default they are kept for ever.
    ///
    /// Older sessions are deleted every hour, with the videos and pages that no session names any more; sessions of the
    /// last day are always kept, because they may still be watched. The first turn is an hour after the start, and no
    /// turn trusts the clock alone: see [`retention`](mod@crate::retention).
    ///
    /// ```no_run
    /// # fn example(store: metrics_core::store::SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use metrics_core::Metrics;
    ///
    /// let metrics = Metrics::builder(Arc::new(store)).retention("25 months".parse()?).start();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn retention(self, span: Span) -> Self {
        Self { retention: Some(span), ..self }
    }

    /// Sets the limits of keys without limits of their own.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets how much of each page's URL is kept. The default keeps paths.
    #[must_use]
    pub fn page_detail(self, page_detail: PageDetail) -> Self {
        Self { page_detail, ..self }
    }

    /// Sets which parts of where viewers come from are recorded. The default records all that joins have.
    #[must_use]
    pub fn arrival_parts(self, parts: impl Into<Vec<ArrivalPart>>) -> Self {
        Self { arrival_parts: parts.into(), ..self }
    }

    /// Sets how many videos a key may have: [`VIDEOS_MAX`](crate::limits::VIDEOS_MAX) by default. Sessions of further
    /// videos are refused with [`NotStored::TooManyVideos`](crate::recorder::NotStored); those of existing videos are
    /// recorded as before. Instances that add videos at the same moment may exceed the limit by a few.
    #[must_use]
    pub fn videos_max(self, videos_max: u32) -> Self {
        let limits = Limits { videos: videos_max, ..self.limits };
        Self { limits, ..self }
    }

    /// Sets the memory budget that sessions and their events reserve from: [`MEMORY`] bytes by default. Sessions take
    /// at most three quarters of it; see [`Metrics::ready`] and [`JoinError::Memory`](super::JoinError::Memory) for the behaviour when it is used
    /// up.
    #[must_use]
    pub fn memory(self, memory: Budget) -> Self {
        Self { memory, ..self }
    }

    /// Sets the source of the time. The default is the system's clock.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Starts the tasks, and returns the handle.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with a clock: its tasks need one.
    #[must_use]
    pub fn start(self) -> Metrics {
        let Self { store, bots, clock, retention, limits, page_detail, arrival_parts, memory } =
            self;
        let lifeline: Lifeline = Arc::new(watch::Sender::new(Shutdown::Running));
        if let Some(span) = retention {
            let retention = Retention { store: Arc::clone(&store), clock: clock.clone(), span };
            tokio::spawn(retention.run(lifeline.subscribe()));
        }
        let recorder =
            Recorder::new(Arc::clone(&store), clock.clone(), limits.videos, memory.clone());
        let recorder = Arc::new(recorder);
        let quotas = Arc::new(Quotas::new(Arc::clone(&recorder.tallies)));
        tokio::spawn(read_pages(Arc::clone(&quotas), Arc::clone(&store), lifeline.subscribe()));
        let upkeep = Upkeep {
            store: Arc::clone(&store),
            clock,
            tallies: Arc::clone(&recorder.tallies),
            memory: memory.max(),
        };
        tokio::spawn(upkeep.run(lifeline.subscribe()));
        let keyring = Arc::new(Keyring::new(store, limits));
        tokio::spawn(Arc::clone(&keyring).run(lifeline.subscribe()));
        let (end, ended) = watch::channel(false);
        tokio::spawn(write(Arc::clone(&recorder), lifeline.subscribe(), end));
        let classifier = Classifier::new();
        let inner = Inner {
            recorder,
            keyring,
            quotas,
            page_detail,
            arrival_parts,
            classifier,
            bots,
            lifeline,
            ended,
        };
        Metrics { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Reads the pages of all keys until `shutdown` announces the end.
async fn read_pages(
    quotas: Arc<Quotas>,
    store: Arc<dyn Store>,
    shutdown: watch::Receiver<Shutdown>,
) {
    quotas.pages.run(store, shutdown).await;
}

/// Writes sessions until `shutdown` announces the end, then sets `ended`.
async fn write(
    recorder: Arc<Recorder>,
    shutdown: watch::Receiver<Shutdown>,
    ended: watch::Sender<bool>,
) {
    recorder.run(shutdown).await;
    ended.send_replace(true);
}

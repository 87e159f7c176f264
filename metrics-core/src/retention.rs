//! Deletes sessions when they are older than they may get.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;

use crate::recorder::{Clock, Ending};
use crate::store::Store;
use crate::time_bucket::Span;
use crate::upkeep::{delete_before, every};

/// How often old sessions are looked for.
const TURN: Duration = Duration::from_secs(3_600);

/// Younger sessions are kept whatever is asked for: they may still be watched.
const KEPT_MIN: TimeDelta = TimeDelta::days(1);

/// How long sessions are kept in a store.
pub(crate) struct Retention {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) span: Span,
}

impl Retention {
    /// Forgets until `ending` says otherwise, now and then every hour.
    pub(crate) async fn run(self, ending: watch::Receiver<Ending>) {
        every(TURN, ending, || self.forget()).await;
    }

    async fn forget(&self) {
        let now = self.clock.now();
        // There is nothing before the beginning of the calendar.
        let Some(start) = self.span.before(now) else { return };
        let start = start.min(now - KEPT_MIN);
        match delete_before(&*self.store, start.timestamp_millis()).await {
            Ok(sessions) => tracing::debug!(%start, sessions, "deleted the sessions before"),
            Err(err) => tracing::warn!(
                error = &err as &dyn std::error::Error,
                "could not delete old sessions; trying again in an hour"
            ),
        }
    }
}

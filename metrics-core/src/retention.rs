//! Forgets sessions when they are older than they may get.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::recorder::{Clock, Ending};
use crate::store::Store;
use crate::time_bucket::Span;

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
    pub(crate) async fn run(self, mut ending: watch::Receiver<Ending>) {
        let mut turn = interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let turns = async {
            loop {
                turn.tick().await;
                self.forget().await;
            }
        };
        tokio::select! {
            never = turns => never,
            _ = ending.wait_for(|ending| *ending != Ending::Open) => {}
        }
    }

    async fn forget(&self) {
        let now = self.clock.now();
        // There is nothing before the beginning of the calendar.
        let Some(start) = self.span.before(now) else { return };
        let start = start.min(now - KEPT_MIN);
        match self.store.forget(start).await {
            Ok(()) => tracing::debug!(%start, "forgot the sessions before"),
            Err(err) => tracing::warn!(
                error = &err as &dyn std::error::Error,
                "could not forget old sessions; trying again in an hour"
            ),
        }
    }
}

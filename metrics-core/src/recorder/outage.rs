//! Notes since when and why the store is unavailable, and backs off between tries.

use std::error::Error as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::RngExt as _;
use tokio::time::sleep;

use super::{Recorder, lock};
use crate::store::Error;

/// The first and the longest backoff before a failed call is repeated.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Number of causes logged while a store is unavailable: one may hide another, as a lock hides a full disk.
const CAUSES_MAX: usize = 8;

/// A call to the store; a store that can commit can also load.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Call {
    Load,
    Commit,
}

/// A store that fails to answer.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) since: DateTime<Utc>,
    call: Call,
    // The causes that were logged.
    causes: Vec<String>,
}

impl Outage {
    fn new(since: DateTime<Utc>) -> Self {
        Self { since, call: Call::Load, causes: Vec::new() }
    }

    /// Whether `cause` must be logged: each cause once, and at most [`CAUSES_MAX`] if all differ.
    fn is_new_cause(&mut self, cause: String) -> bool {
        let is_new_cause = self.causes.len() < CAUSES_MAX && !self.causes.contains(&cause);
        if is_new_cause {
            self.causes.push(cause);
        }
        is_new_cause
    }
}

/// Backoff that grows from try to try, with jitter so that instances do not retry in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(super) async fn wait(&mut self) {
        let (first, most) = RETRY;
        let pause = first.saturating_mul(1 << self.tries.min(10)).min(most);
        self.tries += 1;
        let pause = pause.mul_f64(rand::rng().random_range(0.5..1.0));
        sleep(pause).await;
    }
}

impl Recorder {
    /// Records a failed call.
    pub(super) fn note_failure(&self, call: Call, err: &Error) {
        let mut outage = lock(&self.outage);
        let now = self.now();
        let outage = outage.get_or_insert_with(|| Outage::new(now));
        outage.call = outage.call.max(call);
        let cause = err.source().map(ToString::to_string).unwrap_or_default();
        if outage.is_new_cause(cause) {
            tracing::warn!(
                error = err as &dyn std::error::Error,
                "the store is unavailable; sessions wait in memory"
            );
        }
    }

    /// Records a call that succeeded. A store that loads is still unavailable if its commits failed.
    pub(super) fn note_success(&self, call: Call) {
        if lock(&self.outage).take_if(|outage| outage.call <= call).is_some() {
            tracing::info!("the store is available again");
        }
    }
}

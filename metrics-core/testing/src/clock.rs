//! A manual wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use chrono::{DateTime, Utc};
use metrics_core::query::instant;
use metrics_core::recorder::Clock;
use metrics_core::session::Moment;

/// A wall clock that stands still until a test advances it. All clones share one time.
#[derive(Clone, Debug)]
pub struct WallClock {
    now_ms: Arc<AtomicI64>,
}

impl WallClock {
    /// A clock that shows this time, in Unix milliseconds.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self { now_ms: Arc::new(AtomicI64::new(now_ms)) }
    }

    /// Advances the clock.
    pub fn pass(&self, seconds: f64) {
        self.pass_ms((seconds * 1_000.0) as i64);
    }

    /// Advances the clock.
    pub fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Relaxed);
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        instant(self.now_ms())
    }

    /// Returns the current time in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms.load(Relaxed)
    }

    /// Returns the current time as a moment.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment::received(self.now_ms())
    }

    /// Returns the clock in the form that a server takes.
    #[must_use]
    pub fn reader(&self) -> Clock {
        let clock = self.clone();
        Clock::new(move || clock.now())
    }
}

//! A clock that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use chrono::{DateTime, Utc};
use metrics_core::query::instant;
use metrics_core::recorder::Clock;
use metrics_core::session::Moment;

/// A wall clock that stands still until it is moved. All clones are the same.
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

    /// Moves it on.
    pub fn pass(&self, seconds: f64) {
        self.pass_ms((seconds * 1_000.0) as i64);
    }

    /// Moves it on.
    pub fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Relaxed);
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        instant(self.now_ms())
    }

    /// What it shows, in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms.load(Relaxed)
    }

    /// The moment that it shows.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment::received(self.now_ms())
    }

    /// As a server wants it.
    #[must_use]
    pub fn reader(&self) -> Clock {
        let clock = self.clone();
        Clock::new(move || clock.now())
    }
}

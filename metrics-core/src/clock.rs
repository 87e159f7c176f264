//! Sources of time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::session::Moment;

/// The time of day, and a steady clock that never steps.
///
/// Starts of sessions are times of day. The time of day may be set, by hours if an operator does it, so the steady
/// clock measures how long segments run.
///
/// ```
/// use metrics_core::recorder::Clock;
///
/// let stopped = "2024-02-29T12:00:00Z".parse::<chrono::DateTime<chrono::Utc>>()?;
/// let clock = Clock::new(move || stopped);
/// assert_eq!(clock.now(), stopped);
/// # Ok::<(), chrono::ParseError>(())
/// ```
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    // `None`: the time of day never steps.
    steady: Option<Arc<dyn Fn() -> Duration + Send + Sync>>,
}

impl Clock {
    /// The clocks of the system.
    #[must_use]
    pub fn system() -> Self {
        let began = Instant::now();
        Self::new(Utc::now).with_steady(move || began.elapsed())
    }

    /// Creates a clock from a time of day that never steps.
    #[must_use]
    pub fn new(wall: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self { wall: Arc::new(wall), steady: None }
    }

    /// Sets the steady clock to `steady`, the time since any instant, for a time of day that may step.
    #[must_use]
    pub fn with_steady(self, steady: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { steady: Some(Arc::new(steady)), ..self }
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.wall)()
    }

    /// Returns this moment, by both clocks.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let steady_ms = self.steady.as_ref().map(|steady| {
            // Overflows after half a billion years.
            i64::try_from(steady().as_millis()).unwrap_or(i64::MAX)
        });
        Moment { steady_ms, ..Moment::received(self.now().timestamp_millis()) }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish_non_exhaustive()
    }
}

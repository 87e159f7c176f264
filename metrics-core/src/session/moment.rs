//! The time of an event, and how far an open segment is known to have run.

/// The time of an event, by up to three clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// The arrival by the server's time of day, in Unix milliseconds: the trusted time.
    pub received_ms: i64,
    /// The arrival by the server's monotonic clock, in milliseconds since an arbitrary start: for distances between
    /// arrivals at one server, also if its time of day was set in between. It is not stored.
    pub steady_ms: Option<i64>,
    /// The event's time by the player's clock, in milliseconds: for order and distances only.
    ///
    /// The timestamp of an open segment is stored with the session. The error of a machine's clock would identify its
    /// sessions among all others, so a recorder shifts it: see
    /// [`ApiKey::clock_shift_ms`](crate::ApiKey::clock_shift_ms).
    pub timestamp_ms: Option<i64>,
    /// The order among events with the same timestamp: the number of a [report](crate::event::Report), 0 for others. It is
    /// not stored.
    pub sequence: u32,
}

impl Moment {
    /// A moment known by the server's time of day alone.
    #[must_use]
    pub const fn received(received_ms: i64) -> Self {
        Self { received_ms, steady_ms: None, timestamp_ms: None, sequence: 0 }
    }

    /// Milliseconds from this moment to `later`, by the player's clock if both have it; 0 if `later` is not later.
    pub(super) fn until_ms(self, later: Self) -> u64 {
        let elapsed_ms = match (self.timestamp_ms, later.timestamp_ms) {
            (Some(from), Some(to)) => to.saturating_sub(from),
            _ => later.arrival_ms(self).saturating_sub(self.arrival_ms(later)),
        };
        elapsed_ms.max(0).unsigned_abs()
    }

    /// The moment `ms` before this one by the server's clocks, without the player's clock.
    pub(super) fn earlier(self, ms: u64) -> Self {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        Self {
            received_ms: self.received_ms.saturating_sub(ms),
            steady_ms: self.steady_ms.map(|steady_ms| steady_ms.saturating_sub(ms)),
            timestamp_ms: None,
            sequence: 0,
        }
    }

    /// Whether this moment precedes `other`, or `None` if they have no common clock.
    pub(super) fn precedes(self, other: Self) -> Option<bool> {
        match (self.timestamp_ms, other.timestamp_ms) {
            (Some(this_ms), Some(other_ms)) => {
                Some((this_ms, self.sequence) < (other_ms, other.sequence))
            }
            (None, None) => Some(self.arrival_ms(other) < other.arrival_ms(self)),
            _ => None,
        }
    }

    /// When it arrived, by the best clock that `other` has as well.
    fn arrival_ms(self, other: Self) -> i64 {
        match (self.steady_ms, other.steady_ms) {
            (Some(steady_ms), Some(_)) => steady_ms,
            _ => self.received_ms,
        }
    }
}

/// How far an open segment is known to have run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Until this moment, because the viewer is connected.
    Until(Moment),
    /// Until the last event: nothing is known after it.
    LastEvent,
}

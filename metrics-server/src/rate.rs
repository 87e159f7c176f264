//! A rate limit: a token bucket, without a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

/// A rate limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// The size of the bucket.
    pub(crate) burst: u32,
    /// The time in which one token is added.
    pub(crate) every: Duration,
}

impl Rate {
    /// Returns the time in which an empty bucket becomes full.
    pub(crate) const fn refill(self) -> Duration {
        self.every.saturating_mul(self.burst)
    }
}

/// The tokens left of a [`Rate`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    // The time at which the bucket will be full. None: no token was ever taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes a token, even if there is none, and returns the time at which the action is allowed: now, or later.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Instant {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.every;
        self.full_at = Some(full_at);
        // The clock may have begun later than that.
        full_at.checked_sub(rate.refill()).map_or(now, |at| at.max(now))
    }

    /// Returns the time until there is a token, if there is none.
    pub(crate) fn wait(mut self, rate: Rate, now: Instant) -> Option<Duration> {
        let wait = self.take(rate, now).saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(10) };

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_passes_at_once_and_later_requests_at_the_rate() {
        let (start, mut bucket) = (Instant::now(), Bucket::default());
        let taken = [(); 6].map(|()| bucket.take(RATE, start));
        assert_eq!(taken, [0, 0, 0, 10, 20, 30].map(|seconds| at(start, seconds)));
    }

    #[test]
    fn remaining_tokens_grow_with_time_up_to_a_burst() {
        let (start, mut bucket) = (Instant::now(), Bucket::default());
        for _ in 0..3 {
            assert_eq!(bucket.wait(RATE, start), None);
            bucket.take(RATE, start);
        }
        assert_eq!(bucket.wait(RATE, start), Some(Duration::from_secs(10)));
        assert_eq!(bucket.wait(RATE, at(start, 9)), Some(Duration::from_secs(1)));
        assert_eq!(bucket.wait(RATE, at(start, 10)), None);
        // A bucket never holds more than a burst, even after a long pause.
        let later = at(start, 1_000_000);
        let taken = [(); 4].map(|()| bucket.take(RATE, later));
        assert_eq!(taken, [0, 0, 0, 10].map(|seconds| at(later, seconds)));
    }

    #[test]
    fn a_check_takes_no_token() {
        let (start, mut bucket) = (Instant::now(), Bucket::default());
        for _ in 0..10 {
            assert_eq!(bucket.wait(RATE, start), None);
        }
        assert_eq!(bucket.take(RATE, start), start);
    }
}

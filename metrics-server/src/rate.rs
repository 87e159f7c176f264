//! How often something may be done: a token bucket, without a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

/// How often something may be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// How many times at once.
    pub(crate) burst: u32,
    /// How long it takes until it may be done once more.
    pub(crate) every: Duration,
}

impl Rate {
    /// How long it takes until all of the burst may be done again.
    pub(crate) const fn refill(self) -> Duration {
        self.every.saturating_mul(self.burst)
    }
}

/// How much of a [`Rate`] is left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    // When all of it will be left again. None: nothing was ever taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one, though there may be none, and returns when it may be done: now, or later.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Instant {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.every;
        self.full_at = Some(full_at);
        // A clock may have begun later than that.
        full_at.checked_sub(rate.refill()).map_or(now, |at| at.max(now))
    }

    /// How long it takes until there is one to take, if there is none.
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
    fn a_burst_passes_at_once_and_what_follows_at_its_rate() {
        let (start, mut bucket) = (Instant::now(), Bucket::default());
        let taken = [(); 6].map(|()| bucket.take(RATE, start));
        assert_eq!(taken, [0, 0, 0, 10, 20, 30].map(|seconds| at(start, seconds)));
    }

    #[test]
    fn what_is_left_grows_with_time_up_to_a_burst() {
        let (start, mut bucket) = (Instant::now(), Bucket::default());
        for _ in 0..3 {
            assert_eq!(bucket.wait(RATE, start), None);
            bucket.take(RATE, start);
        }
        assert_eq!(bucket.wait(RATE, start), Some(Duration::from_secs(10)));
        assert_eq!(bucket.wait(RATE, at(start, 9)), Some(Duration::from_secs(1)));
        assert_eq!(bucket.wait(RATE, at(start, 10)), None);
        // However long nothing was taken, no more than a burst is left.
        let later = at(start, 1_000_000);
        let taken = [(); 4].map(|()| bucket.take(RATE, later));
        assert_eq!(taken, [0, 0, 0, 10].map(|seconds| at(later, seconds)));
    }

    #[test]
    fn to_ask_takes_nothing() {
        let (start, mut bucket) = (Instant::now(), Bucket::default());
        for _ in 0..10 {
            assert_eq!(bucket.wait(RATE, start), None);
        }
        assert_eq!(bucket.take(RATE, start), start);
    }
}

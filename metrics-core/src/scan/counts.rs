//! Counts of values that no sum can stand for: startup times for percentiles, and minutes for concurrency.

use super::concurrency::Piece;

/// The least number of startup times of a group that wait to be counted: sorting them in bulk is faster.
pub(super) const WAITING_MIN: usize = 64;

/// The minutes at which sessions of a group start and stop playing.
#[derive(Clone, Debug, Default)]
pub(super) struct Playing {
    starts: Counts,
    ends: Counts,
    /// The total of all sessions' minutes.
    pub(super) minutes: u64,
}

impl Playing {
    /// Adds a run of minutes, and returns the number of new distinct minutes.
    pub(super) fn add(&mut self, piece: &Piece) -> usize {
        self.minutes += u64::from(piece.end - piece.first);
        self.starts.add(piece.first) + self.ends.add(piece.end)
    }

    pub(super) fn merge(&mut self, other: &Self) -> usize {
        self.minutes += other.minutes;
        self.starts.merge(&other.starts) + self.ends.merge(&other.ends)
    }

    /// Counts the minutes that wait, and returns the number of additional distinct minutes.
    pub(super) fn flush(&mut self) -> usize {
        self.starts.flush() + self.ends.flush()
    }

    /// Returns the first minute at which a session plays. All values must be counted.
    pub(super) fn first_minute(&self) -> Option<u32> {
        self.starts.counted.first().map(|(minute, _)| *minute)
    }

    /// Returns the largest number of sessions at one minute. All values must be counted.
    pub(super) fn peak(&self) -> u64 {
        let (mut ends, mut ended) = (self.ends.counted.iter().peekable(), 0);
        let (mut started, mut peak) = (0, 0);
        for (minute, count) in &self.starts.counted {
            while let Some((_, count)) = ends.next_if(|(end, _)| end <= minute) {
                ended += count;
            }
            started += count;
            peak = peak.max(started - ended);
        }
        peak
    }
}

/// The number of occurrences of each value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    // Invariant: sorted by distinct values.
    counted: Vec<(u32, u64)>,
    waiting: Vec<u32>,
}

impl Counts {
    /// Adds a value, and returns the number of additional distinct values.
    pub(super) fn add(&mut self, value: u32) -> usize {
        self.waiting.push(value);
        if self.waiting.len() < self.counted.len().max(WAITING_MIN) {
            return 0;
        }
        self.flush()
    }

    /// Counts the values that wait, and returns the number of additional distinct values.
    pub(super) fn flush(&mut self) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        self.waiting.sort_unstable();
        let waiting = self.waiting.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64));
        let waiting: Vec<_> = waiting.collect();
        self.waiting.clear();
        self.take(&waiting)
    }

    pub(super) fn merge(&mut self, other: &Self) -> usize {
        let more = self.take(&other.counted);
        other.waiting.iter().map(|value| self.add(*value)).sum::<usize>() + more
    }

    /// Adds counts that are sorted by distinct values, and returns the number of additional distinct values.
    fn take(&mut self, others: &[(u32, u64)]) -> usize {
        let before = self.counted.len();
        self.counted.extend_from_slice(others);
        // The sort merges these two ordered runs.
        self.counted.sort_by_key(|(value, _)| *value);
        self.counted.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                earlier.1 += later.1;
            }
            is_same
        });
        self.counted.len() - before
    }

    /// The value of the nearest rank. All values must be counted.
    pub(super) fn percentile(&self, percent: u64) -> Option<u32> {
        let number: u64 = self.counted.iter().map(|(_, count)| count).sum();
        let rank = (number * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counted.iter().find(|(_, count)| {
            seen += count;
            rank <= seen
        });
        found.map(|(value, _)| *value)
    }
}

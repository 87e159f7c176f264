//! Statistics of recording, counted since the process started.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Upper bounds of waits in seconds, each 2 or 2.5 times the one before: from the wait on an idle server to the longest
/// that clients accept.
const WAIT_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds of batches, from a single session to the largest batch.
const BATCH_SESSIONS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// Sums are kept as whole numbers of `1 / SUM_PARTS`.
const SUM_PARTS: f64 = 1e6;

/// Statistics of recording.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Number of inputs (events, joins, leaves) that are not durable yet; at
    /// [`WAITING_MAX`](crate::recorder::WAITING_MAX) the server should stop reading.
    pub waiting: usize,
    /// Number of sessions with such inputs.
    pub waiting_sessions: usize,
    /// Since when the store is unavailable, if it is.
    pub unavailable_since: Option<DateTime<Utc>>,
    /// Number of sessions with a connected viewer.
    pub connected: usize,
    /// Number of sessions in memory, connected or not.
    pub in_memory: usize,
    /// Bytes of the memory budget that sessions hold, with their events that are not durable yet.
    pub session_bytes: usize,
    /// Outcomes of joins, on a channel or in a batch.
    pub joins: Joins,
    /// Outcomes of events.
    pub events: Events,
    /// Pages that were reduced to their site because of a limit.
    pub pages: ReducedPages,
    /// Number of segments that were longer than the time between the timestamps of their ends, and were cut.
    pub clamped: u64,
    /// Outcomes of commits.
    pub commits: Commits,
    /// Number of sessions per commit.
    pub batches: Histogram<10>,
    /// Seconds from the first event of a session that is not durable until the commit.
    pub waits: Histogram<14>,
    /// Number of sessions that were closed: moved to a block and added to the totals of their day.
    pub closed: u64,
    /// Number of sessions that became final: their resume state was discarded.
    pub finalized: u64,
}

/// Outcomes of joins, on a channel or in a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Joins {
    /// Joins that were admitted: their viewers may send events.
    pub admitted: u64,
    /// The key is unknown or revoked.
    pub invalid_key: u64,
    /// The user agent is a known bot.
    pub bot: u64,
    /// The page or origin is no site of the key.
    pub origin: u64,
    /// A rate limit of joins was used up.
    pub too_many: u64,
    /// A value in the join is invalid.
    pub invalid: u64,
    /// The store of keys was unavailable.
    pub unavailable: u64,
    /// No memory was left for another session.
    pub no_memory: u64,
}

/// Outcomes of events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Events {
    /// Events that were accepted; a repeated one counts here too if only loading its session shows that it was
    /// repeated.
    pub accepted: u64,
    /// Events that change nothing: they were repeated, or carry nothing that counts.
    pub unchanged: u64,
    /// A value in the event is invalid.
    pub invalid: u64,
    /// The session has as many segments as are allowed.
    pub full: u64,
    /// No memory was left for another event.
    pub no_memory: u64,
    /// The recorder had ended.
    pub late: u64,
    /// A rate limit of events was used up.
    pub too_many: u64,
    /// Sessions with accepted events that the store refused.
    pub refused_sessions: u64,
    /// Sessions with accepted events whose key has as many videos as its limit allows.
    pub too_many_videos_sessions: u64,
    /// Sessions with accepted events for which a rate limit of new videos was used up.
    pub too_many_new_videos_sessions: u64,
    /// Sessions whose events named another video than the store has for them.
    pub other_video_sessions: u64,
}

/// Pages that count under their site, or not at all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReducedPages {
    /// The key has as many pages as its limit allows.
    pub too_many: u64,
    /// A rate limit of new pages was used up.
    pub too_many_new: u64,
}

/// Outcomes of commits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Commits {
    /// Commits that succeeded.
    pub done: u64,
    /// Commits that failed.
    pub failed: u64,
}

/// Counts of values by size.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Histogram<const N: usize> {
    /// Inclusive upper bounds of the buckets, ascending.
    pub bounds: [f64; N],
    /// Number of values per bucket; each value counts in one.
    pub counts: [u64; N],
    /// Number of values above the last bound.
    pub larger: u64,
    /// Sum of all values.
    pub sum: f64,
}

/// Counters behind [`Stats`]. They never block.
#[derive(Debug)]
pub(crate) struct Tallies {
    pub(crate) connected: AtomicUsize,
    pub(crate) waiting_sessions: AtomicUsize,
    pub(crate) joins: JoinTally,
    pub(crate) events: EventTally,
    pub(crate) pages: PageTally,
    pub(crate) clamped: Count,
    pub(crate) commits_done: Count,
    pub(crate) commits_failed: Count,
    pub(crate) batches: Tally<10>,
    pub(crate) waits: Tally<14>,
    pub(crate) closed: Count,
    pub(crate) finalized: Count,
}

#[derive(Debug, Default)]
pub(crate) struct JoinTally {
    pub(crate) admitted: Count,
    pub(crate) invalid_key: Count,
    pub(crate) bot: Count,
    pub(crate) origin: Count,
    pub(crate) too_many: Count,
    pub(crate) invalid: Count,
    pub(crate) unavailable: Count,
    pub(crate) no_memory: Count,
}

#[derive(Debug, Default)]
pub(crate) struct EventTally {
    pub(crate) accepted: Count,
    pub(crate) unchanged: Count,
    pub(crate) invalid: Count,
    pub(crate) full: Count,
    pub(crate) no_memory: Count,
    pub(crate) late: Count,
    pub(crate) too_many: Count,
    pub(crate) refused_sessions: Count,
    pub(crate) too_many_videos_sessions: Count,
    pub(crate) too_many_new_videos_sessions: Count,
    pub(crate) other_video_sessions: Count,
}

#[derive(Debug, Default)]
pub(crate) struct PageTally {
    pub(crate) too_many: Count,
    pub(crate) too_many_new: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts values by size.
#[derive(Debug)]
pub(crate) struct Tally<const N: usize> {
    bounds: [f64; N],
    counts: [Count; N],
    larger: Count,
    sum: Count,
}

impl<const N: usize> Tally<N> {
    fn new(bounds: [f64; N]) -> Self {
        let counts = std::array::from_fn(|_| Count::default());
        Self { bounds, counts, larger: Count::default(), sum: Count::default() }
    }

    pub(crate) fn count(&self, value: f64) {
        let index = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(index).unwrap_or(&self.larger).add(1);
        self.sum.add((value * SUM_PARTS).round() as u64);
    }

    fn get(&self) -> Histogram<N> {
        Histogram {
            bounds: self.bounds,
            counts: std::array::from_fn(|index| self.counts[index].get()),
            larger: self.larger.get(),
            sum: self.sum.get() as f64 / SUM_PARTS,
        }
    }
}

impl Tally<14> {
    pub(crate) fn count_wait(&self, wait: Duration) {
        self.count(wait.as_secs_f64());
    }
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            connected: AtomicUsize::default(),
            waiting_sessions: AtomicUsize::default(),
            joins: JoinTally::default(),
            events: EventTally::default(),
            pages: PageTally::default(),
            clamped: Count::default(),
            commits_done: Count::default(),
            commits_failed: Count::default(),
            batches: Tally::new(BATCH_SESSIONS),
            waits: Tally::new(WAIT_SECONDS),
            closed: Count::default(),
            finalized: Count::default(),
        }
    }
}

impl Tallies {
    /// Returns the counts, together with the current state of the recorder.
    pub(crate) fn stats(
        &self,
        waiting: usize,
        unavailable_since: Option<DateTime<Utc>>,
        in_memory: usize,
    ) -> Stats {
        let Self { joins, events, pages, .. } = self;
        Stats {
            waiting,
            waiting_sessions: self.waiting_sessions.load(Relaxed),
            unavailable_since,
            connected: self.connected.load(Relaxed),
            in_memory,
            session_bytes: 0,
            joins: Joins {
                admitted: joins.admitted.get(),
                invalid_key: joins.invalid_key.get(),
                bot: joins.bot.get(),
                origin: joins.origin.get(),
                too_many: joins.too_many.get(),
                invalid: joins.invalid.get(),
                unavailable: joins.unavailable.get(),
                no_memory: joins.no_memory.get(),
            },
            events: Events {
                accepted: events.accepted.get(),
                unchanged: events.unchanged.get(),
                invalid: events.invalid.get(),
                full: events.full.get(),
                no_memory: events.no_memory.get(),
                late: events.late.get(),
                too_many: events.too_many.get(),
                refused_sessions: events.refused_sessions.get(),
                too_many_videos_sessions: events.too_many_videos_sessions.get(),
                too_many_new_videos_sessions: events.too_many_new_videos_sessions.get(),
                other_video_sessions: events.other_video_sessions.get(),
            },
            pages: ReducedPages {
                too_many: pages.too_many.get(),
                too_many_new: pages.too_many_new.get(),
            },
            clamped: self.clamped.get(),
            commits: Commits { done: self.commits_done.get(), failed: self.commits_failed.get() },
            batches: self.batches.get(),
            waits: self.waits.get(),
            closed: self.closed.get(),
            finalized: self.finalized.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_where_it_fits_first() {
        let tally = Tally::new([0.5, 1.0, 10.0]);
        for value in [0.0, 0.5, 0.500_001, 1.0, 9.0, 10.1, 1_000.0] {
            tally.count(value);
        }
        let Histogram { counts, larger, sum, .. } = tally.get();
        assert_eq!((counts, larger), ([2, 2, 1], 2));
        assert!((sum - 1_021.100_001).abs() < 1e-9, "{sum}");
    }
}

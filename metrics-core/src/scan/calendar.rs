//! Time buckets, hours and days of sessions: computed once per range of time, not once per session.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono_tz::Tz;

use crate::block::first;
use crate::time::{DAY_MS, HOUR_MS};
use crate::time_bucket::{Buckets, Run, Width};

/// The largest number of cached ranges of time: 24 MB.
const RUNS_MAX: usize = 1_000_000;

/// Number of ranges examined one by one, before a binary search.
const STEPS: usize = 8;

/// The time buckets and the clock changes of a time zone, as far as sessions needed them.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    timezone: Option<Tz>,
    // By width in its display form, which is unique.
    buckets: BTreeMap<String, Timeline>,
    offsets: Timeline,
}

/// Ranges of time that share a value.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    buckets: Buckets,
    // Whether the values are offsets of local time rather than starts of buckets.
    is_of_offsets: bool,
    // Invariant: sorted by both ends.
    runs: Vec<Run>,
}

impl Calendar {
    pub(super) fn new(timezone: Option<Tz>) -> Self {
        let hours = in_timezone(Width::HOUR, timezone);
        let offsets = Timeline { is_of_offsets: true, ..Timeline::new(hours) };
        Self { timezone, buckets: BTreeMap::new(), offsets }
    }

    /// Returns the approximate number of bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.values().map(Timeline::bytes).sum::<usize>() + self.offsets.bytes()
    }

    /// The ranges of time buckets of a width.
    pub(super) fn buckets(&mut self, width: Width) -> &mut Timeline {
        let timezone = self.timezone;
        let timeline = self.buckets.entry(width.to_string());
        timeline.or_insert_with(|| Timeline::new(in_timezone(width, timezone)))
    }

    /// Returns the hour of the day, from 0 to 23, of each of `len` starts, which are in order.
    pub(super) fn hours(&mut self, len: usize, start_ms: impl Fn(usize) -> i64) -> Vec<u32> {
        self.local(len, start_ms, |local_ms| local_ms.rem_euclid(DAY_MS) / HOUR_MS)
    }

    /// Returns the day of the week, from 0 for Monday to 6, of each of `len` starts, which are in order.
    pub(super) fn days(&mut self, len: usize, start_ms: impl Fn(usize) -> i64) -> Vec<u32> {
        // The epoch was a Thursday.
        self.local(len, start_ms, |local_ms| (local_ms.div_euclid(DAY_MS) + 3).rem_euclid(7))
    }

    fn local(
        &mut self,
        len: usize,
        start_ms: impl Fn(usize) -> i64,
        value: impl Fn(i64) -> i64,
    ) -> Vec<u32> {
        let mut values = Vec::with_capacity(len);
        self.offsets.each(len, &start_ms, |sessions, run| {
            values.extend(sessions.map(|session| value(start_ms(session) + run.value) as u32));
        });
        values
    }
}

impl Timeline {
    pub(super) fn new(buckets: Buckets) -> Self {
        Self { buckets, is_of_offsets: false, runs: Vec::new() }
    }

    /// Returns the approximate number of bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.runs.len() * size_of::<Run>()
    }

    /// Returns the code of the bucket of each of `len` starts, which are in order, and the start of the bucket of each code.
    /// Several codes may share a bucket.
    pub(super) fn codes(
        &mut self,
        len: usize,
        start_ms: impl Fn(usize) -> i64,
    ) -> (Vec<u32>, Vec<i64>) {
        let mut codes = Vec::with_capacity(len);
        let mut buckets = Vec::new();
        self.each(len, start_ms, |sessions, run| {
            codes.resize(sessions.end, buckets.len() as u32);
            buckets.push(run.value);
        });
        (codes, buckets)
    }

    /// Splits `len` starts, which are in order, by the ranges of time that contain them.
    pub(super) fn each(
        &mut self,
        len: usize,
        start_ms: impl Fn(usize) -> i64,
        mut visit: impl FnMut(Range<usize>, Run),
    ) {
        let mut fresh = Vec::new();
        let (mut known, mut next) = (0, 0);
        while next < len {
            let at = start_ms(next);
            let run = self.known(at, &mut known).unwrap_or_else(|| {
                let run = self.run(at);
                fresh.push(run);
                run
            });
            let end = first(next + 1..len, |session| run.until_ms <= start_ms(session));
            visit(next..end, run);
            next = end;
        }
        if !fresh.is_empty() {
            self.insert_runs(fresh);
        }
    }

    /// Returns the range that holds `at`, if it is cached. `index` is the index of the range found last; no earlier
    /// range holds `at`.
    fn known(&self, at: i64, index: &mut usize) -> Option<Run> {
        let is_over = |run: &Run| run.until_ms <= at;
        // Sessions are in order, so it is mostly one of the next.
        let is_ahead = |index: &usize| self.runs.get(*index).is_some_and(is_over);
        let mut steps = 0;
        while steps < STEPS && is_ahead(index) {
            *index += 1;
            steps += 1;
        }
        if is_ahead(index) {
            *index += self.runs[*index..].partition_point(is_over);
        }
        self.runs.get(*index).copied().filter(|run| run.from_ms <= at)
    }

    fn run(&self, at: i64) -> Run {
        if self.is_of_offsets { self.buckets.offset_run(at) } else { self.buckets.run(at) }
    }

    fn insert_runs(&mut self, fresh: Vec<Run>) {
        if RUNS_MAX < self.runs.len() {
            self.runs.clear();
        }
        self.runs.extend(fresh);
        self.runs.sort_by_key(|run| (run.from_ms, run.until_ms));
    }
}

fn in_timezone(width: Width, timezone: Option<Tz>) -> Buckets {
    let buckets = Buckets::new(width);
    timezone.map_or(buckets, |timezone| buckets.in_timezone(timezone))
}

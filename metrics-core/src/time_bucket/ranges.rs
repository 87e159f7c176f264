//! The time ranges that share a bucket: scans find a bucket once per range, and not once per session.

use super::Buckets;
use super::zone::{CHANGE_MS_MAX, ConstantOffset, SEARCH_MS_MAX};
use crate::time::instant;

/// A time range, `[from_ms, until_ms)` in Unix milliseconds, whose instants share a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    pub(crate) from_ms: i64,
    pub(crate) until_ms: i64,
    /// The start of a bucket, or an offset of local time, in milliseconds.
    pub(crate) value: i64,
}

impl Buckets {
    /// Returns whether all instants of `[from, to]`, a day at most, fall into one bucket.
    pub(crate) fn are_one(&self, from: i64, to: i64) -> bool {
        // Without clock changes, buckets follow each other as time does.
        let steady = self.zone.is_none() || self.zone.constant_offsets(from, to + 1).len() == 1;
        if steady {
            return self.start_ms(from) == self.start_ms(to);
        }
        self.starts(instant(from), instant(to)).nth(1).is_none()
    }

    /// The longest time range around `at` whose instants fall into the bucket of `at` by the same offset, with clock
    /// changes up to [`SEARCH_MS_MAX`] away.
    pub(crate) fn run(&self, at: i64) -> Run {
        let local = self.zone.local_ms(at);
        let boundary = self.width.boundary_ms(local);
        let start_ms = self.zone.instant_ms(boundary);
        let next = self.width.next_boundary_ms(local).unwrap_or(local + SEARCH_MS_MAX);
        let (from_ms, until_ms) = (boundary + at - local, next + at - local);
        if self.zone.is_none() {
            return Run { from_ms, until_ms, value: start_ms };
        }
        let ConstantOffset { start_ms: from_ms, end_ms: until_ms } =
            self.zone.constant_offset_around(at, from_ms, until_ms);
        Run { from_ms, until_ms, value: start_ms }
    }

    /// The time ranges, `[from, until)`, whose instants fall into the bucket that starts at `start`.
    pub(crate) fn time_ranges(&self, start: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
        let buckets = *self;
        let end = |local| buckets.width.next_boundary_ms(local).unwrap_or(local + SEARCH_MS_MAX);
        let until = start + end(buckets.zone.local_ms(start)) - buckets.zone.local_ms(start);
        let steady = match buckets.zone.0 {
            None => vec![ConstantOffset { start_ms: start, end_ms: until }],
            Some(_) => buckets.zone.constant_offsets(start - CHANGE_MS_MAX, until + CHANGE_MS_MAX),
        };
        // The local times of `start`, by the offsets before and after a clock change.
        let offsets = steady.iter().map(|it| buckets.zone.offset_ms(it.start_ms));
        let mut locals: Vec<_> = offsets.map(|offset| start + offset).collect();
        locals.sort_unstable();
        locals.dedup();
        locals.retain(|local| {
            buckets.width.boundary_ms(*local) == *local && buckets.zone.instant_ms(*local) == start
        });
        steady.into_iter().flat_map(move |it| {
            let offset = buckets.zone.offset_ms(it.start_ms);
            let locals = locals.clone().into_iter();
            let within = locals.map(move |local| {
                let end = buckets.width.next_boundary_ms(local).unwrap_or(local + SEARCH_MS_MAX);
                ((local - offset).max(it.start_ms), (end - offset).min(it.end_ms))
            });
            within.filter(|(from, until)| from < until)
        })
    }

    /// The time range around `at` with one offset of local time, which is the value.
    pub(crate) fn offset_run(&self, at: i64) -> Run {
        let ConstantOffset { start_ms, end_ms } =
            self.zone.constant_offset_around(at, i64::MIN, i64::MAX);
        Run { from_ms: start_ms, until_ms: end_ms, value: self.zone.offset_ms(at) }
    }
}

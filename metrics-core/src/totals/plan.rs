//! Splits a timeframe between totals and blocks.

use crate::time::{DAY_MS, HOUR_MS};
use crate::time_bucket::Buckets;

/// How the totals of a day contribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cover {
    /// By the sums of the day, which lies in the timeframe and in one bucket.
    Day,
    /// By the sums of some of its hours: those whose bit is set, the lowest for the first hour.
    Hours(u32),
}

impl Cover {
    fn needs_hours(self) -> bool {
        matches!(self, Self::Hours(1..))
    }
}

/// The days with closed sessions that totals answer, and the ranges of time that blocks must answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    /// Days since 1970-01-01 UTC, in order.
    pub(crate) days: Vec<(i64, Cover)>,
    /// First and last millisecond, in order.
    pub(crate) rest: Vec<(i64, i64)>,
}

impl Plan {
    /// Plans for sessions that started in `from_ms..=to_ms` (Unix milliseconds) on `days`, which are in order.
    pub(crate) fn new(
        (from_ms, to_ms): (i64, i64),
        buckets: Buckets,
        days: impl IntoIterator<Item = i64>,
    ) -> Self {
        let is_covered = |start: i64, len: i64| {
            let end = start + len - 1;
            from_ms <= start && end <= to_ms && buckets.are_one(start, end)
        };
        let mut plan = Self::default();
        for day in days {
            let start = day * DAY_MS;
            if is_covered(start, DAY_MS) {
                plan.days.push((day, Cover::Day));
                continue;
            }
            let mut hours = 0;
            for hour in 0..24 {
                let start = start + i64::from(hour) * HOUR_MS;
                let end = start + HOUR_MS - 1;
                if is_covered(start, HOUR_MS) {
                    hours |= 1 << hour;
                } else if from_ms <= end && start <= to_ms {
                    plan.leave(start.max(from_ms), end.min(to_ms));
                }
            }
            plan.days.push((day, Cover::Hours(hours)));
        }
        plan
    }

    /// The runs of days whose hours are needed, each as its first and last day. Hours are the largest part of totals:
    /// of a year, only the first and the last day may need them.
    pub(crate) fn days_by_hour(&self) -> Vec<(i64, i64)> {
        let runs = self.days.chunk_by(|a, b| a.1.needs_hours() == b.1.needs_hours());
        let runs = runs.filter(|run| run[0].1.needs_hours());
        runs.map(|run| (run[0].0, run[run.len() - 1].0)).collect()
    }

    fn leave(&mut self, start: i64, end: i64) {
        match self.rest.last_mut() {
            Some(last) if last.1 + 1 == start => last.1 = end,
            _ => self.rest.push((start, end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_and_hours_are_answered_by_totals() {
        let days = Buckets::new("1 day".parse().unwrap());
        let from_ms = 2 * DAY_MS + 22 * HOUR_MS + 1;
        let plan = Plan::new((from_ms, 4 * DAY_MS + HOUR_MS), days, [2, 3, 4]);
        assert_eq!(plan.days, [(2, Cover::Hours(1 << 23)), (3, Cover::Day), (4, Cover::Hours(1))]);
        let first = (from_ms, 2 * DAY_MS + 23 * HOUR_MS - 1);
        assert_eq!(plan.rest, [first, (4 * DAY_MS + HOUR_MS, 4 * DAY_MS + HOUR_MS)]);
        assert_eq!(plan.days_by_hour(), [(2, 2), (4, 4)]);
    }

    #[test]
    fn a_day_of_two_buckets_is_answered_by_the_hour() {
        let days = Buckets::new("1 day".parse().unwrap());
        let local = days.in_timezone("Asia/Kolkata".parse().unwrap());
        let plan = Plan::new((i64::MIN, i64::MAX), local, [7]);
        // A day there begins at 18:30 UTC.
        assert_eq!(plan.days, [(7, Cover::Hours(!(1 << 18) & 0xff_ffff))]);
        let hour = 7 * DAY_MS + 18 * HOUR_MS;
        assert_eq!(plan.rest, [(hour, hour + HOUR_MS - 1)]);
        assert_eq!(Plan::new((0, -1), days, []), Plan::default());
    }
}

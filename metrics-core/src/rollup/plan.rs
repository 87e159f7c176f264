//! Which part of a timeframe is answered from what.

use super::{DAY_MS, HOUR_MS, day_of};
use crate::time_bucket::Buckets;

/// The finest sums that a report has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grain {
    /// Sums of whole days.
    Day,
    /// Sums of whole hours.
    Hour,
}

/// How a day is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cover {
    /// All of it by its sums: it is in the timeframe, and in one bucket.
    Day,
    /// Some of its hours by their sums: those with a bit here, the lowest for the first hour.
    Hours(u32),
}

/// How a timeframe is answered: which days from sums, and what is left for rows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    first: i64,
    // Of one day after the other, from `first` on.
    covers: Vec<Cover>,
    /// The stretches of time whose sessions have to be looked at: first and last millisecond, in order.
    pub rows: Vec<(i64, i64)>,
}

const ALL_HOURS: u32 = (1 << 24) - 1;

impl Plan {
    /// The plan for sessions that started in `from_ms..=to_ms`, in Unix milliseconds, where there are sums of the
    /// days `first..=last`.
    #[must_use]
    pub fn new(
        (from_ms, to_ms): (i64, i64),
        buckets: Option<Buckets>,
        grain: Grain,
        (first, last): (i64, i64),
    ) -> Self {
        let first = first.max(day_of(from_ms));
        let days = first..=last.min(day_of(to_ms));
        let mut plan = Self { first, covers: Vec::new(), rows: Vec::new() };
        if to_ms < from_ms {
            return plan;
        }
        let is_whole = |start: i64, len: i64| {
            let end = start + len - 1;
            from_ms <= start
                && end <= to_ms
                && buckets.is_none_or(|buckets| buckets.are_one(start, end))
        };
        for day in days {
            let start = day * DAY_MS;
            let hour_of = |hour: u32| start + i64::from(hour) * HOUR_MS;
            let cover = if is_whole(start, DAY_MS) {
                Cover::Day
            } else if grain == Grain::Day {
                Cover::Hours(0)
            } else {
                let whole = (0..24).filter(|hour| is_whole(hour_of(*hour), HOUR_MS));
                Cover::Hours(whole.fold(0, |hours, hour| hours | 1 << hour))
            };
            plan.covers.push(cover);
            for hour in (0..24).filter(|hour| cover.missing() >> hour & 1 == 1) {
                let (start, end) = (hour_of(hour), hour_of(hour) + HOUR_MS - 1);
                if from_ms <= end && start <= to_ms {
                    plan.look_at(start.max(from_ms), end.min(to_ms));
                }
            }
        }
        plan
    }

    /// The plan for what no sums can answer.
    #[must_use]
    pub fn of_rows(timeframe: (i64, i64)) -> Self {
        Self { rows: vec![timeframe], ..Self::default() }
    }

    /// How a day is answered; not at all if there is no such day in the plan.
    #[must_use]
    pub fn cover(&self, day: i64) -> Cover {
        let at = usize::try_from(day - self.first).ok();
        at.and_then(|at| self.covers.get(at)).copied().unwrap_or(Cover::Hours(0))
    }

    /// Whether sessions that started then have to be looked at.
    #[must_use]
    pub fn looks_at(&self, at_ms: i64) -> bool {
        let after = self.rows.partition_point(|(start, _)| *start <= at_ms);
        after.checked_sub(1).is_some_and(|at| at_ms <= self.rows[at].1)
    }

    /// The days of which single hours are wanted.
    #[must_use]
    pub fn days_by_hour(&self) -> Vec<i64> {
        let days = (self.first..).zip(&self.covers);
        days.filter(|(_, it)| matches!(it, Cover::Hours(1..))).map(|(day, _)| day).collect()
    }

    /// The first and the last day of which sums are wanted, if there are any.
    #[must_use]
    pub fn days(&self) -> Option<(i64, i64)> {
        let is_wanted = |cover: &Cover| *cover != Cover::Hours(0);
        let first = self.covers.iter().position(is_wanted)?;
        let last = self.covers.iter().rposition(is_wanted)?;
        Some((self.first + first as i64, self.first + last as i64))
    }

    fn look_at(&mut self, start: i64, end: i64) {
        match self.rows.last_mut() {
            Some(last) if last.1 + 1 == start => last.1 = end,
            _ => self.rows.push((start, end)),
        }
    }
}

impl Cover {
    /// The hours that have to be looked at.
    fn missing(self) -> u32 {
        match self {
            Self::Day => 0,
            Self::Hours(hours) => ALL_HOURS & !hours,
        }
    }
}

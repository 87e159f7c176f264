//! Local time: the offsets of a time zone, and the time ranges between its clock changes.

use chrono::{MappedLocalTime, Offset, TimeZone};
use chrono_tz::{GapInfo, Tz};

use crate::time::{DAY_MS, instant};

/// The largest shift of a local time by a clock change: the largest skip or repeat is a whole day.
pub(super) const CHANGE_MS_MAX: i64 = 26 * 60 * 60_000;

/// How far clock changes are searched: the search takes a microsecond per ten days.
#[cfg(feature = "recorder")]
pub(super) const SEARCH_MS_MAX: i64 = 366 * DAY_MS;

/// A time zone; `None` is UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Zone(pub(super) Option<Tz>);

/// A time range, `[start, end)`, in which the offset of the time zone does not change.
#[derive(Clone, Copy)]
pub(super) struct ConstantOffset {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Zone {
    /// Returns whether local time is UTC because no time zone is set.
    pub(super) fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// The offset of local time from UTC, in milliseconds.
    pub(super) fn offset_ms(self, at: i64) -> i64 {
        self.0.map_or(0, |timezone| {
            offset_ms(&timezone.offset_from_utc_datetime(&instant(at).naive_utc()))
        })
    }

    /// Local time, as the Unix milliseconds of the same time in UTC.
    pub(super) fn local_ms(self, at: i64) -> i64 {
        at + self.offset_ms(at)
    }

    /// The instant of a local time, by PostgreSQL's rules: the later of two, and in a gap by the offset before it.
    pub(super) fn instant_ms(self, local_ms: i64) -> i64 {
        let Some(timezone) = self.0 else {
            return local_ms;
        };
        let local = instant(local_ms).naive_utc();
        let offset = match timezone.offset_from_local_datetime(&local) {
            MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(_, offset) => offset,
            MappedLocalTime::None => GapInfo::new(&local, &timezone)
                .and_then(|gap| gap.begin)
                .map_or_else(|| timezone.offset_from_utc_datetime(&local), |(_, before)| before),
        };
        local_ms - offset_ms(&offset)
    }

    /// The part of `[from, to)` around `at` in which clocks do not change, within [`SEARCH_MS_MAX`].
    #[cfg(feature = "recorder")]
    pub(super) fn constant_offset_around(self, at: i64, from: i64, to: i64) -> ConstantOffset {
        let (from, to) = (from.max(at - SEARCH_MS_MAX), to.min(at + SEARCH_MS_MAX));
        let steady = self.constant_offsets(from, to);
        let around = steady.into_iter().find(|it| it.start_ms <= at && at < it.end_ms);
        around.unwrap_or(ConstantOffset { start_ms: at, end_ms: at + 1 })
    }

    /// Cuts `[from, to)` where clocks change.
    ///
    /// Changes are at least a day apart, so one check per day misses none.
    pub(super) fn constant_offsets(self, from: i64, to: i64) -> Vec<ConstantOffset> {
        let mut time_ranges = Vec::with_capacity(1);
        let mut start_ms = from;
        let mut seen = from;
        while seen < to && self.0.is_some() {
            let (mut same, mut other) = (seen, to.min(seen + DAY_MS));
            seen = other;
            let offset = self.offset_ms(same);
            if self.offset_ms(other) == offset {
                continue;
            }
            while other - same > 1 {
                let middle = same + (other - same) / 2;
                if self.offset_ms(middle) == offset { same = middle } else { other = middle }
            }
            if other < to {
                time_ranges.push(ConstantOffset { start_ms, end_ms: other });
                start_ms = other;
            }
        }
        if start_ms < to {
            time_ranges.push(ConstantOffset { start_ms, end_ms: to });
        }
        time_ranges
    }
}

fn offset_ms(offset: &impl Offset) -> i64 {
    i64::from(offset.fix().local_minus_utc()) * 1_000
}

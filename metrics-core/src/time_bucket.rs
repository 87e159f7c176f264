//! Time buckets: the calendar, time zones, and where a bucket of a report starts.
//!
//! Buckets are those of TimescaleDB's `time_bucket(width, at)` and `time_bucket(width, at, timezone)`: fixed widths
//! count from Monday 2000-01-03, months and years from 2000-01-01. With a time zone the instant is turned into local
//! time, local time is cut into buckets, and the start is turned back into an instant as PostgreSQL does it.
//!
//! # When clocks change
//!
//! Local time that is skipped or repeated gives buckets that are unusual, but the same as those of TimescaleDB:
//!
//! * A start that does not exist takes the offset before the change. A day that begins at 01:00 because midnight was
//!   skipped starts at 01:00.
//! * A start that exists twice is the later one. In hour buckets the repeated hour is **one** bucket, and an instant of
//!   its first pass is *before* the start of its bucket.
//! * A bucket that begins before the repeated hour and ends inside it, such as the three hours from 00:00 where 02:00
//!   is repeated, holds both passes of its part of that hour.
//! * Where the width does not divide the change, a bucket that begins in skipped time may even start later than the
//!   next one.
//!
//! Days and months are affected only in zones that change clocks around midnight. Time zones are those of `chrono-tz`,
//! which knows clock changes up to the year 2100. A leap second belongs to the second that follows it.
//!
//! ```
//! use chrono::{DateTime, Utc};
//! use metrics_core::time_bucket::Buckets;
//!
//! let at: DateTime<Utc> = "2023-05-01T23:30:00Z".parse()?;
//!
//! let days = Buckets::new("1 day".parse()?);
//! assert_eq!(days.label(days.start_of(at)), "2023-05-01T00:00:00.000000");
//!
//! let days = days.in_timezone("Europe/Amsterdam".parse()?);
//! assert_eq!(days.label(days.start_of(at)), "2023-05-02T00:00:00.000000+02:00");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod border;
mod span;

use std::iter;

use chrono::{DateTime, MappedLocalTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use self::span::Length;
pub use self::span::{Span, SpanError, Width};
use crate::time::{DAY_MS, instant};

/// The offsets of time zones are multiples of this since 1973, and so are clock changes since 2012, except in
/// Antarctica/Casey.
const ZONE_GRAIN_MS: i64 = 15 * 60_000;

/// The largest shift of a local time by a clock change: the largest skip or repeat is a whole day.
const CHANGE_MS_MAX: i64 = 26 * 60 * 60_000;

/// No zone changes clocks before the first, 1840, or, in `chrono-tz`, after the second, 2101.
const CHANGES_MS: (i64, i64) = (-4_102_444_800_000, 4_133_980_800_000);

/// How far [`Buckets::run`] searches for clock changes: the search takes a microsecond per ten days.
const LOOK_MS: i64 = 366 * DAY_MS;

/// A time range, `[from_ms, until_ms)` in Unix milliseconds, whose instants share a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    pub(crate) from_ms: i64,
    pub(crate) until_ms: i64,
    /// The start of a bucket, or an offset of local time, in milliseconds.
    pub(crate) value: i64,
}

/// Cuts time into the buckets of a report, by the rules in the module's documentation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Buckets {
    width: Width,
    timezone: Option<Tz>,
}

/// A time range, `[start, end)`, in which the offset of the time zone does not change.
#[derive(Clone, Copy)]
struct Steady {
    start_ms: i64,
    end_ms: i64,
}

impl Buckets {
    /// Returns buckets of UTC time, labelled without an offset.
    #[must_use]
    pub fn new(width: Width) -> Self {
        Self { width, timezone: None }
    }

    /// Returns the same buckets of the local time of `timezone`, labelled with its offset.
    #[must_use]
    pub fn in_timezone(self, timezone: Tz) -> Self {
        Self { timezone: Some(timezone), ..self }
    }

    /// The width of the buckets.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// The time zone of the buckets; `None` for UTC without an offset in labels.
    #[must_use]
    pub fn timezone(&self) -> Option<Tz> {
        self.timezone
    }

    /// The start of the bucket that holds `at`.
    ///
    /// It is not later than `at`, except in the hours around a clock change that the module describes. Buckets that
    /// begin before the earliest `DateTime` start there.
    #[must_use]
    pub fn start_of(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        instant(self.start_ms(at.timestamp_millis()))
    }

    /// The earliest start of a bucket that is later than `start`, or `None` at the end of time.
    ///
    /// For a `start` that [`start_of`](Self::start_of) gave it is the start of the following bucket: the instants in
    /// between belong to `start`, except in the hours around a clock change that the module describes. Buckets that no
    /// instant falls into, because their local time was skipped, are passed over.
    #[must_use]
    pub fn next(&self, start: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next_ms = self.next_ms(start.timestamp_millis())?;
        DateTime::from_timestamp_millis(next_ms)
    }

    /// The starts of all buckets that instants in `[from, to]` fall into, in order.
    ///
    /// Empty if `to` is before `from`. The last start may be later than `to`, and within a day of a clock change there
    /// may be a start at either end into which only instants just outside fall. The iterator is lazy, and long if
    /// narrow buckets fill a long time: take only as many as needed.
    pub fn starts(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        let (from, to) = (from.timestamp_millis(), to.timestamp_millis());
        // Around a clock change a later instant may fall into an earlier bucket, so both ends are searched range by
        // range.
        let first = self.steady(from, to.min(from + CHANGE_MS_MAX) + 1);
        let first = first.iter().flat_map(|it| self.first_starts_ms(*it, it.start_ms)).min();
        let last = self.steady(from.max(to - CHANGE_MS_MAX), to + 1);
        let last = last.iter().flat_map(|it| [it.start_ms, it.end_ms - 1]);
        let last = last.map(|at| self.start_ms(at)).max();

        let buckets = *self;
        iter::successors(first, move |start| buckets.next_ms(*start))
            .take_while(move |start| Some(*start) <= last)
            .map(instant)
    }

    /// The start of a bucket in responses.
    ///
    /// Without a time zone `"2023-05-02T00:00:00.000000"`; with one, local time and its offset,
    /// `"2023-05-02T00:00:00.000000+02:00"`, where the zone UTC, under any of its names, is `"Z"`.
    #[must_use]
    pub fn label(&self, start: DateTime<Utc>) -> String {
        let utc = start.naive_utc();
        let Some(timezone) = self.timezone else {
            return utc.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        };
        let offset = timezone.offset_from_utc_datetime(&utc).fix();
        // The last hours that a `DateTime` can hold have no local time.
        let local = utc.checked_add_offset(offset).unwrap_or(utc);
        let local = local.format("%Y-%m-%dT%H:%M:%S%.6f");
        if is_utc(timezone) { format!("{local}Z") } else { format!("{local}{offset}") }
    }

    /// A step, aligned to the Unix epoch and at most a day, within which no bucket ends.
    ///
    /// All instants of a step fall into one bucket, so sums per step add up to sums per bucket. With a time zone the
    /// step is 15 minutes or a divisor of it. That holds from 2012 on, except in Antarctica/Casey, which changed clocks
    /// at 00:01 until 2022, as others did until 2011. [`grain_between`](Self::grain_between) is exact, includes earlier
    /// times, and gives a wider step.
    #[must_use]
    pub fn grain(&self) -> TimeDelta {
        let grain_ms = match self.timezone {
            None => self.local_grain_ms(),
            Some(_) => gcd(self.local_grain_ms(), ZONE_GRAIN_MS),
        };
        TimeDelta::milliseconds(grain_ms)
    }

    /// Like [`grain`](Self::grain), with a step as wide as the time zone's offsets and clock changes between `from` and
    /// `to` allow: an hour where they are whole hours.
    ///
    /// Takes time in proportion to the days between: well under a millisecond for ten years.
    #[must_use]
    pub fn grain_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        let (earliest, latest) = CHANGES_MS;
        let from = from.timestamp_millis().clamp(earliest, latest);
        let to = to.timestamp_millis().clamp(earliest, latest);
        let steady = self.steady(from, to + 1);
        let offsets = steady.iter().map(|it| self.offset_ms(it.start_ms));
        let changes = steady.iter().skip(1).map(|it| it.start_ms);
        TimeDelta::milliseconds(offsets.chain(changes).fold(self.local_grain_ms(), gcd))
    }

    /// Returns whether all instants of `[from, to]`, a day at most, fall into one bucket.
    #[cfg(any(feature = "recorder", test))]
    pub(crate) fn are_one(&self, from: i64, to: i64) -> bool {
        // Without clock changes, buckets follow each other as time does.
        let steady = self.timezone.is_none() || self.steady(from, to + 1).len() == 1;
        if steady {
            return self.start_ms(from) == self.start_ms(to);
        }
        self.starts(instant(from), instant(to)).nth(1).is_none()
    }

    /// The longest time range around `at` whose instants fall into the bucket of `at` by the same offset, with clock
    /// changes up to [`LOOK_MS`] away.
    pub(crate) fn run(&self, at: i64) -> Run {
        let local = self.local_ms(at);
        let border = self.width.border_ms(local);
        let start_ms = self.instant_ms(border);
        let next = self.width.next_border_ms(local).unwrap_or(local + LOOK_MS);
        let (from_ms, until_ms) = (border + at - local, next + at - local);
        if self.timezone.is_none() {
            return Run { from_ms, until_ms, value: start_ms };
        }
        let Steady { start_ms: from_ms, end_ms: until_ms } =
            self.steady_around(at, from_ms, until_ms);
        Run { from_ms, until_ms, value: start_ms }
    }

    /// The time ranges, `[from, until)`, whose instants fall into the bucket that starts at `start`.
    pub(crate) fn stretches(&self, start: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
        let buckets = *self;
        let end = |local| buckets.width.next_border_ms(local).unwrap_or(local + LOOK_MS);
        let until = start + end(buckets.local_ms(start)) - buckets.local_ms(start);
        let steady = match buckets.timezone {
            None => vec![Steady { start_ms: start, end_ms: until }],
            Some(_) => buckets.steady(start - CHANGE_MS_MAX, until + CHANGE_MS_MAX),
        };
        // The local times of `start`, by the offsets before and after a clock change.
        let offsets = steady.iter().map(|it| buckets.offset_ms(it.start_ms));
        let mut locals: Vec<_> = offsets.map(|offset| start + offset).collect();
        locals.sort_unstable();
        locals.dedup();
        locals.retain(|local| {
            buckets.width.border_ms(*local) == *local && buckets.instant_ms(*local) == start
        });
        steady.into_iter().flat_map(move |it| {
            let offset = buckets.offset_ms(it.start_ms);
            let locals = locals.clone().into_iter();
            let within = locals.map(move |local| {
                let end = buckets.width.next_border_ms(local).unwrap_or(local + LOOK_MS);
                ((local - offset).max(it.start_ms), (end - offset).min(it.end_ms))
            });
            within.filter(|(from, until)| from < until)
        })
    }

    /// The time range around `at` with one offset of local time, which is the value.
    pub(crate) fn offset_run(&self, at: i64) -> Run {
        let Steady { start_ms, end_ms } = self.steady_around(at, i64::MIN, i64::MAX);
        Run { from_ms: start_ms, until_ms: end_ms, value: self.offset_ms(at) }
    }

    /// The part of `[from, to)` around `at` in which clocks do not change, within [`LOOK_MS`].
    fn steady_around(&self, at: i64, from: i64, to: i64) -> Steady {
        let (from, to) = (from.max(at - LOOK_MS), to.min(at + LOOK_MS));
        let steady = self.steady(from, to);
        let around = steady.into_iter().find(|it| it.start_ms <= at && at < it.end_ms);
        around.unwrap_or(Steady { start_ms: at, end_ms: at + 1 })
    }

    fn start_ms(&self, at: i64) -> i64 {
        self.instant_ms(self.width.border_ms(self.local_ms(at)))
    }

    /// The earliest start after `at`, whether `at` is a start or not.
    fn next_ms(&self, at: i64) -> Option<i64> {
        let border = self.width.next_border_ms(self.local_ms(at))?;
        if self.timezone.is_none() {
            return Some(border);
        }
        // Starts that are not simply the next border lie near a clock change. They matter if the change is near `at` or
        // the border.
        let near = border - self.offset_ms(at);
        let around = |at| self.steady(at - CHANGE_MS_MAX, at + CHANGE_MS_MAX);
        let (here, there) = (around(at), around(near));
        if here.len() == 1 && there.len() == 1 {
            return Some(border - self.offset_ms(near));
        }
        let stretches = here.iter().chain(&there);
        let starts = stretches.flat_map(|steady| self.first_starts_ms(*steady, at + 1));
        starts.filter(|start| *start > at).min()
    }

    /// The starts in a range that may be the earliest after `from`: that of the bucket in which the range begins, and
    /// that of its first border from `from` on. Starts of later borders are later.
    fn first_starts_ms(&self, steady: Steady, from: i64) -> impl Iterator<Item = i64> + use<> {
        let from = from.max(steady.start_ms);
        let begun = self.start_ms(steady.start_ms);
        let border = self.width.next_border_ms(self.local_ms(from) - 1);
        let reached = border.filter(|border| border - self.offset_ms(from) < steady.end_ms);
        iter::once(begun).chain(reached.map(|border| self.instant_ms(border)))
    }

    /// Cuts `[from, to)` where clocks change.
    ///
    /// Changes are at least a day apart, so one check per day misses none.
    fn steady(&self, from: i64, to: i64) -> Vec<Steady> {
        let mut stretches = Vec::with_capacity(1);
        let mut start_ms = from;
        let mut seen = from;
        while seen < to && self.timezone.is_some() {
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
                stretches.push(Steady { start_ms, end_ms: other });
                start_ms = other;
            }
        }
        if start_ms < to {
            stretches.push(Steady { start_ms, end_ms: to });
        }
        stretches
    }

    /// The grain of local time.
    fn local_grain_ms(&self) -> i64 {
        match self.width.span().0 {
            // The origin is a whole number of days, so it does not matter.
            Length::Fixed(width) => gcd(width, DAY_MS),
            Length::Months(_) => DAY_MS,
        }
    }

    fn offset_ms(&self, at: i64) -> i64 {
        self.timezone.map_or(0, |timezone| {
            offset_ms(&timezone.offset_from_utc_datetime(&instant(at).naive_utc()))
        })
    }

    /// Local time, as the Unix milliseconds of the same time in UTC.
    fn local_ms(&self, at: i64) -> i64 {
        at + self.offset_ms(at)
    }

    /// The instant of a local time, by PostgreSQL's rules: the later of two, and in a gap by the offset before it.
    fn instant_ms(&self, local_ms: i64) -> i64 {
        let Some(timezone) = self.timezone else {
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
}

fn offset_ms(offset: &impl Offset) -> i64 {
    i64::from(offset.fix().local_minus_utc()) * 1_000
}

/// Returns whether a zone is UTC itself, rather than one whose offset happens to be zero.
fn is_utc(timezone: Tz) -> bool {
    let name = timezone.name();
    let name = name.strip_prefix("Etc/").unwrap_or(name);
    matches!(name, "UTC" | "UCT" | "Universal" | "Zulu")
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;

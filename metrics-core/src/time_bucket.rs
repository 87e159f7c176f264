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

mod boundary;
#[cfg(feature = "recorder")]
mod ranges;
mod span;
mod zone;

use std::iter;

use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

#[cfg(feature = "recorder")]
pub(crate) use self::ranges::Run;
use self::span::Length;
pub use self::span::{Span, SpanError, Width};
use self::zone::{CHANGE_MS_MAX, ConstantOffset, Zone};
use crate::time::{DAY_MS, instant};

/// The offsets of time zones are multiples of this since 1973, and so are clock changes since 2012, except in
/// Antarctica/Casey.
const ZONE_GRAIN_MS: i64 = 15 * 60_000;

/// No zone changes clocks before the first, 1840, or, in `chrono-tz`, after the second, 2101.
const CHANGES_MS: (i64, i64) = (-4_102_444_800_000, 4_133_980_800_000);

/// Cuts time into the buckets of a report, by the rules in the module's documentation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Buckets {
    width: Width,
    zone: Zone,
}

impl Buckets {
    /// Returns buckets of UTC time, labelled without an offset.
    #[must_use]
    pub fn new(width: Width) -> Self {
        Self { width, zone: Zone(None) }
    }

    /// Returns the same buckets of the local time of `timezone`, labelled with its offset.
    #[must_use]
    pub fn in_timezone(self, timezone: Tz) -> Self {
        Self { zone: Zone(Some(timezone)), ..self }
    }

    /// The width of the buckets.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// The time zone of the buckets; `None` for UTC without an offset in labels.
    #[must_use]
    pub fn timezone(&self) -> Option<Tz> {
        self.zone.0
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
        let first = self.zone.constant_offsets(from, to.min(from + CHANGE_MS_MAX) + 1);
        let first = first.iter().flat_map(|it| self.first_starts_ms(*it, it.start_ms)).min();
        let last = self.zone.constant_offsets(from.max(to - CHANGE_MS_MAX), to + 1);
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
        let Some(timezone) = self.zone.0 else {
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
        let grain_ms = match self.zone.0 {
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
        let steady = self.zone.constant_offsets(from, to + 1);
        let offsets = steady.iter().map(|it| self.zone.offset_ms(it.start_ms));
        let changes = steady.iter().skip(1).map(|it| it.start_ms);
        TimeDelta::milliseconds(offsets.chain(changes).fold(self.local_grain_ms(), gcd))
    }

    fn start_ms(&self, at: i64) -> i64 {
        self.zone.instant_ms(self.width.boundary_ms(self.zone.local_ms(at)))
    }

    /// The earliest start after `at`, whether `at` is a start or not.
    fn next_ms(&self, at: i64) -> Option<i64> {
        let boundary = self.width.next_boundary_ms(self.zone.local_ms(at))?;
        if self.zone.is_none() {
            return Some(boundary);
        }
        // Starts that are not simply the next boundary lie near a clock change. They matter if the change is near `at` or
        // the boundary.
        let near = boundary - self.zone.offset_ms(at);
        let around = |at| self.zone.constant_offsets(at - CHANGE_MS_MAX, at + CHANGE_MS_MAX);
        let (here, there) = (around(at), around(near));
        if here.len() == 1 && there.len() == 1 {
            return Some(boundary - self.zone.offset_ms(near));
        }
        let time_ranges = here.iter().chain(&there);
        let starts = time_ranges.flat_map(|steady| self.first_starts_ms(*steady, at + 1));
        starts.filter(|start| *start > at).min()
    }

    /// The starts in a range that may be the earliest after `from`: that of the bucket in which the range begins, and
    /// that of its first boundary from `from` on. Starts of later boundaries are later.
    fn first_starts_ms(
        &self,
        steady: ConstantOffset,
        from: i64,
    ) -> impl Iterator<Item = i64> + use<> {
        let from = from.max(steady.start_ms);
        let begun = self.start_ms(steady.start_ms);
        let boundary = self.width.next_boundary_ms(self.zone.local_ms(from) - 1);
        let reached =
            boundary.filter(|boundary| boundary - self.zone.offset_ms(from) < steady.end_ms);
        iter::once(begun).chain(reached.map(|boundary| self.zone.instant_ms(boundary)))
    }

    /// The grain of local time.
    fn local_grain_ms(&self) -> i64 {
        match self.width.span().0 {
            // The origin is a whole number of days, so it does not matter.
            Length::Fixed(width) => gcd(width, DAY_MS),
            Length::Months(_) => DAY_MS,
        }
    }
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

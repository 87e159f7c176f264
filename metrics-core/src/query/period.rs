//! Periods: the milliseconds of a timeframe, and those of the compared period.

use std::str::FromStr;

use chrono::{
    DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset,
    TimeZone, Utc,
};
use chrono_tz::{GapInfo, Tz};

use super::error::QueryError;
use super::{Timeframe, instant};
use crate::time_bucket::Span;

/// The range of sessions' starts: from one Unix time in milliseconds to another, both included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// The first start that counts.
    pub from_ms: i64,
    /// The last start that counts.
    pub to_ms: i64,
}

/// The sessions that those of a query are compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Compare {
    /// The sessions of the period before: of yesterday for today, until the same time of day; of last month for this
    /// month; else of the period that ends where the query's begins, and is as long.
    PreviousPeriod,
    /// The sessions of the same dates a year before, in local time.
    PreviousYear,
    /// The sessions of another timeframe.
    Timeframe(Timeframe),
}

const EXPECTED: &str = "a duration such as \"7 days\", a date, an RFC 3339 time, \"today\", \"yesterday\", \
     \"this week\", \"this month\", \"this year\", \"last week\", \"last month\", \"last year\", \"last 12 months\" or \
     \"all\"";

impl FromStr for Timeframe {
    type Err = QueryError;

    /// Parses a duration, with or without `last` before it; a date, which is that day; an RFC 3339 time, from which on
    /// sessions count; or a name.
    fn from_str(text: &str) -> Result<Self, QueryError> {
        let named = match text {
            "today" => Some(Self::Today),
            "yesterday" => Some(Self::Yesterday),
            "this week" => Some(Self::ThisWeek),
            "this month" => Some(Self::ThisMonth),
            "this year" => Some(Self::ThisYear),
            "last week" => Some(Self::LastWeek),
            "last month" => Some(Self::LastMonth),
            "last year" => Some(Self::LastYear),
            "all" => Some(Self::ALL),
            _ => None,
        };
        let span =
            || text.strip_prefix("last ").unwrap_or(text).parse::<Span>().ok().map(Self::Last);
        let date = || {
            let date = text.parse::<NaiveDate>().ok().filter(|date| has_four_digits(date.year()));
            date.map(|date| Self::Dates(date, date))
        };
        let time = || {
            let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
            time.filter(|time| has_four_digits(time.year())).map(Self::From)
        };
        let timeframe = named.or_else(date).or_else(time).or_else(span);
        timeframe.ok_or_else(|| QueryError::invalid("timeframe", text, EXPECTED))
    }
}

impl FromStr for Compare {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        match text {
            "previous_period" => Ok(Self::PreviousPeriod),
            "previous_year" => Ok(Self::PreviousYear),
            text => text.parse().map(Self::Timeframe).map_err(|_| {
                let expected = "\"previous_period\", \"previous_year\" or a timeframe";
                QueryError::invalid("compare", text, expected)
            }),
        }
    }
}

impl Timeframe {
    /// Returns the period of the timeframe, with the days of `timezone`, or of UTC. Without a named end, it ends at
    /// `now` at the latest.
    #[must_use]
    pub fn period(self, now: DateTime<Utc>, timezone: Option<Tz>) -> Period {
        let timezone = timezone.unwrap_or(Tz::UTC);
        let today = local(now, timezone).date();
        let now_ms = now.timestamp_millis();
        let since =
            |date: NaiveDate| Period { from_ms: midnight_ms(date, timezone), to_ms: now_ms };
        let before = |after: NaiveDate, first: NaiveDate| Period {
            from_ms: midnight_ms(first, timezone),
            to_ms: midnight_ms(after, timezone) - 1,
        };
        let monday = days_before(today, today.weekday().num_days_from_monday().into());
        let first = today.with_day(1).unwrap_or(today);
        let new_year = today.with_ordinal(1).unwrap_or(today);
        match self {
            Self::Today => since(today),
            Self::Yesterday => before(today, days_before(today, 1)),
            Self::ThisWeek => since(monday),
            Self::ThisMonth => since(first),
            Self::ThisYear => since(new_year),
            Self::LastWeek => before(monday, days_before(monday, 7)),
            Self::LastMonth => before(first, months_before(first, 1)),
            Self::LastYear => before(new_year, months_before(new_year, 12)),
            Self::Dates(first, last) => {
                before(last.checked_add_days(Days::new(1)).unwrap_or(last), first)
            }
            Self::Last(_) | Self::From(_) | Self::Between(..) => {
                let (from_ms, to_ms) = self.resolve(now);
                let has_end = matches!(self, Self::Between(..)) && self != Self::ALL;
                Period { from_ms, to_ms: if has_end { to_ms } else { to_ms.min(now_ms) } }
            }
        }
    }
}

impl Compare {
    /// Returns the period that `current`, the period of `timeframe`, is compared with.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if `timeframe` has no beginning, so that no period is before it.
    pub fn period(
        self,
        timeframe: Timeframe,
        current: Period,
        now: DateTime<Utc>,
        timezone: Option<Tz>,
    ) -> Result<Period, QueryError> {
        if let Self::Timeframe(other) = self {
            return Ok(other.period(now, timezone));
        }
        if timeframe == Timeframe::ALL {
            let expected = "a timeframe, since nothing is before \"all\"";
            return Err(QueryError::invalid("compare", "all", expected));
        }
        let timezone = timezone.unwrap_or(Tz::UTC);
        let both = |shift: &dyn Fn(NaiveDateTime) -> Option<NaiveDateTime>| Period {
            from_ms: shifted_ms(current.from_ms, timezone, shift, MappedLocalTime::earliest),
            // A repeated hour belongs to its day with both passes.
            to_ms: shifted_ms(current.to_ms, timezone, shift, MappedLocalTime::latest),
        };
        let days = |days| both(&|at: NaiveDateTime| at.checked_sub_days(Days::new(days)));
        let months = |months| both(&|at: NaiveDateTime| at.checked_sub_months(Months::new(months)));
        Ok(match (self, timeframe) {
            (Self::PreviousYear, _) | (_, Timeframe::ThisYear | Timeframe::LastYear) => months(12),
            (_, Timeframe::Today | Timeframe::Yesterday) => days(1),
            (_, Timeframe::ThisWeek | Timeframe::LastWeek) => days(7),
            (_, Timeframe::ThisMonth) => months(1),
            (_, Timeframe::LastMonth) => {
                // A shorter month before has no day with the number of this month's last day.
                let first = local(instant(current.from_ms), timezone).date();
                let from_ms = midnight_ms(months_before(first, 1), timezone);
                Period { from_ms, to_ms: current.from_ms - 1 }
            }
            (_, Timeframe::Dates(first, last)) => {
                days((last - first).num_days().max(0).unsigned_abs() + 1)
            }
            (_, Timeframe::Last(span)) => {
                let from =
                    span.before(instant(current.from_ms)).unwrap_or(DateTime::<Utc>::MIN_UTC);
                Period { from_ms: from.timestamp_millis(), to_ms: current.from_ms - 1 }
            }
            _ => {
                let len_ms = current.to_ms.saturating_sub(current.from_ms).saturating_add(1).max(0);
                let from_ms = current.from_ms.saturating_sub(len_ms);
                Period { from_ms, to_ms: current.from_ms - 1 }
            }
        })
    }
}

/// Returns whether RFC 3339 can write the year. Buckets around the ends of chrono's calendar would have others.
fn has_four_digits(year: i32) -> bool {
    (0..=9_999).contains(&year)
}

fn local(at: DateTime<Utc>, timezone: Tz) -> NaiveDateTime {
    let utc = at.naive_utc();
    let offset = timezone.offset_from_utc_datetime(&utc).fix();
    // The first and the last hours of the calendar have no local time.
    utc.checked_add_offset(offset).unwrap_or(utc)
}

fn days_before(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_sub_days(Days::new(days)).unwrap_or(date)
}

fn months_before(date: NaiveDate, months: u32) -> NaiveDate {
    date.checked_sub_months(Months::new(months)).unwrap_or(date)
}

fn midnight_ms(date: NaiveDate, timezone: Tz) -> i64 {
    unix_ms(date.and_time(NaiveTime::MIN), timezone, MappedLocalTime::earliest)
}

fn shifted_ms(
    at_ms: i64,
    timezone: Tz,
    shift: &dyn Fn(NaiveDateTime) -> Option<NaiveDateTime>,
    pick: Pick,
) -> i64 {
    let at = local(instant(at_ms), timezone);
    unix_ms(shift(at).unwrap_or(at), timezone, pick)
}

/// Selects one of the instants with a local time after clocks were set back.
type Pick = fn(MappedLocalTime<DateTime<Tz>>) -> Option<DateTime<Tz>>;

/// Returns an instant with this local time; if the time was skipped, the first after it.
fn unix_ms(at: NaiveDateTime, timezone: Tz, pick: Pick) -> i64 {
    let gap_end = || GapInfo::new(&at, &timezone).and_then(|gap| gap.end);
    let found = pick(timezone.from_local_datetime(&at)).or_else(gap_end);
    found.map_or_else(|| at.and_utc().timestamp_millis(), |found| found.timestamp_millis())
}

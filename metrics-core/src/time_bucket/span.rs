//! Lengths of time as users write them: `"15 minutes"`, `"1 year 6 months"`.
//!
//! A length is either fixed, in whole milliseconds (a day is 24 hours), or whole months, whose
//! length depends on where they start. The two do not mix.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Months, TimeDelta, Utc};

use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

const WEEK_MS: i64 = 7 * DAY_MS;
const YEAR_MONTHS: i64 = 12;

/// The longest span: 1000 years. Longer ones are mistakes, and this limit keeps all sums far from the ends of an `i64`.
const MONTHS_MAX: i64 = 1_000 * YEAR_MONTHS;
const FIXED_MS_MAX: i64 = 365_250 * DAY_MS;

/// More digits than this after the point are never whole: no unit has more than ten factors of two.
const FRACTION_DIGITS_MAX: usize = 10;

/// The largest part of a text that an error repeats.
const EXCERPT_CHARS_MAX: usize = 24;

/// A length of time, possibly zero, at most 1000 years: fixed, or in whole months.
///
/// Parses one or more terms of an amount and a unit. Units are seconds, minutes, hours, days,
/// weeks, months and years, in singular, plural and the abbreviations that PostgreSQL takes, in
/// upper or lower case. An amount may have decimals if it comes to whole milliseconds or months.
///
/// ```
/// use metrics_core::time_bucket::Span;
///
/// let span: Span = "1 day 12 hours".parse()?;
/// assert_eq!(span, "1.5d".parse()?);
/// assert_eq!(span.fixed_ms(), Some(129_600_000));
/// assert_eq!("2 mons".parse::<Span>()?.fixed_ms(), None);
/// # Ok::<(), metrics_core::time_bucket::SpanError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Span(
    // Invariant: from 0 to the maximum of its kind; zero is `Fixed(0)`.
    pub(super) Length,
);

/// The two kinds of lengths.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Length {
    /// Milliseconds.
    Fixed(i64),
    /// Calendar months.
    Months(i64),
}

/// The width of a bucket: a [`Span`] above zero.
///
/// ```
/// use metrics_core::time_bucket::Width;
///
/// assert_eq!("12 MONTHS".parse::<Width>()?.to_string(), "1 year");
/// assert!("0 seconds".parse::<Width>().is_err());
/// # Ok::<(), metrics_core::time_bucket::SpanError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Width(
    // Invariant: not zero.
    Span,
);

/// Why a text is not a [`Span`] or a [`Width`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// The text is empty.
    #[error("no duration given, expected for example \"15 minutes\"")]
    Empty,
    /// The text, or the rest after a term, does not start with a number.
    #[error("expected a number at {0:?}, as in \"15 minutes\"")]
    Amount(String),
    /// A number stands alone.
    #[error(
        "{0:?} has no unit, expected seconds, minutes, hours, days, weeks, months or years, as in \"15 minutes\""
    )]
    NoUnit(String),
    /// The unit is unknown.
    #[error(
        "unknown unit {0:?}, expected seconds, minutes, hours, days, weeks, months or years, as in \"15 minutes\""
    )]
    UnknownUnit(String),
    /// The decimals do not come to whole milliseconds, or whole months.
    #[error("{0:?} is too fine, expected whole milliseconds or whole months")]
    Inexact(String),
    /// Months or years stand beside fixed units.
    #[error(
        "months and years do not mix with other units, expected for example \"1 year 6 months\" or \"1 day 12 hours\""
    )]
    Mixed,
    /// The sum is beyond 1000 years.
    #[error("too long, expected at most 1000 years")]
    TooLong,
    /// A width is zero.
    #[error("a width of zero, expected one above zero, for example \"15 minutes\"")]
    Zero,
}

impl Span {
    /// The span of length zero.
    pub const ZERO: Self = Self(Length::Fixed(0));
    /// Seven days.
    pub const WEEK: Self = Self(Length::Fixed(WEEK_MS));

    /// A fixed span of `ms` milliseconds, or `None` beyond 1000 years.
    #[must_use]
    pub fn from_ms(ms: u64) -> Option<Self> {
        let ms = i64::try_from(ms).ok()?;
        (ms <= FIXED_MS_MAX).then_some(Self(Length::Fixed(ms)))
    }

    /// A span of calendar months, or `None` beyond 1000 years.
    #[must_use]
    pub fn from_months(months: u32) -> Option<Self> {
        match i64::from(months) {
            0 => Some(Self::ZERO),
            months => (months <= MONTHS_MAX).then_some(Self(Length::Months(months))),
        }
    }

    /// The milliseconds of a fixed span, `None` for months.
    #[must_use]
    pub fn fixed_ms(self) -> Option<u64> {
        match self.0 {
            Length::Fixed(ms) => Some(ms.unsigned_abs()),
            Length::Months(_) => None,
        }
    }

    /// Returns true if the span is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The instant that is this span before `now`, or `None` before the earliest one.
    ///
    /// Months are counted in UTC and keep the day of the month, or take the last day of a month
    /// that is too short, as PostgreSQL does: one month before 31 March is 28 or 29 February.
    #[must_use]
    pub fn before(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.0 {
            Length::Fixed(ms) => now.checked_sub_signed(TimeDelta::try_milliseconds(ms)?),
            Length::Months(months) => now.checked_sub_months(Months::new(months.try_into().ok()?)),
        }
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let mut rest = text.trim_ascii();
        if rest.is_empty() {
            return Err(SpanError::Empty);
        }
        let mut sum = None;
        while !rest.is_empty() {
            let (term, after) = parse_term(rest)?;
            sum = Some(match sum {
                None => term,
                Some(sum) => add(sum, term)?,
            });
            rest = after.trim_ascii_start();
        }
        match sum {
            None | Some(Length::Months(0)) => Ok(Self::ZERO),
            Some(length) => Ok(Self(length)),
        }
    }
}

impl fmt::Display for Span {
    /// Writes the span in the largest unit that fits, so that it parses to the same span here and
    /// in PostgreSQL: `"90 minutes"`, `"1 day"`, `"1.5 seconds"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, unit) = match self.0 {
            Length::Months(months) if months % YEAR_MONTHS == 0 => (months / YEAR_MONTHS, "year"),
            Length::Months(months) => (months, "month"),
            Length::Fixed(0) => (0, "second"),
            Length::Fixed(ms) if ms % WEEK_MS == 0 => (ms / WEEK_MS, "week"),
            Length::Fixed(ms) if ms % DAY_MS == 0 => (ms / DAY_MS, "day"),
            Length::Fixed(ms) if ms % HOUR_MS == 0 => (ms / HOUR_MS, "hour"),
            Length::Fixed(ms) if ms % MINUTE_MS == 0 => (ms / MINUTE_MS, "minute"),
            Length::Fixed(ms) if ms % SECOND_MS == 0 => (ms / SECOND_MS, "second"),
            Length::Fixed(ms) => {
                return write!(f, "{}.{:03} seconds", ms / SECOND_MS, ms % SECOND_MS);
            }
        };
        let plural = if amount == 1 { "" } else { "s" };
        write!(f, "{amount} {unit}{plural}")
    }
}

impl Width {
    /// One hour.
    pub const HOUR: Self = Self(Span(Length::Fixed(HOUR_MS)));
    /// One day of 24 hours, or of local time if the buckets have a time zone.
    pub const DAY: Self = Self(Span(Length::Fixed(DAY_MS)));
    /// Twelve months.
    pub const YEAR: Self = Self(Span(Length::Months(YEAR_MONTHS)));

    /// The width as a span.
    #[must_use]
    pub fn span(self) -> Span {
        self.0
    }
}

impl TryFrom<Span> for Width {
    type Error = SpanError;

    fn try_from(span: Span) -> Result<Self, SpanError> {
        if span.is_zero() { Err(SpanError::Zero) } else { Ok(Self(span)) }
    }
}

impl From<Width> for Span {
    fn from(width: Width) -> Self {
        width.span()
    }
}

impl FromStr for Width {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        text.parse::<Span>()?.try_into()
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses one amount and its unit at the start of `text`, and returns the rest as well.
fn parse_term(text: &str) -> Result<(Length, &str), SpanError> {
    let (amount, rest) = split_at_first(text, |c| !c.is_ascii_digit() && c != '.');
    if amount.is_empty() {
        return Err(SpanError::Amount(excerpt(text)));
    }
    let (unit, rest) = split_at_first(rest.trim_ascii_start(), |c| !c.is_alphabetic());
    if unit.is_empty() {
        return Err(SpanError::NoUnit(excerpt(amount)));
    }
    let length = match unit_of(unit).ok_or_else(|| SpanError::UnknownUnit(excerpt(unit)))? {
        Length::Fixed(unit_ms) => Length::Fixed(scale(amount, unit_ms, FIXED_MS_MAX)?),
        Length::Months(unit_months) => Length::Months(scale(amount, unit_months, MONTHS_MAX)?),
    };
    Ok((length, rest))
}

/// The length of one unit called `name`.
fn unit_of(name: &str) -> Option<Length> {
    Some(match name.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => Length::Fixed(SECOND_MS),
        "m" | "min" | "mins" | "minute" | "minutes" => Length::Fixed(MINUTE_MS),
        "h" | "hr" | "hrs" | "hour" | "hours" => Length::Fixed(HOUR_MS),
        "d" | "day" | "days" => Length::Fixed(DAY_MS),
        "w" | "week" | "weeks" => Length::Fixed(WEEK_MS),
        "mon" | "mons" | "month" | "months" => Length::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Length::Months(YEAR_MONTHS),
        _ => return None,
    })
}

/// Multiplies the decimal number `amount` by `unit`, if the product is whole and at most `max`.
fn scale(amount: &str, unit: i64, max: i64) -> Result<i64, SpanError> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(SpanError::Amount(excerpt(amount)));
    }
    // Only digits remain, so parsing can only fail by their number.
    let whole: i64 = whole.parse().map_err(|_| SpanError::TooLong)?;
    let whole = whole.checked_mul(unit).ok_or(SpanError::TooLong)?;

    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(SpanError::Inexact(excerpt(amount)));
    }
    let (mut part, mut denominator) = (0_i128, 1_i128);
    for digit in fraction.bytes() {
        part = part * 10 + i128::from(digit - b'0');
        denominator *= 10;
    }
    part *= i128::from(unit);
    if part % denominator != 0 {
        return Err(SpanError::Inexact(excerpt(amount)));
    }
    let product = i128::from(whole) + part / denominator;
    i64::try_from(product).ok().filter(|product| *product <= max).ok_or(SpanError::TooLong)
}

/// Adds two lengths of one kind.
fn add(a: Length, b: Length) -> Result<Length, SpanError> {
    let (sum, max) = match (a, b) {
        (Length::Fixed(a), Length::Fixed(b)) => (Length::Fixed(a + b), a + b <= FIXED_MS_MAX),
        (Length::Months(a), Length::Months(b)) => (Length::Months(a + b), a + b <= MONTHS_MAX),
        _ => return Err(SpanError::Mixed),
    };
    if max { Ok(sum) } else { Err(SpanError::TooLong) }
}

/// Splits `text` before the first character that is an `end`.
fn split_at_first(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

/// The start of a text, short enough to repeat in an error.
fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;

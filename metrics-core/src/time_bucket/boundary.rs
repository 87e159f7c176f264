//! The boundaries of buckets in local time.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};

use super::span::{Length, Width};
use crate::time::{DAY_MS, instant};

/// Monday 2000-01-03, the origin of fixed widths. It is a whole number of days after the epoch.
const ORIGIN_MS: i64 = 10_959 * DAY_MS;

/// January 2000, the origin of months; months are numbered from year 0.
const ORIGIN_MONTH: i64 = 2_000 * 12;

impl Width {
    /// The last boundary at or before a local time, not before the earliest `DateTime`.
    pub(super) fn boundary_ms(self, local_ms: i64) -> i64 {
        match self.span().0 {
            Length::Fixed(width) => {
                ORIGIN_MS + (local_ms - ORIGIN_MS).div_euclid(width).saturating_mul(width)
            }
            Length::Months(width) => month_ms(boundary_month(local_ms, width)).unwrap_or(i64::MIN),
        }
        .max(DateTime::<Utc>::MIN_UTC.timestamp_millis())
    }

    /// The first boundary after a local time, `None` after the latest `DateTime`.
    pub(super) fn next_boundary_ms(self, local_ms: i64) -> Option<i64> {
        let next = match self.span().0 {
            Length::Fixed(width) => {
                ORIGIN_MS + ((local_ms - ORIGIN_MS).div_euclid(width) + 1) * width
            }
            Length::Months(width) => month_ms(boundary_month(local_ms, width) + width)?,
        };
        (next <= DateTime::<Utc>::MAX_UTC.timestamp_millis()).then_some(next)
    }
}

/// The number of the month that begins the bucket of `width` months.
fn boundary_month(local_ms: i64, width: i64) -> i64 {
    let local = instant(local_ms);
    let month = i64::from(local.year()) * 12 + i64::from(local.month0());
    ORIGIN_MONTH + (month - ORIGIN_MONTH).div_euclid(width) * width
}

/// The start of a month by its number.
fn month_ms(month: i64) -> Option<i64> {
    let year = i32::try_from(month.div_euclid(12)).ok()?;
    let month = u32::try_from(month.rem_euclid(12)).ok()? + 1;
    let first = NaiveDate::from_ymd_opt(year, month, 1)?.and_time(NaiveTime::MIN);
    Some(first.and_utc().timestamp_millis())
}

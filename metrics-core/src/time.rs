//! Unix time in milliseconds, and the instants of the calendar.

use chrono::{DateTime, Utc};

pub(crate) const SECOND_MS: i64 = 1_000;
pub(crate) const MINUTE_MS: i64 = 60 * SECOND_MS;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// The instant of a Unix time in milliseconds. A time beyond the calendar is its first or last instant.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use metrics_core::query::instant;
///
/// assert_eq!(instant(1_500).timestamp_millis(), 1_500);
/// assert_eq!(instant(i64::MIN), DateTime::<Utc>::MIN_UTC);
/// ```
#[must_use]
pub fn instant(unix_ms: i64) -> DateTime<Utc> {
    let nearest = if unix_ms < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_millis(unix_ms).unwrap_or(nearest)
}

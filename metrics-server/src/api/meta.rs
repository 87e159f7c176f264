//! The metadata of a response: its period, interval and time zone.

use chrono::SecondsFormat;
use chrono_tz::Tz;
use metrics_core::query::{BucketQuery, EngagementQuery, Period, instant};
use metrics_core::time_bucket::Buckets;
use metrics_core::{Reports, Timeframe};
use serde::Serialize;

/// The members of a response beside its rows.
#[derive(Serialize)]
pub(crate) struct About {
    meta: Meta,
}

/// The metadata of a response.
#[derive(Debug, Serialize)]
pub(crate) struct Meta {
    /// The number of all rows, regardless of `limit` and `offset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    timeframe: Frame,
    /// The width of time buckets.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    timezone: Option<&'static str>,
}

impl Meta {
    pub(crate) fn new(reports: Reports<'_>, timeframe: Timeframe, timezone: Option<Tz>) -> Self {
        let timeframe = Frame::of(timeframe.period(reports.now(), timezone));
        Self { rows: None, timeframe, interval: None, timezone: timezone.map(|zone| zone.name()) }
    }

    /// The metadata of a report of plays or sources.
    pub(crate) fn of_buckets(reports: Reports<'_>, query: &BucketQuery) -> Self {
        let BucketQuery { timeframe, buckets, .. } = query;
        Self::new(reports, *timeframe, buckets.timezone()).per(*buckets)
    }

    /// The metadata of a report of engagement.
    pub(crate) fn of_engagement(reports: Reports<'_>, query: &EngagementQuery) -> Self {
        Self::new(reports, query.timeframe, query.timezone)
    }

    pub(crate) fn per(self, buckets: Buckets) -> Self {
        Self { interval: Some(buckets.width().to_string()), ..self }
    }

    /// Adds the number of rows of all pages.
    pub(crate) fn with_rows(self, rows: usize) -> Self {
        Self { rows: Some(rows as u64), ..self }
    }

    pub(crate) fn about(self) -> About {
        About { meta: self }
    }
}

/// A period, both ends included. An end beyond all representable times is `null`.
#[derive(Debug, Serialize)]
pub(crate) struct Frame {
    from: Option<String>,
    to: Option<String>,
}

impl Frame {
    pub(crate) fn of(period: Period) -> Self {
        let time = |at_ms: i64| {
            // RFC 3339 has four digits for a year.
            let in_range = (-62_167_219_200_000..253_402_300_800_000).contains(&at_ms);
            in_range.then(|| instant(at_ms).to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        Self { from: time(period.from_ms), to: time(period.to_ms) }
    }
}

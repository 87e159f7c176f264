//! Requests for reports: the sessions, the timeframe and the buckets.
//!
//! [`Query`] requests any metrics by any dimensions; [`BucketQuery`] and [`EngagementQuery`] are the older reports.

mod dimension;
mod error;
mod filter;
mod metric;
mod model;
mod period;
#[cfg(test)]
mod tests;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};

use crate::containment::{canonical, has_nul, is_too_deep};
use crate::engagement::Resolution;
use crate::key::ApiKey;
use crate::time_bucket::{Buckets, Span, Width};

pub use crate::time::instant;
pub use dimension::Dimension;
pub use error::QueryError;
#[cfg(feature = "recorder")]
pub(crate) use error::{distance, excerpt};
pub use filter::{
    Comparison, FILTER_DEPTH_MAX, FILTER_VALUES_MAX, Filter, Operator, SessionMetric,
};
pub use metric::Metric;
pub use model::{
    Column, DIMENSIONS_MAX, Direction, LIMIT_MAX, METRICS_MAX, Minimum, Order, Periods, Query,
};
pub use period::{Compare, Period};

/// The sessions of a report. Every part that is set narrows the selection.
///
/// ```
/// use metrics_core::Selection;
/// use serde_json::json;
///
/// let course = json!({ "course": "knots" });
/// let selection = Selection::identifier("intro").with_video(course.as_object().unwrap().clone());
/// # assert!(selection.video.is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Videos with one of these identifiers.
    pub identifiers: Option<Vec<String>>,
    /// Videos whose metadata contains this, like PostgreSQL's `@>`.
    pub video: Option<Map<String, Value>>,
    /// Sessions whose data contains this, like PostgreSQL's `@>`.
    pub session: Option<Map<String, Value>>,
    /// Videos of this key.
    pub key: Option<ApiKey>,
    /// Sessions for which this holds.
    pub filter: Filter,
}

impl Selection {
    /// Selects all sessions of videos with this identifier.
    #[must_use]
    pub fn identifier(identifier: impl Into<String>) -> Self {
        Self { identifiers: Some(vec![identifier.into()]), ..Self::default() }
    }

    /// Selects all sessions of videos under this key.
    #[must_use]
    pub fn key(key: ApiKey) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Selects only videos whose metadata contains `metadata`.
    #[must_use]
    pub fn with_video(self, metadata: Map<String, Value>) -> Self {
        Self { video: Some(metadata), ..self }
    }

    /// Selects only sessions whose data contains `data`.
    #[must_use]
    pub fn with_session(self, data: Map<String, Value>) -> Self {
        Self { session: Some(data), ..self }
    }

    /// Selects only sessions for which `filter` holds.
    #[must_use]
    pub fn with_filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Returns whether the selection has every session of a key, or of all keys.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        let Self { identifiers, video, session, key: _, filter } = self;
        identifiers.is_none() && video.is_none() && session.is_none() && filter.is_empty()
    }

    /// Returns the same selection without values that no session can have, and for which some stores cannot even
    /// search.
    pub(crate) fn for_stores(&self) -> Self {
        let is_unmatchable = |part: &Option<Map<String, Value>>| {
            let json = part.as_ref().map(|part| canonical(&Value::Object(part.clone())));
            json.is_some_and(|json| is_too_deep(&json) || has_nul(&json))
        };
        if is_unmatchable(&self.video) || is_unmatchable(&self.session) {
            return Self { identifiers: Some(Vec::new()), ..Self::default() };
        }
        let mut selection = self.clone();
        if let Some(identifiers) = &mut selection.identifiers {
            identifiers.retain(|identifier| !identifier.contains('\0'));
        }
        selection
    }
}

/// The time range of sessions' starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Timeframe {
    /// The span before now.
    Last(Span),
    /// From this instant on.
    From(DateTime<Utc>),
    /// Between two instants, both included.
    Between(DateTime<Utc>, DateTime<Utc>),
    /// From midnight on.
    Today,
    /// The day before today.
    Yesterday,
    /// From midnight of Monday on.
    ThisWeek,
    /// From midnight of the first of the month on.
    ThisMonth,
    /// From midnight of 1 January on.
    ThisYear,
    /// The week before this one, from Monday to Sunday.
    LastWeek,
    /// The month before this one.
    LastMonth,
    /// The year before this one.
    LastYear,
    /// Whole days, both included.
    Dates(NaiveDate, NaiveDate),
}

impl Default for Timeframe {
    fn default() -> Self {
        Self::Last(Span::WEEK)
    }
}

impl Timeframe {
    /// All of time.
    pub const ALL: Self = Self::Between(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);

    /// The first and the last millisecond, in Unix time. Days are those of UTC; [`period`](Self::period) takes a time
    /// zone.
    #[must_use]
    pub fn resolve(self, now: DateTime<Utc>) -> (i64, i64) {
        self.resolve_in(now, None)
    }

    /// Like [`resolve`](Self::resolve), with the days of `timezone`, or of UTC.
    #[must_use]
    pub fn resolve_in(self, now: DateTime<Utc>, timezone: Option<Tz>) -> (i64, i64) {
        let (from, to) = match self {
            Self::Last(span) => (span.before(now).unwrap_or(DateTime::<Utc>::MIN_UTC), now),
            Self::From(from) => (from, DateTime::<Utc>::MAX_UTC),
            Self::Between(from, to) => (from, to),
            _ => {
                let Period { from_ms, to_ms } = self.period(now, timezone);
                return (from_ms, to_ms);
            }
        };
        // Sessions start at whole milliseconds: `from` excludes those before it in its millisecond.
        let whole = from.timestamp_subsec_nanos() % 1_000_000 == 0;
        (from.timestamp_millis() + i64::from(!whole), to.timestamp_millis())
    }
}

/// The sessions of a report, by the filters that every store applies.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The selection.
    pub selection: Selection,
    /// The first start that counts, in Unix milliseconds.
    pub from_ms: i64,
    /// The last start that counts, in Unix milliseconds.
    pub to_ms: i64,
    /// The least view time that counts, in milliseconds.
    pub minimum_view_ms: u64,
}

/// Requests plays, or pages, per time bucket.
///
/// ```
/// use metrics_core::{BucketQuery, Selection};
///
/// let query = BucketQuery::from(Selection::identifier("intro")).per("1 day".parse()?);
/// # Ok::<(), metrics_core::time_bucket::SpanError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BucketQuery {
    /// Which sessions.
    pub selection: Selection,
    /// The timeframe of the sessions' starts: the last week by default.
    pub timeframe: Timeframe,
    /// The least view time of a play: one second by default.
    pub minimum_view_ms: u64,
    /// The buckets: a year each by default.
    pub buckets: Buckets,
    /// Whether the response has buckets without a play: no by default.
    pub fill: bool,
}

impl BucketQuery {
    /// Sets buckets of this width.
    #[must_use]
    pub fn per(self, width: Width) -> Self {
        Self { buckets: Buckets::new(width), ..self }
    }

    /// Sets the buckets, which may follow the local time of a zone.
    #[must_use]
    pub fn with_buckets(self, buckets: Buckets) -> Self {
        Self { buckets, ..self }
    }

    /// Sets whether the response has buckets without a play.
    #[must_use]
    pub fn with_fill(self, fill: bool) -> Self {
        Self { fill, ..self }
    }

    /// Selects sessions that started in this timeframe.
    #[must_use]
    pub fn during(self, timeframe: Timeframe) -> Self {
        Self { timeframe, ..self }
    }

    /// Selects sessions with at least this much view time.
    #[must_use]
    pub fn with_minimum_view_ms(self, minimum_view_ms: u64) -> Self {
        Self { minimum_view_ms, ..self }
    }

    /// The sessions for a store to read.
    #[must_use]
    pub fn scan(&self, now: DateTime<Utc>) -> Scan {
        let frame = self.timeframe.resolve_in(now, self.buckets.timezone());
        scan(&self.selection, frame, self.minimum_view_ms)
    }
}

impl From<Selection> for BucketQuery {
    fn from(selection: Selection) -> Self {
        Self {
            selection,
            timeframe: Timeframe::default(),
            minimum_view_ms: 1_000,
            buckets: Buckets::new(Width::YEAR),
            fill: false,
        }
    }
}

impl From<&Selection> for BucketQuery {
    fn from(selection: &Selection) -> Self {
        selection.clone().into()
    }
}

/// Requests the parts or seconds of videos that sessions watched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EngagementQuery {
    /// Which sessions.
    pub selection: Selection,
    /// When they started: in the last week, unless said otherwise.
    pub timeframe: Timeframe,
    /// The time zone of the days of the timeframe: UTC by default.
    pub timezone: Option<Tz>,
    /// The least view time of a session that counts: none by default.
    pub minimum_view_ms: u64,
    /// The steps in which engagement is counted: every second by default.
    pub resolution: Resolution,
}

impl EngagementQuery {
    /// Sets the steps in which engagement is counted.
    #[must_use]
    pub fn with_resolution(self, resolution: Resolution) -> Self {
        Self { resolution, ..self }
    }

    /// Sessions that started then.
    #[must_use]
    pub fn during(self, timeframe: Timeframe) -> Self {
        Self { timeframe, ..self }
    }

    /// Sessions with at least this much view time.
    #[must_use]
    pub fn with_minimum_view_ms(self, minimum_view_ms: u64) -> Self {
        Self { minimum_view_ms, ..self }
    }

    /// What a store is to look at.
    #[must_use]
    pub fn scan(&self, now: DateTime<Utc>) -> Scan {
        let frame = self.timeframe.resolve_in(now, self.timezone);
        scan(&self.selection, frame, self.minimum_view_ms)
    }
}

impl From<Selection> for EngagementQuery {
    fn from(selection: Selection) -> Self {
        Self {
            selection,
            timeframe: Timeframe::default(),
            timezone: None,
            minimum_view_ms: 0,
            resolution: Resolution::default(),
        }
    }
}

impl From<&Selection> for EngagementQuery {
    fn from(selection: &Selection) -> Self {
        selection.clone().into()
    }
}

fn scan(selection: &Selection, (from_ms, to_ms): (i64, i64), minimum_view_ms: u64) -> Scan {
    Scan { selection: selection.for_stores(), from_ms, to_ms, minimum_view_ms }
}

//! A query: any metrics by any dimensions.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::dimension::Dimension;
use super::error::{QueryError, check_count};
use super::filter::Filter;
use super::metric::Metric;
use super::period::{Compare, Period};
use super::{Selection, Timeframe};
use crate::time_bucket::{Buckets, Span, Width};

/// The largest number of metrics in a query.
pub const METRICS_MAX: usize = 20;

/// The largest number of dimensions in a query.
pub const DIMENSIONS_MAX: usize = 3;

/// The largest number of rows in a response.
pub const LIMIT_MAX: u32 = 10_000;

/// Requests metrics, grouped by dimensions.
///
/// ```
/// use metrics_core::query::{Dimension, Filter, Metric, Query, Timeframe};
///
/// let query = Query::new([Metric::Plays, Metric::CompletionRate])
///     .by("time:1 day".parse()?)
///     .by(Dimension::Device)
///     .with_filter(Filter::is(Dimension::PageHost, ["example.com"]))
///     .during(Timeframe::ThisMonth)
///     .in_timezone("Europe/Amsterdam".parse()?);
/// # query.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// The sessions: those that the caller may see.
    pub selection: Selection,
    /// The metrics, 1 to [`METRICS_MAX`]: plays and view time by default.
    pub metrics: Vec<Metric>,
    /// The dimensions of the groups, at most [`DIMENSIONS_MAX`]: without any, the response is one row.
    pub dimensions: Vec<Dimension>,
    /// The timeframe of the sessions' starts: the last 30 days by default.
    pub timeframe: Timeframe,
    /// The time zone of days, hours and time buckets: UTC by default.
    pub timezone: Option<Tz>,
    /// The least view time of a play: one second by default.
    pub minimum: Minimum,
    /// The order of rows, by metrics and dimensions of the query. The default is by time, then by the first metric, the
    /// largest first. Ties break by the values of dimensions.
    pub order_by: Vec<Order>,
    /// The largest number of rows in the response, 1 to [`LIMIT_MAX`]: 100 by default.
    pub limit: u32,
    /// The number of rows skipped before them.
    pub offset: u64,
    /// The comparison of each row: none by default.
    pub compare: Option<Compare>,
    /// Whether time buckets without sessions have rows: by default, if the first dimension is time. Beside other
    /// dimensions, each combination of their values has a row in each bucket.
    pub fill: Option<bool>,
    /// Whether the response has a row of all sessions.
    pub totals: bool,
}

/// The least view time of a play.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Minimum {
    /// Milliseconds of view time.
    ViewMs(u64),
    /// View time in millionths of the duration. A session without a known duration is no play.
    Millionths(u32),
}

/// A column to sort rows by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// A metric or a dimension of the query.
    pub by: Column,
    /// The end that comes first.
    pub direction: Direction,
}

/// A column of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Column {
    /// A metric. Rows to which it does not apply come last in either direction.
    Metric(Metric),
    /// A dimension: sessions without a value before numbers, before times, before texts by their bytes.
    Dimension(Dimension),
}

/// The end of an order that comes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The least comes first.
    Ascending,
    /// The largest comes first.
    Descending,
}

/// The periods of a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Periods {
    /// The period of the sessions' starts.
    pub current: Period,
    /// The period of the sessions they are compared with, if any.
    pub compared: Option<Period>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            metrics: vec![Metric::Plays, Metric::ViewTime],
            dimensions: Vec::new(),
            timeframe: Timeframe::Last(Span::from_ms(30 * 24 * 3_600_000).unwrap_or(Span::WEEK)),
            timezone: None,
            minimum: Minimum::default(),
            order_by: Vec::new(),
            limit: 100,
            offset: 0,
            compare: None,
            fill: None,
            totals: false,
        }
    }
}

impl Query {
    /// Requests these metrics of all sessions.
    #[must_use]
    pub fn new(metrics: impl IntoIterator<Item = Metric>) -> Self {
        Self { metrics: metrics.into_iter().collect(), ..Self::default() }
    }

    /// Selects only sessions of this selection, with its filter.
    #[must_use]
    pub fn of(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// Groups by this dimension as well.
    #[must_use]
    pub fn by(mut self, dimension: Dimension) -> Self {
        self.dimensions.push(dimension);
        self
    }

    /// Selects only sessions for which this filter holds.
    #[must_use]
    pub fn with_filter(self, filter: Filter) -> Self {
        Self { selection: self.selection.with_filter(filter), ..self }
    }

    /// Selects sessions that started in this timeframe.
    #[must_use]
    pub fn during(self, timeframe: Timeframe) -> Self {
        Self { timeframe, ..self }
    }

    /// Uses the days, hours and buckets of this time zone.
    #[must_use]
    pub fn in_timezone(self, timezone: Tz) -> Self {
        Self { timezone: Some(timezone), ..self }
    }

    /// Counts sessions with at least this much view time as plays.
    #[must_use]
    pub fn with_minimum(self, minimum: Minimum) -> Self {
        Self { minimum, ..self }
    }

    /// Sorts by this column, after the columns set before.
    #[must_use]
    pub fn order_by(mut self, by: Column, direction: Direction) -> Self {
        self.order_by.push(Order { by, direction });
        self
    }

    /// Returns at most `limit` rows after the first `offset`.
    #[must_use]
    pub fn page(self, limit: u32, offset: u64) -> Self {
        Self { limit, offset, ..self }
    }

    /// Compares each row with this.
    #[must_use]
    pub fn compared_with(self, compare: Compare) -> Self {
        Self { compare: Some(compare), ..self }
    }

    /// Sets whether time buckets without sessions have rows.
    #[must_use]
    pub fn with_fill(self, fill: bool) -> Self {
        Self { fill: Some(fill), ..self }
    }

    /// Sets whether the response has a row of all sessions.
    #[must_use]
    pub fn with_totals(self, totals: bool) -> Self {
        Self { totals, ..self }
    }

    /// Validates the query.
    ///
    /// # Errors
    ///
    /// [`QueryError`] names the first invalid parameter.
    pub fn check(&self) -> Result<(), QueryError> {
        check_count("metrics", self.metrics.len() as u64, (1, METRICS_MAX as u64))?;
        check_count("dimensions", self.dimensions.len() as u64, (0, DIMENSIONS_MAX as u64))?;
        self.check_minutes()?;
        if let Some(metric) = repeated(&self.metrics) {
            return Err(QueryError::invalid("metrics", metric.as_str(), "each metric once"));
        }
        if let Some(dimension) = repeated(&self.dimensions) {
            let name = dimension.to_string();
            return Err(QueryError::invalid("dimensions", &name, "each dimension once"));
        }
        self.selection.filter.check()?;
        let valid = 1..=LIMIT_MAX;
        if !valid.contains(&self.limit) {
            let expected = format!("1 to {LIMIT_MAX}");
            return Err(QueryError::invalid("limit", &self.limit.to_string(), expected));
        }
        let unused = self.order_by.iter().find(|order| match &order.by {
            Column::Metric(metric) => !self.metrics.contains(metric),
            Column::Dimension(dimension) => !self.dimensions.contains(dimension),
        });
        let Some(unused) = unused else { return Ok(()) };
        let names = self.metrics.iter().map(ToString::to_string);
        let names: Vec<_> = names.chain(self.dimensions.iter().map(ToString::to_string)).collect();
        let expected = format!("a metric or dimension of the query: {}", names.join(", "));
        Err(QueryError::invalid("order_by", &unused.by.to_string(), expected))
    }

    /// Rejects dimensions of repeating hours or days for metrics that count by the minute.
    fn check_minutes(&self) -> Result<(), QueryError> {
        let Some(metric) = self.metrics.iter().find(|metric| metric.is_by_minute()) else {
            return Ok(());
        };
        let repeats = |it: &&Dimension| matches!(it, Dimension::HourOfDay | Dimension::DayOfWeek);
        let Some(dimension) = self.dimensions.iter().find(repeats) else { return Ok(()) };
        let expected =
            format!("a dimension such as \"time:1 hour\": {metric} is counted by the minute");
        Err(QueryError::invalid("dimensions", &dimension.to_string(), expected))
    }

    /// Returns the periods of the sessions' starts, and of the sessions they are compared with.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if no period is before the timeframe.
    pub fn periods(&self, now: DateTime<Utc>) -> Result<Periods, QueryError> {
        let current = self.timeframe.period(now, self.timezone);
        let period = |compare: Compare| compare.period(self.timeframe, current, now, self.timezone);
        Ok(Periods { current, compared: self.compare.map(period).transpose()? })
    }

    /// The buckets of a time dimension.
    #[must_use]
    pub fn buckets(&self, width: Width) -> Buckets {
        let buckets = Buckets::new(width);
        self.timezone.map_or(buckets, |timezone| buckets.in_timezone(timezone))
    }

    /// Whether time buckets without sessions have rows.
    #[must_use]
    pub fn fills(&self) -> bool {
        self.fill.unwrap_or_else(|| self.dimensions.first().is_some_and(Dimension::is_time))
    }

    /// The order of rows, with the default.
    #[must_use]
    pub fn order(&self) -> Vec<Order> {
        if !self.order_by.is_empty() {
            return self.order_by.clone();
        }
        let times = self.dimensions.iter().filter(|dimension| dimension.is_time());
        let times = times.map(|dimension| Order {
            by: Column::Dimension(dimension.clone()),
            direction: Direction::Ascending,
        });
        let metrics = self
            .metrics
            .first()
            .map(|metric| Order { by: Column::Metric(*metric), direction: Direction::Descending });
        times.chain(metrics).collect()
    }
}

impl From<Selection> for Query {
    fn from(selection: Selection) -> Self {
        Self::default().of(selection)
    }
}

impl Default for Minimum {
    fn default() -> Self {
        Self::ViewMs(1_000)
    }
}

impl Minimum {
    /// Returns whether a session with this view time and duration in milliseconds is a play.
    #[must_use]
    pub fn holds(self, view_ms: u64, duration_ms: Option<u32>) -> bool {
        match self {
            Self::ViewMs(minimum_ms) => minimum_ms <= view_ms,
            Self::Millionths(millionths) => duration_ms.is_some_and(|duration_ms| {
                let least = u64::from(millionths) * u64::from(duration_ms);
                0 < duration_ms && least <= view_ms.saturating_mul(1_000_000)
            }),
        }
    }
}

impl FromStr for Minimum {
    type Err = QueryError;

    /// Parses seconds, a duration such as `3 seconds`, or a share of the duration such as `50%`.
    fn from_str(text: &str) -> Result<Self, QueryError> {
        let expected = "seconds, a duration such as \"3 seconds\", or \"50%\" of the video's";
        let invalid = || QueryError::invalid("minimum_watch_seconds", text, expected);
        let number = |text: &str, scale: f64, max: f64| {
            let number = text.trim().parse::<f64>().ok().map(|number| (number * scale).round());
            number.filter(|number| (0.0..=max).contains(number))
        };
        if let Some(percent) = text.strip_suffix('%') {
            let millionths = number(percent, 10_000.0, 1_000_000.0).ok_or_else(invalid)?;
            return Ok(Self::Millionths(millionths as u32));
        }
        if let Some(ms) = number(text, 1_000.0, 1e15) {
            return Ok(Self::ViewMs(ms as u64));
        }
        let span = text.parse::<Span>().ok().and_then(Span::fixed_ms);
        span.map(Self::ViewMs).ok_or_else(invalid)
    }
}

impl fmt::Display for Minimum {
    /// Writes the text that [`FromStr`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ViewMs(ms) => write!(f, "{} seconds", *ms as f64 / 1_000.0),
            Self::Millionths(millionths) => write!(f, "{}%", f64::from(*millionths) / 10_000.0),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metric(metric) => metric.fmt(f),
            Self::Dimension(dimension) => dimension.fmt(f),
        }
    }
}

impl FromStr for Column {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        if let Ok(metric) = text.parse() {
            return Ok(Self::Metric(metric));
        }
        text.parse().map(Self::Dimension).map_err(|err: QueryError| match err {
            QueryError::Unknown { .. } => {
                let metrics = Metric::ALL.iter().map(|metric| metric.as_str());
                QueryError::unknown("order_by", text, metrics.chain(Dimension::NAMES))
            }
            err => err.of_parameter("order_by"),
        })
    }
}

impl FromStr for Direction {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        match text {
            "asc" => Ok(Self::Ascending),
            "desc" => Ok(Self::Descending),
            _ => Err(QueryError::unknown("order_by", text, ["asc", "desc"])),
        }
    }
}

/// Returns the first item that is equal to an earlier one.
fn repeated<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(at, item)| items[..*at].contains(item)).map(|(_, item)| item)
}

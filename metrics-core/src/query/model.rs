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

/// How many metrics a query may have.
pub const METRICS_MAX: usize = 20;

/// How many dimensions a query may have.
pub const DIMENSIONS_MAX: usize = 3;

/// How many rows an answer may have.
pub const LIMIT_MAX: u32 = 10_000;

/// Asks for metrics, grouped by dimensions.
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
    /// Which sessions: those that the caller may see.
    pub selection: Selection,
    /// The metrics, 1 to [`METRICS_MAX`]: plays and view time, unless said otherwise.
    pub metrics: Vec<Metric>,
    /// By what they are grouped, at most [`DIMENSIONS_MAX`]: without any, the answer is one row.
    pub dimensions: Vec<Dimension>,
    /// When they started: in the last 30 days, unless said otherwise.
    pub timeframe: Timeframe,
    /// The time zone of days, hours and time buckets: UTC, unless said otherwise.
    pub timezone: Option<Tz>,
    /// The least view time that makes a session a play: one second, unless said otherwise.
    pub minimum: Minimum,
    /// How rows are sorted, by metrics and dimensions of the query. Unless said otherwise: by time, then by the first
    /// metric, the largest first. Ties break by the values of dimensions.
    pub order_by: Vec<Order>,
    /// How many rows are answered, 1 to [`LIMIT_MAX`]: 100, unless said otherwise.
    pub limit: u32,
    /// How many rows are left out before them.
    pub offset: u64,
    /// What each row is compared with: nothing, unless said otherwise.
    pub compare: Option<Compare>,
    /// Whether time buckets without sessions have rows: if the first dimension is time, unless said otherwise. Beside
    /// other dimensions, each combination of their values has a row in each bucket.
    pub fill: Option<bool>,
    /// Whether the row of all sessions is answered as well.
    pub totals: bool,
}

/// The least view time that makes a session a play.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Minimum {
    /// Milliseconds of view time.
    ViewMs(u64),
    /// View time in millionths of the duration. A session without a known duration is no play.
    Millionths(u32),
}

/// By what rows are sorted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// A metric or a dimension of the query.
    pub by: Column,
    /// Which end comes first.
    pub direction: Direction,
}

/// A column of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Column {
    /// A metric. Rows to which it does not apply come last in either direction.
    Metric(Metric),
    /// A dimension: sessions without a value before numbers, before times, before texts by their bytes.
    Dimension(Dimension),
}

/// Which end of an order comes first.
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
    /// When the sessions started.
    pub current: Period,
    /// When those started with which they are compared, if they are.
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
    /// Asks for these metrics of all sessions.
    #[must_use]
    pub fn new(metrics: impl IntoIterator<Item = Metric>) -> Self {
        Self { metrics: metrics.into_iter().collect(), ..Self::default() }
    }

    /// Only sessions of this selection, with its filter.
    #[must_use]
    pub fn of(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// Grouped by this dimension as well.
    #[must_use]
    pub fn by(mut self, dimension: Dimension) -> Self {
        self.dimensions.push(dimension);
        self
    }

    /// Only sessions for which this filter holds.
    #[must_use]
    pub fn with_filter(self, filter: Filter) -> Self {
        Self { selection: self.selection.with_filter(filter), ..self }
    }

    /// Sessions that started then.
    #[must_use]
    pub fn during(self, timeframe: Timeframe) -> Self {
        Self { timeframe, ..self }
    }

    /// Days, hours and buckets of this time zone.
    #[must_use]
    pub fn in_timezone(self, timezone: Tz) -> Self {
        Self { timezone: Some(timezone), ..self }
    }

    /// Sessions with at least this much view time are plays.
    #[must_use]
    pub fn with_minimum(self, minimum: Minimum) -> Self {
        Self { minimum, ..self }
    }

    /// Sorted by this, after what was said before.
    #[must_use]
    pub fn order_by(mut self, by: Column, direction: Direction) -> Self {
        self.order_by.push(Order { by, direction });
        self
    }

    /// At most `limit` rows, after leaving out `offset`.
    #[must_use]
    pub fn page(self, limit: u32, offset: u64) -> Self {
        Self { limit, offset, ..self }
    }

    /// Each row compared with this.
    #[must_use]
    pub fn compared_with(self, compare: Compare) -> Self {
        Self { compare: Some(compare), ..self }
    }

    /// Whether time buckets without sessions have rows.
    #[must_use]
    pub fn with_fill(self, fill: bool) -> Self {
        Self { fill: Some(fill), ..self }
    }

    /// Whether the row of all sessions is answered as well.
    #[must_use]
    pub fn with_totals(self, totals: bool) -> Self {
        Self { totals, ..self }
    }

    /// Fails unless the query can be answered.
    ///
    /// # Errors
    ///
    /// [`QueryError`] with the first parameter that is not as its documentation says.
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

    /// When the sessions started, and those they are compared with.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nothing can be before the timeframe.
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
    /// Whether a session with this view time and duration in milliseconds is a play.
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

    /// Reads seconds, a duration such as `3 seconds`, or a share of the duration such as `50%`.
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
    /// Writes what [`FromStr`] reads.
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

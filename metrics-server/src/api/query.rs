//! `/api/v1/query`: any metrics by any dimensions, under any filter.

use bytes::Bytes;
use chrono::SecondsFormat;
use hyper::{Response, StatusCode};
use metrics_core::query::{
    Column, Compare, Dimension, Direction, Minimum, Order, Period, Periods, Query, QueryError,
    instant,
};
use metrics_core::scan::{Answer, DimensionValue, Numbers, ScanError};
use metrics_core::time_bucket::Buckets;
use metrics_core::{Metrics, ReportError, Reports, Timeframe, store};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::params::{Params, number};
use crate::error::Error;
use crate::export::Format;
use crate::export::row::{self, Kind};
use crate::response::{self, Body};

/// The members of every query, so that a misspelt one is refused and not ignored.
const MEMBERS: [&str; 13] = [
    "metrics",
    "filters",
    "timeframe",
    "timezone",
    "identifier",
    "query",
    "minimum_watch_seconds",
    "order_by",
    "limit",
    "offset",
    "compare",
    "totals",
    "format",
];

/// Answers a query.
pub(crate) async fn query(metrics: &Metrics, params: &Params) -> Result<Response<Body>, Error> {
    let query = params.query(Query::default())?;
    let report = answer(metrics.reports(), &query).await?;
    Ok(response::json(StatusCode::OK, &report))
}

/// Answers a query, as JSON shows it.
pub(crate) async fn answer(
    reports: Reports<'_>,
    query: &Query,
) -> Result<Report<Line>, ReportError> {
    let (answer, periods) = reports.query(query).await?;
    Ok(Report::of(query, &answer, periods))
}

/// Answers a query, as a file: a line per row, with the dimensions and metrics as columns, and those that each is compared
/// with.
pub(crate) async fn table(
    reports: Reports<'_>,
    query: &Query,
    format: Format,
    is_whole: bool,
) -> Result<Bytes, ReportError> {
    let report = answer(reports, query).await?;
    report.check_rows(query, is_whole)?;
    let dimensions = query.dimensions.iter().map(|by| (by.to_string(), kind(by)));
    let columns: Vec<_> = dimensions.chain(measure_columns(query)).collect();
    let rows = report.results.iter().map(|row| {
        let dimensions = row.dimensions.iter().cloned();
        dimensions.chain(row.measures.cells()).collect()
    });
    Ok(write_table(format, &columns, rows)?)
}

/// Returns the columns of a query's metrics, in the order of [`Measures::cells`].
pub(crate) fn measure_columns(query: &Query) -> impl Iterator<Item = (String, Kind)> {
    let columns = |end: &'static str, is_there: bool| {
        let metrics = query.metrics.iter().filter(move |_| is_there);
        metrics.map(move |name| (format!("{name}{end}"), Kind::Double))
    };
    let is_compared = query.compare.is_some();
    columns("", true).chain(columns("_before", is_compared)).chain(columns("_change", is_compared))
}

/// Writes a table with these columns.
pub(crate) fn write_table(
    format: Format,
    columns: &[(String, Kind)],
    rows: impl Iterator<Item = Vec<Value>>,
) -> Result<Bytes, store::Error> {
    let rows = rows.map(|cells| TableRow { columns, cells });
    let name = |line: &mut row::Line<'_>| {
        columns.iter().for_each(|(name, kind)| line.columns(*kind, &[name]));
    };
    format.write_rows(name, rows, |row, line| row.cells.iter().for_each(|cell| put(line, cell)))
}

/// A row of a table.
struct TableRow<'a> {
    columns: &'a [(String, Kind)],
    cells: Vec<Value>,
}

impl Serialize for TableRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().map(|(name, _)| name).zip(&self.cells))
    }
}

/// Returns the kind of a dimension's values.
fn kind(by: &Dimension) -> Kind {
    match by {
        Dimension::Time(_) => Kind::Time,
        Dimension::HourOfDay | Dimension::DayOfWeek => Kind::Integer,
        _ => Kind::Text,
    }
}

fn put(line: &mut row::Line<'_>, cell: &Value) {
    match (cell, cell.as_u64(), cell.as_f64()) {
        (Value::String(text), ..) => line.text(text),
        (Value::Object(_), ..) => line.text(&cell.to_string()),
        (_, Some(number), _) => line.number(number),
        (_, None, Some(number)) => line.number(number),
        _ => line.nothing(),
    }
}

/// An answer as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report<Row> {
    pub(crate) results: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<Measures>,
    meta: Meta,
    query: Value,
}

/// A row of an answer.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) dimensions: Vec<Value>,
    #[serde(flatten)]
    pub(crate) measures: Measures,
}

/// The metrics of a row.
#[derive(Debug, Serialize)]
pub(crate) struct Measures {
    #[serde(serialize_with = "numbers")]
    pub(crate) metrics: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Comparison>,
}

/// The metrics that a row is compared with.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    #[serde(serialize_with = "numbers")]
    pub(crate) metrics: Vec<Option<f64>>,
    pub(crate) change: Vec<Option<f64>>,
}

/// Writes whole numbers without a fraction, as counts are.
fn numbers<S: Serializer>(numbers: &[Option<f64>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers.iter().map(number_or_null))
}

pub(crate) fn number_or_null(number: &Option<f64>) -> Value {
    match number {
        None => Value::Null,
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => (*number as i64).into(),
        Some(number) => (*number).into(),
    }
}

#[derive(Debug, Serialize)]
struct Meta {
    rows: u64,
    timeframe: Frame,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Frame>,
}

/// A period, both ends included; an end that is beyond all times is `null`.
#[derive(Debug, Serialize)]
struct Frame {
    from: Option<String>,
    to: Option<String>,
}

impl Report<Line> {
    fn of(query: &Query, answer: &Answer, periods: Periods) -> Self {
        let line = |row: &metrics_core::scan::AnswerRow| {
            let dimensions = query.dimensions.iter().zip(&row.dimensions);
            let dimensions = dimensions.map(|(by, value)| dimension(query, by, value)).collect();
            Line { dimensions, measures: Measures::of(&row.numbers) }
        };
        let results = answer.results.iter().map(line).collect();
        Self::new(results, answer.totals.as_ref(), answer.rows, query, periods)
    }
}

impl<Row> Report<Row> {
    pub(crate) fn new(
        results: Vec<Row>,
        totals: Option<&Numbers>,
        rows: u64,
        query: &Query,
        periods: Periods,
    ) -> Self {
        let meta = Meta {
            rows,
            timeframe: Frame::of(periods.current),
            compared: periods.compared.map(Frame::of),
        };
        Self { results, totals: totals.map(Measures::of), meta, query: understood(query) }
    }

    /// Fails if rows after `offset` are missing in an answer that must have all of them.
    pub(crate) fn check_rows(&self, query: &Query, is_whole: bool) -> Result<(), ScanError> {
        let rows = self.meta.rows.saturating_sub(query.offset);
        let are_missing = (self.results.len() as u64) < rows;
        if is_whole && are_missing { Err(ScanError::TooManyRows(rows)) } else { Ok(()) }
    }
}

impl Measures {
    /// Returns the cells of the metrics, in the order of [`measure_columns`].
    pub(crate) fn cells(&self) -> impl Iterator<Item = Value> {
        let Self { metrics, comparison } = self;
        let compared = comparison.iter().flat_map(|it| it.metrics.iter().chain(&it.change));
        metrics.iter().chain(compared).map(number_or_null)
    }

    pub(crate) fn of(numbers: &Numbers) -> Self {
        let comparison = numbers.comparison.as_ref().map(|compared| Comparison {
            metrics: compared.metrics.clone(),
            change: compared.change.clone(),
        });
        Self { metrics: numbers.metrics.clone(), comparison }
    }
}

impl Frame {
    fn of(period: Period) -> Self {
        let time = |at_ms: i64| {
            // RFC 3339 has four digits for a year.
            let in_range = (-62_167_219_200_000..253_402_300_800_000).contains(&at_ms);
            in_range.then(|| instant(at_ms).to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        Self { from: time(period.from_ms), to: time(period.to_ms) }
    }
}

/// The value of a dimension as JSON: times as RFC 3339 in the time zone of the query.
pub(crate) fn dimension(query: &Query, by: &Dimension, value: &DimensionValue) -> Value {
    match (by, value) {
        (Dimension::Time(width), DimensionValue::Time(start)) => {
            let buckets: Buckets = query.buckets(*width);
            match buckets.timezone() {
                Some(zone) => start.with_timezone(&zone).to_rfc3339().into(),
                None => start.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
            }
        }
        (_, DimensionValue::Null) => Value::Null,
        (_, DimensionValue::Number(number)) => (*number).into(),
        (_, DimensionValue::Time(start)) => start.to_rfc3339().into(),
        (_, DimensionValue::Text(text)) => text.to_string().into(),
    }
}

/// The query as it was understood, with defaults.
fn understood(query: &Query) -> Value {
    let order = |order: &Order| {
        let direction = match order.direction {
            Direction::Ascending => "asc",
            Direction::Descending => "desc",
        };
        json!([order.by.to_string(), direction])
    };
    let order_by: Vec<Value> = query.order().iter().map(order).collect();
    let metrics: Vec<String> = query.metrics.iter().map(ToString::to_string).collect();
    let dimensions: Vec<String> = query.dimensions.iter().map(ToString::to_string).collect();
    let minimum = match query.minimum {
        Minimum::ViewMs(ms) => json!(ms as f64 / 1_000.0),
        share @ Minimum::Millionths(_) => json!(share.to_string()),
    };
    let filter = &query.selection.filter;
    let filters = if filter.is_empty() { json!([]) } else { filter.to_json() };
    let mut understood = json!({
        "metrics": metrics,
        "dimensions": dimensions,
        "filters": filters,
        "timezone": query.timezone.map(|zone| zone.name()),
        "minimum_watch_seconds": minimum,
        "order_by": order_by,
        "limit": query.limit,
        "offset": query.offset,
        "fill": query.fills(),
        "totals": query.totals,
    });
    let selection = &query.selection;
    let members = [
        ("identifier", selection.identifiers.as_ref().map(|all| json!(all))),
        ("video", selection.video.clone().map(Value::Object)),
        ("session", selection.session.clone().map(Value::Object)),
        ("key", selection.key.as_ref().map(|key| json!(key.as_str()))),
    ];
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let members: Map<String, Value> = members.collect();
    if !members.is_empty() {
        understood["selection"] = Value::Object(members);
    }
    understood
}

impl Params {
    /// Reads the parameters of a query. `query` has the defaults.
    pub(crate) fn query(&self, query: Query) -> Result<Query, Error> {
        let mut query = self.metrics_query(query, &["dimensions", "fill"])?;
        if let Some(names) = self.texts("dimensions")? {
            query.dimensions = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        }
        query.fill = self.get("fill").map(|_| self.flag("fill")).transpose()?;
        query.check()?;
        Ok(query)
    }

    /// Reads the parameters that all queries have. `query` has the defaults; the members `others` are read elsewhere.
    pub(crate) fn metrics_query(
        &self,
        query: Query,
        others: &[&'static str],
    ) -> Result<Query, Error> {
        let members = || MEMBERS.into_iter().chain(others.iter().copied());
        if let Some(unknown) = self.names().find(|name| !members().any(|it| it == *name)) {
            return Err(QueryError::unknown_member(unknown, members()).into());
        }
        let mut query = query.of(self.any_selection()?);
        if let Some(names) = self.texts("metrics")? {
            query.metrics = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        }
        query.timezone = self.timezone()?;
        if let Some(timeframe) = self.get("timeframe") {
            query.timeframe = read_timeframe(timeframe)?;
        }
        if let Some(minimum) = self.get("minimum_watch_seconds") {
            query.minimum = text_or_number("minimum_watch_seconds", minimum)?.parse()?;
        }
        if let Some(order) = self.get("order_by") {
            query.order_by = read_order(order)?;
        }
        (query.limit, query.offset) = self.page(query.limit)?;
        if let Some(compare) = self.get("compare") {
            query.compare = Some(match compare {
                Value::String(text) => text.parse()?,
                other => Compare::Timeframe(read_timeframe(other)?),
            });
        }
        query.totals = self.flag("totals")?;
        Ok(query)
    }
}

/// The timeframes of the older reports, dates, pairs of dates, and names.
pub(crate) fn read_timeframe(value: &Value) -> Result<Timeframe, Error> {
    let dates = match value {
        Value::Array(ends) => ends.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        Value::Object(ends) => {
            let end = |name: &str| ends.get(name).and_then(Value::as_str);
            end("from").zip(end("to")).map(|(from, to)| vec![from, to])
        }
        _ => None,
    };
    if let Some([from, to]) = dates.as_deref()
        && let (Ok(from), Ok(to)) = (from.parse(), to.parse())
    {
        return if to < from {
            Err(Error::parameter("timeframe", "must have a `from` that is not after its `to`"))
        } else {
            Ok(Timeframe::Dates(from, to))
        };
    }
    match value {
        Value::String(text) if number(value).is_none() => {
            // A `+` that is not encoded in a query string arrives as a space, which only times have none of.
            let parsed = text.parse::<Timeframe>();
            parsed.or_else(|err| super::params::read_timeframe(value).map_err(|_| err.into()))
        }
        value => super::params::read_timeframe(value),
    }
}

fn read_order(value: &Value) -> Result<Vec<Order>, Error> {
    let wrong = || {
        let expected = "must be an array of pairs like [\"plays\", \"desc\"]";
        Error::parameter("order_by", expected)
    };
    let pairs = value.as_array().ok_or_else(wrong)?;
    let order = |pair: &Value| {
        let pair = pair.as_array().ok_or_else(wrong)?;
        let [by, direction] = &pair[..] else { return Err(wrong()) };
        let by: Column = by.as_str().ok_or_else(wrong)?.parse()?;
        let direction: Direction = direction.as_str().ok_or_else(wrong)?.parse()?;
        Ok(Order { by, direction })
    };
    pairs.iter().map(order).collect()
}

fn text_or_number(name: &'static str, value: &Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Error::parameter(name, "must be a number of seconds or a text")),
    }
}

//! `/api/v1/query`: any metrics by any dimensions, under any filter.

use std::sync::Arc;

use chrono::SecondsFormat;
use metrics_core::query::{Column, Compare, Dimension, Direction, Minimum, Order, Periods, Query};
use metrics_core::scan::{Answer, AnswerRow, DimensionValue, Numbers, ScanError};
use metrics_core::time_bucket::Buckets;
use metrics_core::{ReportError, Reports, store};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::meta::Frame;
use super::params::Params;
use super::timeframe::read_timeframe;
use crate::answer::Text;
use crate::error::Error;
use crate::table::Format;
use crate::table::row::{self, Kind};

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
pub(crate) async fn query(reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    let query = params.query(Query::default())?;
    let (answer, periods) = reports.query(&query).await?;
    let rest = Rest::new(answer.totals.as_ref(), answer.rows, &query, periods);
    let bytes = bytes_of(&answer);
    Ok(Text::list("results", bytes, lines(query, answer), rest))
}

/// Returns the rows of an answer.
fn lines(query: Query, answer: Answer) -> impl Iterator<Item = Line> + Send + 'static {
    let line = move |row: AnswerRow| {
        let written = |values: &[DimensionValue]| {
            let pairs = query.dimensions.iter().zip(values);
            pairs.map(|(by, value)| dimension(&query, by, value)).collect()
        };
        let mut measures = Measures::of(&row.numbers);
        let compared = row.numbers.comparison.as_ref();
        if let (Some(comparison), Some(compared)) = (&mut measures.comparison, compared) {
            comparison.dimensions = compared.dimensions.as_deref().map(written);
        }
        Line { dimensions: written(&row.dimensions), measures }
    };
    answer.results.into_iter().map(line)
}

/// Returns how many bytes the rows of an answer hold, about.
pub(crate) fn bytes_of(answer: &Answer) -> usize {
    let rows = answer.results.iter();
    rows.map(|row| {
        let texts = row.dimensions.iter().map(|value| match value {
            DimensionValue::Text(text) => text.len(),
            _ => 0,
        });
        let dimensions = size_of_val(&*row.dimensions) + texts.sum::<usize>();
        size_of::<AnswerRow>() + dimensions + numbers_bytes(&row.numbers)
    })
    .sum()
}

/// Returns how many bytes the metrics of a row hold.
pub(crate) fn numbers_bytes(numbers: &Numbers) -> usize {
    let columns = if numbers.comparison.is_some() { 3 } else { 1 };
    size_of_val(&*numbers.metrics) * columns
}

/// Answers a query, as a file: a line per row, with the dimensions and metrics as columns, and those that each is compared
/// with.
pub(crate) async fn table(
    reports: Reports<'_>,
    query: &Query,
    format: Format,
    is_complete: bool,
) -> Result<Text, ReportError> {
    let (answer, _) = reports.query(query).await?;
    check_rows(query, (answer.results.len(), answer.rows), is_complete)?;
    let dimensions = query.dimensions.iter().map(|by| (by.to_string(), kind(by)));
    let columns: Vec<_> = dimensions.chain(measure_columns(query)).collect();
    let bytes = bytes_of(&answer);
    let rows = lines(query.clone(), answer).map(|row| {
        let measures = row.measures.cells();
        row.dimensions.into_iter().chain(measures).collect()
    });
    Ok(write_table(format, columns, bytes, rows)?)
}

/// Fails if rows after `offset` are missing in an answer that must have all of them: there are `found` of `rows`.
pub(crate) fn check_rows(
    query: &Query,
    (found, rows): (usize, u64),
    is_complete: bool,
) -> Result<(), ScanError> {
    let rows = rows.saturating_sub(query.offset);
    let are_missing = (found as u64) < rows;
    if is_complete && are_missing { Err(ScanError::TooManyRows(rows)) } else { Ok(()) }
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

/// Writes a table with these columns, whose rows hold about `bytes`.
pub(crate) fn write_table(
    format: Format,
    columns: Vec<(String, Kind)>,
    bytes: usize,
    rows: impl Iterator<Item = Vec<Value>> + Send + 'static,
) -> Result<Text, store::Error> {
    let columns: Arc<[_]> = columns.into();
    let named = Arc::clone(&columns);
    let rows = rows.map(move |cells| TableRow { columns: Arc::clone(&named), cells });
    let name = |line: &mut row::Line<'_>| {
        columns.iter().for_each(|(name, kind)| line.columns(*kind, &[name]));
    };
    let cells = |row: &TableRow, line: &mut row::Line<'_>| {
        row.cells.iter().for_each(|cell| write_cell(line, cell));
    };
    format.write_rows(bytes, name, rows, cells)
}

/// A row of a table.
struct TableRow {
    columns: Arc<[(String, Kind)]>,
    cells: Vec<Value>,
}

impl Serialize for TableRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().map(|(name, _)| name).zip(&self.cells))
    }
}

/// Returns the kind of a dimension's values: text, unless the dimension is listed.
fn kind(by: &Dimension) -> Kind {
    match by {
        Dimension::Time(_) => Kind::Time,
        Dimension::HourOfDay | Dimension::DayOfWeek => Kind::Integer,
        _ => Kind::Text,
    }
}

fn write_cell(line: &mut row::Line<'_>, cell: &Value) {
    match (cell, cell.as_u64(), cell.as_f64()) {
        (Value::String(text), ..) => line.text(text),
        (Value::Object(_), ..) => line.text(&cell.to_string()),
        (_, Some(number), _) => line.number(number),
        (_, None, Some(number)) => line.number(number),
        _ => line.nothing(),
    }
}

/// The members of an answer after its rows.
#[derive(Debug, Serialize)]
pub(crate) struct Rest {
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
    // Of a row by time: its counterpart begins at another time.
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<Vec<Value>>,
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
    timezone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Frame>,
}

impl Rest {
    pub(crate) fn new(
        totals: Option<&Numbers>,
        rows: u64,
        query: &Query,
        periods: Periods,
    ) -> Self {
        let meta = Meta {
            rows,
            timeframe: Frame::of(periods.current),
            timezone: query.timezone.map(|zone| zone.name()),
            compared: periods.compared.map(Frame::of),
        };
        Self { totals: totals.map(Measures::of), meta, query: understood(query) }
    }
}

impl Measures {
    /// Returns the cells of the metrics, in the order of [`measure_columns`].
    pub(crate) fn cells(&self) -> impl Iterator<Item = Value> + use<> {
        let Self { metrics, comparison } = self;
        let compared = comparison.iter().flat_map(|it| it.metrics.iter().chain(&it.change));
        let cells: Vec<Value> = metrics.iter().chain(compared).map(number_or_null).collect();
        cells.into_iter()
    }

    pub(crate) fn of(numbers: &Numbers) -> Self {
        let comparison = numbers.comparison.as_ref().map(|compared| Comparison {
            dimensions: None,
            metrics: compared.metrics.clone(),
            change: compared.change.clone(),
        });
        Self { metrics: numbers.metrics.clone(), comparison }
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
        let members: Vec<_> = MEMBERS.into_iter().chain(others.iter().copied()).collect();
        self.check_names(&members)?;
        let mut query = query;
        if let Some(names) = self.texts("metrics")? {
            query.metrics = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        } else if let Some(names) = &self.granted().within().metrics {
            query.metrics = names.iter().filter_map(|name| name.parse().ok()).collect();
        }
        let shows: Vec<_> = query.metrics.iter().map(|metric| metric.as_str()).collect();
        let selection = self.selection(&shows)?;
        query = query.of(selection);
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

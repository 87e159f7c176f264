//! Filters: conditions on sessions, beside their timeframe.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use serde_json::{Value, json};

use super::dimension::Dimension;
use super::error::{QueryError, check_count};
use super::metric::named;
use crate::arrival::ArrivalPart;
use crate::containment::canonical;
use crate::user_agent::{Browser, Device, Platform};

/// The deepest nesting of `and`, `or` and `not`.
pub const FILTER_DEPTH_MAX: usize = 8;

/// The largest number of values and comparisons in the filters of a query.
pub const FILTER_VALUES_MAX: usize = 1_000;

const PARAMETER: &str = "filters";

/// A condition on sessions.
///
/// Conditions are true or false, never unknown: `is_not`, `contains_not` and `watched_not` hold for exactly the sessions
/// for which `is`, `contains` and `watched` do not, so `is_not` also holds for sessions without a value. A session whose
/// figure is unknown, such as its startup time, matches no comparison.
///
/// ```
/// use metrics_core::query::Filter;
/// use serde_json::json;
///
/// let filter = Filter::from_json(&json!(["and", ["is", "device", ["mobile"]], ["watched", 0, 60]]))?;
/// assert_eq!(filter.to_json(), json!(["and", ["is", "device", ["mobile"]], ["watched", 0.0, 60.0]]));
/// # Ok::<(), metrics_core::query::QueryError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// All of these hold; true if there are none.
    And(Vec<Self>),
    /// One of these holds at least; false if there are none.
    Or(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// The value of a dimension is, or is not, one of `values`, or matches one of them.
    Dimension {
        /// The dimension.
        dimension: Dimension,
        /// The operator.
        operator: Operator,
        /// Values as texts: numbers in decimal, time buckets as RFC 3339; `None` is a session without a value, which
        /// only [`Operator::Is`] and [`Operator::IsNot`] take.
        values: Vec<Option<String>>,
    },
    /// A metric of the session compares to a number.
    SessionMetric {
        /// The metric.
        session_metric: SessionMetric,
        /// The comparison.
        comparison: Comparison,
        /// The number, in the unit of the metric.
        number: f64,
    },
    /// The session watched any of `[from_ms, to_ms)` of the video.
    Watched {
        /// The start, in milliseconds of video.
        from_ms: u32,
        /// The end, in milliseconds of video.
        to_ms: u32,
        /// Whether the filter selects the sessions that did not.
        is_negated: bool,
    },
}

named! {
    /// Operators on the value of a dimension.
    Operator of "filters" {
        /// The value is one of `values`.
        Is = "is",
        /// The value is none of `values`.
        IsNot = "is_not",
        /// The value contains one of `values`.
        Contains = "contains",
        /// The value contains none of `values`.
        ContainsNot = "contains_not",
        /// The value starts with one of `values`.
        StartsWith = "starts_with",
    }
}

named! {
    /// A number that each session has.
    SessionMetric of "filters" {
        /// View time in seconds.
        ViewTime = "view_time",
        /// Unique view time in seconds.
        UniqueViewTime = "unique_view_time",
        /// Unique view time / duration, where 1 is all of the video; unknown without a duration.
        PercentageViewed = "percentage_viewed",
        /// Startup time in seconds, if it is known.
        StartupTime = "startup_time",
        /// Number of rebufferings.
        RebufferingCount = "rebuffering_count",
        /// Number of fatal errors.
        Failures = "failures",
    }
}

named! {
    /// Comparisons of a metric to a number.
    Comparison of "filters" {
        /// Equal.
        Is = "is",
        /// Less.
        Less = "<",
        /// Less or equal.
        AtMost = "<=",
        /// More.
        More = ">",
        /// More or equal.
        AtLeast = ">=",
    }
}

impl Default for Filter {
    /// Holds for every session.
    fn default() -> Self {
        Self::And(Vec::new())
    }
}

impl Comparison {
    /// Returns whether the comparison of `session_metric` to `number` holds.
    #[must_use]
    pub fn holds(self, value: f64, number: f64) -> bool {
        match self {
            Self::Is => value == number,
            Self::Less => value < number,
            Self::AtMost => value <= number,
            Self::More => value > number,
            Self::AtLeast => value >= number,
        }
    }
}

impl Operator {
    /// Returns whether the operator holds exactly if its opposite does not.
    #[cfg(feature = "recorder")]
    #[must_use]
    pub(crate) const fn is_negated(self) -> bool {
        matches!(self, Self::IsNot | Self::ContainsNot)
    }
}

impl Filter {
    /// Selects sessions with one of these values.
    #[must_use]
    pub fn is<T: Into<String>>(dimension: Dimension, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(|value| Some(value.into())).collect();
        Self::Dimension { dimension, operator: Operator::Is, values }
    }

    /// Parses the filters of a query: one filter, or an array of filters all of which must hold.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the JSON is anything else, is nested too deeply, or has too many values.
    pub fn from_json(json: &Value) -> Result<Self, QueryError> {
        let filter = match json {
            Value::Array(filters) if filters.first().is_none_or(Value::is_array) => {
                let filters = filters.iter().map(|filter| read(filter, 0));
                let mut filters: Vec<Self> = filters.collect::<Result<_, _>>()?;
                match filters.len() {
                    1 => filters.remove(0),
                    _ => Self::And(filters),
                }
            }
            filter => read(filter, 0)?,
        };
        filter.check()?;
        Ok(filter)
    }

    /// Returns whether the filter holds for every session because it has no conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::And(filters) if filters.iter().all(Self::is_empty))
    }

    /// Writes the filter in the form that [`from_json`](Self::from_json) parses.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let list = |operator: &str, filters: &[Self]| {
            let filters = filters.iter().map(Self::to_json);
            std::iter::once(Value::from(operator)).chain(filters).collect()
        };
        match self {
            Self::And(filters) => list("and", filters),
            Self::Or(filters) => list("or", filters),
            Self::Not(filter) => json!(["not", filter.to_json()]),
            Self::Dimension { dimension, operator, values } => {
                json!([operator.as_str(), dimension.to_string(), values])
            }
            Self::SessionMetric { session_metric, comparison, number } => {
                json!([comparison.as_str(), session_metric.as_str(), number])
            }
            Self::Watched { from_ms, to_ms, is_negated } => {
                let seconds = |ms: &u32| f64::from(*ms) / 1_000.0;
                let operator = if *is_negated { "watched_not" } else { "watched" };
                json!([operator, seconds(from_ms), seconds(to_ms)])
            }
        }
    }

    /// Validates the filter.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the filter is nested deeper than [`FILTER_DEPTH_MAX`], has more than [`FILTER_VALUES_MAX`]
    /// values, or a value that its dimension cannot have.
    pub fn check(&self) -> Result<(), QueryError> {
        let count = self.check_part(0)?;
        check_count(PARAMETER, count as u64, (0, FILTER_VALUES_MAX as u64))
    }

    /// Validates a part of the filter that is nested `depth` deep, and returns the number of its values.
    fn check_part(&self, depth: usize) -> Result<usize, QueryError> {
        match self {
            Self::And(_) | Self::Or(_) | Self::Not(_) if depth == FILTER_DEPTH_MAX => {
                Err(QueryError::TooDeep { max: FILTER_DEPTH_MAX })
            }
            Self::And(filters) | Self::Or(filters) => {
                filters.iter().try_fold(1, |sum, filter| Ok(sum + filter.check_part(depth + 1)?))
            }
            Self::Not(filter) => Ok(1 + filter.check_part(depth + 1)?),
            Self::Dimension { dimension, operator, values } => {
                check_values(dimension, *operator, values)?;
                Ok(values.len().max(1))
            }
            Self::SessionMetric { number, .. } if !number.is_finite() => {
                Err(QueryError::invalid(PARAMETER, &number.to_string(), "a number"))
            }
            Self::Watched { from_ms, to_ms, .. } if to_ms <= from_ms => {
                let value = format!("{from_ms} ms to {to_ms} ms");
                Err(QueryError::invalid(PARAMETER, &value, "a position and a later one"))
            }
            Self::SessionMetric { .. } | Self::Watched { .. } => Ok(1),
        }
    }
}

fn check_values(
    dimension: &Dimension,
    operator: Operator,
    values: &[Option<String>],
) -> Result<(), QueryError> {
    let is_exact = matches!(operator, Operator::Is | Operator::IsNot);
    if !is_exact && !dimension.is_text() {
        let value = format!("{operator} {dimension}");
        return Err(QueryError::invalid(PARAMETER, &value, "\"is\" or \"is_not\""));
    }
    for value in values {
        match value {
            None if !is_exact => {
                return Err(QueryError::invalid(PARAMETER, "null", "texts with this operator"));
            }
            Some(value) if is_exact => check_value(dimension, value)?,
            _ => {}
        }
    }
    Ok(())
}

/// Fails if no session can have the value.
fn check_value(dimension: &Dimension, value: &str) -> Result<(), QueryError> {
    let known = |names: &mut dyn Iterator<Item = &'static str>| {
        let names: Vec<_> = names.collect();
        if names.contains(&value) {
            Ok(())
        } else {
            Err(QueryError::unknown(PARAMETER, value, names))
        }
    };
    let number = |min: i64, max: i64| {
        let number: Option<i64> = value.parse().ok();
        let fits = number.is_some_and(|number| (min..=max).contains(&number));
        let expected = || format!("a number from {min} to {max}");
        if fits { Ok(()) } else { Err(QueryError::invalid(PARAMETER, value, expected())) }
    };
    match dimension {
        Dimension::Browser => known(&mut Browser::ALL.into_iter().map(Browser::name)),
        Dimension::Platform => known(&mut Platform::ALL.into_iter().map(Platform::name)),
        Dimension::Device => known(&mut Device::ALL.into_iter().map(Device::name)),
        Dimension::Arrival(ArrivalPart::Country) => {
            let is_code = ArrivalPart::Country.reduce(value).as_deref() == Some(value);
            let expected = "a country: two capital letters of ISO 3166-1";
            if is_code { Ok(()) } else { Err(QueryError::invalid(PARAMETER, value, expected)) }
        }
        Dimension::HourOfDay => number(0, 23),
        Dimension::DayOfWeek => number(1, 7),
        Dimension::Time(_) => match DateTime::parse_from_rfc3339(value) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(QueryError::invalid(PARAMETER, value, "the start of a bucket in RFC 3339"))
            }
        },
        Dimension::Key
        | Dimension::Video
        | Dimension::VideoField(_)
        | Dimension::SessionField(_)
        | Dimension::Page
        | Dimension::PageHost
        | Dimension::Language
        | Dimension::Arrival(_) => Ok(()),
    }
}

/// Parses a filter that is nested `depth` deep.
fn read(json: &Value, depth: usize) -> Result<Filter, QueryError> {
    let expected = "an array: an operator, a name and values";
    let invalid = || QueryError::invalid(PARAMETER, &json.to_string(), expected);
    let [operator, rest @ ..] = json.as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(invalid());
    };
    let operator = operator.as_str().ok_or_else(invalid)?;
    let parts = || {
        if depth == FILTER_DEPTH_MAX {
            return Err(QueryError::TooDeep { max: FILTER_DEPTH_MAX });
        }
        rest.iter().map(|filter| read(filter, depth + 1)).collect::<Result<Vec<_>, _>>()
    };
    match (operator, rest) {
        ("and", _) => Ok(Filter::And(parts()?)),
        ("or", _) => Ok(Filter::Or(parts()?)),
        ("not", [_]) => Ok(Filter::Not(Box::new(parts()?.remove(0)))),
        ("watched" | "watched_not", [from, to]) => {
            let is_negated = operator == "watched_not";
            Ok(Filter::Watched { from_ms: position(from)?, to_ms: position(to)?, is_negated })
        }
        (_, [name, values]) => {
            let name = name.as_str().ok_or_else(invalid)?;
            read_condition(operator, name, values)
        }
        _ if is_operator(operator) => Err(invalid()),
        _ => Err(unknown_operator(operator)),
    }
}

fn read_condition(operator: &str, name: &str, values: &Value) -> Result<Filter, QueryError> {
    if !is_operator(operator) {
        return Err(unknown_operator(operator));
    }
    if let Ok(session_metric) = name.parse::<SessionMetric>() {
        let comparison = operator.parse()?;
        let number = values.as_f64();
        let invalid = || QueryError::invalid(PARAMETER, &values.to_string(), "a number");
        return Ok(Filter::SessionMetric {
            session_metric,
            comparison,
            number: number.ok_or_else(invalid)?,
        });
    }
    let dimension = name.parse::<Dimension>().map_err(|err| match err {
        QueryError::Unknown { .. } => {
            let session_metrics = SessionMetric::ALL.iter().map(|it| it.as_str());
            QueryError::unknown(
                PARAMETER,
                name,
                Dimension::NAMES.into_iter().chain(session_metrics),
            )
        }
        err => err.of_parameter(PARAMETER),
    })?;
    let operator = operator.parse()?;
    let values = match values {
        Value::Array(values) => values.iter().map(text).collect::<Result<_, _>>()?,
        value => vec![text(value)?],
    };
    Ok(Filter::Dimension { dimension, operator, values })
}

fn text(value: &Value) -> Result<Option<String>, QueryError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(_) | Value::Number(_) => Ok(Some(canonical(value))),
        _ => Err(QueryError::invalid(PARAMETER, &value.to_string(), "texts, numbers or null")),
    }
}

/// Parses seconds of video.
fn position(value: &Value) -> Result<u32, QueryError> {
    let ms = value.as_f64().map(|seconds| (1_000.0 * seconds).round());
    let ms = ms.filter(|ms| (0.0..=f64::from(u32::MAX)).contains(ms));
    let invalid =
        || QueryError::invalid(PARAMETER, &value.to_string(), "seconds of video from 0 on");
    ms.map(|ms| ms as u32).ok_or_else(invalid)
}

const CONNECTIVES: [&str; 5] = ["and", "or", "not", "watched", "watched_not"];

fn operators() -> impl Iterator<Item = &'static str> {
    let comparisons = Comparison::ALL.iter().skip(1).map(|it| it.as_str());
    Operator::ALL.iter().map(|it| it.as_str()).chain(comparisons).chain(CONNECTIVES)
}

fn is_operator(name: &str) -> bool {
    operators().any(|operator| operator == name)
}

fn unknown_operator(name: &str) -> QueryError {
    QueryError::unknown(PARAMETER, name, operators())
}

//! Timeframes, as requests write them.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use metrics_core::Timeframe;
use metrics_core::time_bucket::Span;
use serde_json::Value;

use crate::error::Error;

/// The timeframes of the older reports, dates, pairs of dates, and names.
pub(crate) fn read_timeframe(value: &Value) -> Result<Timeframe, Error> {
    let dates = match value {
        Value::Array(ends) => ends.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        // An object with other members is no pair of dates; its error is returned below.
        Value::Object(ends) if ends.len() == 2 => {
            let end = |name: &str| ends.get(name).and_then(Value::as_str);
            end("from").zip(end("to")).map(|(from, to)| vec![from, to])
        }
        _ => None,
    };
    if let Some([from, to]) = dates.as_deref()
        && let (Some(from), Some(to)) = (read_date(from), read_date(to))
    {
        return if to < from {
            Err(Error::parameter("timeframe", "must have a `from` that is not after its `to`"))
        } else {
            Ok(Timeframe::Dates(from, to))
        };
    }
    match value {
        Value::String(text) if number(value).is_none() => {
            // A `+` that is not encoded in a query string arrives as a space. Only times have no spaces, so only
            // `instant` replaces them.
            let parsed = text.parse::<Timeframe>();
            parsed.or_else(|err| read_older(value).map_err(|_| err.into()))
        }
        value => read_older(value),
    }
}

/// A date of the years that RFC 3339 can write.
fn read_date(text: &str) -> Option<NaiveDate> {
    let date: NaiveDate = text.parse().ok()?;
    (0..=9_999).contains(&date.year()).then_some(date)
}

/// The timeframes of the older reports.
fn read_older(value: &Value) -> Result<Timeframe, Error> {
    let wrong = || {
        let expected = "must be a duration like \"7 days\", Unix seconds, an RFC 3339 time, or an object with \
                        `from` and `to`";
        Error::parameter("timeframe", expected)
    };
    if let Value::Object(members) = value {
        // A misspelt member would omit an end.
        if members.keys().any(|name| name != "from" && name != "to") {
            return Err(Error::parameter(
                "timeframe",
                "must have no other members than `from` and `to`",
            ));
        }
        let end = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => instant(value).map(Some).ok_or_else(wrong),
        };
        return match (end("from")?, end("to")?) {
            (Some(from), Some(to)) if to < from => {
                Err(Error::parameter("timeframe", "must have a `from` that is not after its `to`"))
            }
            (Some(from), Some(to)) => Ok(Timeframe::Between(from, to)),
            (Some(from), None) => Ok(Timeframe::From(from)),
            (None, _) => Err(wrong()),
        };
    }
    if let Some(from) = instant(value) {
        return Ok(Timeframe::From(from));
    }
    let span = value.as_str().and_then(|text| text.parse::<Span>().ok());
    span.map(Timeframe::Last).ok_or_else(wrong)
}

/// Unix seconds, or an RFC 3339 time.
fn instant(value: &Value) -> Option<DateTime<Utc>> {
    let at = if let Some(seconds) = number(value) {
        // Beyond chrono's calendar.
        let ms = (-1e13..=1e13).contains(&seconds).then(|| (seconds * 1_000.0).round() as i64)?;
        DateTime::from_timestamp_millis(ms)?
    } else {
        // A `+` that is not encoded in a query string arrives as a space.
        let text = value.as_str()?.trim().replace(' ', "+");
        DateTime::parse_from_rfc3339(&text).ok()?.to_utc()
    };
    // The limits of RFC 3339. Buckets around the ends of chrono's calendar would lie outside of it.
    (0..=9_999).contains(&at.year()).then_some(at)
}

/// A number, or the text of one, as query strings have it.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

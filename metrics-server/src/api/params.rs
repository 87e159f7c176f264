//! The parameters of a report: JSON in the body, or a query string, read into the values of `metrics_core::query`.

use std::ops::RangeInclusive;

use chrono_tz::Tz;
use metrics_core::containment::is_too_deep;
use metrics_core::engagement::ResolutionError;
use metrics_core::query::{Filter, LIMIT_MAX, QueryError};
use metrics_core::time_bucket::{Buckets, Span, Width};
use metrics_core::{BucketQuery, EngagementQuery, Selection, Timeframe};
use serde_json::{Map, Value};

use super::timeframe::{number, read_timeframe};
use crate::access::Grant;
use crate::code::Code;
use crate::error::Error;
use crate::selection::{read_identifiers, read_query};
use crate::table::Format;

/// The parameters of the older reports: each accepts those of the others, as some clients send all of them to each.
pub(crate) const OLDER: [&str; 10] = [
    "identifier",
    "query",
    "filters",
    "timeframe",
    "timezone",
    "interval",
    "minimum_watch_seconds",
    "ranges",
    "resolution",
    "fill",
];

/// A parameter without a meaning, by which clients get around caches.
const CACHE_BUSTER: &str = "_";

/// The access token in a query string, which was checked before.
pub(crate) const TOKEN: &str = "token";

/// Names that other programs use for a parameter, and that parameter.
const MEANT: [(&[&str], &str); 5] = [
    (&["from", "to", "start", "end", "since", "until", "date", "period"], "timeframe"),
    (&["video", "session", "key", "metadata"], "query"),
    (&["id", "embed_id", "video_id"], "identifier"),
    (&["tz", "zone"], "timezone"),
    (&["bucket", "granularity", "step"], "interval"),
];

/// The most parts of engagement.
const RANGES_MAX: u64 = 10_000;

/// The parameters of one request: those of the body win over those of the query string.
///
/// They hold what the caller may read, and an endpoint gets a selection from nothing else: so no report can forget to
/// narrow it.
#[derive(Debug)]
pub(crate) struct Params {
    // Without those that are null.
    values: Map<String, Value>,
    // The names of parameters that are null.
    nulls: Vec<String>,
    granted: Grant,
}

/// The form of an engagement report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Engagement {
    /// This number of equal parts.
    Ranges(u32),
    /// Every second, per time bucket.
    PerSecond(Buckets),
}

impl Params {
    /// Reads the parameters of a request, which may read what is `granted`.
    ///
    /// # Errors
    ///
    /// [`Error::Body`] if the body is neither empty nor a JSON object, or too deep; [`Error::Parameter`] if a parameter
    /// of the query string looks like JSON but is not.
    pub(crate) fn parse(query: Option<&str>, body: &[u8], granted: Grant) -> Result<Self, Error> {
        let mut values = from_query(query.unwrap_or_default())?;
        if !body.trim_ascii().is_empty() {
            let not_an_object = |_| Error::body("the body must be a JSON object");
            let text =
                std::str::from_utf8(body).map_err(|_| Error::body("the body must be UTF-8"))?;
            // First: the parser has a limit of its own, and its error would not name the fault.
            if is_too_deep(text) {
                let err = Error::body("the body must be at most 64 levels deep");
                return Err(err.coded(Code::TooDeep));
            }
            let body: Map<String, Value> = serde_json::from_str(text).map_err(not_an_object)?;
            values.extend(body);
        }
        let is_null = |(name, value): (&String, &Value)| value.is_null().then(|| name.clone());
        let nulls = values.iter().filter_map(is_null).collect();
        values.retain(|name, value| !value.is_null() && name != CACHE_BUSTER);
        Ok(Self { values, nulls, granted })
    }

    /// Whether the caller may read sessions of every key.
    pub(crate) fn has_all_keys(&self) -> bool {
        self.granted.is_all()
    }

    /// Wraps parameters that are parsed already.
    pub(crate) fn of(values: Map<String, Value>, granted: Grant) -> Self {
        Self { values, nulls: Vec::new(), granted }
    }

    /// Refuses a selection with a parameter or a member that is null, and therefore does not narrow it: the value may
    /// be missing by mistake.
    ///
    /// # Errors
    ///
    /// [`Error::Body`] names it.
    pub(crate) fn check_no_nulls(&self) -> Result<(), Error> {
        let members = ["query", "timeframe"].into_iter().filter_map(|name| {
            let members = self.values.get(name)?.as_object()?;
            let (member, _) = members.iter().find(|(_, value)| value.is_null())?;
            Some(format!("{name}.{member}"))
        });
        match self.nulls.iter().cloned().chain(members).next() {
            None => Ok(()),
            Some(name) => {
                let err = Error::body(format!("`{name}` must not be null: leave it out"));
                Err(err.coded(Code::InvalidParameter))
            }
        }
    }

    /// The query for plays and sources. The report shows these numbers of the sessions.
    pub(crate) fn bucket_query(&self, shows: &[&str]) -> Result<BucketQuery, Error> {
        let mut query = BucketQuery::from(self.selection(shows)?);
        self.restrict(&mut query.timeframe, &mut query.minimum_view_ms)?;
        query.buckets = self.buckets()?;
        query.fill = self.flag("fill")?;
        Ok(query)
    }

    /// The query for engagement.
    pub(crate) fn engagement_query(&self) -> Result<EngagementQuery, Error> {
        let mut query = EngagementQuery::from(self.selection(&["engagement"])?);
        query.timezone = self.timezone()?;
        self.restrict(&mut query.timeframe, &mut query.minimum_view_ms)?;
        if let Some(resolution) = self.values.get("resolution") {
            let text = match resolution {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let resolution: Result<_, ResolutionError> = text.parse();
            query.resolution =
                resolution.map_err(|err| Error::parameter("resolution", err.to_string()))?;
        }
        Ok(query)
    }

    /// The query for single sessions: by default, all. It shows these numbers of them.
    pub(crate) fn sessions_query(&self, shows: &[&str]) -> Result<EngagementQuery, Error> {
        let mut query = EngagementQuery::from(self.selection(shows)?).during(Timeframe::ALL);
        query.timezone = self.timezone()?;
        if let Some(timeframe) = self.values.get("timeframe") {
            query.timeframe = read_timeframe(timeframe)?;
        }
        query.minimum_view_ms = self.minimum_view_ms()?.unwrap_or(query.minimum_view_ms);
        Ok(query)
    }

    /// The format of the file.
    pub(crate) fn format(&self) -> Result<Format, Error> {
        match self.values.get("format") {
            None => Ok(Format::default()),
            Some(Value::String(text)) if text == "csv" => Ok(Format::Csv),
            Some(Value::String(text)) if text == "ndjson" => Ok(Format::Ndjson),
            Some(Value::String(text)) if text == "parquet" => Ok(Format::Parquet),
            Some(_) => Err(Error::parameter("format", "must be csv, ndjson or parquet")),
        }
    }

    /// Replaces the defaults of a query by the parameters that are present.
    fn restrict(&self, timeframe: &mut Timeframe, minimum_view_ms: &mut u64) -> Result<(), Error> {
        *timeframe = self.timeframe()?.unwrap_or(*timeframe);
        *minimum_view_ms = self.minimum_view_ms()?.unwrap_or(*minimum_view_ms);
        Ok(())
    }

    /// Returns the form of engagement: every second or step if there is an `interval` or a `resolution` and no
    /// `ranges`.
    pub(crate) fn engagement(&self) -> Result<Engagement, Error> {
        let per_second = ["interval", "resolution"].iter().any(|it| self.values.contains_key(*it));
        if per_second && !self.values.contains_key("ranges") {
            return Ok(Engagement::PerSecond(self.buckets()?));
        }
        let Some(ranges) = self.values.get("ranges") else { return Ok(Engagement::Ranges(10)) };
        if self.values.contains_key("resolution") {
            let err = Error::parameter("resolution", "excludes `ranges`: send one of the two");
            return Err(err.coded(Code::ConflictingParameters));
        }
        let number = number(ranges).filter(|number| number.fract() == 0.0);
        match number {
            Some(number) if (1.0..=RANGES_MAX as f64).contains(&number) => {
                Ok(Engagement::Ranges(number as u32))
            }
            _ => Err(Error::parameter("ranges", "must be a whole number from 1 to 10000")),
        }
    }

    /// Fails if there is a parameter without one of these names: it would have no effect, and the caller would expect
    /// one.
    pub(crate) fn check_names(&self, known: &[&'static str]) -> Result<(), Error> {
        let Some(unknown) = self.values.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let mut err = QueryError::unknown_parameter(unknown, known.iter().copied());
        let meant = MEANT.iter().find(|(names, _)| names.contains(&unknown.as_str()));
        if let (QueryError::Unknown { accepted, .. }, Some((_, meant))) = (&mut err, meant) {
            accepted.sort_by_key(|name| name != meant);
        }
        Err(err.into())
    }

    /// A parameter, unless it is missing or null.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// A parameter that is an array of texts, or one text.
    pub(crate) fn texts(&self, name: &'static str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let texts = match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(all) => all.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        texts.map(Some).ok_or_else(|| Error::parameter(name, "must be an array of strings"))
    }

    /// A parameter that is a whole number within a range.
    pub(crate) fn integer(
        &self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Error> {
        Ok(self.integer_or_none(name, range)?.unwrap_or(default))
    }

    /// The same without a default.
    pub(crate) fn integer_or_none(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            Error::parameter(name, format!("must be a whole number from {least} to {most}"))
        })
    }

    /// Reads `limit`, with its default, and `offset`.
    pub(crate) fn page(&self, limit: u32) -> Result<(u32, u64), Error> {
        self.page_of(limit, LIMIT_MAX)
    }

    /// Reads `limit`, with its default and its largest value, and `offset`.
    pub(crate) fn page_of(&self, limit: u32, limit_max: u32) -> Result<(u32, u64), Error> {
        let limit = self.integer("limit", limit.into(), 1..=limit_max.into())?;
        // A number that every program reads from JSON exactly.
        let offset = self.integer("offset", 0, 0..=u64::MAX >> 11)?;
        Ok((limit as u32, offset))
    }

    /// The selected sessions, narrowed to those that may be read: by default, all of these. `shows` are the numbers that
    /// the report shows, by the names in `metrics` of a token.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] or [`Error::NotGranted`] if the caller may not read them.
    pub(crate) fn selection(&self, shows: &[&str]) -> Result<Selection, Error> {
        let mut selection = match self.values.get("query") {
            Some(query) => read_query(query)?,
            None => Selection::default(),
        };
        selection.identifiers = self.values.get("identifier").map(read_identifiers).transpose()?;
        if let Some(filters) = self.values.get("filters") {
            selection.filter = Filter::from_json(filters)?;
        }
        if self.values.contains_key("minimum_watch_seconds") {
            // Requests with different minima would disclose how long each session watched.
            self.granted.within().check_metrics(["view_time"])?;
        }
        self.granted.restrict(selection, shows.iter().copied())
    }

    /// What the caller may read.
    pub(crate) fn granted(&self) -> &Grant {
        &self.granted
    }

    fn timeframe(&self) -> Result<Option<Timeframe>, Error> {
        self.values.get("timeframe").map(read_timeframe).transpose()
    }

    fn minimum_view_ms(&self) -> Result<Option<u64>, Error> {
        let Some(value) = self.values.get("minimum_watch_seconds") else { return Ok(None) };
        let ms = match (number(value), value) {
            (Some(seconds), _) => {
                // More milliseconds than any session has, and less than the cast can hold.
                (0.0..=1e12).contains(&seconds).then(|| (seconds * 1_000.0).round() as u64)
            }
            (None, Value::String(text)) => text.parse::<Span>().ok().and_then(Span::fixed_ms),
            _ => None,
        };
        ms.map(Some).ok_or_else(|| {
            let expected =
                "must be a number of seconds, 0 or more, or a duration like \"3 seconds\"";
            Error::parameter("minimum_watch_seconds", expected)
        })
    }

    fn buckets(&self) -> Result<Buckets, Error> {
        let width = match self.values.get("interval") {
            None => Width::YEAR,
            Some(Value::String(text)) => text.parse().map_err(|err| {
                Error::parameter("interval", format!("is not a valid width: {err}"))
            })?,
            Some(_) => {
                return Err(Error::parameter(
                    "interval",
                    "must be a text like \"1 day\" or \"3 months\"",
                ));
            }
        };
        let buckets = Buckets::new(width);
        Ok(self.timezone()?.map_or(buckets, |zone| buckets.in_timezone(zone)))
    }

    /// The time zone, if one is named.
    pub(crate) fn timezone(&self) -> Result<Option<Tz>, Error> {
        let Some(timezone) = self.values.get("timezone") else { return Ok(None) };
        let zone = timezone.as_str().and_then(|name| name.parse::<Tz>().ok());
        zone.map(Some).ok_or_else(|| {
            Error::parameter("timezone", "must be an IANA name like \"Europe/Amsterdam\"")
                .coded(Code::UnknownTimezone)
        })
    }

    /// A parameter that is true or false, by default false.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, Error> {
        match self.values.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(Error::parameter(name, "must be true or false")),
        }
    }
}

/// The parameters of a query string. Objects and arrays are JSON there, all else is text; a repeated name makes an
/// array.
fn from_query(query: &str) -> Result<Map<String, Value>, Error> {
    let mut values = Map::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let value = match &*name {
            TOKEN => continue,
            "query" => structured("query", &text)?,
            "timeframe" => structured("timeframe", &text)?,
            // A query as JSON, with the members that the body would have.
            "q" => {
                values.extend(query_json(&text)?);
                continue;
            }
            "filters" => structured("filters", &text)?,
            "metrics" | "dimensions" | "order_by" | "compare" => structured_any(&text),
            // An identifier may well look like JSON: only an array of texts is read as JSON.
            "identifier" => match serde_json::from_str::<Vec<String>>(&text) {
                Ok(all) => all.into_iter().map(Value::String).collect(),
                Err(_) => Value::String(text.into_owned()),
            },
            _ => Value::String(text.into_owned()),
        };
        let value = match values.remove(&*name) {
            Some(earlier) if name == "identifier" => joined(earlier, value),
            _ => value,
        };
        values.insert(name.into_owned(), value);
    }
    Ok(values)
}

/// A query as JSON.
pub(crate) fn query_json(text: &str) -> Result<Map<String, Value>, Error> {
    let wrong = || Error::parameter("q", "must be a JSON object, at most 64 levels deep");
    if is_too_deep(text) {
        return Err(wrong());
    }
    serde_json::from_str(text).map_err(|_| wrong())
}

/// Parses a JSON array, unless it is too deep; any other text stays a text.
fn structured_any(text: &str) -> Value {
    let parsed = serde_json::from_str(text).ok().filter(|value: &Value| value.is_array());
    parsed.filter(|_| !is_too_deep(text)).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A parameter that is JSON if it begins like an object or an array, and text otherwise.
pub(crate) fn structured(name: &'static str, text: &str) -> Result<Value, Error> {
    if !text.trim_start().starts_with(['{', '[']) {
        return Ok(Value::String(text.to_owned()));
    }
    let parsed = serde_json::from_str(text).ok().filter(|_| !is_too_deep(text));
    parsed.ok_or_else(|| Error::parameter(name, "must be JSON in a query string"))
}

/// The elements of both, in one array.
fn joined(first: Value, second: Value) -> Value {
    let elements = |value| match value {
        Value::Array(elements) => elements,
        element => vec![element],
    };
    let mut all = elements(first);
    all.extend(elements(second));
    Value::Array(all)
}

#[cfg(test)]
mod tests;

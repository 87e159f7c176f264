//! Parameters of reports: a body and a query string mean the same, and parsed values are safe to calculate with.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use metrics_core::time_bucket::Buckets;
use metrics_core::{BucketQuery, EngagementQuery, Selection, Timeframe};
use serde_json::{Map, Value};

use crate::access::Grant;
use crate::api::params::{Engagement, Params};
use crate::error::Error;

/// The longest message about an invalid parameter, beside the value that it repeats.
const MESSAGE_BYTES_MAX: usize = 300;

/// More milliseconds than any session has.
const VIEW_MS_MAX: u64 = 1_000_000_000_000_000;

/// The queries of a request, or the errors in reading them.
#[derive(Debug)]
struct Queries {
    selection: Result<Selection, Error>,
    buckets: Result<BucketQuery, Error>,
    engagement_query: Result<EngagementQuery, Error>,
    engagement: Result<Engagement, Error>,
}

impl Queries {
    fn read(params: &Params) -> Self {
        Self {
            selection: params.selection(&[]),
            buckets: params.bucket_query(&[]),
            engagement_query: params.engagement_query(),
            engagement: params.engagement(),
        }
    }
}

/// A query string, and a body from the second line on.
pub fn params(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, body) = bytes.split_at(end);
    let Ok(query) = str::from_utf8(line) else { return };
    check(Params::parse(Some(query), body, Grant::all()), bytes.len());
    check(Params::parse(Some(query), b"", Grant::all()), bytes.len());
    let alone = Params::parse(None, body, Grant::all());
    if let (Ok(alone), Ok(Value::Object(members))) = (&alone, serde_json::from_slice(body)) {
        means_the_same(&Queries::read(alone), &members);
    }
    check(alone, bytes.len());
}

fn check(params: Result<Params, Error>, request_len: usize) {
    let params = match params {
        Ok(params) => params,
        Err(err) => return check_message(&err, request_len),
    };
    let Queries { selection, buckets, engagement_query, engagement } = Queries::read(&params);
    let mut needed = 0;
    match selection {
        Ok(_) => needed += 1,
        Err(err) => check_message(&err, request_len),
    }
    match buckets {
        Ok(query) => {
            assert_eq!(needed, 1, "a query has a selection");
            assert!(query.minimum_view_ms <= VIEW_MS_MAX);
            let (from, to) = resolve(query.timeframe);
            for at in [from, to] {
                cut(query.buckets, at);
            }
        }
        Err(err) => check_message(&err, request_len),
    }
    match engagement_query {
        Ok(query) => {
            assert!(query.minimum_view_ms <= VIEW_MS_MAX);
            resolve(query.timeframe);
        }
        Err(err) => check_message(&err, request_len),
    }
    match engagement {
        Ok(Engagement::Ranges(ranges)) => assert!((1..=10_000).contains(&ranges)),
        Ok(Engagement::PerSecond(buckets)) => cut(buckets, now()),
        Err(err) => check_message(&err, request_len),
    }
}

fn now() -> DateTime<Utc> {
    metrics_core::query::instant(1_700_000_000_000)
}

fn resolve(timeframe: Timeframe) -> (DateTime<Utc>, DateTime<Utc>) {
    let (from_ms, to_ms) = timeframe.resolve(now());
    if let Timeframe::Between(from, to) = timeframe {
        assert!(from <= to);
        // A timeframe within one millisecond may hold none.
        assert!(from_ms <= to_ms + 1);
    }
    let instant = metrics_core::query::instant;
    (instant(from_ms), instant(to_ms))
}

/// Buckets around any instant are consecutive.
fn cut(buckets: Buckets, at: DateTime<Utc>) {
    let start = buckets.start_of(at);
    assert_eq!(buckets.start_of(start), start, "a start is in its own bucket");
    if let Some(next) = buckets.next(start) {
        assert!(start < next, "{start} {next}");
    }
    let grain = buckets.grain_between(at, at);
    assert!(0 < grain.num_milliseconds());
    assert!(buckets.label(start).contains('T'));
    let starts: Vec<_> = buckets.starts(at, at).take(3).collect();
    assert!(starts.contains(&start) && starts.is_sorted(), "{starts:?} without {start}");
}

/// An error names the parameter, in a text of bounded length.
fn check_message(err: &Error, request_len: usize) {
    let message = err.to_string();
    assert!(
        matches!(err, Error::Parameter { .. } | Error::Body { .. } | Error::Query(_)),
        "{message}"
    );
    // Escaped, a repeated value may be six times as long.
    assert!(message.len() <= MESSAGE_BYTES_MAX + 6 * request_len, "{message}");
    if let Error::Parameter { name, .. } = err {
        assert!(message.starts_with(&format!("`{name}` ")));
    }
}

/// A query string can express every request that a body can.
fn means_the_same(body: &Queries, members: &Map<String, Value>) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in members {
        match value {
            Value::Null => {}
            // Text that looks like JSON is JSON in a query string.
            Value::String(text) if text.trim_start().starts_with(['[', '{']) => return,
            Value::String(text) => _ = query.append_pair(name, text),
            other => _ = query.append_pair(name, &other.to_string()),
        }
    }
    let query = Params::parse(Some(&query.finish()), b"", Grant::all())
        .expect("it is JSON where it looks so");
    let query = Queries::read(&query);
    same(&body.selection, &query.selection);
    same(&body.buckets, &query.buckets);
    same(&body.engagement_query, &query.engagement_query);
    same(&body.engagement, &query.engagement);
}

#[track_caller]
fn same<T: Debug + PartialEq>(body: &Result<T, Error>, query: &Result<T, Error>) {
    // A query string holds only texts, so it may be valid where the body is not.
    if let Ok(body) = body {
        assert_eq!(query.as_ref().ok(), Some(body));
    }
}

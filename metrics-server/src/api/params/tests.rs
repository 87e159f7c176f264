//! Every form that each parameter may have, and the errors for all others.

use metrics_core::ApiKey;

use super::*;
use chrono::DateTime;
use serde_json::json;

fn parse(body: &Value) -> Params {
    Params::parse(None, body.to_string().as_bytes(), Grant::all()).unwrap()
}

fn with(name: &str, value: &Value) -> Params {
    parse(&json!({ "identifier": "a", name: value }))
}

/// The text of an error.
fn error_text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn body_and_query_string_mean_the_same() {
    let body = parse(&json!({
        "identifier": ["a", "b"],
        "query": {"video": {"vid": 1}},
        "timeframe": {"from": 0, "to": 60},
        "interval": "1 day",
        "minimum_watch_seconds": 3,
        "timezone": "Europe/Amsterdam",
        "fill": true,
    }));
    let query = Params::parse(
        Some(
            "identifier=a&identifier=b&query=%7B%22video%22%3A%7B%22vid%22%3A1%7D%7D&interval=1%20day\
             &timeframe=%7B%22from%22%3A0%2C%22to%22%3A60%7D&minimum_watch_seconds=3\
             &timezone=Europe%2FAmsterdam&fill=true",
        ),
        b"",
        Grant::all(),
    );
    assert_eq!(query.unwrap().bucket_query(&[]).unwrap(), body.bucket_query(&[]).unwrap());
}

#[test]
fn the_body_wins() {
    let params =
        Params::parse(Some("identifier=a&ranges=3"), br#"{"identifier":"b"}"#, Grant::all())
            .unwrap();
    assert_eq!(params.selection(&[]).unwrap(), Selection::identifier("b"));
    assert_eq!(params.engagement().unwrap(), Engagement::Ranges(3));
}

#[test]
fn a_body_is_an_object() {
    for body in ["[]", "1", "{", "\"a\"", "\u{feff}{}"] {
        assert_eq!(
            error_text(Params::parse(None, body.as_bytes(), Grant::all())),
            "the body must be a JSON object"
        );
    }
    assert_eq!(error_text(Params::parse(None, b"\xff", Grant::all())), "the body must be UTF-8");
    // Deeper than the limit of the parser itself, too.
    for depth in [64, 70, 5_000] {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let err = error_text(Params::parse(None, deep.as_bytes(), Grant::all()));
        assert_eq!(err, "the body must be at most 64 levels deep");
    }
    let closed = format!("{{\"a\":]]{}}}", "[],".repeat(70));
    assert_eq!(
        error_text(Params::parse(None, closed.as_bytes(), Grant::all())),
        "the body must be a JSON object"
    );
    assert!(Params::parse(None, b" \n", Grant::all()).is_ok());
}

#[test]
fn without_a_selection_everything_is_selected() {
    for body in [json!({}), json!({"identifier": null, "query": null}), json!({"query": {}})] {
        assert_eq!(parse(&body).selection(&[]).unwrap(), Selection::default(), "{body}");
    }
}

#[track_caller]
fn check_selection(body: &Value, expected: Result<Selection, &str>) {
    let read = parse(body).selection(&[]).map_err(|err| err.to_string());
    assert_eq!(read, expected.map_err(str::to_owned));
}

#[test]
fn identifiers_are_strings() {
    let many = |identifiers: &[&str]| Selection {
        identifiers: Some(identifiers.iter().map(|it| (*it).to_owned()).collect()),
        ..Selection::default()
    };
    check_selection(&json!({"identifier": "a"}), Ok(many(&["a"])));
    check_selection(&json!({"identifier": ["a", "b"]}), Ok(many(&["a", "b"])));
    check_selection(&json!({"identifier": []}), Ok(many(&[])));
    let wrong = "`identifier` must be a string, or an array of at most 10000 strings";
    for value in [json!(1), json!({"a": 1}), json!(["a", 1]), json!(true)] {
        check_selection(&json!({"identifier": value}), Err(wrong));
    }
    let params =
        Params::parse(Some("identifier=%5B%22a%22%2C%22b%22%5D"), b"", Grant::all()).unwrap();
    assert_eq!(params.selection(&[]).unwrap(), many(&["a", "b"]));
    for query in ["identifier=a&identifier=%5B%22b%22%5D", "identifier=%5B%22a%22%5D&identifier=b"]
    {
        let params = Params::parse(Some(query), b"", Grant::all()).unwrap();
        assert_eq!(params.selection(&[]).unwrap(), many(&["a", "b"]), "{query}");
    }
    let params = Params::parse(Some("identifier=%5Bdraft%5D"), b"", Grant::all()).unwrap();
    assert_eq!(params.selection(&[]).unwrap(), many(&["[draft]"]));
}

#[test]
fn an_invalid_query_names_its_member() {
    let video = json!({"vid": 1});
    let video = video.as_object().unwrap();
    let expected = Selection::default().with_video(video.clone()).with_session(video.clone());
    let expected = Selection { key: Some(ApiKey::new("k").unwrap()), ..expected };
    let query = json!({"query": {"video": video, "session": video, "key": "k"}});
    check_selection(&query, Ok(expected));
    for (query, wrong) in [
        (json!(1), "must be an object with any of `video`, `session` and `key`"),
        (json!({"vid": 1}), "must have no other members than `video`, `session` and `key`"),
        (json!({"video": 1}), "must have an object as `video`"),
        (json!({"session": []}), "must have an object as `session`"),
        (json!({"key": 1}), "must have an API key as `key`"),
        (json!({"video": {"a": "x".repeat(16_384)}}), "must have at most 16384 bytes"),
    ] {
        check_selection(&json!({ "query": query }), Err(&format!("`query` {wrong}")));
    }
    let params =
        Params::parse(Some("query=%20%7B%22key%22%3A%22k%22%7D"), b"", Grant::all()).unwrap();
    assert_eq!(params.selection(&[]).unwrap(), Selection::key(ApiKey::new("k").unwrap()));
    let err = error_text(Params::parse(Some("query=%7B"), b"", Grant::all()));
    assert_eq!(err, "`query` must be JSON in a query string");
}

#[track_caller]
fn check_timeframe(value: &Value, expected: Option<Timeframe>) {
    let read = with("timeframe", value).bucket_query(&[]);
    assert_eq!(read.ok().map(|query| query.timeframe), expected, "{value}");
}

#[test]
fn a_timeframe_has_several_forms() {
    let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
    check_timeframe(&Value::Null, Some(Timeframe::Last(Span::WEEK)));
    check_timeframe(&json!("12 months"), Some(Timeframe::Last("1 year".parse().unwrap())));
    check_timeframe(&json!(60), Some(Timeframe::From(at(60))));
    check_timeframe(&json!("60"), Some(Timeframe::From(at(60))));
    check_timeframe(&json!("1970-01-01T00:01:00Z"), Some(Timeframe::From(at(60))));
    check_timeframe(&json!("1970-01-01T02:01:00+02:00"), Some(Timeframe::From(at(60))));
    check_timeframe(
        &json!({"from": 0, "to": "1970-01-01T00:01:00Z"}),
        Some(Timeframe::Between(at(0), at(60))),
    );
    check_timeframe(&json!({"from": 60}), Some(Timeframe::From(at(60))));
    check_timeframe(&json!({"from": 60, "too": 61}), None);
    check_timeframe(&json!({"from": "2023-05-01", "to": "2023-05-02", "zone": "UTC"}), None);
    check_timeframe(&json!({"from": 60, "to": 60}), Some(Timeframe::Between(at(60), at(60))));
    for value in [
        json!("soon"),
        json!(""),
        json!([]),
        json!(true),
        json!({}),
        json!({"to": 60}),
        json!({"from": 60, "to": 0}),
        json!({"from": "7 days"}),
        json!(1e300),
        json!("1e300"),
        json!("2024-13-01T00:00:00Z"),
        // The first and the last second that chrono can represent, and those around the limits of RFC 3339.
        json!(-8_334_601_228_800_i64),
        json!(8_210_266_876_799_i64),
        json!(-62_167_219_201_i64),
        json!(253_402_300_800_i64),
        json!({"from": 0, "to": 253_402_300_800_i64}),
        json!("9999-12-31T23:59:59-00:01"),
    ] {
        check_timeframe(&value, None);
    }
    check_timeframe(&json!(-62_167_219_200_i64), Some(Timeframe::From(at(-62_167_219_200))));
    check_timeframe(&json!(253_402_300_799_i64), Some(Timeframe::From(at(253_402_300_799))));
}

#[track_caller]
fn check_minimum(value: &Value, expected: Option<u64>) {
    let read = with("minimum_watch_seconds", value).bucket_query(&[]);
    assert_eq!(read.ok().map(|query| query.minimum_view_ms), expected, "{value}");
}

#[test]
fn a_minimum_is_a_time() {
    check_minimum(&Value::Null, Some(1_000));
    check_minimum(&json!(0), Some(0));
    check_minimum(&json!(2.5), Some(2_500));
    check_minimum(&json!("2.5"), Some(2_500));
    check_minimum(&json!("3 seconds"), Some(3_000));
    check_minimum(&json!("2 minutes"), Some(120_000));
    for value in [json!(-1), json!("-1"), json!("1 month"), json!("long"), json!([]), json!(1e300)]
    {
        check_minimum(&value, None);
    }
    let engagement = parse(&json!({"identifier": "a"})).engagement_query().unwrap();
    assert_eq!(engagement.minimum_view_ms, 0);
}

#[track_caller]
fn check_refused(name: &str, value: &Value, expected: &str) {
    assert_eq!(error_text(with(name, value).bucket_query(&[])), expected);
}

#[test]
fn an_interval_is_a_width() {
    for text in ["15 minutes", "1 hour", "1 day", "1 week", "3 months", "1 year"] {
        let query = with("interval", &json!(text)).bucket_query(&[]).unwrap();
        assert_eq!(query.buckets, Buckets::new(text.parse().unwrap()));
    }
    let query = parse(&json!({"identifier": "a"})).bucket_query(&[]).unwrap();
    assert_eq!(query.buckets, Buckets::new(Width::YEAR));
    check_refused(
        "interval",
        &json!(5),
        "`interval` must be a text like \"1 day\" or \"3 months\"",
    );
    for text in ["", "0 days", "day", "1 month 1 day", "5", "1 fortnight"] {
        let err = error_text(with("interval", &json!(text)).bucket_query(&[]));
        assert!(err.starts_with("`interval` is not a valid width: "), "{err}");
    }
}

#[test]
fn a_timezone_is_an_iana_name() {
    let query = with("timezone", &json!("Asia/Kathmandu")).bucket_query(&[]).unwrap();
    assert_eq!(query.buckets.timezone(), Some(chrono_tz::Asia::Kathmandu));
    let wrong = "`timezone` must be an IANA name like \"Europe/Amsterdam\"";
    for value in [json!("Mars/Olympus"), json!(1), json!(""), json!("+02:00")] {
        check_refused("timezone", &value, wrong);
    }
}

#[test]
fn fill_is_true_or_false() {
    assert!(with("fill", &json!(true)).bucket_query(&[]).unwrap().fill);
    assert!(!with("fill", &json!("false")).bucket_query(&[]).unwrap().fill);
    check_refused("fill", &json!("yes"), "`fill` must be true or false");
    check_refused("fill", &json!(1), "`fill` must be true or false");
}

#[test]
fn engagement_has_two_forms() {
    let form = |body: Value| parse(&body).engagement();
    assert_eq!(form(json!({})).unwrap(), Engagement::Ranges(10));
    assert_eq!(form(json!({"ranges": 5})).unwrap(), Engagement::Ranges(5));
    assert_eq!(form(json!({"ranges": "5"})).unwrap(), Engagement::Ranges(5));
    assert_eq!(form(json!({"ranges": 5, "interval": "1 day"})).unwrap(), Engagement::Ranges(5));
    let days = Buckets::new("1 day".parse().unwrap());
    assert_eq!(form(json!({"interval": "1 day"})).unwrap(), Engagement::PerSecond(days));
    for ranges in [json!(0), json!(10_001), json!(1.5), json!("many"), json!([]), json!(-1)] {
        let err = error_text(form(json!({ "ranges": ranges })));
        assert_eq!(err, "`ranges` must be a whole number from 1 to 10000");
    }
}

//! Queries: accepted input, helpful errors, and the periods of timeframes.

use serde_json::json;

use super::*;

#[test]
fn values_that_no_session_can_have_select_nothing() {
    let object = |value: &Value| value.as_object().unwrap().clone();
    let plain = object(&json!({"a": "\\u0000"}));
    let nul = object(&json!({"a": ["\0"]}));
    let deep = (0..70).fold(json!({"a": 1}), |inner, _| json!({"a": inner}));
    let nothing = Selection { identifiers: Some(Vec::new()), ..Selection::default() };

    let sound = Selection::identifier("a").with_video(plain.clone()).with_session(plain);
    assert_eq!(sound.for_stores(), sound);
    let identifiers = ["a\0", "a"].map(str::to_owned).to_vec();
    let some = Selection { identifiers: Some(identifiers), ..Selection::default() };
    assert_eq!(some.for_stores(), Selection::identifier("a"));
    assert_eq!(Selection::identifier("\0").for_stores(), nothing);
    for part in [nul, object(&deep)] {
        assert_eq!(Selection::default().with_video(part.clone()).for_stores(), nothing);
        assert_eq!(Selection::identifier("a").with_session(part).for_stores(), nothing);
    }
}

#[track_caller]
fn check(timeframe: Timeframe, expected: (&str, &str)) {
    let now: DateTime<Utc> = "2024-03-10T12:00:00Z".parse().unwrap();
    let (from, to) = timeframe.resolve(now);
    assert_eq!((instant(from).to_rfc3339().as_str(), instant(to).to_rfc3339().as_str()), expected);
}

#[test]
fn a_timeframe_includes_both_ends() {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    check(Timeframe::default(), ("2024-03-03T12:00:00+00:00", "2024-03-10T12:00:00+00:00"));
    check(
        Timeframe::Between(at("2024-01-01T00:00:00Z"), at("2024-01-01T00:00:00.5Z")),
        ("2024-01-01T00:00:00+00:00", "2024-01-01T00:00:00.500+00:00"),
    );
    check(
        Timeframe::Between(at("2024-01-01T00:00:00.0001Z"), at("2024-01-01T00:00:00.0009Z")),
        ("2024-01-01T00:00:00.001+00:00", "2024-01-01T00:00:00+00:00"),
    );
}

fn now() -> DateTime<Utc> {
    // A Wednesday.
    "2024-03-06T12:00:00Z".parse().unwrap()
}

#[track_caller]
fn check_period(period: Period, expected: (&str, &str)) {
    let text = |ms| instant(ms).format("%Y-%m-%dT%H:%M:%S%.3f").to_string().replace(".000", "");
    assert_eq!((text(period.from_ms).as_str(), text(period.to_ms).as_str()), expected);
}

#[test]
fn calendar_timeframes_follow_local_time() {
    let zone = Some(chrono_tz::Tz::America__New_York);
    for (text, from, to) in [
        ("today", "2024-03-06T05:00:00", "2024-03-06T12:00:00"),
        ("yesterday", "2024-03-05T05:00:00", "2024-03-06T04:59:59.999"),
        ("this week", "2024-03-04T05:00:00", "2024-03-06T12:00:00"),
        ("this month", "2024-03-01T05:00:00", "2024-03-06T12:00:00"),
        ("this year", "2024-01-01T05:00:00", "2024-03-06T12:00:00"),
        ("last 12 months", "2023-03-06T12:00:00", "2024-03-06T12:00:00"),
        ("7 days", "2024-02-28T12:00:00", "2024-03-06T12:00:00"),
        // A day of 23 hours.
        ("2024-03-10", "2024-03-10T05:00:00", "2024-03-11T03:59:59.999"),
        ("2024-03-01T00:00:00Z", "2024-03-01T00:00:00", "2024-03-06T12:00:00"),
    ] {
        let timeframe: Timeframe = text.parse().unwrap();
        check_period(timeframe.period(now(), zone), (from, to));
    }
    let all = "all".parse::<Timeframe>().unwrap();
    assert_eq!(all, Timeframe::ALL);
    assert_eq!(all.period(now(), None).to_ms, now().timestamp_millis());
    // Midnight was skipped: the day begins at 01:00.
    let day: Timeframe = "2018-11-04".parse().unwrap();
    let zone = Some(chrono_tz::Tz::America__Sao_Paulo);
    check_period(day.period(now(), zone), ("2018-11-04T03:00:00", "2018-11-05T01:59:59.999"));
}

#[test]
fn periods_are_compared_with_those_before() {
    let zone = Some(chrono_tz::Tz::America__New_York);
    for (text, compare, from, to) in [
        ("today", "previous_period", "2024-03-05T05:00:00", "2024-03-05T12:00:00"),
        ("yesterday", "previous_period", "2024-03-04T05:00:00", "2024-03-05T04:59:59.999"),
        ("this week", "previous_period", "2024-02-26T05:00:00", "2024-02-28T12:00:00"),
        ("this month", "previous_period", "2024-02-01T05:00:00", "2024-02-06T12:00:00"),
        ("this year", "previous_period", "2023-01-01T05:00:00", "2023-03-06T12:00:00"),
        ("7 days", "previous_period", "2024-02-21T12:00:00", "2024-02-28T11:59:59.999"),
        ("1 month", "previous_period", "2024-01-06T12:00:00", "2024-02-06T11:59:59.999"),
        (
            "2024-03-01T00:00:00Z",
            "previous_period",
            "2024-02-24T11:59:59.999",
            "2024-02-29T23:59:59.999",
        ),
        ("2024-02-29", "previous_period", "2024-02-28T05:00:00", "2024-02-29T04:59:59.999"),
        ("2024-02-29", "previous_year", "2023-02-28T05:00:00", "2023-03-01T04:59:59.999"),
        // Summer time began in between.
        ("2024-03-12", "previous_year", "2023-03-12T05:00:00", "2023-03-13T03:59:59.999"),
        ("2024-03-12", "2020-01-01", "2020-01-01T05:00:00", "2020-01-02T04:59:59.999"),
    ] {
        let mut query = Query::default().during(text.parse().unwrap());
        query.timezone = zone;
        query.compare = Some(compare.parse().unwrap());
        let compared = query.periods(now()).unwrap().compared.unwrap();
        check_period(compared, (from, to));
    }
    // The last hour of the day before came twice.
    let mut query = Query::default().during("2024-03-24".parse().unwrap());
    query.timezone = Some(chrono_tz::Tz::America__Asuncion);
    query.compare = Some(Compare::PreviousPeriod);
    let compared = query.periods(now()).unwrap().compared.unwrap();
    check_period(compared, ("2024-03-23T03:00:00", "2024-03-24T03:59:59.999"));
    let all = Query::default().during(Timeframe::ALL).compared_with(Compare::PreviousPeriod);
    let err = all.periods(now()).unwrap_err().to_string();
    assert_eq!(
        err,
        r#"compare: "all" is invalid, expected a timeframe, since nothing is before "all""#
    );
}

#[test]
fn names_are_read_as_they_are_written() {
    for metric in Metric::ALL {
        assert_eq!(metric.as_str().parse(), Ok(*metric));
    }
    for name in Dimension::NAMES {
        let name = name.replace("<interval>", "1 day").replace("<path>", "a.b");
        assert_eq!(name.parse::<Dimension>().unwrap().to_string(), name);
    }
    for text in ["1.5 seconds", "50%", "12.5%", "0 seconds"] {
        assert_eq!(text.parse::<Minimum>().unwrap().to_string(), text);
    }
    assert_eq!("2".parse(), Ok(Minimum::ViewMs(2_000)));
    assert_eq!("2 minutes".parse(), Ok(Minimum::ViewMs(120_000)));
    for text in ["", "-1", "101%", "NaN", "1 month", "x%"] {
        assert!(text.parse::<Minimum>().is_err(), "{text}");
    }
}

#[track_caller]
fn check_error(result: Result<impl std::fmt::Debug, QueryError>, expected: &str) {
    let err = result.unwrap_err().to_string();
    assert!(err.starts_with(expected), "{err}");
}

#[test]
fn errors_name_the_nearest_first() {
    check_error("play".parse::<Metric>(), r#"metrics: "play" is unknown, expected "plays", "#);
    check_error(
        "completion".parse::<Metric>(),
        r#"metrics: "completion" is unknown, expected "completions", "completion_rate", "#,
    );
    check_error(
        "browsers".parse::<Dimension>(),
        r#"dimensions: "browsers" is unknown, expected "browser", "#,
    );
    check_error(
        "time".parse::<Dimension>(),
        r#"dimensions: "time" is unknown, expected "time:<interval>", "#,
    );
    check_error(
        "time:1".parse::<Dimension>(),
        r#"dimensions: "time:1" is invalid, expected an interval: "1" has no unit"#,
    );
    check_error(
        "video.".parse::<Dimension>(),
        r#"dimensions: "video." is invalid, expected a path"#,
    );
    check_error(
        "viewtime".parse::<Column>(),
        r#"order_by: "viewtime" is unknown, expected "view_time", "#,
    );
    check_error("up".parse::<Direction>(), r#"order_by: "up" is unknown, expected "asc", "desc""#);
    check_error(
        "next week".parse::<Timeframe>(),
        r#"timeframe: "next week" is invalid, expected a duration"#,
    );
    check_error(Query::new([]).check(), "metrics: 0 values, expected 1 to 20");
    check_error(
        Query::default().page(0, 0).check(),
        r#"limit: "0" is invalid, expected 1 to 10000"#,
    );
    let order = Query::default().order_by(Column::Dimension(Dimension::Key), Direction::Ascending);
    check_error(
        order.check(),
        r#"order_by: "key" is invalid, expected a metric or dimension of the query: plays, view_time"#,
    );
}

#[test]
fn errors_of_filters_list_the_accepted_values() {
    let check = |filter, expected| check_error(Filter::from_json(&filter), expected);
    check(
        json!(["is", "browser", ["chrom"]]),
        r#"filters: "chrom" is unknown, expected "chrome", "#,
    );
    check(
        json!(["is", "brwser", ["chrome"]]),
        r#"filters: "brwser" is unknown, expected "browser", "#,
    );
    check(json!(["isnt", "browser", ["chrome"]]), r#"filters: "isnt" is unknown, expected "is""#);
    check(json!(["=>", "view_time", 1]), r#"filters: "=>" is unknown, expected ">", "#);
    check(json!([">", "view_time", "x"]), r#"filters: "\"x\"" is invalid, expected a number"#);
    check(json!([">", "browser", ["chrome"]]), r#"filters: ">" is unknown, expected "is", "#);
    check(
        json!(["contains", "hour_of_day", ["1"]]),
        r#"filters: "contains hour_of_day" is invalid, expected "is" or"#,
    );
    check(json!(["contains", "page", [null]]), r#"filters: "null" is invalid, expected texts"#);
    check(
        json!(["is", "hour_of_day", [24]]),
        r#"filters: "24" is invalid, expected a number from 0 to 23"#,
    );
    check(
        json!(["watched", 5, 5]),
        r#"filters: "5000 ms to 5000 ms" is invalid, expected a position and a later one"#,
    );
    check(json!(["watched", -1, 5]), r#"filters: "-1" is invalid, expected seconds of video"#);
    check(json!("browser"), r#"filters: "\"browser\"" is invalid, expected an array: an operator"#);
    check(
        json!(["is", "browser"]),
        r#"filters: "[\"is\",\"browser\"]" is invalid, expected an array"#,
    );
    let deep =
        |levels| (0..levels).fold(json!(["is", "failures", 1]), |inner, _| json!(["not", inner]));
    assert!(Filter::from_json(&deep(8)).is_ok());
    check(deep(9), "filters: nested more than 8 deep");
    check(deep(50), "filters: nested more than 8 deep");
    let values: Vec<_> = (0..1_001).map(|value| value.to_string()).collect();
    check(json!(["is", "page", values]), "filters: 1001 values, expected 0 to 1000");
}

#[test]
fn filters_are_read_as_they_are_written() {
    for json in [
        json!(["and"]),
        json!([
            "or",
            ["not", ["is", "browser", ["chrome", "safari"]]],
            ["is_not", "video.tag", [null, "a", "7"]]
        ]),
        json!(["and", [">=", "percentage_viewed", 0.5], ["is", "failures", 0.0]]),
        json!(["watched_not", 0.0, 60.5]),
        json!(["starts_with", "page", ["https://example.com/"]]),
    ] {
        assert_eq!(Filter::from_json(&json).unwrap().to_json(), json);
    }
    // An array of filters: all must hold.
    let both = Filter::from_json(&json!([["is", "key", ["a"]], ["is", "session.n", 1.0]])).unwrap();
    assert_eq!(both.to_json(), json!(["and", ["is", "key", ["a"]], ["is", "session.n", ["1"]]]));
    assert_eq!(Filter::from_json(&json!([])).unwrap(), Filter::And(Vec::new()));
}

#[test]
fn no_date_is_too_early_or_too_late() {
    let zones = [None, Some(chrono_tz::Tz::America__New_York), Some(chrono_tz::Tz::Asia__Tokyo)];
    let (first, last) = (NaiveDate::MIN, NaiveDate::MAX);
    let instants = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    for timeframe in [
        Timeframe::Dates(first, last),
        Timeframe::Dates(last, first),
        Timeframe::Dates(first, first),
        Timeframe::Between(instants.1, instants.0),
        Timeframe::From(instants.0),
        Timeframe::Last(Span::WEEK),
        Timeframe::Today,
    ] {
        for zone in zones {
            for compare in [Compare::PreviousPeriod, Compare::PreviousYear] {
                let mut query = Query::default().during(timeframe).compared_with(compare);
                query.timezone = zone;
                assert!(query.periods(now()).is_ok());
            }
        }
    }
}

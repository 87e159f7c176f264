//! Rows by dimension: time buckets, comparisons, and the values of sessions.

use serde_json::json;

use super::{answer, at, now, rows, watches};
use crate::Video;
use crate::query::{Compare, Dimension, Metric, Query, Timeframe};
use crate::scan::tests::draft::Watch;
use crate::scan::{Answer, DimensionValue};
use crate::user_agent::{Browser, Device, Platform};

#[test]
fn time_buckets_follow_each_other_and_are_filled() {
    let days = Query::new([Metric::Plays]).by("time:1 day".parse().unwrap());
    let days = days.during(Timeframe::Between(at("2023-05-01T00:00:00Z"), now()));
    assert_eq!(
        rows(&answer(&days, &watches())),
        ["05-01T00 = 0", "05-02T00 = 2", "05-03T00 = 1", "05-04T00 = 0"]
    );
    let bare = days.clone().with_fill(false);
    assert_eq!(rows(&answer(&bare, &watches())), ["05-02T00 = 2", "05-03T00 = 1"]);
    // In all of time, from the first session on.
    let all = days.clone().during(Timeframe::ALL);
    assert_eq!(rows(&answer(&all, &watches())), ["05-02T00 = 2", "05-03T00 = 1", "05-04T00 = 0"]);
    assert_eq!(answer(&all, &[]).rows, 0);
    // Every combination of the other values has each bucket.
    let both = days.by(Dimension::Device).page(3, 2);
    let watches = [
        Watch::at("2023-05-02T10:00:00Z").watched(&[(0, 50)]),
        Watch::at("2023-05-02T10:00:00Z").watched(&[(0, 50)]).with(
            Browser::Safari,
            Platform::Ios,
            Device::Mobile,
        ),
    ];
    let found = answer(&both, &watches);
    assert_eq!(found.rows, 8);
    assert_eq!(
        rows(&found),
        ["05-02T00 desktop = 1", "05-02T00 mobile = 1", "05-03T00 desktop = 0"]
    );
}

#[test]
fn the_repeated_hour_is_one_row() {
    let query = Query::new([Metric::Plays])
        .by("time:1 hour".parse().unwrap())
        .by(Dimension::HourOfDay)
        .during(Timeframe::ALL)
        .in_timezone(chrono_tz::Tz::Europe__Amsterdam)
        .with_fill(false);
    let watches = [
        "2022-10-29T23:59:59Z",
        "2022-10-30T00:30:00Z",
        "2022-10-30T01:30:00Z",
        "2022-10-30T02:00:00Z",
    ]
    .map(|start| Watch::at(start).watched(&[(0, 50)]));
    assert_eq!(
        rows(&answer(&query, &watches)),
        ["10-29T23 1 = 1", "10-30T01 2 = 2", "10-30T02 3 = 1"]
    );
}

#[test]
fn rows_are_compared_with_those_of_before() {
    let play = |start| Watch::at(start).watched(&[(0, 50)]);
    let watches = [
        play("2023-05-02T10:00:00Z").on("http://a.example/"),
        play("2023-05-03T10:00:00Z").on("http://a.example/"),
        play("2023-05-03T11:00:00Z").on("http://b.example/"),
        // The period before.
        play("2023-04-30T10:00:00Z").on("http://a.example/"),
        play("2023-05-01T10:00:00Z").on("http://a.example/"),
        play("2023-05-01T11:00:00Z").on("http://a.example/"),
    ];
    let dates = |from: &str, to: &str| Timeframe::Dates(from.parse().unwrap(), to.parse().unwrap());
    let query = Query::new([Metric::Plays]).during(dates("2023-05-02", "2023-05-03"));
    let query = query.compared_with(Compare::PreviousPeriod).with_totals(true);
    // Hosts are compared by name, buckets by their place.
    let hosts = answer(&query.clone().by(Dimension::PageHost), &watches);
    assert_eq!(rows(&hosts), ["a.example = 2 3 by -0.3333333333333333", "b.example = 1 0 by -"]);
    let days = answer(&query.clone().by("time:1 day".parse().unwrap()), &watches);
    assert_eq!(rows(&days), ["05-02T00 = 1 1 by 0", "05-03T00 = 2 2 by 0"]);
    assert_eq!(counterparts(&days), ["2023-04-30T00:00:00Z", "2023-05-01T00:00:00Z"]);
    assert_eq!(counterparts(&hosts), ["", ""]);
    for answer in [hosts, days, answer(&query, &watches)] {
        let totals = answer.totals.unwrap();
        assert_eq!(totals.metrics, [Some(3.0)]);
        assert_eq!(totals.comparison.unwrap().metrics, [Some(3.0)]);
    }
    let other = query.compared_with(Compare::Timeframe(dates("2023-04-30", "2023-04-30")));
    assert_eq!(rows(&answer(&other, &watches)), ["= 3 1 by 2"]);
    // The second day has no counterpart.
    let days = answer(&other.by("time:1 day".parse().unwrap()), &watches);
    assert_eq!(rows(&days), ["05-02T00 = 1 1 by 0", "05-03T00 = 2 0 by -"]);
    assert_eq!(counterparts(&days), ["2023-04-30T00:00:00Z", ""]);
}

/// The start of the compared bucket of each row; empty without one.
fn counterparts(answer: &Answer) -> Vec<String> {
    let rows = answer.results.iter();
    let compared = rows.map(|row| row.numbers.comparison.as_ref().unwrap().dimensions.as_deref());
    compared
        .map(|values| match values {
            Some([DimensionValue::Time(start)]) => {
                start.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            }
            _ => String::new(),
        })
        .collect()
}

#[test]
fn dimensions_have_the_values_of_sessions() {
    let play = |start| Watch::at(start).watched(&[(0, 50)]);
    let described = |json| Video::described(&json).unwrap();
    let watches = [
        play("2023-05-02T23:00:00Z")
            .on("https://a.example:81/x")
            .data(r#"{"plan":{"id":7}}"#)
            .speaking("nl")
            .from(r#"{"referrer":"a.example","utm_source":"letter","utm_campaign":"may","country":"NL"}"#),
        play("2023-05-02T23:00:00Z")
            .key("other")
            .video(described(json!({"title": "T", "a.b": {"c": true}}))),
        play("2023-05-02T23:00:00Z").video(described(json!({"title": 1}))),
    ];
    for (name, expected) in [
        ("hour_of_day", &["1 = 3"][..]),
        ("day_of_week", &["3 = 3"]),
        ("key", &["key = 2", "other = 1"]),
        ("video", &["T = 1", "intro = 1", r#"{"title":1} = 1"#]),
        ("video.title", &["- = 1", "1 = 1", "T = 1"]),
        // A member whose name has a point is found by its whole name.
        ("video.a.b", &["- = 2", r#"{"c":true} = 1"#]),
        ("session.plan.id", &["- = 2", "7 = 1"]),
        ("session.plan", &["- = 2", r#"{"id":7} = 1"#]),
        ("page", &["- = 2", "https://a.example:81/x = 1"]),
        ("page_host", &["- = 2", "a.example = 1"]),
        ("browser", &["chrome = 3"]),
        ("platform", &["mac = 3"]),
        ("device", &["desktop = 3"]),
        ("language", &["- = 2", "nl = 1"]),
        ("referrer", &["- = 2", "a.example = 1"]),
        ("utm_source", &["- = 2", "letter = 1"]),
        ("utm_medium", &["- = 3"]),
        ("utm_campaign", &["- = 2", "may = 1"]),
        ("country", &["- = 2", "NL = 1"]),
    ] {
        let query = Query::new([Metric::Plays]).by(name.parse().unwrap());
        let query = query.in_timezone(chrono_tz::Tz::Europe__Amsterdam);
        assert_eq!(rows(&answer(&query, &watches)), expected, "{name}");
    }
}

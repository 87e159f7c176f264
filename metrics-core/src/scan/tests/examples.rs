//! Small sessions, and numbers computed by hand.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::draft::{Watch, blocks};
use crate::block::{Columns, Group, Groups};
use crate::query::{
    Compare, Dimension, Filter, METRICS_MAX, Metric, Minimum, Period, Periods, Query, QueryError,
    Selection, Timeframe,
};
use crate::scan::{Answer, DimensionValue, ScanError, Scanner};
use crate::session::Counters;
use crate::user_agent::{Browser, Device, Platform};
use crate::{ApiKey, Damaged, Video};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2023-05-04T12:00:00Z")
}

fn answer(query: &Query, watches: &[Watch]) -> Answer {
    let Periods { current, compared } = query.periods(now()).unwrap();
    let scan = |period| {
        let mut scanner = Scanner::new(query, period).unwrap();
        for (watch, columns) in blocks(watches, 2, scanner.groups()) {
            scanner.add(&watch.info(), &columns).unwrap();
        }
        scanner
    };
    scan(current).finish(compared.map(scan)).unwrap()
}

/// Four sessions of a video of ten seconds, and one of unknown length.
fn watches() -> Vec<Watch> {
    let quality = |startup_ms, rebufferings, rebuffering_ms, failures| Counters {
        startup_ms,
        rebufferings,
        rebuffering_ms,
        failures,
        ..Counters::default()
    };
    vec![
        // All of it, and its first two seconds again.
        Watch::at("2023-05-02T10:00:00Z").of(100).watched(&[(0, 100), (0, 20)]).counting(quality(
            Some(200),
            0,
            0,
            0,
        )),
        // 95 % of it.
        Watch::at("2023-05-02T11:00:00Z").of(100).watched(&[(0, 50), (55, 100)]).counting(quality(
            Some(1_000),
            2,
            500,
            0,
        )),
        // A quarter.
        Watch::at("2023-05-03T10:00:00Z").of(100).watched(&[(0, 25)]).counting(quality(
            Some(300),
            0,
            0,
            0,
        )),
        // Too little for a play, and it failed.
        Watch::at("2023-05-03T11:00:00Z")
            .of(100)
            .watched(&[(0, 5)])
            .counting(quality(None, 1, 1_500, 1)),
        // Nothing was seen, and nothing is known.
        Watch::at("2023-05-03T12:00:00Z").counting(quality(None, 0, 0, 3)),
    ]
}

#[test]
fn every_metric_is_as_defined() {
    for (metric, expected) in [
        (Metric::Plays, Some(3.0)),
        (Metric::Sessions, Some(4.0)),
        (Metric::ViewTime, Some(24.0)),
        (Metric::UniqueViewTime, Some(22.0)),
        (Metric::AverageViewDuration, Some(8.0)),
        (Metric::AveragePercentageViewed, Some(0.733_333_333)),
        (Metric::Completions, Some(2.0)),
        (Metric::CompletionRate, Some(0.666_666_666)),
        (Metric::RewatchRate, Some(0.083_333_333)),
        (Metric::AverageDuration, Some(10.0)),
        (Metric::StartupTimeP50, Some(0.3)),
        (Metric::StartupTimeP95, Some(1.0)),
        (Metric::StartupTimeAverage, Some(0.5)),
        // Of those that tell it: two seconds of waiting, and 24.5 of video.
        (Metric::RebufferingRatio, Some(0.075_471_698)),
        (Metric::RebufferingCount, Some(3.0)),
        (Metric::RebufferedSessionRate, Some(0.5)),
        (Metric::Failures, Some(2.0)),
        (Metric::FailureRate, Some(0.4)),
        // None of them: the one without view time failed.
        (Metric::ExitsBeforeStart, Some(0.0)),
        (Metric::ExitBeforeStartRate, Some(0.0)),
    ] {
        let found = answer(&Query::new([metric]), &watches()).results[0].numbers.metrics[0];
        let is_near = found.zip(expected).is_some_and(|(a, b)| (a - b).abs() < 1e-9);
        assert!(is_near || found == expected, "{metric}: {found:?}");
    }
}

#[test]
fn what_does_not_apply_is_none() {
    let mut numbers = Vec::new();
    for metrics in Metric::ALL.chunks(METRICS_MAX) {
        let answer = answer(&Query::new(metrics.iter().copied()), &[]);
        assert_eq!(answer.rows, 1);
        numbers.extend(answer.results[0].numbers.metrics.clone());
    }
    let zeros = Metric::ALL.iter().zip(&numbers).filter(|(_, number)| **number == Some(0.0));
    let zeros: Vec<_> = zeros.map(|(metric, _)| metric.as_str()).collect();
    let counts = [
        "plays",
        "sessions",
        "view_time",
        "unique_view_time",
        "completions",
        "rebuffering_count",
        "failures",
        "exits_before_start",
        "peak_concurrent",
        // The mean over 30 days in which nobody played.
        "average_concurrent",
    ];
    assert_eq!(zeros, counts);
    assert_eq!(numbers.iter().flatten().count(), counts.len());
}

/// The rows, as texts.
fn rows(answer: &Answer) -> Vec<String> {
    let row = answer.results.iter().map(|row| {
        let values = row.dimensions.iter().map(|value| match value {
            DimensionValue::Null => "-".to_owned(),
            DimensionValue::Number(number) => number.to_string(),
            DimensionValue::Time(start) => start.format("%m-%dT%H").to_string(),
            DimensionValue::Text(text) => text.to_string(),
        });
        let number = |number: &Option<f64>| number.map_or("-".to_owned(), |it| it.to_string());
        let metrics = row.numbers.metrics.iter().map(number);
        let compared = row.numbers.comparison.iter().flat_map(|compared| {
            let metrics = compared.metrics.iter().map(number);
            metrics.chain(["by".to_owned()]).chain(compared.change.iter().map(number))
        });
        values.chain(["=".to_owned()]).chain(metrics).chain(compared).collect::<Vec<_>>().join(" ")
    });
    row.collect()
}

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

/// A query of the last hour before now.
fn last_hour(metrics: [Metric; 3]) -> Query {
    Query::new(metrics).during(Timeframe::Last("1 hour".parse().unwrap()))
}

#[test]
fn sessions_count_at_the_minutes_at_which_they_play() {
    let watches = [
        // It started two hours before the period and plays until its sixth minute.
        Watch::at("2023-05-04T09:00:00Z").playing(&[(0, 126)]),
        // Plays ten minutes from minute 5 on, and twenty from minute 35 on.
        Watch::at("2023-05-04T11:05:00Z").playing(&[(0, 10), (30, 50)]),
        // Starts at the minute at which the one above ends.
        Watch::at("2023-05-04T11:55:00Z")
            .watched(&[(0, 50)])
            .playing(&[(0, 60)])
            .on("http://a.example/"),
    ];
    let query = last_hour([Metric::Plays, Metric::PeakConcurrent, Metric::AverageConcurrent]);
    // 61 minutes, because both boundaries are whole minutes; the sessions play at 6, 30 and 6 of them.
    let mean = 42.0 / 61.0;
    assert_eq!(rows(&answer(&query, &watches)), [format!("= 1 2 {mean}")]);
    let halves = query.clone().by("time:30 minutes".parse().unwrap()).with_totals(true);
    let found = answer(&halves, &watches);
    assert_eq!(
        rows(&found),
        [
            format!("05-04T11 = 0 2 {}", 16.0 / 30.0),
            format!("05-04T11 = 1 1 {}", 25.0 / 30.0),
            "05-04T12 = 0 1 1".to_owned()
        ]
    );
    assert_eq!(found.totals.unwrap().metrics, [Some(1.0), Some(2.0), Some(mean)]);
    let hosts = answer(&query.clone().by(Dimension::PageHost), &watches);
    assert_eq!(
        rows(&hosts),
        [format!("a.example = 1 1 {}", 6.0 / 61.0), format!("- = 0 2 {}", 36.0 / 61.0)]
    );
    // In all of time, the minutes begin with the first one at which a session plays.
    let all = query.during(Timeframe::ALL);
    assert_eq!(rows(&answer(&all, &watches)), [format!("= 1 2 {}", 162.0 / 181.0)]);
    assert_eq!(rows(&answer(&all, &[])), ["= 0 0 -"]);
}

#[test]
fn concurrency_is_compared_with_that_of_before() {
    let watches = [
        Watch::at("2023-05-04T10:10:00Z").playing(&[(0, 30)]),
        Watch::at("2023-05-04T10:20:00Z").playing(&[(0, 90)]),
    ];
    let query = last_hour([Metric::PeakConcurrent, Metric::AverageConcurrent, Metric::Plays]);
    let query = query.compared_with(Compare::PreviousPeriod);
    let (now, then) = (50.0 / 61.0, 70.0 / 60.0);
    let expected = format!("= 1 {now} 0 2 {then} 0 by -0.5 {} -", (now - then) / then);
    assert_eq!(rows(&answer(&query, &watches)), [expected]);
}

#[test]
fn minutes_after_now_do_not_count() {
    let query = Query::new([Metric::AverageConcurrent, Metric::PeakConcurrent]);
    let to = at("2023-05-04T13:00:00Z");
    let query = query.during(Timeframe::Between(at("2023-05-04T11:00:00Z"), to));
    let watch = Watch::at("2023-05-04T11:30:00Z").playing(&[(0, 60)]);
    for (now, expected) in [(to, 60.0 / 121.0), (at("2023-05-04T11:59:59Z"), 30.0 / 60.0)] {
        let mut scanner =
            Scanner::new(&query, query.periods(now).unwrap().current).unwrap().as_of(now);
        scanner.add(&watch.info(), &Columns::of(std::slice::from_ref(&watch.row))).unwrap();
        let answer = scanner.finish(None).unwrap();
        assert_eq!(answer.results[0].numbers.metrics, [Some(expected), Some(1.0)]);
    }
}

#[test]
fn sessions_exit_before_they_start() {
    let seen = Counters { startup_ms: Some(200), ..Counters::default() };
    let failed = Counters { failures: 1, ..Counters::default() };
    let at = || Watch::at("2023-05-03T12:00:00Z");
    let watches = [at(), at().watched(&[(0, 1)]), at().counting(seen), at().counting(failed)];
    let query = Query::new([Metric::ExitsBeforeStart, Metric::ExitBeforeStartRate]);
    assert_eq!(rows(&answer(&query, &watches)), ["= 1 0.25"]);
}

#[test]
fn minutes_are_not_grouped_by_what_repeats() {
    let query = Query::new([Metric::Plays, Metric::PeakConcurrent]).by(Dimension::HourOfDay);
    assert_eq!(
        query.check().unwrap_err().to_string(),
        "dimensions: \"hour_of_day\" is invalid, expected a dimension such as \"time:1 hour\": peak_concurrent is counted \
         by the minute"
    );
}

#[test]
fn too_many_minutes_are_refused() {
    let long = "2023-05-04T10:00:00Z";
    let query = last_hour([Metric::PeakConcurrent, Metric::AverageConcurrent, Metric::Plays]);
    let query = query.by("session.n".parse().unwrap()).page(1, 0);
    let rows = (0..70_000).map(|number| {
        let watch = Watch::at(long).data(&format!(r#"{{"n":{number}}}"#));
        let minutes: Vec<_> = (30..60).map(|run| (2 * run, 2 * run + 1)).collect();
        watch.playing(&minutes).row
    });
    let rows: Vec<_> = rows.collect();
    let mut scanner = Scanner::new(&query, query.periods(now()).unwrap().current).unwrap();
    for rows in rows.chunks(16_384) {
        scanner.add(&Watch::at(long).info(), &Columns::of(rows)).unwrap();
    }
    assert_eq!(scanner.finish(None), Err(ScanError::TooManyMinutes));
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
    for answer in [hosts, days, answer(&query, &watches)] {
        let totals = answer.totals.unwrap();
        assert_eq!(totals.metrics, [Some(3.0)]);
        assert_eq!(totals.comparison.unwrap().metrics, [Some(3.0)]);
    }
    let other = query.compared_with(Compare::Timeframe(dates("2023-04-30", "2023-04-30")));
    assert_eq!(rows(&answer(&other, &watches)), ["= 3 1 by 2"]);
}

#[test]
fn dimensions_have_the_values_of_sessions() {
    let play = |start| Watch::at(start).watched(&[(0, 50)]);
    let described = |json| Video::described(&json).unwrap();
    let watches = [
        play("2023-05-02T23:00:00Z")
            .on("https://a.example:81/x")
            .data(r#"{"plan":{"id":7}}"#)
            .speaking("nl"),
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
    ] {
        let query = Query::new([Metric::Plays]).by(name.parse().unwrap());
        let query = query.in_timezone(chrono_tz::Tz::Europe__Amsterdam);
        assert_eq!(rows(&answer(&query, &watches)), expected, "{name}");
    }
}

#[track_caller]
fn check_filter(filter: &serde_json::Value, expected: &[usize]) {
    let watches = watches();
    let filter = Filter::from_json(filter).unwrap();
    let query = Query::new([Metric::FailureRate]).by("time:1 hour".parse().unwrap());
    let query = query.with_filter(filter).with_fill(false);
    let starts: Vec<_> = answer(&query, &watches)
        .results
        .iter()
        .map(|row| {
            watches
                .iter()
                .position(|it| {
                    row.dimensions[0]
                        == DimensionValue::Time(crate::query::instant(it.row.stored.started_at_ms))
                })
                .unwrap()
        })
        .collect();
    assert_eq!(starts, expected);
}

#[test]
fn filters_hold_for_the_sessions_that_they_say() {
    check_filter(&json!([">=", "view_time", 9.5]), &[0, 1]);
    check_filter(&json!(["is", "view_time", 9.5]), &[1]);
    check_filter(&json!(["<", "unique_view_time", 2.5]), &[3, 4]);
    check_filter(&json!(["<=", "percentage_viewed", 0.25]), &[2, 3]);
    check_filter(&json!([">", "startup_time", 0.2]), &[1, 2]);
    // An unknown figure matches no comparison, so that the opposite of one holds.
    check_filter(&json!(["not", [">", "startup_time", 0.2]]), &[0, 3, 4]);
    check_filter(&json!(["is", "rebuffering_count", 0]), &[0, 2, 4]);
    check_filter(&json!([">", "failures", 1]), &[4]);
    check_filter(&json!(["watched", 5, 5.5]), &[0]);
    check_filter(&json!(["watched_not", 2.5, 5.5]), &[2, 3, 4]);
    check_filter(&json!(["is", "page", [null]]), &[0, 1, 2, 3, 4]);
    check_filter(&json!(["is_not", "page", [null]]), &[]);
    check_filter(&json!(["is_not", "page", ["x"]]), &[0, 1, 2, 3, 4]);
    check_filter(&json!(["contains_not", "video", ["tr"]]), &[]);
    check_filter(&json!(["is", "time:1 day", ["2023-05-03T02:00:00+02:00"]]), &[2, 3, 4]);
    check_filter(&json!(["is", "hour_of_day", [10, 12]]), &[0, 2, 4]);
    check_filter(&json!([["is", "hour_of_day", [10]], ["not", ["is", "day_of_week", [2]]]]), &[2]);
    check_filter(&json!(["or"]), &[]);
}

#[test]
fn a_selection_narrows_the_sessions() {
    let play = || Watch::at("2023-05-02T10:00:00Z").watched(&[(0, 50)]);
    let described = Video::described(&json!({"course": {"id": 7, "name": "knots"}})).unwrap();
    let watches =
        [play().data(r#"{"tags":["a","b"]}"#), play().key("other"), play().video(described)];
    let object = |json: serde_json::Value| json.as_object().unwrap().clone();
    let all = Selection::default();
    for (selection, expected) in [
        (all.clone(), 3.0),
        (Selection::identifier("intro"), 2.0),
        (Selection::key(ApiKey::new("other").unwrap()), 1.0),
        (all.clone().with_video(object(json!({"course": {"id": 7.0}}))), 1.0),
        (all.clone().with_session(object(json!({"tags": ["b"]}))), 1.0),
        (Selection { identifiers: Some(Vec::new()), ..all }, 0.0),
    ] {
        let query = Query::new([Metric::Plays]).of(selection.clone());
        let found = answer(&query, &watches).results[0].numbers.metrics[0];
        assert_eq!(found, Some(expected), "{selection:?}");
    }
}

#[test]
fn videos_are_left_out_by_filters_that_cannot_hold() {
    let wants = |filter| {
        let query = Query::default().with_filter(Filter::from_json(&filter).unwrap());
        let scanner = Scanner::new(&query, query.periods(now()).unwrap().current).unwrap();
        scanner.wants_video(&Watch::at("2023-05-02T10:00:00Z").info())
    };
    assert!(wants(json!(["is", "video", ["intro"]])));
    assert!(!wants(json!(["is", "video", ["outro"]])));
    assert!(!wants(json!([["is", "browser", ["chrome"]], ["is_not", "key", ["key"]]])));
    assert!(wants(json!(["or", ["is", "browser", ["chrome"]], ["is_not", "key", ["key"]]])));
    assert!(!wants(json!(["not", ["or", ["is", "browser", ["chrome"]], ["is", "key", ["key"]]]])));
}

#[test]
fn only_the_groups_that_matter_are_read() {
    let groups = |query: Query| {
        let scanner = Scanner::new(&query, query.periods(now()).unwrap().current).unwrap();
        scanner.groups().iter().map(Group::name).collect::<Vec<_>>()
    };
    assert_eq!(groups(Query::new([Metric::Plays])), ["starts", "times"]);
    assert_eq!(groups(Query::new([Metric::FailureRate])), ["starts", "quality"]);
    let half = Query::new([Metric::Plays]).with_minimum(Minimum::Millionths(500_000));
    assert_eq!(groups(half.by(Dimension::PageHost)), ["starts", "times", "durations", "pages"]);
    let watched = Filter::Watched { from_ms: 0, to_ms: 1, is_negated: false };
    assert_eq!(
        groups(Query::new([Metric::Failures]).with_filter(watched)),
        ["starts", "segments", "quality"]
    );
    assert_eq!(groups(Query::new([Metric::PeakConcurrent])), ["starts", "minutes"]);
}

#[test]
fn errors_say_what_is_wrong() {
    let watch = watches().remove(0);
    let query = Query::new([Metric::Plays]);
    let period = query.periods(now()).unwrap().current;
    let mut scanner = Scanner::new(&query, period).unwrap();
    let columns = blocks(&watches(), 4, Groups::default().with(Group::Starts)).remove(0).1;
    let missing = scanner.add(&watch.info(), &columns).unwrap_err();
    assert_eq!(missing, ScanError::Missing(Group::Times));
    assert_eq!(missing.to_string(), "the columns lack the group times");
    let damaged = Watch::at("2023-05-02T10:00:00Z").watched(&[(0, 50)]).data("{");
    let by_plan = query.by("session.plan".parse().unwrap());
    let mut scanner = Scanner::new(&by_plan, period).unwrap();
    let added = scanner.add(&damaged.info(), &Columns::of(std::slice::from_ref(&damaged.row)));
    assert_eq!(
        added,
        Err(ScanError::Damaged(Damaged("metadata or session data is not a JSON object")))
    );
    assert!(matches!(Scanner::new(&Query::new([]), period), Err(QueryError::Count { .. })));

    let seconds = Query::new([Metric::Plays]).by("time:1 second".parse().unwrap());
    let scanner = Scanner::new(&seconds, period).unwrap();
    assert_eq!(scanner.finish(None), Err(ScanError::TooManyGroups));
}

#[test]
fn no_start_is_too_early_or_too_late() {
    let limits = [i64::MIN, i64::MIN + 1, DateTime::<Utc>::MIN_UTC.timestamp_millis(), 0];
    let starts = limits.into_iter().flat_map(|start_ms| [start_ms, -1 - start_ms]);
    let watches = starts.map(|start_ms| {
        let mut watch = Watch::at("2023-05-02T10:00:00Z").watched(&[(0, 50)]);
        watch.row.stored.started_at_ms = start_ms;
        watch
    });
    let watches: Vec<_> = watches.collect();
    let zones = [None, Some(chrono_tz::Tz::America__New_York), Some(chrono_tz::Tz::Asia__Tokyo)];
    for timezone in zones {
        for name in ["time:1 day", "time:1000 years", "time:1 second", "hour_of_day", "day_of_week"]
        {
            let mut query = Query::new([Metric::Plays]).by(name.parse().unwrap()).with_fill(false);
            query.timezone = timezone;
            let period = Period { from_ms: i64::MIN, to_ms: i64::MAX };
            let mut scanner = Scanner::new(&query, period).unwrap();
            for (watch, columns) in blocks(&watches, 3, scanner.groups()) {
                scanner.add(&watch.info(), &columns).unwrap();
            }
            // Those that no calendar has are left out.
            let plays = scanner.finish(None).unwrap().results.into_iter();
            let plays: f64 = plays.filter_map(|row| row.numbers.metrics[0]).sum();
            assert_eq!(plays, 3.0, "{name} {timezone:?}");
        }
    }
}

#[test]
fn groups_beyond_a_table_are_found_as_well() {
    // 4,096 values of two dimensions have 24 bits together; each pair is there twice, in other blocks.
    let watches: Vec<_> = (0..8_192)
        .map(|number| {
            let data = format!(r#"{{"a":{},"b":"b{}"}}"#, number % 4_096, number * 7 % 4_096);
            Watch::at("2023-05-02T10:00:00Z").watched(&[(0, 50)]).data(&data)
        })
        .collect();
    let query = Query::new([Metric::Plays]).by("session.a".parse().unwrap());
    let query = query.by("session.b".parse().unwrap()).page(10_000, 0);
    let mut scanner = Scanner::new(&query, query.periods(now()).unwrap().current).unwrap();
    for (watch, columns) in blocks(&watches, 1_000, scanner.groups()) {
        scanner.add(&watch.info(), &columns).unwrap();
    }
    let found = scanner.finish(None).unwrap();
    assert_eq!(found.rows, 4_096);
    assert!(found.results.iter().all(|row| row.numbers.metrics == [Some(2.0)]));
}

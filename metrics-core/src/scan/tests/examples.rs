//! Small sessions, and numbers computed by hand.

mod concurrency;
mod dimensions;
mod filters;
mod limits;

use crate::scan::Scans as _;
use chrono::{DateTime, Utc};

use super::draft::{Watch, blocks};
use crate::query::{METRICS_MAX, Metric, Periods, Query};
use crate::scan::{Answer, DimensionValue, Scanner};
use crate::session::Counters;

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
fn metrics_that_do_not_apply_are_none() {
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

#[test]
fn sessions_exit_before_they_start() {
    let seen = Counters { startup_ms: Some(200), ..Counters::default() };
    let failed = Counters { failures: 1, ..Counters::default() };
    let at = || Watch::at("2023-05-03T12:00:00Z");
    let watches = [at(), at().watched(&[(0, 1)]), at().counting(seen), at().counting(failed)];
    let query = Query::new([Metric::ExitsBeforeStart, Metric::ExitBeforeStartRate]);
    assert_eq!(rows(&answer(&query, &watches)), ["= 1 0.25"]);
}

//! Sessions that play at one time.

use super::{answer, at, now, rows};
use crate::block::Columns;
use crate::query::{Compare, Dimension, Metric, Query, Timeframe};
use crate::scan::Scans as _;
use crate::scan::tests::draft::Watch;
use crate::scan::{ScanError, Scanner};

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
            Scanner::new(&query, query.periods(now).unwrap().current).unwrap().with_now(now);
        scanner.add(&watch.info(), &Columns::of(std::slice::from_ref(&watch.row))).unwrap();
        let answer = scanner.finish(None).unwrap();
        assert_eq!(answer.results[0].numbers.metrics, [Some(expected), Some(1.0)]);
    }
}

#[test]
fn minutes_are_not_grouped_by_repeating_dimensions() {
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

//! Groups of columns that are read, errors, extreme times, and more groups than a table holds.

use crate::scan::Scans as _;
use chrono::{DateTime, Utc};

use super::{now, watches};
use crate::Damaged;
use crate::block::{Columns, Group, Groups};
use crate::query::{Dimension, Filter, Metric, Minimum, Period, Query, QueryError};
use crate::scan::tests::draft::{Watch, blocks};
use crate::scan::{ScanError, Scanner};

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
fn errors_name_the_fault() {
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

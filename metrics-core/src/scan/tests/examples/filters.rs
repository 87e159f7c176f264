//! Filters and selections.

use crate::scan::Scans as _;
use serde_json::json;

use super::{answer, now, watches};
use crate::query::{Filter, Metric, Query, Selection};
use crate::scan::tests::draft::Watch;
use crate::scan::{DimensionValue, Scanner};
use crate::{ApiKey, Video};

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
fn filters_hold_for_the_selected_sessions() {
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
fn videos_are_omitted_by_filters_that_cannot_hold() {
    let selects = |filter| {
        let query = Query::default().with_filter(Filter::from_json(&filter).unwrap());
        let scanner = Scanner::new(&query, query.periods(now()).unwrap().current).unwrap();
        scanner.selects_video(&Watch::at("2023-05-02T10:00:00Z").info())
    };
    assert!(selects(json!(["is", "video", ["intro"]])));
    assert!(!selects(json!(["is", "video", ["outro"]])));
    assert!(!selects(json!([["is", "browser", ["chrome"]], ["is_not", "key", ["key"]]])));
    assert!(selects(json!(["or", ["is", "browser", ["chrome"]], ["is_not", "key", ["key"]]])));
    assert!(!selects(json!([
        "not",
        ["or", ["is", "browser", ["chrome"]], ["is", "key", ["key"]]]
    ])));
}

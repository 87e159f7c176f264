//! Queries, and the lists of videos and of values that are built on them.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::fixture::{Fixture, ms};

/// Three viewings of two pages, on two days in Amsterdam.
async fn three_viewings() -> Fixture {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    for (session, page, at, watched) in [
        ("a", "http://one.example/", "2023-05-01T21:59:00Z", 4.0),
        ("b", "http://one.example/x", "2023-05-01T22:00:00Z", 8.0),
        ("c", "http://two.example/", "2023-05-02T09:00:00Z", 0.5),
    ] {
        fixture.watch(session, page, at, watched).await;
    }
    fixture
}

#[tokio::test]
async fn a_query_answers_metrics_by_dimensions() {
    let fixture = three_viewings().await;
    let report = fixture
        .query(json!({
            "metrics": ["plays", "view_time", "average_percentage_viewed"],
            "dimensions": ["time:1 day", "page_host"],
            "timeframe": ["2023-05-01", "2023-05-02"],
            "timezone": "Europe/Amsterdam",
            "minimum_watch_seconds": 0,
            "compare": "previous_period",
            "totals": true,
        }))
        .await;
    let row = |[day, other]: [&str; 2], host: &str, plays: u64, view_time: Value| {
        let compared = json!({ "dimensions": [other, host], "metrics": [0, 0, null], "change": [null, null, null] });
        json!({ "dimensions": [day, host], "metrics": [plays, view_time, null], "comparison": compared })
    };
    let first = ["2023-05-01T00:00:00+02:00", "2023-04-29T00:00:00+02:00"];
    let second = ["2023-05-02T00:00:00+02:00", "2023-04-30T00:00:00+02:00"];
    let expected = [
        row(first, "one.example", 1, json!(4)),
        row(first, "two.example", 0, json!(0)),
        row(second, "one.example", 1, json!(8)),
        row(second, "two.example", 1, json!(0.5)),
    ];
    assert_eq!(report["results"], json!(expected));
    assert_eq!(report["totals"]["metrics"], json!([3, 12.5, null]));
    let timeframe = json!({ "from": "2023-04-30T22:00:00.000Z", "to": "2023-05-02T21:59:59.999Z" });
    assert_eq!((&report["meta"]["rows"], &report["meta"]["timeframe"]), (&json!(4), &timeframe));
    assert_eq!(report["query"]["order_by"], json!([["time:1 day", "asc"], ["plays", "desc"]]));
}

#[tokio::test]
async fn every_report_takes_filters() {
    let fixture = three_viewings().await;
    let intro = |filters: Value| {
        let all = "2023-01-01T00:00:00Z";
        json!({ "identifier": "intro", "timeframe": all, "minimum_watch_seconds": 0, "filters": filters })
    };
    let one = intro(json!(["is", "page_host", ["one.example"]]));
    assert_eq!(fixture.plays(one.clone()).await["views"][0]["views"], 2);
    assert_eq!(fixture.sources(one.clone()).await["sources"].as_array().unwrap().len(), 2);
    assert_eq!(fixture.engagement(one).await["engagement"][0]["viewers"], 2);
    let long = intro(json!([["watched", 5, 6], [">=", "view_time", 8]]));
    assert_eq!(fixture.plays(long).await["views"][0]["views"], 1);

    let viewing = fixture.play("d", "http://two.example/", "2023-05-02T10:00:00Z").await;
    let two = intro(json!(["is", "page_host", ["two.example"]]));
    assert_eq!(fixture.watching(two).await, json!({ "watching": 1 }));
    let none = intro(json!(["is_not", "page_host", ["two.example"]]));
    assert_eq!(fixture.watching(none).await, json!({ "watching": 0 }));
    drop(viewing);
}

#[tokio::test]
async fn videos_are_listed_with_their_metrics() {
    let fixture = three_viewings().await;
    let report = fixture
        .videos(json!({
            "timeframe": ["2023-05-02", "2023-05-02"],
            "compare": "previous_period",
            "totals": true,
            "search": "INT",
        }))
        .await;
    let expected = json!([{
        "name": "intro",
        "identifier": "intro",
        "title": null,
        "metadata": { "tags": ["a", "b"], "vid": 1 },
        "duration": null,
        "first_played_at": "2023-05-01T21:59:00.000Z",
        "last_played_at": "2023-05-02T09:00:00.000Z",
        "metrics": [0, 0, null],
        "comparison": { "metrics": [2, 12, null], "change": [-1.0, -1.0, null] },
    }]);
    assert_eq!(report["results"], expected);
    assert_eq!(report["totals"]["comparison"]["metrics"], json!([2, 12, null]));
    assert_eq!(report["meta"]["rows"], 1);
    let none = fixture.videos(json!({ "search": "outro" })).await;
    assert_eq!((&none["results"], &none["meta"]["rows"]), (&json!([]), &json!(0)));
    let refused = fixture.refused_videos(json!({ "dimensions": ["page"] })).await;
    assert!(refused.starts_with(r#"parameter: "dimensions" is unknown"#), "{refused}");
}

#[tokio::test]
async fn the_values_of_a_dimension_are_listed_and_searched() {
    let fixture = three_viewings().await;
    let values = fixture.values("page_host", json!({})).await;
    assert_eq!(values, json!({ "values": [{ "value": "one.example", "plays": 2 }], "rows": 1 }));
    let found = fixture.values("page", json!({ "search": "/x" })).await;
    let page = json!([{ "value": "http://one.example/x", "plays": 1 }]);
    assert_eq!(found["values"], page);
    assert_eq!(fixture.values("page", json!({ "limit": 1 })).await["rows"], 2);
}

#[tokio::test]
async fn the_error_of_a_query_lists_the_accepted_values() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    for (params, text) in [
        (json!({ "metric": ["plays"] }), r#"parameter: "metric" is unknown, expected "metrics""#),
        (json!({ "metrics": ["play"] }), r#"metrics: "play" is unknown, expected "plays""#),
        (
            json!({ "dimensions": ["brower"] }),
            r#"dimensions: "brower" is unknown, expected "browser""#,
        ),
        (
            json!({ "filters": ["is", "pages", []] }),
            r#"filters: "pages" is unknown, expected "page""#,
        ),
        (json!({ "limit": 0 }), "`limit` must be a whole number from 1 to 10000"),
        (json!({ "order_by": [["sessions", "asc"]] }), r#"order_by: "sessions" is invalid"#),
        (
            json!({ "timeframe": "all", "compare": "previous_period" }),
            r#"compare: "all" is invalid"#,
        ),
    ] {
        let refused = fixture.refused_query(params).await;
        assert!(refused.starts_with(text), "{refused}");
    }
}

#[tokio::test]
async fn concurrency_has_the_current_minute_with_the_sessions_that_go_on() {
    let fixture = Fixture::new("2023-05-02T10:00:50Z").await;
    let _playing = fixture.play("a", "http://one.example/", "2023-05-02T10:00:55Z").await;
    fixture.watch("b", "http://one.example/", "2023-05-02T10:00:56Z", 2.0).await;
    // The last write of the first session was in the minute before.
    fixture.now_ms.store(ms("2023-05-02T10:01:05Z"), Ordering::Relaxed);
    assert_eq!(fixture.watching(json!({ "identifier": "intro" })).await["watching"], 1);
    let minutes = json!({
        "metrics": ["peak_concurrent", "average_concurrent"],
        "dimensions": ["time:1 minute"],
        "timeframe": "1 minute",
        "totals": true,
    });
    let report = fixture.query(minutes).await;
    let now = report["results"].as_array().unwrap().last().unwrap();
    let expected = json!({ "dimensions": ["2023-05-02T10:01:00Z"], "metrics": [1, 1] });
    assert_eq!(*now, expected, "{report}");
    assert_eq!(report["totals"]["metrics"], json!([1, 1]), "{report}");
    let by_video = json!({ "metrics": ["peak_concurrent"], "timeframe": "1 minute" });
    assert_eq!(fixture.videos(by_video).await["results"][0]["metrics"], json!([1]));
    // An hour ago nobody watched.
    let before = json!({ "metrics": ["peak_concurrent"], "timeframe": "yesterday" });
    assert_eq!(fixture.query(before).await["results"][0]["metrics"], json!([0]));
}

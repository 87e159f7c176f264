//! Every shape that the reports and the keys answer, from sessions at known times.

mod fixture;

use std::sync::atomic::Ordering;

use http_body_util::BodyExt as _;
use metrics_core::PlayerEvent;
use metrics_core::budget::Budget;
use serde_json::{Value, json};

use self::fixture::{Fixture, KEY, answer, ms, parse, respond};
use super::{keys, plays, sources};
use crate::access::Granted;
use crate::answer::Answers;
use crate::error::Error;
use crate::queue::Lane;

/// The labels and plays of a report's buckets.
fn buckets(report: &Value) -> Vec<(&str, u64)> {
    let views = report["views"].as_array().unwrap();
    views
        .iter()
        .map(|it| (it["interval"].as_str().unwrap(), it["views"].as_u64().unwrap()))
        .collect()
}

#[tokio::test]
async fn plays_have_every_class() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    fixture.watch("a", "http://example.com/", "2023-05-02T10:00:00Z", 6.267).await;
    let report = fixture.plays(json!({ "identifier": "intro", "interval": "1 day" })).await;
    insta::assert_json_snapshot!(report, @r#"
    {
      "views": [
        {
          "browser": {
            "brave": 0,
            "chrome": 1,
            "edge": 0,
            "firefox": 0,
            "ie": 0,
            "opera": 0,
            "other": 0,
            "safari": 0
          },
          "device": {
            "desktop": 1,
            "mobile": 0,
            "other": 0,
            "tablet": 0
          },
          "device_type": {
            "desktop": 1,
            "mobile": 0,
            "other": 0,
            "tablet": 0
          },
          "interval": "2023-05-02T00:00:00.000000",
          "platform": {
            "android": 0,
            "ios": 0,
            "linux": 0,
            "mac": 1,
            "other": 0,
            "windows": 0
          },
          "total_view_time": 6.267,
          "unique_total_view_time": 6.267,
          "views": 1
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn replays_count_in_one_time_and_not_in_the_other() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    let viewing = fixture.play("a", "http://example.com/", "2023-05-02T10:00:00Z").await;
    viewing.apply(PlayerEvent::pause(4.0)).await.unwrap();
    viewing.apply(PlayerEvent::play(1.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(3.0)).await.unwrap();
    let report = fixture.plays(json!({ "identifier": "intro" })).await;
    assert_eq!(report["views"][0]["total_view_time"], 6.0);
    assert_eq!(report["views"][0]["unique_total_view_time"], 4.0);
}

#[tokio::test]
async fn intervals_are_labelled_in_the_timezone() {
    let fixture = Fixture::new("2023-05-01T22:30:00Z").await;
    fixture.watch("a", "http://example.com/", "2023-05-01T22:30:00Z", 5.0).await;
    for (timezone, expected) in [
        (Value::Null, "2023-05-01T00:00:00.000000"),
        (json!("UTC"), "2023-05-01T00:00:00.000000Z"),
        (json!("Europe/Amsterdam"), "2023-05-02T00:00:00.000000+02:00"),
        (json!("America/New_York"), "2023-05-01T00:00:00.000000-04:00"),
    ] {
        let params = json!({ "identifier": "intro", "interval": "1 day", "timezone": timezone });
        assert_eq!(buckets(&fixture.plays(params).await), [(expected, 1)], "{timezone}");
    }
}

#[tokio::test]
async fn buckets_without_a_play_are_left_out_unless_they_are_asked_for() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    fixture.watch("a", "http://example.com/", "2023-05-01T10:00:00Z", 5.0).await;
    fixture.watch("b", "http://example.com/", "2023-05-03T10:00:00Z", 5.0).await;
    let timeframe = json!({ "from": "2023-05-01T00:00:00Z", "to": "2023-05-03T23:59:59Z" });
    let mut params = json!({ "identifier": "intro", "interval": "1 day", "timeframe": timeframe });
    let (first, second, third) =
        ("2023-05-01T00:00:00.000000", "2023-05-02T00:00:00.000000", "2023-05-03T00:00:00.000000");
    assert_eq!(buckets(&fixture.plays(params.clone()).await), [(first, 1), (third, 1)]);
    params["fill"] = json!(true);
    assert_eq!(buckets(&fixture.plays(params).await), [(first, 1), (second, 0), (third, 1)]);
}

#[tokio::test]
async fn too_many_empty_buckets_are_refused_with_a_hint() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    let params = json!({
        "identifier": "intro", "interval": "1 second", "fill": true,
        "timeframe": { "from": "2022-01-01T00:00:00Z", "to": "2023-01-01T00:00:00Z" },
    });
    let refused = plays::plays(fixture.metrics.reports(), &parse(&params)).await;
    let report = answer(respond(refused).await, 400).await;
    insta::assert_json_snapshot!(report, @r#"
    {
      "code": "too_many_buckets",
      "error": "`interval` must be wider, or the `timeframe` shorter, to `fill`: there are more than 10000 buckets in the timeframe"
    }
    "#);
}

#[tokio::test]
async fn short_views_are_no_plays_but_engage() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    fixture.watch("a", "http://example.com/", "2023-05-02T10:00:00Z", 0.5).await;
    let intro = json!({ "identifier": "intro" });
    assert_eq!(fixture.plays(intro.clone()).await, json!({ "views": [] }));
    assert_eq!(fixture.sources(intro.clone()).await, json!({ "sources": [] }));
    let engaged = fixture.engagement(intro).await;
    assert_eq!(engaged["engagement"].as_array().unwrap().len(), 10);
    let all = json!({ "identifier": "intro", "minimum_watch_seconds": 0 });
    assert_eq!(fixture.plays(all).await["views"][0]["views"], 1);
    let long = json!({ "identifier": "intro", "minimum_watch_seconds": "1 second" });
    assert_eq!(fixture.engagement(long).await, json!({ "engagement": [] }));
}

#[tokio::test]
async fn engagement_is_cut_in_ranges() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    fixture.watch("a", "http://example.com/", "2023-05-02T10:00:00Z", 8.384).await;
    fixture.watch("b", "http://example.com/", "2023-05-02T10:00:00Z", 2.0).await;
    let report = fixture.engagement(json!({ "identifier": "intro", "ranges": 2 })).await;
    insta::assert_json_snapshot!(report, @r#"
    {
      "engagement": [
        {
          "range": 0,
          "range_time": {
            "from": 0.0,
            "to": 4.192
          },
          "viewers": 2
        },
        {
          "range": 1,
          "range_time": {
            "from": 4.192,
            "to": 8.384
          },
          "viewers": 1
        }
      ]
    }
    "#);
    for (params, entries) in [
        (json!({ "identifier": "intro" }), 10),
        (json!({ "identifier": "intro", "ranges": 3, "interval": "1 day" }), 3),
        (json!({ "identifier": "intro", "ranges": 10_000 }), 10_000),
    ] {
        let report = fixture.engagement(params).await;
        assert_eq!(report["engagement"].as_array().unwrap().len(), entries);
    }
}

#[tokio::test]
async fn engagement_per_second_leaves_out_what_nobody_watched() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    let viewing = fixture.play("a", "http://example.com/", "2023-05-02T10:00:00Z").await;
    viewing.apply(PlayerEvent::pause(1.5)).await.unwrap();
    viewing.apply(PlayerEvent::play(1.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    viewing.apply(PlayerEvent::play(4.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(4.5)).await.unwrap();
    let params = json!({ "identifier": "intro", "interval": "1 day", "timezone": "UTC" });
    let second = |second: u64, views: u64, exits: u64, skips: u64| json!({ "second": second, "views": views, "viewers": 1, "exits": exits, "skips": skips, "retention": 1.0 });
    let expected = json!([{
        "interval": "2023-05-02T00:00:00.000000Z",
        "sessions": 1,
        "duration": null,
        "average_percentage_viewed": null,
        "per_second": [second(0, 1, 0, 0), second(1, 2, 0, 1), second(4, 1, 1, 0)],
    }]);
    assert_eq!(fixture.engagement(params).await["engagement"], expected);
}

#[tokio::test]
async fn engagement_is_counted_in_steps() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    let viewing = fixture.play("a", "http://example.com/", "2023-05-02T10:00:00Z").await;
    viewing.apply(PlayerEvent::pause(1.5).with_duration(4.0)).await.unwrap();
    fixture.watch("b", "http://example.com/", "2023-05-02T10:01:00Z", 3.0).await;
    let step = |name: &str, at: Value, viewers: u64, exits: u64, retention: f64| json!({ name: at, "views": viewers, "viewers": viewers, "exits": exits, "skips": 0, "retention": retention });
    let counted = fixture.engagement(json!({ "identifier": "intro", "resolution": 1.5 })).await;
    let bucket = &counted["engagement"][0];
    let expected = [step("second", json!(0), 2, 1, 1.0), step("second", json!(1.5), 1, 1, 0.5)];
    assert_eq!(bucket["per_second"], json!(expected));
    assert_eq!((&bucket["sessions"], &bucket["duration"]), (&json!(2), &json!(4.0)));
    assert_eq!(bucket["average_percentage_viewed"], 0.375);

    // The other session has no known duration.
    let steps = json!({ "identifier": "intro", "resolution": "4 steps" });
    let counted = fixture.engagement(steps).await;
    let bucket = &counted["engagement"][0];
    let expected = [step("percent", json!(0), 1, 0, 1.0), step("percent", json!(25), 1, 1, 1.0)];
    assert_eq!((&bucket["per_step"], &bucket["sessions"]), (&json!(expected), &json!(1)));
}

#[tokio::test]
async fn sources_are_pages_the_most_played_first() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    for (session, page) in [
        ("a", "http://example.com/?secret=1#part"),
        ("b", "https://example.com:8443/watch"),
        ("c", "https://example.com:8443/watch?v=2"),
        ("d", "https://example.com:443/a"),
    ] {
        fixture.watch(session, page, "2023-05-02T10:00:00Z", 3.0).await;
    }
    let report = fixture.sources(json!({ "identifier": "intro", "interval": "1 day" })).await;
    insta::assert_json_snapshot!(report, @r#"
    {
      "sources": [
        {
          "host": "example.com",
          "interval": "2023-05-02T00:00:00.000000",
          "path": "https://example.com:8443/watch",
          "pathname": "/watch",
          "views": 2
        },
        {
          "host": "example.com",
          "interval": "2023-05-02T00:00:00.000000",
          "path": "http://example.com/",
          "pathname": "/",
          "views": 1
        },
        {
          "host": "example.com",
          "interval": "2023-05-02T00:00:00.000000",
          "path": "https://example.com/a",
          "pathname": "/a",
          "views": 1
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn watching_counts_what_plays() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    let viewing = fixture.play("a", "http://example.com/", "2023-05-02T10:00:00Z").await;
    let intro = json!({ "identifier": "intro" });
    insta::assert_json_snapshot!(fixture.watching(intro.clone()).await, @r#"
    {
      "watching": 1
    }
    "#);
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    assert_eq!(fixture.watching(intro).await, json!({ "watching": 0 }));
}

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
    let compared = json!({ "metrics": [0, 0, null], "change": [null, null, null] });
    let row = |day: &str, host: &str, plays: u64, view_time: Value| json!({ "dimensions": [day, host], "metrics": [plays, view_time, null], "comparison": compared });
    let (first, second) = ("2023-05-01T00:00:00+02:00", "2023-05-02T00:00:00+02:00");
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
async fn a_query_that_cannot_be_answered_says_what_would_be_accepted() {
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
async fn selections_narrow_each_other() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    fixture.watch("a", "http://example.com/", "2023-05-02T10:00:00Z", 3.0).await;
    for (params, plays) in [
        (json!({ "identifier": ["other", "intro"] }), 1),
        (json!({ "query": { "video": { "vid": 1.0, "tags": ["b"] } } }), 1),
        (json!({ "query": { "key": KEY } }), 1),
        (json!({ "identifier": "intro", "query": { "video": { "vid": 1 }, "key": KEY } }), 1),
        (json!({ "identifier": "intro", "query": { "video": { "vid": 2 } } }), 0),
        (json!({ "identifier": "other", "query": { "video": { "vid": 1 } } }), 0),
        (json!({ "query": { "key": "unknown" } }), 0),
        (json!({ "identifier": [] }), 0),
    ] {
        let report = fixture.plays(params.clone()).await;
        let found: u64 = buckets(&report).iter().map(|(_, plays)| plays).sum();
        assert_eq!(found, plays, "{params}");
    }
}

#[tokio::test]
async fn keys_are_listed_imported_and_revoked() {
    let fixture = Fixture::new("2023-05-02T00:00:00Z").await;
    let metrics = &fixture.metrics;
    let conflict =
        keys::create(metrics, &Granted::All, json!({ "key": KEY }).to_string().as_bytes()).await;
    let expected = json!({ "error": "`key` exists already", "code": "key_exists" });
    assert_eq!(answer(conflict, 409).await, expected);

    fixture.now_ms.store(ms("2023-05-02T00:00:01Z"), Ordering::Relaxed);
    let imported = keys::create(metrics, &Granted::All, br#"{"key":"100%25/a+b="}"#).await;
    assert_eq!(answer(imported, 201).await, json!({ "key": "100%25/a+b=" }));
    let similar = keys::create(metrics, &Granted::All, br#"{"key":"100%/a+b="}"#).await;
    assert_eq!(answer(similar, 201).await, json!({ "key": "100%/a+b=" }));
    // As it stands, although it is also an encoding of the other.
    let revoked = keys::revoke(metrics, &Granted::All, "100%25/a+b=").await;
    assert_eq!(answer(revoked, 200).await, json!({ "message": "Key revoked" }));
    fixture.now_ms.store(ms("2023-05-03T00:00:00Z"), Ordering::Relaxed);
    // The same key, encoded: it keeps its first time.
    let revoked = keys::revoke(metrics, &Granted::All, "100%2525%2Fa%2Bb%3D").await;
    assert_eq!(answer(revoked, 200).await, json!({ "message": "Key revoked" }));
    insta::assert_json_snapshot!(fixture.keys().await, @r#"
    {
      "keys": [
        {
          "created_at": "2023-05-02T00:00:00.000000Z",
          "disabled_at": null,
          "key": "HDsj3NfKQTNwn5Ix9g+cfQ==",
          "settings": {}
        },
        {
          "created_at": "2023-05-02T00:00:01.000000Z",
          "disabled_at": "2023-05-02T00:00:01.000000Z",
          "key": "100%25/a+b=",
          "settings": {}
        },
        {
          "created_at": "2023-05-02T00:00:01.000000Z",
          "disabled_at": null,
          "key": "100%/a+b=",
          "settings": {}
        }
      ]
    }
    "#);
    let unknown = keys::revoke(metrics, &Granted::All, "unknown").await;
    let expected = json!({ "error": "Could not revoke key", "code": "unknown_key" });
    assert_eq!(answer(unknown, 404).await, expected);
}

#[tokio::test]
async fn unread_reports_hold_no_more_than_their_budget() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    let params = parse(&json!({
        "identifier": "intro", "interval": "1 minute", "fill": true,
        "timeframe": { "from": "2023-04-25T00:00:00Z", "to": "2023-05-01T00:00:00Z" },
    }));
    let budget = Budget::new(8_000_000);
    let answers = Answers::within(budget.clone());
    let mut unread = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let making = answers.admit(Lane::Network(None)).await.unwrap();
        let reports = fixture.metrics.reports().within(&making.account);
        let body = match plays::plays(reports, &params).await {
            Ok(text) => making.body(text).await,
            Err(err) => Err(err),
        };
        match body {
            Ok(body) => unread.push(body),
            Err(Error::UsedUp(_)) => refused += 1,
            Err(err) => panic!("{err}"),
        }
        assert!(budget.used() <= budget.max());
    }
    assert!(!unread.is_empty() && 0 < refused, "{} and {refused}", unread.len());
    let body = unread.pop().unwrap().collect().await.unwrap().to_bytes();
    let report: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(report["views"].as_array().unwrap().len(), 6 * 24 * 60 + 1);
    drop(unread);
    drop(body);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn answers_say_what_they_are_about() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    let ask = async |params: Value| {
        let text = plays::plays(fixture.metrics.reports(), &parse(&params)).await;
        answer(respond(text).await, 200).await["meta"].clone()
    };
    assert_eq!(
        ask(json!({ "identifier": "intro" })).await,
        json!({
            "timeframe": { "from": "2023-04-25T10:00:00.000Z", "to": "2023-05-02T10:00:00.000Z" },
            "interval": "1 year", "timezone": null,
        })
    );
    let (from, to) = ("2023-03-31T22:00:00.000Z", "2023-04-30T21:59:59.999Z");
    assert_eq!(
        ask(json!({
            "identifier": "intro", "timeframe": "last month", "interval": "1 day",
            "timezone": "Europe/Amsterdam",
        }))
        .await,
        json!({
            "timeframe": { "from": from, "to": to },
            "interval": "1 day", "timezone": "Europe/Amsterdam",
        })
    );
}

#[tokio::test]
async fn days_are_those_of_the_time_zone() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    fixture.watch("a", "http://example.com/", "2023-05-01T22:30:00Z", 5.0).await;
    fixture.now_ms.store(ms("2023-05-03T10:00:00Z"), Ordering::Relaxed);
    for (timeframe, timezone, plays) in [
        (json!("2023-05-02"), "Europe/Amsterdam", 1),
        (json!("2023-05-02"), "UTC", 0),
        (json!(["2023-05-02", "2023-05-03"]), "Europe/Amsterdam", 1),
        (json!({ "from": "2023-05-01", "to": "2023-05-01" }), "UTC", 1),
        (json!("yesterday"), "Europe/Amsterdam", 1),
        (json!("yesterday"), "UTC", 0),
        (json!("this month"), "UTC", 1),
        (json!("last month"), "UTC", 0),
    ] {
        let params = json!({ "identifier": "intro", "timeframe": timeframe, "timezone": timezone });
        let counted = fixture.plays(params.clone()).await["views"][0]["views"].as_u64();
        assert_eq!(counted.unwrap_or(0), plays, "{params}");
        let parts =
            fixture.engagement(params.clone()).await["engagement"].as_array().unwrap().len();
        assert_eq!(parts as u64, 10 * plays, "{params}");
    }
}

#[tokio::test]
async fn sources_have_pages() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    for (session, page) in ["a", "b", "c"].into_iter().enumerate() {
        let page = format!("http://example.com/{page}");
        fixture.watch(&session.to_string(), &page, "2023-05-01T10:00:00Z", 5.0).await;
    }
    let ask = async |limit: u32, offset: u32| {
        let params = json!({ "identifier": "intro", "limit": limit, "offset": offset });
        let text = sources::sources(fixture.metrics.reports(), &parse(&params)).await;
        let report = answer(respond(text).await, 200).await;
        assert_eq!(report["meta"]["rows"], 3);
        let pages = report["sources"].as_array().unwrap().iter();
        pages.map(|page| page["pathname"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ask(2, 0).await, ["/a", "/b"]);
    assert_eq!(ask(2, 2).await, ["/c"]);
    assert!(ask(2, 3).await.is_empty());
}

#[tokio::test]
async fn unknown_parameters_are_refused_with_the_nearest() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    for (name, nearest) in [
        ("from", "timeframe"),
        ("intervall", "interval"),
        ("key", "query"),
        ("time_zone", "timezone"),
    ] {
        let mut params = json!({ "identifier": "intro" });
        params[name] = json!("x");
        let text = plays::plays(fixture.metrics.reports(), &parse(&params)).await;
        let refused = answer(respond(text).await, 400).await;
        let expected = format!("parameter: {name:?} is unknown, expected {nearest:?}, ");
        let error = refused["error"].as_str().unwrap();
        assert!(error.starts_with(&expected), "{error}");
    }
    // Those of the other reports, and the one that gets around caches.
    let params = json!({ "identifier": "intro", "ranges": 2, "fill": true, "_": 1_700_000_000 });
    assert_eq!(fixture.plays(params.clone()).await["views"].as_array().unwrap().len(), 1);
    assert_eq!(fixture.sources(params).await["sources"], json!([]));
}

//! Plays by time, and the pages and viewers of a video.

use metrics_core::PlayerEvent;
use serde_json::{Value, json};

use super::buckets;
use super::fixture::{Fixture, answer, parse, respond};
use crate::api::{plays, sources};

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
async fn buckets_without_a_play_are_omitted_unless_they_are_requested() {
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
async fn sources_have_pages() {
    let fixture = Fixture::new("2023-05-01T10:00:00Z").await;
    for (session, page) in ["a", "b", "c"].into_iter().enumerate() {
        let page = format!("http://example.com/{page}");
        fixture.watch(&session.to_string(), &page, "2023-05-01T10:00:00Z", 5.0).await;
    }
    let send = async |limit: u32, offset: u32| {
        let params = json!({ "identifier": "intro", "limit": limit, "offset": offset });
        let text = sources::sources(fixture.metrics.reports(), &parse(&params)).await;
        let report = answer(respond(text).await, 200).await;
        assert_eq!(report["meta"]["rows"], 3);
        let pages = report["sources"].as_array().unwrap().iter();
        pages.map(|page| page["pathname"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(send(2, 0).await, ["/a", "/b"]);
    assert_eq!(send(2, 2).await, ["/c"]);
    assert!(send(2, 3).await.is_empty());
}

#[tokio::test]
async fn watching_counts_open_segments() {
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

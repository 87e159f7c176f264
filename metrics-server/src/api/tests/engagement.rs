//! Engagement: in parts, per second and in steps of a video.

use metrics_core::PlayerEvent;
use serde_json::{Value, json};

use super::fixture::Fixture;

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
async fn engagement_per_second_omits_unwatched_seconds() {
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

//! Parameters that all reports share: selections, timeframes, time zones.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::buckets;
use super::fixture::{Fixture, KEY, answer, ms, parse, respond};
use crate::api::plays;

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
async fn answers_have_the_type_of_their_content() {
    let fixture = Fixture::new("2023-05-02T10:00:00Z").await;
    let send = async |params: Value| {
        let text = plays::plays(fixture.metrics.reports(), &parse(&params)).await;
        answer(respond(text).await, 200).await["meta"].clone()
    };
    assert_eq!(
        send(json!({ "identifier": "intro" })).await,
        json!({
            "timeframe": { "from": "2023-04-25T10:00:00.000Z", "to": "2023-05-02T10:00:00.000Z" },
            "interval": "1 year", "timezone": null,
        })
    );
    let (from, to) = ("2023-03-31T22:00:00.000Z", "2023-04-30T21:59:59.999Z");
    assert_eq!(
        send(json!({
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

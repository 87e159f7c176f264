//! Paths, pages, keys, videos and kinds of events of batches that are accepted.

use metrics_core::ApiKey;
use metrics_server::Settings;
use metrics_server_testing::{OTHER_EVENTS, TestServer, Watched};
use serde_json::json;

use super::{batch, described, event, expect_accepted, form_encode, viewing, with, without};

#[tokio::test]
async fn a_batch_is_a_play_under_both_paths() {
    for path in ["/v1/events", "/api/v1/events"] {
        let server = TestServer::new().await;
        let address = format!("{path}?key={}", form_encode(&server.key));
        let events = json!({ "events": viewing(12.5) });
        let answer = server.http("POST", &address).json(&events).send().await;
        expect_accepted(&answer, 2);
        assert_eq!(server.watched("intro").await, Watched::once(12.5));
    }
}

#[tokio::test]
async fn a_batch_has_a_user_agent_and_a_page() {
    let server = TestServer::new().await;
    expect_accepted(&batch(&server, &viewing(12.5)).send().await, 2);
    let report = server.report("plays", &json!({ "identifier": "intro" })).await;
    assert_eq!(report["views"][0]["browser"]["chrome"], 1);
    assert_eq!(report["views"][0]["platform"]["mac"], 1);
    let report = server.report("sources", &json!({ "identifier": "intro" })).await;
    assert_eq!(report["sources"][0]["path"], "https://site.example/page");
    let query = json!({ "identifier": "intro", "ranges": 2 });
    let report = server.report("engagement", &query).await;
    assert_eq!(report["engagement"][1]["viewers"], 1);
}

#[tokio::test]
async fn a_page_of_any_origin_may_send_batches() {
    let server = TestServer::new().await;
    for path in ["/v1/events", "/api/v1/events", "/v1/events?key=abc"] {
        let preflight = server
            .http("OPTIONS", path)
            .header("origin", "https://site.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let answer = preflight.send().await;
        assert_eq!(answer.status, 204, "{answer:?}");
        // A browser sends a beacon with credentials, for which it does not accept `*`.
        let allowed = ["origin", "credentials"]
            .map(|it| answer.header(&format!("access-control-allow-{it}")));
        assert_eq!(allowed, [Some("https://site.example"), Some("true")]);
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("POST"), "{methods}");
        let headers = answer.header("access-control-allow-headers").unwrap();
        assert!(headers.to_lowercase().contains("content-type"), "{headers}");
    }
    let answer =
        batch(&server, &viewing(1.0)).header("origin", "https://site.example").send().await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    // A page can read the reason of a refusal only if the refusal has the header, too.
    let answer = server
        .http("POST", "/v1/events")
        .header("origin", "https://site.example")
        .body("nonsense")
        .send()
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
}

#[tokio::test]
async fn a_beacon_may_be_declared_as_text() {
    let server = TestServer::new().await;
    let path = format!("/v1/events?key={}", form_encode(&server.key));
    let body = json!({ "events": viewing(12.5) }).to_string();
    for kind in ["text/plain;charset=UTF-8", "application/octet-stream"] {
        let request = server.http("POST", &path).header("content-type", kind).body(body.clone());
        expect_accepted(&request.send().await, 2);
    }
    let request = server.http("POST", &path).body(body);
    expect_accepted(&request.send().await, 2);
    assert_eq!(server.watched("intro").await, Watched::once(12.5));
}

#[tokio::test]
async fn a_key_comes_with_the_event_or_the_address_or_by_default() {
    let server = TestServer::new().await;
    let (default_key, own_key) = (server.key.clone(), server.metrics.create_key().await.unwrap());
    let third_key = server.metrics.create_key().await.unwrap();
    let settings = Settings::default().default_key(ApiKey::new(&default_key).unwrap());
    let server = server.restart(settings).await;

    let send = async |query: &str, key: Option<&ApiKey>| {
        let mut events = viewing(2.0);
        if let Some(key) = key {
            events = events.into_iter().map(|it| with(it, "key", json!(key.as_str()))).collect();
        }
        let request = server.http("POST", "/v1/events").query(query);
        expect_accepted(&request.json(&json!({ "events": events })).send().await, 2);
    };
    let plays = async |key: &str| server.select(&json!({ "query": { "key": key } })).await.plays;
    let in_address = format!("key={}", form_encode(third_key.as_str()));

    send("", None).await;
    assert_eq!(plays(&default_key).await, 1);
    send(&in_address, None).await;
    assert_eq!(plays(third_key.as_str()).await, 1);
    send(&in_address, Some(&own_key)).await;
    assert_eq!(plays(own_key.as_str()).await, 1);
    assert_eq!((plays(&default_key).await, plays(third_key.as_str()).await), (1, 1));
}

#[tokio::test]
async fn a_key_in_the_address_may_be_written_raw() {
    let server = TestServer::new().await;
    let key = ApiKey::new("ab+cd/ef==").unwrap();
    assert!(server.metrics.import_key(&key).await.unwrap());
    for raw in ["ab+cd/ef==", "ab%2Bcd%2Fef%3D%3D", "ab+cd%2Fef%3D%3D"] {
        let request = server.http("POST", &format!("/v1/events?a=b&key={raw}"));
        expect_accepted(&request.json(&json!({ "events": viewing(2.0) })).send().await, 2);
    }
    assert_eq!(server.watched("intro").await, Watched::once(2.0));
}

#[tokio::test]
async fn without_a_valid_key_a_batch_is_unauthorized() {
    let server = TestServer::new().await;
    let revoked = server.metrics.create_key().await.unwrap();
    server.metrics.revoke_key(&revoked).await.unwrap();
    let revoked = format!("key={}", form_encode(revoked.as_str()));
    for query in ["", "key=unknown", "key=%00", "key=", revoked.as_str()] {
        let request = server.http("POST", "/v1/events").query(query);
        let answer = request.json(&json!({ "events": viewing(2.0) })).send().await;
        assert_eq!(answer.status, 401, "{query}: {answer:?}");
        assert!(answer.error().contains("key"), "{answer:?}");
    }
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
}

#[tokio::test]
async fn a_video_may_have_metadata_and_a_session_data() {
    let server = TestServer::new().await;
    let events: Vec<_> = viewing(5.0)
        .into_iter()
        .map(|event| with(described(event), "session_data", json!({ "plan": "free" })))
        .collect();
    expect_accepted(&batch(&server, &events).send().await, 2);
    for selection in [
        json!({ "identifier": "intro" }),
        json!({ "query": { "video": { "course": { "tags": ["b"] } } } }),
        json!({ "query": { "session": { "plan": "free" } } }),
    ] {
        assert_eq!(server.select(&selection).await, Watched::once(5.0), "{selection}");
    }
    let other = json!({ "query": { "video": { "course": { "id": 8 } } } });
    assert_eq!(server.select(&other).await, Watched::NOTHING);
}

#[tokio::test]
async fn metadata_alone_is_a_video() {
    let server = TestServer::new().await;
    let events = viewing(5.0).into_iter().map(|event| without(described(event), "embed_id"));
    expect_accepted(&batch(&server, &events.collect::<Vec<_>>()).send().await, 2);
    let selection = json!({ "query": { "video": { "course": { "id": 7 } } } });
    assert_eq!(server.select(&selection).await, Watched::once(5.0));
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
}

#[tokio::test]
async fn events_of_every_kind_are_accepted() {
    let server = TestServer::new().await;
    let names = [
        "rebuffering_start",
        "rebuffering_end",
        "playback_failure",
        "seeked",
        "fullscreen_enter",
        "fullscreen_exit",
        "track_set",
        "source_set",
    ];
    let mut events = viewing(5.0);
    let names = names.into_iter().chain(OTHER_EVENTS);
    events.extend(names.map(|name| without(event(name, 2.0), "video_time")));
    expect_accepted(&batch(&server, &events).send().await, events.len() as u64);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn an_empty_batch_is_accepted() {
    let server = TestServer::new().await;
    expect_accepted(&batch(&server, &[]).send().await, 0);
}

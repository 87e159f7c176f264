//! Viewers of now, as tokens see them.

use hyper::header::HeaderName;
use metrics_core::ApiKey;
use metrics_server_testing::{Database, EventStream};
use serde_json::{Value, json};

use super::{USER, guarded, token};

/// Viewers of now are narrowed like all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_its_own_viewers_of_now() {
    let server = Database::new().await.serve(guarded()).await;
    let other = ApiKey::new("other").unwrap();
    assert!(server.metrics.import_key(&other).await.unwrap());
    let mut client = server.connect().await;
    for (topic, key) in [("session:a", &*server.key), ("session:b", "other")] {
        let join = json!({ "key": key, "identifier": "intro" });
        assert_eq!(client.call(topic, "phx_join", &join).await, Value::Null);
        client.play(topic, 0.0).await;
    }
    for (members, watching) in [
        (json!({}), 2),
        (json!({ "key": "other" }), 1),
        (json!({ "filters": ["is", "key", ["other"]] }), 1),
        (json!({ "identifier": "outro" }), 0),
        (json!({ "filters": ["is", "page_host", ["a.example"]] }), 0),
    ] {
        let token = token(&server, &members).await;
        let answer = server.http("GET", &format!("/api/v1/watching?token={token}")).send().await;
        assert_eq!(answer.json(), json!({ "watching": watching }), "{members}");
        let state = server.live(&format!("token={token}")).await.state().await.1;
        let videos = &state["videos"];
        assert_eq!(state["watching"], watching, "{members}: {state}");
        assert_eq!(videos[0]["watching"].as_u64().unwrap_or(0), watching, "{members}: {state}");
    }
    // Without the scope `read`, a stream is about this moment, and is no report of plays.
    let live = token(&server, &json!({ "scope": "live" })).await;
    for (more, status) in [
        ("", 200),
        ("&identifier=intro&timezone=Europe/Amsterdam", 200),
        ("&filters=%5B%22is%22,%22device%22,%5B%22mobile%22%5D%5D", 200),
        ("&filters=%5B%22%3E%22,%22view_time%22,10%5D", 403),
        ("&timeframe=all", 403),
        ("&minimum_watch_seconds=15", 403),
    ] {
        let stream = server.live(&format!("token={live}{more}")).await;
        assert_eq!(stream.answer.status, status, "{more}");
    }
    let none = token(&server, &json!({ "metrics": ["watching"] })).await;
    assert_eq!(
        server.live(&format!("token={none}")).await.answer.status,
        403,
        "it shows plays too"
    );
}

/// The visitors of a link, from however many networks, leave streams to other links and to the owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_does_not_use_up_the_streams_of_its_key() {
    let settings = guarded().forwarded_header(HeaderName::from_static("x-forwarded-for"));
    let server = Database::new().await.serve(settings).await;
    let of_key = json!({ "key": server.key });
    let (link, other) = (token(&server, &of_key).await, token(&server, &of_key).await);
    let open = async |token: &str, network: usize, parts: usize| {
        let http = server.http("GET", "/api/v1/live").query(&format!("parts={parts}"));
        let http = http.header("x-forwarded-for", &format!("192.0.2.{network}"));
        EventStream::open(http.header("authorization", token)).await
    };
    let (link, other) = (format!("Bearer {link}"), format!("Bearer {other}"));
    let mut streams = Vec::new();
    for parts in 0..32 {
        streams.push(open(&link, parts / 8, 1 + parts).await);
        assert_eq!(streams[parts].answer.status, 200, "{parts}");
    }
    assert_eq!(open(&link, 4, 100).await.answer.status, 503);
    // A selection that is read already needs no space.
    streams.push(open(&link, 4, 7).await);
    for (caller, parts) in [(&*other, 101), (USER, 102), (USER, 103)] {
        streams.push(open(caller, 1, parts).await);
    }
    for stream in &streams {
        assert_eq!(stream.answer.status, 200);
    }
}

//! Viewers of now, as tokens see them.

use metrics_core::ApiKey;
use metrics_server_testing::Database;
use serde_json::{Value, json};

use super::{guarded, token};

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

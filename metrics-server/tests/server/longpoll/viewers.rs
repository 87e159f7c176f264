//! Viewers: their keys, pages and User-Agents.

use metrics_core::ApiKey;
use metrics_server::Settings;
use metrics_server_testing::{CHROME, GOOGLEBOT, Poller, TestServer, Watched};
use serde_json::json;

use super::{TOPIC, V2};

#[tokio::test]
async fn a_revoked_key_closes_its_channels() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    server.metrics.revoke_key(&ApiKey::new(&server.key).unwrap()).await.unwrap();
    assert_eq!(poller.message().await, json!(["1", "1", TOPIC, "phx_close", {}]));
    let event = json!({ "name": "pause", "to": 1 });
    assert_eq!(poller.call(TOPIC, "event", &event).await, "unmatched topic");
}

#[tokio::test]
async fn a_bot_may_connect_but_not_join() {
    let server = TestServer::new().await;
    let mut poller = Poller::open_as(&server, V2, &[("user-agent", GOOGLEBOT)]).await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    assert_eq!(poller.call(TOPIC, "phx_join", &join).await, "bot");
}

#[tokio::test]
async fn a_viewer_who_opted_out_is_refused_where_the_setting_is_on() {
    let server = TestServer::with(Settings::default().refuse_opted_out()).await;
    let mut poller = Poller::open_as(&server, V2, &[("sec-gpc", "1")]).await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    assert_eq!(poller.call(TOPIC, "phx_join", &join).await, "opted out");
}

#[tokio::test]
async fn guessed_keys_are_refused_unchecked_after_some() {
    let server = TestServer::new().await;
    let mut reasons = Vec::new();
    for guess in 0..30 {
        // A new session or another transport does not reset the limit of the caller.
        let join = json!({ "key": format!("guess-{guess}"), "identifier": "intro" });
        reasons.push(Poller::open(&server).await.call(TOPIC, "phx_join", &join).await);
    }
    assert_eq!((&reasons[0], &reasons[29]), (&json!("invalid key"), &json!("too many attempts")));
    let join = json!({ "key": "guess-30", "identifier": "intro" });
    let reply = server.connect().await.call(TOPIC, "phx_join", &join).await;
    assert_eq!(reply, "too many attempts");
}

#[tokio::test]
async fn the_first_request_decides_the_class_and_page_of_a_viewer() {
    let server = TestServer::new().await;
    let query = "source_url=https%3A%2F%2Fsite.example%2Fa%3Fb&vsn=2.0.0";
    let mut poller = Poller::open_as(&server, query, &[("user-agent", CHROME)]).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    let query = json!({ "identifier": "intro", "minimum_watch_seconds": 0 });
    let plays = server.report("plays", &query).await;
    assert_eq!(plays["views"][0]["browser"]["chrome"], 1, "{plays}");
    let sources = server.report("sources", &query).await;
    assert_eq!(sources["sources"][0]["path"], "https://site.example/a", "{sources}");
}

#[tokio::test]
async fn a_session_goes_on_over_another_transport() {
    let server = TestServer::new().await;
    let mut socket = server.connect().await;
    socket.join(TOPIC, "intro").await;
    socket.play(TOPIC, 0.0).await;
    socket.pause(TOPIC, 2.0).await;
    drop(socket);
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 2.0).await;
    poller.pause(TOPIC, 5.0).await;
    // The same holds while the server has not noticed the end of the older connection.
    let mut socket = server.connect().await;
    socket.join(TOPIC, "intro").await;
    socket.play(TOPIC, 5.0).await;
    socket.pause(TOPIC, 9.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(9.0));
    assert_eq!(server.database.count_sessions().await, 1);
}

#[tokio::test]
async fn pages_of_any_origin_may_poll() {
    let server = TestServer::new().await;
    let preflight =
        server.http("OPTIONS", "/socket/longpoll").header("origin", "https://a.example");
    let answer = preflight.header("access-control-request-method", "POST").send().await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("content-type") && headers.contains("x-phoenix-authtoken"));
}

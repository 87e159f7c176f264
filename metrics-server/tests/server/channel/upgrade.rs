//! The upgrade to a websocket: User-Agents, origins, and headers.

use std::fmt::Write as _;

use metrics_server::Settings;
use metrics_server_testing::{
    Answer, CHROME, Client, FIN, GOOGLEBOT, TEXT, TestServer, frame, soon, split_head,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{V2, play};

/// The user-agent classes of the one play of a video, without the zero counts.
async fn classes(server: &TestServer, identifier: &str) -> String {
    let query = json!({ "identifier": identifier, "minimum_watch_seconds": 0 });
    let report = server.report("plays", &query).await;
    let mut classes = String::new();
    for kind in ["browser", "platform", "device_type"] {
        for (name, count) in report["views"][0][kind].as_object().unwrap() {
            if count != 0 {
                write!(classes, "{kind} {name} {count}, ").unwrap();
            }
        }
    }
    classes
}

#[tokio::test]
async fn a_viewer_is_classed_by_the_user_agent_of_the_socket() {
    let server = TestServer::new().await;
    for (identifier, headers, expected) in [
        (
            "mac",
            &[("user-agent", CHROME)][..],
            "browser chrome 1, platform mac 1, device_type desktop 1, ",
        ),
        (
            "app",
            &[("user-agent", "Shop/1.0")],
            "browser other 1, platform other 1, device_type other 1, ",
        ),
    ] {
        let mut client = server.upgrade(V2, headers).await.ok().unwrap();
        let topic = format!("session:{identifier}");
        client.join(&topic, identifier).await;
        client.play(&topic, 0.0).await;
        assert_eq!(classes(&server, identifier).await, expected, "{identifier}");
    }
}

#[tokio::test]
async fn a_bot_may_connect_but_not_join() {
    let server = TestServer::new().await;
    let mut client = server.upgrade(V2, &[("user-agent", GOOGLEBOT)]).await.ok().unwrap();
    let join = json!({ "key": server.key, "identifier": "intro" });
    assert_eq!(client.call("session:a", "phx_join", &join).await, "bot");
    assert_eq!(client.call("session:a", "phx_join", &join).await, "bot");
    assert_eq!(client.call("session:a", "event", &play(0.0)).await, "unmatched topic");
    assert_eq!(client.call("phoenix", "heartbeat", &json!({})).await, Value::Null);
}

#[tokio::test]
async fn a_page_of_any_origin_may_connect() {
    let server = TestServer::new().await;
    let headers = [("origin", "https://elsewhere.example"), ("user-agent", CHROME)];
    let mut client = server.upgrade("vsn=2.0.0&key=wrong", &headers).await.ok().unwrap();
    client.join("session:a", "intro").await;
}

#[tokio::test]
async fn the_subprotocol_is_selected_if_it_is_offered() {
    let server = TestServer::new().await;
    for (offers, selected) in [
        (&["phoenix, base64url.bearer.phx.dG9rZW4"][..], Some("phoenix")),
        (&["phoenix"], Some("phoenix")),
        (&["base64url.bearer.phx.dG9rZW4", "phoenix"], Some("phoenix")),
        (&["chat"], None),
        (&[], None),
    ] {
        let mut headers: Vec<_> =
            offers.iter().map(|offer| ("sec-websocket-protocol", *offer)).collect();
        headers.push(("user-agent", CHROME));
        let mut client = server.upgrade(V2, &headers).await.ok().unwrap();
        assert_eq!(client.answer.header("sec-websocket-protocol"), selected, "{offers:?}");
        client.join("session:a", "intro").await;
    }
}

#[tokio::test]
async fn a_viewer_who_opted_out_is_refused_where_the_setting_is_on() {
    let join = |client: Client| async move {
        let mut client = client;
        let join = json!({ "key": client.key, "identifier": "intro" });
        client.call("session:a", "phx_join", &join).await
    };
    let refusing = TestServer::with(Settings::default().refuse_opted_out()).await;
    let ignoring = TestServer::new().await;
    for header in ["sec-gpc", "dnt"] {
        let headers = |value| [("user-agent", CHROME), (header, value)];
        let client = refusing.upgrade(V2, &headers("1")).await.ok().unwrap();
        assert_eq!(join(client).await, "opted out");
        let client = refusing.upgrade(V2, &headers("0")).await.ok().unwrap();
        assert_eq!(join(client).await, Value::Null);
        let client = ignoring.upgrade(V2, &headers("1")).await.ok().unwrap();
        assert_eq!(join(client).await, Value::Null);
    }
}

#[tokio::test]
async fn a_request_without_an_upgrade_is_refused() {
    let server = TestServer::new().await;
    let answer = server.http("GET", "/socket/websocket?vsn=2.0.0").send().await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(answer.error().to_lowercase().contains("websocket"));
}

/// Requests a websocket with these headers, and returns the response.
async fn upgrade_by_hand(server: &TestServer, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.http("GET", "/socket/websocket?vsn=2.0.0");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request.bytes()).await.unwrap();
    let mut received = Vec::new();
    let mut body = 0;
    loop {
        if let Some((head, rest)) = split_head(&received) {
            let mut answer = Answer::parse(head);
            body = answer.header("content-length").map_or(body, |length| length.parse().unwrap());
            if body <= rest.len() {
                answer.body = rest.to_vec();
                return answer;
            }
        }
        assert_ne!(soon(stream.read_buf(&mut received)).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn browsers_request_a_websocket_in_different_forms() {
    let server = TestServer::new().await;
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let version = ("sec-websocket-version", "13");
    for (connection, upgrade) in
        [("Upgrade", "websocket"), ("keep-alive, Upgrade", "websocket"), ("upgrade", "WebSocket")]
    {
        let headers = [("connection", connection), ("upgrade", upgrade), key, version];
        let answer = upgrade_by_hand(&server, &headers).await;
        assert_eq!(answer.status, 101, "{headers:?}: {answer:?}");
    }
    let (connection, upgrade) = (("connection", "Upgrade"), ("upgrade", "websocket"));
    for headers in [
        &[connection, upgrade, version][..],
        &[connection, upgrade, key],
        &[connection, upgrade, key, ("sec-websocket-version", "8")],
        &[connection, ("upgrade", "h2c"), key, version],
        &[upgrade, key, version],
    ] {
        let answer = upgrade_by_hand(&server, headers).await;
        assert!((400..500).contains(&answer.status), "{headers:?}: {answer:?}");
        assert!(!answer.error().is_empty());
    }
    let old = [connection, upgrade, key, ("sec-websocket-version", "8")];
    let answer = upgrade_by_hand(&server, &old).await;
    let reported = ["sec-websocket-version", "upgrade", "connection"].map(|it| answer.header(it));
    assert_eq!((answer.status, reported), (426, [Some("13"), Some("websocket"), Some("upgrade")]));
    for (body, status) in [
        (("content-length", "5"), 400),
        (("transfer-encoding", "chunked"), 400),
        (("content-length", "0"), 101),
    ] {
        let headers = [connection, upgrade, key, version, body];
        let answer = upgrade_by_hand(&server, &headers).await;
        assert_eq!(answer.status, status, "{body:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_message_right_behind_the_upgrade_is_not_lost() {
    let server = TestServer::new().await;
    let heartbeats = frame(FIN | TEXT, br#"[null,"1","phoenix","heartbeat",{}]"#).repeat(100);
    let http = server.http("GET", "/socket/websocket").query(V2);
    let mut client =
        Client::upgrade_with(http, server.key.clone(), &heartbeats).await.ok().unwrap();
    for _ in 0..100 {
        assert_eq!(client.message().await[2], "phoenix");
    }
}

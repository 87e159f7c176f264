//! Joins: their members, their defaults from the socket, and refusals by name.

use metrics_server_testing::{CHROME, Poller, TestServer, Watched};
use serde_json::{Value, json};

use super::{V1, V2, check};

#[tokio::test]
async fn a_video_has_an_identifier_or_metadata_or_both() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let payloads = [
        json!({ "identifier": "intro" }),
        json!({ "identifier": "intro", "metadata": null, "session_data": null, "source_url": null }),
        json!({ "metadata": { "course": "knots" } }),
        json!({ "identifier": null, "metadata": { "course": "knots" } }),
        // The 0.1.x client sends this if it has metadata only.
        json!({ "identifier": { "course": "knots" }, "metadata": { "course": "knots" } }),
        json!({ "identifier": "intro", "metadata": { "b": [1, { "a": null }], "a": 1.5 } }),
        json!({ "identifier": "intro", "session_data": { "plan": "pro" }, "unknown": true }),
        json!({ "identifier": "intro", "source_url": "http://example.com/" }),
        json!({ "identifier": "intro", "source_url": "no address" }),
    ];
    for (index, mut payload) in payloads.into_iter().enumerate() {
        payload["key"] = json!(server.key);
        let topic = format!("session:{index}");
        assert_eq!(client.call(&topic, "phx_join", &payload).await, Value::Null, "{payload}");
    }
}

/// Clients that join with an empty payload need this.
#[tokio::test]
async fn a_join_takes_missing_members_from_the_socket() {
    let server = TestServer::new().await;
    let key = server.key.replace('+', "%2B");
    let course = r#"{"course":"knots","part":1.10}"#;
    let (course, plan) = (course.replace('"', "%22"), r#"{"plan":"pro"}"#.replace('"', "%22"));
    let about =
        format!("identifier=intro&metadata={course}&session_data={plan}&key={key}&vsn=2.0.0");
    let mut socket = server.connect_to(&about).await;
    assert_eq!(socket.call("session:socket", "phx_join", &json!({})).await, Value::Null);
    let nothing =
        json!({ "key": null, "identifier": null, "metadata": null, "session_data": null });
    assert_eq!(socket.call("session:nulls", "phx_join", &nothing).await, Value::Null);
    let mut poller = Poller::open_as(&server, &about, &[("user-agent", CHROME)]).await;
    assert_eq!(poller.call("session:poller", "phx_join", &json!({})).await, Value::Null);
    let own =
        json!({ "identifier": "outro", "metadata": { "course": "bends" }, "session_data": {} });
    assert_eq!(socket.call("session:own", "phx_join", &own).await, Value::Null);
    for topic in ["session:socket", "session:nulls", "session:own"] {
        socket.play(topic, 0.0).await;
        socket.pause(topic, 2.0).await;
    }
    poller.play("session:poller", 0.0).await;
    poller.pause("session:poller", 2.0).await;
    let three = Watched { plays: 3, seconds: 6.0, unique: 6.0 };
    for query in [
        json!({ "video": { "course": "knots", "part": 1.1 } }),
        json!({ "session": { "plan": "pro" } }),
    ] {
        let query = json!({ "query": query, "identifier": "intro", "minimum_watch_seconds": 0 });
        assert_eq!(server.select(&query).await, three, "{query}");
    }
    assert_eq!(server.watched("outro").await, Watched::once(2.0));
    let bends = json!({ "query": { "video": { "course": "bends" } }, "minimum_watch_seconds": 0 });
    assert_eq!(server.select(&bends).await, Watched::once(2.0));
}

#[tokio::test]
async fn an_invalid_parameter_of_a_socket_is_missing() {
    let server = TestServer::new().await;
    let missing = "missing parameters and/or invalid host";
    for (query, reason) in [
        ("identifier=intro", missing),
        ("identifier=intro&key=", missing),
        ("identifier=intro&key=wrong", "invalid key"),
        ("metadata=knots&key=KEY", missing),
        ("metadata=[1]&key=KEY", missing),
        ("key=KEY", missing),
    ] {
        let key = server.key.replace('+', "%2B");
        let query = format!("{}&vsn=2.0.0", query.replace("KEY", &key));
        let mut client = server.connect_to(&query).await;
        assert_eq!(client.call("session:a", "phx_join", &json!({})).await, reason, "{query}");
        // A join's own parameters override those of the socket.
        client.join("session:a", "intro").await;
    }
}

#[tokio::test]
async fn an_incomplete_join_is_refused() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let key = &server.key;
    let missing = "missing parameters and/or invalid host";
    for (topic, payload, reason) in [
        ("session:a", json!({}), missing),
        ("session:a", json!(null), missing),
        ("session:a", json!([]), missing),
        ("session:a", json!("intro"), missing),
        ("session:a", json!([key, "intro", null, null, null]), missing),
        ("session:a", json!({ "key": key }), missing),
        ("session:a", json!({ "key": key, "identifier": null, "metadata": null }), missing),
        ("session:a", json!({ "key": key, "identifier": 7 }), missing),
        ("session:a", json!({ "key": key, "identifier": { "a": 1 } }), missing),
        ("session:a", json!({ "key": key, "identifier": "" }), missing),
        ("session:a", json!({ "key": key, "metadata": "intro" }), missing),
        ("session:a", json!({ "key": key, "metadata": [1] }), missing),
        ("session:a", json!({ "key": key, "identifier": "intro", "source_url": 7 }), missing),
        ("session:a", json!({ "identifier": "intro" }), missing),
        ("session:a", json!({ "key": null, "identifier": "intro" }), missing),
        ("session:a", json!({ "key": 7, "identifier": "intro" }), missing),
        ("session:a", json!({ "key": { "key": key }, "identifier": "intro" }), missing),
        ("session:", json!({ "key": key, "identifier": "intro" }), missing),
        ("session:a", json!({ "key": "unknown", "identifier": "intro" }), "invalid key"),
        ("session:a", json!({ "key": "no key\n", "identifier": "intro" }), "invalid key"),
        ("session:a", json!({ "key": "x".repeat(1000), "identifier": "intro" }), "invalid key"),
    ] {
        let reply = client.call(topic, "phx_join", &payload).await;
        assert_eq!(reply, reason, "{topic} {payload}");
        let event = client.call(topic, "event", &json!({ "name": "play", "from": 0 })).await;
        assert_eq!(event, "unmatched topic", "{topic} {payload}");
    }
    // A refused join may be repeated.
    client.join("session:a", "intro").await;
}

#[tokio::test]
async fn a_member_that_no_store_can_hold_is_refused_by_its_name() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    for (field, payload) in [
        ("identifier", json!({ "identifier": "in\0tro" })),
        ("metadata", json!({ "metadata": { "a": ["\0"] } })),
        ("metadata", json!({ "identifier": "intro", "metadata": { "\0": 1 } })),
        ("session_data", json!({ "identifier": "intro", "session_data": { "a": "\0" } })),
    ] {
        let mut payload = payload;
        payload["key"] = json!(server.key);
        let reply = client.call("session:a", "phx_join", &payload).await;
        assert_eq!(reply, format!("`{field}` must not hold the character U+0000"), "{payload}");
    }
    client.join("session:a", "intro").await;
    // The server stores an event without the text that no store can hold.
    client.play("session:a", 0.0).await;
    let track = json!({ "name": "track_set", "language": "n\0l" });
    assert_eq!(client.call("session:a", "event", &track).await, Value::Null);
}

#[tokio::test]
async fn a_member_that_is_too_long_is_refused_by_its_name() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let long = "x".repeat(17 * 1024);
    for (topic, field, payload) in [
        ("session:a", "identifier", json!({ "identifier": "x".repeat(1025) })),
        ("session:a", "metadata", json!({ "metadata": { "a": long } })),
        (
            "session:a",
            "session_data",
            json!({ "identifier": "intro", "session_data": { "a": long } }),
        ),
        (&*format!("session:{}", "x".repeat(257)), "session", json!({ "identifier": "intro" })),
    ] {
        let mut payload = payload;
        payload["key"] = json!(server.key);
        let reply = client.call(topic, "phx_join", &payload).await;
        assert!(reply.as_str().unwrap().contains(&format!("`{field}`")), "{reply}");
    }
}

#[tokio::test]
async fn a_refused_join_is_answered_in_both_serializers() {
    check(
        V2,
        r#"
        > ["1","1","session:a","phx_join",{"key":"unknown","identifier":"intro"}]
        < ["1","1","session:a","phx_reply",{"status":"error","response":{"reason":"invalid key","code":"invalid_key"}}]
        "#,
    )
    .await;
    check(
        V1,
        r#"
        > {"topic":"session:a","event":"phx_join","payload":{"key":"unknown","identifier":"intro"},"ref":"1"}
        < {"topic":"session:a","event":"phx_reply","ref":"1","payload":{"status":"error","response":{"reason":"invalid key","code":"invalid_key"}}}
        "#,
    )
    .await;
}

#[tokio::test]
async fn the_page_is_that_of_the_join_or_else_of_the_socket() {
    let server = TestServer::new().await;
    let page = "source_url=https%3A%2F%2Fsocket.example%2Fa%3Fb&vsn=2.0.0";
    for (identifier, query, source, expected) in [
        ("none", V2, Value::Null, json!([])),
        ("socket", page, Value::Null, json!(["https://socket.example/a"])),
        (
            "join",
            V2,
            json!("https://join.example:8443/c#d"),
            json!(["https://join.example:8443/c"]),
        ),
        ("both", page, json!("https://join.example/"), json!(["https://join.example/"])),
        ("neither", V2, json!("about:blank"), json!([])),
    ] {
        let mut client = server.connect_to(query).await;
        let join = json!({ "key": server.key, "identifier": identifier, "source_url": source });
        let topic = format!("session:{identifier}");
        assert_eq!(client.call(&topic, "phx_join", &join).await, Value::Null);
        client.play(&topic, 0.0).await;
        let query = json!({ "identifier": identifier, "minimum_watch_seconds": 0 });
        let report = server.report("sources", &query).await;
        let sources = report["sources"].as_array().unwrap();
        let paths: Vec<_> = sources.iter().map(|source| source["path"].clone()).collect();
        assert_eq!(json!(paths), expected, "{identifier}");
    }
}

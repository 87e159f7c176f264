//! The channel protocol, row by row: messages and their replies.

use std::fmt::Write as _;

use metrics_server::Settings;
use metrics_server_testing::{
    Answer, CHROME, Client, FIN, GOOGLEBOT, Poller, TEXT, TestServer, Watched, frame, soon,
    split_head,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const V1: &str = "";
const V2: &str = "vsn=2.0.0";

/// Runs a transcript on a new server: `>` is sent, `<` must be received, `KEY` is the key.
async fn check(version: &str, transcript: &str) {
    let server = TestServer::new().await;
    let mut client = server.connect_to(version).await;
    speak(&mut client, transcript).await;
}

async fn speak(client: &mut Client, transcript: &str) {
    let transcript = transcript.replace("KEY", &client.key);
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(sent) = line.strip_prefix("> ") {
            client.send_text(sent).await;
        } else {
            let expected: Value = serde_json::from_str(line.trim_start_matches("< ")).unwrap();
            assert_eq!(client.message().await, expected, "after {transcript}");
        }
    }
    client.is_quiet().await;
}

#[tokio::test]
async fn a_heartbeat_is_answered() {
    check(
        V2,
        r#"
        > [null,"1","phoenix","heartbeat",{}]
        < [null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]
        "#,
    )
    .await;
    check(
        V1,
        r#"
        > {"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}
        < {"topic":"phoenix","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_viewing_in_the_second_serializer() {
    check(
        V2,
        r#"
        > ["1","1","session:a","phx_join",{"key":"KEY","identifier":"intro"}]
        < ["1","1","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["1","2","session:a","event",{"name":"play","from":0}]
        < ["1","2","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["1","3","session:a","event",{"name":"pause","to":2.5}]
        < ["1","3","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["1","4","session:a","phx_leave",{}]
        < ["1","4","session:a","phx_reply",{"status":"ok","response":{}}]
        < ["1","1","session:a","phx_close",{}]
        > ["1","5","session:a","event",{"name":"play","from":0}]
        < [null,"5","session:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_viewing_in_the_first_serializer() {
    check(
        V1,
        r#"
        > {"topic":"session:a","event":"phx_join","payload":{"key":"KEY","identifier":"intro"},"ref":"1"}
        < {"topic":"session:a","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
        > {"topic":"session:a","event":"event","payload":{"name":"play","from":"0.00"},"ref":"2"}
        < {"topic":"session:a","event":"phx_reply","ref":"2","payload":{"status":"ok","response":{}}}
        > {"topic":"session:a","event":"event","payload":{"name":"pause","to":"x"},"ref":"3","join_ref":"1"}
        < {"topic":"session:a","event":"phx_reply","ref":"3","payload":{"status":"error","response":{"reason":"`to` must be a number of seconds, 0 or more","code":"invalid_position"}}}
        > {"topic":"session:a","event":"phx_leave","payload":{},"ref":"4"}
        < {"topic":"session:a","event":"phx_reply","ref":"4","payload":{"status":"ok","response":{}}}
        < {"topic":"session:a","event":"phx_close","ref":"1","payload":{}}
        "#,
    )
    .await;
}

#[tokio::test]
async fn versions_select_the_serializer() {
    let server = TestServer::new().await;
    for vsn in ["", "vsn=1.0.0", "vsn=1", "source_url=http%3A%2F%2Fa%2F&vsn=1.0.0"] {
        let mut client = server.connect_to(vsn).await;
        client.send_text(r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}"#).await;
        assert!(client.message().await.is_object(), "{vsn}");
    }
    for vsn in ["vsn=2.0.0", "vsn=2.1.0", "vsn=2", "key=a%2Bb%2Fc%3D%3D&vsn=2.0.0"] {
        let mut client = server.connect_to(vsn).await;
        client.send_text(r#"[null,"1","phoenix","heartbeat",{}]"#).await;
        assert!(client.message().await.is_array(), "{vsn}");
    }
}

#[tokio::test]
async fn an_unknown_version_is_forbidden() {
    let server = TestServer::new().await;
    for vsn in ["vsn=3.0.0", "vsn=0.1.0", "vsn=garbage", "vsn=", "vsn=2.0.0%27%3B--"] {
        let Err(answer) = server.upgrade(vsn, &[]).await else { panic!("{vsn} was accepted") };
        assert_eq!(answer.status, 403, "{vsn}");
        assert!(answer.error().contains("vsn"), "{}", answer.error());
    }
}

#[tokio::test]
async fn refs_go_back_byte_for_byte() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let refs =
        [r#""1""#, r#""caf\u00e9 \"""#, "7", "-1", "1.50", "1e3", "18446744073709551616", "null"];
    for (index, sent) in refs.into_iter().enumerate() {
        client.send_text(&format!(r#"[null,{sent},"phoenix","heartbeat",{{}}]"#)).await;
        let expected = format!(r#"[null,{sent},"phoenix","phx_reply","#);
        let text = client.text().await;
        assert!(text.starts_with(&expected), "{text}");

        let join = json!({ "key": client.key, "identifier": "intro" });
        client.send_text(&format!(r#"[{sent},5,"session:{index}","phx_join",{join}]"#)).await;
        let expected = if sent == "null" { "[5,5," } else { &format!("[{sent},5,") };
        let text = client.text().await;
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn refs_of_the_first_serializer_go_back_byte_for_byte() {
    let server = TestServer::new().await;
    let mut client = server.connect_to(V1).await;
    for sent in ["\"1\"", "7", "null", "1.50"] {
        let heartbeat = r#""topic":"phoenix","event":"heartbeat","payload":{}"#;
        client.send_text(&format!(r#"{{{heartbeat},"ref":{sent}}}"#)).await;
        let text = client.text().await;
        assert!(text.contains(&format!("\"ref\":{sent},")), "{text}");
    }
}

#[tokio::test]
async fn a_sixth_element_is_ignored() {
    check(
        V2,
        r#"
        > ["1","1","session:a","phx_join",{"key":"KEY","identifier":"intro"},{"more":[1]}]
        < ["1","1","session:a","phx_reply",{"status":"ok","response":{}}]
        > [1,2,"session:a","event",{"name":"play","from":0},null]
        < ["1",2,"session:a","phx_reply",{"status":"ok","response":{}}]
        "#,
    )
    .await;
}

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
async fn a_join_takes_from_the_socket_what_it_lacks() {
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
async fn what_a_socket_says_wrongly_is_missing() {
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
async fn a_join_that_lacks_something_is_refused() {
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
async fn what_no_store_can_keep_is_refused_by_its_name() {
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
async fn what_is_too_long_is_refused_by_its_name() {
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
async fn a_refused_join_says_so_in_both_serializers() {
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
async fn another_topic_cannot_be_joined() {
    check(
        V2,
        r#"
        > ["1","1","room:1","phx_join",{"key":"KEY","identifier":"intro"}]
        < [null,"1","room:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        > ["2","2","phoenix","phx_join",{"key":"KEY","identifier":"intro"}]
        < [null,"2","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        > ["3","3","","phx_join",{}]
        < [null,"3","","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_topic_that_is_not_joined_takes_nothing_but_a_leave() {
    check(
        V2,
        r#"
        > [null,"1","session:a","event",{"name":"play","from":0}]
        < [null,"1","session:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        > ["9","2","session:a","event",{"name":"play","from":0}]
        < [null,"2","session:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        > [null,"3","phoenix","other",{}]
        < [null,"3","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        > ["9","4","session:a","phx_leave",{}]
        < ["9","4","session:a","phx_reply",{"status":"ok","response":{}}]
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_message_that_is_no_event_is_unmatched_and_the_channel_lives() {
    check(
        V2,
        r#"
        > ["1","1","session:a","phx_join",{"key":"KEY","identifier":"intro"}]
        < ["1","1","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["1","2","session:a","shout",{"name":"play","from":0}]
        < ["1","2","session:a","phx_reply",{"status":"error","response":{"reason":"unmatched event","code":"unmatched_event"}}]
        > ["1","3","session:a","heartbeat",{}]
        < ["1","3","session:a","phx_reply",{"status":"error","response":{"reason":"unmatched event","code":"unmatched_event"}}]
        > ["1","4","session:a","event",{"name":"play","from":0}]
        < ["1","4","session:a","phx_reply",{"status":"ok","response":{}}]
        "#,
    )
    .await;
}

#[tokio::test]
async fn the_second_join_is_answered_and_then_closes_the_first() {
    check(
        V2,
        r#"
        > ["1","1","session:a","phx_join",{"key":"KEY","identifier":"intro"}]
        < ["1","1","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["7","7","session:a","phx_join",{"key":"KEY","identifier":"intro"}]
        < ["7","7","session:a","phx_reply",{"status":"ok","response":{}}]
        < ["1","1","session:a","phx_close",{}]
        > ["7","8","session:a","event",{"name":"play","from":0}]
        < ["7","8","session:a","phx_reply",{"status":"ok","response":{}}]
        "#,
    )
    .await;
    check(
        V1,
        r#"
        > {"topic":"session:a","event":"phx_join","payload":{"key":"KEY","identifier":"intro"},"ref":"1"}
        < {"topic":"session:a","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
        > {"topic":"session:a","event":"phx_join","payload":{"key":"KEY","identifier":"intro"},"ref":"7"}
        < {"topic":"session:a","event":"phx_reply","ref":"7","payload":{"status":"ok","response":{}}}
        < {"topic":"session:a","event":"phx_close","ref":"1","payload":{}}
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_topic_can_be_joined_again_after_it_was_left() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 2.0).await;
    // Both messages are in one TCP segment, as from a page that changes its mind.
    let join = json!({ "key": client.key, "identifier": "intro" });
    let leave = frame(FIN | TEXT, br#"["1","10","session:a","phx_leave",{}]"#);
    let join = frame(
        FIN | TEXT,
        json!(["11", "11", "session:a", "phx_join", join]).to_string().as_bytes(),
    );
    client.send_bytes(&[leave, join].concat()).await;
    // A V1 client would take a `phx_close` that comes after the second join for that of the second join.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let message = client.message().await;
        seen.push(json!([message[0], message[1], message[3]]));
    }
    let expected = [
        json!(["1", "10", "phx_reply"]),
        json!(["1", "1", "phx_close"]),
        json!(["11", "11", "phx_reply"]),
    ];
    assert_eq!(seen, expected);
    client.play("session:a", 2.0).await;
    client.pause("session:a", 5.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn one_socket_carries_many_channels() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    for name in ["a", "b", "c"] {
        client.join(&format!("session:{name}"), name).await;
        client.play(&format!("session:{name}"), 0.0).await;
    }
    client.pause("session:b", 2.0).await;
    assert_eq!(client.call("session:b", "phx_leave", &json!({})).await, Value::Null);
    assert_eq!(client.message().await[3], "phx_close");
    client.pause("session:a", 1.0).await;
    client.pause("session:c", 3.0).await;
    for (name, seconds) in [("a", 1.0), ("b", 2.0), ("c", 3.0)] {
        assert_eq!(server.watched(name).await, Watched::once(seconds), "{name}");
    }
}

#[tokio::test]
async fn a_socket_has_no_end_of_channels_but_64() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    for channel in 0..64 {
        client.join(&format!("session:{channel}"), "intro").await;
    }
    let join = json!({ "key": client.key, "identifier": "intro" });
    let reply = client.call("session:one-more", "phx_join", &join).await;
    assert!(reply.as_str().unwrap().contains("64"), "{reply}");
    // A repeated join of a topic does not raise their number, and a leave frees room for another.
    client.join("session:7", "intro").await;
    assert_eq!(client.message().await[3], "phx_close");
    assert_eq!(client.call("session:7", "phx_leave", &json!({})).await, Value::Null);
    client.join("session:one-more", "intro").await;
}

#[tokio::test]
async fn many_joins_may_be_in_flight() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let mut burst = Vec::new();
    for number in 0..60 {
        let payload = json!({ "key": client.key, "identifier": format!("video {number}") });
        let ref_ = number.to_string();
        let join = json!([ref_, ref_, format!("session:{number}"), "phx_join", payload]);
        burst.extend(frame(FIN | TEXT, join.to_string().as_bytes()));
    }
    client.send_bytes(&burst).await;
    for number in 0..60 {
        let message = client.message().await;
        assert_eq!(message[1], number.to_string());
        assert_eq!(message[2], format!("session:{number}"));
        assert_eq!(message[4]["status"], "ok");
    }
}

#[tokio::test]
async fn many_events_may_be_in_flight() {
    const EVENTS: usize = 400;
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    let mut burst = Vec::new();
    for number in 0..EVENTS {
        let event = match number % 2 {
            0 => json!({ "name": "play", "from": number }),
            _ => json!({ "name": "pause", "to": number }),
        };
        let message = json!(["1", number, "session:a", "event", event]);
        burst.extend(frame(FIN | TEXT, message.to_string().as_bytes()));
    }
    client.send_bytes(&burst).await;
    for number in 0..EVENTS {
        let message = client.message().await;
        assert_eq!((&message[1], &message[4]["status"]), (&json!(number), &json!("ok")));
    }
    assert_eq!(server.watched("intro").await, Watched::once(EVENTS as f64 / 2.0));
}

#[tokio::test]
async fn heartbeats_are_answered_while_events_wait_for_the_store() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.push("session:a", "event", &json!({ "name": "play", "from": 0 })).await;
    client.push("phoenix", "heartbeat", &json!({})).await;
    let mut topics = [client.message().await[2].clone(), client.message().await[2].clone()];
    topics.sort_by_key(Value::to_string);
    assert_eq!(topics, ["phoenix", "session:a"]);
}

#[tokio::test]
async fn an_event_is_acknowledged_once_it_is_durable() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    // A copy has the data that a crash would leave at this moment.
    assert_eq!(server.database.copy().await.count_sessions().await, 1);
    client.pause("session:a", 12.5).await;
    let after_crash = server.database.copy().await.serve(Settings::default()).await;
    assert_eq!(after_crash.watched("intro").await, Watched::once(12.5));
}

#[tokio::test]
async fn positions_are_numbers_or_decimal_text() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    for (number, (from, to, seconds)) in [
        (json!(1), json!(3), 2.0),
        (json!(0), json!(12.345), 12.345),
        (json!("0"), json!("5."), 5.0),
        (json!("12.34"), json!("15.50"), 3.16),
        (json!("12"), json!(13), 1.0),
        (json!(0.0), json!("1e1"), 10.0),
        (json!(".5"), json!("1.5"), 1.0),
    ]
    .into_iter()
    .enumerate()
    {
        let (topic, video) = (format!("session:{number}"), format!("video {number}"));
        client.join(&topic, &video).await;
        client.event(&topic, &json!({ "name": "play", "from": from })).await;
        client.event(&topic, &json!({ "name": "pause", "to": to })).await;
        assert_eq!(server.watched(&video).await, Watched::once(seconds), "{from} to {to}");
    }
}

#[tokio::test]
async fn an_invalid_payload_names_its_field_and_changes_nothing() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 10.0).await;
    for (field, payload) in [
        ("name", r#"{}"#),
        ("name", r#"{"name":null}"#),
        ("name", r#"{"name":7}"#),
        ("name", r#"{"name":["play"]}"#),
        ("from", r#"{"name":"play"}"#),
        ("from", r#"{"name":"play","from":null}"#),
        ("from", r#"{"name":"play","from":""}"#),
        ("from", r#"{"name":"play","from":"abc"}"#),
        ("from", r#"{"name":"play","from":"1,5"}"#),
        ("from", r#"{"name":"play","from":"NaN"}"#),
        ("from", r#"{"name":"play","from":"Infinity"}"#),
        ("from", r#"{"name":"play","from":"1e999"}"#),
        ("from", r#"{"name":"play","from":-0.5}"#),
        ("from", r#"{"name":"play","from":true}"#),
        ("from", r#"{"name":"play","from":[1]}"#),
        ("from", r#"{"name":"play","from":{"a":1}}"#),
        ("to", r#"{"name":"pause"}"#),
        ("to", r#"{"name":"pause","to":"abc"}"#),
        ("to", r#"{"name":"pause","to":"-1"}"#),
        ("to", r#"{"name":"pause","from":12}"#),
        ("duration", r#"{"name":"pause","to":12,"duration":"long"}"#),
        ("timestamp", r#"{"name":"pause","to":12,"timestamp":"noon"}"#),
        ("timestamp", r#"{"name":"pause","to":12,"timestamp":{}}"#),
    ] {
        let payload: Value = serde_json::from_str(payload).unwrap();
        let reply = client.call("session:a", "event", &payload).await;
        let reason = reply.as_str().unwrap_or_else(|| panic!("{payload} was taken"));
        assert!(reason.contains(&format!("`{field}`")), "{payload}: {reason}");
    }
    client.pause("session:a", 12.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(2.0));
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_refused_and_the_channel_lives() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    for payload in [
        "null",
        "[]",
        "7",
        "\"play\"",
        r#"["play",0,0,0,60]"#,
        // A number beyond the range of a float, and half of a surrogate pair.
        r#"{"name":"play","from":1e999}"#,
        r#"{"name":"\ud800"}"#,
    ] {
        client.send_text(&format!(r#"["1","x","session:a","event",{payload}]"#)).await;
        let message = client.message().await;
        assert_eq!(message[4]["status"], "error", "{payload}: {message}");
        assert_eq!(message[4]["response"]["code"], "invalid_event", "{payload}: {message}");
    }
    client.play("session:a", 0.0).await;
}

#[tokio::test]
async fn every_event_that_players_send_is_taken() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.event("session:a", &json!({ "name": "play", "from": 0, "duration": null })).await;
    let at = 1_718_000_000_000_u64;
    for payload in [
        json!({ "name": "rebuffering_start", "from": "1.00", "timestamp": at }),
        json!({ "name": "rebuffering_end", "timestamp": at + 1 }),
        json!({ "name": "playback_failure", "timestamp": at + 2 }),
        json!({ "name": "seeked", "timestamp": at + 3 }),
        json!({ "name": "fullscreen_enter", "timestamp": at + 4 }),
        json!({ "name": "fullscreen_exit", "timestamp": at + 5 }),
        json!({ "name": "track_set", "language": "nl", "timestamp": at + 6 }),
        json!({ "name": "track_set" }),
        json!({ "name": "source_set", "source_url": "http://cdn/a.m3u8", "width": 1280, "height": 720,
            "bitrate": 2_500_000, "codec": "avc1.640028" }),
        json!({ "name": "source_set" }),
        json!({ "name": "source_set", "width": "wide", "height": -1 }),
    ] {
        client.event("session:a", &payload).await;
    }
    for name in [
        "durationchange",
        "loadedmetadata",
        "loadeddata",
        "canplay",
        "canplaythrough",
        "playing",
        "ended",
        "ratechange",
        "volumechange",
        "something_new",
        "",
        "phx_close",
    ] {
        client.event("session:a", &json!({ "name": name, "timestamp": at + 7 })).await;
        client.event("session:a", &json!({ "name": name })).await;
    }
    client.pause("session:a", 3.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(3.0));
}

/// Sends events on a channel of its own, and expects the server to accept all of them.
async fn check_watched(events: Value, expected: Watched) {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    for event in events.as_array().unwrap() {
        client.event("session:a", event).await;
    }
    assert_eq!(server.watched("intro").await, expected, "{events}");
}

fn play(from: f64) -> Value {
    json!({ "name": "play", "from": from })
}

fn pause(to: f64) -> Value {
    json!({ "name": "pause", "to": to })
}

#[tokio::test]
async fn before_the_first_play_nothing_counts() {
    check_watched(json!([pause(3.0)]), Watched::NOTHING).await;
    check_watched(json!([{ "name": "something_new" }, { "name": "ended" }]), Watched::NOTHING)
        .await;
    check_watched(json!([pause(3.0), play(0.0), pause(2.0)]), Watched::once(2.0)).await;
}

#[tokio::test]
async fn the_second_pause_changes_nothing() {
    check_watched(json!([play(0.0), pause(2.0), pause(9.0)]), Watched::once(2.0)).await;
}

#[tokio::test]
async fn a_replay_counts_as_view_time_but_not_as_a_play() {
    let events = json!([play(0.0), pause(4.0), play(1.0), pause(3.0)]);
    check_watched(events, Watched { plays: 1, seconds: 6.0, unique: 4.0 }).await;
}

#[tokio::test]
async fn a_segment_ends_after_it_begins_or_is_empty() {
    check_watched(json!([play(10.0), pause(3.0)]), Watched::once(0.0)).await;
}

#[tokio::test]
async fn a_segment_ends_within_the_video() {
    let pause_of =
        |to: f64, duration: Value| json!({ "name": "pause", "to": to, "duration": duration });
    check_watched(json!([play(50.0), pause_of(1e11, json!(60))]), Watched::once(10.0)).await;
    check_watched(json!([play(50.0), pause_of(61.5, json!("60.00"))]), Watched::once(10.0)).await;
    check_watched(json!([play(50.0), pause_of(60.5, json!(60))]), Watched::once(10.5)).await;
}

#[tokio::test]
async fn a_segment_of_a_video_without_a_duration_ends_within_a_day() {
    check_watched(json!([play(0.0), pause(1e11)]), Watched::once(86_400.0)).await;
    let endless = json!({ "name": "pause", "to": 1e11, "duration": 0 });
    check_watched(json!([play(0.0), endless]), Watched::once(86_400.0)).await;
}

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
async fn who_opted_out_is_refused_where_that_is_heeded() {
    let join = |client: Client| async move {
        let mut client = client;
        let join = json!({ "key": client.key, "identifier": "intro" });
        client.call("session:a", "phx_join", &join).await
    };
    let heeding = TestServer::with(Settings::default().heed_opt_out()).await;
    let ignoring = TestServer::new().await;
    for header in ["sec-gpc", "dnt"] {
        let headers = |value| [("user-agent", CHROME), (header, value)];
        let client = heeding.upgrade(V2, &headers("1")).await.ok().unwrap();
        assert_eq!(join(client).await, "opted out");
        let client = heeding.upgrade(V2, &headers("0")).await.ok().unwrap();
        assert_eq!(join(client).await, Value::Null);
        let client = ignoring.upgrade(V2, &headers("1")).await.ok().unwrap();
        assert_eq!(join(client).await, Value::Null);
    }
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

#[tokio::test]
async fn an_address_that_is_no_websocket_says_so() {
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
async fn browsers_differ_in_how_they_ask_for_a_websocket() {
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
    let told = ["sec-websocket-version", "upgrade", "connection"].map(|it| answer.header(it));
    assert_eq!((answer.status, told), (426, [Some("13"), Some("websocket"), Some("upgrade")]));
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
async fn what_is_sent_right_behind_the_upgrade_is_not_lost() {
    let server = TestServer::new().await;
    let heartbeats = frame(FIN | TEXT, br#"[null,"1","phoenix","heartbeat",{}]"#).repeat(100);
    let http = server.http("GET", "/socket/websocket").query(V2);
    let mut client =
        Client::upgrade_with(http, server.key.clone(), &heartbeats).await.ok().unwrap();
    for _ in 0..100 {
        assert_eq!(client.message().await[2], "phoenix");
    }
}

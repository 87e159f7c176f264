//! Topics: joined, left, joined again, and many on one socket.

use metrics_server_testing::{FIN, TEXT, TestServer, Watched, frame};
use serde_json::{Value, json};

use super::{V1, V2, check};

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
async fn a_topic_that_is_not_joined_accepts_only_a_leave() {
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
async fn a_topic_can_be_joined_again_after_a_leave() {
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

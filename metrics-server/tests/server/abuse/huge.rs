//! Members, messages and channels without end.

use metrics_server_testing::{Bystander, TestServer};
use serde_json::{Value, json};

/// Joins with this payload while a bystander watches, and expects this error in the reply.
async fn check_refused(topic: &str, payload: Value, expected: &str) {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    let mut payload = payload;
    payload["key"] = json!(server.key);
    let reported = client.call(topic, "phx_join", &payload).await;
    assert!(reported.as_str().unwrap().contains(expected), "{reported}");
    // The sender loses only this join.
    client.join("session:after", "after").await;
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn huge_members_of_a_join_are_refused() {
    let huge = "x".repeat(20_000);
    check_refused("session:a", json!({ "identifier": huge }), "identifier").await;
    let metadata = json!({ "metadata": { "title": huge } });
    check_refused("session:a", metadata, "metadata").await;
    let session_data = json!({ "identifier": "intro", "session_data": { "plan": huge } });
    check_refused("session:a", session_data, "session_data").await;
    let long = format!("session:{}", "x".repeat(1_000));
    check_refused(&long, json!({ "identifier": "intro" }), "session").await;
}

/// Sends a message while a bystander watches, and expects the server to close the sender's connection.
async fn check_closed(message: &str, expected: u16) {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    client.send_text(message).await;
    assert_eq!(client.closed().await.0, expected);
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn huge_members_of_a_message_end_the_connection() {
    let huge = "x".repeat(20_000);
    check_closed(&format!(r#"[null,"{huge}","phoenix","heartbeat",{{}}]"#), 1008).await;
    check_closed(&format!(r#"["{huge}","1","phoenix","heartbeat",{{}}]"#), 1008).await;
    check_closed(&format!(r#"[null,{},"phoenix","heartbeat",{{}}]"#, "7".repeat(20_000)), 1008)
        .await;
    check_closed(&format!(r#"[null,"1","session:{huge}","phx_join",{{}}]"#), 1008).await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    check_closed(&format!(r#"[null,"1","phoenix","heartbeat",{deep}]"#), 1008).await;
}

#[tokio::test]
async fn a_huge_event_name_is_an_unknown_event() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    let huge = "x".repeat(60_000);
    assert_eq!(client.call("session:a", &huge, &json!({})).await, "unmatched event");
    client.event("session:a", &json!({ "name": huge })).await;
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn channels_without_end_are_refused() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    for number in 0..64 {
        client.join(&format!("session:{number}"), "intro").await;
    }
    let join = json!({ "key": server.key, "identifier": "intro" });
    for number in 64..128 {
        let reported = client.call(&format!("session:{number}"), "phx_join", &join).await;
        assert!(reported.as_str().unwrap().contains("64"), "{reported}");
    }
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_socket_with_the_largest_joins_on_every_channel_is_refused() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    let huge = json!({ "title": "x".repeat(16_000) });
    let join = json!({ "key": server.key, "metadata": huge, "session_data": huge });
    let mut joined = 0;
    let reported = loop {
        let reported = client.call(&format!("session:{joined}"), "phx_join", &join).await;
        if reported != Value::Null {
            break reported;
        }
        joined += 1;
    };
    assert!(reported.as_str().unwrap().contains("262144 bytes"), "{reported}");
    assert_eq!(joined, 8);
    // A leave frees room for another join.
    assert_eq!(client.call("session:0", "phx_leave", &json!({})).await, Value::Null);
    assert_eq!(client.message().await[3], "phx_close");
    assert_eq!(client.call("session:0", "phx_join", &join).await, Value::Null);
    client.join("session:small", "intro").await;
    bystander.expect_unharmed().await;
}

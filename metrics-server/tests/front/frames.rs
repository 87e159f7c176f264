//! Invalid frames of a client, and the close code that the server sends for each.

use std::time::Duration;

use metrics_server_testing::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Seen, TEXT, TestServer, Watched, frame,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const V1: &str = "";
const V2: &str = "vsn=2.0.0";

/// The largest message, and the most fragments of one.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const FRAGMENTS_MAX: usize = 64;

/// Sends bytes with a segment open, and expects the server to close the websocket with this code. Another viewer
/// notices nothing, and acknowledged events count.
async fn check(version: &str, bytes: &[u8], expected: u16) {
    let server = TestServer::new().await;
    let mut other = server.connect().await;
    other.join("session:other", "other").await;
    other.play("session:other", 0.0).await;
    let mut before = server.connect().await;
    before.join("session:before", "before").await;
    before.play("session:before", 0.0).await;
    before.pause("session:before", 3.0).await;

    let mut client = server.connect_to(version).await;
    client.send_bytes(bytes).await;
    let (code, reason) = client.closed().await;
    assert_eq!(code, expected, "{reason}");
    assert!(!reason.is_empty() && reason.len() <= 123, "{reason}");

    other.pause("session:other", 2.0).await;
    assert_eq!(server.watched("other").await, Watched::once(2.0));
    assert_eq!(server.watched("before").await, Watched::once(3.0));
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    check(V2, &frame(FIN | TEXT, b"[null,\"1\",\"phoenix\",\"\xff\",{}]"), 1007).await;
    // A truncated character at the end, and a surrogate.
    check(V1, &frame(FIN | TEXT, b"{\"topic\":\"\xe2\x82"), 1007).await;
    check(V2, &frame(FIN | TEXT, b"\xed\xa0\x80"), 1007).await;
}

#[tokio::test]
async fn fragments_that_are_not_utf8_together_close_with_1007() {
    let fragments = [frame(TEXT, b"[null,\"\xe2"), frame(FIN | CONTINUATION, b"x\"]")].concat();
    check(V2, &fragments, 1007).await;
}

#[tokio::test]
async fn a_binary_message_that_is_no_push_closes_with_1003() {
    check(V2, &frame(FIN | BINARY, b""), 1003).await;
    check(V2, &frame(FIN | BINARY, b"\x07\x00\x00\x00\x00"), 1003).await;
    // The four lengths exceed the rest of the message.
    check(V2, &frame(FIN | BINARY, b"\x00\x01\x01\x09\x05123456789"), 1003).await;
    check(V2, &frame(FIN | BINARY, b"\x00\x01\x01\x01\x0111\xff1payload"), 1003).await;
    check(V1, &frame(FIN | BINARY, b"\x00\x01\x01\x01\x051aevent"), 1003).await;
}

#[tokio::test]
async fn a_binary_push_is_refused_without_effect() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    let push = |topic: &str| {
        let lengths = [0, 1, 2, topic.len() as u8, 5];
        frame(
            FIN | BINARY,
            &[&lengths[..], b"1", b"42", topic.as_bytes(), b"event\x00\xffpayload"].concat(),
        )
    };
    let refusal = |reason: &str| {
        let code = reason.replace(' ', "_");
        json!({ "status": "error", "response": { "reason": reason, "code": code } })
    };
    client.send_bytes(&push("session:a")).await;
    let expected = json!(["1", "42", "session:a", "phx_reply", refusal("unmatched event")]);
    assert_eq!(client.message().await, expected);
    client.send_bytes(&push("session:b")).await;
    let expected = json!([null, "42", "session:b", "phx_reply", refusal("unmatched topic")]);
    assert_eq!(client.message().await, expected);
    client.play("session:a", 0.0).await;
}

#[tokio::test]
async fn an_invalid_message_of_the_second_serializer_closes_with_1008() {
    for text in [
        "",
        "hello",
        "[",
        "{}",
        "null",
        "7",
        r#"[null,"1","phoenix","heartbeat"]"#,
        r#"[null,"1","phoenix","heartbeat",{}"#,
        r#"[null,"1","phoenix","heartbeat",{}] more"#,
        r#"[null,"1",7,"heartbeat",{}]"#,
        r#"[null,"1","phoenix",null,{}]"#,
        r#"[null,{"a":1},"phoenix","heartbeat",{}]"#,
        r#"[true,"1","phoenix","heartbeat",{}]"#,
        r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}"#,
    ] {
        check(V2, &frame(FIN | TEXT, text.as_bytes()), 1008).await;
    }
}

#[tokio::test]
async fn an_invalid_message_of_the_first_serializer_closes_with_1008() {
    for text in [
        "",
        "hello",
        "[]",
        "{}",
        r#"{"topic":"phoenix","payload":{},"ref":"1"}"#,
        r#"{"event":"heartbeat","payload":{},"ref":"1"}"#,
        r#"{"topic":7,"event":"heartbeat","payload":{},"ref":"1"}"#,
        r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":[]}"#,
        r#"[null,"1","phoenix","heartbeat",{}]"#,
    ] {
        check(V1, &frame(FIN | TEXT, text.as_bytes()), 1008).await;
    }
}

#[tokio::test]
async fn json_that_is_nested_without_end_closes_with_1008() {
    let deep = format!(
        "[null,\"1\",\"phoenix\",\"heartbeat\",{}{}]",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    check(V2, &frame(FIN | TEXT, deep.as_bytes()), 1008).await;
    let open = "[".repeat(60_000);
    check(V2, &frame(FIN | TEXT, open.as_bytes()), 1008).await;
}

/// A heartbeat of `bytes` bytes.
fn heartbeat(bytes: usize) -> String {
    let frame = |filling: &str| format!(r#"[null,"1","phoenix","heartbeat",{{"a":"{filling}"}}]"#);
    frame(&"x".repeat(bytes - frame("").len()))
}

#[tokio::test]
async fn a_message_over_64_kib_closes_with_1009() {
    let too_large = heartbeat(MESSAGE_BYTES_MAX + 1);
    check(V2, &frame(FIN | TEXT, too_large.as_bytes()), 1009).await;
    let (start, end) = too_large.split_at(40_000);
    let fragments =
        [frame(TEXT, start.as_bytes()), frame(FIN | CONTINUATION, end.as_bytes())].concat();
    check(V2, &fragments, 1009).await;
    // The length in the header is enough for a refusal, before any payload is sent.
    check(V2, &[&[FIN | TEXT, 0x80 | 127], &u64::MAX.to_be_bytes()[..], &[0; 4]].concat(), 1009)
        .await;
}

#[tokio::test]
async fn a_message_in_fragments_without_end_closes_with_1009() {
    let mut fragments = frame(TEXT, b"");
    fragments.extend(frame(CONTINUATION, b"").repeat(FRAGMENTS_MAX));
    check(V2, &fragments, 1009).await;
}

#[tokio::test]
async fn a_message_may_have_64_kib() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let largest = heartbeat(MESSAGE_BYTES_MAX);
    client.send_text(&largest).await;
    assert_eq!(client.message().await[2], "phoenix");
    let (start, end) = largest.split_at(60_000);
    client.send_bytes(&frame(TEXT, start.as_bytes())).await;
    client.send_bytes(&frame(FIN | CONTINUATION, end.as_bytes())).await;
    assert_eq!(client.message().await[2], "phoenix");
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_closes_with_1002() {
    let heartbeat = br#"[null,"1","phoenix","heartbeat",{}]"#;
    let mut unmasked = vec![FIN | TEXT, heartbeat.len() as u8];
    unmasked.extend(heartbeat);
    check(V2, &unmasked, 1002).await;
    // Reserved bits, an unknown opcode, a continuation without a start, a message within another.
    check(V2, &frame(FIN | 0x40 | TEXT, heartbeat), 1002).await;
    check(V2, &frame(FIN | 0x10 | TEXT, heartbeat), 1002).await;
    check(V2, &frame(FIN | 0x3, heartbeat), 1002).await;
    check(V2, &frame(FIN | 0xB, b""), 1002).await;
    check(V2, &frame(FIN | CONTINUATION, heartbeat), 1002).await;
    check(V2, &[frame(TEXT, b"["), frame(FIN | TEXT, heartbeat)].concat(), 1002).await;
    // Control frames are short and unfragmented.
    check(V2, &frame(PING, b""), 1002).await;
    check(V2, &frame(FIN | PING, &[0; 126]), 1002).await;
    check(V2, &frame(FIN | PONG, &[0; 126]), 1002).await;
    // A close frame has no code or a valid one.
    check(V2, &frame(FIN | CLOSE, b"\x03"), 1002).await;
    check(V2, &frame(FIN | CLOSE, &999_u16.to_be_bytes()), 1002).await;
    check(V2, &frame(FIN | CLOSE, &1005_u16.to_be_bytes()), 1002).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    for payload in [&b""[..], b"\x00\xff", &[7; 125]] {
        client.send_bytes(&frame(FIN | PING, payload)).await;
        assert_eq!(client.next().await, Seen::Pong(payload.to_vec()));
    }
}

#[tokio::test]
async fn a_ping_between_fragments_is_answered() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.send_bytes(&frame(TEXT, b"[null,\"1\",\"phoenix\",")).await;
    client.send_bytes(&frame(FIN | PING, b"between")).await;
    assert_eq!(client.next().await, Seen::Pong(b"between".to_vec()));
    client.send_bytes(&frame(CONTINUATION, b"\"heartbeat\"")).await;
    client.send_bytes(&frame(FIN | CONTINUATION, b",{}]")).await;
    assert_eq!(client.message().await[2], "phoenix");
}

#[tokio::test]
async fn a_pong_without_a_ping_is_ignored() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.send_bytes(&frame(FIN | PONG, b"unasked")).await;
    client.is_quiet().await;
}

/// Closes the websocket, and expects a close frame with one of these codes, and then the end.
async fn check_close(payload: &[u8], expected: &[u16]) {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.send_bytes(&frame(FIN | CLOSE, payload)).await;
    let Seen::Close(code, _) = client.next().await else { panic!("no close frame") };
    assert!(expected.contains(&code), "{code}");
    assert_eq!(client.next().await, Seen::End);
}

#[tokio::test]
async fn a_close_is_answered_with_a_close() {
    check_close(&1000_u16.to_be_bytes(), &[1000]).await;
    check_close(&1001_u16.to_be_bytes(), &[1001]).await;
    check_close(&[&4000_u16.to_be_bytes()[..], b"a reason"].concat(), &[4000]).await;
    check_close(b"", &[1000]).await;
}

#[tokio::test]
async fn events_that_wait_for_the_store_are_acknowledged_before_a_close() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    let event = |name: &str, field: &str, at: u32| {
        let event = json!(["1", at, "session:a", "event", { "name": name, field: at }]).to_string();
        frame(FIN | TEXT, event.as_bytes())
    };
    let close_frame = frame(FIN | CLOSE, &1000_u16.to_be_bytes());
    client
        .send_bytes(&[event("play", "from", 0), event("pause", "to", 9), close_frame].concat())
        .await;
    assert_eq!(client.message().await[4]["status"], "ok");
    assert_eq!(client.message().await[4]["status"], "ok");
    assert_eq!(client.next().await, Seen::Close(1000, String::new()));
    assert_eq!(server.watched("intro").await, Watched::once(9.0));
}

#[tokio::test]
async fn events_before_a_broken_frame_count() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.push("session:a", "event", &json!({ "name": "play", "from": 0 })).await;
    client.push("session:a", "event", &json!({ "name": "pause", "to": 9 })).await;
    client.send_text("nonsense").await;
    assert_eq!(client.message().await[4]["status"], "ok");
    assert_eq!(client.message().await[4]["status"], "ok");
    assert_eq!(client.closed().await.0, 1008);
    assert_eq!(server.watched("intro").await, Watched::once(9.0));
}

#[tokio::test]
async fn a_client_that_sends_on_after_its_mistake_still_receives_the_refusal() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let mut bytes = frame(FIN | TEXT, b"nonsense");
    bytes.extend(frame(FIN | TEXT, br#"[null,"1","phoenix","heartbeat",{}]"#).repeat(1_000));
    client.send_bytes(&bytes).await;
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_does_not_end_in_time_is_refused() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let began = Instant::now();
    let heartbeat = frame(FIN | TEXT, br#"[null,"1","phoenix","heartbeat",{}]"#);
    for byte in &heartbeat[..6] {
        client.send_bytes(&[*byte]).await;
        sleep(Duration::from_secs(1)).await;
    }
    let Seen::Close(code, reason) = client.next_ever().await else { panic!("no close frame") };
    assert_eq!((code, &*reason), (1008, "message took too long"));
    assert_eq!(began.elapsed().as_secs_f64().round(), 10.0);
}

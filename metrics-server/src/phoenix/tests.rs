//! Both versions, row by row: messages of clients and the answers to them.

use metrics_core::containment::DEPTH_MAX;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Version::{V1, V2};
use super::*;

/// A message that reads as the given refs (as JSON), topic, event and payload.
#[track_caller]
fn check(version: Version, text: &str, expected: [&str; 5]) {
    let message = Message::decode(version, text).unwrap();
    let found = [
        &*message.join_ref.0,
        &*message.message_ref.0,
        &*message.topic,
        &*message.event,
        message.payload.get(),
    ];
    assert_eq!(found, expected);
}

#[track_caller]
fn check_refused(version: Version, text: &str, expected: DecodeError) {
    assert_eq!(Message::decode(version, text).err(), Some(expected), "{text}");
}

#[track_caller]
fn check_encoded(message: Outgoing<'_>, v1: &str, v2: &str) {
    for (version, expected) in [(V1, v1), (V2, v2)] {
        let mut out = String::new();
        message.encode(version, &mut out);
        assert_eq!(out, expected);
        serde_json::from_str::<Value>(&out).unwrap();
    }
}

fn reference(json: &str) -> Ref<'static> {
    Ref::from_json(serde_json::from_str(json).unwrap()).unwrap().into_owned()
}

#[test]
fn the_first_number_of_vsn_decides() {
    assert_eq!(Version::from_vsn(None), Some(V1));
    for vsn in ["1", "1.0", "1.0.0", "1.2.3"] {
        assert_eq!(Version::from_vsn(Some(vsn)), Some(V1), "{vsn}");
    }
    for vsn in ["2", "2.0", "2.0.0", "2.10.7"] {
        assert_eq!(Version::from_vsn(Some(vsn)), Some(V2), "{vsn}");
    }
    for vsn in
        ["", "0", "3.0.0", "10.0.0", "20", "2.", ".2", "2..0", "2.x", "2.0.0.0", "v2", " 2", "-2"]
    {
        assert_eq!(Version::from_vsn(Some(vsn)), None, "{vsn}");
    }
}

#[test]
fn the_subprotocol_may_be_one_of_several() {
    for offered in ["phoenix", "phoenix, base64url.bearer.phx.dG9rZW4", "other,phoenix"] {
        assert!(offers_subprotocol(offered), "{offered}");
    }
    for offered in ["", "Phoenix", "phoenixes", "base64url.bearer.phx.dG9rZW4"] {
        assert!(!offers_subprotocol(offered), "{offered}");
    }
}

#[test]
fn v2_is_an_array() {
    check(
        V2,
        r#"[null,"5","phoenix","heartbeat",{}]"#,
        ["null", r#""5""#, "phoenix", "heartbeat", "{}"],
    );
    check(
        V2,
        r#"["1","1","session:x","phx_join",{"key":"a+/="}]"#,
        [r#""1""#, r#""1""#, "session:x", "phx_join", r#"{"key":"a+/="}"#],
    );
    check(
        V2,
        " [ \"1\" , \"2\" , \"t\" , \"event\" , { \"name\" : \"play\" } ] \n",
        [r#""1""#, r#""2""#, "t", "event", r#"{ "name" : "play" }"#],
    );
}

#[test]
fn v1_is_an_object() {
    check(
        V1,
        r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"5"}"#,
        ["null", r#""5""#, "phoenix", "heartbeat", "{}"],
    );
    check(
        V1,
        r#"{"join_ref":"1","ref":"2","payload":[7],"event":"event","topic":"t","extra":{"a":[]}}"#,
        [r#""1""#, r#""2""#, "t", "event", "[7]"],
    );
    check(V1, r#"{"topic":"t","event":"e"}"#, ["null", "null", "t", "e", "null"]);
    check(
        V1,
        r#"{"topic":"a","topic":"b","event":"e","ref":"1","ref":null,"payload":1,"payload":2}"#,
        ["null", "null", "b", "e", "2"],
    );
    check(V1, r#"{"to\u0070ic":"t","event":"e"}"#, ["null", "null", "t", "e", "null"]);
}

#[test]
fn refs_stay_as_they_came() {
    for text in ["7", "-1.50e2", "null", r#""""#, r#""\u0031\"""#, "\"\u{e9}\""] {
        let expected = [text, text, "t", "e", "{}"];
        check(V2, &format!(r#"[{text},{text},"t","e",{{}}]"#), expected);
        let v1 =
            format!(r#"{{"join_ref":{text},"ref":{text},"topic":"t","event":"e","payload":{{}}}}"#);
        check(V1, &v1, expected);
    }
    let longest = format!("\"{}\"", "7".repeat(REF_BYTES_MAX - 2));
    check(V2, &format!(r#"[null,{longest},"t","e",0]"#), ["null", &longest, "t", "e", "0"]);
}

#[test]
fn refs_are_short_scalars() {
    let too_long = format!("\"{}\"", "7".repeat(REF_BYTES_MAX - 1));
    for text in ["true", "false", "[]", "{}", &too_long] {
        check_refused(V2, &format!(r#"[{text},"1","t","e",{{}}]"#), DecodeError::Ref);
        check_refused(V2, &format!(r#"["1",{text},"t","e",{{}}]"#), DecodeError::Ref);
        check_refused(
            V1,
            &format!(r#"{{"ref":{text},"topic":"t","event":"e"}}"#),
            DecodeError::Ref,
        );
    }
}

#[test]
fn a_sixth_element_is_ignored() {
    let expected = ["1", "2", "t", "e", "{}"];
    check(V2, r#"[1,2,"t","e",{},"six"]"#, expected);
    check(V2, r#"[1,2,"t","e",{},{"six":[]},7]"#, expected);
}

#[test]
fn text_may_have_escapes() {
    let text = r#"["1","2","session:\u00e9\"\\\n\ud83c\udfac","e\u0076ent",{}]"#;
    let message = Message::decode(V2, text).unwrap();
    assert_eq!(message.topic, "session:\u{e9}\"\\\n\u{1F3AC}");
    assert_eq!(message.event, "event");
    let plain = Message::decode(V2, r#"["1","2","session:x","event",{}]"#).unwrap();
    assert!(matches!((plain.topic, plain.event), (Cow::Borrowed(_), Cow::Borrowed(_))));
}

#[test]
fn an_invalid_message_is_refused() {
    for text in [
        "",
        "hello",
        "null",
        "7",
        r#""text""#,
        "{}",
        "[]",
        r#"[null,"1","t","e"]"#,
        r#"[null,"1","t","e",{}"#,
        r#"[null,"1","t","e",{}]]"#,
        r#"[null,"1","t","e",{},]"#,
        r#"[null,"1","t","e",{}] x"#,
        r#"[null,"1",null,"e",{}]"#,
        r#"[null,"1","t",7,{}]"#,
        r#"[null,"1","\ud83c","e",{}]"#,
        r#"[null,"1","t","e",undefined]"#,
        r#"[null,'1',"t","e",{}]"#,
        r#"{"topic":"t","event":"e","payload":{},"ref":"1"}"#,
    ] {
        check_refused(V2, text, DecodeError::NotAnArray);
    }
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"topic":"t"}"#,
        r#"{"event":"e"}"#,
        r#"{"topic":null,"event":"e"}"#,
        r#"{"topic":"t","event":7}"#,
        r#"{"topic":"t","event":"e"}}"#,
        r#"[null,"1","t","e",{}]"#,
    ] {
        check_refused(V1, text, DecodeError::NotAnObject);
    }
}

#[test]
fn a_topic_has_a_length() {
    let v1 = |topic: &str| format!(r#"{{"topic":"{topic}","event":"e"}}"#);
    let v2 = |topic: &str| format!(r#"["1","2","{topic}","e",{{}}]"#);
    let (longest, longer) = ("x".repeat(TOPIC_BYTES_MAX), "x".repeat(TOPIC_BYTES_MAX + 1));
    assert!(Message::decode(V1, &v1(&longest)).is_ok());
    assert!(Message::decode(V2, &v2(&longest)).is_ok());
    check_refused(V1, &v1(&longer), DecodeError::Topic);
    check_refused(V2, &v2(&longer), DecodeError::Topic);
}

#[test]
fn a_payload_has_a_depth() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!(r#"["1","2","t","e",{}0{}]"#, open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        assert!(Message::decode(V2, &nested(open, close, DEPTH_MAX)).is_ok());
        check_refused(V2, &nested(open, close, DEPTH_MAX + 1), DecodeError::TooDeep);
        check_refused(V2, &nested(open, close, 10_000), DecodeError::TooDeep);
    }
    let siblings = "[],".repeat(DEPTH_MAX);
    let beside = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"["1","2","t","e",[{siblings}{open}0{close}]]"#)
    };
    assert!(Message::decode(V2, &beside(DEPTH_MAX)).is_ok());
    check_refused(V2, &beside(DEPTH_MAX + 1), DecodeError::TooDeep);
    let wide = format!(r#"["1","2","t","e",[{}[]]]"#, r#"{"[{\"[\\":[]},"#.repeat(1_000));
    assert!(Message::decode(V2, &wide).is_ok(), "brackets in a row or in strings are not depth");
}

#[test]
fn a_binary_push_has_four_fields() {
    let push = BinaryPush {
        join_ref: reference(r#""1""#),
        message_ref: reference(r#""12""#),
        topic: "session:x",
        event: "up",
    };
    let message = b"\0\x01\x02\x09\x02112session:xup\xff\xfe";
    assert_eq!(BinaryPush::decode(V2, message), Ok(push));
    let end_of_event = message.len() - 2;
    for length in 0..end_of_event {
        let cut = BinaryPush::decode(V2, &message[..length]);
        assert_eq!(cut, Err(DecodeError::Binary), "{length}");
    }
    assert!(BinaryPush::decode(V2, &message[..end_of_event]).is_ok(), "an empty payload");
    assert_eq!(BinaryPush::decode(V1, message), Err(DecodeError::Binary));
}

#[test]
fn other_binary_messages_are_refused() {
    assert_eq!(BinaryPush::decode(V2, b"\x01\0\0\0\0"), Err(DecodeError::Binary));
    assert_eq!(BinaryPush::decode(V2, b"[null,1]"), Err(DecodeError::Binary));
    assert_eq!(BinaryPush::decode(V2, b"\0\0\0\x01\0\xff"), Err(DecodeError::Binary));
    let long_ref = [&b"\0\0\xff\0\0"[..], &[b'7'; 255]].concat();
    assert_eq!(BinaryPush::decode(V2, &long_ref), Err(DecodeError::Ref));
}

#[test]
fn the_refs_of_a_binary_push_are_json_strings() {
    let push = BinaryPush::decode(V2, b"\0\0\x02\0\0\"\\").unwrap();
    assert_eq!((push.join_ref, push.message_ref), (reference(r#""""#), reference(r#""\"\\""#)));
}

#[test]
fn replies_carry_the_refs() {
    let (join_ref, message_ref) = (reference(r#""1""#), reference(r#""7""#));
    let reply = |answer| Outgoing::Reply {
        join_ref: &join_ref,
        message_ref: &message_ref,
        topic: "session:x",
        answer,
    };
    check_encoded(
        reply(Answer::Ok),
        r#"{"topic":"session:x","event":"phx_reply","ref":"7","payload":{"status":"ok","response":{}}}"#,
        r#"["1","7","session:x","phx_reply",{"status":"ok","response":{}}]"#,
    );
    check_encoded(
        reply(Answer::Error(Code::UnmatchedEvent, "unmatched event")),
        r#"{"topic":"session:x","event":"phx_reply","ref":"7","payload":{"status":"error","response":{"reason":"unmatched event","code":"unmatched_event"}}}"#,
        r#"["1","7","session:x","phx_reply",{"status":"error","response":{"reason":"unmatched event","code":"unmatched_event"}}]"#,
    );
}

#[test]
fn replies_without_a_join_have_no_join_ref() {
    let (numeric, text) = (reference("5"), reference(r#""5""#));
    check_encoded(
        Outgoing::Reply {
            join_ref: &Ref::NULL,
            message_ref: &text,
            topic: PHOENIX_TOPIC,
            answer: Answer::Ok,
        },
        r#"{"topic":"phoenix","event":"phx_reply","ref":"5","payload":{"status":"ok","response":{}}}"#,
        r#"[null,"5","phoenix","phx_reply",{"status":"ok","response":{}}]"#,
    );
    check_encoded(
        Outgoing::Reply {
            join_ref: &Ref::NULL,
            message_ref: &numeric,
            topic: "room:1",
            answer: Answer::Error(Code::UnmatchedTopic, "unmatched topic"),
        },
        r#"{"topic":"room:1","event":"phx_reply","ref":5,"payload":{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}}"#,
        r#"[null,5,"room:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]"#,
    );
}

#[test]
fn the_end_of_a_channel_carries_the_ref_of_its_join() {
    let (join_ref, topic) = (&reference(r#""1""#), "t");
    check_encoded(
        Outgoing::Close { join_ref, topic },
        r#"{"topic":"t","event":"phx_close","ref":"1","payload":{}}"#,
        r#"["1","1","t","phx_close",{}]"#,
    );
}

#[test]
fn encoded_texts_are_appended_and_escaped() {
    let mut out = String::from("kept ");
    let message = Outgoing::Reply {
        join_ref: &Ref::NULL,
        message_ref: &Ref::NULL,
        topic: "a\"\\\n\u{0}\u{e9}",
        answer: Answer::Error(Code::Bot, "\t"),
    };
    message.encode(V2, &mut out);
    let payload = r#"{"status":"error","response":{"reason":"\t","code":"bot"}}"#;
    let topic = "\"a\\\"\\\\\\n\\u0000\u{e9}\"";
    assert_eq!(out, format!("kept [null,null,{topic},\"phx_reply\",{payload}]"));
}

#[test]
fn a_refusal_fits_in_a_close_frame() {
    for (error, code) in [
        (DecodeError::NotAnObject, 1008),
        (DecodeError::NotAnArray, 1008),
        (DecodeError::Ref, 1008),
        (DecodeError::Topic, 1008),
        (DecodeError::TooDeep, 1008),
        (DecodeError::Binary, 1003),
    ] {
        assert_eq!(error.close_code(), code);
        assert!(error.to_string().len() <= 123, "{error}");
    }
}

/// Refs as clients have them.
fn any_ref() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<u32>().prop_map(Value::from),
        "\\PC{0,9}".prop_map(Value::from)
    ]
}

/// Payloads of any shape.
fn any_payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The obvious way to read a V2 message.
fn model(text: &str) -> Option<Vec<Value>> {
    let message: Vec<Value> = serde_json::from_str(text).ok()?;
    let is_ref = |value: &Value| value.is_null() || value.is_string() || value.is_number();
    let is_message = message.len() >= 5
        && message[..2].iter().all(is_ref)
        && message[2..4].iter().all(Value::is_string);
    is_message.then(|| message[..5].to_vec())
}

/// A message as [`model`] has it.
fn values(message: &Message<'_>) -> Vec<Value> {
    let parse = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    vec![
        parse(&message.join_ref.0),
        parse(&message.message_ref.0),
        json!(message.topic),
        json!(message.event),
        parse(message.payload.get()),
    ]
}

proptest! {
    #[test]
    fn messages_of_a_client_are_decoded(
        join_ref in any_ref(),
        message_ref in any_ref(),
        topic in any::<String>(),
        event in any::<String>(),
        payload in any_payload(),
    ) {
        let expected = vec![join_ref, message_ref, json!(topic), json!(event), payload];
        let [join_ref, message_ref, topic, event, payload] = &expected[..] else { unreachable!() };
        let v1 = json!({
            "topic": topic, "event": event, "payload": payload,
            "ref": message_ref, "join_ref": join_ref,
        });
        let (v1, v2) = (v1.to_string(), json!(expected).to_string());
        prop_assert_eq!(values(&Message::decode(V1, &v1).unwrap()), expected.clone());
        prop_assert_eq!(values(&Message::decode(V2, &v2).unwrap()), expected);
    }

    #[test]
    fn a_damaged_message_is_decoded_as_by_the_model(
        at in 0_usize..44,
        damage in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,2}",
        removed in 0_usize..3,
    ) {
        let mut text = r#"["1","12","session:x","event",{"from":[0.5]}]"#.to_owned();
        text.replace_range(at..(at + removed).min(text.len()), &damage);
        let found = Message::decode(V2, &text).ok().map(|message| values(&message));
        prop_assert_eq!(found, model(&text));
    }

    #[test]
    fn any_text_is_decoded_or_refused(text in any::<String>()) {
        let _ = Message::decode(V1, &text);
        let _ = Message::decode(V2, &text);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        bytes in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..40),
    ) {
        let _ = BinaryPush::decode(V1, &bytes);
        let _ = BinaryPush::decode(V2, &bytes);
    }

    #[test]
    fn encoded_messages_are_valid_json(topic in any::<String>(), reason in any::<String>()) {
        let join_ref = Ref::from_text("1").unwrap();
        let message = Outgoing::Reply {
            join_ref: &join_ref,
            message_ref: &Ref::NULL,
            topic: &topic,
            answer: Answer::Error(Code::Bot, &reason),
        };
        let (mut v1, mut v2) = (String::new(), String::new());
        message.encode(V1, &mut v1);
        message.encode(V2, &mut v2);
        let payload = json!({"status": "error", "response": {"reason": reason, "code": "bot"}});
        prop_assert_eq!(
            serde_json::from_str::<Value>(&v1).unwrap(),
            json!({"topic": topic, "event": "phx_reply", "ref": null, "payload": payload})
        );
        prop_assert_eq!(
            serde_json::from_str::<Value>(&v2).unwrap(),
            json!(["1", null, topic, "phx_reply", payload])
        );
    }
}

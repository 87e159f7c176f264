//! Messages of the channel protocol, compared with a plain JSON parser, and the answers to them.

use std::borrow::Cow;

use metrics_core::containment::is_too_deep;
use serde_json::value::RawValue;

use super::REASON_BYTES_MAX;
use super::members::Members;
use crate::code::Code;
use crate::phoenix::{
    Answer, BinaryPush, DecodeError, Message, Outgoing, REF_BYTES_MAX, Ref, Version,
};

/// The four texts before a payload: refs as JSON, topic and event as they are.
type Head<'a> = [Cow<'a, str>; 4];

/// A message, text or binary, to a server that takes it for any version.
pub fn phoenix(bytes: &[u8]) {
    for version in [Version::V1, Version::V2] {
        binary(version, bytes);
        if let Ok(text) = str::from_utf8(bytes) {
            self::text(version, text);
        }
    }
}

fn text(version: Version, text: &str) {
    let expected = match version {
        Version::V1 => object(text),
        Version::V2 => array(text),
    };
    match (Message::decode(version, text), expected) {
        (Ok(message), Some((head, payload))) => {
            let Message { join_ref, message_ref, topic, event, .. } = &message;
            assert_eq!([join_ref.json(), message_ref.json(), topic, event], head);
            assert_eq!(message.payload.get(), payload);
            let fits = |json: &str| is_short_scalar(json);
            assert!(fits(join_ref.json()) && fits(message_ref.json()));
            assert!(!is_too_deep(&payload));
            answers(version, join_ref, message_ref, topic, event);
        }
        (Err(err), expected) => {
            assert!(err.to_string().len() <= REASON_BYTES_MAX);
            assert_eq!(err.close_code(), 1008);
            match (err, expected) {
                (DecodeError::TooDeep, Some((_, payload))) => assert!(is_too_deep(&payload)),
                (DecodeError::Ref, Some(([join_ref, message_ref, ..], _))) => {
                    assert!(!is_short_scalar(&join_ref) || !is_short_scalar(&message_ref));
                }
                (DecodeError::NotAnArray, None) => assert_eq!(version, Version::V2),
                (DecodeError::NotAnObject, None) => assert_eq!(version, Version::V1),
                (err, expected) => panic!("{err}, but it is {expected:?}"),
            }
        }
        (Ok(message), None) => panic!("it is no message, but read as {message:?}"),
    }
}

/// Reads an array of five elements or more; the third and fourth are texts.
fn array(json: &str) -> Option<(Head<'_>, String)> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let [join_ref, message_ref, topic, event, payload, ..] = elements[..] else { return None };
    let (topic, event) = (string(topic.get())?, string(event.get())?);
    let refs = [join_ref, message_ref].map(|it| Cow::Borrowed(it.get()));
    let [join_ref, message_ref] = refs;
    Some(([join_ref, message_ref, topic, event], payload.get().to_owned()))
}

/// Reads an object; some members are texts, and others may be missing. Of repeated members, the last counts.
fn object(json: &str) -> Option<(Head<'static>, String)> {
    let members = Members::read(json)?;
    // Repeated members must all be texts.
    let texts = members.0.iter().filter(|(name, _)| ["topic", "event"].contains(&name.as_str()));
    if texts.into_iter().any(|(_, json)| string(json.get()).is_none()) {
        return None;
    }
    let or_null = |name| Cow::<str>::Owned(members.last(name).unwrap_or("null").to_owned());
    let (topic, event) = (string(members.last("topic")?)?, string(members.last("event")?)?);
    let payload = or_null("payload").into_owned();
    Some(([or_null("join_ref"), or_null("ref"), topic, event], payload))
}

fn string(json: &str) -> Option<Cow<'static, str>> {
    serde_json::from_str::<String>(json).ok().map(Cow::Owned)
}

fn is_short_scalar(json: &str) -> bool {
    let is_scalar = !matches!(json.as_bytes()[0], b'[' | b'{' | b't' | b'f');
    is_scalar && json.len() <= REF_BYTES_MAX
}

fn binary(version: Version, bytes: &[u8]) {
    let read = BinaryPush::decode(version, bytes);
    let Some(fields) = fields(bytes).filter(|_| version == Version::V2) else {
        assert_eq!(read, Err(DecodeError::Binary));
        assert_eq!(DecodeError::Binary.close_code(), 1003);
        return;
    };
    match read {
        Ok(BinaryPush { join_ref, message_ref, topic, event }) => {
            let refs = [&join_ref, &message_ref].map(|it| string(it.json()).expect("a text"));
            assert_eq!([&*refs[0], &*refs[1], topic, event], fields);
            assert!(is_short_scalar(join_ref.json()) && is_short_scalar(message_ref.json()));
            answers(version, &join_ref, &message_ref, topic, event);
        }
        Err(err) => {
            assert_eq!(err, DecodeError::Ref);
            let lengths =
                fields[..2].iter().map(|field| serde_json::json!(field).to_string().len());
            assert!(lengths.max() > Some(REF_BYTES_MAX));
        }
    }
}

/// The fields of a push: a zero, four lengths, then the bytes of four texts.
fn fields(bytes: &[u8]) -> Option<[&str; 4]> {
    let lengths = bytes.get(1..5).filter(|_| bytes[0] == 0)?;
    let mut at = 5;
    let mut fields = [""; 4];
    for (field, length) in fields.iter_mut().zip(lengths) {
        let end = at + usize::from(*length);
        *field = str::from_utf8(bytes.get(at..end)?).ok()?;
        at = end;
    }
    Some(fields)
}

/// Answers are JSON, with the refs byte for byte as they came.
fn answers(version: Version, join_ref: &Ref<'_>, message_ref: &Ref<'_>, topic: &str, text: &str) {
    let reply = |answer| Outgoing::Reply { join_ref, message_ref, topic, answer };
    let ok = r#"{"status":"ok","response":{}}"#;
    answer(version, reply(Answer::Ok), [join_ref, message_ref], topic, "phx_reply", ok);
    let reason = serde_json::json!(text);
    let error = format!(r#"{{"status":"error","response":{{"reason":{reason},"code":"bot"}}}}"#);
    answer(
        version,
        reply(Answer::Error(Code::Bot, text)),
        [join_ref, message_ref],
        topic,
        "phx_reply",
        &error,
    );
    let close = Outgoing::Close { join_ref, topic };
    answer(version, close, [join_ref, join_ref], topic, "phx_close", "{}");
}

fn answer(
    version: Version,
    outgoing: Outgoing<'_>,
    [join_ref, message_ref]: [&Ref<'_>; 2],
    topic: &str,
    event: &str,
    payload: &str,
) {
    let mut out = "kept:".to_owned();
    outgoing.encode(version, &mut out);
    let text = out.strip_prefix("kept:").expect("what was there stays");
    let (found, found_payload) = match version {
        Version::V1 => object(text).expect("an object"),
        Version::V2 => array(text).expect("an array"),
    };
    // V1 has no join ref in messages of the server.
    let join_ref = if version == Version::V1 { "null" } else { join_ref.json() };
    assert_eq!(found, [join_ref, message_ref.json(), topic, event]);
    assert_eq!(found_payload, payload);
    assert!(Message::decode(version, text).is_ok(), "what is sent can be read");
}

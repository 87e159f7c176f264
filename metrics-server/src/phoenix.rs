//! The Phoenix channel protocol as values: text in, [`Message`]; [`Outgoing`], text out.
//!
//! No I/O and no state: `channel.rs` keeps the joined topics. A message borrows from its text. Its payload is not
//! parsed here, only checked to be well-formed JSON and not too deep; its refs are kept as their original JSON, and are
//! sent back byte for byte.

use std::borrow::Cow;
use std::str;

use metrics_core::containment::is_too_deep;
use serde_json::value::RawValue;

use crate::code::Code;
use envelope::{Array, Object};

mod envelope;

/// The websocket subprotocol that newer clients offer, and that the server must then select.
pub(crate) const SUBPROTOCOL: &str = "phoenix";

/// The event that joins a topic.
const JOIN: &str = "phx_join";

/// The topic of heartbeats. It is never joined.
pub(crate) const PHOENIX_TOPIC: &str = "phoenix";

/// The longest message in bytes, in one websocket frame, in fragments or in a request. The largest join has 16 KiB of
/// metadata, as much session data, and URLs: this leaves space for it and its escapes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The longest ref. Clients count up from 1, and a joined channel keeps one as long as it lives.
pub(crate) const REF_BYTES_MAX: usize = 64;

/// The longest topic. A session's id has 256 bytes at most; replies repeat the topic, also of a refused message.
pub(crate) const TOPIC_BYTES_MAX: usize = 1_024;

/// Whether [`SUBPROTOCOL`] is among those a `Sec-WebSocket-Protocol` header offers.
pub(crate) fn offers_subprotocol(header: &str) -> bool {
    header.split(',').any(|offered| offered.trim() == SUBPROTOCOL)
}

/// The serializer a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    /// Messages are JSON objects.
    V1,
    /// Messages are JSON arrays.
    V2,
}

impl Version {
    /// Reads the parameter `vsn` of a connection: a version of up to three numbers; the first decides. If it is absent,
    /// the version is V1; `None` is an unknown version.
    pub(crate) fn from_vsn(vsn: Option<&str>) -> Option<Self> {
        let Some(vsn) = vsn else { return Some(Self::V1) };
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if vsn.split('.').count() > 3 || !vsn.split('.').all(is_number) {
            return None;
        }
        match vsn.split('.').next() {
            Some("1") => Some(Self::V1),
            Some("2") => Some(Self::V2),
            _ => None,
        }
    }
}

/// A message from a client.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// The ref of the join that the client believes the topic has. V1 clients leave it out.
    pub(crate) join_ref: Ref<'a>,
    /// The message's own ref, for its reply. The wire calls it `ref`.
    pub(crate) message_ref: Ref<'a>,
    /// The subject of the message: `session:<id>`, or [`PHOENIX_TOPIC`].
    pub(crate) topic: Cow<'a, str>,
    /// The name of the event: `phx_join`, `heartbeat`, `event`.
    pub(crate) event: Cow<'a, str>,
    /// The payload: well-formed JSON, not [too deep](is_too_deep). Parsing it can still fail, on an
    /// escape that is half a surrogate pair or a number out of range.
    pub(crate) payload: &'a RawValue,
}

impl<'a> Message<'a> {
    /// Reads a text message. Extra elements (V2) and members (V1) are ignored; a repeated member
    /// counts as it came last. In V1 `payload` and the refs may be missing, and are then null.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]; never [`DecodeError::Binary`].
    pub(crate) fn decode(version: Version, text: &'a str) -> Result<Self, DecodeError> {
        let envelope = match version {
            Version::V1 => {
                serde_json::from_str::<Object<'_>>(text).map_err(|_| DecodeError::NotAnObject)?.0
            }
            Version::V2 => {
                serde_json::from_str::<Array<'_>>(text).map_err(|_| DecodeError::NotAnArray)?.0
            }
        };
        if TOPIC_BYTES_MAX < envelope.topic.len() {
            return Err(DecodeError::Topic);
        }
        if is_too_deep(envelope.payload.get()) {
            return Err(DecodeError::TooDeep);
        }
        Ok(Self {
            join_ref: Ref::from_json(envelope.join_ref)?,
            message_ref: Ref::from_json(envelope.message_ref)?,
            topic: envelope.topic,
            event: envelope.event,
            payload: envelope.payload,
        })
    }

    /// Whether the message asks to join its topic.
    pub(crate) fn is_join(&self) -> bool {
        self.event == JOIN
    }
}

/// A push with a binary payload, which only V2 has. No event of ours has one: the only possible reply is an error, so
/// the payload is omitted.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct BinaryPush<'a> {
    /// As in [`Message`].
    pub(crate) join_ref: Ref<'a>,
    /// As in [`Message`].
    pub(crate) message_ref: Ref<'a>,
    /// As in [`Message`].
    pub(crate) topic: &'a str,
    /// As in [`Message`].
    pub(crate) event: &'a str,
}

impl<'a> BinaryPush<'a> {
    /// Reads a binary message: `0`, the lengths of the four fields, the fields, the payload.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Binary`] if it is anything else; [`DecodeError::Ref`] if a ref is too long.
    pub(crate) fn decode(version: Version, message: &'a [u8]) -> Result<Self, DecodeError> {
        const KIND_PUSH: u8 = 0;
        let (Version::V2, Some(([KIND_PUSH, lengths @ ..], mut rest))) =
            (version, message.split_first_chunk::<5>())
        else {
            return Err(DecodeError::Binary);
        };
        let mut fields = [""; 4];
        for (field, length) in fields.iter_mut().zip(lengths) {
            let (bytes, tail) =
                rest.split_at_checked(usize::from(*length)).ok_or(DecodeError::Binary)?;
            *field = str::from_utf8(bytes).map_err(|_| DecodeError::Binary)?;
            rest = tail;
        }
        let [join_ref, message_ref, topic, event] = fields;
        Ok(Self {
            join_ref: Ref::from_text(join_ref)?,
            message_ref: Ref::from_text(message_ref)?,
            topic,
            event,
        })
    }
}

/// The ref of a message or of a join: a JSON string, number or null, as the client wrote it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Ref<'a>(
    // Invariant: JSON text, at most REF_BYTES_MAX.
    Cow<'a, str>,
);

impl<'a> Ref<'a> {
    /// No ref.
    pub(crate) const NULL: Ref<'static> = Ref(Cow::Borrowed("null"));

    /// Whether the ref is null.
    pub(crate) fn is_null(&self) -> bool {
        *self == Self::NULL
    }

    /// The ref as JSON.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn json(&self) -> &str {
        &self.0
    }

    /// Copies the ref, so that a channel can keep it after the message.
    pub(crate) fn into_owned(self) -> Ref<'static> {
        Ref(Cow::Owned(self.0.into_owned()))
    }

    fn from_json(json: &'a RawValue) -> Result<Self, DecodeError> {
        let json = json.get();
        let is_scalar = matches!(json.as_bytes(), [b'"' | b'-' | b'0'..=b'9' | b'n', ..]);
        if !is_scalar || json.len() > REF_BYTES_MAX {
            return Err(DecodeError::Ref);
        }
        Ok(Self(Cow::Borrowed(json)))
    }

    fn from_text(text: &str) -> Result<Self, DecodeError> {
        let mut json = String::with_capacity(text.len() + 2);
        push_json(&mut json, text);
        if json.len() > REF_BYTES_MAX {
            return Err(DecodeError::Ref);
        }
        Ok(Self(Cow::Owned(json)))
    }
}

/// Why a message could not be read. Each reason ends the connection.
///
/// Its text is the reason to close the websocket with: a close frame holds 123 bytes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// A V1 message is not an object with the required members.
    #[error("expected a JSON object with topic, event, payload and ref")]
    NotAnObject,
    /// A V2 message is not an array of the required elements.
    #[error("expected a JSON array: join_ref, ref, topic, event, payload")]
    NotAnArray,
    /// A ref is no string, number or null, or is longer than [`REF_BYTES_MAX`].
    #[error("expected refs to be short strings, numbers or null")]
    Ref,
    /// The topic is longer than [`TOPIC_BYTES_MAX`].
    #[error("expected a shorter topic")]
    Topic,
    /// The payload is [too deep](is_too_deep).
    #[error("payload nested too deeply")]
    TooDeep,
    /// A binary message is not a V2 push.
    #[error("binary message is not a push")]
    Binary,
}

impl From<DecodeError> for Code {
    fn from(err: DecodeError) -> Self {
        match err {
            DecodeError::NotAnObject
            | DecodeError::NotAnArray
            | DecodeError::Ref
            | DecodeError::Topic
            | DecodeError::Binary => Self::InvalidMessage,
            DecodeError::TooDeep => Self::TooDeep,
        }
    }
}

impl DecodeError {
    /// The code to close the websocket with.
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::NotAnObject | Self::NotAnArray | Self::Ref | Self::Topic | Self::TooDeep => 1008,
            Self::Binary => 1003,
        }
    }
}

/// A message to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outgoing<'a> {
    /// The answer to a message.
    Reply {
        /// The ref of the topic's join, null if there is none.
        join_ref: &'a Ref<'a>,
        /// The ref of the message that is answered.
        message_ref: &'a Ref<'a>,
        /// The topic of the message that is answered.
        topic: &'a str,
        /// The answer.
        answer: Answer<'a>,
    },
    /// `phx_close`: the channel ends normally.
    Close {
        /// The ref of the join that ends. Clients drop a close whose ref is not their join's.
        join_ref: &'a Ref<'a>,
        /// The topic that was joined.
        topic: &'a str,
    },
}

/// The content of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer<'a> {
    /// Done.
    Ok,
    /// Refused, for this reason.
    Error(Code, &'a str),
}

impl Outgoing<'_> {
    /// Appends the text of the message to `out`.
    pub(crate) fn encode(self, version: Version, out: &mut String) {
        let (join_ref, message_ref, topic, event) = match self {
            Self::Reply { join_ref, message_ref, topic, .. } => {
                (join_ref, message_ref, topic, "phx_reply")
            }
            Self::Close { join_ref, topic } => (join_ref, join_ref, topic, "phx_close"),
        };
        match version {
            Version::V1 => {
                out.push_str("{\"topic\":");
                push_json(out, topic);
                push_all(out, [",\"event\":\"", event, "\",\"ref\":", &message_ref.0]);
                out.push_str(",\"payload\":");
                self.push_payload(out);
                out.push('}');
            }
            Version::V2 => {
                push_all(out, ["[", &join_ref.0, ",", &message_ref.0, ","]);
                push_json(out, topic);
                push_all(out, [",\"", event, "\","]);
                self.push_payload(out);
                out.push(']');
            }
        }
    }

    fn push_payload(self, out: &mut String) {
        match self {
            Self::Reply { answer: Answer::Ok, .. } => {
                out.push_str("{\"status\":\"ok\",\"response\":{}}");
            }
            Self::Reply { answer: Answer::Error(code, reason), .. } => {
                out.push_str("{\"status\":\"error\",\"response\":{\"reason\":");
                push_json(out, reason);
                push_all(out, [",\"code\":\"", code.as_str(), "\"}}"]);
            }
            Self::Close { .. } => out.push_str("{}"),
        }
    }
}

/// Appends several pieces of text.
fn push_all<const N: usize>(out: &mut String, pieces: [&str; N]) {
    for piece in pieces {
        out.push_str(piece);
    }
}

/// Appends a JSON string. Topics and reasons hardly ever need an escape, and cost no allocation.
pub(crate) fn push_json(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        push_all(out, ["\"", text, "\""]);
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests;

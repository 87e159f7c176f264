//! Messages of the channel protocol, in the second serializer, over any transport.

use serde_json::{Value, json};

/// The numbers of the messages of a client.
#[derive(Debug, Default)]
pub(crate) struct Refs(u32);

impl Refs {
    /// A message, and its ref.
    pub(crate) fn compose(&mut self, topic: &str, event: &str, payload: &Value) -> (Value, String) {
        self.0 += 1;
        let message_ref = self.0.to_string();
        let join_ref = if event == "phx_join" { json!(message_ref) } else { Value::Null };
        (json!([join_ref, message_ref, topic, event, payload]), message_ref)
    }
}

/// The result in the reply to a message, if this is its reply: null for ok, or else the reason.
#[track_caller]
pub(crate) fn outcome_of(message: &Value, message_ref: &str) -> Option<Value> {
    let is_reply = message[1] == message_ref && message[3] == "phx_reply";
    is_reply.then(|| outcome(&message[4]))
}

/// The result in the payload of a reply: null for ok, or else the reason.
#[track_caller]
pub(crate) fn outcome(payload: &Value) -> Value {
    if *payload == json!({ "status": "ok", "response": {} }) {
        return Value::Null;
    }
    assert_eq!(payload["status"], "error", "{payload}");
    assert!(payload["response"]["reason"].is_string(), "{payload}");
    assert!(payload["response"]["code"].is_string(), "{payload}");
    payload["response"]["reason"].clone()
}

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

/// The calls of a client, which has the methods `push` and `message`, and a key of its server in a field.
macro_rules! calls {
    ($($key:ident).+) => {
        /// Sends a message and returns the result of its reply: null for ok, or else the reason.
        pub async fn call(&mut self, topic: &str, event: &str, payload: &Value) -> Value {
            let message_ref = self.push(topic, event, payload).await;
            self.answer_to(&message_ref).await
        }

        /// Waits for the reply to a message, skipping others.
        pub async fn answer_to(&mut self, message_ref: &str) -> Value {
            loop {
                let message = self.message().await;
                if message[1] == message_ref && message[3] == "phx_reply" {
                    return $crate::channel::outcome(&message[4]);
                }
            }
        }

        /// Joins a topic, to watch the video with this identifier.
        pub async fn join(&mut self, topic: &str, identifier: &str) {
            let payload = json!({ "key": self.$($key).+, "identifier": identifier });
            assert_eq!(self.call(topic, "phx_join", &payload).await, Value::Null);
        }
    };
}

pub(crate) use calls;

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

//! A client of the channel protocol over long polling.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::channel::{Refs, calls};
use crate::{CHROME, Http, Server};

const PATH: &str = "/socket/longpoll";

/// A long-polling session, and the parameters of the page that opened it.
#[derive(Debug)]
pub struct Poller {
    /// Names the session in every request.
    pub token: String,
    server: Server,
    // The parameters of the page.
    query: String,
    // Messages that a poll returned and the test has not read yet.
    messages: VecDeque<Value>,
    refs: Refs,
}

impl Poller {
    /// Opens a session in the second serializer.
    pub async fn open(server: &Server) -> Self {
        Self::open_as(server, "vsn=2.0.0", &[("user-agent", CHROME)]).await
    }

    /// Opens a session with these parameters and headers.
    pub async fn open_as(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        let opened = Self::try_open(server, query, headers).await;
        assert_eq!((&opened["status"], &opened["messages"]), (&json!(410), &json!([])), "{opened}");
        let token = opened["token"].as_str().unwrap().to_owned();
        let (server, messages) = (server.clone(), VecDeque::new());
        Self { token, server, query: query.to_owned(), messages, refs: Refs::default() }
    }

    /// Requests a session, and returns the response.
    pub async fn try_open(server: &Server, query: &str, headers: &[(&str, &str)]) -> Value {
        let mut http = server.http("GET", PATH).query(query);
        for (name, value) in headers {
            http = http.header(name, value);
        }
        answer(http).await
    }

    /// The same client, with another server as the receiver of its requests.
    pub fn at(self, server: &Server) -> Self {
        Self { server: server.clone(), ..self }
    }

    /// A request of this session.
    pub fn http(&self, method: &str) -> Http {
        self.server.http(method, PATH).query(&format!("{}&token={}", self.query, self.token))
    }

    /// Polls once, however long that takes, and returns the response.
    pub async fn poll(&self) -> Value {
        answer(self.http("GET")).await
    }

    /// Posts one message, valid or not, and returns the response.
    pub async fn post(&self, body: impl Into<Vec<u8>>) -> Value {
        answer(self.http("POST").header("content-type", "application/json").body(body)).await
    }

    /// A request with several messages at once, as Phoenix's clients send since 1.7.
    pub fn lines(&self, messages: &[Value]) -> Http {
        let lines: Vec<_> = messages.iter().map(Value::to_string).collect();
        let http = self.http("POST").header("content-type", "application/x-ndjson");
        http.body(lines.join("\n"))
    }

    /// Posts several messages at once, and returns the response.
    pub async fn post_lines(&self, messages: &[Value]) -> Value {
        answer(self.lines(messages)).await
    }

    /// Waits for the next message, and repeats empty polls.
    pub async fn message(&mut self) -> Value {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            let polled = self.poll().await;
            assert_eq!(polled["token"], self.token, "{polled}");
            let messages = polled["messages"].as_array().unwrap();
            let expected = if messages.is_empty() { 204 } else { 200 };
            assert_eq!(polled["status"], expected, "{polled}");
            self.messages.extend(messages.iter().map(|message| match message {
                Value::String(text) => serde_json::from_str(text).unwrap(),
                object => object.clone(),
            }));
        }
    }

    /// A message in the second serializer, and its ref.
    pub fn compose(&mut self, topic: &str, event: &str, payload: &Value) -> (Value, String) {
        self.refs.compose(topic, event, payload)
    }

    /// Sends a message, without waiting for the reply.
    pub async fn push(&mut self, topic: &str, event: &str, payload: &Value) -> String {
        let (message, message_ref) = self.compose(topic, event, payload);
        assert_eq!(self.post(message.to_string()).await, json!({ "status": 200 }));
        message_ref
    }

    calls!(server.key);

    /// Plays from a second of the video.
    pub async fn play(&mut self, topic: &str, from: f64) {
        let play = json!({ "name": "play", "from": from });
        assert_eq!(self.call(topic, "event", &play).await, Value::Null);
    }

    /// Pauses at a second of the video.
    pub async fn pause(&mut self, topic: &str, to: f64) {
        let pause = json!({ "name": "pause", "to": to });
        assert_eq!(self.call(topic, "event", &pause).await, Value::Null);
    }
}

/// Sends a request, and returns the body of the response. The protocol has a status of its own; that of HTTP is always
/// the same.
async fn answer(http: Http) -> Value {
    let answer = http.send_untimed().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
    answer.json()
}

//! A client of the channel protocol over a websocket.

use std::io;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::channel::{Refs, calls, outcome};
use crate::http::{Answer, Http};
use crate::soon;
use crate::websocket::{CLOSE, FIN, Input, PING, PONG, TEXT, frame, handshake};

/// A message from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A text message.
    Text(String),
    /// A pong and its payload.
    Pong(Vec<u8>),
    /// A close frame: its code and its reason.
    Close(u16, String),
    /// The end of the connection.
    End,
}

/// A websocket, and the key and the response of the page that opened it.
#[derive(Debug)]
pub struct Client {
    /// The response to the upgrade.
    pub answer: Answer,
    /// A valid key of the server.
    pub key: String,
    reader: Reader,
    writer: OwnedWriteHalf,
    refs: Refs,
}

/// The reading half of a websocket.
#[derive(Debug)]
pub struct Reader {
    socket: OwnedReadHalf,
    input: Input,
}

impl Client {
    /// Upgrades a request to a websocket.
    ///
    /// # Errors
    ///
    /// The response, if it is not an upgrade.
    pub async fn upgrade(http: Http, key: String) -> Result<Self, Answer> {
        Self::upgrade_with(http, key, &[]).await
    }

    /// Upgrades a request, and sends bytes right after it, like a client that does not wait.
    ///
    /// # Errors
    ///
    /// The response, if it is not an upgrade.
    pub async fn upgrade_with(http: Http, key: String, rest: &[u8]) -> Result<Self, Answer> {
        soon(Self::try_upgrade(http, key, rest)).await.expect("a server that answers")
    }

    /// Upgrades a request of a server that may be down or stop.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn try_upgrade(
        http: Http,
        key: String,
        rest: &[u8],
    ) -> io::Result<Result<Self, Answer>> {
        let mut stream = TcpStream::connect(http.address()).await?;
        Ok(handshake(&mut stream, http, rest).await?.map(|(answer, input)| {
            let (socket, writer) = stream.into_split();
            Self { answer, key, reader: Reader { socket, input }, writer, refs: Refs::default() }
        }))
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.writer.write_all(bytes)).await.unwrap();
    }

    /// Sends bytes as they are; returns false if the server is down.
    pub async fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        soon(self.writer.write_all(bytes)).await.is_ok()
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) {
        self.send_bytes(&frame(FIN | TEXT, text.as_bytes())).await;
    }

    /// Sends a message, serialized as JSON.
    pub async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Splits the websocket, to write and read at the same time.
    pub fn split(self) -> (Reader, OwnedWriteHalf) {
        (self.reader, self.writer)
    }

    /// Waits for the next message from the server, for at most `WAIT`.
    pub async fn next(&mut self) -> Seen {
        self.reader.next().await
    }

    /// Waits for the next message from the server without a timeout.
    pub async fn next_ever(&mut self) -> Seen {
        self.reader.next_ever().await
    }

    /// Waits for the next message, skipping pongs.
    pub async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                Seen::Text(text) => return text,
                Seen::Pong(_) => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// Waits for the next message, skipping pongs, and parses it.
    pub async fn message(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Waits for the close frame, skipping other messages, and for the end of the connection after it.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Seen::Close(code, reason) => {
                    self.try_send_bytes(&frame(FIN | CLOSE, &code.to_be_bytes())).await;
                    assert_eq!(self.next().await, Seen::End);
                    return (code, reason);
                }
                Seen::End => panic!("the connection ended without a close frame"),
                _ => {}
            }
        }
    }

    /// Checks that the pong to a ping is the next message: the server sent no other, and owes no reply.
    pub async fn is_quiet(&mut self) {
        self.send_bytes(&frame(FIN | PING, b"quiet?")).await;
        assert_eq!(self.next().await, Seen::Pong(b"quiet?".to_vec()));
    }

    /// Sends a message of the second serializer, without waiting for the reply.
    pub async fn push(&mut self, topic: &str, event: &str, payload: &Value) -> String {
        let (message, message_ref) = self.refs.compose(topic, event, payload);
        self.send(&message).await;
        message_ref
    }

    calls!(key);

    /// Sends an event, and expects the server to accept it.
    pub async fn event(&mut self, topic: &str, payload: &Value) {
        assert_eq!(self.call(topic, "event", payload).await, Value::Null, "{payload}");
    }

    /// Sends an event that must be accepted; returns false if the connection ends.
    pub async fn try_event(&mut self, topic: &str, payload: &Value) -> bool {
        let message = json!([null, "event", topic, "event", payload]).to_string();
        if !self.try_send_bytes(&frame(FIN | TEXT, message.as_bytes())).await {
            return false;
        }
        match self.next().await {
            Seen::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                assert_eq!((&message[1], outcome(&message[4])), (&json!("event"), Value::Null));
                true
            }
            Seen::End => false,
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// Plays from a second of the video.
    pub async fn play(&mut self, topic: &str, from: f64) {
        self.event(topic, &json!({ "name": "play", "from": from })).await;
    }

    /// Pauses at a second of the video.
    pub async fn pause(&mut self, topic: &str, to: f64) {
        self.event(topic, &json!({ "name": "pause", "to": to })).await;
    }
}

impl Reader {
    /// Waits for the next message from the server, for at most `WAIT`.
    pub async fn next(&mut self) -> Seen {
        soon(self.next_ever()).await
    }

    /// Waits for the next message from the server without a timeout.
    pub async fn next_ever(&mut self) -> Seen {
        loop {
            match self.input.next(Seen::read).expect("a frame as a server sends it") {
                Some(seen) => return seen,
                None if self.input.fill(&mut self.socket).await.is_err() => return Seen::End,
                None => {}
            }
        }
    }
}

impl Seen {
    fn read(first: u8, payload: &[u8]) -> Self {
        let utf8 = |bytes: &[u8]| str::from_utf8(bytes).expect("UTF-8").to_owned();
        match first.checked_sub(FIN) {
            Some(TEXT) => Self::Text(utf8(payload)),
            Some(PONG) => Self::Pong(payload.to_vec()),
            Some(CLOSE) => {
                let (code, reason) = payload.split_first_chunk().expect("a code");
                Self::Close(u16::from_be_bytes(*code), utf8(reason))
            }
            _ => panic!("the server sent a frame that begins with {first:#x}"),
        }
    }
}

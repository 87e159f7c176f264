//! A client of the channel protocol. It writes frames by hand, so that it can also write wrong ones.

use std::io;

use fastwebsockets::{OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::http::{Answer, Http, split_head};
use super::soon;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
pub(crate) const FIN: u8 = 0x80;

/// A key of RFC 6455, section 1.3, and what a server must make of it.
const HANDSHAKE: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

/// A masked frame: the first byte is FIN, reserved bits and the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What the server said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Text(String),
    Pong(Vec<u8>),
    /// A close frame: its code and its reason.
    Close(u16, String),
    /// The end of the connection.
    End,
}

/// A websocket, and what a page knows that opened it.
pub(crate) struct Client {
    /// The answer to the upgrade.
    pub(crate) answer: Answer,
    pub(crate) key: String,
    reader: Reader,
    writer: OwnedWriteHalf,
    last_ref: u32,
}

/// The half of a websocket that reads.
pub(crate) struct Reader {
    socket: WebSocketRead<OwnedReadHalf>,
}

impl Client {
    /// Turns a request into a websocket, or returns the answer that it got instead.
    pub(crate) async fn upgrade(http: Http, key: String) -> Result<Self, Answer> {
        Self::upgrade_with(http, key, &[]).await
    }

    /// The same, with bytes that follow the request at once, as a client sends them that does not wait.
    pub(crate) async fn upgrade_with(http: Http, key: String, rest: &[u8]) -> Result<Self, Answer> {
        soon(Self::try_upgrade(http, key, rest)).await.expect("a server that answers")
    }

    /// The same, when the server may be gone, or go.
    pub(crate) async fn try_upgrade(
        http: Http,
        key: String,
        rest: &[u8],
    ) -> io::Result<Result<Self, Answer>> {
        let mut stream = TcpStream::connect(http.address()).await?;
        stream.set_nodelay(true)?;
        let request = http
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", HANDSHAKE.0);
        stream.write_all(&[request.bytes().as_slice(), rest].concat()).await?;
        // Byte by byte: what follows the head is not of HTTP any more.
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n\r\n") {
            received.push(stream.read_u8().await?);
        }
        let (head, _) = split_head(&received).expect("it ends like a head");
        let mut answer = Answer::parse(head);
        if answer.status != 101 {
            let length = answer.header("content-length").map_or(0, |len| len.parse().unwrap());
            answer.body = vec![0; length];
            stream.read_exact(&mut answer.body).await?;
            return Ok(Err(answer));
        }
        assert_eq!(answer.header("sec-websocket-accept"), Some(HANDSHAKE.1));
        let (read, writer) = stream.into_split();
        let (mut socket, _) = after_handshake_split(read, tokio::io::sink(), Role::Client);
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        Ok(Ok(Self { answer, key, reader: Reader { socket }, writer, last_ref: 0 }))
    }

    /// Sends whatever it is.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.writer.write_all(bytes)).await.unwrap();
    }

    /// The same, when the server may have gone.
    pub(crate) async fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        soon(self.writer.write_all(bytes)).await.is_ok()
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_bytes(&frame(FIN | TEXT, text.as_bytes())).await;
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Its halves, to write and read at the same time.
    pub(crate) fn split(self) -> (Reader, OwnedWriteHalf) {
        (self.reader, self.writer)
    }

    /// Waits for the next thing that the server says.
    pub(crate) async fn next(&mut self) -> Seen {
        self.reader.next().await
    }

    /// The same, however long it takes.
    pub(crate) async fn next_ever(&mut self) -> Seen {
        self.reader.next_ever().await
    }

    /// Waits for the next message, over pongs.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                Seen::Text(text) => return text,
                Seen::Pong(_) => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Waits for the close frame, over whatever comes before it, and for the end after it.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
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

    /// Nothing that was said before is still unanswered, and nothing else was said.
    pub(crate) async fn is_quiet(&mut self) {
        self.send_bytes(&frame(FIN | PING, b"quiet?")).await;
        assert_eq!(self.next().await, Seen::Pong(b"quiet?".to_vec()));
    }

    /// Sends a message of the second serializer, without a wait for the answer.
    pub(crate) async fn push(&mut self, topic: &str, event: &str, payload: &Value) -> String {
        self.last_ref += 1;
        let message_ref = self.last_ref.to_string();
        let join_ref = if event == "phx_join" { json!(message_ref) } else { Value::Null };
        self.send(&json!([join_ref, message_ref, topic, event, payload])).await;
        message_ref
    }

    /// Sends a message and returns what the answer to it says: null for ok, or else the reason.
    pub(crate) async fn call(&mut self, topic: &str, event: &str, payload: &Value) -> Value {
        let message_ref = self.push(topic, event, payload).await;
        self.answer_to(&message_ref).await
    }

    /// Waits for the answer to a message, over whatever comes before it.
    pub(crate) async fn answer_to(&mut self, message_ref: &str) -> Value {
        loop {
            let message = self.message().await;
            if message[1] == message_ref && message[3] == "phx_reply" {
                return outcome(&message[4]);
            }
        }
    }

    /// Joins a topic, to watch the video with this identifier.
    pub(crate) async fn join(&mut self, topic: &str, identifier: &str) {
        let payload = json!({ "key": self.key, "identifier": identifier });
        assert_eq!(self.call(topic, "phx_join", &payload).await, Value::Null);
    }

    /// Sends an event that must be taken.
    pub(crate) async fn event(&mut self, topic: &str, payload: &Value) {
        assert_eq!(self.call(topic, "event", payload).await, Value::Null, "{payload}");
    }

    /// The same, unless the connection ends.
    pub(crate) async fn try_event(&mut self, topic: &str, payload: &Value) -> bool {
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

    pub(crate) async fn play(&mut self, topic: &str, from: f64) {
        self.event(topic, &json!({ "name": "play", "from": from })).await;
    }

    pub(crate) async fn pause(&mut self, topic: &str, to: f64) {
        self.event(topic, &json!({ "name": "pause", "to": to })).await;
    }
}

impl Reader {
    /// Waits for the next thing that the server says.
    pub(crate) async fn next(&mut self) -> Seen {
        soon(self.next_ever()).await
    }

    /// The same, however long it takes.
    pub(crate) async fn next_ever(&mut self) -> Seen {
        let mut send = |_| std::future::ready(Ok::<(), std::convert::Infallible>(()));
        let frame = match self.socket.read_frame(&mut send).await {
            Ok(frame) => frame,
            Err(WebSocketError::UnexpectedEOF | WebSocketError::IoError(_)) => return Seen::End,
            Err(err) => panic!("the server sent a malformed frame: {err}"),
        };
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        match frame.opcode {
            OpCode::Text => Seen::Text(utf8(&frame.payload)),
            OpCode::Pong => Seen::Pong(frame.payload.to_vec()),
            OpCode::Close => {
                let (code, reason) = frame.payload.split_first_chunk().expect("a code");
                Seen::Close(u16::from_be_bytes(*code), utf8(reason))
            }
            other => panic!("the server sent {other:?}"),
        }
    }
}

/// What a reply says: null for ok, or else the reason.
#[track_caller]
pub(super) fn outcome(payload: &Value) -> Value {
    if *payload == json!({ "status": "ok", "response": {} }) {
        return Value::Null;
    }
    assert_eq!(payload["status"], "error", "{payload}");
    assert!(payload["response"]["reason"].is_string(), "{payload}");
    assert!(payload["response"]["code"].is_string(), "{payload}");
    payload["response"]["reason"].clone()
}

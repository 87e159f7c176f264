//! A minimal player: connects, joins a session, and sends its events.
//!
//! Messages are JSON arrays, `[join_ref, ref, topic, event, payload]`, in text frames of a websocket: the protocol of
//! Phoenix channels, version 2. `ref` is new for every message, and the reply has the same one. `join_ref` is the `ref`
//! of the join that a message belongs to.

use std::{fmt, io};

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError, handshake};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::upgrade::Upgraded;
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The error that ends a viewer.
pub type Error = Box<dyn std::error::Error>;

/// One viewer in one session, over one websocket. It prints every message that it sends (`>`) and receives (`<`).
pub struct Viewer {
    socket: FragmentCollector<TokioIo<Upgraded>>,
    topic: String,
    last_ref: u32,
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Viewer {
    /// Connects to a socket like `ws://127.0.0.1:3000/socket` and joins a session there.
    ///
    /// `session` is a random text that is new for every session. A later join with the same text continues the session,
    /// after a connection broke and at any server.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses: the key may be wrong.
    pub async fn join(
        socket: &str,
        key: &str,
        session: &str,
        identifier: &str,
    ) -> Result<Self, Error> {
        let socket = connect(&socket.parse()?).await?;
        let mut viewer = Self { socket, topic: format!("session:{session}"), last_ref: 0 };
        let about = json!({ "key": key, "identifier": identifier,
            "source_url": "https://example.com/watch?v=1" });
        viewer.call("phx_join", about).await?;
        Ok(viewer)
    }

    /// Sends an event, and waits for the acknowledgement: the event is on the server's disk then.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the server rejects the event.
    pub async fn tell(&mut self, event: Value) -> Result<(), Error> {
        self.call("event", event).await
    }

    /// Leaves the session, and closes the connection.
    ///
    /// # Errors
    ///
    /// The connection is lost. The server then closes the session as well, a little later.
    pub async fn leave(mut self) -> Result<(), Error> {
        self.call("phx_leave", json!({})).await?;
        self.socket.write_frame(Frame::close(1_000, b"")).await?;
        Ok(())
    }

    async fn call(&mut self, event: &str, payload: Value) -> Result<(), Error> {
        self.last_ref += 1;
        let message_ref = self.last_ref.to_string();
        // The first message was the join.
        let message = json!(["1", message_ref, self.topic, event, payload]).to_string();
        show('>', &message);
        let frame = Frame::text(Payload::Owned(message.into_bytes()));
        self.socket.write_frame(frame).await?;
        loop {
            let frame = self.socket.read_frame().await?;
            if frame.opcode != OpCode::Text {
                return Err("the server has closed the connection".into());
            }
            let reply = String::from_utf8(frame.payload.to_vec())?;
            show('<', &reply);
            let reply: Value = serde_json::from_str(&reply)?;
            // Other messages are not for this call, such as a close of an older join.
            if reply[1] == *message_ref {
                let answer = &reply[4];
                let ok = answer["status"] == "ok";
                return if ok {
                    Ok(())
                } else {
                    Err(answer["response"]["reason"].to_string().into())
                };
            }
        }
    }
}

async fn connect(socket: &Uri) -> Result<FragmentCollector<TokioIo<Upgraded>>, Error> {
    let authority = socket.authority().ok_or("an address is like ws://127.0.0.1:3000/socket")?;
    let stream = TcpStream::connect(authority.as_str()).await?;
    let path = socket.path().trim_end_matches('/');
    let request = Request::get(format!("{path}/websocket?vsn=2.0.0"))
        .header(HOST, authority.as_str())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        // The server takes a client without a User-Agent for a bot.
        .header(USER_AGENT, "metrics-example-player/1.0")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())?;
    match handshake::client(&TokioExecutor::new(), request, stream).await {
        Ok((websocket, _)) => Ok(FragmentCollector::new(websocket)),
        Err(WebSocketError::InvalidStatusCode(status)) => {
            Err(io::Error::other(format!("no websocket: the server answered {status}")).into())
        }
        Err(err) => Err(err.into()),
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it got")]
fn show(direction: char, message: &str) {
    println!("{direction} {message}");
}

//! A minimal player: connects, joins a session, and sends its events.
//!
//! Messages are JSON arrays, `[join_ref, ref, topic, event, payload]`, in text frames of a websocket: the protocol of
//! Phoenix channels, version 2. `ref` is new for every message, and the reply has the same one. `join_ref` is the `ref`
//! of the join that a message belongs to.

use std::{fmt, io};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::USER_AGENT;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// The error that ends a viewer.
pub type Error = Box<dyn std::error::Error>;

/// A websocket, without TLS here.
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One viewer in one session, over one websocket. It prints every message that it sends (`>`) and receives (`<`).
pub struct Viewer {
    socket: Socket,
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
        let socket = connect(socket).await?;
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
    pub async fn send(&mut self, event: Value) -> Result<(), Error> {
        self.call("event", event).await
    }

    /// Leaves the session, and closes the connection.
    ///
    /// # Errors
    ///
    /// The connection is lost. The server then closes the session as well, a little later.
    pub async fn leave(mut self) -> Result<(), Error> {
        self.call("phx_leave", json!({})).await?;
        self.socket.close(None).await?;
        Ok(())
    }

    async fn call(&mut self, event: &str, payload: Value) -> Result<(), Error> {
        self.last_ref += 1;
        let message_ref = self.last_ref.to_string();
        // The first message was the join.
        let message = json!(["1", message_ref, self.topic, event, payload]).to_string();
        show('>', &message);
        self.socket.send(Message::text(message)).await?;
        loop {
            let Some(Message::Text(reply)) = self.socket.next().await.transpose()? else {
                return Err("the server has closed the connection".into());
            };
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

async fn connect(socket: &str) -> Result<Socket, Error> {
    let address = format!("{}/websocket?vsn=2.0.0", socket.trim_end_matches('/'));
    let mut request = address.into_client_request()?;
    // The server takes a client without a User-Agent for a bot.
    let agent = HeaderValue::from_static("metrics-example-player/1.0");
    request.headers_mut().insert(USER_AGENT, agent);
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let status = answer.status();
            Err(io::Error::other(format!("no websocket: the server answered {status}")).into())
        }
        Err(err) => Err(err.into()),
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it got")]
fn show(direction: char, message: &str) {
    println!("{direction} {message}");
}

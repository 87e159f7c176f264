//! Websockets of many clients: from several addresses, and with many messages in one write.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str;

use metrics_server_testing::Http;
use metrics_server_testing::websocket::{CLOSE, FIN, Input, TEXT, handshake, put_frame};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// The maximum number of connections from one address: systems assign some 28,000 ports.
const PORTS_MAX: usize = 20_000;

/// One websocket.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    input: Input,
    output: Vec<u8>,
    mask: [u8; 4],
}

/// The source address of the connection with this number.
#[must_use]
pub fn source(number: usize) -> Ipv4Addr {
    // The loopback network has sixteen million addresses, and a few are enough.
    let host = u8::try_from(1 + number / PORTS_MAX).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, 0, host)
}

impl Socket {
    /// Connects, and upgrades the connection to a websocket.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses the upgrade.
    pub async fn connect(
        server: SocketAddr,
        source: Ipv4Addr,
        target: &str,
        user_agent: &str,
        mask: [u8; 4],
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if source != Ipv4Addr::LOCALHOST {
            socket.bind(SocketAddrV4::new(source, 0).into())?;
        }
        let mut stream = socket.connect(server).await?;
        let http = Http::new(server, "GET", target).header("user-agent", user_agent);
        match handshake(&mut stream, http, &[]).await? {
            Ok((_, input)) => Ok(Self { stream, input, output: Vec::new(), mask }),
            Err(answer) => Err(io::Error::other(format!("no websocket: {answer:?}"))),
        }
    }

    /// Buffers a text message for the next flush.
    pub fn push(&mut self, text: &str) {
        put_frame(&mut self.output, self.mask, FIN | TEXT, text.as_bytes());
    }

    /// Sends the buffered messages.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Waits until bytes arrive from the server. Cancel safe.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn fill(&mut self) -> io::Result<()> {
        self.input.fill(&mut self.stream).await
    }

    /// Passes the next text message that has arrived to `receive`, and returns false if there is none.
    ///
    /// # Errors
    ///
    /// The server closes the websocket, or violates the protocol.
    pub fn next(&mut self, receive: impl FnOnce(&str) -> io::Result<()>) -> io::Result<bool> {
        let seen = self.input.next(|first, payload| match first.checked_sub(FIN) {
            Some(TEXT) => receive(str::from_utf8(payload).map_err(io::Error::other)?),
            Some(CLOSE) => {
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                Err(io::Error::other(format!("the server closed the websocket: {reason}")))
            }
            _ => Ok(()),
        })?;
        seen.transpose().map(|seen| seen.is_some())
    }
}

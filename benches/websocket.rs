//! The client's side of a websocket, written by hand so that it costs little beside the server that is measured.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// A key of RFC 6455, section 1.3, and what a server must make of it.
const HANDSHAKE: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// How much is read at once: what a server says between two reads is mostly less.
const READ_BYTES: usize = 4 * 1024;

/// How many connections may come from one address: systems hand out some 28,000 ports.
const PORTS_MAX: usize = 20_000;

/// One websocket.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    input: BytesMut,
    output: Vec<u8>,
    mask: [u8; 4],
}

/// The address from which the connection with this number comes.
#[must_use]
pub fn source(number: usize) -> Ipv4Addr {
    // There are sixteen million of them, and no more than a few are needed.
    let host = u8::try_from(1 + number / PORTS_MAX).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, 0, host)
}

impl Socket {
    /// Connects, and turns the connection into a websocket.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or does not want to speak websocket.
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
        stream.set_nodelay(true)?;
        let key = HANDSHAKE.0;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nUser-Agent: {user_agent}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut input = BytesMut::with_capacity(READ_BYTES);
        let end = loop {
            if let Some(at) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            read(&mut stream, &mut input).await?;
        };
        let head = String::from_utf8_lossy(&input[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 101") || !head.contains(HANDSHAKE.1) {
            return Err(io::Error::other(format!("no websocket: {head}")));
        }
        input.advance(end);
        Ok(Self { stream, input, output: Vec::new(), mask })
    }

    /// Adds a text message to what is sent next.
    pub fn push(&mut self, text: &str) {
        self.output.push(FIN | TEXT);
        match text.len() {
            length @ 0..126 => self.output.push(MASKED | length as u8),
            length @ 126..65_536 => {
                self.output.push(MASKED | 126);
                self.output.extend((length as u16).to_be_bytes());
            }
            length => {
                self.output.push(MASKED | 127);
                self.output.extend((length as u64).to_be_bytes());
            }
        }
        self.output.extend(self.mask);
        let mask = self.mask.iter().cycle();
        self.output.extend(text.bytes().zip(mask).map(|(byte, mask)| byte ^ mask));
    }

    /// Sends what was added.
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

    /// Waits until the server says something. Cancel safe.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn fill(&mut self) -> io::Result<()> {
        read(&mut self.stream, &mut self.input).await
    }

    /// Hands the next text message that has arrived to `see`, and returns false if there is none.
    ///
    /// # Errors
    ///
    /// The server closes the websocket, or says what no server should.
    pub fn next(&mut self, see: impl FnOnce(&str) -> io::Result<()>) -> io::Result<bool> {
        let (head, length) = match *self.input {
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, length @ 0..126, ..] => (2, usize::from(length)),
            [_, 126, ..] | [] | [_] => return Ok(false),
            _ => return Err(io::Error::other("the server sent a frame that is far too long")),
        };
        if self.input.len() < head + length {
            return Ok(false);
        }
        let first = self.input[0];
        let payload = &self.input[head..head + length];
        if first == FIN | CLOSE {
            let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
            return Err(io::Error::other(format!("the server closed the websocket: {reason}")));
        }
        if first == FIN | TEXT {
            see(str::from_utf8(payload).map_err(io::Error::other)?)?;
        }
        self.input.advance(head + length);
        Ok(true)
    }
}

async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<()> {
    input.reserve(READ_BYTES);
    match stream.read_buf(input).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

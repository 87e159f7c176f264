//! Websockets as bytes: writes the frames of a client, and reads those of a server.
//!
//! Hand-written, so that tests can write wrong frames, and benchmarks cost little compared to the server that they
//! measure.

use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::{Answer, Http, split_head};

/// The opcode of a frame that continues a message.
pub const CONTINUATION: u8 = 0x0;
/// The opcode of a text message.
pub const TEXT: u8 = 0x1;
/// The opcode of a binary message.
pub const BINARY: u8 = 0x2;
/// The opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// The opcode of a ping.
pub const PING: u8 = 0x9;
/// The opcode of a pong.
pub const PONG: u8 = 0xA;
/// The bit of the last frame of a message.
pub const FIN: u8 = 0x80;

/// The bit in the length byte that marks a masked payload.
const MASKED: u8 = 0x80;

/// The example key of RFC 6455, section 1.3, and the server's response to it.
pub const HANDSHAKE: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

/// The size of one read: a server rarely sends more between two reads.
const READ_BYTES: usize = 4 * 1024;

/// A masked frame: the first byte is FIN, reserved bits and the opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    put_frame(&mut frame, [0x12, 0x34, 0x56, 0x78], first, payload);
    frame
}

/// Appends a frame that is masked by `mask`.
pub fn put_frame(output: &mut Vec<u8>, mask: [u8; 4], first: u8, payload: &[u8]) {
    output.push(first);
    match payload.len() {
        length @ 0..126 => output.push(MASKED | length as u8),
        length @ 126..65_536 => {
            output.push(MASKED | 126);
            output.extend((length as u16).to_be_bytes());
        }
        length => {
            output.push(MASKED | 127);
            output.extend((length as u64).to_be_bytes());
        }
    }
    output.extend(mask);
    output.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The bytes received from a server that are not parsed yet.
#[derive(Debug, Default)]
pub struct Input {
    bytes: BytesMut,
}

impl Input {
    /// Waits until more bytes arrive. Cancel safe.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn fill(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        self.bytes.reserve(READ_BYTES);
        match socket.read_buf(&mut self.bytes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Passes the first byte and the payload of the next frame to `receive`. Returns `None` if no complete frame has
    /// arrived.
    ///
    /// # Errors
    ///
    /// The server masks a frame, or writes its length in more bytes than it needs.
    pub fn next<T>(&mut self, receive: impl FnOnce(u8, &[u8]) -> T) -> io::Result<Option<T>> {
        let (head, length) = match *self.bytes {
            [_, length @ 0..126, ..] => (2, length.into()),
            [_, 126, a, b, ..] => (4, u16::from_be_bytes([a, b]).into()),
            [_, 127, a, b, c, d, e, f, g, h, ..] => {
                (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
            [_, MASKED..=u8::MAX, ..] => return Err(io::Error::other("a server masks no frames")),
            _ => return Ok(None),
        };
        let is_short = match head {
            2 => true,
            4 => 126 <= length,
            _ => 65_536 <= length,
        };
        if !is_short {
            return Err(io::Error::other(format!("{length} in more bytes than it needs")));
        }
        let end = usize::try_from(length).map_err(io::Error::other)?.saturating_add(head);
        if self.bytes.len() < end {
            return Ok(None);
        }
        let seen = receive(self.bytes[0], &self.bytes[head..end]);
        self.bytes.advance(end);
        Ok(Some(seen))
    }
}

/// Upgrades a connection to a websocket. Returns the response and the bytes after it, or the response alone if it is
/// not an upgrade. Sends the bytes of `rest` at once, as a client that does not wait.
///
/// # Errors
///
/// The connection is gone.
pub async fn handshake(
    stream: &mut TcpStream,
    http: Http,
    rest: &[u8],
) -> io::Result<Result<(Answer, Input), Answer>> {
    stream.set_nodelay(true)?;
    let request = http
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", HANDSHAKE.0);
    stream.write_all(&[request.bytes().as_slice(), rest].concat()).await?;
    let mut input = Input::default();
    let (mut answer, head) = loop {
        if let Some((head, _)) = split_head(&input.bytes) {
            break (Answer::parse(head), head.len() + 4);
        }
        input.fill(stream).await?;
    };
    input.bytes.advance(head);
    if answer.status == 101 {
        assert_eq!(answer.header("sec-websocket-accept"), Some(HANDSHAKE.1));
        return Ok(Ok((answer, input)));
    }
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    while input.bytes.len() < length {
        input.fill(stream).await?;
    }
    answer.body = input.bytes[..length].to_vec();
    Ok(Err(answer))
}

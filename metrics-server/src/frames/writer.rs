//! The write half of a websocket, which writes simultaneous messages at once.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::outbox::Sink;
use crate::write_timeout::WRITE_MAX;

/// The first byte of a text message in one frame: the bit of the last frame, and the opcode.
const TEXT: u8 = 0x81;
/// The first byte of a close frame.
const CLOSE: u8 = 0x88;
/// The first byte of a pong.
const PONG: u8 = 0x8a;

/// The longest header of a frame that is not masked.
const HEADER_BYTES_MAX: usize = 10;

/// The number of bytes gathered before a write: some hundred acknowledgements.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// The write half of a websocket. Frames are gathered until they are flushed.
pub(crate) struct Writer<W> {
    stream: W,
    gathered: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, gathered: Vec::new() }
    }

    /// Gathers the close frame, the last frame of the connection.
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        self.frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()]);
    }

    /// Gathers a frame whose payload is the concatenation of `parts`. Servers do not mask frames.
    fn frame(&mut self, first: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.gathered.reserve(HEADER_BYTES_MAX + length);
        self.gathered.push(first);
        match length {
            0..126 => self.gathered.push(length as u8),
            126..65_536 => {
                self.gathered.push(126);
                self.gathered.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                self.gathered.push(127);
                self.gathered.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        parts.iter().for_each(|part| self.gathered.extend_from_slice(part));
    }
}

impl<W: AsyncWrite + Send + Unpin> Sink for Writer<W> {
    fn text(&mut self, text: &str) {
        self.frame(TEXT, &[text.as_bytes()]);
    }

    fn pong(&mut self, payload: &[u8]) {
        self.frame(PONG, &[payload]);
    }

    fn is_full(&self) -> bool {
        GATHERED_BYTES_MAX <= self.gathered.len()
    }

    /// Writes the gathered frames, which the client must take within [`WRITE_MAX`].
    ///
    /// Not cancel safe: the next call would repeat a partial write.
    async fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        timeout(WRITE_MAX, self.stream.write_all(&self.gathered)).await??;
        // Most sockets have nothing to send most of the time.
        self.gathered = Vec::new();
        Ok(())
    }
}

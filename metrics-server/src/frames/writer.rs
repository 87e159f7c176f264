//! The write half of a websocket, which writes simultaneous messages at once.

use std::io;

use fastwebsockets::{Frame, Payload};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::HEADER_BYTES_MAX;
use crate::outbox::Sink;
use crate::write_timeout::WRITE_MAX;

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
        self.frame(Frame::close(code, reason.as_bytes()));
    }

    fn frame(&mut self, mut frame: Frame<'_>) {
        let mut head = [0; HEADER_BYTES_MAX];
        let length = frame.fmt_head(&mut head);
        self.gathered.reserve(length + frame.payload.len());
        self.gathered.extend_from_slice(&head[..length]);
        self.gathered.extend_from_slice(&frame.payload);
    }
}

impl<W: AsyncWrite + Send + Unpin> Sink for Writer<W> {
    fn text(&mut self, text: &str) {
        self.frame(Frame::text(Payload::Borrowed(text.as_bytes())));
    }

    fn pong(&mut self, payload: &[u8]) {
        self.frame(Frame::pong(Payload::Borrowed(payload)));
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

//! The write half of a websocket: what is said at the same time is written at once.

use std::io;

use fastwebsockets::{Frame, Payload};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::HEADER_BYTES_MAX;

/// How much is gathered before it is written: some hundred acknowledgements.
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

    /// Gathers a text message.
    pub(crate) fn text(&mut self, text: &str) {
        self.frame(Frame::text(Payload::Borrowed(text.as_bytes())));
    }

    /// Gathers the answer to a ping.
    pub(crate) fn pong(&mut self, payload: &[u8]) {
        self.frame(Frame::pong(Payload::Borrowed(payload)));
    }

    /// Gathers the frame after which nothing counts.
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

    /// Whether so much is gathered that it should be flushed before there is more.
    pub(crate) fn is_full(&self) -> bool {
        GATHERED_BYTES_MAX <= self.gathered.len()
    }

    /// Writes what was gathered.
    ///
    /// Not cancel safe: what was written in part would be written again.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.gathered).await?;
        // Most sockets have nothing to say most of the time.
        self.gathered = Vec::new();
        Ok(())
    }
}

//! Frames of a websocket, turned into whole messages of bounded size.
//!
//! `fastwebsockets` reads and unmasks one frame; what a client can do wrong over several of them is
//! judged here. Three things a reader must know:
//!
//! - **Nothing is answered here.** Automatic pongs and closes are off: a ping and a close come out
//!   of [`Reader::next`], and the owner of the write half answers them, in order with the rest.
//! - **Nothing is copied.** A message of one frame is lent out of the read buffer, until the next
//!   call. Only fragments are collected, and browsers do not fragment messages of our size.
//! - **Memory is bounded.** A socket that only ever sees small frames keeps the 8 KiB that
//!   `fastwebsockets` allocates. See [`SmallReads`] for why that needs help.

use std::convert::Infallible;
use std::future::{self, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::str;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fastwebsockets::{
    CloseCode, Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead, after_handshake_split,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::time::{Instant, Sleep, sleep};

pub(crate) use self::writer::Writer;

mod writer;

/// The longest message, in one frame or in fragments. The largest join has 16 KiB of metadata, as
/// much session data, and addresses: this is room for it and its escapes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The most fragments of one message. Fragments may be empty, so bytes do not bound them.
pub(crate) const FRAGMENTS_MAX: u8 = 64;

/// How long a message may take from its first bytes to its last, in milliseconds. It is held in memory meanwhile, and the
/// largest takes a second over a bad network.
const MESSAGE_MAX_MS: u16 = 10_000;

/// The longest payload of a ping, pong or close frame: RFC 6455, section 5.5.
const CONTROL_BYTES_MAX: usize = 125;

/// The most that one read takes from the stream: a dozen events, a quarter of the read buffer.
const READ_BYTES_MAX: usize = 2 * 1024;

/// The longest header: flags, 8 bytes of length, the mask.
const HEADER_BYTES_MAX: usize = 14;

/// Makes the two halves of an upgraded connection into those of a websocket.
///
/// `ahead` is what the HTTP side had read past the request; it comes before what `read` yields.
pub(crate) fn split<R, W>(ahead: Vec<u8>, read: R, write: W) -> (Reader<R>, Writer<W>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let started = Arc::new(AtomicBool::new(false));
    let read = SmallReads::new(ahead, read, Arc::clone(&started));
    // The other half of theirs writes each frame by itself.
    let (mut socket, _) = after_handshake_split(read, tokio::io::sink(), Role::Server);
    socket.set_auto_close(false);
    socket.set_auto_pong(false);
    socket.set_max_message_size(MESSAGE_BYTES_MAX + 1); // The limit itself is refused.
    let reader = Reader { socket, started, message: None, fragments: None };
    (reader, Writer::new(write))
}

/// What one frame amounts to. A frame of any kind shows that the client is alive.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping: to be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// Nothing to act on: a pong, or a fragment of a message yet to come.
    Alive,
    /// The client closes: to be answered with a close of the same code, or of 1000 if it has none.
    /// No further frame counts.
    Close(Option<u16>),
}

/// The read half of a websocket.
pub(crate) struct Reader<S> {
    socket: WebSocketRead<SmallReads<S>>,
    /// Whether bytes of the next frame were read.
    started: Arc<AtomicBool>,
    /// What the last call of `next` lent out. It is a part of the read buffer, so it has to be
    /// dropped before the next read: the buffer is then used again instead of replaced.
    message: Option<Payload<'static>>,
    /// The message whose last fragment is still to come.
    fragments: Option<Fragments>,
}

/// The beginning of a fragmented message.
struct Fragments {
    kind: Kind,
    // Invariant: at most MESSAGE_BYTES_MAX.
    bytes: Vec<u8>,
    // Invariant: at most FRAGMENTS_MAX.
    count: u8,
    // How long the rest may take. Time in which nothing is read does not count.
    left_ms: u16,
}

/// The two kinds of messages.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Binary,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// Reads one frame.
    ///
    /// Not cancel safe: a dropped call may have consumed half a frame. Drop it only to end the
    /// connection. The same holds after [`Incoming::Close`] and after an error.
    ///
    /// # Errors
    ///
    /// [`ReadError::Gone`] if the stream ended or failed; any other error is the client's, and
    /// [`ReadError::close_code`] says how to close.
    pub(crate) async fn next(&mut self) -> Result<Incoming<'_>, ReadError> {
        self.message = None;
        let mut frame = self.read_frame().await?;
        if !is_masked(&mut frame) {
            return Err(ReadError::Protocol("frame is not masked"));
        }
        let (fin, payload) = (frame.fin, detach(frame.payload));
        match frame.opcode {
            OpCode::Text => self.data(Kind::Text, fin, payload),
            OpCode::Binary => self.data(Kind::Binary, fin, payload),
            OpCode::Continuation => self.continuation(fin, &payload),
            OpCode::Ping | OpCode::Pong | OpCode::Close if payload.len() > CONTROL_BYTES_MAX => {
                Err(ReadError::Protocol("control frame too long"))
            }
            OpCode::Ping => Ok(Incoming::Ping(self.message.insert(payload))),
            OpCode::Pong => Ok(Incoming::Alive),
            OpCode::Close => close_code(&payload).map(Incoming::Close),
        }
    }

    /// Reads a frame, unless the message that it belongs to takes too long.
    async fn read_frame(&mut self) -> Result<Frame<'_>, ReadError> {
        // With automatic answers off there is nothing to send.
        let mut send = |_| future::ready(Ok::<(), Infallible>(()));
        // On the heap, and there only while the rest of a message is waited for: most come in one piece.
        let mut late: Option<Pin<Box<Sleep>>> = None;
        let (started, left_ms) = (&self.started, self.fragments.as_ref().map(|it| it.left_ms));
        let frame = {
            let mut reading = pin!(self.socket.read_frame(&mut send));
            poll_fn(|cx| {
                if let Poll::Ready(frame) = reading.as_mut().poll(cx) {
                    return Poll::Ready(frame.map_err(ReadError::from));
                }
                if left_ms.is_none() && !started.load(Relaxed) {
                    return Poll::Pending;
                }
                let left = Duration::from_millis(left_ms.unwrap_or(MESSAGE_MAX_MS).into());
                ready!(late.get_or_insert_with(|| Box::pin(sleep(left))).as_mut().poll(cx));
                Poll::Ready(Err(ReadError::Late))
            })
            .await?
        };
        started.store(false, Relaxed);
        if let (Some(fragments), Some(late)) = (&mut self.fragments, late) {
            let left = late.deadline().saturating_duration_since(Instant::now());
            fragments.left_ms = left.as_millis().try_into().unwrap_or(MESSAGE_MAX_MS);
        }
        Ok(frame)
    }

    /// A message, or its first fragment.
    fn data(
        &mut self,
        kind: Kind,
        fin: bool,
        payload: Payload<'static>,
    ) -> Result<Incoming<'_>, ReadError> {
        if self.fragments.is_some() {
            return Err(ReadError::Protocol("message inside a fragmented message"));
        }
        if fin {
            return self.lend(kind, payload);
        }
        self.fragments =
            Some(Fragments { kind, bytes: payload.to_vec(), count: 1, left_ms: MESSAGE_MAX_MS });
        Ok(Incoming::Alive)
    }

    /// A fragment after the first.
    fn continuation(&mut self, fin: bool, payload: &[u8]) -> Result<Incoming<'_>, ReadError> {
        let Some(mut fragments) = self.fragments.take() else {
            return Err(ReadError::Protocol("continuation of no message"));
        };
        if fragments.count == FRAGMENTS_MAX
            || fragments.bytes.len() + payload.len() > MESSAGE_BYTES_MAX
        {
            return Err(ReadError::TooLarge);
        }
        fragments.bytes.extend_from_slice(payload);
        fragments.count += 1;
        if fin {
            return self.lend(fragments.kind, Payload::Owned(fragments.bytes));
        }
        self.fragments = Some(fragments);
        Ok(Incoming::Alive)
    }

    /// Lends a whole message out.
    fn lend(&mut self, kind: Kind, payload: Payload<'static>) -> Result<Incoming<'_>, ReadError> {
        let message = self.message.insert(payload);
        match kind {
            Kind::Text => {
                str::from_utf8(message).map(Incoming::Text).map_err(|_| ReadError::NotUtf8)
            }
            Kind::Binary => Ok(Incoming::Binary(message)),
        }
    }
}

/// Why no frame could be read.
///
/// Its text is the reason to close the websocket with: a close frame holds 123 bytes of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The connection ended without a close frame. Nobody is left to be told.
    #[error("connection lost")]
    Gone(#[source] io::Error),
    /// The client broke the protocol; the text says how.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message, or the reason in a close frame, is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message was not complete within [`MESSAGE_MAX_MS`].
    #[error("message took too long")]
    Late,
    /// A message has more than [`MESSAGE_BYTES_MAX`] bytes or [`FRAGMENTS_MAX`] fragments.
    #[error("message too large")]
    TooLarge,
}

impl ReadError {
    /// The code to close the websocket with, or `None` if there is nobody to close it with.
    pub(crate) fn close_code(&self) -> Option<u16> {
        match self {
            Self::Gone(_) => None,
            Self::Protocol(_) => Some(CloseCode::Protocol.into()),
            Self::NotUtf8 => Some(CloseCode::Invalid.into()),
            Self::Late => Some(CloseCode::Policy.into()),
            Self::TooLarge => Some(CloseCode::Size.into()),
        }
    }
}

impl From<WebSocketError> for ReadError {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::IoError(source) => Self::Gone(source),
            WebSocketError::UnexpectedEOF => Self::Gone(io::ErrorKind::UnexpectedEof.into()),
            WebSocketError::InvalidUTF8 => Self::NotUtf8,
            WebSocketError::FrameTooLarge => Self::TooLarge,
            WebSocketError::ReservedBitsNotZero => Self::Protocol("reserved bits are set"),
            WebSocketError::InvalidValue => Self::Protocol("unknown opcode"),
            WebSocketError::ControlFrameFragmented => Self::Protocol("control frame in fragments"),
            WebSocketError::PingFrameTooLarge => Self::Protocol("control frame too long"),
            // The rest comes from handshakes and from automatic answers.
            _ => Self::Protocol("malformed frame"),
        }
    }
}

/// Tells if the client masked the frame, as it must (RFC 6455, section 5.1).
///
/// A frame keeps its mask to itself, but shows it in the header it would be written with.
fn is_masked(frame: &mut Frame<'_>) -> bool {
    let mut header = [0; HEADER_BYTES_MAX];
    frame.fmt_head(&mut header);
    header[1] & 0x80 != 0
}

/// Frees a payload from the borrow of the socket it was read from, without a copy: what is read is
/// always `Bytes`.
fn detach(payload: Payload<'_>) -> Payload<'static> {
    match payload {
        Payload::Bytes(bytes) => Payload::Bytes(bytes),
        other => Payload::Owned(other.into()),
    }
}

/// Reads the payload of a close frame: nothing, or a code and a reason.
fn close_code(payload: &[u8]) -> Result<Option<u16>, ReadError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(ReadError::Protocol("close frame of one byte")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !CloseCode::from(code).is_allowed() {
        return Err(ReadError::Protocol("invalid close code"));
    }
    str::from_utf8(reason).map_err(|_| ReadError::NotUtf8)?;
    Ok(Some(code))
}

/// A stream that yields little at a time, so that the read buffer stays small.
///
/// `fastwebsockets` reads as much as its buffer has room for, and then reserves room for a payload
/// that may be in there already: a read that fills the buffer makes it double, and it never
/// shrinks. A burst of small frames, as clients send when they reconnect, left 32 to 256 KiB behind
/// on a socket; read in this way it leaves the 8 KiB there were. Larger frames still make it grow,
/// to 66 KiB for the largest.
struct SmallReads<S> {
    /// What was read before the websocket was one.
    ahead: Vec<u8>,
    /// How much of `ahead` was yielded.
    ahead_taken: usize,
    stream: Take<S>,
    /// Set by whatever is yielded, and reset by the [`Reader`] with each frame.
    started: Arc<AtomicBool>,
}

impl<S: AsyncRead> SmallReads<S> {
    fn new(ahead: Vec<u8>, stream: S, started: Arc<AtomicBool>) -> Self {
        Self { ahead, ahead_taken: 0, stream: stream.take(0), started }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SmallReads<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ahead = &this.ahead[this.ahead_taken..];
        if ahead.is_empty() {
            this.ahead = Vec::new();
            this.ahead_taken = 0;
            this.stream.set_limit(READ_BYTES_MAX as u64);
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            this.started.store(true, Relaxed);
            return Poll::Ready(Ok(()));
        }
        let count = ahead.len().min(buf.remaining()).min(READ_BYTES_MAX);
        buf.put_slice(&ahead[..count]);
        this.ahead_taken += count;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;

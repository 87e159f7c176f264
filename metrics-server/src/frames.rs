//! Decodes websocket frames into complete messages of bounded size.
//!
//! Three properties matter to a reader:
//!
//! - **Nothing is answered here.** A ping and a close come out of [`Reader::next`], and the owner of the write half
//!   answers them, in order with the rest.
//! - **Nothing is copied.** A message of one frame is borrowed from the read buffer, until the next call. Only
//!   fragments are collected, and browsers do not fragment messages of our size.
//! - **Memory is bounded.** A socket keeps a buffer of [`READ_BYTES_MAX`], and none before its first frame. A larger
//!   frame, and a fragment of a message that is not complete, is reserved from a [`Budget`] before it is read, and
//!   released with the message. While the budget is exhausted, nothing is read.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::str;
use std::task::{Poll, ready};
use std::time::Duration;

use fastwebsockets::CloseCode;
use metrics_core::budget::{Budget, Reservation};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

pub(crate) use self::writer::Writer;
use crate::code::Code;
use crate::phoenix::MESSAGE_BYTES_MAX;

mod writer;

/// The most fragments of one message. Fragments may be empty, so bytes do not bound them.
pub(crate) const FRAGMENTS_MAX: u8 = 64;

/// The longest time from the first bytes of a message to its last, in milliseconds. The message is held in memory
/// meanwhile, and the largest takes a second over a bad network.
const MESSAGE_MAX_MS: u16 = 10_000;

/// The longest payload of a ping, pong or close frame: RFC 6455, section 5.5.
const CONTROL_BYTES_MAX: usize = 125;

/// The most that one read takes from the stream, unless a frame is larger: a dozen events.
const READ_BYTES_MAX: usize = 2 * 1024;

/// The longest header: flags, 8 bytes of length, the mask.
const HEADER_BYTES_MAX: usize = 14;

/// Makes the two halves of an upgraded connection into those of a websocket.
///
/// `ahead` holds the bytes that the HTTP side has read past the request; they come before those of `read`. Large
/// messages are reserved from `memory`.
pub(crate) fn split<R, W>(
    ahead: Vec<u8>,
    read: R,
    write: W,
    memory: Budget,
) -> (Reader<R>, Writer<W>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let buffer = Buffer { bytes: ahead, consumed: 0 };
    let reader =
        Reader { stream: read, buffer, memory, held: None, complete: None, fragments: None };
    (reader, Writer::new(write))
}

/// The result of one frame. A frame of any kind shows that the client is alive.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// A complete text message.
    Text(&'a str),
    /// A complete binary message.
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
    stream: S,
    buffer: Buffer,
    memory: Budget,
    // The reservation for the current frame, if it is large or a fragment.
    held: Option<Reservation>,
    // A message that came in fragments, borrowed by the last call of `next`.
    complete: Option<Fragments>,
    // The message whose last fragment is still to come.
    fragments: Option<Fragments>,
}

/// Bytes that were read from the stream; the first `consumed` of them are consumed.
struct Buffer {
    bytes: Vec<u8>,
    consumed: usize,
}

/// The deadline of a message. Boxed, and present only while the rest of a message is awaited: most come in one piece.
type Late = Option<Pin<Box<Sleep>>>;

/// The beginning of a fragmented message.
struct Fragments {
    kind: Kind,
    // Invariant: at most MESSAGE_BYTES_MAX.
    bytes: Vec<u8>,
    // Invariant: at most FRAGMENTS_MAX.
    count: u8,
    // The time left for the rest. Time in which nothing is read does not count.
    remaining_ms: u16,
    _held: Vec<Reservation>,
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
        self.complete = None;
        self.buffer.shrink();
        self.held = None;
        let mut late = None;
        let header = loop {
            match Header::parse(self.buffer.rest())? {
                Some(header) => break header,
                None => self.read(READ_BYTES_MAX, &mut late).await?,
            }
        };
        self.check(&header)?;
        let length = header.bytes + header.payload_bytes;
        if READ_BYTES_MAX < length || header.is_fragment() {
            // On the heap: most frames are neither, and most sockets wait for one most of the time.
            Box::pin(self.reserve(length, &mut late)).await?;
        }
        while self.buffer.rest().len() < length {
            self.read(length, &mut late).await?;
        }
        if let (Some(fragments), Some(late)) = (&mut self.fragments, &late) {
            fragments.remaining_ms = remaining_ms(late);
        }
        let payload = self.buffer.take(&header);
        match header.opcode {
            Opcode::Continuation => self.continuation(header.fin, payload),
            Opcode::Data(kind) if header.fin => borrow(kind, &self.buffer.bytes[payload]),
            Opcode::Data(kind) => {
                let (bytes, held) = (self.buffer.bytes[payload].to_vec(), self.held.take());
                let remaining_ms = late.as_ref().map_or(MESSAGE_MAX_MS, remaining_ms);
                let _held = held.into_iter().collect();
                self.fragments = Some(Fragments { kind, bytes, count: 1, remaining_ms, _held });
                Ok(Incoming::Alive)
            }
            Opcode::Ping => Ok(Incoming::Ping(&self.buffer.bytes[payload])),
            Opcode::Pong => Ok(Incoming::Alive),
            Opcode::Close => close_code(&self.buffer.bytes[payload]).map(Incoming::Close),
        }
    }

    /// Reads more of a frame, unless the message that it belongs to takes too long.
    async fn read(&mut self, length: usize, late: &mut Late) -> Result<(), ReadError> {
        let remaining_ms = match &self.fragments {
            Some(fragments) => Some(fragments.remaining_ms),
            None => (!self.buffer.rest().is_empty()).then_some(MESSAGE_MAX_MS),
        };
        let mut reading = pin!(self.buffer.read(&mut self.stream, length));
        poll_fn(|cx| {
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                return Poll::Ready(read);
            }
            // No deadline between messages: the next one may be long in coming.
            let Some(remaining_ms) = remaining_ms else { return Poll::Pending };
            ready!(timer(late, remaining_ms).poll(cx));
            Poll::Ready(Err(ReadError::Late))
        })
        .await
    }

    /// Waits until a large frame or a fragment can be held. The client is not at fault, so the time does not count,
    /// unless the message holds memory already: otherwise started messages could wait for each other.
    async fn reserve(&mut self, length: usize, late: &mut Late) -> Result<(), ReadError> {
        if let Some(held) = self.memory.try_reserve(length) {
            self.held = Some(held);
            return Ok(());
        }
        let since = Instant::now();
        let Some(fragments) = &self.fragments else {
            self.held = Some(self.memory.reserve(length).await);
            if let Some(late) = late {
                let deadline = late.deadline() + since.elapsed();
                late.as_mut().reset(deadline);
            }
            return Ok(());
        };
        tokio::select! {
            biased;
            held = self.memory.reserve(length) => self.held = Some(held),
            () = timer(late, fragments.remaining_ms) => return Err(ReadError::Late),
        }
        Ok(())
    }

    /// Checks a frame by its header, before memory is reserved for it.
    fn check(&self, header: &Header) -> Result<(), ReadError> {
        match (header.opcode, &self.fragments) {
            (Opcode::Data(_), Some(_)) => {
                Err(ReadError::Protocol("message inside a fragmented message"))
            }
            (Opcode::Continuation, None) => {
                Err(ReadError::Protocol("continuation without a message"))
            }
            (Opcode::Continuation, Some(Fragments { bytes, count, .. }))
                if *count == FRAGMENTS_MAX
                    || MESSAGE_BYTES_MAX < bytes.len() + header.payload_bytes =>
            {
                Err(ReadError::TooLarge)
            }
            _ => Ok(()),
        }
    }

    /// A fragment after the first.
    fn continuation(
        &mut self,
        fin: bool,
        payload: Range<usize>,
    ) -> Result<Incoming<'_>, ReadError> {
        let Some(mut fragments) = self.fragments.take() else {
            return Err(ReadError::Protocol("continuation without a message"));
        };
        fragments.bytes.reserve_exact(payload.len());
        fragments.bytes.extend_from_slice(&self.buffer.bytes[payload]);
        fragments.count += 1;
        fragments._held.extend(self.held.take());
        if fin {
            let Fragments { kind, bytes, .. } = self.complete.insert(fragments);
            return borrow(*kind, bytes);
        }
        self.fragments = Some(fragments);
        Ok(Incoming::Alive)
    }
}

/// The deadline of the rest of a message, which starts at the first call.
fn timer(late: &mut Late, remaining_ms: u16) -> Pin<&mut Sleep> {
    let remaining = Duration::from_millis(remaining_ms.into());
    late.get_or_insert_with(|| Box::pin(sleep(remaining))).as_mut()
}

/// The time left for the rest of a message.
fn remaining_ms(late: &Pin<Box<Sleep>>) -> u16 {
    let remaining = late.deadline().saturating_duration_since(Instant::now());
    remaining.as_millis().try_into().unwrap_or(MESSAGE_MAX_MS)
}

/// Borrows a complete message.
fn borrow(kind: Kind, message: &[u8]) -> Result<Incoming<'_>, ReadError> {
    match kind {
        Kind::Text => str::from_utf8(message).map(Incoming::Text).map_err(|_| ReadError::NotUtf8),
        Kind::Binary => Ok(Incoming::Binary(message)),
    }
}

impl Buffer {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Reads more, into a buffer with capacity for `length` unconsumed bytes.
    async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        length: usize,
    ) -> Result<(), ReadError> {
        if 0 < self.consumed {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
        let length = length.max(READ_BYTES_MAX).max(self.bytes.len() + 1);
        self.bytes.reserve_exact(length - self.bytes.len());
        match stream.read_buf(&mut self.bytes).await.map_err(ReadError::Gone)? {
            0 => Err(ReadError::Gone(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    /// Consumes a complete frame, and returns the range of its payload, unmasked.
    fn take(&mut self, header: &Header) -> Range<usize> {
        let start = self.consumed + header.bytes;
        self.consumed = start + header.payload_bytes;
        unmask(&mut self.bytes[start..self.consumed], header.mask);
        start..self.consumed
    }

    /// Shrinks the buffer after a large frame.
    fn shrink(&mut self) {
        if self.consumed == self.bytes.len() {
            self.bytes.clear();
            self.consumed = 0;
        }
        if READ_BYTES_MAX < self.bytes.capacity() {
            self.bytes = self.rest().to_vec();
            self.consumed = 0;
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The opcode of a frame.
#[derive(Clone, Copy)]
enum Opcode {
    Continuation,
    Data(Kind),
    Close,
    Ping,
    Pong,
}

/// The header of a frame: RFC 6455, section 5.2.
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    // The length of the header itself.
    bytes: usize,
    payload_bytes: usize,
}

impl Header {
    /// Reads a header, if it is complete, and checks the rules that concern the header alone.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, ReadError> {
        let Some(([first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(ReadError::Protocol("reserved bits are set"));
        }
        let (fin, is_masked) = (first & 0x80 != 0, second & 0x80 != 0);
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Data(Kind::Text),
            0x2 => Opcode::Data(Kind::Binary),
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(ReadError::Protocol("unknown opcode")),
        };
        if !is_masked {
            return Err(ReadError::Protocol("frame is not masked"));
        }
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u16::from_be_bytes(*length).into(), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (length.into(), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if is_control && !fin {
            return Err(ReadError::Protocol("control frame in fragments"));
        }
        if is_control && CONTROL_BYTES_MAX < payload_bytes {
            return Err(ReadError::Protocol("control frame too long"));
        }
        if MESSAGE_BYTES_MAX < payload_bytes {
            return Err(ReadError::TooLarge);
        }
        let bytes = bytes.len() - rest.len();
        Ok(Some(Self { fin, opcode, mask: *mask, bytes, payload_bytes }))
    }

    /// Whether the payload is kept longer than until the next frame.
    fn is_fragment(&self) -> bool {
        !self.fin || matches!(self.opcode, Opcode::Continuation)
    }
}

/// Why no frame could be read.
///
/// Its text is the reason to close the websocket with: a close frame holds 123 bytes of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The connection ended without a close frame, so that no reason can be sent.
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

impl From<&ReadError> for Code {
    fn from(err: &ReadError) -> Self {
        match err {
            ReadError::Protocol(_) | ReadError::NotUtf8 => Self::InvalidMessage,
            ReadError::TooLarge => Self::MessageTooLarge,
            ReadError::Gone(_) | ReadError::Late => Self::SessionOver,
        }
    }
}

impl ReadError {
    /// The code to close the websocket with, or `None` if the connection is gone.
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

#[cfg(test)]
mod tests;

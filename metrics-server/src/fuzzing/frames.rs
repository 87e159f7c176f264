//! Frames of a websocket, against RFC 6455 written down a second time: over a slice, with everything copied.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use metrics_core::budget::Budget;
use tokio::io::{AsyncRead, ReadBuf};

use super::REASON_BYTES_MAX;
use crate::frames::{FRAGMENTS_MAX, Incoming, ReadError, split};
use crate::phoenix::MESSAGE_BYTES_MAX;

/// The output of a reader: [`Incoming`] and [`ReadError`], owned and comparable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Alive,
    Close(Option<u16>),
    Refused(u16),
    Gone,
}

impl Seen {
    fn is_the_end(&self) -> bool {
        matches!(self, Self::Close(_) | Self::Refused(_) | Self::Gone)
    }
}

impl From<Result<Incoming<'_>, ReadError>> for Seen {
    fn from(result: Result<Incoming<'_>, ReadError>) -> Self {
        match result {
            Ok(Incoming::Text(text)) => Self::Text(text.to_owned()),
            Ok(Incoming::Binary(bytes)) => Self::Binary(bytes.to_owned()),
            Ok(Incoming::Ping(bytes)) => Self::Ping(bytes.to_owned()),
            Ok(Incoming::Alive) => Self::Alive,
            Ok(Incoming::Close(code)) => Self::Close(code),
            Err(err) => {
                assert!(err.to_string().len() <= REASON_BYTES_MAX, "{err}");
                err.close_code().map_or(Self::Gone, Self::Refused)
            }
        }
    }
}

/// The bytes that a client sends before it disconnects.
pub fn frames(bytes: &[u8]) {
    let expected = expect(bytes);
    assert_eq!(read(&[], bytes, bytes.len()), expected, "at once");
    assert_eq!(read(&[], bytes, 1), expected, "byte by byte");
    let (ahead, rest) = bytes.split_at(bytes.len() / 2);
    assert_eq!(read(ahead, rest, 7), expected, "half of it with the request");
}

/// Reads until an end.
fn read(ahead: &[u8], rest: &[u8], portion: usize) -> Vec<Seen> {
    let client = Client { rest, portion };
    let memory = Budget::new(usize::MAX);
    let (mut reader, _write) = split(ahead.to_vec(), client, tokio::io::sink(), memory);
    let mut seen: Vec<Seen> = Vec::new();
    while !seen.last().is_some_and(Seen::is_the_end) {
        let next = pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(result) = next else { panic!("there is always something to read") };
        seen.push(result.into());
    }
    seen
}

/// A client whose bytes arrive a few at a time.
struct Client<'a> {
    rest: &'a [u8],
    portion: usize,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.portion.min(buf.remaining()).min(self.rest.len());
        let (portion, rest) = self.rest.split_at(count);
        buf.put_slice(portion);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

/// A frame, unmasked.
struct Frame {
    fin: bool,
    opcode: u8,
    payload: Vec<u8>,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const PROTOCOL: Seen = Seen::Refused(1002);
const NOT_UTF8: Seen = Seen::Refused(1007);
const TOO_LARGE: Seen = Seen::Refused(1009);

/// The expected output.
fn expect(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    // Opcode, bytes and number of the fragments so far.
    let mut fragments: Option<(u8, Vec<u8>, usize)> = None;
    while !seen.last().is_some_and(Seen::is_the_end) {
        let next = frame(&mut bytes, fragments.as_ref());
        let next = next.and_then(|frame| judge(frame, &mut fragments));
        seen.push(next.unwrap_or_else(|end| end));
    }
    seen
}

fn frame(bytes: &mut &[u8], fragments: Option<&(u8, Vec<u8>, usize)>) -> Result<Frame, Seen> {
    let [first, second] = take(bytes)?;
    let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
    if reserved != 0 || !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(PROTOCOL);
    }
    if second & 0x80 == 0 {
        return Err(PROTOCOL);
    }
    let announced = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
    let length = match second & 0x7f {
        126 => usize::from(u16::from_be_bytes(take(bytes)?)),
        127 => announced(u64::from_be_bytes(take(bytes)?)),
        length => usize::from(length),
    };
    let mask: [u8; 4] = take(bytes)?;
    let is_control = opcode & 0x08 != 0;
    if is_control && (!fin || 125 < length) {
        return Err(PROTOCOL);
    }
    if MESSAGE_BYTES_MAX < length {
        return Err(TOO_LARGE);
    }
    // Errors of the header come before the payload has arrived.
    match (opcode, fragments) {
        (TEXT | BINARY, Some(_)) | (CONTINUATION, None) => return Err(PROTOCOL),
        (CONTINUATION, Some((_, so_far, count)))
            if MESSAGE_BYTES_MAX < so_far.len() + length
                || *count == usize::from(FRAGMENTS_MAX) =>
        {
            return Err(TOO_LARGE);
        }
        _ => {}
    }
    let (payload, rest) = bytes.split_at_checked(length).ok_or(Seen::Gone)?;
    *bytes = rest;
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Ok(Frame { fin, opcode, payload })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Seen> {
    let (first, rest) = bytes.split_first_chunk().ok_or(Seen::Gone)?;
    *bytes = rest;
    Ok(*first)
}

fn judge(frame: Frame, fragments: &mut Option<(u8, Vec<u8>, usize)>) -> Result<Seen, Seen> {
    let Frame { fin, opcode, payload } = frame;
    match opcode {
        PING => return Ok(Seen::Ping(payload)),
        PONG => return Ok(Seen::Alive),
        CLOSE => return close(&payload),
        _ => {}
    }
    let (kind, bytes, count) = match (opcode, fragments.take()) {
        (CONTINUATION, Some((kind, bytes, count))) => (kind, [bytes, payload].concat(), count + 1),
        (CONTINUATION, None) | (_, Some(_)) => return Err(PROTOCOL),
        (kind, None) => (kind, payload, 1),
    };
    if !fin {
        *fragments = Some((kind, bytes, count));
        return Ok(Seen::Alive);
    }
    match kind {
        TEXT => String::from_utf8(bytes).map(Seen::Text).map_err(|_| NOT_UTF8),
        _ => Ok(Seen::Binary(bytes)),
    }
}

fn close(payload: &[u8]) -> Result<Seen, Seen> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(Seen::Close(None)) } else { Err(PROTOCOL) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    // The codes that a client may send: RFC 6455, section 7.4, and the registry of IANA.
    if !matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999) {
        return Err(PROTOCOL);
    }
    str::from_utf8(reason).map_err(|_| NOT_UTF8)?;
    Ok(Seen::Close(Some(code)))
}

//! Request bodies: read in full, within limits of size and time, if there is memory for the values that are parsed from
//! them.

use std::ops::Deref;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::header::{HeaderMap, TRANSFER_ENCODING};
use metrics_core::budget::{Budget, Reservation};
use tokio::time::timeout;

use crate::code::Code;
use crate::error::Error;

/// The largest body of a request.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The timeout for receiving a body, once its header has arrived.
const BODY_MAX: Duration = Duration::from_secs(30);

/// The longest wait of a body for memory. A client tries again.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(5);

/// The bytes that are reserved before a body is read, if it may be that long. Batches of clients have 48 KiB at most.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// Larger bodies take at most the memory for bodies divided by this, so that many slow senders of large bodies cannot
/// block small ones.
const LARGE_PART: usize = 2;

/// The bytes that parsing allocates for each byte of JSON: copies of its texts, unescaped, sorted, and once more to be
/// stored.
const BYTE_BYTES: usize = 3;

/// The bytes that parsing allocates for each JSON value beside that: a map entry, and texts of a few bytes.
const VALUE_BYTES: usize = 160;

/// The memory budget of bodies.
pub(crate) struct Bodies {
    all: Budget,
    large: Budget,
}

/// A complete body. Drop it as soon as possible: its memory may keep others from being read.
pub(crate) struct CompleteBody {
    bytes: Bytes,
    _held: [Option<Reservation>; 3],
}

impl Bodies {
    pub(crate) fn new(memory: &Budget) -> Self {
        Self { all: memory.clone(), large: memory.part(memory.max() / LARGE_PART) }
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`]; [`Error::Memory`] if there was no memory for it; [`Error::Body`] if it did not come.
    pub(crate) async fn read<B>(&self, body: B) -> Result<CompleteBody, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let announced = body.size_hint().upper().unwrap_or(BODY_BYTES_MAX as u64);
        let bytes_max = usize::try_from(announced).unwrap_or(usize::MAX).min(BODY_BYTES_MAX);
        if bytes_max == 0 {
            return Ok(CompleteBody { bytes: Bytes::new(), _held: [None, None, None] });
        }
        let small = reserve(&self.all, bytes_max.min(SMALL_BYTES_MAX)).await?;
        let (mut bytes, mut large) = (BytesMut::new(), None);
        let reading = async {
            let mut body = pin!(body);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| incomplete())?;
                // The other kind of frame holds trailers, which are ignored.
                let Ok(data) = frame.into_data() else { continue };
                if BODY_BYTES_MAX < bytes.len() + data.len() {
                    return Err(Error::TooLarge { bytes_max: BODY_BYTES_MAX });
                }
                if large.is_none() && SMALL_BYTES_MAX < bytes.len() + data.len() {
                    // With the memory for its texts: otherwise many bodies could block each other.
                    large = Some(reserve(&self.large, (1 + BYTE_BYTES) * bytes_max).await?);
                }
                bytes.extend_from_slice(&data);
            }
            Ok(())
        };
        timeout(BODY_MAX, reading).await.map_err(|_| {
            Error::body("the body took too long to arrive").coded(Code::BodyTimeout)
        })??;
        let memory = if large.is_some() { &self.large } else { &self.all };
        let reserved = large.as_ref().map_or(0, Reservation::bytes);
        let made = reserve(memory, made_bytes(&bytes).saturating_sub(reserved)).await?;
        Ok(CompleteBody { bytes: bytes.freeze(), _held: [Some(small), large, Some(made)] })
    }
}

fn incomplete() -> Error {
    Error::body("the body ended too early").coded(Code::BodyIncomplete)
}

async fn reserve(memory: &Budget, bytes: usize) -> Result<Reservation, Error> {
    match memory.try_reserve(bytes) {
        Some(reserved) => Ok(reserved),
        // Boxed: most bodies need not wait.
        None => {
            let waiting = Box::pin(timeout(MEMORY_WAIT_MAX, memory.reserve(bytes)));
            waiting.await.map_err(|_| Error::Memory)
        }
    }
}

/// The approximate memory that parsing a body takes at most: some twice as much for texts, and twenty times for objects
/// of very many members.
fn made_bytes(json: &[u8]) -> usize {
    let values = json.iter().filter(|byte| matches!(byte, b',' | b'{' | b'[')).count();
    BYTE_BYTES * json.len() + VALUE_BYTES * values
}

impl Deref for CompleteBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Rejects ambiguous framing (request smuggling): if a proxy and the server disagree on the end of a request, the bytes
/// after it are another request to one of them, and a part of this one to the other. HTTP rejects most of these
/// requests itself, and closes after the rest.
///
/// # Errors
///
/// [`Error::Ambiguous`], after which the connection must end.
pub(crate) fn check_end(headers: &HeaderMap) -> Result<(), Error> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Error::Ambiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[track_caller]
    fn check(codings: &[&'static str], sound: bool) {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(TRANSFER_ENCODING, coding.parse().unwrap());
        }
        assert_eq!(check_end(&headers).is_ok(), sound, "{codings:?}");
    }

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        check(&[], true);
        check(&["chunked"], true);
        check(&["Chunked"], true);
        for coding in
            ["chunked, chunked", "gzip, chunked", "chunked;q=1", "identity", "", "xchunked"]
        {
            check(&[coding], false);
        }
        check(&["chunked", "chunked"], false);
        check(&["gzip", "chunked"], false);
    }

    #[tokio::test(start_paused = true)]
    async fn small_bodies_are_read_when_there_is_no_memory_for_large_ones() {
        let bodies = Bodies::new(&Budget::new(20 * BODY_BYTES_MAX));
        let read = async |size: usize| bodies.read(Full::from(vec![b'x'; size])).await;
        let mut held = Vec::new();
        while let Ok(complete) = read(BODY_BYTES_MAX).await {
            held.push(complete);
        }
        assert_eq!(held.len(), 2);
        assert!(matches!(read(BODY_BYTES_MAX).await, Err(Error::Memory)));
        let small = read(SMALL_BYTES_MAX).await.unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(small.len(), SMALL_BYTES_MAX);
        held.pop();
        assert!(read(BODY_BYTES_MAX).await.is_ok());
        assert!(matches!(read(BODY_BYTES_MAX + 1).await, Err(Error::TooLarge { .. })));
        drop((held, small));
        assert_eq!(bodies.all.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_many_values_takes_more_than_one_of_text() {
        let memory = Budget::new(20 * BODY_BYTES_MAX);
        let bodies = Bodies::new(&memory);
        let read = async |json: String| bodies.read(Full::from(json)).await;
        let text = read("x".repeat(100_000)).await.unwrap_or_else(|err| panic!("{err}"));
        let of_text = memory.used();
        drop(text);
        let values = read("{\"a\":0,".repeat(12_500)).await.unwrap_or_else(|err| panic!("{err}"));
        assert!(5 * of_text < memory.used(), "{of_text} bytes, and {memory:?}");
        drop(values);
        assert_eq!(memory.used(), 0);
    }
}

//! Bodies of requests: read whole, up to limits of size, time and number.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::header::{HeaderMap, TRANSFER_ENCODING};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::Error;

/// The largest body of a request.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a client may take to send a body, once its header is there.
const BODY_MAX: Duration = Duration::from_secs(30);

/// Up to which size there may be a body on every connection. Batches of clients have 48 KiB at most.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// How many bodies may be larger at once: what is made of them takes some 20 times their size.
const LARGE_MAX: usize = 32;

/// Room for bodies.
pub(crate) struct Bodies {
    large: Arc<Semaphore>,
}

/// A body that is there as a whole. Drop it when it is not needed any more: it may keep others from being read.
pub(crate) struct Whole {
    bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new() -> Self {
        Self { large: Arc::new(Semaphore::new(LARGE_MAX)) }
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`]; [`Error::Busy`] if there was no room for it; [`Error::Body`] if it did not come.
    pub(crate) async fn read<B>(&self, body: B) -> Result<Whole, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (mut bytes, mut place) = (BytesMut::new(), None);
        let mut waits_for_place = false;
        let reading = async {
            let mut body = pin!(body);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Error::body("the body ended too early"))?;
                // The other kind of frame holds trailers, which say nothing.
                let Ok(data) = frame.into_data() else { continue };
                if BODY_BYTES_MAX < bytes.len() + data.len() {
                    return Err(Error::TooLarge);
                }
                if place.is_none() && SMALL_BYTES_MAX < bytes.len() + data.len() {
                    waits_for_place = true;
                    // Never closed.
                    place = Arc::clone(&self.large).acquire_owned().await.ok();
                    waits_for_place = false;
                }
                bytes.extend_from_slice(&data);
            }
            Ok(())
        };
        match timeout(BODY_MAX, reading).await {
            Ok(read) => read?,
            Err(_) if waits_for_place => return Err(Error::Busy),
            Err(_) => return Err(Error::body("the body took too long to arrive")),
        }
        Ok(Whole { bytes: bytes.freeze(), _place: place })
    }
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Refuses a request of which a proxy may believe that it ends elsewhere: what follows could be another request to one
/// of the two, and a part of this one to the other. HTTP refuses most of these itself, and closes after the rest.
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
        for odd in ["chunked, chunked", "gzip, chunked", "chunked;q=1", "identity", "", "xchunked"]
        {
            check(&[odd], false);
        }
        check(&["chunked", "chunked"], false);
        check(&["gzip", "chunked"], false);
    }

    #[tokio::test(start_paused = true)]
    async fn small_bodies_are_read_when_there_is_no_room_for_large_ones() {
        let bodies = Bodies::new();
        let read = async |size: usize| bodies.read(Full::from(vec![b'x'; size])).await;
        let mut held = Vec::new();
        for _ in 0..LARGE_MAX {
            held.push(read(BODY_BYTES_MAX).await.unwrap_or_else(|err| panic!("{err}")));
        }
        assert!(matches!(read(SMALL_BYTES_MAX + 1).await, Err(Error::Busy)));
        let small = read(SMALL_BYTES_MAX).await.unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(small.len(), SMALL_BYTES_MAX);
        held.pop();
        assert!(read(SMALL_BYTES_MAX + 1).await.is_ok());
        assert!(matches!(read(BODY_BYTES_MAX + 1).await, Err(Error::TooLarge)));
    }
}

//! Responses of the API.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::share::Share;

/// The body of a response: complete in memory, or made piece by piece while it is sent.
///
/// A piece is made only after the client took the piece before. Dropping the body ends it.
#[derive(Default)]
pub struct Body {
    content: Content,
    // The connection share of the address that a proxy forwards.
    _share: Option<Arc<Share>>,
}

enum Content {
    Complete(Full<Bytes>),
    Pieces(Pieces),
}

/// Pieces that are made until the last, or until a timeout: a client that reads a byte now and then must not hold their
/// source forever.
struct Pieces {
    shared: Arc<Mutex<Shared>>,
    _timer: AbortOnDropHandle<()>,
}

/// The state that a body shares with its timer.
struct Shared {
    rest: Rest,
    // The deadline, unless the client takes the next piece sooner.
    late_at: Instant,
    timeouts: ReadTimeouts,
    ends_at: Instant,
    // The task that waits for a piece.
    waiting: Option<Waker>,
}

enum Rest {
    Next(Step),
    Late,
    Over,
}

/// The read timeouts of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadTimeouts {
    /// The time to take the next piece, after the piece before.
    pub(crate) piece: Duration,
    /// The time to take all pieces.
    pub(crate) all: Duration,
}

impl Default for Content {
    fn default() -> Self {
        Self::Complete(Full::default())
    }
}

/// Makes a piece, and returns the step that makes the next piece. `None` is the end.
pub(crate) struct Step(pub(crate) Making);

type Making = Pin<Box<dyn Future<Output = Result<Option<(Bytes, Step)>, Cut>> + Send>>;

/// The response ended early after it began: the client has received a part of it only.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was cut short; request it again")]
pub struct Cut(());

impl Cut {
    /// Logs the cause here: the HTTP server can only close the connection.
    pub(crate) fn because(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::warn!(error = cause, "an answer was cut short");
        Self(())
    }

    /// Ends a response without a log entry.
    pub(crate) fn silently() -> Self {
        Self(())
    }
}

impl Body {
    /// Holds a connection share until the body is sent.
    pub(crate) fn holding(self, share: Arc<Share>) -> Self {
        Self { _share: Some(share), ..self }
    }

    /// Makes pieces while the client takes them, within `timeouts`. A timeout drops the source of the pieces.
    pub(crate) fn pieces(step: Step, timeouts: ReadTimeouts) -> Self {
        let now = Instant::now();
        let (late_at, ends_at) = (now + timeouts.piece.min(timeouts.all), now + timeouts.all);
        let shared = Shared { rest: Rest::Next(step), late_at, timeouts, ends_at, waiting: None };
        let shared = Arc::new(Mutex::new(shared));
        // The timer may outlive the body for a moment.
        let (late, mut late_at) = (Arc::downgrade(&shared), Some(late_at));
        let timer = tokio::spawn(async move {
            while let Some(at) = late_at {
                sleep_until(at).await;
                late_at = late.upgrade().and_then(|shared| lock(&shared).give_up());
            }
        });
        let pieces = Pieces { shared, _timer: AbortOnDropHandle::new(timer) };
        Self { content: Content::Pieces(pieces), _share: None }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Drops the source of the pieces after the deadline, or returns the time of the next check.
    fn give_up(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if now < self.late_at {
            // The deadline becomes earlier when the client takes the piece that is being made.
            return Some(self.late_at.min(now + self.timeouts.piece));
        }
        self.rest = Rest::Late;
        // The dropped step would have woken the waiting task.
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        None
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let made = match &mut self.rest {
            Rest::Next(Step(making)) => match making.as_mut().poll(cx) {
                Poll::Ready(made) => made,
                Poll::Pending => {
                    // The client waits for the server now.
                    self.late_at = self.ends_at;
                    self.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            },
            Rest::Late => Err(Cut::silently()),
            Rest::Over => Ok(None),
        };
        self.rest = Rest::Over;
        self.waiting = None;
        Poll::Ready(match made {
            Ok(None) => None,
            Ok(Some((piece, next))) => {
                self.rest = Rest::Next(next);
                self.late_at = self.ends_at.min(Instant::now() + self.timeouts.piece);
                Some(Ok(piece))
            }
            Err(cut) => Some(Err(cut)),
        })
    }
}

impl From<Bytes> for Body {
    fn from(complete: Bytes) -> Self {
        Self { content: Content::Complete(complete.into()), _share: None }
    }
}

impl From<Vec<u8>> for Body {
    fn from(complete: Vec<u8>) -> Self {
        Bytes::from(complete).into()
    }
}

impl From<&'static str> for Body {
    fn from(complete: &'static str) -> Self {
        Bytes::from_static(complete.as_bytes()).into()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let pieces = match &mut self.get_mut().content {
            Content::Complete(complete) => {
                return Pin::new(complete).poll_frame(cx).map_err(|never| match never {});
            }
            Content::Pieces(pieces) => pieces,
        };
        lock(&pieces.shared).poll(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Complete(complete) => complete.is_end_stream(),
            Content::Pieces(pieces) => matches!(lock(&pieces.shared).rest, Rest::Over),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Complete(complete) => complete.size_hint(),
            Content::Pieces(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Complete(complete) => f.debug_tuple("Complete").field(complete).finish(),
            Content::Pieces(_) => f.write_str("Pieces(..)"),
        }
    }
}

/// Whether the request reports that its client has the file with this tag.
pub(crate) fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let known = request.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let mut tags = known.flat_map(|tags| tags.split(',').map(str::trim));
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// A response with `value` as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(json) => response(status, "application/json", json),
        // A map whose keys are no texts has no JSON; the API has no such map.
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// A response with JSON that is written a piece at a time.
pub(crate) fn json_body(body: Body) -> Response<Body> {
    response(StatusCode::OK, "application/json", body)
}

/// A response with server-sent events. No proxy on the way collects or compresses them.
pub(crate) fn events(body: Body) -> Response<Body> {
    let mut response = response(StatusCode::OK, "text/event-stream", body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// A response with a text of this content type.
pub(crate) fn text(kind: &'static str, text: String) -> Response<Body> {
    response(StatusCode::OK, kind, text.into_bytes())
}

/// A response with a file to save under this name.
pub(crate) fn file(kind: &'static str, name: &str, body: Body) -> Response<Body> {
    let mut response = response(StatusCode::OK, kind, body);
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    // The names are constants, so each is a valid header.
    if let Ok(disposition) = disposition {
        response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    response
}

/// A response with a page.
pub(crate) fn html(status: StatusCode, page: String) -> Response<Body> {
    response(status, "text/html; charset=utf-8", page.into_bytes())
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = empty(status);
    *response.body_mut() = body.into();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Reports are current and private.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Responses contain texts from clients, which a browser must not take for a page or a script.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

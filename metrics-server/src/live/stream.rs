//! One stream: it sends the newest state whenever that has changed, and ends by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::feed::Event;
use super::{Held, LIFE_MAX};
use crate::response::{Body, ReadTimeouts, Step};

/// A comment follows a silence of this length: proxies close connections that are silent, most of them after a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The interval at which a caller's right to read the selection is checked.
const RIGHT_CHECK: Duration = Duration::from_secs(30);

/// The timeouts of a client. One that takes nothing while there is something to take is cut off.
const READ_TIMEOUTS: ReadTimeouts =
    ReadTimeouts { piece: Duration::from_secs(60), all: LIFE_MAX.saturating_mul(2) };

/// Asks whether a caller may still read the selection of a stream.
pub(crate) type Right = Box<dyn Fn() -> Asking + Send>;

type Asking = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A stream as its client reads it.
pub(super) struct Stream {
    updates: watch::Receiver<Option<Arc<Event>>>,
    // The id of the event that the client received last.
    last: Option<u64>,
    right: Right,
    checked_at: Instant,
    sent_at: Instant,
    ends_at: Instant,
    stopping: CancellationToken,
}

/// A stream that is sent, and the resources that it holds.
struct Sending {
    stream: Stream,
    _held: Held,
}

impl Sending {
    fn rest(mut self) -> Step {
        Step(Box::pin(async move {
            let piece = self.stream.next().await;
            Ok(piece.map(|piece| {
                self.stream.sent_at = Instant::now();
                (piece, self.rest())
            }))
        }))
    }
}

impl Stream {
    /// A stream from now to `ends_at`. `last` is the id of the event that its client received last.
    pub(super) fn new(
        updates: watch::Receiver<Option<Arc<Event>>>,
        last: Option<u64>,
        right: Right,
        (now, ends_at): (Instant, Instant),
        stopping: CancellationToken,
    ) -> Self {
        Self { updates, last, right, checked_at: now, sent_at: now, ends_at, stopping }
    }

    /// The body of the response, which holds `held`.
    pub(super) fn body(mut self, retry_ms: u64, held: Held) -> Body {
        // The state that is known already is sent as well.
        self.updates.mark_changed();
        let retry = Bytes::from(format!("retry: {retry_ms}\n\n"));
        let sending = Sending { stream: self, _held: held };
        let step = Step(Box::pin(async move { Ok(Some((retry, sending.rest()))) }));
        Body::pieces(step, READ_TIMEOUTS)
    }

    /// Waits for the next event, or for the time of a heartbeat. `None` is the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let (beat_at, check_at) = (self.sent_at + HEARTBEAT, self.checked_at + RIGHT_CHECK);
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                () = sleep_until(self.ends_at.min(beat_at).min(check_at)) => {}
                changed = self.updates.changed() => {
                    changed.ok()?;
                    if let Some(event) = self.newest() {
                        return Some(event);
                    }
                    continue;
                }
            }
            let now = Instant::now();
            if self.ends_at <= now {
                return None;
            }
            if check_at <= now {
                let has_right = tokio::select! {
                    has_right = (self.right)() => has_right,
                    () = self.stopping.cancelled() => false,
                };
                if !has_right {
                    return None;
                }
                self.checked_at = Instant::now();
            }
            if beat_at <= now {
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }

    /// The newest event, unless the client has it.
    fn newest(&mut self) -> Option<Bytes> {
        let newest = self.updates.borrow_and_update();
        let event = newest.as_ref().filter(|event| self.last != Some(event.id))?;
        self.last = Some(event.id);
        Some(event.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::live::tests::event;

    type Updates = watch::Sender<Option<Arc<Event>>>;

    /// A stream that lasts an hour, and its source.
    fn stream(last: Option<u64>, right: Right) -> (Updates, Stream, CancellationToken) {
        let (updates, receiver) = watch::channel(Some(event(1)));
        let (now, stopping) = (Instant::now(), CancellationToken::new());
        let times = (now, now + Duration::from_secs(3_600));
        let mut stream = Stream::new(receiver, last, right, times, stopping.clone());
        stream.updates.mark_changed();
        (updates, stream, stopping)
    }

    fn always() -> Right {
        Box::new(|| Box::pin(async { true }))
    }

    async fn next(stream: &mut Stream) -> Option<String> {
        let piece = stream.next().await;
        stream.sent_at = Instant::now();
        piece.map(|piece| String::from_utf8(piece.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_state_wins() {
        let (updates, mut stream, _) = stream(None, always());
        assert_eq!(next(&mut stream).await.as_deref(), Some("1"));
        for id in 2..100 {
            updates.send_replace(Some(event(id)));
        }
        assert_eq!(next(&mut stream).await.as_deref(), Some("99"));
        updates.send_replace(Some(event(99)));
        assert_eq!(next(&mut stream).await.as_deref(), Some(":\n\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_has_heartbeats() {
        let (_updates, mut stream, _) = stream(Some(1), always());
        for _ in 0..10 {
            let began = Instant::now();
            assert_eq!(next(&mut stream).await.as_deref(), Some(":\n\n"));
            assert_eq!(began.elapsed(), HEARTBEAT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_life() {
        let (_updates, mut stream, _) = stream(None, always());
        let began = Instant::now();
        while next(&mut stream).await.is_some() {}
        assert_eq!(began.elapsed(), Duration::from_secs(3_600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_the_right_to_it() {
        let granted = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&granted);
        let right: Right = Box::new(move || {
            let granted = asked.load(Ordering::Relaxed);
            Box::pin(async move { granted })
        });
        let (_updates, mut stream, _) = stream(None, right);
        for _ in 0..10 {
            assert!(next(&mut stream).await.is_some());
        }
        granted.store(false, Ordering::Relaxed);
        let began = Instant::now();
        while next(&mut stream).await.is_some() {}
        assert!(began.elapsed() <= RIGHT_CHECK, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_once_when_the_server_stops() {
        let (_updates, mut one, stopping) = stream(None, always());
        stopping.cancel();
        assert_eq!(next(&mut one).await, None);
        // Also while its right is checked.
        let stopping = CancellationToken::new();
        let stops = stopping.clone();
        let right: Right = Box::new(move || {
            stops.cancel();
            Box::pin(std::future::pending())
        });
        let (_updates, mut one, _) = stream(Some(1), right);
        one.stopping = stopping;
        while next(&mut one).await.is_some() {}
    }
}

//! One websocket's life.
//!
//! It reads and writes at the same time: while events wait to be durable, heartbeats are answered and more events
//! are read. What was read is always handled to its end; only the wait for the next frame is raced.

mod outbox;

use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use metrics_core::{KeyChanges, Metrics};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::outbox::{Outbox, write_all};
use crate::channel::{Channels, Reply, Visitor};
use crate::frames::{Incoming, ReadError, Reader, split};
use crate::patience::WRITE_MAX;
use crate::phoenix::{BinaryPush, DecodeError, Message, Version};
use crate::rate::{Bucket, Rate};

/// How long a client may send nothing. Heartbeats come every 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long a client may take to hear that the websocket is closed: a round trip over a bad network.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// How many frames a socket may send, of whatever kind. A player sends a few a second when its viewer seeks about. A
/// client that was away sends everything that it kept at once: this is hours of it. What exceeds it is read later.
const FRAMES: Rate = Rate { burst: 4_096, every: Duration::from_millis(10) };

/// How many times a socket may join: a page with all its videos, and again whenever its network comes back. Each join
/// costs a look at the store.
const JOINS: Rate = Rate { burst: 256, every: Duration::from_millis(100) };

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;

/// How a websocket ends.
#[derive(Debug)]
struct Close {
    // None: there is nobody left to tell.
    code: Option<u16>,
    reason: String,
}

impl Close {
    fn new(code: u16, reason: &impl ToString) -> Self {
        Self { code: Some(code), reason: reason.to_string() }
    }
}

/// Speaks with one client until either side ends it.
///
/// Takes the stream as its halves: the whole would take room beside them.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Send + Unpin>(
    (mut read, mut write): (ReadHalf<S>, WriteHalf<S>),
    metrics: Metrics,
    version: Version,
    visitor: Arc<Visitor>,
    stopping: CancellationToken,
) {
    let (mut reader, mut writer) = split(Vec::new(), &mut read, &mut write);
    let outbox = Outbox::default();
    let (keys, replies) = (metrics.key_changes(), Vec::new());
    let channels = Channels::new(metrics.clone(), version, visitor);
    let mut side = Side { channels, keys, outbox: &outbox, stopping: &stopping, replies };

    let close = {
        let mut writing = pin!(write_all(&mut writer, version, &outbox));
        // Reads as much as there is, and then answers it at once.
        let close = tokio::select! {
            biased;
            close = read_all(&mut reader, &metrics, &mut side) => close,
            failed = &mut writing => {
                tracing::debug!(error = ?failed.err(), "a client could not be written to");
                return;
            }
        };
        outbox.close();
        // What is durable by now, or soon, is still acknowledged.
        if close.code.is_none() || writing.await.is_err() {
            return;
        }
        close
    };
    tracing::debug!(code = close.code, reason = close.reason, "closing a websocket");
    let Some(code) = close.code else { return };
    writer.close(code, &close.reason);
    // Whether the client hears it or not, this is the end.
    drop(timeout(WRITE_MAX, writer.flush()).await);
    drop(timeout(LINGER_MAX, Box::pin(end(&mut read, &mut write))).await);
}

/// Ends the connection once the client has, too.
///
/// A connection that ends with something unread is reset, and a reset overtakes what the client has not read: it would
/// not hear of what was acknowledged last, nor why the websocket is closed.
async fn end(read: &mut (impl AsyncRead + Unpin), write: &mut (impl AsyncWrite + Unpin)) {
    let mut unread = [0; 1_024];
    if write.shutdown().await.is_ok() {
        while let Ok(1..) = read.read(&mut unread).await {}
    }
}

/// Reads until there is a reason to close.
async fn read_all(
    reader: &mut Reader<impl AsyncRead + Unpin>,
    metrics: &Metrics,
    side: &mut Side<'_>,
) -> Close {
    let version = side.channels.version();
    let mut budget = Budget::default();
    let (mut silent_since, mut heard) = (Instant::now(), metrics.moment());
    let close = loop {
        if let Err(close) = side.until(None, pin!(metrics.ready())).await {
            break close;
        }
        // What the client sent while nothing was read did not come too late.
        silent_since = Instant::now();
        // Dropped only to end the connection: it may have read half a frame.
        let silent_at = Some(silent_since + SILENCE_MAX);
        let frame = match side.until(silent_at, pin!(reader.next())).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break Close::new(NORMAL, &"nothing was heard for too long"),
            Err(close) => break close,
        };
        heard = metrics.moment();
        let said = match Said::read(version, frame) {
            Ok(said) => said,
            Err(close) => break close,
        };
        if let Err(close) = side.act(said, &mut budget).await {
            break close;
        }
    };
    // A client that was silent may have stopped playing any time since it was last heard of.
    let lost = match close.code {
        Some(NORMAL) if SILENCE_MAX <= silent_since.elapsed() => heard,
        _ => metrics.moment(),
    };
    // The writer of the store does not need anybody to wait for it.
    drop(side.channels.lose(lost));
    close
}

/// What one socket may send, however fast it sends.
#[derive(Debug, Default)]
struct Budget {
    frames: Bucket,
    joins: Bucket,
}

impl Budget {
    /// Takes what was said off, and returns when it may be acted upon. Nothing more is read before.
    fn take(&mut self, said: &Said<'_>, now: Instant) -> Instant {
        let at = self.frames.take(FRAMES, now);
        match said {
            Said::Message(message) if message.is_join() => at.max(self.joins.take(JOINS, now)),
            _ => at,
        }
    }
}

/// What a client said in one frame.
enum Said<'a> {
    Message(Message<'a>),
    Push(BinaryPush<'a>),
    Ping(&'a [u8]),
    Nothing,
    Close(Option<u16>),
}

impl<'a> Said<'a> {
    fn read(version: Version, frame: Result<Incoming<'a>, ReadError>) -> Result<Self, Close> {
        let malformed = |err: DecodeError| Close::new(err.close_code(), &err);
        Ok(match frame {
            Ok(Incoming::Text(text)) => {
                Self::Message(Message::decode(version, text).map_err(malformed)?)
            }
            Ok(Incoming::Binary(bytes)) => {
                Self::Push(BinaryPush::decode(version, bytes).map_err(malformed)?)
            }
            Ok(Incoming::Ping(payload)) => Self::Ping(payload),
            Ok(Incoming::Alive) => Self::Nothing,
            Ok(Incoming::Close(code)) => Self::Close(code),
            Err(err) => return Err(Close { code: err.close_code(), reason: err.to_string() }),
        })
    }
}

/// The server's side of a websocket, which has more to heed than what the client says.
struct Side<'a> {
    channels: Channels,
    keys: KeyChanges,
    outbox: &'a Outbox,
    stopping: &'a CancellationToken,
    // What is to be handed on; without memory in between.
    replies: Vec<Reply>,
}

impl Side<'_> {
    /// Acts on what was said, once there is room for it.
    ///
    /// A function of its own, so that a socket that waits for the next frame has no room for what this needs.
    async fn act(&mut self, said: Said<'_>, budget: &mut Budget) -> Result<(), Close> {
        let now = Instant::now();
        let room_at = budget.take(&said, now);
        if now < room_at
            // On the heap: hardly any socket ever says too much.
            && let Err(close) = Box::pin(self.until(Some(room_at), pin!(pending::<()>()))).await
            // What was read is handled to its end, also when the server stops meanwhile.
            && close.code.is_none()
        {
            return Err(close);
        }
        match said {
            Said::Message(ref message) => self.channels.handle(message, &mut self.replies).await,
            Said::Push(ref push) => self.channels.refuse(push, &mut self.replies),
            Said::Ping(payload) => self.replies.push(Reply::Pong(payload.to_vec())),
            Said::Nothing => {}
            Said::Close(code) => return Err(Close::new(code.unwrap_or(NORMAL), &"")),
        }
        self.forward().await;
        Ok(())
    }

    /// Waits for a future, and until no later than a moment. What else happens meanwhile is seen to.
    ///
    /// Takes the future where it is: as a value it would be in here twice, in every socket all the time.
    async fn until<T>(
        &mut self,
        moment: Option<Instant>,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Result<Option<T>, Close> {
        let mut late = pin!(sleep_until(moment.unwrap_or_else(Instant::now)));
        loop {
            // What is there already needs no look at anything else. A client that always has something to say soon
            // has to wait for its budget, and the rest is seen to then.
            tokio::select! {
                biased;
                output = &mut future => return Ok(Some(output)),
                () = self.keys.changed() => {
                    self.channels.revoke(&self.keys, &mut self.replies);
                    self.forward().await;
                }
                () = &mut late, if moment.is_some() => return Ok(None),
                () = self.stopping.cancelled() => {
                    return Err(Close::new(GOING_AWAY, &"the server stops"));
                }
            }
        }
    }

    /// Hands replies to the writing half.
    async fn forward(&mut self) {
        while !self.replies.is_empty() {
            self.outbox.room().await;
            self.outbox.put(&mut self.replies);
        }
        self.replies = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use metrics_core::store::SqliteStore;

    use super::*;

    /// How large the task of a socket may be, in bytes. There may be a hundred thousand of them, most of which do nothing.
    const TASK_BYTES_MAX: usize = 1_856;

    #[tokio::test]
    async fn the_task_of_a_socket_is_small() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        let (stream, _client) = tokio::io::duplex(1);
        let version = Version::from_vsn(None).unwrap();
        let (visitor, stopping) = (Arc::default(), CancellationToken::new());
        let halves = tokio::io::split(stream);
        let task = run(halves, Metrics::new(store), version, visitor, stopping);
        assert!(size_of_val(&task) <= TASK_BYTES_MAX, "{} bytes", size_of_val(&task));
    }
}

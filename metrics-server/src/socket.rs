//! One websocket's life.
//!
//! It reads and writes at the same time: while events wait to be durable, heartbeats are answered and more events
//! are read. What was read is always handled to its end; only the wait for the next frame is raced.

mod outbox;

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use metrics_core::{KeyChanges, Metrics};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
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
pub(crate) async fn run(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    metrics: Metrics,
    version: Version,
    visitor: Visitor,
    stopping: CancellationToken,
) {
    let (mut read, mut write) = tokio::io::split(stream);
    let (reader, mut writer) = split(Vec::new(), &mut read, &mut write);
    let channels = Channels::new(metrics.clone(), version, visitor);
    let outbox = Outbox::default();

    let close = {
        let mut writing = pin!(write_all(&mut writer, version, &outbox));
        // Reads as much as there is, and then answers it at once.
        let close = tokio::select! {
            biased;
            close = read_all(reader, &metrics, channels, &outbox, &stopping) => close,
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
    mut reader: Reader<impl AsyncRead + Unpin>,
    metrics: &Metrics,
    channels: Channels,
    outbox: &Outbox,
    stopping: &CancellationToken,
) -> Close {
    let (keys, version) = (metrics.key_changes(), channels.version());
    let mut side = Side { channels, keys, outbox, stopping, replies: Vec::with_capacity(1) };
    let mut budget = Budget::default();
    let (mut silent_since, mut heard) = (Instant::now(), metrics.moment());
    let close = loop {
        if let Err(close) = side.until(None, metrics.ready()).await {
            break close;
        }
        // What the client sent while nothing was read did not come too late.
        silent_since = Instant::now();
        // Dropped only to end the connection: it may have read half a frame.
        let frame = match side.until(Some(silent_since + SILENCE_MAX), reader.next()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break Close::new(NORMAL, &"nothing was heard for too long"),
            Err(close) => break close,
        };
        heard = metrics.moment();
        let said = match Said::read(version, frame) {
            Ok(said) => said,
            Err(close) => break close,
        };
        let now = Instant::now();
        let room_at = budget.take(&said, now);
        if now < room_at
            && let Err(close) = side.until(Some(room_at), pending::<()>()).await
            // What was read is handled to its end, also when the server stops meanwhile.
            && close.code.is_none()
        {
            break close;
        }
        if let Err(close) = side.act(&said).await {
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
    // With room for one: hardly ever is there more to say at once.
    replies: Vec<Reply>,
}

impl Side<'_> {
    /// Acts on what was said.
    async fn act(&mut self, said: &Said<'_>) -> Result<(), Close> {
        match *said {
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
    async fn until<T>(
        &mut self,
        moment: Option<Instant>,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, Close> {
        let late = async {
            match moment {
                Some(moment) => sleep_until(moment).await,
                None => pending().await,
            }
        };
        let (mut future, mut late) = (pin!(future), pin!(late));
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
                () = &mut late => return Ok(None),
                () = self.stopping.cancelled() => {
                    return Err(Close::new(GOING_AWAY, &"the server stops"));
                }
            }
        }
    }

    /// Hands replies to the writing half.
    async fn forward(&mut self) {
        for reply in self.replies.drain(..) {
            self.outbox.put(reply).await;
        }
    }
}

//! One websocket's life.
//!
//! It reads and writes at the same time: while events wait to be durable, heartbeats are answered and more events
//! are read. What was read is always handled to its end; only the wait for the next frame is raced.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::time::Duration;

use fastwebsockets::{Frame, Payload, WebSocketError, WebSocketWrite};
use metrics_core::Metrics;
use metrics_core::recorder::NotStored;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channels, Pending, Reply, Visitor};
use crate::frames::{Incoming, Reader, split};
use crate::patience::WRITE_MAX;
use crate::phoenix::{BinaryPush, Message, Version};

/// How long a client may send nothing. Heartbeats come every 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long a client may take to hear that the websocket is closed: a round trip over a bad network.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// How many answers may wait to be written before no more is read.
const OUTBOX_MAX: usize = 32;

/// How many events of one socket may wait to be durable before no more is read.
const PENDING_MAX: usize = 1_024;

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
    let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);

    let close = {
        let mut writing = pin!(write_all(&mut writer, version, inbox));
        let close = tokio::select! {
            close = read_all(reader, &metrics, channels, outbox, &stopping) => close,
            failed = &mut writing => {
                tracing::debug!(error = ?failed.err(), "a client could not be written to");
                return;
            }
        };
        // What is durable by now, or soon, is still acknowledged.
        if close.code.is_none() || writing.await.is_err() {
            return;
        }
        close
    };
    tracing::debug!(code = close.code, reason = close.reason, "closing a websocket");
    let Some(code) = close.code else { return };
    let frame = Frame::close(code, close.reason.as_bytes());
    // Whether the client hears it or not, this is the end.
    drop(timeout(WRITE_MAX, writer.write_frame(frame)).await);
    drop(timeout(LINGER_MAX, end(&mut read, &mut write)).await);
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
    mut channels: Channels,
    outbox: mpsc::Sender<Reply>,
    stopping: &CancellationToken,
) -> Close {
    let mut keys = metrics.key_changes();
    let mut replies = Vec::new();
    let mut heard = (Instant::now(), metrics.moment());
    let close = loop {
        metrics.ready().await;
        let frame = {
            // Dropped only to end the connection: it may have read half a frame.
            let mut next = pin!(reader.next());
            loop {
                tokio::select! {
                    frame = &mut next => break Ok(frame),
                    () = keys.changed() => {
                        channels.revoke(&keys, &mut replies);
                        if forward(&outbox, &mut replies).await.is_err() {
                            break Err(Close { code: None, reason: String::new() });
                        }
                    }
                    () = sleep_until(heard.0 + SILENCE_MAX) => {
                        break Err(Close::new(NORMAL, &"nothing was heard for too long"));
                    }
                    () = stopping.cancelled() => {
                        break Err(Close::new(GOING_AWAY, &"the server stops"));
                    }
                }
            }
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(close) => break close,
        };
        heard = (Instant::now(), metrics.moment());
        if let Err(close) = act(frame, &mut channels, &mut replies).await {
            break close;
        }
        if forward(&outbox, &mut replies).await.is_err() {
            break Close { code: None, reason: String::new() };
        }
    };
    // A client that was silent may have stopped playing any time since it was last heard of.
    let lost = match close.code {
        Some(NORMAL) if SILENCE_MAX <= heard.0.elapsed() => heard.1,
        _ => metrics.moment(),
    };
    // The writer of the store does not need anybody to wait for it.
    drop(channels.lose(lost));
    close
}

/// Acts on what was read, and appends what there is to say.
async fn act(
    frame: Result<Incoming<'_>, crate::frames::ReadError>,
    channels: &mut Channels,
    replies: &mut Vec<Reply>,
) -> Result<(), Close> {
    let version = channels.version();
    match frame {
        Ok(Incoming::Text(text)) => match Message::decode(version, text) {
            Ok(message) => channels.handle(message, replies).await,
            Err(err) => return Err(Close::new(err.close_code(), &err)),
        },
        Ok(Incoming::Binary(bytes)) => match BinaryPush::decode(version, bytes) {
            Ok(push) => channels.refuse(&push, replies),
            Err(err) => return Err(Close::new(err.close_code(), &err)),
        },
        Ok(Incoming::Ping(payload)) => replies.push(Reply::Pong(payload.to_vec())),
        Ok(Incoming::Alive) => {}
        Ok(Incoming::Close(code)) => return Err(Close::new(code.unwrap_or(NORMAL), &"")),
        Err(err) => return Err(Close { code: err.close_code(), reason: err.to_string() }),
    }
    Ok(())
}

/// Hands replies to the writing half. Fails when that has ended.
async fn forward(outbox: &mpsc::Sender<Reply>, replies: &mut Vec<Reply>) -> Result<(), ()> {
    for reply in replies.drain(..) {
        outbox.send(reply).await.map_err(drop)?;
    }
    Ok(())
}

/// Writes answers in the order in which they are due, until there will be no more.
async fn write_all<S: AsyncWrite + Unpin>(
    writer: &mut WebSocketWrite<S>,
    version: Version,
    mut inbox: mpsc::Receiver<Reply>,
) -> Result<(), WebSocketError> {
    let mut pending: VecDeque<Pending> = VecDeque::new();
    let mut texts = Vec::new();
    let mut open = true;
    while open || !pending.is_empty() {
        tokio::select! {
            stored = first(&mut pending) => {
                if let Some(done) = pending.pop_front() {
                    done.encode(version, stored, &mut texts);
                }
                for text in texts.drain(..) {
                    write(writer, Frame::text(Payload::Owned(text.into_bytes()))).await?;
                }
            }
            reply = inbox.recv(), if open && pending.len() < PENDING_MAX => match reply {
                Some(Reply::Durable(event)) => pending.push_back(event),
                Some(Reply::Now(text)) => {
                    write(writer, Frame::text(Payload::Owned(text.into_bytes()))).await?;
                }
                Some(Reply::Pong(payload)) => {
                    write(writer, Frame::pong(Payload::Owned(payload))).await?;
                }
                None => open = false,
            },
        }
    }
    Ok(())
}

/// Waits for the oldest event to be durable; for ever, if there is none. Cancel safe.
async fn first(pending: &mut VecDeque<Pending>) -> Result<(), NotStored> {
    match pending.front_mut() {
        Some(event) => event.durable().await,
        None => std::future::pending().await,
    }
}

async fn write<S: AsyncWrite + Unpin>(
    writer: &mut WebSocketWrite<S>,
    frame: Frame<'_>,
) -> Result<(), WebSocketError> {
    let slow = |_| WebSocketError::IoError(io::ErrorKind::TimedOut.into());
    timeout(WRITE_MAX, writer.write_frame(frame)).await.map_err(slow)?
}

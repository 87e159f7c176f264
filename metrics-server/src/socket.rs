//! Runs one websocket from start to end.
//!
//! It reads and writes at the same time: while events wait to be durable, heartbeats are answered and more events are
//! read. Input that was read is always handled to its end; only the wait for the next frame is raced.

use std::pin::pin;
use std::sync::Arc;

use metrics_core::{Metrics, budget as memory};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channels, ConnectionInfo};
use crate::code::Code;
use crate::connection::{
    Budget, Close, Connection, GOING_AWAY, Input, LINGER_MAX, NORMAL, SILENCE_MAX, UNJOINED,
    UNJOINED_MAX,
};
use crate::frames::{Incoming, ReadError, Reader, split};
use crate::outbox::{Outbox, Sink as _, write_all};
use crate::phoenix::Version;

/// Serves one client until either side ends the websocket.
///
/// Takes the stream as its halves: a whole stream would occupy memory beside them.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Send + Unpin>(
    (mut read, mut write): (ReadHalf<S>, WriteHalf<S>),
    metrics: Metrics,
    version: Version,
    info: Arc<ConnectionInfo>,
    messages: memory::Budget,
    stopping: CancellationToken,
) {
    let (mut reader, mut writer) = split(Vec::new(), &mut read, &mut write, messages);
    let outbox = Outbox::default();
    let channels = Channels::new(metrics.clone(), version, info);
    let mut connection = Connection::new(channels, metrics.key_changes(), &outbox, &stopping);

    let close = {
        let mut writing = pin!(write_all(&mut writer, version, &outbox));
        // Reading comes first, as long as there is input; the replies are written after it.
        let close = tokio::select! {
            biased;
            close = read_all(&mut reader, &metrics, &mut connection) => close,
            failed = &mut writing => {
                tracing::debug!(error = ?failed.err(), "could not write to a client");
                return;
            }
        };
        outbox.close();
        // Events that are durable by now, or soon, are still acknowledged.
        if close.code.is_none() || writing.await.is_err() {
            return;
        }
        close
    };
    tracing::debug!(code = close.code, reason = close.reason, "closing a websocket");
    let Some(code) = close.code else { return };
    writer.close(code, &close.reason);
    // The websocket ends here, even if the close frame does not arrive.
    drop(writer.flush().await);
    drop(timeout(LINGER_MAX, Box::pin(end(&mut read, &mut write))).await);
}

/// Ends the connection once the client has ended it, too.
///
/// A connection that ends with unread input is reset, and a reset overtakes bytes that the client has not read: the
/// client would miss the last acknowledgements and the reason of the close.
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
    connection: &mut Connection<'_>,
) -> Close {
    let version = connection.channels.version();
    let mut budget = Budget::default();
    let (mut silent_since, mut last_received) = (Instant::now(), metrics.moment());
    // The deadline for a socket without a joined topic; heartbeats do not extend it.
    let mut unjoined_at = silent_since + UNJOINED_MAX;
    let close = loop {
        silent_since = Instant::now();
        if let Err(close) = connection.until(None, pin!(metrics.ready())).await {
            break close;
        }
        // Frames that the client sent while nothing was read are not late.
        let now = Instant::now();
        unjoined_at += now - silent_since;
        silent_since = now;
        let late = if connection.channels.is_empty() {
            unjoined_at
        } else {
            unjoined_at = now + UNJOINED_MAX;
            now + SILENCE_MAX
        };
        if late <= now {
            break Close::new(GOING_AWAY, &UNJOINED, Code::SessionOver);
        }
        // Dropped only to end the connection: it may have read half a frame.
        let frame = match connection.until(Some(late), pin!(reader.next())).await {
            Ok(Some(frame)) => frame,
            Ok(None) if connection.channels.is_empty() => {
                break Close::new(GOING_AWAY, &UNJOINED, Code::SessionOver);
            }
            Ok(None) => {
                let reason = "no message was received in time";
                break Close::new(NORMAL, &reason, Code::SessionOver);
            }
            Err(close) => break close,
        };
        last_received = metrics.moment();
        let input = match input(version, frame) {
            Ok(input) => input,
            Err(close) => break close,
        };
        if let Err(close) = connection.act(input, &mut budget).await {
            break close;
        }
    };
    // A client that was silent may have stopped playing any time since its last message.
    let lost = match close.code {
        Some(NORMAL) if SILENCE_MAX <= silent_since.elapsed() => last_received,
        _ => metrics.moment(),
    };
    // The store's writer needs no caller to wait for it.
    drop(connection.channels.lose(lost));
    close
}

/// Decodes the frame that was read.
fn input(version: Version, frame: Result<Incoming<'_>, ReadError>) -> Result<Input<'_>, Close> {
    match frame? {
        Incoming::Text(text) => Input::text(version, text),
        Incoming::Binary(bytes) => Input::binary(version, bytes),
        Incoming::Ping(payload) => Ok(Input::Ping(payload)),
        Incoming::Alive => Ok(Input::Nothing),
        Incoming::Close(code) => Ok(Input::Close(code)),
    }
}

#[cfg(test)]
mod tests {
    use metrics_core::store::SqliteStore;

    use super::*;

    /// The largest task of a socket, in bytes. There may be a hundred thousand of them, and most do nothing.
    const TASK_BYTES_MAX: usize = 1_968;

    #[tokio::test]
    async fn the_task_of_a_socket_is_small() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        let (stream, _client) = tokio::io::duplex(1);
        let version = Version::from_vsn(None).unwrap();
        let (info, stopping) = (Arc::default(), CancellationToken::new());
        let halves = tokio::io::split(stream);
        let messages = memory::Budget::new(1 << 20);
        let task = run(halves, Metrics::new(store), version, info, messages, stopping);
        assert!(size_of_val(&task) <= TASK_BYTES_MAX, "{} bytes", size_of_val(&task));
    }
}

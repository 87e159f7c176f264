//! A connection whose requests reserve memory while they arrive.
//!
//! Hyper buffers a header until it is complete, up to 64 KiB. An attacker who begins a header on each of many
//! connections would make the server hold all of them, each within its limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use metrics_core::budget::{Budget, Reservation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of a request that the memory of its connection includes: most headers are smaller.
const FREE_BYTES: usize = 8 * 1024;

/// The maximum number of further bytes that hyper buffers.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The size by which a reservation grows.
const STEP_BYTES: usize = 8 * 1024;

/// The progress of a connection's requests: after an even number of steps, the server waits for a header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicUsize>);

impl Progress {
    const UPGRADED: usize = usize::MAX;

    /// Records that the header of a request is complete, or its response: the bytes read before are no longer buffered.
    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Records that the connection becomes a websocket, which reserves memory itself.
    pub(crate) fn upgrade(&self) {
        self.0.store(Self::UPGRADED, Relaxed);
    }
}

/// A stream that yields no more bytes while there is no memory for them.
pub(crate) struct Reads<S> {
    stream: S,
    memory: Budget,
    progress: Progress,
    // The step to which `read_bytes` belongs.
    step: usize,
    read_bytes: usize,
    held: Option<Reservation>,
    // `Some` only while nothing is left to reserve.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Reads<S> {
    pub(crate) fn new(stream: S, memory: Budget, progress: Progress) -> Self {
        Self { stream, memory, progress, step: 0, read_bytes: 0, held: None, waiting: None }
    }

    /// Reserves the memory for the next read.
    fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let step = self.progress.0.load(Relaxed);
        if step != self.step {
            (self.step, self.read_bytes, self.held) = (step, 0, None);
        }
        if step == Progress::UPGRADED {
            return Poll::Ready(());
        }
        // `body.rs` reads a body only as far as there is memory for it. Hyper reads only a few bytes ahead.
        let is_body = step % 2 == 1;
        let kept = self.read_bytes.saturating_sub(FREE_BYTES).min(KEPT_BYTES_MAX);
        loop {
            let held = self.held.as_ref().map_or(0, Reservation::bytes);
            if kept <= held {
                self.waiting = None;
                return Poll::Ready(());
            }
            let bytes = (kept - held).next_multiple_of(STEP_BYTES);
            let is_reserved = match &mut self.held {
                Some(held) if is_body => {
                    held.charge(bytes);
                    true
                }
                None if is_body => {
                    self.held = Some(self.memory.charge(bytes));
                    true
                }
                Some(held) => held.try_grow(bytes),
                None => {
                    self.held = self.memory.try_reserve(bytes);
                    self.held.is_some()
                }
            };
            if !is_reserved {
                let memory = &self.memory;
                let waiting = self.waiting.get_or_insert_with(|| {
                    let memory = memory.clone();
                    Box::pin(async move { drop(memory.reserve(bytes).await) })
                });
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Reads<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_reserve(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.read_bytes = this.read_bytes.saturating_add(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reads<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_header_reserves_while_it_arrives() {
        let (mut client, server) = duplex(1 << 20);
        let (memory, progress) = (Budget::new(20_000), Progress::default());
        let mut server = Reads::new(server, memory.clone(), progress.clone());
        client.write_all(&[b'x'; 100_000]).await.unwrap();
        let mut buffer = [0; 4_096];
        let mut read = 0;
        // The unaccounted bytes, the reserved bytes, and one more read.
        while let Ok(count) =
            tokio::time::timeout(std::time::Duration::ZERO, server.read(&mut buffer)).await
        {
            read += count.unwrap();
        }
        assert!((20_000..32_000).contains(&read), "{read}");
        assert!(0 < memory.used() && memory.used() <= 20_000, "{memory:?}");

        progress.step();
        assert!(0 < server.read(&mut buffer).await.unwrap());
        assert_eq!(memory.used(), 0);
        progress.upgrade();
        server.read_exact(&mut vec![0; 60_000]).await.unwrap();
        assert_eq!(memory.used(), 0);
    }
}

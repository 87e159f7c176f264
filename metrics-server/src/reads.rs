//! A connection whose requests reserve memory while they arrive.
//!
//! The HTTP side keeps a header until it is whole, up to 64 KiB of it. A stranger who begins one on each of many
//! connections would have the server hold all of them, within the limit of each.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use metrics_core::budget::{Budget, Reservation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of a request is a part of what its connection takes: headers of most requests have less.
const FREE_BYTES: usize = 8 * 1024;

/// How much more the HTTP side keeps at most.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// By how much a reservation grows.
const STEP_BYTES: usize = 8 * 1024;

/// Says how far the requests of a connection are: after an even number of steps, a header is awaited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicUsize>);

impl Progress {
    const UPGRADED: usize = usize::MAX;

    /// The header of a request is whole, or its response is: what was read before is not kept any more.
    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The connection becomes a websocket, which reserves by itself.
    pub(crate) fn upgrade(&self) {
        self.0.store(Self::UPGRADED, Relaxed);
    }
}

/// A stream that yields nothing more while there is no memory for it.
pub(crate) struct Reads<S> {
    stream: S,
    memory: Budget,
    progress: Progress,
    // The step that `read_bytes` are of.
    step: usize,
    read_bytes: usize,
    held: Option<Reservation>,
    // There only while nothing is left to reserve.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Reads<S> {
    pub(crate) fn new(stream: S, memory: Budget, progress: Progress) -> Self {
        Self { stream, memory, progress, step: 0, read_bytes: 0, held: None, waiting: None }
    }

    /// Reserves what the next read may add.
    fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let step = self.progress.0.load(Relaxed);
        if step != self.step {
            (self.step, self.read_bytes, self.held) = (step, 0, None);
        }
        if step == Progress::UPGRADED {
            return Poll::Ready(());
        }
        // A body is read only as far as there is memory for it: see `body.rs`. What is read ahead of that is little.
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
        // What is free, what was reserved, and one read more.
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

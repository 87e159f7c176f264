//! A connection with a write timeout.
//!
//! A client that sends requests and never reads would hold its response and its connection permit forever: the system
//! keeps such a connection open as long as the client's system does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The write timeout: the time that a client may read nothing. A network that recovers takes less.
pub(crate) const WRITE_MAX: Duration = Duration::from_secs(30);

/// A stream whose writes fail if the client reads nothing for [`WRITE_MAX`].
pub(crate) struct WriteTimeout<S> {
    stream: S,
    // `Some` only while a write waits: most writes never wait.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> WriteTimeout<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, waiting: None }
    }

    /// Polls a write of the stream, and fails if the stream has been blocked for too long.
    fn poll<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = write(Pin::new(&mut this.stream), cx) {
            this.waiting = None;
            return Poll::Ready(written);
        }
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(WRITE_MAX)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_accepts_no_byte_fails() {
        let (_client, server) = duplex(16);
        let mut server = WriteTimeout::new(server);
        let began = Instant::now();
        let err = server.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), WRITE_MAX.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readers_are_waited_for() {
        let (mut client, server) = duplex(16);
        let mut server = WriteTimeout::new(server);
        let reading = async {
            for _ in 0..10 {
                sleep(WRITE_MAX - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let writing = async { server.write_all(&[0; 160]).await.unwrap() };
        tokio::join!(reading, writing);
    }
}

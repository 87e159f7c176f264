//! Stores that fail in the middle of a copy.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use metrics_core::store::Error;
use metrics_testing::{Call, Method, Way};

fn unavailable() -> Error {
    Error::Unavailable { store: "a flaky store", source: "the connection is lost".into() }
}

/// Loses two calls of three, one of them after it has happened.
#[derive(Debug, Default)]
pub(crate) struct Flaky {
    calls: AtomicUsize,
}

#[async_trait]
impl Way for Flaky {
    async fn go<T: Send + 'static>(&self, _method: Method, call: Call<T>) -> Result<T, Error> {
        match self.calls.fetch_add(1, Relaxed) % 3 {
            0 => Err(unavailable()),
            1 => call.await.and(Err(unavailable())),
            _ => call.await,
        }
    }
}

/// Does nothing any more after so many calls.
#[derive(Debug)]
pub(crate) struct Ill {
    calls: AtomicUsize,
    most: usize,
    away: bool,
}

impl Ill {
    pub(crate) fn away_after(most: usize) -> Self {
        Self { calls: AtomicUsize::new(0), most, away: true }
    }

    pub(crate) fn refusing_after(most: usize) -> Self {
        Self { away: false, ..Self::away_after(most) }
    }
}

#[async_trait]
impl Way for Ill {
    async fn go<T: Send + 'static>(&self, _method: Method, call: Call<T>) -> Result<T, Error> {
        if self.calls.fetch_add(1, Relaxed) < self.most {
            return call.await;
        }
        let (store, operation) = ("an ill store", "do it");
        let source = "it is ill".into();
        Err(if self.away { unavailable() } else { Error::Rejected { store, operation, source } })
    }
}

/// Takes too long to sum plays, the first times.
#[derive(Debug)]
pub(crate) struct TooLong {
    left: AtomicUsize,
}

impl TooLong {
    pub(crate) fn first(times: usize) -> Self {
        Self { left: AtomicUsize::new(times) }
    }
}

#[async_trait]
impl Way for TooLong {
    async fn go<T: Send + 'static>(&self, method: Method, call: Call<T>) -> Result<T, Error> {
        let one_less = |left: usize| left.checked_sub(1);
        if method == Method::Plays && self.left.fetch_update(Relaxed, Relaxed, one_less).is_ok() {
            return Err(Error::TimedOut { store: "a slow store", seconds: 30 });
        }
        call.await
    }
}

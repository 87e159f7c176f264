//! Stores that fail in the middle of a copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use metrics_core::store::Error;
use metrics_testing::{Call, Intercept, Method};

fn unavailable() -> Error {
    Error::Unavailable { store: "a flaky store", source: "the connection is lost".into() }
}

/// Loses half of the calls, one in four after it has happened; and every fifth that opens a snapshot, but none of the
/// many that read it: a try would never end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flaky {
    calls: Arc<AtomicUsize>,
    snapshots: Arc<AtomicUsize>,
}

#[async_trait]
impl Intercept for Flaky {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        let number = match method {
            Method::Read | Method::Totals | Method::Videos => return call.await,
            Method::Snapshot if self.snapshots.fetch_add(1, Relaxed).is_multiple_of(5) => 0,
            Method::Snapshot => 1,
            _ => self.calls.fetch_add(1, Relaxed) % 4,
        };
        match number {
            0 => Err(unavailable()),
            2 => call.await.and(Err(unavailable())),
            _ => call.await,
        }
    }
}

/// Does nothing any more after so many calls.
#[derive(Clone, Debug)]
pub(crate) struct FailsAfter {
    calls: Arc<AtomicUsize>,
    most: usize,
    is_unavailable: bool,
}

impl FailsAfter {
    pub(crate) fn unavailable_after(most: usize) -> Self {
        Self { calls: Arc::default(), most, is_unavailable: true }
    }

    pub(crate) fn refusing_after(most: usize) -> Self {
        Self { is_unavailable: false, ..Self::unavailable_after(most) }
    }
}

#[async_trait]
impl Intercept for FailsAfter {
    async fn intercept<T: Send + 'static>(
        &self,
        _method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        if self.calls.fetch_add(1, Relaxed) < self.most {
            return call.await;
        }
        let (store, operation) = ("an ill store", "do it");
        let source = "it is ill".into();
        Err(if self.is_unavailable {
            unavailable()
        } else {
            Error::Rejected { store, operation, source }
        })
    }
}

/// Takes too long to read totals, the first times.
#[derive(Clone, Debug)]
pub(crate) struct TooLong {
    remaining: Arc<AtomicUsize>,
}

impl TooLong {
    pub(crate) fn first(times: usize) -> Self {
        Self { remaining: Arc::new(AtomicUsize::new(times)) }
    }
}

#[async_trait]
impl Intercept for TooLong {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        let one_less = |remaining: usize| remaining.checked_sub(1);
        if method == Method::Totals
            && self.remaining.fetch_update(Relaxed, Relaxed, one_less).is_ok()
        {
            return Err(Error::TimedOut { store: "a slow store", seconds: 30 });
        }
        call.await
    }
}

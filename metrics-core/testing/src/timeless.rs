//! Databases in tests whose clock is paused.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use metrics_core::store::{Error, Store};
use tokio::runtime::{Builder, Runtime};

use crate::through::{Call, Method, Through, Way};

/// A clock that is paused jumps to the next timer whenever everybody waits, also if it is for a database. It does
/// not while a blocking call runs; so that is what each call is made to be, and it is run by a clock of its own.
static CLOCK_THAT_RUNS: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made")
});

/// Runs a future where the clock is not paused, while a clock that is paused here stands still. It runs to its end,
/// also if this is dropped.
pub async fn elsewhere<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let ran = tokio::task::spawn_blocking(move || CLOCK_THAT_RUNS.block_on(future)).await;
    ran.unwrap_or_else(|err| match err.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(err) => panic!("{err}"),
    })
}

/// See [`Timeless`].
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere;

/// A store whose calls take no time, by a clock that is paused.
pub type Timeless = Through<Elsewhere>;

impl Timeless {
    /// Makes the calls of `store` take no time. It must have been opened [`elsewhere`].
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store), way: Elsewhere }
    }
}

#[async_trait]
impl Way for Elsewhere {
    async fn go<T: Send + 'static>(&self, _method: Method, call: Call<T>) -> Result<T, Error> {
        elsewhere(call).await
    }
}

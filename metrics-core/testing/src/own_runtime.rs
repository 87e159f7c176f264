//! Databases in tests whose clock is paused.

use std::sync::LazyLock;

use async_trait::async_trait;
use metrics_core::conformance::{Call, Intercept, Method};
use metrics_core::store::Error;
use tokio::runtime::{Builder, Runtime};

/// A paused clock jumps to the next timer when all tasks wait, even if a task waits for a database. The clock does not
/// jump during a blocking call; so each call of a store runs as a blocking call, on a runtime with a running clock.
static CLOCK_THAT_RUNS: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made")
});

/// Runs a future on a runtime with a running clock, while the paused clock of this runtime stands still. The future
/// runs to its end, even if this is dropped.
pub async fn on_own_runtime<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let ran = tokio::task::spawn_blocking(move || CLOCK_THAT_RUNS.block_on(future)).await;
    ran.unwrap_or_else(|err| match err.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(err) => panic!("{err}"),
    })
}

/// Makes the calls of a store take no time by a paused clock. The store must have been opened [`on_own_runtime`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnRuntime;

#[async_trait]
impl Intercept for OwnRuntime {
    async fn intercept<T: Send + 'static>(
        &self,
        _method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        on_own_runtime(call).await
    }
}

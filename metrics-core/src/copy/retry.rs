//! Retries of calls while a store is unavailable.

use std::time::Duration;

use tokio::time::sleep;

use crate::store::Error;

/// Backoff before each retry while a store is unavailable: half a minute in all, in which a database can restart.
const PAUSES_SECONDS: [u64; 5] = [1, 2, 4, 8, 15];

/// Calls a store, with retries while it is unavailable.
pub(super) async fn with_retries<T, F: Future<Output = Result<T, Error>>>(
    call: impl Fn() -> F,
) -> Result<T, Error> {
    for pause in PAUSES_SECONDS {
        match call().await {
            Err(err) if err.is_retryable() => {
                tracing::warn!(
                    error = &err as &dyn std::error::Error,
                    "a store is unavailable; retrying in {pause} s"
                );
                sleep(Duration::from_secs(pause)).await;
            }
            done => return done,
        }
    }
    call().await
}

//! A store that closes sessions right after most commits, so that every case also covers closed sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::draft::{close, merge};
use super::intercepted::{Call, Intercept, Intercepted, Method};
use crate::store::{Error, Store};

/// Closes sessions without an open segment and merges blocks after three of four commits. The fourth keeps some
/// sessions open.
#[derive(Clone, Debug)]
pub struct Closing {
    store: Arc<dyn Store>,
    commits: Arc<AtomicU32>,
}

impl Closing {
    /// Wraps `store`.
    pub fn over(store: impl Store) -> Intercepted<Self> {
        let store: Arc<dyn Store> = Arc::new(store);
        Intercepted::by(Self { store: Arc::clone(&store), commits: Arc::default() }, store)
    }
}

#[async_trait]
impl Intercept for Closing {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        let answer = call.await?;
        let is_commit = method == Method::Commit;
        if is_commit && !self.commits.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            close(&*self.store).await;
            merge(&*self.store).await;
        }
        Ok(answer)
    }
}

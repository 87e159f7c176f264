//! Bounds the number of passwords that are hashed at once, and their memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Block;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::password::PasswordHash;
use crate::error::Error;

/// How many passwords are hashed at once: each takes some 19 MiB, in addition to the memory budget.
const HASHED_AT_ONCE: usize = 2;

/// How long a password waits for others.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Buffers that no hash uses. They are kept: the allocator would keep the memory of freed ones too, in an arena for each
/// thread that ever hashed a password.
type Buffers = Arc<Mutex<Vec<Vec<Block>>>>;

/// Permits to hash a password.
pub(super) struct Hashing {
    permits: Arc<Semaphore>,
    buffers: Buffers,
}

impl Default for Hashing {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(HASHED_AT_ONCE));
        Self { permits, buffers: Buffers::default() }
    }
}

impl Hashing {
    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] after [`WAIT_MAX`].
    pub(super) async fn permit(&self) -> Result<Permit, Error> {
        let permit = timeout(WAIT_MAX, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        Ok(Permit { buffers: Arc::clone(&self.buffers), _permit: permit })
    }
}

/// A permit to hash one password.
pub(super) struct Permit {
    buffers: Buffers,
    _permit: OwnedSemaphorePermit,
}

impl Permit {
    /// Checks whether a password has a hash, and passes the outcome to `record` before the permit ends.
    ///
    /// The thread that hashes owns the permit. A hash cannot be aborted: it goes on after the caller disconnected and
    /// this future was dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if the thread ends early.
    pub(super) async fn verify(
        self,
        expected: PasswordHash,
        password: String,
        record: impl FnOnce(bool) + Send + 'static,
    ) -> Result<bool, Error> {
        let hashing = spawn_blocking(move || self.hash(&expected, &password, record));
        hashing.await.map_err(|_| Error::Busy)
    }

    fn hash(self, expected: &PasswordHash, password: &str, record: impl FnOnce(bool)) -> bool {
        let free = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = free().pop().unwrap_or_default();
        let is_right = expected.verify(password.as_bytes(), &mut buffer);
        free().push(buffer);
        record(is_right);
        is_right
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    async fn verify(hashing: &Hashing) -> Result<bool, Error> {
        let permit = hashing.permit().await?;
        permit.verify(PasswordHash::unknown(), "password".to_owned(), |_| {}).await
    }

    #[tokio::test]
    async fn a_hash_keeps_its_permit_after_its_caller_disconnected() {
        let hashing = Hashing::default();
        {
            // No hash ends while the test has the buffers.
            let _buffers = hashing.buffers.lock().unwrap();
            for _ in 0..HASHED_AT_ONCE {
                let mut dropped = pin!(verify(&hashing));
                let mut context = Context::from_waker(Waker::noop());
                assert!(dropped.as_mut().poll(&mut context).is_pending());
            }
            assert_eq!(hashing.permits.available_permits(), 0);
        }
        for _ in 0..HASHED_AT_ONCE * 3 {
            assert!(!verify(&hashing).await.unwrap());
        }
        // The hashes of the dropped callers ended before the later ones or end now.
        let permits = u32::try_from(HASHED_AT_ONCE).unwrap();
        let _all = hashing.permits.acquire_many(permits).await.unwrap();
        let buffers = hashing.buffers.lock().unwrap();
        assert!((1..=HASHED_AT_ONCE).contains(&buffers.len()), "{}", buffers.len());
    }
}

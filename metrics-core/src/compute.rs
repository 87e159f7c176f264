//! Work for processors, off the threads that serve requests.

use std::cell::Cell;
use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

static PERMITS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(parallelism()));

thread_local! {
    // Whether this thread runs a task of `compute`.
    static COMPUTES: Cell<bool> = const { Cell::new(false) };
}

/// Panics in programs with debug assertions if the caller is not a task of [`compute`]: its work could delay
/// acknowledgements on a thread that serves.
pub fn expect_aside() {
    debug_assert!(is_aside(), "work of a report on a thread that may serve");
}

/// Returns whether the caller is a task of [`compute`].
#[must_use]
pub fn is_aside() -> bool {
    COMPUTES.get()
}

/// A task did not run to its end: the runtime stops, or the task panicked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Interrupted(JoinError);

/// Marks that a task runs on this thread, until it is dropped, also by a panic.
struct Computing;

impl Computing {
    fn here() -> Self {
        COMPUTES.set(true);
        Self
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        COMPUTES.set(false);
    }
}

/// Returns the number of tasks that compute at once.
#[must_use]
pub fn parallelism() -> usize {
    available_parallelism().map_or(1, |count| (count.get() - 1).max(1))
}

/// Runs `task` on a thread that may block, as soon as a processor is free for it. Tasks start in the order of the calls; a
/// task should end within some milliseconds, so that the others start soon.
///
/// Cancel safe: a task that has not started does not start, and one that has runs to its end.
///
/// # Errors
///
/// [`Interrupted`] if the runtime stops, or `task` panics.
pub async fn compute<T: Send + 'static>(
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    // The semaphore is never closed. The permit moves into the task: a caller that drops the future does not free the
    // processor.
    let permit = PERMITS.acquire().await;
    let computed = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let _computing = Computing::here();
        task()
    });
    computed.await.map_err(Interrupted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_more_tasks_compute_than_there_are_permits() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..16).map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            compute(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(1));
                running.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for done in futures_util::future::join_all(tasks).await {
            done.unwrap();
        }
        assert!((1..=parallelism()).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn only_tasks_are_aside() {
        assert!(!is_aside());
        assert_eq!(std::panic::catch_unwind(expect_aside).is_err(), cfg!(debug_assertions));
        assert!(compute(is_aside).await.unwrap());
        assert!(compute(|| panic!("expected")).await.is_err());
        // No thread that ran a task is still marked.
        for _ in 0..8 {
            assert!(!tokio::task::spawn_blocking(is_aside).await.unwrap());
        }
    }
}

//! A cache for answers that anybody may request at any time although they cost the store a query.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// An answer that one task at a time computes, and that is cached for a while.
#[derive(Debug)]
pub(crate) struct SingleFlight<T> {
    cached: Duration,
    running: Mutex<watch::Receiver<Option<(Instant, T)>>>,
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    pub(crate) fn new(cached: Duration) -> Self {
        // A closed channel: no answer is on its way.
        let (_, running) = watch::channel(None);
        Self { cached, running: Mutex::new(running) }
    }

    /// Returns the cached answer, or the answer that is being computed; otherwise runs `compute`, which finishes even
    /// if no caller waits for it. Returns `None` if the task fails. Cancel safe.
    pub(crate) async fn get<Q>(&self, compute: impl FnOnce() -> Q) -> Option<T>
    where
        Q: Future<Output = T> + Send + 'static,
    {
        let mut running = self.running(compute);
        let answered = running.wait_for(Option::is_some).await.ok()?;
        answered.as_ref().map(|(_, answer)| answer.clone())
    }

    fn running<Q>(&self, compute: impl FnOnce() -> Q) -> watch::Receiver<Option<(Instant, T)>>
    where
        Q: Future<Output = T> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let is_under_way = running.has_changed().is_ok();
        let is_new = running.borrow().as_ref().is_some_and(|(at, _)| at.elapsed() < self.cached);
        if !is_under_way && !is_new {
            let (answer, receiver) = watch::channel(None);
            let compute = compute();
            // The end of the process may drop the task: it changes nothing.
            tokio::spawn(async move {
                let answered = compute.await;
                answer.send_replace(Some((Instant::now(), answered)));
            });
            *running = receiver;
        }
        running.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use tokio::time::{advance, sleep, timeout};

    const KEPT: Duration = Duration::from_secs(1);

    /// A question that takes `takes`, and whose answer is the number of questions so far.
    fn count(
        running: &Arc<AtomicU32>,
        takes: Duration,
    ) -> impl Future<Output = u32> + Send + 'static {
        let running = Arc::clone(running);
        async move {
            let number = running.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(takes).await;
            number
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_cached_for_a_while() {
        let (cached, running) = (SingleFlight::new(KEPT), Arc::default());
        for expected in 1..4 {
            for _ in 0..3 {
                assert_eq!(cached.get(|| count(&running, Duration::ZERO)).await, Some(expected));
            }
            advance(KEPT).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_wait_for_the_first_caller_even_if_it_disconnects() {
        let (cached, running) = (SingleFlight::new(KEPT), Arc::default());
        let get = || cached.get(|| count(&running, Duration::from_secs(10)));
        assert!(timeout(Duration::from_secs(1), get()).await.is_err());
        let (one, two) = tokio::join!(get(), get());
        assert_eq!((one, two), (Some(1), Some(1)));
        assert_eq!(running.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_computation_is_repeated() {
        let (cached, running) = (SingleFlight::new(KEPT), Arc::default());
        assert_eq!(cached.get(|| async { panic!("as it is meant to") }).await, None::<u32>);
        assert_eq!(cached.get(|| count(&running, Duration::ZERO)).await, Some(1));
    }
}

//! A cache for answers that anybody may request at any time although they cost the store a query.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// An answer that one task at a time computes, and that is cached for a while.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    kept: Duration,
    asked: Mutex<watch::Receiver<Option<(Instant, T)>>>,
}

impl<T: Clone + Send + Sync + 'static> Kept<T> {
    pub(crate) fn new(kept: Duration) -> Self {
        // A closed channel: no answer is on its way.
        let (_, asked) = watch::channel(None);
        Self { kept, asked: Mutex::new(asked) }
    }

    /// Returns the cached answer, or the answer that is being computed; otherwise runs `question`, which finishes even
    /// if no caller waits for it. Returns `None` if the task fails. Cancel safe.
    pub(crate) async fn ask<Q>(&self, question: impl FnOnce() -> Q) -> Option<T>
    where
        Q: Future<Output = T> + Send + 'static,
    {
        let mut asked = self.asked(question);
        let answered = asked.wait_for(Option::is_some).await.ok()?;
        answered.as_ref().map(|(_, answer)| answer.clone())
    }

    fn asked<Q>(&self, question: impl FnOnce() -> Q) -> watch::Receiver<Option<(Instant, T)>>
    where
        Q: Future<Output = T> + Send + 'static,
    {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_under_way = asked.has_changed().is_ok();
        let is_new = asked.borrow().as_ref().is_some_and(|(at, _)| at.elapsed() < self.kept);
        if !is_under_way && !is_new {
            let (answer, receiver) = watch::channel(None);
            let question = question();
            // The end of the process may drop the task: it changes nothing.
            tokio::spawn(async move {
                let answered = question.await;
                answer.send_replace(Some((Instant::now(), answered)));
            });
            *asked = receiver;
        }
        asked.clone()
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
        asked: &Arc<AtomicU32>,
        takes: Duration,
    ) -> impl Future<Output = u32> + Send + 'static {
        let asked = Arc::clone(asked);
        async move {
            let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(takes).await;
            number
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_a_while() {
        let (kept, asked) = (Kept::new(KEPT), Arc::default());
        for expected in 1..4 {
            for _ in 0..3 {
                assert_eq!(kept.ask(|| count(&asked, Duration::ZERO)).await, Some(expected));
            }
            advance(KEPT).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_wait_for_who_asked_first_even_if_that_one_leaves() {
        let (kept, asked) = (Kept::new(KEPT), Arc::default());
        let ask = || kept.ask(|| count(&asked, Duration::from_secs(10)));
        assert!(timeout(Duration::from_secs(1), ask()).await.is_err());
        let (one, two) = tokio::join!(ask(), ask());
        assert_eq!((one, two), (Some(1), Some(1)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_fails_is_asked_again() {
        let (kept, asked) = (Kept::new(KEPT), Arc::default());
        assert_eq!(kept.ask(|| async { panic!("as it is meant to") }).await, None::<u32>);
        assert_eq!(kept.ask(|| count(&asked, Duration::ZERO)).await, Some(1));
    }
}

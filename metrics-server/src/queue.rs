//! A fair queue: callers take turns, so that many requests of one do not delay the others.
//!
//! Permits are granted in rounds: a caller who waits with a hundred reports gets one, then the others get one each. One
//! caller never holds all permits, so that a report of another begins while the longest of the first go on. The number
//! of waiting requests is bounded, per caller and in sum; beyond it they are refused at once.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics_core::ApiKey;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The number of requests of one caller that may wait: some pages full of charts.
const FLOW_MAX: usize = 64;

/// The number of requests that may wait in all.
const WAITING_MAX: usize = 512;

/// The unit of fairness: requests of one flow wait for each other.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Flow {
    /// A caller with certain keys.
    Keys(Arc<[ApiKey]>),
    /// All callers with tokens of the same keys, or of all keys: whoever has the secret of a key makes any number of
    /// tokens, and a link has any number of visitors. They take no turns of the users of these keys.
    Tokens(Arc<[ApiKey]>),
    /// Any other caller, by the network of its address, if that is known.
    Network(Option<IpAddr>),
    /// The rules of webhooks.
    Webhooks,
}

impl Flow {
    /// Returns the flow of a caller with these keys, in any order.
    pub(crate) fn of_keys(keys: &[ApiKey]) -> Self {
        Self::Keys(sorted(keys))
    }

    /// Returns the flow of callers with tokens of these keys, in any order; of all keys if there are none.
    pub(crate) fn of_tokens(keys: &[ApiKey]) -> Self {
        Self::Tokens(sorted(keys))
    }
}

fn sorted(keys: &[ApiKey]) -> Arc<[ApiKey]> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys.into()
}

/// A number of permits, and the requests that wait for them.
pub(crate) struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    permits: usize,
    lines: Mutex<Lines>,
}

/// The requests that have a permit or wait for one.
#[derive(Default)]
struct Lines {
    lines: HashMap<Flow, Line>,
    // The flows in which requests wait, in the order of their turns.
    turns: VecDeque<Flow>,
    in_use: usize,
    waiting: usize,
    // The number of the next request that waits.
    next: u64,
}

/// The requests of one flow.
#[derive(Default)]
struct Line {
    in_use: usize,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// The queue is full, or the wait was too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

impl Queue {
    /// A queue with `permits` permits. One flow holds at most all but one of them.
    pub(crate) fn new(permits: usize) -> Self {
        Self { inner: Arc::new(Inner { permits, lines: Mutex::default() }) }
    }

    /// Waits for a permit, at most for `wait`. Cancel safe: a dropped request waits no more.
    pub(crate) async fn enter(&self, flow: Flow, wait: Duration) -> Result<Permit, Full> {
        let granted = {
            let mut lines = self.inner.lines();
            let line = lines.lines.get(&flow);
            let (in_use, waiting) = line.map_or((0, 0), |line| (line.in_use, line.waiting.len()));
            if waiting == 0 && lines.in_use < self.inner.permits && in_use < self.inner.flow_max() {
                lines.in_use += 1;
                lines.lines.entry(flow.clone()).or_default().in_use += 1;
                return Ok(Permit { inner: Arc::clone(&self.inner), flow });
            }
            if FLOW_MAX <= waiting || WAITING_MAX <= lines.waiting {
                return Err(Full);
            }
            lines.wait(&flow)
        };
        let (number, granted) = granted;
        let mut waiting = Waiting { inner: &self.inner, flow, number: Some(number) };
        // An error would mean that the queue was dropped, but `self` borrows it.
        timeout(wait, granted).await.map_err(|_| Full)?.map_err(|_| Full)?;
        waiting.number = None;
        Ok(Permit { inner: Arc::clone(&self.inner), flow: waiting.flow.clone() })
    }
}

impl Inner {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of permits that one flow may hold.
    fn flow_max(&self) -> usize {
        self.permits.saturating_sub(1).max(1)
    }

    /// Returns a permit, and grants the free permits.
    fn release(&self, flow: &Flow) {
        let mut lines = self.lines();
        lines.in_use -= 1;
        if let Some(line) = lines.lines.get_mut(flow) {
            line.in_use -= 1;
        }
        lines.tidy(flow);
        // Visits each waiting flow once per permit.
        let mut examined = 0;
        while lines.in_use < self.permits && examined < lines.turns.len() {
            let Some(flow) = lines.turns.pop_front() else { return };
            let is_granted = lines.grant(&flow, self.flow_max());
            examined = if is_granted { 0 } else { examined + 1 };
            if lines.lines.get(&flow).is_some_and(|line| !line.waiting.is_empty()) {
                lines.turns.push_back(flow);
            } else {
                lines.tidy(&flow);
            }
        }
    }
}

impl Lines {
    fn wait(&mut self, flow: &Flow) -> (u64, oneshot::Receiver<()>) {
        let (grant, granted) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        let line = self.lines.entry(flow.clone()).or_default();
        if line.waiting.is_empty() {
            self.turns.push_back(flow.clone());
        }
        line.waiting.push_back((number, grant));
        (number, granted)
    }

    /// Grants a permit to the first request of a flow, and returns false if the flow may have none.
    ///
    /// The permit counts even if the request is dropped at this moment: [`Waiting`] returns it then, because the
    /// request is no longer in line.
    fn grant(&mut self, flow: &Flow, flow_max: usize) -> bool {
        let Some(line) = self.lines.get_mut(flow).filter(|line| line.in_use < flow_max) else {
            return false;
        };
        let Some((_, grant)) = line.waiting.pop_front() else { return false };
        self.waiting -= 1;
        line.in_use += 1;
        self.in_use += 1;
        let _ = grant.send(());
        true
    }

    /// Drops a flow without requests.
    fn tidy(&mut self, flow: &Flow) {
        if self.lines.get(flow).is_some_and(|line| line.in_use == 0 && line.waiting.is_empty()) {
            self.lines.remove(flow);
        }
    }
}

/// A request that waits for its permit.
struct Waiting<'a> {
    inner: &'a Arc<Inner>,
    flow: Flow,
    // None: the request has its permit.
    number: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut lines = self.inner.lines();
        let line = lines.lines.get_mut(&self.flow);
        let at = line.and_then(|line| {
            let at = line.waiting.iter().position(|(other, _)| *other == number)?;
            line.waiting.remove(at)
        });
        if at.is_none() {
            // The request was granted a permit, and did not take it.
            drop(lines);
            self.inner.release(&self.flow);
            return;
        }
        lines.waiting -= 1;
        if lines.lines.get(&self.flow).is_some_and(|line| line.waiting.is_empty()) {
            lines.turns.retain(|flow| *flow != self.flow);
        }
        lines.tidy(&self.flow);
    }
}

/// A permit, which is free again when it is dropped.
pub(crate) struct Permit {
    inner: Arc<Inner>,
    flow: Flow,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.release(&self.flow);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn flow(name: &str) -> Flow {
        Flow::of_keys(&[ApiKey::new(name).unwrap()])
    }

    #[test]
    fn the_same_keys_are_the_same_caller() {
        let [one, two] = ["one", "two"].map(|name| ApiKey::new(name).unwrap());
        let flow = Flow::of_keys(&[one.clone(), two.clone()]);
        assert_eq!(flow, Flow::of_keys(&[two.clone(), one, two.clone()]));
        let two = std::slice::from_ref(&two);
        assert_ne!(flow, Flow::of_keys(two));
        assert_ne!(Flow::of_tokens(two), Flow::of_keys(two));
    }

    type Entering<'a> = Pin<Box<dyn Future<Output = Result<Permit, Full>> + 'a>>;

    /// Returns the permit, if it was granted.
    fn now(entering: &mut Entering<'_>) -> Option<Permit> {
        match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready(entered) => Some(entered.unwrap_or_else(|Full| panic!("refused"))),
        }
    }

    /// Begins to wait.
    fn enter<'a>(queue: &'a Queue, name: &str) -> Entering<'a> {
        let mut entering: Entering<'_> = Box::pin(queue.enter(flow(name), WAIT));
        assert!(now(&mut entering).is_none(), "{name} did not wait");
        entering
    }

    async fn take(queue: &Queue, name: &str) -> Permit {
        queue.enter(flow(name), WAIT).await.unwrap_or_else(|Full| panic!("{name} is refused"))
    }

    #[tokio::test(start_paused = true)]
    async fn callers_take_turns_however_many_requests_they_have() {
        let queue = Queue::new(2);
        let mut held = take(&queue, "other").await;
        let first = take(&queue, "a").await;
        // `a` holds the first permit all the time, so all turns are about one permit.
        let mut waiting = Vec::new();
        for name in ["b", "b", "b", "b", "c", "d", "c"] {
            waiting.push((name, Some(enter(&queue, name))));
        }
        let mut order = String::new();
        for _ in 0..waiting.len() {
            drop(held);
            let mut granted = None;
            for (name, entering) in &mut waiting {
                if let Some(permit) = entering.as_mut().and_then(now) {
                    assert!(granted.is_none(), "two at once");
                    granted = Some(permit);
                    *entering = None;
                    order.push_str(name);
                }
            }
            held = granted.unwrap();
        }
        assert_eq!(order, "bcdbcbb");
        drop((first, held));
        assert!(queue.inner.lines().lines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_never_holds_all_permits() {
        let queue = Queue::new(3);
        let held = [take(&queue, "a").await, take(&queue, "a").await];
        let mut waiting = enter(&queue, "a");
        let other = take(&queue, "b").await;
        drop(other);
        assert!(now(&mut waiting).is_none());
        drop(held);
        assert!(waiting.await.is_ok());
        assert!(queue.inner.lines().lines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let queue = Queue::new(1);
        let held = take(&queue, "a").await;
        let mut waiting: Vec<_> = (0..FLOW_MAX).map(|_| enter(&queue, "a")).collect();
        assert!(queue.enter(flow("a"), WAIT).await.is_err());
        for number in 0..WAITING_MAX - FLOW_MAX {
            waiting.push(enter(&queue, &format!("k{}", number % 64)));
        }
        assert!(queue.enter(flow("new"), WAIT).await.is_err());
        // A dropped request makes room.
        waiting.pop();
        waiting.push(enter(&queue, "new"));
        // No request waits forever.
        for waiting in waiting {
            assert!(waiting.await.is_err());
        }
        drop(held);
        let lines = queue.inner.lines();
        assert!(lines.lines.is_empty() && lines.turns.is_empty());
        assert_eq!((lines.in_use, lines.waiting), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_never_taken_is_free_again() {
        let queue = Queue::new(1);
        let held = take(&queue, "a").await;
        let (one, two) = (enter(&queue, "b"), enter(&queue, "c"));
        drop(held);
        drop(one);
        assert!(two.await.is_ok());
        assert!(queue.inner.lines().lines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_granted_to_a_dropped_request_is_free_again() {
        let queue = Queue::new(1);
        let held = take(&queue, "a").await;
        let (number, granted) = queue.inner.lines().wait(&flow("b"));
        let waiting = Waiting { inner: &queue.inner, flow: flow("b"), number: Some(number) };
        // Another thread may release its permit between the two drops of a request.
        drop(granted);
        drop(held);
        drop(waiting);
        {
            let lines = queue.inner.lines();
            assert_eq!((lines.in_use, lines.waiting, lines.lines.len()), (0, 0, 0));
        }
        drop(take(&queue, "c").await);
    }
}

//! `/api/v1/live`: the viewers of a selection as server-sent events, as they come and go.
//!
//! A [feed] reads a selection at most once a second, as long as streams listen to it: all streams with the same selection
//! share it. Each event has the whole state, which is small, so a [stream] that is slow, or resumes, needs no event but
//! the newest, and nothing waits for it.

mod feed;
mod stream;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Response;
use metrics_core::budget::{Budget, Reservation};
use metrics_core::{LiveQuery, Metrics};
use rand::RngExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::feed::{Feed, Opener};
pub(crate) use self::stream::Right;
use self::stream::Stream;
use crate::answer::Answers;
use crate::attempts::CallerAddress;
use crate::error::Error;
use crate::memory::STREAM_BYTES;
use crate::queue::Flow;
use crate::response::{self, Body};
use crate::share::{Share, Shares, default_share};

/// The number of streams that may be open at once: each is a connection.
const STREAMS_MAX: usize = 10_000;

/// The longest life of a stream. Its client resumes, perhaps at another server.
const LIFE_MAX: Duration = Duration::from_secs(3_600);

/// The lives and the retries of streams differ by up to this part, so that clients do not resume all at once.
const SPREAD: f64 = 0.1;

/// The time after which a client resumes a stream that ended, in milliseconds.
const RETRY_MS: f64 = 3_000.0;

/// All streams. Cheap to clone: all clones are the same.
#[derive(Clone)]
pub(crate) struct Lives {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    answers: Arc<Answers>,
    memory: Budget,
    shares: Arc<Shares>,
    open: AtomicUsize,
    feeds: Mutex<Vec<Feed>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// A request for a stream.
pub(crate) struct Listener {
    /// The selection, narrowed to what the caller may read.
    pub(crate) query: LiveQuery,
    /// The flow in which its reports take turns.
    pub(crate) flow: Flow,
    pub(crate) caller_address: Option<CallerAddress>,
    /// Identifies the token of the caller.
    pub(crate) token: Option<u64>,
    /// The id of the last event that the client received.
    pub(crate) last: Option<u64>,
    /// The bytes that `right` holds.
    pub(crate) bytes: usize,
    /// Asks again whether the caller may read the selection.
    pub(crate) right: Right,
}

/// An open stream, counted until this is dropped.
struct Held {
    lives: Arc<Inner>,
    _share: Option<Share>,
    _held: Reservation,
}

impl Lives {
    /// One address may have `share` streams, and a quarter of all by default.
    pub(crate) fn new(
        metrics: Metrics,
        answers: Arc<Answers>,
        memory: Budget,
        share: Option<usize>,
        stopping: CancellationToken,
    ) -> Self {
        let shares = Shares::new(share.unwrap_or_else(|| default_share(STREAMS_MAX)));
        let (open, feeds, tasks) = (AtomicUsize::new(0), Mutex::default(), TaskTracker::new());
        let inner = Inner { metrics, answers, memory, shares, open, feeds, tasks, stopping };
        Self { inner: Arc::new(inner) }
    }

    /// The number of open streams.
    pub(crate) fn len(&self) -> usize {
        self.inner.open.load(Relaxed)
    }

    /// Waits until nothing is read for streams any more, after the server has begun to stop. Cancel safe.
    pub(crate) async fn wait(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if there are too many streams, in sum or of an address; [`Error::Memory`] if there is no memory
    /// for it; [`Error::TooManyReports`] if there are too many selections, in sum, of a flow, or of a network
    /// or a token in it.
    pub(crate) fn open(&self, listener: Listener) -> Result<Response<Body>, Error> {
        let Listener { query, flow, caller_address, token, last, bytes, right } = listener;
        // A proxy on the same machine may not forward the addresses of its clients.
        let limited = caller_address.filter(|address| !address.is_loopback());
        let held = self.hold(limited, bytes)?;
        let network = limited.map(CallerAddress::network);
        let updates = Inner::listen(&self.inner, query, Opener { flow, network, token })?;
        let spread = |most: f64| most * (1.0 - rand::rng().random_range(0.0..SPREAD));
        let now = Instant::now();
        let ends_at = now + LIFE_MAX.mul_f64(spread(1.0));
        let stopping = self.inner.stopping.clone();
        let stream = Stream::new(updates, last, right, (now, ends_at), stopping);
        let retry_ms = spread(RETRY_MS) as u64;
        Ok(response::events(stream.body(retry_ms, held)))
    }

    /// Counts a stream of an address, which is `None` if it is unknown or not limited.
    fn hold(&self, limited: Option<CallerAddress>, bytes: usize) -> Result<Held, Error> {
        let Inner { memory, shares, open, .. } = &*self.inner;
        let share = match limited {
            Some(address) => Some(shares.take(address).ok_or(Error::Full)?),
            None => None,
        };
        let held = memory.try_reserve(STREAM_BYTES + bytes).ok_or(Error::Memory)?;
        let is_free = |count| (count < STREAMS_MAX).then_some(count + 1);
        open.fetch_update(Relaxed, Relaxed, is_free).map_err(|_| Error::Full)?;
        Ok(Held { lives: Arc::clone(&self.inner), _share: share, _held: held })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lives.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use metrics_core::store::SqliteStore;
    use metrics_core::{ApiKey, Selection};
    use tempfile::TempDir;
    use tokio::time::sleep;

    use super::feed::Event;
    use super::*;

    /// An event whose text is its id.
    pub(super) fn event(id: u64) -> Arc<Event> {
        Arc::new(Event::new(id, Bytes::from(id.to_string())))
    }

    async fn lives(share: Option<usize>) -> (Lives, TempDir) {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        let (all, stopping) = (Budget::new(1 << 30), CancellationToken::new());
        let answers = Arc::new(Answers::within(all.clone()));
        let lives = Lives::new(Metrics::new(store), answers, all, share, stopping);
        (lives, directory)
    }

    fn listener(identifier: &str) -> Listener {
        Listener {
            query: Selection::identifier(identifier).into(),
            flow: Flow::Network(None),
            caller_address: Some(CallerAddress([192, 0, 2, 1].into())),
            token: None,
            last: None,
            bytes: 1_000,
            right: Box::new(|| Box::pin(async { true })),
        }
    }

    /// The pieces of a stream up to its first event.
    async fn begin(response: Response<Body>) -> (String, Body) {
        let (mut body, mut text) = (response.into_body(), String::new());
        while !text.contains("data: ") {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        (text, body)
    }

    fn flow_of_key(name: &str) -> Flow {
        Flow::of_keys(&[ApiKey::new(name).unwrap()])
    }

    /// Opens streams with different selections from the address 192.0.2.`last` until one is refused.
    fn use_up(lives: &Lives, flow: &Flow, last: u8) -> Vec<Response<Body>> {
        use_up_by(lives, flow, None, last)
    }

    /// The same, with a token.
    fn use_up_by(lives: &Lives, flow: &Flow, token: Option<u64>, last: u8) -> Vec<Response<Body>> {
        let open = || {
            let caller_address = Some(CallerAddress([192, 0, 2, last].into()));
            // No stream ends meanwhile, so the number of streams is a new identifier.
            let other = listener(&lives.len().to_string());
            let opened =
                lives.open(Listener { flow: flow.clone(), caller_address, token, ..other });
            assert!(matches!(opened, Ok(_) | Err(Error::TooManyReports)));
            opened.ok()
        };
        iter::from_fn(open).collect()
    }

    /// Opens a stream with a new selection.
    fn open_in(lives: &Lives, flow: Flow) -> Result<Response<Body>, Error> {
        lives.open(Listener { flow, ..listener(&lives.len().to_string()) })
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_leaves_selections_of_its_key_to_other_addresses() {
        let (lives, _directory) = lives(None).await;
        let (one, other) = (flow_of_key("one"), flow_of_key("other"));
        let mut held = Vec::new();
        for (last, expected) in [(1, 16), (1, 0), (2, 16), (3, 16), (4, 16), (5, 0)] {
            let opened = use_up(&lives, &one, last);
            assert_eq!(opened.len(), expected, "{last}");
            held.extend(opened);
        }
        // The same selection needs no other feed.
        held.push(lives.open(Listener { flow: one, ..listener("0") }).unwrap());
        assert_eq!(use_up(&lives, &other, 1).len(), 16);
        assert_eq!(held.len(), 65);
        lives.inner.stopping.cancel();
        lives.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_flows_leave_space_for_callers_without_keys_and_for_first_selections() {
        let (lives, _directory) = lives(None).await;
        let mut held = Vec::new();
        for last in 0..26_u8 {
            held.extend(use_up(&lives, &flow_of_key(&last.to_string()), last));
        }
        assert_eq!(held.len(), 416);
        // A flow with keys opens only its first selection now.
        let [new, newer] = ["new", "newer"].map(flow_of_key);
        held.extend(use_up(&lives, &new, 1));
        assert_eq!(held.len(), 417);
        // A caller without keys still opens many.
        let owner = Flow::Network(Some([198, 51, 100, 1].into()));
        held.extend(use_up(&lives, &owner, 1));
        assert_eq!(held.len(), 480);
        // Now every flow opens only its first selection.
        held.push(open_in(&lives, newer).unwrap());
        held.push(open_in(&lives, Flow::Network(None)).unwrap());
        for flow in [new, owner, Flow::Network(None)] {
            assert!(matches!(open_in(&lives, flow), Err(Error::TooManyReports)));
        }
        lives.inner.stopping.cancel();
        lives.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_leaves_selections_to_other_links_and_all_links_to_users() {
        let (lives, _directory) = lives(None).await;
        let mut held = Vec::new();
        for of_key in 0..20_u64 {
            let links = Flow::of_tokens(&[ApiKey::new(&of_key.to_string()).unwrap()]);
            for (token, last, expected) in
                [(1, 1, 16), (1, 2, 16), (1, 3, 0), (2, 3, 16), (2, 4, 16), (2, 5, 0), (3, 5, 0)]
            {
                let opened = use_up_by(&lives, &links, Some(100 * of_key + token), last);
                // Together the links of all keys have 352 selections, and then the first of each key.
                if of_key < 5 {
                    assert_eq!(opened.len(), expected, "{of_key} {token} {last}");
                }
                held.extend(opened);
            }
        }
        assert_eq!(held.len(), 366);
        // Links of all keys are links as well.
        held.extend(use_up_by(&lives, &Flow::of_tokens(&[]), Some(7), 9));
        assert_eq!(held.len(), 367);
        held.extend(use_up(&lives, &flow_of_key("0"), 1));
        assert_eq!(held.len(), 383);
        let owner = Flow::Network(Some([198, 51, 100, 1].into()));
        held.extend(use_up(&lives, &owner, 1));
        assert_eq!(held.len(), 447);
        lives.inner.stopping.cancel();
        lives.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn streams_with_one_selection_share_a_feed_that_ends_with_them() {
        let (lives, _directory) = lives(None).await;
        let one = begin(lives.open(listener("one")).unwrap()).await;
        let same = begin(lives.open(listener("one")).unwrap()).await;
        let (_, event) = one.0.split_once("id: ").unwrap();
        assert!(same.0.ends_with(event), "{same:?} is not of {one:?}");
        let other = begin(lives.open(listener("other")).unwrap()).await;
        assert_eq!((lives.len(), lives.inner.tasks.len()), (3, 2));
        drop((one, other));
        sleep(Duration::from_secs(60)).await;
        assert_eq!((lives.len(), lives.inner.tasks.len()), (1, 1));
        drop(same);
        sleep(Duration::from_secs(60)).await;
        assert_eq!((lives.len(), lives.inner.tasks.len()), (0, 0));
        assert!(lives.inner.feeds.lock().unwrap().is_empty());
        assert_eq!(lives.inner.memory.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_few_streams_and_a_caller_few_selections() {
        let (lives, _directory) = lives(Some(2)).await;
        let held = [lives.open(listener("a")).unwrap(), lives.open(listener("a")).unwrap()];
        assert!(matches!(lives.open(listener("a")), Err(Error::Full)));
        drop(held);
        let here = |number: u32| Listener { caller_address: None, ..listener(&number.to_string()) };
        // The selection of those streams is still there for a moment.
        let held: Vec<_> = (1..64).map(|number| lives.open(here(number)).unwrap()).collect();
        assert!(matches!(lives.open(here(64)), Err(Error::TooManyReports)));
        assert!(lives.open(here(63)).is_ok());
        assert_eq!(lives.len(), 63);
        lives.inner.stopping.cancel();
        lives.wait().await;
        for response in held {
            let end = response.into_body().collect().await.unwrap().to_bytes();
            assert!(!end.is_empty() && !end.windows(4).any(|part| part == b"data"), "{end:?}");
        }
    }
}

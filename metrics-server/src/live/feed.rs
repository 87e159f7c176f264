//! Feeds: each reads one selection while streams listen to it.
//!
//! A feed reads at most once a second, and at most for a tenth of the time: a selection that is slow to read, or a busy
//! server, makes it slower. Its reports take turns with those of its caller. The number of feeds is limited in sum, and
//! per caller, token and network, so that one client cannot refuse the streams of the others.

use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use metrics_core::budget::Account;
use metrics_core::compute::compute;
use metrics_core::{LiveQuery, LiveReader, LiveState, store};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Inner;
use crate::answer::{Making, within_time};
use crate::api::live;
use crate::error::Error;
use crate::queue::Flow;

/// The number of selections that are read at once. Each of them is read up to once a second.
const FEEDS_MAX: usize = 512;

/// The number of selections of all callers with certain keys. The rest is for callers that may read every key, like the
/// owner: links to share have keys, and their visitors must not use up the selections of the owner.
const KEYS_FEEDS_MAX: usize = FEEDS_MAX - 64;

/// The number of selections of all callers with tokens. The rest of those of keys is for users with keys: links to share
/// must not use up the selections of those who share them.
const TOKENS_FEEDS_MAX: usize = KEYS_FEEDS_MAX - 64;

/// The number of selections that only flows without a selection may open, so that few flows do not hold all.
const FIRST_FEEDS: usize = 32;

/// The number of selections of one caller: as many reports as may wait in a flow.
const FLOW_FEEDS_MAX: usize = 64;

/// The number of selections that one network opens with the same keys. Every visitor of a shared link has its keys, and
/// one visitor must not use up the selections of the keys.
const NETWORK_FEEDS_MAX: usize = 16;

/// The number of selections of one token: half of those of its flow, so that the visitors of one link, from any number of
/// networks, leave the rest to other links with the same keys.
const TOKEN_FEEDS_MAX: usize = FLOW_FEEDS_MAX / 2;

/// The least time between two reads.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// The longest time between two reads.
const PERIOD_MAX: Duration = Duration::from_secs(30);

/// The time between two reads is at least this many times as long as a read.
const REST: u32 = 9;

/// A selection to which streams listen.
pub(super) struct Feed {
    query: LiveQuery,
    opener: Opener,
    updates: watch::Sender<Option<Arc<Event>>>,
}

/// The caller that opens a feed.
pub(super) struct Opener {
    pub(super) flow: Flow,
    /// The network, if that is known and limited.
    pub(super) network: Option<IpAddr>,
    /// Identifies the token, if the caller has one.
    pub(super) token: Option<u64>,
}

/// An event of a stream. Its memory is accounted as long as it exists.
pub(super) struct Event {
    /// Identifies the content, at every server.
    pub(super) id: u64,
    /// The event as it is sent.
    pub(super) text: Bytes,
    _held: Option<Account>,
}

impl Event {
    #[cfg(test)]
    pub(super) fn new(id: u64, text: Bytes) -> Self {
        Self { id, text, _held: None }
    }

    fn state(at: DateTime<Utc>, state: &LiveState) -> Self {
        let (id, text) = live::event(at, state);
        Self { id, text: text.into(), _held: None }
    }

    fn problem(err: &Error) -> Self {
        let (id, text) = live::problem(err);
        Self { id, text: text.into(), _held: None }
    }
}

/// Whether a caller may open one more feed.
fn has_space(feeds: &[Feed], caller: &Opener) -> bool {
    let count = |is: &dyn Fn(&Opener) -> bool| feeds.iter().filter(|feed| is(&feed.opener)).count();
    let of_flow = count(&|it| it.flow == caller.flow);
    let reserved = if of_flow == 0 { 0 } else { FIRST_FEEDS };
    let has_tokens = |flow: &Flow| matches!(flow, Flow::Tokens(_));
    let has_keys = |flow: &Flow| matches!(flow, Flow::Keys(_)) || has_tokens(flow);
    if FEEDS_MAX <= feeds.len() + reserved || FLOW_FEEDS_MAX <= of_flow {
        return false;
    }
    // The flow of any other caller is its network.
    if !has_keys(&caller.flow) {
        return true;
    }
    let in_flow = |is: &dyn Fn(&Opener) -> bool| count(&|it| it.flow == caller.flow && is(it));
    let (of_keys, of_tokens) = (count(&|it| has_keys(&it.flow)), count(&|it| has_tokens(&it.flow)));
    of_keys + reserved < KEYS_FEEDS_MAX
        && (!has_tokens(&caller.flow) || of_tokens + reserved < TOKENS_FEEDS_MAX)
        && (caller.network.is_none()
            || in_flow(&|it| it.network == caller.network) < NETWORK_FEEDS_MAX)
        && (caller.token.is_none() || in_flow(&|it| it.token == caller.token) < TOKEN_FEEDS_MAX)
}

impl Inner {
    fn feeds(&self) -> MutexGuard<'_, Vec<Feed>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a selection. The newest event is in the receiver, if there is one already.
    pub(super) fn listen(
        this: &Arc<Self>,
        query: LiveQuery,
        opener: Opener,
    ) -> Result<watch::Receiver<Option<Arc<Event>>>, Error> {
        let mut feeds = this.feeds();
        if let Some(feed) = feeds.iter().find(|feed| feed.query == query) {
            return Ok(feed.updates.subscribe());
        }
        if !has_space(&feeds, &opener) {
            return Err(Error::TooManyReports);
        }
        let (updates, receiver) = watch::channel(None);
        let (reader, task) = (LiveReader::new(query.clone()), Arc::clone(this));
        this.tasks.spawn({
            let (updates, flow) = (updates.clone(), opener.flow.clone());
            async move { task.run(reader, &flow, &updates).await }
        });
        feeds.push(Feed { query, opener, updates });
        Ok(receiver)
    }

    /// Reads a selection until nobody listens, or the server stops.
    async fn run(
        &self,
        mut reader: LiveReader,
        flow: &Flow,
        updates: &watch::Sender<Option<Arc<Event>>>,
    ) {
        while !self.is_over(reader.query(), updates) {
            let began = Instant::now();
            let read = tokio::select! {
                read = self.read(&mut reader, flow) => read,
                () = self.stopping.cancelled() => return,
            };
            let (event, problem) = match read {
                Ok(event) => (event, None),
                Err(err) => (Event::problem(&err), Some(err)),
            };
            let is_new = updates.send_if_modified(|newest| {
                let is_new = newest.as_ref().is_none_or(|newest| newest.id != event.id);
                if is_new {
                    *newest = Some(Arc::new(event));
                }
                is_new
            });
            if let Some(err) = problem.filter(|_| is_new) {
                tracing::warn!(
                    error = &err as &dyn std::error::Error,
                    "the viewers of a selection could not be read for its streams"
                );
            }
            let rest = (began.elapsed() * REST).clamp(PERIOD_MIN, PERIOD_MAX);
            tokio::select! {
                () = sleep(rest) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Removes a feed to which nobody listens.
    fn is_over(&self, query: &LiveQuery, updates: &watch::Sender<Option<Arc<Event>>>) -> bool {
        // Under the lock: nobody begins to listen meanwhile.
        let mut feeds = self.feeds();
        let is_over = updates.receiver_count() == 0;
        if is_over {
            feeds.retain(|feed| feed.query != *query);
        }
        is_over
    }

    /// Reads the state of a selection, when it is the caller's turn.
    async fn read(&self, reader: &mut LiveReader, flow: &Flow) -> Result<Event, Error> {
        let making = self.answers.admit(flow.clone()).await?;
        let reports = self.metrics.reports().within(&making.account);
        let at = reports.now();
        let state = within_time(async { Ok(reader.read(reports).await?) }).await?;
        let event = compute(move || Event::state(at, &state)).await.map_err(store::Error::from)?;
        let Making { account, .. } = making;
        account.hold(event.text.len() + reader.bytes())?;
        Ok(Event { _held: Some(account), ..event })
    }
}

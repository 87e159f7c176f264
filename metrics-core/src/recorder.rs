//! Open sessions in memory, and the single writer that makes them durable.
//!
//! Every input of a session (an event, a viewer who connects or disconnects) is folded into it at once and marks it
//! dirty. The writer takes all dirty sessions, writes them in one transaction, and only then resolves their
//! acknowledgements. While it writes, the next batch forms: few sessions at a time under low load, many under high
//! load, without a timer.
//!
//! **The promise:** acknowledged events are in the store, and counted once, whichever processes are killed and in
//! whichever order they start again. An event that was not acknowledged is stored completely or not at all. An open
//! segment loses at most [`CHECKPOINT`] of its length.
//!
//! A session keeps its inputs until they are durable, and the store keeps how many inputs each recorder has put into
//! it. If the outcome of a write is unknown, or another recorder has written the same session, the writer loads it
//! again and folds in exactly the inputs that it lacks.
//!
//! While the store is unavailable nothing fails: inputs wait, up to [`WAITING_MAX`] of them and within the memory
//! budget, and are written when it answers again. A recorder that must end before spills them to a [`Spool`].
//!
//! Joining a session does not wait for the store: the writer loads stored sessions, a batch at a time, before their
//! first write; and again whenever a viewer comes back, who may have been connected to another server.
//!
//! **Memory:** sessions reserve their size from a [`Budget`], when they begin and when they grow. When it gets scarce,
//! the recorder evicts idle sessions, then stops reading while inputs wait for the store, then refuses new sessions,
//! and at last events. Accepted events stay until they are durable.

mod acknowledgement;
mod entry;
mod errors;
mod input;
mod memory;
mod outage;
mod queue;
mod repeats;
mod rounds;
mod spool;
mod videos;
mod viewing;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::acknowledgement::Acknowledgement;
pub(crate) use self::entry::Admitted;
use self::entry::{Entry, Owner, Spilled};
pub(crate) use self::errors::NotJoined;
pub use self::errors::{AnotherVideo, EventError, NotStored};
use self::input::Input;
use self::memory::{IDLE_PART, OTHERS_PART};
use self::outage::Outage;
use self::queue::Queue;
pub use self::spool::{Recovered, Spool, SpoolError, Stopped};
use self::videos::Videos;
pub use self::viewing::Viewing;
use crate::budget::Budget;
pub use crate::clock::Clock;
use crate::key::SessionId;
pub use crate::key::limits::VIDEOS_MAX;
use crate::session::Moment;
use crate::shutdown::Lifeline;
use crate::stats::Tallies;
pub use crate::stats::{Commits, Events, Histogram, Joins, ReducedPages, Stats};
use crate::store::{Instance, Store};

/// The period in which an instance notes in the store that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// The period in which an open segment is written as far as it has run: a crash loses at most this much of it.
pub const CHECKPOINT: Duration = Duration::from_secs(15);

/// The most inputs that may wait for the store before reading stops, however small they are: they take some seconds to
/// write when the store answers again.
pub const WAITING_MAX: usize = 200_000;

/// The default memory budget of a recorder, in bytes: enough for some 400,000 sessions.
pub const MEMORY: usize = 1024 * 1024 * 1024;

/// Number of shards of the session map: they reduce lock contention, and spread a pass over all sessions in time.
const SHARDS: usize = 64;

/// Records sessions into a store. Created by [`Metrics`](crate::Metrics).
pub(crate) struct Recorder {
    pub(crate) store: Arc<dyn Store>,
    clock: Clock,
    instance: Instance,
    shards: Vec<Mutex<Shard>>,
    memory: Budget,
    // The part of the budget that sessions may take.
    sessions: Budget,
    // Size of idle sessions, and of those that were added since the last count.
    idle_bytes: AtomicUsize,
    idle_bytes_max: usize,
    // When idle sessions may be evicted again, if the last eviction freed too little memory.
    evict_at: Mutex<Option<Instant>>,
    queue: Mutex<Queue>,
    work: Notify,
    // Inputs that are not durable, in all sessions.
    inputs: AtomicUsize,
    space: Notify,
    owners: AtomicU64,
    // Set while the store does not answer.
    outage: Mutex<Option<Outage>>,
    pub(crate) tallies: Arc<Tallies>,
    videos: Videos,
}

/// One part of the session map.
#[derive(Default)]
struct Shard {
    entries: HashMap<SessionId, Arc<Entry>>,
    // Its share of the recorder's `idle_bytes`.
    idle_bytes: usize,
}

impl Recorder {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        videos_max: u32,
        memory: Budget,
    ) -> Self {
        Self::of(store, clock, videos_max, memory, Instance(rand::rng().random()))
    }

    fn of(
        store: Arc<dyn Store>,
        clock: Clock,
        videos_max: u32,
        memory: Budget,
        instance: Instance,
    ) -> Self {
        Self {
            store,
            clock,
            instance,
            sessions: memory.part(memory.max() - memory.max() / OTHERS_PART),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            idle_bytes: AtomicUsize::new(0),
            idle_bytes_max: memory.max() / IDLE_PART,
            memory,
            evict_at: Mutex::default(),
            queue: Mutex::default(),
            work: Notify::new(),
            inputs: AtomicUsize::new(0),
            space: Notify::new(),
            owners: AtomicU64::new(0),
            outage: Mutex::default(),
            tallies: Arc::default(),
            videos: Videos::new(videos_max),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let unavailable_since = lock(&self.outage).as_ref().map(|outage| outage.since);
        let in_memory = self.shards.iter().map(|shard| lock(shard).entries.len()).sum();
        let stats =
            self.tallies.stats(self.inputs.load(Ordering::Relaxed), unavailable_since, in_memory);
        Stats { session_bytes: self.sessions.used(), ..stats }
    }

    pub(crate) fn memory(&self) -> &Budget {
        &self.memory
    }

    /// Whether a session is in memory.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        self.shard(id).entries.contains_key(&id)
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Returns the session of a viewer with a connection, which reports for the viewer from now on.
    pub(crate) fn connect(
        self: &Arc<Self>,
        lifeline: &Lifeline,
        admitted: Admitted,
    ) -> Result<Viewing, NotJoined> {
        let owner = Owner(self.owners.fetch_add(1, Ordering::Relaxed));
        let entry = self.pin(admitted, Some(owner))?;
        self.tallies.connected.fetch_add(1, Ordering::Relaxed);
        // The writer loads the stored session and continues it. That cannot fail: it is no event.
        drop(self.enqueue_input(&entry, Input::Resume(self.moment())));
        Ok(self.viewing(lifeline, entry, Some(owner)))
    }

    /// Returns the session of a viewer who sends batches only.
    pub(crate) fn visit(
        self: &Arc<Self>,
        lifeline: &Lifeline,
        admitted: Admitted,
    ) -> Result<Viewing, NotJoined> {
        let entry = self.pin(admitted, None)?;
        Ok(self.viewing(lifeline, entry, None))
    }

    /// Spills all inputs that are not durable to a file. The writer must have ended.
    pub(crate) async fn spill(&self, spool: &Spool) -> Result<Stopped, SpoolError> {
        let mut spilled = Vec::new();
        for shard in &self.shards {
            spilled.extend(lock(shard).entries.values().filter_map(|entry| entry.spill()));
        }
        spool.spill(self.instance, spilled).await
    }

    /// Queues the inputs that another recorder spilled.
    fn recover(&self, spilled: Spilled, instance: Instance) -> Option<Acknowledgement> {
        let entry = Arc::new(Entry::recovered(spilled.id, spilled.subject));
        let mut state = entry.lock();
        self.inputs.fetch_add(spilled.inputs.len(), Ordering::Relaxed);
        state.recover(instance, spilled.past, spilled.inputs);
        entry.account(&mut state, &self.sessions);
        self.enqueue(&entry, &mut state).ok()?;
        Some(Acknowledgement::new(entry.id, state.progress()))
    }

    /// Adds a viewer to a session, which begins if it is not in memory.
    fn pin(&self, admitted: Admitted, owner: Option<Owner>) -> Result<Arc<Entry>, NotJoined> {
        let mut shard = self.shard(admitted.id);
        let (id, sends_heartbeats) = (admitted.id, admitted.sends_heartbeats);
        let is_new = match shard.entries.get(&id) {
            None => true,
            Some(entry) => match AnotherVideo::check(&entry.subject.video, &admitted.subject.video)
            {
                Ok(()) => false,
                Err(_) if entry.lock().is_vacant() => true,
                Err(another) => return Err(another.into()),
            },
        };
        if is_new {
            let entry = Entry::new(admitted);
            let bytes = entry.bytes(&entry.lock());
            entry.lock().hold(self.reserve(bytes)?);
            shard.idle_bytes += bytes;
            self.idle_bytes.fetch_add(bytes, Ordering::Relaxed);
            shard.entries.insert(id, Arc::new(entry));
            if self.is_full() {
                self.work.notify_one();
            }
        }
        let entry = Arc::clone(&shard.entries[&id]);
        entry.lock().pin(owner, sends_heartbeats);
        Ok(entry)
    }

    /// The part of the session map that a session belongs to.
    fn shard(&self, id: SessionId) -> MutexGuard<'_, Shard> {
        // Ids are digests, so any of their bytes is as good as a hash.
        lock(&self.shards[usize::from(id.as_bytes()[0]) % SHARDS])
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// Locks are held for a few lines that cannot panic, so the data behind a poisoned lock is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

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

mod entry;
mod spool;
mod videos;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::RngExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::entry::{Entry, EntryState, Input, Owner, Spilled};
pub use self::spool::{Recovered, Spool, SpoolError, Stopped};
use self::videos::Videos;
use self::writer::Outage;
use crate::budget::{Budget, Reservation};
pub use crate::clock::Clock;
use crate::event::{CheckedEvent, InvalidEvent, PlayerEvent};
use crate::key::SessionId;
pub use crate::key::limits::VIDEOS_MAX;
use crate::quota::{Charge, Kind, RateExceeded};
use crate::session::{Moment, SEGMENTS_MAX};
use crate::shutdown::Lifeline;
use crate::stats::Tallies;
pub use crate::stats::{Commits, Events, Histogram, Joins, ReducedPages, Stats};
use crate::store::{Instance, Store, Subject};
use crate::video::Video;

/// The period in which an instance notes in the store that it is alive.
pub const BEAT: Duration = Duration::from_secs(5);

/// The period in which an open segment is written as far as it has run: a crash loses at most this much of it.
pub const CHECKPOINT: Duration = Duration::from_secs(15);

/// The most inputs that may wait for the store before reading stops, however small they are: they take some seconds to
/// write when the store answers again.
pub const WAITING_MAX: usize = 200_000;

/// The most sessions in one transaction: enough to share a flush among many, and to give a socket several responses to
/// write at once; few enough that the first does not wait long for the last. With 3,200 events under way 2,000 take a
/// tenth less of the processor than 1,000, and 4,000 no less.
const BATCH_MAX: usize = 2_000;

/// The default memory budget of a recorder, in bytes: enough for some 400,000 sessions.
pub const MEMORY: usize = 1024 * 1024 * 1024;

/// Idle sessions take at most one part in `IDLE_PART` of the budget. They are kept because their viewers may come back,
/// or send another batch; otherwise they would have to be loaded from the store.
const IDLE_PART: usize = 4;

/// One part in `OTHERS_PART` of the budget is never taken by sessions: it is for requests, messages and responses.
const OTHERS_PART: usize = 4;

/// If less than one part in `EVICT_PART` of the sessions' budget is left, idle sessions are evicted.
const EVICT_PART: usize = 4;

/// If less than one part in `CROWDED_PART` of the sessions' budget is left, reading stops while inputs wait for the
/// store.
const CROWDED_PART: usize = 8;

/// If less than one part in `JOIN_PART` of the sessions' budget is left, no session begins. The rest is for the growth
/// of existing ones.
const JOIN_PART: usize = 16;

/// The sessions of one transaction take at most one part in `BATCH_PART` of the budget: a store copies the sessions
/// that it writes, up to twice.
const BATCH_PART: usize = 32;

/// The most equal events of one millisecond that are distinguished: as many as a batch may have.
const REPEATS_MAX: usize = 256;

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
    room: Notify,
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

/// The batches that wait for the writer.
#[derive(Default)]
struct Queue {
    // The last one is forming.
    batches: Vec<Batch>,
    // The writer ends after these batches, or has ended.
    closed: bool,
}

/// Dirty sessions that will be written together.
struct Batch {
    entries: Vec<Arc<Entry>>,
    // Memory that its sessions hold.
    bytes: usize,
    // Since when each session waits.
    since: Vec<Instant>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug)]
enum Progress {
    Waiting,
    /// Durable, except for the refused sessions.
    Resolved(Arc<Refused>),
}

impl Progress {
    /// The outcome for a session, if it is known.
    fn of(&self, session: SessionId) -> Option<Result<(), NotStored>> {
        match self {
            Self::Waiting => None,
            Self::Resolved(refused) => Some(refused.get(&session).map_or(Ok(()), |it| Err(*it))),
        }
    }
}

/// Sessions with inputs that could not be stored, and why.
type Refused = HashMap<SessionId, NotStored>;

/// Why an event is not stored and never will be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotStored {
    /// The store refused it, or the recorder stopped before it was written.
    #[error("the event could not be stored")]
    Refused,
    /// The session belongs to another video.
    #[error(transparent)]
    AnotherVideo(#[from] AnotherVideo),
    /// It would begin the first session of a video, and its key has reached its limit of videos.
    #[error("the key has {videos_max} videos, its limit: sessions of further videos are refused")]
    TooManyVideos {
        /// The limit.
        videos_max: u32,
    },
    /// It would begin the first session of a video, and a rate limit of new videos is used up.
    #[error(transparent)]
    TooManyNewVideos(#[from] RateExceeded),
}

/// An event, or a viewer who joins, names another video than that of the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the session has another video: `{field}` differs")]
pub struct AnotherVideo {
    /// The field that differs: `identifier` or `metadata`.
    pub field: &'static str,
}

impl AnotherVideo {
    /// Compares the video of a session with the video of an event or a join.
    ///
    /// # Errors
    ///
    /// The field that differs.
    pub fn check(session: &Video, named: &Video) -> Result<(), Self> {
        if session == named { Ok(()) } else { Err(Self::of(session.identifier(), named)) }
    }

    /// The error for a session of the video with `identifier`, given `named`, a different video.
    fn of(identifier: Option<&str>, named: &Video) -> Self {
        let is_same = identifier == named.identifier();
        Self { field: if is_same { "metadata" } else { "identifier" } }
    }
}

/// Resolves when its event is durable.
#[derive(Debug)]
#[must_use = "an event is durable only once its acknowledgement resolves"]
pub struct Acknowledgement {
    session: SessionId,
    // `None` if the event is durable already.
    progress: Option<watch::Receiver<Progress>>,
}

impl Acknowledgement {
    /// Waits until the event is durable. Cancel safe: it can be called again.
    ///
    /// # Errors
    ///
    /// [`NotStored`] if the event never becomes durable.
    pub async fn durable(&mut self) -> Result<(), NotStored> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        let resolved = progress.wait_for(|progress| !matches!(progress, Progress::Waiting)).await;
        match resolved.as_deref() {
            Ok(progress) => progress.of(self.session).unwrap_or(Err(NotStored::Refused)),
            Err(_) => Err(NotStored::Refused),
        }
    }

    /// The outcome, if it is known by now.
    #[must_use]
    pub fn resolved(&self) -> Option<Result<(), NotStored>> {
        let Some(progress) = &self.progress else { return Some(Ok(())) };
        // The writer has ended without an outcome.
        let is_over = progress.has_changed().is_err();
        progress.borrow().of(self.session).or(is_over.then_some(Err(NotStored::Refused)))
    }
}

/// Why a viewer cannot join a session.
#[derive(Debug)]
pub(crate) enum NotJoined {
    AnotherVideo(AnotherVideo),
    /// No memory is left for another session.
    Memory,
}

impl From<AnotherVideo> for NotJoined {
    fn from(another: AnotherVideo) -> Self {
        Self::AnotherVideo(another)
    }
}

/// Why an event was not recorded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EventError {
    /// A field of the event has an impossible value; nothing was changed.
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
    /// The session has reached its limit of segments; nothing was changed.
    #[error("a session has at most {SEGMENTS_MAX} segments")]
    Full,
    /// A rate limit of events is used up; nothing was changed.
    #[error(transparent)]
    TooMany(#[from] RateExceeded),
    /// The memory budget is used up; nothing was changed.
    #[error("no memory is left for another event; send it again later")]
    Memory,
    /// The store refused it.
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

/// One viewing of a video: records its events.
///
/// Dropping it means that the viewer's connection was lost: an open segment is closed at the estimated position of
/// playback, unless the viewer comes back.
pub struct Viewing {
    recorder: Arc<Recorder>,
    // The writer runs as long as one of these exists.
    lifeline: Lifeline,
    entry: Arc<Entry>,
    owner: Option<Owner>,
    gone: bool,
    repeats: Mutex<Repeats>,
}

/// Distinguishes equal events of one join or batch. They happen in the same millisecond, so only those of the last
/// millisecond are kept.
#[derive(Debug, Default)]
struct Repeats {
    timestamp_ms: i64,
    fingerprints: Vec<u32>,
}

impl Repeats {
    /// The event, distinguished from equal ones before it.
    fn distinguish(&mut self, event: CheckedEvent, salt: u64) -> CheckedEvent {
        let (Some(timestamp_ms), Some(fingerprint)) = (event.timestamp_ms, event.fingerprint)
        else {
            return event;
        };
        if self.timestamp_ms != timestamp_ms {
            *self = Self { timestamp_ms, fingerprints: Vec::new() };
        }
        let repeats = self.fingerprints.iter().filter(|known| **known == fingerprint).count();
        if self.fingerprints.len() < REPEATS_MAX {
            self.fingerprints.push(fingerprint);
        }
        match u32::try_from(repeats).unwrap_or(u32::MAX) {
            0 => event,
            repeats => event.repeated(repeats, salt),
        }
    }
}

/// A viewer who is allowed to join.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) id: SessionId,
    /// See [`ApiKey::salt`](crate::ApiKey::salt).
    pub(crate) salt: u64,
    /// See [`ApiKey::clock_shift_ms`](crate::ApiKey::clock_shift_ms).
    pub(crate) clock_shift_ms: i64,
    pub(crate) subject: Subject,
    /// The limits that its events and its video are charged to; `None` for no limits.
    pub(crate) charge: Option<Charge>,
    /// See [`Join::signs`](crate::Join::signs).
    pub(crate) gives_signs: bool,
}

impl Viewing {
    /// Records an event, and returns when it is durable.
    ///
    /// Not cancelled by dropping the future: the event is recorded all the same.
    ///
    /// # Errors
    ///
    /// [`EventError`] says why it was not recorded.
    pub async fn apply(&self, event: PlayerEvent) -> Result<(), EventError> {
        Ok(self.submit(&event)?.durable().await?)
    }

    /// Records an event, and returns an acknowledgement that resolves when it is durable. Many events can be under way
    /// at once.
    ///
    /// # Errors
    ///
    /// [`EventError::Invalid`], [`EventError::Full`], [`EventError::TooMany`] and [`EventError::Memory`]; nothing was
    /// changed.
    pub fn submit(&self, event: &PlayerEvent) -> Result<Acknowledgement, EventError> {
        match event.check(self.entry.salt) {
            Ok(event) => self.submit_checked(event),
            Err(err) => {
                self.recorder.tallies.events.invalid.add(1);
                Err(err.into())
            }
        }
    }

    /// Like [`submit`](Self::submit), for an event that was checked before the viewer joined, with the
    /// [salt](crate::ApiKey::salt) of the session.
    ///
    /// # Errors
    ///
    /// [`EventError::Full`], [`EventError::TooMany`] and [`EventError::Memory`]; nothing was changed.
    pub fn submit_checked(&self, event: CheckedEvent) -> Result<Acknowledgement, EventError> {
        let submitted = self.record(event);
        let events = &self.recorder.tallies.events;
        let tally = match &submitted {
            Ok((_, true)) => &events.taken,
            Ok((_, false)) => &events.unchanged,
            Err(EventError::Invalid(_)) => &events.invalid,
            Err(EventError::Full) => &events.full,
            Err(EventError::TooMany(_)) => &events.too_many,
            Err(EventError::Memory) => &events.no_memory,
            Err(EventError::NotStored(_)) => &events.late,
        };
        tally.add(1);
        Ok(submitted?.0)
    }

    fn record(&self, event: CheckedEvent) -> Result<(Acknowledgement, bool), EventError> {
        self.entry.charge.as_ref().map_or(Ok(()), |charge| charge.take(Kind::Events))?;
        let event = lock(&self.repeats).distinguish(event, self.entry.salt);
        let shift_ms = self.entry.clock_shift_ms;
        let timestamp_ms = event.timestamp_ms.map(|ms| ms.saturating_add(shift_ms));
        let at = Moment { timestamp_ms, ..self.recorder.moment() };
        if self.recorder.sessions.is_used_up() {
            self.recorder.work.notify_one();
            return Err(EventError::Memory);
        }
        self.recorder.enqueue_input(&self.entry, Input::Event(event, at))
    }

    /// The viewer left: the open segment is closed for good.
    pub fn leave(mut self) -> Acknowledgement {
        self.gone = true;
        self.release(Input::Leave)
    }

    /// The connection was lost, and was last known to be alive at `heard`.
    pub fn lose(mut self, heard: Moment) -> Acknowledgement {
        self.gone = true;
        self.release(|_| Input::Lose(heard))
    }

    /// The key of the session.
    #[must_use]
    pub fn key(&self) -> &crate::key::ApiKey {
        &self.entry.subject.key
    }

    fn release(&self, farewell: impl FnOnce(Moment) -> Input) -> Acknowledgement {
        let nothing = Acknowledgement { session: self.entry.id, progress: None };
        // Only the connection that joined last reports for the viewer.
        if !self.entry.lock().unpin(self.owner) || self.owner.is_none() {
            return nothing;
        }
        let farewell = farewell(self.recorder.moment());
        self.recorder.enqueue_input(&self.entry, farewell).map_or(nothing, |(it, _)| it)
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        if self.owner.is_some() {
            self.recorder.tallies.connected.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.gone {
            // No caller waits for the acknowledgement; the writer writes the input anyway.
            drop(self.release(Input::Lose));
        }
    }
}

impl fmt::Debug for Viewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewing")
            .field("session", &self.entry.id)
            .field("ending", &*self.lifeline.borrow())
            .finish_non_exhaustive()
    }
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
            room: Notify::new(),
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

    fn viewing(
        self: &Arc<Self>,
        lifeline: &Lifeline,
        entry: Arc<Entry>,
        owner: Option<Owner>,
    ) -> Viewing {
        let (recorder, lifeline) = (Arc::clone(self), Arc::clone(lifeline));
        Viewing { recorder, lifeline, entry, owner, gone: false, repeats: Mutex::default() }
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
        Some(Acknowledgement { session: entry.id, progress: state.progress() })
    }

    /// Waits until reading may go on: fewer inputs wait for the store than the limits of number and memory allow, or
    /// the writer has ended.
    pub(crate) async fn ready(&self) {
        while self.is_crowded() {
            let room = self.room.notified();
            if self.is_crowded() {
                room.await;
            }
        }
    }

    fn is_crowded(&self) -> bool {
        let inputs = self.inputs.load(Ordering::Relaxed);
        let is_crowded = WAITING_MAX <= inputs || (0 < inputs && self.is_short_of(CROWDED_PART));
        is_crowded && self.check_open().is_ok()
    }

    /// Whether less than one part in `part` of the sessions' budget is left.
    fn is_short_of(&self, part: usize) -> bool {
        self.sessions.left() < self.sessions.max() / part
    }

    /// Reserves memory for a session that begins.
    fn reserve(&self, bytes: usize) -> Result<Reservation, NotJoined> {
        let reserved =
            if self.is_short_of(JOIN_PART) { None } else { self.sessions.try_reserve(bytes) };
        reserved.ok_or_else(|| {
            // The writer evicts idle sessions, if there are any.
            self.work.notify_one();
            NotJoined::Memory
        })
    }

    fn pin(&self, admitted: Admitted, owner: Option<Owner>) -> Result<Arc<Entry>, NotJoined> {
        let mut shard = self.shard(admitted.id);
        let (id, gives_signs) = (admitted.id, admitted.gives_signs);
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
        entry.lock().pin(owner, gives_signs);
        Ok(entry)
    }

    /// Whether idle sessions exceed their part of the budget, or the rest of the budget gets scarce.
    fn is_full(&self) -> bool {
        let idle_bytes = self.idle_bytes.load(Ordering::Relaxed);
        self.idle_bytes_max < idle_bytes || (0 < idle_bytes && self.is_short_of(EVICT_PART))
    }

    /// Adds one input to a session and queues the session for the writer. Returns whether the input changed anything.
    fn enqueue_input(
        &self,
        entry: &Arc<Entry>,
        input: Input,
    ) -> Result<(Acknowledgement, bool), EventError> {
        let mut state = entry.lock();
        if state.is_full() && input.is_play() {
            return Err(EventError::Full);
        }
        if !state.is_queued() {
            self.check_open()?;
        }
        let inputs = state.accept(input, self.instance);
        entry.account(&mut state, &self.sessions);
        if 0 < inputs {
            self.inputs.fetch_add(inputs, Ordering::Relaxed);
            self.enqueue(entry, &mut state)?;
        }
        Ok((Acknowledgement { session: entry.id, progress: state.progress() }, 0 < inputs))
    }

    fn check_open(&self) -> Result<(), NotStored> {
        if lock(&self.queue).closed { Err(NotStored::Refused) } else { Ok(()) }
    }

    /// Queues the session for the next batch.
    fn enqueue(&self, entry: &Arc<Entry>, state: &mut EntryState) -> Result<(), NotStored> {
        if state.is_queued() {
            return Ok(());
        }
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(NotStored::Refused);
        }
        let bytes_max = self.memory.max() / BATCH_PART;
        let is_full = |batch: &Batch| BATCH_MAX <= batch.entries.len() || bytes_max <= batch.bytes;
        if queue.batches.last().is_none_or(is_full) {
            let progress = watch::Sender::new(Progress::Waiting);
            queue.batches.push(Batch {
                entries: Vec::new(),
                bytes: 0,
                since: Vec::new(),
                progress,
            });
        }
        if let Some(batch) = queue.batches.last_mut() {
            batch.bytes += state.held_bytes();
            batch.entries.push(Arc::clone(entry));
            batch.since.push(Instant::now());
            self.tallies.waiting_sessions.fetch_add(1, Ordering::Relaxed);
            state.queue(batch.progress.subscribe());
        }
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

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

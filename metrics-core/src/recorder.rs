//! Open sessions in memory, and the one writer that makes them durable.
//!
//! Every input of a session (an event, a viewer who comes or goes) is folded into it at once and marks it dirty.
//! The writer takes all dirty sessions, writes them in one transaction, and only then resolves their
//! acknowledgements. While it writes, the next batch forms: few sessions at a time when little happens, many
//! under load, and no timer in between.
//!
//! **The promise:** what was acknowledged is in the store, and counted once, whatever is killed and in whatever order
//! it starts again. What was not acknowledged is there whole or not at all. A segment that is open loses at most
//! [`CHECKPOINT`] of what it ran.
//!
//! It is kept like this: a session keeps the inputs that are not durable yet, and the store keeps how many inputs each
//! recorder has put into it; so when the outcome of a write is unknown, or another recorder has written the same
//! session, it is loaded again and exactly the inputs that it lacks are folded into it.
//!
//! While the store is away nothing fails: inputs wait, up to [`WAITING_MAX`] of them and as far as the memory budget goes,
//! and are written when it is back.
//! A recorder that has to end before leaves them in a [`Spool`].
//!
//! Nobody waits for the store to join a session: what the store has of it is loaded by the writer, a batch at a
//! time, before the first write; and again whenever the viewer comes back, who may have been at another server.
//!
//! **Memory:** sessions reserve what they take of a [`Budget`], when they begin and when they grow.
//! When it gets scarce, the recorder evicts idle sessions, then stops reading while inputs wait for the store, then
//! refuses new sessions, and at last events. What it took stays until it is durable.

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

/// How often an instance says that it is alive.
pub const BEAT: Duration = Duration::from_secs(5);

/// How often an open segment is written as far as it has run: a crash loses at most this much of it.
pub const CHECKPOINT: Duration = Duration::from_secs(15);

/// How many events and the like may wait for the store before no more are read, however small they are: so many take
/// some seconds to be written when it is back.
pub const WAITING_MAX: usize = 200_000;

/// How many sessions are written in one transaction: enough to share a flush among many, and that a socket has several
/// answers to write at once; few enough that the first does not wait long for the last. With 3,200 events under way
/// 2,000 take a tenth less of the processor than 1,000, and 4,000 no less.
const BATCH_MAX: usize = 2_000;

/// The memory budget of a recorder, unless said otherwise, in bytes: room for some 400,000 sessions.
pub const MEMORY: usize = 1024 * 1024 * 1024;

/// Idle sessions take at most this part of the budget. They are kept because their viewers may come back, or send another
/// batch, and are loaded from the store if they were not.
const IDLE_PART: usize = 4;

/// This part of the budget is never taken by sessions: for requests, messages and responses.
const OTHERS_PART: usize = 4;

/// If less than this part of what sessions may take is left, idle sessions are evicted.
const EVICT_PART: usize = 4;

/// If less than this part of it is left, no more is read while inputs wait for the store.
const CROWDED_PART: usize = 8;

/// If less than this part of it is left, no session begins. The rest is for those that are there to grow.
const JOIN_PART: usize = 16;

/// The sessions of one transaction take at most this part of the budget: a store copies what it writes, up to twice.
const BATCH_PART: usize = 32;

/// How many equal events of one millisecond are told apart: as many as a batch may have.
const REPEATS_MAX: usize = 256;

/// The map of sessions in pieces, so that few wait for the same lock, and so that a look at all of them can be
/// spread over time.
const SHARDS: usize = 64;

/// Records sessions into a store. Made by [`Metrics`](crate::Metrics).
pub(crate) struct Recorder {
    pub(crate) store: Arc<dyn Store>,
    clock: Clock,
    instance: Instance,
    shards: Vec<Mutex<Shard>>,
    memory: Budget,
    // The part that sessions may take.
    sessions: Budget,
    // What idle sessions take, and those that are new since they were counted.
    idle_bytes: AtomicUsize,
    idle_bytes_max: usize,
    // When idle sessions may be evicted again, where that made too little room the last time.
    evict_at: Mutex<Option<Instant>>,
    queue: Mutex<Queue>,
    work: Notify,
    // Inputs that are not durable, in all sessions.
    inputs: AtomicUsize,
    room: Notify,
    owners: AtomicU64,
    // Since when the store does not answer.
    outage: Mutex<Option<Outage>>,
    pub(crate) tallies: Arc<Tallies>,
    videos: Videos,
}

/// Some of the sessions.
#[derive(Default)]
struct Shard {
    entries: HashMap<SessionId, Arc<Entry>>,
    // What this has added to those of the recorder.
    idle_bytes: usize,
}

/// The batches that wait for the writer.
#[derive(Default)]
struct Queue {
    // The last is the one that forms.
    batches: Vec<Batch>,
    // The writer ends with what is here, or has ended.
    closed: bool,
}

/// Dirty sessions that will be written together.
struct Batch {
    entries: Vec<Arc<Entry>>,
    // How much memory they take.
    bytes: usize,
    // Since when each of them waits.
    since: Vec<Instant>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug)]
enum Progress {
    Waiting,
    /// Durable, but for the sessions that were refused.
    Resolved(Arc<Refused>),
}

impl Progress {
    /// What became of a session, if that is known.
    fn of(&self, session: SessionId) -> Option<Result<(), NotStored>> {
        match self {
            Self::Waiting => None,
            Self::Resolved(refused) => Some(refused.get(&session).map_or(Ok(()), |it| Err(*it))),
        }
    }
}

/// Sessions of which not all that a batch had is stored, and why.
type Refused = HashMap<SessionId, NotStored>;

/// Why an event is not stored and never will be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotStored {
    /// The store refused it, or was never told because the recorder has stopped.
    #[error("the event could not be stored")]
    Refused,
    /// The session is one of another video.
    #[error(transparent)]
    AnotherVideo(#[from] AnotherVideo),
    /// It would begin a session of a video that is new, and its key has as many as it may.
    #[error("the key has {videos_max} videos, which is the limit: this would be another one")]
    TooManyVideos {
        /// How many it may have.
        videos_max: u32,
    },
    /// It would begin a session of a video that is new, and a rate limit of new videos is used up.
    #[error(transparent)]
    TooManyNewVideos(#[from] RateExceeded),
}

/// An event, or a viewer who joins, names another video than the session has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a session has one video: `{field}` is another")]
pub struct AnotherVideo {
    /// The field that differs: `identifier` or `metadata`.
    pub field: &'static str,
}

impl AnotherVideo {
    /// Compares the video of a session with the one that an event or a join names.
    ///
    /// # Errors
    ///
    /// The field that differs.
    pub fn check(session: &Video, named: &Video) -> Result<(), Self> {
        if session == named { Ok(()) } else { Err(Self::of(session.identifier(), named)) }
    }

    /// That a session of the video with `identifier` is none of `named`, which is another.
    fn of(identifier: Option<&str>, named: &Video) -> Self {
        let is_same = identifier == named.identifier();
        Self { field: if is_same { "metadata" } else { "identifier" } }
    }
}

/// Resolves when what it stands for is durable.
#[derive(Debug)]
#[must_use = "an event is durable only once its acknowledgement resolves"]
pub struct Acknowledgement {
    session: SessionId,
    // Nothing to wait for if there is none.
    progress: Option<watch::Receiver<Progress>>,
}

impl Acknowledgement {
    /// Waits until it is durable. Cancel safe: it can be asked again.
    ///
    /// # Errors
    ///
    /// [`NotStored`] if it never will be.
    pub async fn durable(&mut self) -> Result<(), NotStored> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        let resolved = progress.wait_for(|progress| !matches!(progress, Progress::Waiting)).await;
        match resolved.as_deref() {
            Ok(progress) => progress.of(self.session).unwrap_or(Err(NotStored::Refused)),
            Err(_) => Err(NotStored::Refused),
        }
    }

    /// What became of it, if that is known by now.
    #[must_use]
    pub fn resolved(&self) -> Option<Result<(), NotStored>> {
        let Some(progress) = &self.progress else { return Some(Ok(())) };
        // Nobody is left who could say more of it.
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
    /// The event says something that cannot be; nothing was changed.
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
    /// The session holds as many segments as it may; nothing was changed.
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

/// One viewing, as the place to send its events to.
///
/// Dropping it means that the viewer's connection was lost: a segment that is open is closed where playback must
/// have got to, unless the viewer comes back.
pub struct Viewing {
    recorder: Arc<Recorder>,
    // The writer goes on as long as there is one of these.
    lifeline: Lifeline,
    entry: Arc<Entry>,
    owner: Option<Owner>,
    gone: bool,
    repeats: Mutex<Repeats>,
}

/// Tells equal events of one join or batch apart. They happen in the same millisecond, so only those of the last one
/// are remembered.
#[derive(Debug, Default)]
struct Repeats {
    timestamp_ms: i64,
    fingerprints: Vec<u32>,
}

impl Repeats {
    /// The event, told apart from equal ones that came before.
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

/// A viewer who may join.
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

    /// Records an event, and returns what will resolve when it is durable. Many events can be under way at once.
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

    /// The same for an event that was checked before the viewer joined, with the [salt](crate::ApiKey::salt) of the session.
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

    /// The viewer left, which closes what is open for good.
    pub fn leave(mut self) -> Acknowledgement {
        self.gone = true;
        self.release(Input::Leave)
    }

    /// The connection was lost, and was last known to be alive at `heard`.
    pub fn lose(mut self, heard: Moment) -> Acknowledgement {
        self.gone = true;
        self.release(|_| Input::Lose(heard))
    }

    /// The key that the session was sent under.
    #[must_use]
    pub fn key(&self) -> &crate::key::ApiKey {
        &self.entry.subject.key
    }

    fn release(&self, farewell: impl FnOnce(Moment) -> Input) -> Acknowledgement {
        let nothing = Acknowledgement { session: self.entry.id, progress: None };
        // Only the connection that joined last speaks for the viewer.
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
            // Nobody waits for it; the writer will.
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

    /// The session of a viewer who is connected, and speaks for it from now on.
    pub(crate) fn connect(
        self: &Arc<Self>,
        lifeline: &Lifeline,
        admitted: Admitted,
    ) -> Result<Viewing, NotJoined> {
        let owner = Owner(self.owners.fetch_add(1, Ordering::Relaxed));
        let entry = self.pin(admitted, Some(owner))?;
        self.tallies.connected.fetch_add(1, Ordering::Relaxed);
        // Loads what the store has of the session, and goes on with it. That cannot fail: it is no event.
        drop(self.enqueue_input(&entry, Input::Resume(self.moment())));
        Ok(self.viewing(lifeline, entry, Some(owner)))
    }

    /// The session of a viewer who is heard of in batches only.
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

    /// Leaves what is not durable in a file. The writer must have ended.
    pub(crate) async fn spill(&self, spool: &Spool) -> Result<Stopped, SpoolError> {
        let mut spilled = Vec::new();
        for shard in &self.shards {
            spilled.extend(lock(shard).entries.values().filter_map(|entry| entry.spill()));
        }
        spool.spill(self.instance, spilled).await
    }

    /// Has the writer write what another recorder left.
    fn recover(&self, spilled: Spilled, instance: Instance) -> Option<Acknowledgement> {
        let entry = Arc::new(Entry::recovered(spilled.id, spilled.subject));
        let mut state = entry.lock();
        self.inputs.fetch_add(spilled.inputs.len(), Ordering::Relaxed);
        state.recover(instance, spilled.past, spilled.inputs);
        entry.account(&mut state, &self.sessions);
        self.enqueue(&entry, &mut state).ok()?;
        Some(Acknowledgement { session: entry.id, progress: state.progress() })
    }

    /// Waits until fewer inputs wait for the store than may, by their number and by the memory that is left, or the writer
    /// has ended.
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

    /// Whether less than one in `part` bytes is left of what sessions may take.
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

    /// Whether idle sessions take more memory than they may, or what is left of the budget gets scarce.
    fn is_full(&self) -> bool {
        let idle_bytes = self.idle_bytes.load(Ordering::Relaxed);
        self.idle_bytes_max < idle_bytes || (0 < idle_bytes && self.is_short_of(EVICT_PART))
    }

    /// Puts one input into a session and the session into the queue of the writer. Returns whether the input changed
    /// anything.
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

    /// Has the session written with the next batch.
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

/// Locks are held for a few lines that cannot panic, so a poisoned one is as sound as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

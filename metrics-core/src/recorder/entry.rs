//! One session in memory: its durable state, and the inputs that are not durable yet.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::{Admitted, NotStored, Progress, lock};
use crate::budget::{Budget, Reservation};
use crate::event::{CheckedEvent, Step};
use crate::key::SessionId;
use crate::quota::Charge;
use crate::session::{Moment, Reach, Session, Writers};
use crate::source::Source;
use crate::store::{Instance, SessionWrite, Subject, Version};
use crate::upkeep::Loaded;
use crate::varint::Damaged;

/// How long a session without a connection is kept in memory after its last input, in milliseconds: batches arrive
/// every few seconds, and a page that lost its connection is back within a minute or not at all.
const KEPT_MS: i64 = 60_000;

/// How long a segment that a batch opened counts as open without another batch, in milliseconds, if the video is not
/// known to end before. A page sends no events while its viewer watches without a stop.
const UNHEARD_MS_MAX: i64 = 3_600_000;

/// How long a viewer whose page sends heartbeats counts as watching after the last one, in milliseconds: four
/// heartbeats of `metrics.js`, and the longest silence of a websocket.
const SIGNLESS_MS_MAX: i64 = 60_000;

/// The most events before the first play that are kept until it arrives: those of a batch that overtook the batch
/// before.
const EARLY_MAX: usize = 32;

/// Measured size of a session without its texts and segments: the session, the events it has seen, its map entry.
const ENTRY_BYTES: usize = 2_048;

/// The number of waiting inputs that [`ENTRY_BYTES`] includes: as many as the first allocation holds. So a session
/// reserves nothing for an event that is written before the next one arrives.
const ENTRY_INPUTS: usize = 4;

/// Estimated size of the texts and the acknowledgement of an input, in bytes.
const INPUT_BYTES: usize = 256;

/// A session releases reserved memory only if it exceeds the size of the session by more than this.
const SLACK_BYTES: usize = 2_048;

/// Something that changes a session.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Event(CheckedEvent, Moment),
    Resume(Moment),
    Lose(Moment),
    Leave(Moment),
    /// Writes the open segment as far as it has run. A checkpoint counts as an input, so that its write differs from
    /// those of other recorders.
    Checkpoint(Moment),
}

impl Input {
    pub(super) fn is_play(&self) -> bool {
        matches!(self, Self::Event(event, _) if matches!(event.step, Step::Play { .. }))
    }

    /// Whether the input may belong to a session whose first play arrives later.
    fn is_early(&self) -> bool {
        matches!(self, Self::Event(event, _) if event.timestamp_ms.is_some()) && !self.is_play()
    }

    /// Whether the input reports the rate, which holds for later segments.
    fn is_rate(&self) -> bool {
        matches!(self, Self::Event(event, _) if matches!(event.step, Step::RateChange { .. }))
    }

    /// Whether the input happened before `other`, by the player's clock.
    fn is_before(&self, other: &Self) -> bool {
        let timestamp_ms = |input: &Self| match input {
            Self::Event(_, at) => at.timestamp_ms,
            _ => None,
        };
        timestamp_ms(self) < timestamp_ms(other)
    }

    pub(super) fn received_ms(&self) -> i64 {
        match self {
            Self::Event(_, at)
            | Self::Resume(at)
            | Self::Lose(at)
            | Self::Leave(at)
            | Self::Checkpoint(at) => at.received_ms,
        }
    }

    /// Applies the input to a session, and returns whether it changed anything.
    ///
    /// `elsewhere_ms` is when another recorder last knew that the viewer was connected: a connection that was lost
    /// before is not the end.
    fn apply_to(&self, session: &mut Option<Box<Session>>, elsewhere_ms: Option<i64>) -> bool {
        match (&mut *session, self) {
            (None, Self::Event(event, at)) => {
                *session = Session::begin(event, *at).map(Box::new);
                session.is_some()
            }
            (None, _) => false,
            (Some(session), Self::Event(event, at)) => session.apply(event, *at),
            (Some(session), Self::Resume(at)) => session.resume(*at),
            (Some(session), Self::Lose(at)) => {
                let later_ms = elsewhere_ms.filter(|elsewhere_ms| at.received_ms < *elsewhere_ms);
                session.lose(later_ms.map_or(*at, Moment::received))
            }
            (Some(session), Self::Leave(at)) => session.leave(*at),
            (Some(session), Self::Checkpoint(_)) => session.viewing(),
        }
    }
}

/// The connection that reports for a viewer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owner(pub(super) u64);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: SessionId,
    pub(super) subject: Arc<Subject>,
    pub(super) salt: u64,
    pub(super) clock_shift_ms: i64,
    // `None` for a recovered session, which has no limits.
    pub(super) charge: Option<Charge>,
    // Length of its texts.
    text_bytes: usize,
    state: Mutex<EntryState>,
}

impl Entry {
    pub(super) fn new(admitted: Admitted) -> Self {
        let Admitted { id, salt, clock_shift_ms, subject, charge, gives_signs: _ } = admitted;
        Self { salt, clock_shift_ms, charge, ..Self::recovered(id, Arc::new(subject)) }
    }

    /// A session from the spool file of another recorder. No more events of it arrive.
    pub(super) fn recovered(id: SessionId, subject: Arc<Subject>) -> Self {
        let Subject { key, video, source, session_data, .. } = &*subject;
        let (page, data) = (source.as_ref().map(Source::as_str), session_data.as_deref());
        let texts = [Some(key.as_str()), video.identifier(), video.metadata(), page, data];
        let text_bytes = texts.into_iter().flatten().map(str::len).sum();
        let state = Mutex::default();
        Self { id, subject, salt: 0, clock_shift_ms: 0, charge: None, text_bytes, state }
    }

    /// Returns the inputs that would be lost if the recorder ended now.
    pub(super) fn spill(&self) -> Option<Spilled> {
        let (past, inputs) = self.lock().unwritten()?;
        Some(Spilled { id: self.id, subject: Arc::clone(&self.subject), past, inputs })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, EntryState> {
        lock(&self.state)
    }

    /// Estimated size in memory, in bytes.
    pub(super) fn bytes(&self, state: &EntryState) -> usize {
        let inputs = state.inputs.capacity().saturating_sub(ENTRY_INPUTS) + state.early.capacity();
        let session = state.session.as_deref().map_or(0, Session::heap_bytes);
        ENTRY_BYTES + self.text_bytes + inputs * (size_of::<Input>() + INPUT_BYTES) + session
    }

    /// Reserves memory that the session needs in addition, regardless of the budget, and releases memory that it no
    /// longer needs.
    pub(super) fn account(&self, state: &mut EntryState, memory: &Budget) {
        let bytes = self.bytes(state);
        let held = state.held.get_or_insert_with(|| memory.charge(bytes));
        if held.bytes() < bytes {
            held.charge(bytes - held.bytes());
        } else if bytes + SLACK_BYTES < held.bytes() {
            held.shrink(held.bytes() - bytes);
        }
    }

    /// Returns the write that is due now, if any.
    pub(super) fn write(&self, now: Moment, instance: Instance) -> Option<SessionWrite> {
        let mut state = self.lock();
        let Base::Known { version, .. } = state.base else { return None };
        if state.folded == 0 {
            return None;
        }
        let reach = if state.owner.is_some() { Reach::Until(now) } else { Reach::LastEvent };
        let session = state.session.as_ref()?;
        let (written, playing) = (state.writers.inputs_of(instance.0), session.viewing());
        let stored = session.store_with(reach, &state.writers);
        let clamped = stored.counters.details.clamped;
        state.writing = Some(Writing { inputs: state.folded, written, playing, clamped });
        let write = SessionWrite {
            id: self.id,
            subject: Arc::clone(&self.subject),
            expected: version,
            stored,
            watched_at: playing.then_some(instance),
        };
        Some(write)
    }
}

#[derive(Debug, Default)]
pub(super) struct EntryState {
    // `None` before the first `play`; boxed, because many viewers who join never play.
    session: Option<Box<Session>>,
    // Number of inputs that each recorder has put into the session.
    writers: Writers,
    base: Base,
    // Whether the viewer may have been connected to another recorder since `base` was read.
    stale: bool,
    // The inputs that are not durable, the oldest first.
    inputs: Vec<Input>,
    // How many of `inputs` are in `session`. The others wait until the stored session is loaded.
    folded: usize,
    // The inputs that the current write contains.
    writing: Option<Writing>,
    queued: bool,
    // Why inputs of the batch that is forming were lost, if some were.
    lost: Option<NotStored>,
    progress: Option<watch::Receiver<Progress>>,
    // Number of `Viewing`s that use this session.
    pins: usize,
    owner: Option<Owner>,
    touched_ms: i64,
    // When another recorder last knew that the viewer was connected.
    elsewhere_ms: Option<i64>,
    // The recorder that spilled the inputs, until it is known which of them are stored.
    past: Option<(Instance, Past)>,
    // Clamped segments in the last known stored state.
    clamped: u32,
    // Events that arrived before the first play, and happened after it by the player's clock. They are not durable.
    early: Vec<Input>,
    // Whether its batches include heartbeats.
    gives_signs: bool,
    // The memory that it has reserved.
    held: Option<Reservation>,
}

/// The result of a write that became durable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Written {
    pub(super) inputs: usize,
    /// Number of newly clamped segments.
    pub(super) clamped: u32,
}

/// A session with inputs that its recorder could not store.
#[derive(Debug)]
pub(super) struct Spilled {
    pub(super) id: SessionId,
    pub(super) subject: Arc<Subject>,
    pub(super) past: Past,
    pub(super) inputs: Vec<Input>,
}

/// The last state of the store that an ended recorder knew.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, serde::Serialize)]
pub(super) struct Past {
    // How many of its inputs were in the stored session; `None` if it never loaded the session.
    counted: Option<u32>,
    // How many of the inputs it had folded into the session, and may have written.
    folded: usize,
    // Whether a segment was open in the stored session, and in the last write.
    playing: bool,
    playing_written: bool,
}

/// The stored state of the session.
#[derive(Clone, Copy, Debug, Default)]
enum Base {
    #[default]
    Unknown,
    Known {
        // 0 if there is no row.
        version: Version,
        // How many inputs of this recorder it has.
        counted: u32,
        // Whether it has an open segment that this recorder opened.
        playing: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Writing {
    inputs: usize,
    // How many inputs of this recorder the written session has.
    written: u32,
    playing: bool,
    clamped: u32,
}

impl EntryState {
    /// Adds a `Viewing`. The viewer may have used another recorder since the last one, so the entry becomes stale.
    pub(super) fn pin(&mut self, owner: Option<Owner>, gives_signs: bool) {
        self.pins += 1;
        self.stale = true;
        self.gives_signs |= gives_signs;
        if owner.is_some() {
            self.owner = owner;
        }
    }

    /// Removes a `Viewing`, and returns whether it reported for the viewer.
    pub(super) fn unpin(&mut self, owner: Option<Owner>) -> bool {
        self.pins -= 1;
        let spoke = owner.is_some() && self.owner == owner;
        if spoke {
            self.owner = None;
        }
        spoke
    }

    /// Keeps the memory that was reserved for the session.
    pub(super) fn hold(&mut self, held: Reservation) {
        self.held = Some(held);
    }

    /// Reserved memory, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, Reservation::bytes)
    }

    pub(super) fn is_full(&self) -> bool {
        self.session.as_deref().is_some_and(Session::is_full)
    }

    /// Accepts an input, and returns how many inputs are to be written because of it.
    pub(super) fn accept(&mut self, input: Input, instance: Instance) -> usize {
        self.touched_ms = self.touched_ms.max(input.received_ms());
        let before = self.inputs.len();
        if self.is_stale() {
            self.inputs.push(input);
        } else {
            self.apply(input, instance);
            self.folded = self.inputs.len();
        }
        self.inputs.len() - before
    }

    /// Applies an input to the session, and keeps it if it changed anything. An early input waits for the first play.
    fn apply(&mut self, input: Input, instance: Instance) {
        let begins = self.session.is_none();
        if !input.apply_to(&mut self.session, self.elsewhere_ms) {
            if self.session.is_none() && input.is_early() {
                if self.early.len() == EARLY_MAX {
                    self.early.remove(0);
                }
                self.early.push(input);
            }
            return;
        }
        self.writers.count_input(instance.0);
        let early = if begins { std::mem::take(&mut self.early) } else { Vec::new() };
        let counts = |early: &Input| early.is_rate() || !early.is_before(&input);
        let early = early.into_iter().filter(counts).collect::<Vec<_>>();
        self.inputs.push(input);
        for input in early {
            self.apply(input, instance);
        }
    }

    /// Whether the stored session must be loaded before inputs can be applied.
    pub(super) fn is_stale(&self) -> bool {
        self.stale || matches!(self.base, Base::Unknown)
    }

    /// The inputs that are not durable, if there are any.
    fn unwritten(&self) -> Option<(Past, Vec<Input>)> {
        let mut past = Past { folded: self.folded, ..Past::default() };
        if let Base::Known { counted, playing, .. } = self.base {
            past.counted = Some(counted);
            past.playing = playing;
            past.playing_written = self.writing.map_or(playing, |writing| writing.playing);
        }
        // Without an event or an open segment, nothing is lost: the viewer never played.
        let tells = |input: &Input| matches!(input, Input::Event(..));
        let is_something = past.playing || self.inputs.iter().any(tells);
        is_something.then(|| (past, self.inputs.clone())).filter(|(_, inputs)| !inputs.is_empty())
    }

    /// Continues where another recorder ended.
    pub(super) fn recover(&mut self, instance: Instance, past: Past, inputs: Vec<Input>) {
        self.inputs = inputs;
        self.past = Some((instance, past));
    }

    /// Number of inputs that are not durable.
    pub(super) fn waiting(&self) -> usize {
        self.inputs.len()
    }

    /// Replaces the base by the stored session, and folds in the inputs that it lacks.
    pub(super) fn rebase(
        &mut self,
        loaded: Option<&Loaded>,
        instance: Instance,
    ) -> Result<(), Damaged> {
        let version = loaded.map_or(0, |loaded| loaded.version);
        let clamped = loaded.map_or(0, |loaded| loaded.stored.counters.details.clamped);
        match self.base {
            // No other recorder has written it: the session in memory is the same, in more detail than stored.
            Base::Known { version: known, .. } if known == version && self.is_as_old(loaded) => {}
            _ => {
                let loaded = loaded.map(|loaded| Session::load_with(&loaded.stored)).transpose()?;
                let (session, writers) = loaded.unzip();
                let (session, writers) = (session.map(Box::new), writers.unwrap_or_default());
                let counted = writers.inputs_of(instance.0);
                if self.has_landed(version, counted) {
                    self.written();
                } else {
                    self.replace(session, writers, version, counted);
                    self.clamped = clamped;
                }
            }
        }
        for input in self.inputs.split_off(self.folded) {
            self.apply(input, instance);
        }
        self.folded = self.inputs.len();
        self.give_back();
        self.stale = false;
        self.writing = None;
        Ok(())
    }

    /// Whether the session in memory and the stored one are the same: the session may have been erased and have begun
    /// anew, and its versions with it.
    fn is_as_old(&self, loaded: Option<&Loaded>) -> bool {
        let here = self.session.as_ref().map(|session| session.started_at_ms());
        loaded.is_none_or(|loaded| here.is_none_or(|here| here == loaded.stored.started_at_ms))
    }

    /// Whether the session can still get another video: it has no play and no waiting events.
    pub(super) fn is_vacant(&self) -> bool {
        self.session.is_none() && self.early.is_empty() && self.inputs.is_empty()
    }

    /// Whether the stored version is that of the current write.
    fn has_landed(&self, version: Version, counted: u32) -> bool {
        match (self.base, self.writing) {
            (Base::Known { version: known, .. }, Some(writing)) => {
                known + 1 == version && writing.written == counted
            }
            _ => false,
        }
    }

    /// Replaces the session by the stored one, which another recorder has written, before missing inputs are folded in.
    fn replace(
        &mut self,
        session: Option<Box<Session>>,
        writers: Writers,
        version: Version,
        counted: u32,
    ) {
        let mut playing = false;
        if let Base::Known { counted: known, playing: before, .. } = self.base {
            // If the stored session no longer has a count for this recorder, it has no unknown inputs of it.
            let landed = (counted.saturating_sub(known) as usize).min(self.folded);
            self.inputs.drain(..landed);
            let written = self.writing.filter(|_| 0 < landed);
            playing = written.map_or(before, |writing| writing.playing);
        }
        if let Some((instance, past)) = self.past.take() {
            let known = past.counted.unwrap_or(u32::MAX);
            let stored = writers.inputs_of(instance.0);
            let landed = (stored.saturating_sub(known) as usize).min(past.folded);
            // All recovered inputs are written at once: if one was recovered before, all were.
            let landed = if 0 < counted { self.inputs.len() } else { landed };
            self.inputs.drain(..landed.min(self.inputs.len()));
            playing = if 0 < landed { past.playing_written } else { past.playing };
        }
        self.base = Base::Known { version, counted, playing: false };
        self.elsewhere_ms = self.elsewhere_ms.max(session.as_deref().and_then(Session::lost_at_ms));
        (self.session, self.writers) = (session, writers);
        self.folded = 0;
        if playing && let Some(back) = self.watching_on() {
            self.inputs.insert(0, back);
        }
    }

    /// Returns the input that cancels a loss noted by another recorder, because the viewer was connected here all the
    /// time; `None` if that recorder had contact with the viewer later than this one.
    fn watching_on(&self) -> Option<Input> {
        let lost_ms = self.session.as_ref()?.lost_at_ms()?;
        let heard_ms = self.inputs.first().map_or(self.touched_ms, Input::received_ms);
        let here = self.owner.is_some() || lost_ms <= heard_ms;
        // From then on, however long ago that is: the store may have been unavailable since.
        here.then_some(Input::Resume(Moment::received(lost_ms)))
    }

    /// Marks the current write as durable.
    pub(super) fn written(&mut self) -> Written {
        let Some(writing) = self.writing.take() else { return Written::default() };
        if let Base::Known { version, .. } = self.base {
            let (counted, playing) = (writing.written, writing.playing);
            self.base = Base::Known { version: version + 1, counted, playing };
        }
        self.inputs.drain(..writing.inputs);
        self.folded -= writing.inputs;
        self.give_back();
        let clamped = writing.clamped.saturating_sub(self.clamped);
        self.clamped = writing.clamped;
        Written { inputs: writing.inputs, clamped }
    }

    /// Frees the allocation of an empty list: most sessions have nothing to write most of the time.
    fn give_back(&mut self) {
        if self.inputs.is_empty() {
            self.inputs = Vec::new();
        }
    }

    /// Drops all inputs, because the store refused them for good. Returns how many are lost.
    pub(super) fn refused(&mut self, refusal: NotStored) -> usize {
        let lost = self.inputs.len();
        *self = Self {
            pins: self.pins,
            owner: self.owner,
            queued: self.queued,
            lost: self.lost.or((self.queued && 0 < lost).then_some(refusal)),
            progress: self.progress.take(),
            touched_ms: self.touched_ms,
            elsewhere_ms: self.elsewhere_ms,
            gives_signs: self.gives_signs,
            held: self.held.take(),
            ..Self::default()
        };
        lost
    }

    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    pub(super) fn queue(&mut self, progress: watch::Receiver<Progress>) {
        self.queued = true;
        self.progress = Some(progress);
    }

    /// Marks the batch as taken by the writer: later inputs belong to the next one. Returns why inputs of it were lost
    /// before, if some were.
    pub(super) fn taken(&mut self) -> Option<NotStored> {
        self.queued = false;
        self.lost.take()
    }

    /// Resolves when all inputs so far are durable; `None` if they are.
    pub(super) fn progress(&self) -> Option<watch::Receiver<Progress>> {
        if self.inputs.is_empty() { None } else { self.progress.clone() }
    }

    /// Whether the session is unused and can be loaded again: no `Viewing`, nothing to write.
    pub(super) fn is_idle(&self) -> bool {
        self.pins == 0 && !self.queued && self.inputs.is_empty()
    }

    /// Returns the action that the session needs now; called periodically. If memory is full, idle sessions do not wait
    /// for their viewers to come back.
    pub(super) fn check(&self, now: Moment, memory: Memory) -> Care {
        let now_ms = now.received_ms;
        let open = self.session.as_ref().filter(|session| session.viewing());
        // Heartbeats of a page whose video must have ended are no viewing.
        let ended = open.filter(|_| self.owner.is_some()).and_then(|session| session.ended(now));
        if let Some(ended) = ended {
            return Care::Lose(ended);
        }
        match (open, self.owner) {
            // A session that waits to be written is written as far as it has run anyway.
            (Some(_), Some(_)) if !self.inputs.is_empty() => Care::Keep,
            (Some(_), Some(_)) => Care::Checkpoint,
            (Some(session), None) => {
                let heard_ms = session.last_event_at_ms();
                let ends_ms = match session.duration_ms() {
                    _ if self.gives_signs => SIGNLESS_MS_MAX,
                    Some(duration_ms) => UNHEARD_MS_MAX.min(duration_ms.into()),
                    None => UNHEARD_MS_MAX,
                };
                let ended = heard_ms.saturating_add(ends_ms) < now_ms;
                if ended || (memory == Memory::Full && self.is_idle()) {
                    Care::Lose(Moment::received(heard_ms))
                } else {
                    Care::Keep
                }
            }
            (None, _) => {
                // A session without a play and without early events need not be kept.
                let is_something = self.session.is_some() || !self.early.is_empty();
                let young = is_something && now_ms < self.touched_ms.saturating_add(KEPT_MS);
                let stays = young && memory == Memory::Enough;
                if !self.is_idle() || stays { Care::Keep } else { Care::Evict }
            }
        }
    }
}

/// Whether idle sessions can stay in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Memory {
    Enough,
    /// Idle sessions are evicted.
    Full,
}

/// The action that a session needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Care {
    Keep,
    Checkpoint,
    /// The last contact was at this moment, too long ago.
    Lose(Moment),
    Evict,
}

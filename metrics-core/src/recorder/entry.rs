//! One session in memory: its durable state, and the inputs that are not durable yet.

mod accept;
mod care;
mod rebase;
mod spill;
mod write;

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

pub(super) use self::care::{Care, Memory};
pub(super) use self::spill::{Past, Spilled};
use super::acknowledgement::Progress;
use super::errors::NotStored;
use super::input::Input;
use super::lock;
use crate::budget::{Budget, Reservation};
use crate::key::SessionId;
use crate::quota::Charge;
use crate::session::{Session, Writers};
use crate::source::Source;
use crate::store::{Instance, Subject, Version};

/// Measured size of a session without its texts and segments: the session, the events it has seen, its map entry.
const ENTRY_BYTES: usize = 2_048;

/// The number of waiting inputs that [`ENTRY_BYTES`] includes: as many as the first allocation holds. So a session
/// reserves nothing for an event that is written before the next one arrives.
const ENTRY_INPUTS: usize = 4;

/// Estimated size of the texts and the acknowledgement of an input, in bytes.
const INPUT_BYTES: usize = 256;

/// A session releases reserved memory only if it exceeds the size of the session by more than this.
const SLACK_BYTES: usize = 2_048;

/// An admitted viewer.
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
    /// See [`Join::heartbeats`](crate::Join::heartbeats).
    pub(crate) sends_heartbeats: bool,
}

/// The connection that reports for a viewer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owner(pub(super) u64);

/// A session in memory: its fixed facts, and its state behind a lock.
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
        let Admitted { id, salt, clock_shift_ms, subject, charge, sends_heartbeats: _ } = admitted;
        Self { salt, clock_shift_ms, charge, ..Self::recovered(id, Arc::new(subject)) }
    }

    /// A session from the spool file of another recorder. No more events of it arrive.
    pub(super) fn recovered(id: SessionId, subject: Arc<Subject>) -> Self {
        let Subject { key, video, source, session_data, arrival, .. } = &*subject;
        let (page, data) = (source.as_ref().map(Source::as_str), session_data.as_deref());
        let texts = [Some(key.as_str()), video.identifier(), video.metadata(), page, data];
        let text_bytes = texts.into_iter().flatten().map(str::len).sum::<usize>() + arrival.bytes();
        let state = Mutex::default();
        Self { id, subject, salt: 0, clock_shift_ms: 0, charge: None, text_bytes, state }
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
}

/// The state of a session in memory.
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
    // Whether it is in a batch that the writer has not taken yet.
    queued: bool,
    // Why inputs of the batch that is forming were lost, if some were.
    lost: Option<NotStored>,
    // The outcome of the last batch that it was in.
    progress: Option<watch::Receiver<Progress>>,
    // Number of `Viewing`s that use this session.
    pins: usize,
    // The connection that joined last, as long as it is there.
    owner: Option<Owner>,
    // When its last input arrived.
    touched_ms: i64,
    // When another recorder last knew that the viewer was connected.
    other_instance_ms: Option<i64>,
    // The recorder that spilled the inputs, until it is known which of them are stored.
    past: Option<(Instance, Past)>,
    // Clamped segments in the last known stored state.
    clamped: u32,
    // Events that arrived before the first play, and happened after it by the player's clock. They are not durable.
    early: Vec<Input>,
    // Whether its batches include heartbeats.
    sends_heartbeats: bool,
    // The memory that it has reserved.
    held: Option<Reservation>,
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

/// The write of the session that is under way.
#[derive(Clone, Copy, Debug)]
struct Writing {
    // How many of the inputs in memory it contains.
    inputs: usize,
    // How many inputs of this recorder the written session has.
    written: u32,
    // Whether a segment is open in it.
    playing: bool,
    // Clamped segments in it.
    clamped: u32,
}

impl EntryState {
    /// Adds a `Viewing`. The viewer may have used another recorder since the last one, so the entry becomes stale.
    pub(super) fn pin(&mut self, owner: Option<Owner>, sends_heartbeats: bool) {
        self.pins += 1;
        self.stale = true;
        self.sends_heartbeats |= sends_heartbeats;
        if owner.is_some() {
            self.owner = owner;
        }
    }

    /// Removes a `Viewing`, and returns whether it reported for the viewer.
    pub(super) fn unpin(&mut self, owner: Option<Owner>) -> bool {
        self.pins -= 1;
        let is_owner = owner.is_some() && self.owner == owner;
        if is_owner {
            self.owner = None;
        }
        is_owner
    }

    /// Keeps the memory that was reserved for the session.
    pub(super) fn hold(&mut self, held: Reservation) {
        self.held = Some(held);
    }

    /// Reserved memory, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, Reservation::bytes)
    }

    /// Whether the session has reached its limit of segments.
    pub(super) fn is_full(&self) -> bool {
        self.session.as_deref().is_some_and(Session::is_full)
    }

    /// Whether the stored session must be loaded before inputs can be applied.
    pub(super) fn is_stale(&self) -> bool {
        self.stale || matches!(self.base, Base::Unknown)
    }

    /// Number of inputs that are not durable.
    pub(super) fn waiting(&self) -> usize {
        self.inputs.len()
    }

    /// Whether the session can still get another video: it has no play and no waiting events.
    pub(super) fn is_vacant(&self) -> bool {
        self.session.is_none() && self.early.is_empty() && self.inputs.is_empty()
    }

    /// Whether the session is in a batch that the writer has not taken yet.
    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    /// Marks the session as part of a batch, whose outcome `progress` reports.
    pub(super) fn queue(&mut self, progress: watch::Receiver<Progress>) {
        self.queued = true;
        self.progress = Some(progress);
    }

    /// Marks the batch as taken by the writer: later inputs belong to the next one. Returns why inputs of it were lost
    /// before, if some were.
    pub(super) fn start_writing(&mut self) -> Option<NotStored> {
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
}

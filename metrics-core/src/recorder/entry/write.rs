//! Prepares the write of a session, and applies its outcome.

use std::sync::Arc;

use super::{Base, Entry, EntryState, Writing};
use crate::recorder::errors::NotStored;
use crate::session::{Moment, Reach};
use crate::store::{Instance, SessionWrite};

/// The result of a write that became durable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::recorder) struct Written {
    pub(in crate::recorder) inputs: usize,
    /// Number of newly clamped segments.
    pub(in crate::recorder) clamped: u32,
}

impl Entry {
    /// Returns the write that is due now, if any.
    pub(in crate::recorder) fn write(
        &self,
        now: Moment,
        instance: Instance,
    ) -> Option<SessionWrite> {
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

impl EntryState {
    /// Marks the current write as durable.
    pub(in crate::recorder) fn written(&mut self) -> Written {
        let Some(writing) = self.writing.take() else { return Written::default() };
        if let Base::Known { version, .. } = self.base {
            let (counted, playing) = (writing.written, writing.playing);
            self.base = Base::Known { version: version + 1, counted, playing };
        }
        self.inputs.drain(..writing.inputs);
        self.folded -= writing.inputs;
        self.free_inputs();
        let clamped = writing.clamped.saturating_sub(self.clamped);
        self.clamped = writing.clamped;
        Written { inputs: writing.inputs, clamped }
    }

    /// Frees the allocation of an empty list: most sessions have nothing to write most of the time.
    pub(super) fn free_inputs(&mut self) {
        if self.inputs.is_empty() {
            self.inputs = Vec::new();
        }
    }

    /// Drops all inputs, because the store refused them for good. Returns how many are lost.
    pub(in crate::recorder) fn refused(&mut self, refusal: NotStored) -> usize {
        let lost = self.inputs.len();
        *self = Self {
            pins: self.pins,
            owner: self.owner,
            queued: self.queued,
            lost: self.lost.or((self.queued && 0 < lost).then_some(refusal)),
            progress: self.progress.take(),
            touched_ms: self.touched_ms,
            other_instance_ms: self.other_instance_ms,
            sends_heartbeats: self.sends_heartbeats,
            held: self.held.take(),
            ..Self::default()
        };
        lost
    }
}

//! Replaces a session in memory by the stored one, and folds in exactly the inputs that the stored one lacks.

use super::{Base, EntryState};
use crate::recorder::input::Input;
use crate::session::{Moment, Session, Writers};
use crate::store::{Instance, Version};
use crate::upkeep::Loaded;
use crate::varint::Damaged;

impl EntryState {
    /// Replaces the base by the stored session, and folds in the inputs that it lacks.
    pub(in crate::recorder) fn rebase(
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
                if self.is_stored(version, counted) {
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
        self.free_inputs();
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

    /// Whether the stored version is that of the current write.
    fn is_stored(&self, version: Version, counted: u32) -> bool {
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
            let confirmed = (counted.saturating_sub(known) as usize).min(self.folded);
            self.inputs.drain(..confirmed);
            let written = self.writing.filter(|_| 0 < confirmed);
            playing = written.map_or(before, |writing| writing.playing);
        }
        if let Some((instance, past)) = self.past.take() {
            let known = past.counted.unwrap_or(u32::MAX);
            let stored = writers.inputs_of(instance.0);
            let confirmed = (stored.saturating_sub(known) as usize).min(past.folded);
            // All recovered inputs are written at once: if one was recovered before, all were.
            let confirmed = if 0 < counted { self.inputs.len() } else { confirmed };
            self.inputs.drain(..confirmed.min(self.inputs.len()));
            playing = if 0 < confirmed { past.playing_written } else { past.playing };
        }
        self.base = Base::Known { version, counted, playing: false };
        self.other_instance_ms =
            self.other_instance_ms.max(session.as_deref().and_then(Session::lost_at_ms));
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
}

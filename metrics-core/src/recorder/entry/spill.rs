//! Spills the inputs of a session that its recorder could not store.

use std::sync::Arc;

use super::{Base, Entry, EntryState};
use crate::key::SessionId;
use crate::recorder::input::Input;
use crate::store::{Instance, Subject};

/// A session with inputs that its recorder could not store.
#[derive(Debug)]
pub(in crate::recorder) struct Spilled {
    pub(in crate::recorder) id: SessionId,
    pub(in crate::recorder) subject: Arc<Subject>,
    pub(in crate::recorder) past: Past,
    pub(in crate::recorder) inputs: Vec<Input>,
}

/// The last state of the store that an ended recorder knew.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, serde::Serialize)]
pub(in crate::recorder) struct Past {
    // How many of its inputs were in the stored session; `None` if it never loaded the session.
    pub(super) counted: Option<u32>,
    // How many of the inputs it had folded into the session, and may have written.
    pub(super) folded: usize,
    // Whether a segment was open in the stored session, and in the last write.
    pub(super) playing: bool,
    pub(super) playing_written: bool,
}

impl Entry {
    /// Returns the inputs that would be lost if the recorder ended now.
    pub(in crate::recorder) fn spill(&self) -> Option<Spilled> {
        let (past, inputs) = self.lock().unwritten()?;
        Some(Spilled { id: self.id, subject: Arc::clone(&self.subject), past, inputs })
    }
}

impl EntryState {
    /// The inputs that are not durable, if there are any.
    fn unwritten(&self) -> Option<(Past, Vec<Input>)> {
        let mut past = Past { folded: self.folded, ..Past::default() };
        if let Base::Known { counted, playing, .. } = self.base {
            past.counted = Some(counted);
            past.playing = playing;
            past.playing_written = self.writing.map_or(playing, |writing| writing.playing);
        }
        // Without an event or an open segment, nothing is lost: the viewer never played.
        let is_event = |input: &Input| matches!(input, Input::Event(..));
        let is_something = past.playing || self.inputs.iter().any(is_event);
        is_something.then(|| (past, self.inputs.clone())).filter(|(_, inputs)| !inputs.is_empty())
    }

    /// Continues where another recorder ended.
    pub(in crate::recorder) fn recover(
        &mut self,
        instance: Instance,
        past: Past,
        inputs: Vec<Input>,
    ) {
        self.inputs = inputs;
        self.past = Some((instance, past));
    }
}

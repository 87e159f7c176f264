//! A viewer's handle on a session: records events, and closes the open segment when the viewer leaves.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::acknowledgement::Acknowledgement;
use super::entry::{Entry, Owner};
use super::errors::EventError;
use super::input::Input;
use super::repeats::Repeats;
use super::{Recorder, lock};
use crate::event::{CheckedEvent, PlayerEvent};
use crate::quota::Kind;
use crate::session::Moment;
use crate::shutdown::Lifeline;

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
            Ok((_, true)) => &events.accepted,
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

    /// Charges an event to its limits and queues it. Returns whether it changed anything.
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

    /// The connection was lost, and was last known to be alive at `last_received`.
    pub fn lose(mut self, last_received: Moment) -> Acknowledgement {
        self.gone = true;
        self.release(|_| Input::Lose(last_received))
    }

    /// The key of the session.
    #[must_use]
    pub fn key(&self) -> &crate::key::ApiKey {
        &self.entry.subject.key
    }

    /// Reports the end of the connection as `last_input`, unless another connection has replaced it.
    fn release(&self, last_input: impl FnOnce(Moment) -> Input) -> Acknowledgement {
        let nothing = Acknowledgement::new(self.entry.id, None);
        // Only the connection that joined last reports for the viewer.
        if !self.entry.lock().unpin(self.owner) || self.owner.is_none() {
            return nothing;
        }
        let last_input = last_input(self.recorder.moment());
        self.recorder.enqueue_input(&self.entry, last_input).map_or(nothing, |(it, _)| it)
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
    pub(super) fn viewing(
        self: &Arc<Self>,
        lifeline: &Lifeline,
        entry: Arc<Entry>,
        owner: Option<Owner>,
    ) -> Viewing {
        let (recorder, lifeline) = (Arc::clone(self), Arc::clone(lifeline));
        Viewing { recorder, lifeline, entry, owner, gone: false, repeats: Mutex::default() }
    }
}

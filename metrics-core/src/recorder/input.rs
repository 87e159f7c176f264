//! Inputs of a session: the events of its player, and the connections of its viewer.

use crate::event::{CheckedEvent, Step};
use crate::session::{Moment, Session};

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
        match self {
            Self::Event(event, _) => match &event.step {
                Step::Play { .. } => true,
                Step::Report(report) => report.begins(),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the input is a report, which has its place among the others by itself.
    pub(super) fn is_report(&self) -> bool {
        matches!(self, Self::Event(event, _) if matches!(event.step, Step::Report(_)))
    }

    /// Whether the input may belong to a session whose first play arrives later.
    pub(super) fn is_early(&self) -> bool {
        matches!(self, Self::Event(event, _) if event.timestamp_ms.is_some()) && !self.is_play()
    }

    /// Whether the input reports the rate, which holds for later segments.
    pub(super) fn is_rate(&self) -> bool {
        matches!(self, Self::Event(event, _) if matches!(event.step, Step::RateChange { .. }))
    }

    /// Whether the input happened before `other`, by the player's clock.
    pub(super) fn is_before(&self, other: &Self) -> bool {
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
    /// `other_instance_ms` is when another recorder last knew that the viewer was connected: a connection that was lost
    /// before is not the end.
    pub(super) fn apply_to(
        &self,
        session: &mut Option<Box<Session>>,
        other_instance_ms: Option<i64>,
    ) -> bool {
        match (&mut *session, self) {
            (None, Self::Event(event, at)) => {
                *session = Session::begin(event, *at).map(Box::new);
                session.is_some()
            }
            (None, _) => false,
            (Some(session), Self::Event(event, at)) => session.apply(event, *at),
            (Some(session), Self::Resume(at)) => session.resume(*at),
            (Some(session), Self::Lose(at)) => {
                let later_ms = other_instance_ms
                    .filter(|other_instance_ms| at.received_ms < *other_instance_ms);
                session.lose(later_ms.map_or(*at, Moment::received))
            }
            (Some(session), Self::Leave(at)) => session.leave(*at),
            (Some(session), Self::Checkpoint(_)) => session.viewing(),
        }
    }
}

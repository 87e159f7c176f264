//! Makes events of records.

use super::{Kind, Record, State};
use crate::event::{Ads, PlayerState, Report};
use crate::{Action, PlayerEvent};

impl Record {
    /// The event that a record reports, or `None` if it reports nothing that counts.
    ///
    /// Each record is an event of its own, and a [`Session`](crate::session::Session) puts the events in the order of
    /// their timestamps (`ts`) and, at one millisecond, of their numbers (`sn`). So the order in which records arrive
    /// does not matter, nor how they are split into requests, nor how often they come. The timestamp counts before the
    /// number, because a page that is loaded again may go on with the same `sid` and count from 0.
    #[must_use]
    pub fn event(&self) -> Option<PlayerEvent> {
        // A response has the timestamp of its request.
        let is_response = self.kind == Kind::Response;
        let report = Report {
            sequence: self.sequence,
            state: self.state.filter(|_| !is_response).map(PlayerState::from),
            position_ms: self.position_ms.filter(|_| !is_response),
            rate: self.rate.filter(|_| !is_response),
            startup_ms: self.startup_ms,
            bitrate: self.bitrate.filter(|_| self.kind == Kind::BitrateChange),
            is_failure: self.kind == Kind::Error,
            is_expansion: self.kind == Kind::Expand,
            ads: match self.kind {
                Kind::AdStart => Some(Ads::Begin),
                Kind::AdEnd => Some(Ads::End),
                _ => None,
            },
        };
        let counts = report.state.is_some()
            || self.kind == Kind::RateChange
            || report.startup_ms.is_some()
            || report.bitrate.is_some()
            || report.is_failure
            || report.is_expansion
            || report.ads.is_some();
        let event = PlayerEvent::new(Action::Report(report)).with_timestamp(self.timestamp_ms);
        counts.then_some(event)
    }
}

impl From<State> for PlayerState {
    fn from(state: State) -> Self {
        match state {
            State::Starting => Self::Starting,
            State::Playing => Self::Playing,
            State::Rebuffering | State::Waiting => Self::Waiting,
            State::Seeking => Self::Seeking,
            State::Preloading | State::Paused | State::Ended | State::Quit => Self::Stopped,
            State::Failed => Self::Failed,
        }
    }
}

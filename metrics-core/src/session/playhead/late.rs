//! Events that arrive too late for their position in the order: from before the open segment.

use super::close::cut;
use super::{Mark, MarkKind, Playhead, State, Tally};
use crate::interval::Interval;
use crate::session::Moment;
use crate::session::open::Open;

/// Events that arrived too late for their position in the order: they happened before `until`, the play of a segment
/// that is known already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Late {
    until: Moment,
    // The last of them that was a play, and its entry in the session's segments.
    open: Option<(Open, Option<Interval>)>,
}

impl Playhead {
    /// Returns the play of the segment that an event at `at` is from before, if there is one: the open segment, or that
    /// before which other events were late.
    pub(super) fn behind(&self, at: Moment) -> Option<Moment> {
        let known = [self.open().map(|open| open.at), self.late.as_ref().map(|late| late.until)];
        known.into_iter().flatten().find(|since| at.precedes(*since) == Some(true))
    }

    /// Handles a mark that arrives too late for its position in the order. A late play still counts: the next late mark
    /// or the open segment closed it.
    pub(super) fn step_late(&mut self, mark: &Mark, until: Moment, tally: &mut Tally<'_>) {
        match mark.kind {
            MarkKind::Play { from_ms, .. } => {
                self.close_late(None, mark.at, tally);
                let open = Open::new(from_ms, mark.at, self.rate_milli);
                let late = Self { state: State::Playing(open), stalled: None, ..self.clone() };
                let segment = late.running(until);
                if segment.is_some() {
                    late.run_until(until, tally.minutes);
                }
                self.replace(None, segment, tally.segments);
                self.late = Some(Box::new(Late { until, open: Some((open, segment)) }));
            }
            MarkKind::Pause { to_ms } => self.close_late(Some(to_ms), mark.at, tally),
            _ => {}
        }
    }

    /// Ends the segment of the last late play at `at`, at the position that a pause reports or at the estimated one.
    fn close_late(&mut self, to_ms: Option<u32>, at: Moment, tally: &mut Tally<'_>) {
        let Some((open, segment)) = self.late.as_mut().and_then(|late| late.open.take()) else {
            return;
        };
        let estimate_ms = open.estimate_ms(at, 0).min(open.end_ms(self.duration_ms));
        let reached_ms = to_ms.filter(|to_ms| open.may_reach(*to_ms, at));
        tally.counters.details.clamped += u32::from(to_ms != reached_ms);
        let to_ms = reached_ms.unwrap_or(estimate_ms);
        let others_ms = self.view_ms.saturating_sub(segment.map_or(0, |it| it.len_ms().into()));
        let remaining_ms = self.budget_ms(&open, at).saturating_sub(others_ms);
        let ended = Interval::new(open.from_ms, to_ms.min(self.last_ms()));
        let ended = ended.and_then(|ended| cut(ended, remaining_ms));
        self.replace(segment, ended, tally.segments);
    }
}

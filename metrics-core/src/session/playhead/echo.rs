//! Pauses and jumps that may belong to the segment before the open one: the rules *Echo* and *Live*.

use std::ops::RangeInclusive;

use super::close::End;
use super::{GAP_MS_MAX, Playhead, State, Tally};
use crate::interval::Segments;
use crate::session::Moment;
use crate::session::open::{Closed, JUMP_MS, Open, saturate};

/// The delay of an echo after a play, in milliseconds: it is sent at the next update of the position. Shorter delays
/// are those of a page that was offline, which sends all its events at once.
pub(super) const ECHO_MS: RangeInclusive<u64> = 30..=1_000;

/// The largest error of an echo's position, in milliseconds, if the end of the segment is known, and if it is an
/// estimate.
const ECHO_OFF_MS: u32 = 50;
const ECHO_OFF_ESTIMATE_MS: u32 = 1_000;

/// The largest distance between two position updates that is no jump for `@maveio/metrics` 0.1.5, in milliseconds.
const STEP_MS_MAX: u64 = 500;

impl Playhead {
    /// Handles a bare number, by which a client marks a jump: it ends the open segment, or the one before.
    pub(super) fn jump(&mut self, from_ms: u32, at: Moment, tally: &mut Tally<'_>) {
        match self.state {
            State::Playing(open) if self.is_end(&open, from_ms, at) => {
                self.close(open, End::Reported(from_ms.min(self.last_ms())), at, tally);
            }
            State::Playing(open) => self.echo(open, from_ms, tally.segments),
            State::Lost(..) => self.pause(from_ms, at, tally),
            State::Paused => {}
        }
    }

    /// Whether a jump ends the open segment, and not the segment before it.
    fn is_end(&self, open: &Open, from_ms: u32, at: Moment) -> bool {
        let passed_ms = open.at.until_ms(at);
        // A step between two position updates counts as a jump only if it is longer.
        if passed_ms <= STEP_MS_MAX && open.is_near(from_ms, at) {
            return true;
        }
        if !open.is_live {
            // Events that waited for a join are in order, however long the join took.
            let is_of_last = match self.last {
                // The length of a segment whose events waited as well is unknown.
                Some(last) if last.is_estimate && !last.is_live => false,
                _ => self.matches_last(from_ms),
            };
            return open.from_ms <= from_ms.saturating_add(JUMP_MS) && !is_of_last;
        }
        open.resumes_at(from_ms, at) && !self.is_echo(open, from_ms, at)
    }

    /// Whether a pause belongs to the segment before the open one.
    pub(super) fn is_echo(&self, open: &Open, to_ms: u32, at: Moment) -> bool {
        let is_soon = ECHO_MS.contains(&open.at.until_ms(at));
        if open.is_stamped() || at.timestamp_ms.is_some() || !is_soon || open.is_near(to_ms, at) {
            return false;
        }
        self.matches_last(to_ms)
    }

    /// Whether the segment closed last may have ended at `to_ms`.
    fn matches_last(&self, to_ms: u32) -> bool {
        let ends = self.last.filter(|last| last.is_estimate).map(|last| possible_ends(&last));
        ends.map_or_else(|| self.ends_last(to_ms), |ends| ends.contains(&to_ms))
    }

    /// Whether the segment closed last is known to have ended at `to_ms`.
    fn ends_last(&self, to_ms: u32) -> bool {
        let last = self.last.filter(|last| !last.is_estimate);
        last.is_some_and(|last| last.to_ms.abs_diff(to_ms) <= ECHO_OFF_MS)
    }

    /// Notes that the segment before ended at `to_ms`, and the open one continues.
    pub(super) fn echo(&mut self, open: Open, to_ms: u32, segments: &mut Segments) {
        let is_end_of = |last: &Closed| {
            // If several events arrived at once, another pause may have been taken for its end.
            let is_of_burst = to_ms < open.from_ms
                && last.closed.until_ms(open.at) < *ECHO_MS.start()
                && (last.from_ms..=last.to_ms).contains(&to_ms);
            (last.is_estimate && possible_ends(last).contains(&to_ms)) || is_of_burst
        };
        if let Some(last) = self.last.filter(is_end_of) {
            self.revise(last, to_ms, segments);
        }
        self.state = State::Playing(Open { is_echoed: true, ..open });
    }
}

/// The possible ends of a segment whose end is an estimate. If its play waited for a join, it may have happened up to
/// [`GAP_MS_MAX`] before it arrived.
fn possible_ends(last: &Closed) -> RangeInclusive<u32> {
    let late_ms = if last.is_live { 0 } else { saturate(GAP_MS_MAX) };
    last.from_ms..=last.to_ms.saturating_add(ECHO_OFF_ESTIMATE_MS).saturating_add(late_ms)
}

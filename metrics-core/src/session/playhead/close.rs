//! Closes the open segment at a plausible position: the rules *Reach* and *First second*.

use super::{Playhead, State, Tally};
use crate::event::POSITION_MS_MAX;
use crate::interval::Interval;
use crate::session::open::{Closed, Open, saturate};
use crate::session::{Counters, Moment};

/// The largest excess of a session's view time over the time since its first event by the server's clock, in
/// milliseconds: a page that was offline for a day.
const OFFLINE_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// The largest error of a pause that shows that playback began later in the first second, in milliseconds.
const FIRST_OFF_MS: u32 = 150;

/// The largest excess of a position over the duration, in milliseconds: players round both.
const OVERRUN_MS_MAX: u32 = 1_000;

/// The position at which a segment ends, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Reported by the player.
    Reported(u32),
    /// Estimated.
    Estimated(u32),
}

impl Playhead {
    /// Returns a segment with its corrected start, and the position at which a pause ends it.
    pub(super) fn end(
        &mut self,
        mut open: Open,
        mut to_ms: u32,
        at: Moment,
        counters: &mut Counters,
    ) -> (Open, u32) {
        if is_past(to_ms, self.duration_ms) {
            if to_ms <= open.furthest_ms(at) {
                self.disprove();
            } else {
                to_ms = self.duration_ms.unwrap_or(to_ms);
            }
        }
        to_ms = to_ms.min(self.last_ms());
        let is_out_of_reach = if open.is_live {
            !open.may_reach_live(to_ms, at)
        } else {
            open.is_timed(at) && !open.may_reach(to_ms, at)
        };
        if is_out_of_reach {
            counters.details.clamped += 1;
            return (open, self.end_at(&open, at));
        }
        if let Some(resumed_ms) = open.resumed_ms {
            let estimate_ms = open.estimate_ms(at, self.waiting_ms(&open, at));
            let resumed_to_ms = estimate_ms.saturating_add(resumed_ms);
            // The time between events that arrive at once says nothing about playback.
            if FIRST_OFF_MS < estimate_ms && resumed_to_ms.abs_diff(to_ms) <= FIRST_OFF_MS {
                open.from_ms = resumed_ms;
            }
        }
        (open, to_ms)
    }

    /// The furthest position that a segment may end at.
    pub(super) fn last_ms(&self) -> u32 {
        let last_ms = self.duration_ms.map(|ms| ms.saturating_add(OVERRUN_MS_MAX));
        last_ms.unwrap_or(POSITION_MS_MAX)
    }

    /// Closes a segment at its `end`, but not beyond the session's limit of view time.
    pub(super) fn close(&mut self, open: Open, end: End, at: Moment, tally: &mut Tally<'_>) {
        let (End::Reported(to_ms) | End::Estimated(to_ms)) = end;
        let is_estimate = matches!(end, End::Estimated(_));
        let watched = Interval::new(open.from_ms, to_ms);
        let remaining_ms = self.budget_ms(&open, at).saturating_sub(self.view_ms);
        let segment = watched.and_then(|watched| cut(watched, remaining_ms));
        tally.counters.details.clamped += u32::from(segment != watched);
        self.view_ms += segment.map_or(0, |segment| u64::from(segment.len_ms()));
        let segment = if open.is_unplaced {
            let ran_ms = segment.map_or(0, |segment| segment.len_ms());
            tally.counters.details.unplaced_ms += u64::from(ran_ms);
            None
        } else {
            segment
        };
        tally.segments.extend(segment);
        let ended_ms = self.ended_ms(&open, Some(to_ms).filter(|_| !is_estimate), at);
        tally.minutes.insert(self.started_at_ms, open.counted_ms, ended_ms);
        self.last = Some(Closed {
            from_ms: open.from_ms,
            to_ms,
            estimate_ms: self.end_at(&open, at),
            segment,
            opened: open.at,
            closed: at,
            ended_ms,
            is_timed: open.is_timed(at),
            is_estimate,
            is_live: open.is_live,
            has_jumped: open.has_jumped,
        });
        self.state = State::Paused;
    }

    /// Closes the open segment at the estimated position of playback.
    pub(super) fn close_at_estimate(&mut self, at: Moment, tally: &mut Tally<'_>) {
        let Some((open, until)) = self.open_until(at) else { return };
        let end_ms = self.end_at(&open, until);
        self.close(open, End::Estimated(end_ms), until, tally);
    }

    /// The largest plausible view time of the session at `at`, by the server's clock, in milliseconds of video.
    pub(super) fn budget_ms(&self, open: &Open, at: Moment) -> u64 {
        let passed_ms = at.received_ms.saturating_sub(self.started_at_ms).max(0).unsigned_abs();
        open.most_ms(passed_ms).saturating_add(OFFLINE_MS_MAX)
    }
}

/// The first `most_ms` milliseconds of a segment.
pub(super) fn cut(segment: Interval, most_ms: u64) -> Option<Interval> {
    let len_ms = segment.len_ms().min(saturate(most_ms));
    Interval::new(segment.start_ms(), segment.start_ms() + len_ms)
}

/// Whether a position exceeds the duration by more than rounding.
pub(super) fn is_past(position_ms: u32, duration_ms: Option<u32>) -> bool {
    duration_ms.is_some_and(|duration_ms| duration_ms.saturating_add(OVERRUN_MS_MAX) < position_ms)
}

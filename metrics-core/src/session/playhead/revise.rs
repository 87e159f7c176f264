//! Later events that correct the segment closed last: the rules *Landing*, *Unheard play*, *No jump* and *Scrubbing*.

use std::ops::RangeInclusive;

use super::close::End;
use super::echo::ECHO_MS;
use super::{Playhead, Tally};
use crate::interval::{Interval, Segments};
use crate::session::Moment;
use crate::session::open::{Closed, Open};

/// The delay of a landing's play after its pause, in milliseconds, and the largest error of its position.
const LANDING_MS: RangeInclusive<u64> = 100..=500;
const LANDING_OFF_MS: u64 = 60;

/// How long after a seek `@maveio/data` sends no play, in milliseconds.
const MISSING_PLAY_MS: u64 = 1_500;

/// The largest excess of the segment of a missing play over the time that passed, in milliseconds.
const MISSING_PLAY_OFF_MS: u64 = 300;

/// The largest distance of a play from the position of playback without a jump, in milliseconds.
const CONTINUES_OFF_MS: u64 = 150;

/// The shortest segment between two jumps that counts as watched, in milliseconds. Sliders seek every 30 to 200 ms.
const SCRUB_MS_MAX: u32 = 250;

impl Playhead {
    /// Handles a pause without an open segment, which may follow a missing play.
    pub(super) fn pause_again(&mut self, to_ms: u32, at: Moment, tally: &mut Tally<'_>) {
        let Some(last) = self.last_timed(at) else { return };
        let passed_ms = last.closed.until_ms(at);
        let moved_ms = u64::from(to_ms.saturating_sub(last.to_ms));
        let is_moved =
            passed_ms <= 2 * moved_ms && moved_ms <= passed_ms.saturating_add(MISSING_PLAY_OFF_MS);
        let is_missing = last.opened.until_ms(last.closed) <= MISSING_PLAY_MS;
        if 0 < moved_ms && is_moved && is_missing {
            let mut open = Open::new(last.to_ms, last.closed, self.rate_milli);
            open.begin(last.ended_ms);
            let end_ms = open.end_ms(self.duration_ms);
            self.close(open, End::Reported(to_ms.min(end_ms)), at, tally);
        }
    }

    /// Moves the end of the segment closed last, if the play after its pause shows that the pause reported the target
    /// of a jump: the play is further on by the time that passed.
    pub(super) fn land(&mut self, from_ms: u32, at: Moment, segments: &mut Segments) {
        let Some(last) = self.last_timed(at) else { return };
        let passed_ms = last.closed.until_ms(at);
        let moved_ms = u64::from(from_ms.saturating_sub(last.to_ms));
        if LANDING_MS.contains(&passed_ms) && moved_ms.abs_diff(passed_ms) <= LANDING_OFF_MS {
            self.revise(last, last.estimate_ms, segments);
        }
    }

    /// Extends the segment closed last, if the play after its jump is at the position of playback without a jump.
    pub(super) fn continue_last(&mut self, from_ms: u32, at: Moment, segments: &mut Segments) {
        let is_jump = |last: &Closed| last.closed.until_ms(at) < *ECHO_MS.start();
        let Some(last) = self.last.filter(is_jump) else { return };
        let passed_ms = last.opened.until_ms(at);
        let played_ms = u64::from(from_ms.saturating_sub(last.from_ms));
        if last.to_ms < from_ms && played_ms.abs_diff(passed_ms) <= CONTINUES_OFF_MS {
            self.revise(last, from_ms, segments);
        }
    }

    /// The segment closed last, if both its ends and an event at `at` have the player's timestamp.
    fn last_timed(&self, at: Moment) -> Option<Closed> {
        self.last.filter(|last| last.is_timed && at.timestamp_ms.is_some())
    }

    /// Changes the end of the segment closed last.
    pub(super) fn revise(&mut self, last: Closed, to_ms: u32, segments: &mut Segments) {
        let segment = Interval::new(last.from_ms, to_ms);
        self.replace(last.segment, segment, segments);
        self.last = Some(Closed { to_ms, segment, is_estimate: false, ..last });
    }

    /// Replaces a segment.
    pub(super) fn replace(
        &mut self,
        old: Option<Interval>,
        new: Option<Interval>,
        segments: &mut Segments,
    ) {
        let len_ms = |segment: Option<Interval>| segment.map_or(0, |it| u64::from(it.len_ms()));
        if let Some(old) = old {
            segments.remove(old);
        }
        segments.extend(new);
        self.view_ms = self.view_ms.saturating_sub(len_ms(old)).saturating_add(len_ms(new));
    }

    /// Counts the segment closed last as scrubbing, if it is short, and jumps began and ended it.
    pub(super) fn scrub(&mut self, last: Closed, tally: &mut Tally<'_>) {
        let Some(segment) = last.segment else { return };
        if last.has_jumped && segment.len_ms() < SCRUB_MS_MAX {
            tally.segments.remove(segment);
            tally.counters.details.scrubbed_ms += u64::from(segment.len_ms());
            self.last = Some(Closed { segment: None, ..last });
        }
    }
}

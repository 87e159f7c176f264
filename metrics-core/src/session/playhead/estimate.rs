//! Estimates the position of playback by the time that passed, and the minutes at which it played.

use super::close::cut;
use super::{GAP_MS_MAX, Playhead, State};
use crate::interval::Interval;
use crate::session::open::{Open, RATE_MILLI};
use crate::session::{Minutes, Moment};

/// The slowest rate assumed of a player that reports none, in thousandths.
const UNREPORTED_RATE_MILLI_MIN: u32 = 500;

/// How long after its end, without another event, a video still counts as watched, in milliseconds.
const PAST_END_MS_MAX: u32 = 60_000;

impl Playhead {
    /// The open segment, up to the estimated position of playback at `now`.
    pub(in crate::session) fn running(&self, now: Moment) -> Option<Interval> {
        let (open, now) = self.open_until(now)?;
        self.ran(open, now).filter(|_| !open.is_unplaced)
    }

    /// The view time without a place of the open segment until `now`, in milliseconds.
    pub(in crate::session) fn running_unplaced_ms(&self, now: Moment) -> u64 {
        let unplaced = self.open_until(now).filter(|(open, _)| open.is_unplaced);
        let ran = unplaced.and_then(|(open, now)| self.ran(open, now));
        ran.map_or(0, |ran| ran.len_ms().into())
    }

    fn ran(&self, open: Open, now: Moment) -> Option<Interval> {
        let running = Interval::new(open.from_ms, self.end_at(&open, now))?;
        // Does not subtract earlier view time, because the stored open segment does not contain it.
        cut(running, self.budget_ms(&open, now))
    }

    /// The end of the open segment if playback continues until `now`.
    pub(in crate::session) fn end_at(&self, open: &Open, now: Moment) -> u32 {
        let estimate_ms = open.estimate_ms(now, self.waiting_ms(open, now));
        estimate_ms.min(open.end_ms(self.duration_ms))
    }

    /// Adds the minutes of the open segment until `now`.
    pub(in crate::session) fn run_until(&self, now: Moment, minutes: &mut Minutes) {
        if let Some((open, until)) = self.open_until(now) {
            let ended_ms = self.ended_ms(&open, None, until);
            minutes.insert(self.started_at_ms, open.counted_ms, ended_ms);
        }
    }

    /// Returns the end of playback of a segment that was open until `at`, by the server's time of day in Unix
    /// milliseconds. `to_ms` is the end position, if the player reports one.
    pub(super) fn ended_ms(&self, open: &Open, to_ms: Option<u32>, at: Moment) -> i64 {
        let (known, waiting_ms) = (open.known, self.waiting_ms(open, at));
        let mut ran_ms = open.at.until_ms(at);
        if to_ms.is_none_or(|to_ms| open.end_ms(self.duration_ms) <= to_ms) {
            ran_ms = ran_ms.saturating_sub(self.over_ms(open, at).unwrap_or(0));
        }
        if let Some(to_ms) = to_ms {
            // A longer time, such as a night in which the machine slept, was not played.
            let rate_milli = open.rate_milli.min(UNREPORTED_RATE_MILLI_MIN);
            let moved_ms = u64::from(to_ms.saturating_sub(known.position_ms));
            let played_ms = moved_ms * u64::from(RATE_MILLI) / u64::from(rate_milli);
            let most_ms = open.at.until_ms(known.at).saturating_add(played_ms);
            let still_ms = known.idle_ms.saturating_add(waiting_ms).saturating_add(GAP_MS_MAX);
            ran_ms = ran_ms.min(most_ms.saturating_add(still_ms));
        }
        let mut ended_ms = open.began_ms.saturating_add_unsigned(ran_ms);
        if at.timestamp_ms.is_none() {
            ended_ms = ended_ms.min(at.received_ms);
        }
        // With timestamps at both ends, the player reports how long a segment was open while its connection was lost.
        let is_known = to_ms.is_some() && open.is_timed(at);
        if let State::Lost(_, lost) = self.state
            && !is_known
        {
            ended_ms = ended_ms.min(lost.received_ms.saturating_add_unsigned(GAP_MS_MAX));
        }
        ended_ms
    }

    /// Returns the time since playback must have reached the end of an open segment, in milliseconds, if it has.
    fn over_ms(&self, open: &Open, now: Moment) -> Option<u64> {
        let endless = Open { is_echoed: false, ..*open };
        let estimate_ms = endless.estimate_ms(now, self.waiting_ms(open, now));
        let over_ms = estimate_ms.checked_sub(open.end_ms(self.duration_ms))?;
        // Milliseconds of time, not of video.
        Some(u64::from(over_ms) * u64::from(RATE_MILLI) / u64::from(open.rate_milli))
    }

    /// When playback must have ended, if that is so long ago that the session no longer counts as watched.
    pub(in crate::session) fn ended(&self, now: Moment) -> Option<Moment> {
        let State::Playing(open) = self.state else { return None };
        let over_ms = self.over_ms(&open, now)?;
        let since = || now.earlier(over_ms);
        (u64::from(PAST_END_MS_MAX) < over_ms).then(since)
    }
}

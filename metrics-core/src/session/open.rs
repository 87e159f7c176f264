//! Open segments: the estimated position of playback, and the positions that fit; and the segment closed last.

use super::Moment;
use crate::event::POSITION_MS_MAX;
use crate::interval::Interval;

/// The rate of playback if the player reports none, in thousandths.
pub(super) const RATE_MILLI: u32 = 1_000;

/// The fastest plausible rate of a player that reports none, in thousandths. Players offer up to 2, browsers'
/// extensions up to 4.
const UNREPORTED_RATE_MILLI_MAX: u32 = 4_000;

/// The largest excess of a position over the time that passed at that rate, in milliseconds: players round both.
const SLACK_MS: u32 = 300;

/// The largest excess if `from` is 0: 0.1.x clients report every position in the first second as 0.
const SLACK_AT_START_MS: u32 = 1_050;

/// How long a segment runs without another event after an echo: see [`Open::is_echoed`].
pub(super) const ECHO_RUN_MS_MAX: u32 = 5 * 60_000;

/// The largest distance to a next play that ends a segment after an echo: 2.1 times the time that passed, plus 0.6 s.
const ECHO_REACH: (u64, u64) = (21, 600);

/// The largest distance to a live pause: twice the time that passed, plus 0.3 s. `@maveio/metrics` 0.1.5 takes its own
/// steps for jumps from 1.9 times the speed on.
const LIVE_REACH: (u64, u64) = (20, 300);

/// The least distance of a jump: from the end of the segment before to the next play, in milliseconds. Clients round to
/// 10 ms.
pub(super) const JUMP_MS: u32 = 50;

/// An open segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Open {
    pub(super) from_ms: u32,
    pub(super) at: Moment,
    /// The start by the server's time of day, in Unix milliseconds: usually the arrival of its `play`.
    pub(super) began_ms: i64,
    /// The end of the minutes that are counted already, by the same clock.
    pub(super) counted_ms: i64,
    /// Whether it begins elsewhere than at the end of the segment before: a seek.
    pub(super) has_jumped: bool,
    /// Whether a pause that belongs to the segment before arrived while it was open. `@maveio/metrics` 0.1.5 sends no
    /// pause after that, so a paused viewer and one who watches on are indistinguishable.
    pub(super) is_echoed: bool,
    /// Whether the play arrived when it happened, from a client that writes positions as text.
    pub(super) is_live: bool,
    /// Whether the player reports no positions: the segment begins at 0, and is view time without a place.
    pub(super) is_unplaced: bool,
    /// The end of the segment before, if the player may have resumed there and reports it as 0.
    pub(super) resumed_ms: Option<u32>,
    /// The current rate and the fastest so far, in thousandths.
    pub(super) rate_milli: u32,
    pub(super) rate_milli_max: u32,
    pub(super) known: Known,
}

/// The last known position of an open segment, from which the estimate continues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Known {
    pub(super) position_ms: u32,
    pub(super) at: Moment,
    /// How long playback stood still since: waits for data, and connections that were lost for long.
    pub(super) idle_ms: u64,
    /// The waits counted since, and their length.
    pub(super) waits: u32,
    pub(super) waited_ms: u64,
}

impl Known {
    pub(super) fn new(position_ms: u32, at: Moment) -> Self {
        Self { position_ms, at, idle_ms: 0, waits: 0, waited_ms: 0 }
    }
}

impl Open {
    pub(super) fn new(from_ms: u32, at: Moment, rate_milli: u32) -> Self {
        Self {
            from_ms,
            at,
            began_ms: at.received_ms,
            counted_ms: at.received_ms,
            has_jumped: false,
            is_echoed: false,
            is_live: false,
            is_unplaced: false,
            resumed_ms: None,
            rate_milli,
            rate_milli_max: rate_milli,
            known: Known::new(from_ms, at),
        }
    }

    /// Sets the start by the server's time of day, in Unix milliseconds.
    pub(super) fn begin(&mut self, began_ms: i64) {
        (self.began_ms, self.counted_ms) = (began_ms, began_ms);
    }

    /// Returns the estimated position of playback at `now`, after a wait of `waiting_ms` that goes on.
    pub(super) fn estimate_ms(&self, now: Moment, waiting_ms: u64) -> u32 {
        let Known { position_ms, at, idle_ms, .. } = self.known;
        let still_ms = idle_ms.saturating_add(waiting_ms);
        let played_ms = self.video_ms(at.until_ms(now).saturating_sub(still_ms));
        let estimate_ms = position_ms.saturating_add(played_ms);
        if self.is_echoed { estimate_ms.min(self.echo_end_ms()) } else { estimate_ms }
    }

    /// Returns the end without another event, in a video of this duration.
    pub(super) fn end_ms(&self, duration_ms: Option<u32>) -> u32 {
        let duration_ms = duration_ms.filter(|_| !self.is_unplaced);
        let end_ms = duration_ms.unwrap_or(POSITION_MS_MAX);
        if self.is_echoed { end_ms.min(self.echo_end_ms()) } else { end_ms }
    }

    fn echo_end_ms(&self) -> u32 {
        self.from_ms.saturating_add(ECHO_RUN_MS_MAX)
    }

    /// Returns the video time that passes in `ms` at the current rate.
    fn video_ms(&self, ms: u64) -> u32 {
        saturate(ms.saturating_mul(u64::from(self.rate_milli)) / u64::from(RATE_MILLI))
    }

    pub(super) fn is_stamped(&self) -> bool {
        self.at.timestamp_ms.is_some()
    }

    /// Whether both ends of the segment have the player's timestamp.
    pub(super) fn is_timed(&self, end: Moment) -> bool {
        self.is_stamped() && end.timestamp_ms.is_some()
    }

    /// The furthest position that playback may have reached since `from_ms` at `now`.
    pub(super) fn furthest_ms(&self, now: Moment) -> u32 {
        let most_ms = saturate(self.most_ms(self.at.until_ms(now)));
        let slack_ms = if self.from_ms == 0 { SLACK_AT_START_MS } else { SLACK_MS };
        self.from_ms.saturating_add(most_ms).saturating_add(slack_ms)
    }

    /// Returns the largest video time that may pass in `ms`, at the fastest plausible rate of the player.
    pub(super) fn most_ms(&self, ms: u64) -> u64 {
        let rate_milli = self.rate_milli_max.max(UNREPORTED_RATE_MILLI_MAX);
        ms.saturating_mul(rate_milli.into()) / u64::from(RATE_MILLI)
    }

    /// Returns whether playback may have reached `position_ms` from the start of the segment without a jump.
    pub(super) fn may_reach(&self, position_ms: u32, now: Moment) -> bool {
        self.from_ms <= position_ms.saturating_add(SLACK_MS) && position_ms <= self.furthest_ms(now)
    }

    /// Returns whether playback at normal speed has reached `position_ms` by now.
    pub(super) fn is_near(&self, position_ms: u32, now: Moment) -> bool {
        let passed_ms = saturate(self.at.until_ms(now));
        let furthest_ms = self.from_ms.saturating_add(passed_ms).saturating_add(SLACK_MS);
        self.from_ms <= position_ms.saturating_add(JUMP_MS) && position_ms <= furthest_ms
    }

    /// Returns whether a play at `from_ms` resumes after a pause that came as an echo or never arrived.
    pub(super) fn resumes_at(&self, from_ms: u32, now: Moment) -> bool {
        self.from_ms <= from_ms && self.is_within(ECHO_REACH, from_ms, now)
    }

    /// Returns whether playback may have reached `to_ms` in the time that passed since a live play.
    pub(super) fn may_reach_live(&self, to_ms: u32, now: Moment) -> bool {
        self.from_ms <= to_ms.saturating_add(SLACK_MS) && self.is_within(LIVE_REACH, to_ms, now)
    }

    fn is_within(&self, (tenths, slack_ms): (u64, u64), position_ms: u32, now: Moment) -> bool {
        let passed_ms = self.at.until_ms(now).saturating_mul(tenths) / 10;
        let furthest_ms = u64::from(self.from_ms).saturating_add(passed_ms + slack_ms);
        u64::from(position_ms) <= furthest_ms
    }
}

/// The segment closed last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Closed {
    pub(super) from_ms: u32,
    /// The reported end, or the estimated one.
    pub(super) to_ms: u32,
    /// The estimated end, by the time that passed.
    pub(super) estimate_ms: u32,
    /// Its entry in the session's segments, if any.
    pub(super) segment: Option<Interval>,
    pub(super) opened: Moment,
    pub(super) closed: Moment,
    /// The end of playback by the server's time of day, in Unix milliseconds.
    pub(super) ended_ms: i64,
    /// Whether both ends have the player's timestamp.
    pub(super) is_timed: bool,
    /// Whether `to_ms` is an estimate: a play closed it, or the viewer left.
    pub(super) is_estimate: bool,
    /// See [`Open::is_live`].
    pub(super) is_live: bool,
    pub(super) has_jumped: bool,
}

impl Closed {
    /// Returns the start of a `play` at `at` by the server's time of day, in Unix milliseconds: its arrival or, if that
    /// is later, the end of this segment plus the time between both by the player's clock. It is later for events that
    /// a page kept and sent all at once.
    pub(super) fn next_ms(&self, at: Moment) -> i64 {
        if self.closed.timestamp_ms.is_none() || at.timestamp_ms.is_none() {
            return at.received_ms;
        }
        self.ended_ms.saturating_add_unsigned(self.closed.until_ms(at)).max(at.received_ms)
    }
}

/// As many milliseconds as fit: 49 days, far past every position.
pub(super) fn saturate(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

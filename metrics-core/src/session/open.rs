//! An open segment: how far playback must have got in it, and which positions fit; and the segment closed last.

use super::Moment;
use crate::event::POSITION_MS_MAX;
use crate::interval::Interval;

/// The rate of playback where the player tells none, in thousandths.
pub(super) const RATE_MILLI: u32 = 1_000;

/// The fastest rate that is believed of a player that tells none, in thousandths. Players offer up to 2, browsers'
/// extensions up to 4.
const UNTOLD_RATE_MILLI_MAX: u32 = 4_000;

/// By how much a position may exceed the time that passed at that rate, in milliseconds: players round both.
const SLACK_MS: u32 = 300;

/// The same where `from` is 0: 0.1.x clients call every position in the first second 0.
const SLACK_AT_START_MS: u32 = 1_050;

/// How long a segment runs without another event once an echo has left it open: see [`Open::is_echoed`].
pub(super) const ECHO_RUN_MS_MAX: u32 = 5 * 60_000;

/// How far and how late the next play may be to end a segment that an echo has left open: 2.1 times the time that
/// passed, and 0.6 s.
const ECHO_REACH: (u64, u64) = (21, 600);

/// How far a live pause may be after so much time: twice, and 0.3 s. `@maveio/metrics` 0.1.5 takes its own steps for jumps
/// from 1.9 times the speed on.
const LIVE_REACH: (u64, u64) = (20, 300);

/// How far a play must be from the end of the segment before to be a jump, in milliseconds. Clients round to 10 ms.
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
    /// It begins elsewhere than the segment before ended: a seek.
    pub(super) has_jumped: bool,
    /// A pause that belongs to the segment before came while it was open. `@maveio/metrics` 0.1.5 sends no pause after
    /// that, so a viewer who pauses and one who watches on look the same.
    pub(super) is_echoed: bool,
    /// The play arrived when it happened, from a client that writes positions as text.
    pub(super) is_live: bool,
    /// Where the segment before ended, if the player may have resumed there and calls it 0.
    pub(super) resumed_ms: Option<u32>,
    /// The rate now and the fastest so far, in thousandths.
    pub(super) rate_milli: u32,
    pub(super) rate_milli_max: u32,
    pub(super) known: Known,
}

/// The last known position of an open segment: the estimate goes on from there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Known {
    pub(super) position_ms: u32,
    pub(super) at: Moment,
    /// How long playback stood still since: waits for data, and connections that were lost for long.
    pub(super) idle_ms: u64,
    /// The waits that were counted since, and their length.
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

    /// Where playback must have got to at `now`, after a wait of `waiting_ms` that goes on.
    pub(super) fn estimate_ms(&self, now: Moment, waiting_ms: u64) -> u32 {
        let Known { position_ms, at, idle_ms, .. } = self.known;
        let still_ms = idle_ms.saturating_add(waiting_ms);
        let played_ms = self.video_ms(at.until_ms(now).saturating_sub(still_ms));
        let estimate_ms = position_ms.saturating_add(played_ms);
        if self.is_echoed { estimate_ms.min(self.echo_end_ms()) } else { estimate_ms }
    }

    /// Where it ends without another event, in a video of this duration.
    pub(super) fn end_ms(&self, duration_ms: Option<u32>) -> u32 {
        let end_ms = duration_ms.unwrap_or(POSITION_MS_MAX);
        if self.is_echoed { end_ms.min(self.echo_end_ms()) } else { end_ms }
    }

    fn echo_end_ms(&self) -> u32 {
        self.from_ms.saturating_add(ECHO_RUN_MS_MAX)
    }

    /// How much video passes in `ms` at the rate now.
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

    /// How much video passes in `ms` at most, at the fastest rate that is believed of the player.
    pub(super) fn most_ms(&self, ms: u64) -> u64 {
        let rate_milli = self.rate_milli_max.max(UNTOLD_RATE_MILLI_MAX);
        ms.saturating_mul(rate_milli.into()) / u64::from(RATE_MILLI)
    }

    /// Whether playback may have got from the start of the segment to `position_ms` without a jump.
    pub(super) fn may_reach(&self, position_ms: u32, now: Moment) -> bool {
        self.from_ms <= position_ms.saturating_add(SLACK_MS) && position_ms <= self.furthest_ms(now)
    }

    /// Whether `position_ms` is where playback at normal speed is by now, or before.
    pub(super) fn is_near(&self, position_ms: u32, now: Moment) -> bool {
        let passed_ms = saturate(self.at.until_ms(now));
        let furthest_ms = self.from_ms.saturating_add(passed_ms).saturating_add(SLACK_MS);
        self.from_ms <= position_ms.saturating_add(JUMP_MS) && position_ms <= furthest_ms
    }

    /// Whether a play at `from_ms` resumes where the viewer paused, after an echo or unheard.
    pub(super) fn resumes_at(&self, from_ms: u32, now: Moment) -> bool {
        self.from_ms <= from_ms && self.is_within(ECHO_REACH, from_ms, now)
    }

    /// Whether playback may have got to `to_ms` by the time that passed since a live play.
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
    /// Where the player says that it ended, or where it must have ended.
    pub(super) to_ms: u32,
    /// Where it must have ended by the time that passed.
    pub(super) estimate_ms: u32,
    /// The part of the session's segments that it is, if any.
    pub(super) segment: Option<Interval>,
    pub(super) opened: Moment,
    pub(super) closed: Moment,
    /// The end of playback by the server's time of day, in Unix milliseconds.
    pub(super) ended_ms: i64,
    /// Whether both ends have the player's timestamp.
    pub(super) is_timed: bool,
    /// `to_ms` is an estimate: a play closed it, or the viewer left.
    pub(super) is_guessed: bool,
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

//! The state of playback, and the effect of each event on it.
//!
//! Players report positions at the wrong time: before or after the events that they belong to, twice, or not at all.
//! The rules below follow from the sequences that published clients send. Each names the clients that it is for.
//!
//! * **Reach.** With timestamps at both ends, playback cannot have got further than four times the time that passed, or
//!   the fastest rate that the player reported, and not backwards. A pause at any other position reports the target of
//!   a jump (`@maveio/metrics` 0.0.12 to 0.1.3, `@maveio/data`): the time that passed counts instead.
//! * **Landing.** A pause, and shortly after it a play that is further on by the time that passed: the video played
//!   meanwhile, so the pause reports the target of a jump (`@maveio/data`).
//! * **Unheard play.** A pause after a pause, further on by no more than the time between them: `@maveio/data` sends no
//!   play for 1.5 s after a seek. Playback continued from the first pause.
//! * **Echo.** Without timestamps, a pause right after a play that fits the segment before and not the open one closes
//!   nothing (`@maveio/metrics` 0.1.5). If the client writes positions as text, a pause with a bare number that does
//!   not fit is an echo at any time.
//! * **Live.** If such a client sends a pause that is further than its player can have got since a play that arrived
//!   when it happened, the pause reports the target of a jump: the time that passed counts.
//! * **No jump.** If such a client sends a play after a jump, at the position that playback without a jump must have
//!   reached, there was no jump: a busy page mistook its own steps for one.
//! * **First second.** 0.1.x clients report every position below 1 s as 0: playback resumed at a later position if the
//!   pause fits that.
//! * **Waits.** A position in `rebuffering_start` reports how far playback got; a wait during which playback moved on
//!   was none (`@maveio/metrics` 0.0.x). A wait that a jump causes is the latency of a seek and no rebuffering.
//! * **Minutes.** The minutes at which a segment was open, by the server's time of day: see [`Minutes`].
//! * **Scrubbing.** A segment of less than a quarter of a second between two jumps counts as view time, and not as
//!   watched.

use std::ops::RangeInclusive;

use super::open::{Closed, JUMP_MS, Known, Open, RATE_MILLI, saturate};
use super::{Counters, Minutes, Moment};
use crate::event::POSITION_MS_MAX;
use crate::interval::{Interval, Segments};

/// The longest lost connection during which the video is assumed to play on, in milliseconds.
///
/// A page that reconnects within a minute had a bad network, and its buffer. After a longer time the machine slept, and
/// the video did not play.
pub(super) const GAP_MS_MAX: u64 = 60_000;

/// The largest excess of a position over the duration, in milliseconds: players round both.
const OVERRUN_MS_MAX: u32 = 1_000;

/// The largest excess of a session's view time over the time since its first event by the server's clock, in
/// milliseconds: a page that was offline for a day.
const OFFLINE_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// The delay of an echo after a play, in milliseconds: it is sent at the next update of the position. Shorter delays
/// are those of a page that was offline, which sends all its events at once.
const ECHO_MS: RangeInclusive<u64> = 30..=1_000;

/// The largest error of an echo's position, in milliseconds, if the end of the segment is known, and if it is an
/// estimate.
const ECHO_OFF_MS: u32 = 50;
const ECHO_OFF_GUESS_MS: u32 = 1_000;

/// The delay of a landing's play after its pause, in milliseconds, and the largest error of its position.
const LANDING_MS: RangeInclusive<u64> = 100..=500;
const LANDING_OFF_MS: u64 = 60;

/// How long after a seek `@maveio/data` sends no play, in milliseconds.
const UNHEARD_MS: u64 = 1_500;

/// The largest excess of the segment of an unheard play over the time that passed, in milliseconds.
const UNHEARD_OFF_MS: u64 = 300;

/// The largest distance between two position updates that is no jump for `@maveio/metrics` 0.1.5, in milliseconds.
const STEP_MS_MAX: u64 = 500;

/// The largest distance of a play from the position of playback without a jump, in milliseconds.
const CONTINUES_OFF_MS: u64 = 150;

/// The first second, which 0.1.x clients report as 0, in milliseconds; and the largest error of a pause that shows that
/// playback began later in it.
const FIRST_MS: u32 = 1_000;
const FIRST_OFF_MS: u32 = 150;

/// The largest delay of a wait after the jump that caused it, in milliseconds.
const SEEK_WAIT_MS: u64 = 500;

/// The shortest segment between two jumps that counts as watched, in milliseconds. Sliders seek every 30 to 200 ms.
const SCRUB_MS_MAX: u32 = 250;

/// The slowest rate assumed of a player that reports none, in thousandths.
const UNTOLD_RATE_MILLI_MIN: u32 = 500;

/// How long after its end, without another event, a video still counts as watched, in milliseconds.
const PAST_END_MS_MAX: u32 = 60_000;

/// The position at which a segment ends, in milliseconds.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Reported by the player.
    Reported(u32),
    /// Estimated.
    Guessed(u32),
}

/// An event that affects the playhead, and its time.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) what: What,
    // The duration at that time, if the player reports it.
    pub(super) duration_ms: Option<u32>,
    pub(super) at: Moment,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Play {
        from_ms: u32,
        /// Whether the play arrived when it happened, from a client that writes positions as text.
        is_live: bool,
    },
    Pause {
        to_ms: u32,
    },
    Jump {
        from_ms: u32,
    },
    Stalled {
        from_ms: Option<u32>,
    },
    Flowing,
    Rate {
        rate_milli: u32,
    },
    /// Only a duration.
    Duration,
    Lost,
    Resumed,
    Left,
}

/// The state of playback.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Playhead {
    pub(super) state: State,
    stalled: Option<Stall>,
    // Not stored: events of one time arrive together.
    late: Option<Box<Late>>,
    pub(super) last: Option<Closed>,
    pub(super) duration_ms: Option<u32>,
    /// A duration that playback has exceeded.
    pub(super) disproved_ms: Option<u32>,
    pub(super) rate_milli: u32,
    /// The length of all closed segments.
    view_ms: u64,
    // When the session began, by the server's clock.
    started_at_ms: i64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum State {
    #[default]
    Paused,
    Playing(Open),
    /// The video played when the connection was lost.
    Lost(Open, Moment),
}

/// A wait for data that has not ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stall {
    since: Moment,
    // Caused by a jump.
    is_seek: bool,
}

/// Events that arrived too late for their position in the order: they happened before `until`, the play of a segment
/// that is known already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Late {
    until: Moment,
    // The last of them that was a play, and its entry in the session's segments.
    open: Option<(Open, Option<Interval>)>,
}

/// Receives the segments and counts that result from a mark.
pub(super) struct Tally<'a> {
    pub(super) segments: &'a mut Segments,
    pub(super) minutes: &'a mut Minutes,
    pub(super) counters: &'a mut Counters,
}

impl Playhead {
    pub(super) fn new(started_at_ms: i64) -> Self {
        Self {
            state: State::Paused,
            stalled: None,
            late: None,
            last: None,
            duration_ms: None,
            disproved_ms: None,
            rate_milli: RATE_MILLI,
            view_ms: 0,
            started_at_ms,
        }
    }

    /// The same playhead, for a session with a view time of `view_ms`.
    pub(super) fn watched(self, view_ms: u64) -> Self {
        Self { view_ms, ..self }
    }

    /// Advances by one mark.
    pub(super) fn step(&mut self, mark: &Mark, tally: &mut Tally<'_>) {
        let at = mark.at;
        if let Some(until) = self.behind(at) {
            return self.step_late(mark, until, tally);
        }
        // The duration of a jump may be that of the video after it.
        let is_jump = matches!(mark.what, What::Jump { .. });
        if !is_jump {
            self.learn(mark.duration_ms);
        }
        match mark.what {
            What::Play { from_ms, is_live } => self.play(from_ms, is_live, at, tally),
            What::Pause { to_ms } => self.pause(to_ms, at, tally),
            What::Jump { from_ms } => self.jump(from_ms, at, tally),
            What::Stalled { from_ms } => self.stall(from_ms, at, tally.counters),
            What::Flowing => self.flow(at, tally.counters),
            What::Rate { rate_milli } => self.change_rate(rate_milli, at),
            What::Duration => {}
            What::Lost => {
                if let State::Playing(open) = self.state {
                    self.state = State::Lost(open, at);
                }
            }
            What::Resumed => self.resume(at, tally.minutes),
            What::Left => self.close_by_guess(at, tally),
        }
        if is_jump {
            self.learn(mark.duration_ms);
        }
    }

    /// Handles a mark that arrives too late for its position in the order. A late play still counts: the next late mark
    /// or the open segment closed it.
    fn step_late(&mut self, mark: &Mark, until: Moment, tally: &mut Tally<'_>) {
        match mark.what {
            What::Play { from_ms, .. } => {
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
            What::Pause { to_ms } => self.close_late(Some(to_ms), mark.at, tally),
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
        let left_ms = self.budget_ms(&open, at).saturating_sub(others_ms);
        let ended = Interval::new(open.from_ms, to_ms.min(self.last_ms()));
        let ended = ended.and_then(|ended| cut(ended, left_ms));
        self.replace(segment, ended, tally.segments);
    }

    /// Replaces a segment.
    fn replace(&mut self, old: Option<Interval>, new: Option<Interval>, segments: &mut Segments) {
        let len_ms = |segment: Option<Interval>| segment.map_or(0, |it| u64::from(it.len_ms()));
        if let Some(old) = old {
            segments.remove(old);
        }
        segments.extend(new);
        self.view_ms = self.view_ms.saturating_sub(len_ms(old)).saturating_add(len_ms(new));
    }

    /// Accepts a duration as that of the video, unless playback has exceeded it.
    fn learn(&mut self, duration_ms: Option<u32>) {
        let Some(duration_ms) = duration_ms else { return };
        let is_beyond = self.open().is_some_and(|open| is_past(open.from_ms, Some(duration_ms)));
        if self.disproved_ms != Some(duration_ms) && !is_beyond {
            self.duration_ms = Some(duration_ms);
            self.disproved_ms = None;
        }
    }

    /// Discards the duration, because playback has exceeded it.
    fn disprove(&mut self) {
        self.disproved_ms = self.duration_ms.take().or(self.disproved_ms);
    }

    fn play(&mut self, from_ms: u32, is_live: bool, at: Moment, tally: &mut Tally<'_>) {
        match self.state {
            State::Playing(open) if open.is_echoed && open.resumes_at(from_ms, at) => {
                self.close(open, End::Reported(from_ms.min(self.last_ms())), at, tally);
            }
            State::Playing(_) | State::Lost(..) => self.close_by_guess(at, tally),
            State::Paused if is_live => self.continue_last(from_ms, at, tally.segments),
            State::Paused => self.land(from_ms, at, tally.segments),
        }
        if is_past(from_ms, self.duration_ms) {
            self.disprove();
        }
        let mut open = Open { is_live, ..Open::new(from_ms, at, self.rate_milli) };
        if let Some(last) = self.last {
            open.begin(last.next_ms(at));
            let is_first = from_ms == 0 && 0 < last.to_ms && last.to_ms < FIRST_MS;
            open.resumed_ms = (is_first && !open.is_stamped()).then_some(last.to_ms);
            let has_moved = JUMP_MS < last.to_ms.abs_diff(from_ms);
            open.has_jumped = has_moved && open.resumed_ms.is_none();
            if open.has_jumped {
                self.scrub(last, tally);
            }
        }
        self.state = State::Playing(open);
    }

    fn pause(&mut self, to_ms: u32, at: Moment, tally: &mut Tally<'_>) {
        match self.state {
            State::Playing(open) if self.is_echo(&open, to_ms, at) => {
                self.echo(open, to_ms, tally.segments);
            }
            State::Playing(open) | State::Lost(open, _) => {
                let (open, to_ms) = self.end(open, to_ms, at, tally.counters);
                self.close(open, End::Reported(to_ms), at, tally);
            }
            State::Paused => self.pause_again(to_ms, at, tally),
        }
    }

    /// Returns a segment with its corrected start, and the position at which a pause ends it.
    fn end(
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
    fn last_ms(&self) -> u32 {
        let last_ms = self.duration_ms.map(|ms| ms.saturating_add(OVERRUN_MS_MAX));
        last_ms.unwrap_or(POSITION_MS_MAX)
    }

    /// Handles a pause without an open segment, which may follow an unheard play.
    fn pause_again(&mut self, to_ms: u32, at: Moment, tally: &mut Tally<'_>) {
        let Some(last) = self.last.filter(|last| last.is_timed && at.timestamp_ms.is_some()) else {
            return;
        };
        let passed_ms = last.closed.until_ms(at);
        let moved_ms = u64::from(to_ms.saturating_sub(last.to_ms));
        let is_moved =
            passed_ms <= 2 * moved_ms && moved_ms <= passed_ms.saturating_add(UNHEARD_OFF_MS);
        let is_unheard = last.opened.until_ms(last.closed) <= UNHEARD_MS;
        if 0 < moved_ms && is_moved && is_unheard {
            let mut open = Open::new(last.to_ms, last.closed, self.rate_milli);
            open.begin(last.ended_ms);
            let end_ms = open.end_ms(self.duration_ms);
            self.close(open, End::Reported(to_ms.min(end_ms)), at, tally);
        }
    }

    fn jump(&mut self, from_ms: u32, at: Moment, tally: &mut Tally<'_>) {
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
                Some(last) if last.is_guessed && !last.is_live => false,
                _ => self.matches_last(from_ms),
            };
            return open.from_ms <= from_ms.saturating_add(JUMP_MS) && !is_of_last;
        }
        open.resumes_at(from_ms, at) && !self.is_echo(open, from_ms, at)
    }

    /// Whether a pause belongs to the segment before the open one.
    fn is_echo(&self, open: &Open, to_ms: u32, at: Moment) -> bool {
        let is_soon = ECHO_MS.contains(&open.at.until_ms(at));
        if open.is_stamped() || at.timestamp_ms.is_some() || !is_soon || open.is_near(to_ms, at) {
            return false;
        }
        self.matches_last(to_ms)
    }

    /// Whether the segment closed last may have ended at `to_ms`.
    fn matches_last(&self, to_ms: u32) -> bool {
        let guess = self.last.filter(|last| last.is_guessed).map(|last| guess(&last));
        guess.map_or_else(|| self.ends_last(to_ms), |guess| guess.contains(&to_ms))
    }

    /// Whether the segment closed last is known to have ended at `to_ms`.
    fn ends_last(&self, to_ms: u32) -> bool {
        let last = self.last.filter(|last| !last.is_guessed);
        last.is_some_and(|last| last.to_ms.abs_diff(to_ms) <= ECHO_OFF_MS)
    }

    /// Notes that the segment before ended at `to_ms`, and the open one continues.
    fn echo(&mut self, open: Open, to_ms: u32, segments: &mut Segments) {
        let is_end_of = |last: &Closed| {
            // If several events arrived at once, another pause may have been taken for its end.
            let is_of_burst = to_ms < open.from_ms
                && last.closed.until_ms(open.at) < *ECHO_MS.start()
                && (last.from_ms..=last.to_ms).contains(&to_ms);
            (last.is_guessed && guess(last).contains(&to_ms)) || is_of_burst
        };
        if let Some(last) = self.last.filter(is_end_of) {
            self.revise(last, to_ms, segments);
        }
        self.state = State::Playing(Open { is_echoed: true, ..open });
    }

    /// Moves the end of the segment closed last, if the play after its pause shows that the pause reported the target
    /// of a jump: the play is further on by the time that passed.
    fn land(&mut self, from_ms: u32, at: Moment, segments: &mut Segments) {
        let Some(last) = self.last.filter(|last| last.is_timed && at.timestamp_ms.is_some()) else {
            return;
        };
        let passed_ms = last.closed.until_ms(at);
        let moved_ms = u64::from(from_ms.saturating_sub(last.to_ms));
        if LANDING_MS.contains(&passed_ms) && moved_ms.abs_diff(passed_ms) <= LANDING_OFF_MS {
            self.revise(last, last.estimate_ms, segments);
        }
    }

    /// Extends the segment closed last, if the play after its jump is at the position of playback without a jump.
    fn continue_last(&mut self, from_ms: u32, at: Moment, segments: &mut Segments) {
        let is_jump = |last: &Closed| last.closed.until_ms(at) < *ECHO_MS.start();
        let Some(last) = self.last.filter(is_jump) else { return };
        let passed_ms = last.opened.until_ms(at);
        let played_ms = u64::from(from_ms.saturating_sub(last.from_ms));
        if last.to_ms < from_ms && played_ms.abs_diff(passed_ms) <= CONTINUES_OFF_MS {
            self.revise(last, from_ms, segments);
        }
    }

    /// Changes the end of the segment closed last.
    fn revise(&mut self, last: Closed, to_ms: u32, segments: &mut Segments) {
        let segment = Interval::new(last.from_ms, to_ms);
        self.replace(last.segment, segment, segments);
        self.last = Some(Closed { to_ms, segment, is_guessed: false, ..last });
    }

    /// Counts the segment closed last as scrubbing, if it is short, and jumps began and ended it.
    fn scrub(&mut self, last: Closed, tally: &mut Tally<'_>) {
        let Some(segment) = last.segment else { return };
        if last.has_jumped && segment.len_ms() < SCRUB_MS_MAX {
            tally.segments.remove(segment);
            tally.counters.details.scrubbed_ms += u64::from(segment.len_ms());
            self.last = Some(Closed { segment: None, ..last });
        }
    }

    /// Closes a segment at its `end`, but not beyond the session's limit of view time.
    fn close(&mut self, open: Open, end: End, at: Moment, tally: &mut Tally<'_>) {
        let (End::Reported(to_ms) | End::Guessed(to_ms)) = end;
        let is_guessed = matches!(end, End::Guessed(_));
        let watched = Interval::new(open.from_ms, to_ms);
        let left_ms = self.budget_ms(&open, at).saturating_sub(self.view_ms);
        let segment = watched.and_then(|watched| cut(watched, left_ms));
        tally.counters.details.clamped += u32::from(segment != watched);
        self.view_ms += segment.map_or(0, |segment| u64::from(segment.len_ms()));
        tally.segments.extend(segment);
        let ended_ms = self.ended_ms(&open, Some(to_ms).filter(|_| !is_guessed), at);
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
            is_guessed,
            is_live: open.is_live,
            has_jumped: open.has_jumped,
        });
        self.state = State::Paused;
    }

    /// Closes the open segment at the estimated position of playback.
    fn close_by_guess(&mut self, at: Moment, tally: &mut Tally<'_>) {
        let Some((open, until)) = self.open_until(at) else { return };
        let end_ms = self.end_at(&open, until);
        self.close(open, End::Guessed(end_ms), until, tally);
    }

    /// The largest plausible view time of the session at `at`, by the server's clock, in milliseconds of video.
    fn budget_ms(&self, open: &Open, at: Moment) -> u64 {
        let passed_ms = at.received_ms.saturating_sub(self.started_at_ms).max(0).unsigned_abs();
        open.most_ms(passed_ms).saturating_add(OFFLINE_MS_MAX)
    }

    fn stall(&mut self, from_ms: Option<u32>, at: Moment, counters: &mut Counters) {
        if self.stalled.is_some() {
            return;
        }
        if let (Some(from_ms), State::Playing(open)) = (from_ms, &mut self.state) {
            know(open, from_ms, at, counters);
        }
        let is_seek = self.open().is_some_and(|open| {
            open.has_jumped && open.known.idle_ms == 0 && open.at.until_ms(at) <= SEEK_WAIT_MS
        });
        if is_seek {
            counters.details.seek_waits += 1;
        } else {
            counters.rebufferings += 1;
        }
        self.stalled = Some(Stall { since: at, is_seek });
    }

    fn flow(&mut self, at: Moment, counters: &mut Counters) {
        let Some(stall) = self.stalled else { return };
        let waited_ms = u64::from(saturate(stall.since.until_ms(at)));
        if stall.is_seek {
            counters.details.seek_wait_ms += waited_ms;
        } else {
            counters.rebuffering_ms += waited_ms;
        }
        if let Some(open) = self.open() {
            let still_ms = self.waiting_ms(&open, at);
            let mut known = open.known;
            known.idle_ms = known.idle_ms.saturating_add(still_ms);
            if !stall.is_seek {
                known.waits = known.waits.saturating_add(1);
                known.waited_ms = known.waited_ms.saturating_add(waited_ms);
            }
            self.set_open(Open { known, ..open });
        }
        self.stalled = None;
    }

    fn change_rate(&mut self, rate_milli: u32, at: Moment) {
        self.rate_milli = rate_milli;
        if let State::Playing(open) = self.state {
            let position_ms = open.estimate_ms(at, self.waiting_ms(&open, at));
            // Of a wait that has not ended, only the rest counts from here on.
            let known = Known::new(position_ms, at);
            let rate_milli_max = open.rate_milli_max.max(rate_milli);
            self.state = State::Playing(Open { rate_milli, rate_milli_max, known, ..open });
        }
    }

    fn resume(&mut self, at: Moment, minutes: &mut Minutes) {
        if let State::Lost(mut open, lost) = self.state {
            let gap_ms = lost.until_ms(at);
            if GAP_MS_MAX < gap_ms {
                self.run_until(lost, minutes);
                open.counted_ms = open.counted_ms.max(at.received_ms);
                // A wait for data that has not ended counts when it ends.
                let waited_ms = self.stalled.map_or(0, |stall| stall.since.until_ms(at));
                let idle_ms = gap_ms.saturating_sub(waited_ms);
                open.known.idle_ms = open.known.idle_ms.saturating_add(idle_ms);
            }
            self.state = State::Playing(open);
        }
    }

    /// The open segment, up to the estimated position of playback at `now`.
    pub(super) fn running(&self, now: Moment) -> Option<Interval> {
        let (open, now) = self.open_until(now)?;
        let running = Interval::new(open.from_ms, self.end_at(&open, now))?;
        // Does not subtract earlier view time, because the stored open segment does not contain it.
        cut(running, self.budget_ms(&open, now))
    }

    /// The end of the open segment if playback continues until `now`.
    fn end_at(&self, open: &Open, now: Moment) -> u32 {
        let estimate_ms = open.estimate_ms(now, self.waiting_ms(open, now));
        estimate_ms.min(open.end_ms(self.duration_ms))
    }

    /// Adds the minutes of the open segment until `now`.
    pub(super) fn run_until(&self, now: Moment, minutes: &mut Minutes) {
        if let Some((open, until)) = self.open_until(now) {
            let ended_ms = self.ended_ms(&open, None, until);
            minutes.insert(self.started_at_ms, open.counted_ms, ended_ms);
        }
    }

    /// Returns the end of playback of a segment that was open until `at`, by the server's time of day in Unix
    /// milliseconds. `to_ms` is the end position, if the player reports one.
    fn ended_ms(&self, open: &Open, to_ms: Option<u32>, at: Moment) -> i64 {
        let (known, waiting_ms) = (open.known, self.waiting_ms(open, at));
        let mut ran_ms = open.at.until_ms(at);
        if to_ms.is_none_or(|to_ms| open.end_ms(self.duration_ms) <= to_ms) {
            ran_ms = ran_ms.saturating_sub(self.over_ms(open, at).unwrap_or(0));
        }
        if let Some(to_ms) = to_ms {
            // A longer time, such as a night in which the machine slept, was not played.
            let rate_milli = open.rate_milli.min(UNTOLD_RATE_MILLI_MIN);
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
    pub(super) fn ended(&self, now: Moment) -> Option<Moment> {
        let State::Playing(open) = self.state else { return None };
        let over_ms = self.over_ms(&open, now)?;
        let since = || now.earlier(over_ms);
        (u64::from(PAST_END_MS_MAX) < over_ms).then(since)
    }

    /// Whether a mark has an effect.
    pub(super) fn heeds(&self, mark: &Mark) -> bool {
        let learns = mark.duration_ms.is_some_and(|ms| Some(ms) != self.duration_ms);
        learns
            || match mark.what {
                What::Play { .. } | What::Lost | What::Resumed | What::Left => true,
                What::Pause { .. } | What::Jump { .. } => self.state != State::Paused,
                What::Stalled { .. } => self.stalled.is_none(),
                What::Flowing => self.stalled.is_some(),
                What::Rate { rate_milli } => rate_milli != self.rate_milli,
                What::Duration => false,
            }
    }

    pub(super) fn is_playing(&self) -> bool {
        matches!(self.state, State::Playing(_))
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost(..))
    }

    pub(super) fn lost_at_ms(&self) -> Option<i64> {
        if let State::Lost(_, lost) = self.state { Some(lost.received_ms) } else { None }
    }

    /// The open segment, and when it stopped running: `now`, or when its connection was lost.
    pub(super) fn open_until(&self, now: Moment) -> Option<(Open, Moment)> {
        match self.state {
            State::Paused => None,
            State::Playing(open) => Some((open, now)),
            State::Lost(open, lost) => Some((open, lost)),
        }
    }

    pub(super) fn open(&self) -> Option<Open> {
        match self.state {
            State::Playing(open) | State::Lost(open, _) => Some(open),
            State::Paused => None,
        }
    }

    fn set_open(&mut self, open: Open) {
        self.state = match self.state {
            State::Lost(_, lost) => State::Lost(open, lost),
            _ => State::Playing(open),
        };
    }

    /// Returns the play of the segment that an event at `at` is from before, if there is one: the open segment, or that
    /// before which other events were late.
    fn behind(&self, at: Moment) -> Option<Moment> {
        let known = [self.open().map(|open| open.at), self.late.as_ref().map(|late| late.until)];
        known.into_iter().flatten().find(|since| at.precedes(*since) == Some(true))
    }

    /// The part of the current wait until `now` that lies after the last known position of the open segment.
    pub(super) fn waiting_ms(&self, open: &Open, now: Moment) -> u64 {
        let Some(stall) = self.stalled else { return 0 };
        stall.since.until_ms(now).min(open.known.at.until_ms(now))
    }
}

/// The possible ends of a segment whose end is an estimate. If its play waited for a join, it may have happened up to
/// [`GAP_MS_MAX`] before it arrived.
fn guess(last: &Closed) -> RangeInclusive<u32> {
    let late_ms = if last.is_live { 0 } else { saturate(GAP_MS_MAX) };
    last.from_ms..=last.to_ms.saturating_add(ECHO_OFF_GUESS_MS).saturating_add(late_ms)
}

/// Notes the position of playback, and subtracts waits during which playback moved on.
fn know(open: &mut Open, position_ms: u32, at: Moment, counters: &mut Counters) {
    let Known { position_ms: before_ms, at: since, waits, waited_ms, .. } = open.known;
    if position_ms < before_ms || !open.may_reach(position_ms, at) {
        return;
    }
    let still_ms = since.until_ms(at).saturating_sub(u64::from(position_ms - before_ms));
    if 0 < waits && 2 * still_ms < waited_ms {
        counters.rebufferings = counters.rebufferings.saturating_sub(waits);
        counters.rebuffering_ms = counters.rebuffering_ms.saturating_sub(waited_ms);
    }
    open.known = Known::new(position_ms, at);
}

/// Whether a position exceeds the duration by more than rounding.
fn is_past(position_ms: u32, duration_ms: Option<u32>) -> bool {
    duration_ms.is_some_and(|duration_ms| duration_ms.saturating_add(OVERRUN_MS_MAX) < position_ms)
}

/// The first `most_ms` milliseconds of a segment.
fn cut(segment: Interval, most_ms: u64) -> Option<Interval> {
    let len_ms = segment.len_ms().min(saturate(most_ms));
    Interval::new(segment.start_ms(), segment.start_ms() + len_ms)
}

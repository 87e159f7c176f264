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
//! * **Missing play.** A pause after a pause, further on by no more than the time between them: `@maveio/data` sends no
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
//! * **States.** A client that reports states (CMCD) sends no plays and pauses. A report that a state goes on changes
//!   nothing. Playback continues until a report of another state; without positions it is view time without a place. A
//!   wait counts if the player plays, or within a jump as the latency of the seek.
//! * **Minutes.** The minutes at which a segment was open, by the server's time of day: see [`Minutes`].
//! * **Scrubbing.** A segment of less than a quarter of a second between two jumps counts as view time, and not as
//!   watched.

mod close;
mod echo;
mod estimate;
mod late;
mod mark;
mod report;
mod revise;
mod waits;

use self::close::{End, is_past};
use self::late::Late;
pub(super) use self::mark::{Mark, MarkKind};
use self::report::Told;
use self::waits::Stall;
use super::open::{Closed, JUMP_MS, Known, Open, RATE_MILLI};
use super::{Counters, Minutes, Moment};
use crate::interval::Segments;

/// The longest lost connection during which the video is assumed to play on, in milliseconds.
///
/// A page that reconnects within a minute had a bad network, and its buffer. After a longer time the machine slept, and
/// the video did not play.
const GAP_MS_MAX: u64 = 60_000;

/// The first second, which 0.1.x clients report as 0, in milliseconds.
const FIRST_MS: u32 = 1_000;

/// The state of playback.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Playhead {
    pub(super) state: State,
    stalled: Option<Stall>,
    // Not stored: events of one time arrive together.
    late: Option<Box<Late>>,
    told: Told,
    /// The segment closed last.
    pub(super) last: Option<Closed>,
    /// The duration of the video, if it is known.
    pub(super) duration_ms: Option<u32>,
    /// A duration that playback has exceeded.
    pub(super) disproved_ms: Option<u32>,
    /// The rate of playback, in thousandths.
    pub(super) rate_milli: u32,
    /// The length of all closed segments.
    view_ms: u64,
    // When the session began, by the server's clock.
    started_at_ms: i64,
}

/// Whether the video plays.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum State {
    #[default]
    Paused,
    Playing(Open),
    /// The video played when the connection was lost.
    Lost(Open, Moment),
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
            told: Told::default(),
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
        let is_jump = matches!(mark.kind, MarkKind::Jump { .. });
        if !is_jump {
            self.set_duration(mark.duration_ms);
        }
        match mark.kind {
            MarkKind::Play { from_ms, is_live } => self.play(from_ms, is_live, at, tally),
            MarkKind::Pause { to_ms } => self.pause(to_ms, at, tally),
            MarkKind::Jump { from_ms } => self.jump(from_ms, at, tally),
            MarkKind::Stalled { from_ms } => self.stall(from_ms, at, tally.counters),
            MarkKind::Flowing => self.flow(at, tally.counters),
            MarkKind::Rate { rate_milli } => self.change_rate(rate_milli, at),
            MarkKind::Report(report) => self.follow(&report, at, tally),
            MarkKind::Duration => {}
            MarkKind::Lost => {
                if let State::Playing(open) = self.state {
                    self.state = State::Lost(open, at);
                }
            }
            MarkKind::Resumed => self.resume(at, tally.minutes),
            MarkKind::Left => self.close_at_estimate(at, tally),
        }
        if is_jump {
            self.set_duration(mark.duration_ms);
        }
    }

    /// Accepts a duration as that of the video, unless playback has exceeded it.
    fn set_duration(&mut self, duration_ms: Option<u32>) {
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

    /// Opens a segment at `from_ms`, after closing or correcting the one before.
    fn play(&mut self, from_ms: u32, is_live: bool, at: Moment, tally: &mut Tally<'_>) {
        match self.state {
            State::Playing(open) if open.is_echoed && open.resumes_at(from_ms, at) => {
                self.close(open, End::Reported(from_ms.min(self.last_ms())), at, tally);
            }
            State::Playing(_) | State::Lost(..) => self.close_at_estimate(at, tally),
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

    /// Closes the open segment at `to_ms`, unless the pause belongs to the segment before.
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

    /// Changes the rate from the current position on.
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

    /// Continues the segment of a lost connection. A long absence was not played.
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

    /// Whether a mark has an effect.
    pub(super) fn is_changed_by(&self, mark: &Mark) -> bool {
        let changes_duration = mark.duration_ms.is_some_and(|ms| Some(ms) != self.duration_ms);
        changes_duration
            || match mark.kind {
                MarkKind::Play { .. }
                | MarkKind::Report(_)
                | MarkKind::Lost
                | MarkKind::Resumed
                | MarkKind::Left => true,
                MarkKind::Pause { .. } | MarkKind::Jump { .. } => self.state != State::Paused,
                MarkKind::Stalled { .. } => self.stalled.is_none(),
                MarkKind::Flowing => self.stalled.is_some(),
                MarkKind::Rate { rate_milli } => rate_milli != self.rate_milli,
                MarkKind::Duration => false,
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

    /// The open segment, also if its connection was lost.
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
}

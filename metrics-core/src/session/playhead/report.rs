//! Reports of a player's state: the rule *States*.

use super::close::End;
use super::{MarkKind, Playhead, State, Tally};
use crate::event::{Ads, CheckedReport, PlayerState};
use crate::session::Moment;
use crate::session::open::{Known, Open};

/// The facts that reports told, beside the state of playback.
///
/// It is not stored. After a restart, a jump or advertisements that were under way are over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Told {
    /// The player jumps to another position.
    pub(super) is_seeking: bool,
    /// An error occurred since the player played last.
    has_failed: bool,
    /// Advertisements play.
    in_ads: bool,
}

impl Playhead {
    /// Follows a report. A report from before the last known position is too late.
    pub(super) fn follow(&mut self, report: &CheckedReport, at: Moment, tally: &mut Tally<'_>) {
        if self.open().is_some_and(|open| at.precedes(open.known.at) == Some(true)) {
            return;
        }
        self.tell_failure(report, tally);
        match report.ads {
            Some(Ads::Begin) => self.told.in_ads = true,
            Some(Ads::End) => self.told.in_ads = false,
            None => {}
        }
        let state = if self.told.in_ads { Some(PlayerState::Stopped) } else { report.state };
        if state.is_some() {
            // The session was loaded, and its player was there all the time.
            self.resume(at, tally.minutes);
        }
        match state {
            Some(PlayerState::Playing) => self.go_on(report.position_ms, at, tally),
            Some(PlayerState::Waiting) => self.wait(report.position_ms, at, tally),
            Some(PlayerState::Seeking) => {
                self.stop(report.position_ms, at, tally);
                tally.counters.details.seeks += u32::from(!self.told.is_seeking);
                self.told.is_seeking = true;
            }
            Some(PlayerState::Stopped | PlayerState::Failed | PlayerState::Starting) => {
                self.stop(report.position_ms, at, tally);
                self.told.is_seeking = false;
            }
            None => {}
        }
        if let Some(rate_milli) = report.rate_milli.filter(|milli| *milli != self.rate_milli) {
            self.change_rate(rate_milli, at);
        }
    }

    /// Counts a failure, unless it belongs to the one before.
    fn tell_failure(&mut self, report: &CheckedReport, tally: &mut Tally<'_>) {
        let fails = report.is_failure || report.state == Some(PlayerState::Failed);
        tally.counters.failures += u32::from(fails && !self.told.has_failed);
        self.told.has_failed = match report.state {
            _ if fails => true,
            Some(PlayerState::Playing) => false,
            _ => self.told.has_failed,
        };
    }

    /// The player plays.
    fn go_on(&mut self, position_ms: Option<u32>, at: Moment, tally: &mut Tally<'_>) {
        self.flow(at, tally.counters);
        let has_jumped = std::mem::take(&mut self.told.is_seeking);
        let Some(open) = self.open() else {
            return self.begin(position_ms, has_jumped, at, tally);
        };
        let estimate_ms = open.estimate_ms(at, 0);
        match (open.locate(position_ms, at), position_ms) {
            (Some(open), _) => self.set_open(open),
            (None, Some(_)) => {
                self.close_at_estimate(at, tally);
                self.begin(position_ms, true, at, tally);
            }
            (None, None) => self.set_open(Open { known: Known::new(estimate_ms, at), ..open }),
        }
    }

    /// The player waits for data. It does so before the first frame as well, which is no rebuffering.
    fn wait(&mut self, position_ms: Option<u32>, at: Moment, tally: &mut Tally<'_>) {
        if let Some(open) = self.open().and_then(|open| open.locate(position_ms, at)) {
            self.set_open(open);
        }
        if self.told.is_seeking || self.open().is_some() {
            self.stall(None, at, tally.counters);
        }
    }

    /// The player stopped.
    fn stop(&mut self, position_ms: Option<u32>, at: Moment, tally: &mut Tally<'_>) {
        self.flow(at, tally.counters);
        let Some(open) = self.open() else { return };
        let located = open.locate(position_ms, at).unwrap_or(open);
        match position_ms.filter(|_| !located.is_unplaced) {
            Some(to_ms) => {
                let (open, to_ms) = self.end(located, to_ms, at, tally.counters);
                self.close(open, End::Reported(to_ms), at, tally);
            }
            None => self.close_at_estimate(at, tally),
        }
    }

    /// Opens a segment, with or without a place.
    fn begin(
        &mut self,
        position_ms: Option<u32>,
        has_jumped: bool,
        at: Moment,
        tally: &mut Tally<'_>,
    ) {
        let mut open = Open::new(position_ms.unwrap_or(0), at, self.rate_milli);
        open.is_unplaced = position_ms.is_none();
        open.has_jumped = has_jumped;
        if let Some(last) = self.last {
            open.begin(last.next_ms(at));
            if has_jumped {
                self.scrub(last, tally);
            }
        }
        self.state = State::Playing(open);
    }
}

impl Open {
    /// The segment with a known position at `at`, or `None` without a position or if playback cannot have reached it. A
    /// segment without a place gets the place that follows from the time that it ran.
    fn locate(self, position_ms: Option<u32>, at: Moment) -> Option<Self> {
        let position_ms = position_ms?;
        let known = Known::new(position_ms, at);
        if self.is_unplaced {
            let from_ms = position_ms.checked_sub(self.estimate_ms(at, 0))?;
            return Some(Self { from_ms, is_unplaced: false, known, ..self });
        }
        // Players report positions up to a quarter of a second late.
        let known = if position_ms < self.known.position_ms { self.known } else { known };
        self.may_reach(position_ms, at).then_some(Self { known, ..self })
    }
}

impl MarkKind {
    /// The mark of a report, if it concerns the playhead.
    pub(in crate::session) fn of_report(report: CheckedReport) -> Option<Self> {
        let CheckedReport { state, rate_milli, is_failure, ads, .. } = report;
        let concerns = state.is_some() || rate_milli.is_some() || is_failure || ads.is_some();
        concerns.then_some(Self::Report(report))
    }
}

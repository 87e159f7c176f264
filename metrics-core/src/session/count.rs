//! Counts events, and finds their effect on the playhead.

use super::latest::Startup;
use super::playhead::MarkKind;
use super::{Moment, Session};
use crate::event::{CheckedReport, PlayerState, Rendition, Step};

/// The kind of an event.
pub(super) enum Counted {
    /// It moves the playhead.
    Mark(MarkKind),
    /// It does not move the playhead. True if it changed anything.
    Changed(bool),
}

impl Session {
    /// Counts an event, or returns its effect on the playhead.
    pub(super) fn count(&mut self, step: &Step, at: Moment) -> Counted {
        let details = &mut self.counters.details;
        match *step {
            Step::Play { from_ms } => {
                self.starts_up(|startup| startup.play(at));
                return Counted::Mark(MarkKind::Play { from_ms, is_live: false });
            }
            Step::Pause { to_ms } => return Counted::Mark(MarkKind::Pause { to_ms }),
            Step::RebufferingStart { from_ms } => {
                return Counted::Mark(MarkKind::Stalled { from_ms });
            }
            Step::RebufferingEnd => return Counted::Mark(MarkKind::Flowing),
            Step::RateChange { rate_milli: Some(rate_milli) } => {
                details.others += 1;
                return Counted::Mark(MarkKind::Rate { rate_milli });
            }
            Step::Playing => {
                return Counted::Changed(self.starts_up(|startup| startup.playing(at)));
            }
            Step::PlaybackFailure => self.counters.failures += 1,
            Step::Seeked => details.seeks += 1,
            Step::FullscreenEnter => details.fullscreens += 1,
            Step::FullscreenExit => return Counted::Changed(false),
            Step::TrackSet { ref language } => {
                details.tracks += 1;
                if self.latest.track.is_latest(at) {
                    details.language.clone_from(language);
                }
            }
            Step::SourceSet(ref rendition) => {
                details.renditions += 1;
                if self.latest.rendition.is_latest(at) {
                    details.rendition = Some(rendition.clone());
                }
            }
            Step::Report(report) => return self.count_report(report, at),
            Step::RateChange { rate_milli: None } | Step::Other { .. } => details.others += 1,
        }
        Counted::Changed(true)
    }

    /// Counts the startup, renditions and fullscreens of a report, and returns its mark.
    fn count_report(&mut self, report: CheckedReport, at: Moment) -> Counted {
        self.starts_up(|startup| match report.state {
            Some(PlayerState::Starting) => startup.play(at),
            Some(PlayerState::Playing) => startup.playing(at),
            _ => {}
        });
        if let Some(startup_ms) = report.startup_ms {
            self.starts_up(|startup| startup.report(startup_ms, at));
        }
        let details = &mut self.counters.details;
        details.fullscreens += u32::from(report.is_expansion);
        if report.bitrate.is_some() {
            details.renditions += 1;
            if self.latest.rendition.is_latest(at) {
                let bitrate = report.bitrate;
                details.rendition = Some(Rendition { bitrate, ..Rendition::default() });
            }
        }
        MarkKind::of_report(report).map_or(Counted::Changed(true), Counted::Mark)
    }

    /// Applies a step of the startup, and returns whether that changed the startup time.
    fn starts_up(&mut self, step: impl FnOnce(&mut Startup)) -> bool {
        let Some(startup) = &mut self.startup else { return false };
        step(startup);
        let before_ms = self.counters.startup_ms;
        self.counters.startup_ms = startup.ms();
        self.counters.startup_ms != before_ms
    }
}

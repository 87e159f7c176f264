//! Facts that a player repeats: the first or the last report counts, by the player's clock, not by arrival.

use super::Moment;
use super::open::saturate;

/// The time of the last report of each fact whose last report counts.
#[derive(Clone, Debug, Default)]
pub(super) struct LatestReports {
    pub(super) track: Latest,
    pub(super) rendition: Latest,
}

/// The latest moment of a report.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Option<Moment>);

impl Latest {
    /// Returns whether a report at `at` is the latest.
    pub(super) fn is_latest(&mut self, at: Moment) -> bool {
        let latest = self.0.is_none_or(|latest| !was_before(at, latest));
        if latest {
            self.0 = Some(at);
        }
        latest
    }
}

/// The first play intent, and the first frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Startup {
    play: Moment,
    playing: Option<Moment>,
}

impl Startup {
    pub(super) fn new(play: Moment) -> Self {
        Self { play, playing: None }
    }

    pub(super) fn play(&mut self, at: Moment) {
        if was_before(at, self.play) {
            self.play = at;
        }
    }

    pub(super) fn playing(&mut self, at: Moment) {
        if self.playing.is_none_or(|playing| was_before(at, playing)) {
            self.playing = Some(at);
        }
    }

    /// The startup time in milliseconds, if startup is over.
    pub(super) fn ms(&self) -> Option<u32> {
        self.playing.map(|playing| saturate(self.play.until_ms(playing)))
    }
}

/// Returns whether `at` was before `other` by the player's clock. Without its timestamps, the order of arrival counts.
fn was_before(at: Moment, other: Moment) -> bool {
    let known = at.timestamp_ms.zip(other.timestamp_ms);
    known.is_some_and(|(at_ms, other_ms)| at_ms < other_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(received_ms: i64, timestamp_ms: Option<i64>) -> Moment {
        Moment { timestamp_ms, ..Moment::received(received_ms) }
    }

    #[track_caller]
    fn check_latest(moments: &[Moment], expected: &[bool]) {
        let mut latest = Latest::default();
        let found: Vec<_> = moments.iter().map(|at| latest.is_latest(*at)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_latest_report_stays_the_latest() {
        check_latest(&[at(1, Some(7)), at(2, Some(5)), at(3, Some(6))], &[true, false, false]);
        check_latest(&[at(1, Some(5)), at(2, Some(7)), at(3, Some(7))], &[true, true, true]);
    }

    #[test]
    fn a_report_without_a_timestamp_is_as_late_as_its_arrival() {
        check_latest(&[at(1, Some(7)), at(2, None), at(3, Some(5))], &[true, true, true]);
        check_latest(&[at(2, None), at(1, None)], &[true, true]);
    }

    #[test]
    fn a_startup_is_from_the_first_play_to_the_first_frame() {
        let mut startup = Startup::new(at(1, Some(2_000)));
        assert_eq!(startup.ms(), None);
        startup.playing(at(1, Some(9_000)));
        assert_eq!(startup.ms(), Some(7_000));
        // Both arrive late.
        startup.playing(at(2, Some(2_500)));
        startup.play(at(3, Some(1_000)));
        assert_eq!(startup.ms(), Some(1_500));
        startup.playing(at(4, Some(5_000)));
        startup.play(at(5, Some(4_000)));
        assert_eq!(startup.ms(), Some(1_500));
    }
}

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

/// The first play intent, and the first frame; and the startup time that the player measured itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Startup {
    play: Option<Moment>,
    playing: Option<Moment>,
    reported: Option<(Moment, u32)>,
}

impl Startup {
    pub(super) fn new(play: Moment) -> Self {
        Self { play: Some(play), ..Self::default() }
    }

    pub(super) fn play(&mut self, at: Moment) {
        if self.play.is_none_or(|play| was_before(at, play)) {
            self.play = Some(at);
        }
    }

    pub(super) fn playing(&mut self, at: Moment) {
        if self.playing.is_none_or(|playing| was_before(at, playing)) {
            self.playing = Some(at);
        }
    }

    /// Notes the startup time that the player measured. The first report counts.
    pub(super) fn report(&mut self, startup_ms: u32, at: Moment) {
        if self.reported.is_none_or(|(reported, _)| was_before(at, reported)) {
            self.reported = Some((at, startup_ms));
        }
    }

    /// The startup time in milliseconds, if startup is over: by the player's events, or else as it measured.
    pub(super) fn ms(&self) -> Option<u32> {
        let lasted_ms = |(play, playing): (Moment, Moment)| saturate(play.until_ms(playing));
        let reported_ms = self.reported.map(|(_, startup_ms)| startup_ms);
        self.play.zip(self.playing).map(lasted_ms).or(reported_ms)
    }
}

/// Returns whether `at` was before `other` by the player's clock. Without its timestamps, the order of arrival counts.
fn was_before(at: Moment, other: Moment) -> bool {
    let is_known = at.timestamp_ms.is_some() && other.timestamp_ms.is_some();
    is_known && at.precedes(other) == Some(true)
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

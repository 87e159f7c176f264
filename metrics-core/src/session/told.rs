//! What is told more than once, and counts as it was told first, or last: by the player's clock, not by arrival.

use super::Moment;
use super::open::saturate;

/// When each thing was told that counts as it was told last.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) track: Latest,
    pub(super) rendition: Latest,
}

/// The latest moment at which something was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Option<Moment>);

impl Latest {
    /// Whether what is told at `at` is the latest.
    pub(super) fn is_latest(&mut self, at: Moment) -> bool {
        let latest = self.0.is_none_or(|latest| !was_before(at, latest));
        if latest {
            self.0 = Some(at);
        }
        latest
    }
}

/// When playback was first asked for, and when frames first moved.
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

    /// How long it took in milliseconds, if it is over.
    pub(super) fn ms(&self) -> Option<u32> {
        self.playing.map(|playing| saturate(self.play.until_ms(playing)))
    }
}

/// Whether `at` was before `other` by the player's clock. Where that is not known, things were as they arrive.
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
    fn what_was_said_later_stays_the_latest() {
        check_latest(&[at(1, Some(7)), at(2, Some(5)), at(3, Some(6))], &[true, false, false]);
        check_latest(&[at(1, Some(5)), at(2, Some(7)), at(3, Some(7))], &[true, true, true]);
    }

    #[test]
    fn what_has_no_timestamp_is_as_late_as_it_arrives() {
        check_latest(&[at(1, Some(7)), at(2, None), at(3, Some(5))], &[true, true, true]);
        check_latest(&[at(2, None), at(1, None)], &[true, true]);
    }

    #[test]
    fn a_startup_is_from_the_first_play_to_the_first_frame() {
        let mut startup = Startup::new(at(1, Some(2_000)));
        assert_eq!(startup.ms(), None);
        startup.playing(at(1, Some(9_000)));
        assert_eq!(startup.ms(), Some(7_000));
        // Late, both of them.
        startup.playing(at(2, Some(2_500)));
        startup.play(at(3, Some(1_000)));
        assert_eq!(startup.ms(), Some(1_500));
        startup.playing(at(4, Some(5_000)));
        startup.play(at(5, Some(4_000)));
        assert_eq!(startup.ms(), Some(1_500));
    }
}

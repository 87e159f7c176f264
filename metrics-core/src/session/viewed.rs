//! The result of a session at some moment.

use super::playhead::{Playhead, Tally};
use super::{Counters, Minutes, Moment, Reach, Session};
use crate::interval::Segments;

/// The result of a session at some moment.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Viewed {
    /// All segments, the open one as far as it is known to have run.
    pub segments: Segments,
    /// The duration of the video in milliseconds, if it is known.
    pub duration_ms: Option<u32>,
    /// The counters.
    pub counters: Counters,
    /// The minutes at which the session played.
    pub minutes: Minutes,
    /// Whether a segment is open: the video plays.
    pub playing: bool,
}

impl Viewed {
    /// The view time in milliseconds: the segments, and the [view time outside of them](super::Details::outside_ms).
    #[must_use]
    pub fn view_ms(&self) -> u64 {
        self.segments.len_ms() + self.counters.details.outside_ms()
    }
}

/// The data that is derived from the events of a session.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) segments: Segments,
    pub(super) minutes: Minutes,
    pub(super) counters: Counters,
}

impl Session {
    /// Returns the result of the session. `reach` is how far an open segment has run.
    #[must_use]
    pub fn viewed(&self, reach: Reach) -> Viewed {
        let (playhead, sums) = self.folded(self.reached(reach));
        let Sums { segments, minutes, counters } = sums;
        let (duration_ms, playing) = (playhead.duration_ms, playhead.is_playing());
        Viewed { segments, duration_ms, counters, minutes, playing }
    }

    /// Returns the state of playback and the totals of the session. An open segment counts as far as it ran until
    /// `reached`.
    pub(super) fn folded(&self, reached: Moment) -> (Playhead, Sums) {
        let mut sums = Sums {
            segments: self.segments.clone(),
            minutes: self.minutes.clone(),
            counters: self.counters.clone(),
        };
        let playhead = self.replay(&mut sums);
        sums.segments.extend(playhead.running(reached));
        sums.counters.details.unplaced_ms += playhead.running_unplaced_ms(reached);
        playhead.run_until(reached, &mut sums.minutes);
        (playhead, sums)
    }

    /// Applies the unfolded events to the playhead and adds their results to `sums`.
    fn replay(&self, sums: &mut Sums) -> Playhead {
        let mut playhead = self.playhead.clone();
        let Sums { segments, minutes, counters } = sums;
        let mut tally = Tally { segments, minutes, counters };
        for mark in &self.recent {
            playhead.step(mark, &mut tally);
        }
        playhead
    }

    /// The state of playback after all events.
    pub(super) fn standing(&self) -> Playhead {
        self.replay(&mut Sums::default())
    }

    /// The moment until which an open segment is known to have run.
    pub(super) fn reached(&self, reach: Reach) -> Moment {
        match reach {
            Reach::Until(now) => now,
            Reach::LastEvent => {
                self.latest_event.unwrap_or(Moment::received(self.last_event_at_ms))
            }
        }
    }
}

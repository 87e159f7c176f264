//! Stored sessions whose viewers watch on: the position of playback now, and the minutes since the last write.
//!
//! A recorder writes a session at its events and at checkpoints. Between them, playback goes on.

use super::open::Open;
use super::playhead::{Playhead, State};
use super::{Moment, Stored};
use crate::varint::{Damaged, Reader};

/// The longest time after the last write that adds minutes, in milliseconds: four checkpoints. Of a viewer who sends
/// batches, no more than the events is known.
const UNWRITTEN_MS_MAX: i64 = 60_000;

impl Stored {
    /// Returns the estimated position of playback at `now_ms` (Unix milliseconds), in milliseconds of video, if a
    /// segment with a place is open. Its viewer is assumed to watch on.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the resume state cannot be decoded.
    pub(crate) fn position_ms(&self, now_ms: i64) -> Result<Option<u32>, Damaged> {
        let Some((playhead, open, until)) = self.going_on()? else { return Ok(None) };
        let now = Moment::received(now_ms.max(until.received_ms));
        Ok(Some(playhead.end_at(&open, now)).filter(|_| !open.is_unplaced))
    }

    /// Adds the minutes from the last write to `now_ms` (Unix milliseconds), if a segment is open. Its viewer is assumed
    /// to watch on.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the resume state cannot be decoded.
    pub(crate) fn add_minutes(&mut self, now_ms: i64) -> Result<(), Damaged> {
        if let Some((playhead, _, until)) = self.going_on()? {
            let last_ms = until.received_ms.saturating_add(UNWRITTEN_MS_MAX);
            playhead.run_until(Moment::received(now_ms.min(last_ms)), &mut self.minutes);
        }
        Ok(())
    }

    /// The state of playback with an open segment that goes on, and the moment until which it is known to have run.
    fn going_on(&self) -> Result<Option<(Playhead, Open, Moment)>, Damaged> {
        let (mut playhead, _) = self.playhead(&mut Reader::new(&self.resume))?;
        let State::Lost(open, until) = playhead.state else { return Ok(None) };
        playhead.state = State::Playing(open);
        Ok(Some((playhead, open, until)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlayerEvent;
    use crate::interval::Segments;
    use crate::session::{Reach, Session};

    const START_MS: i64 = 1_700_000_040_000;

    /// A session of these events, stored at `stored_ms` after the start with its viewer connected.
    fn stored(events: &[(i64, PlayerEvent)], stored_ms: i64) -> Stored {
        let at = |ms: i64| Moment::received(START_MS + ms);
        let ((begin_ms, play), rest) = events.split_first().unwrap();
        let mut session = Session::begin(&play.check(0).unwrap(), at(*begin_ms)).unwrap();
        for (ms, event) in rest {
            session.apply(&event.check(0).unwrap(), at(*ms));
        }
        session.snapshot(Reach::Until(at(stored_ms)))
    }

    #[track_caller]
    fn check(stored: &Stored, expected: &[(i64, Option<u32>)]) {
        for (ms, position_ms) in expected {
            assert_eq!(stored.position_ms(START_MS + ms).unwrap(), *position_ms, "at {ms}");
        }
    }

    #[test]
    fn playback_goes_on_after_the_last_write() {
        let open = stored(&[(0, PlayerEvent::play(10.0))], 15_000);
        let expected = [(15_000, Some(25_000)), (27_500, Some(37_500)), (100_000, Some(110_000))];
        check(&open, &expected);
        // The clock of another server may be behind.
        check(&open, &[(0, Some(25_000))]);
    }

    #[test]
    fn a_paused_video_has_no_position() {
        let events = [(0, PlayerEvent::play(10.0)), (5_000, PlayerEvent::pause(15.0))];
        check(&stored(&events, 5_000), &[(5_000, None), (60_000, None)]);
        let finished = Stored::finished(START_MS, START_MS, None, &Segments::default());
        check(&finished, &[(0, None)]);
    }

    #[test]
    fn playback_ends_with_the_video() {
        let play = PlayerEvent::play(10.0).with_duration(30.0);
        check(&stored(&[(0, play)], 0), &[(19_000, Some(29_000)), (25_000, Some(30_000))]);
    }

    #[test]
    fn minutes_go_on_with_playback() {
        let minutes = |stored: &Stored, now_ms: i64| {
            let mut stored = stored.clone();
            stored.add_minutes(START_MS + now_ms).unwrap();
            stored.minutes.len()
        };
        // The start is a whole minute, which counts.
        assert_eq!(START_MS % 60_000, 0);
        let open = stored(&[(0, PlayerEvent::play(0.0))], 50_000);
        assert_eq!((open.minutes.len(), minutes(&open, 59_999)), (1, 1));
        assert_eq!((minutes(&open, 60_001), minutes(&open, 100_000)), (2, 2));
        // Nothing is known of a longer time.
        assert_eq!(minutes(&open, 3_600_000), 2);
        let events = [(0, PlayerEvent::play(0.0)), (5_000, PlayerEvent::pause(5.0))];
        assert_eq!(minutes(&stored(&events, 5_000), 100_000), 1);
    }
}

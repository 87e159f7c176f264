//! The player's timestamps, and a time of day that is set.

use super::*;

/// A segment between two events of a player whose clock passed `elapsed_ms` between them.
#[track_caller]
fn check_clamped(from: f64, to: f64, elapsed_ms: i64, expected: &[(f64, f64)], clamped: u32) {
    for clock_ms in [0, START_MS - 7 * 86_400_000] {
        let play = PlayerEvent::play(from).with_duration(3_600.0).with_timestamp(clock_ms);
        let pause = PlayerEvent::pause(to).with_duration(3_600.0);
        let pause = pause.with_timestamp(clock_ms + elapsed_ms);
        let session = run(&[(0, Input::Event(play)), (1, Input::Event(pause))]);
        let viewed = session.viewed(Reach::LastEvent);
        assert_eq!(seconds(&viewed.segments), expected);
        assert_eq!(viewed.counters.details.clamped, clamped);
        let stored = session.snapshot(Reach::LastEvent);
        assert_eq!(stored.counters.details.clamped, clamped);
    }
}

#[test]
fn a_segment_is_no_longer_than_fits_between_its_timestamps() {
    // At four times the speed, and a little more, because players round, and call the first second 0.
    check_clamped(0.0, 10.0, 10_000, &[(0.0, 10.0)], 0);
    check_clamped(5.0, 45.3, 10_000, &[(5.0, 45.3)], 0);
    check_clamped(0.0, 1.05, 0, &[(0.0, 1.05)], 0);
    // More than that is a jump, and so is a step back: the time that passed counts as watched.
    check_clamped(0.0, 3_600.0, 10_000, &[(0.0, 10.0)], 1);
    check_clamped(100.0, 3_600.0, 0, &[], 1);
    check_clamped(100.0, 3.0, 10_000, &[(100.0, 110.0)], 1);
}

#[test]
fn only_the_duration_bounds_a_segment_without_timestamps() {
    for (play, pause) in [(None, None), (Some(1_000), None), (None, Some(1_000))] {
        let event = |mut event: PlayerEvent, timestamp_ms| {
            event.timestamp_ms = timestamp_ms;
            Input::Event(event.with_duration(3_600.0))
        };
        // A page that was offline sends both at once.
        check(
            &[
                (0, event(PlayerEvent::play(0.0), play)),
                (0, event(PlayerEvent::pause(3_000.0), pause)),
            ],
            &[(0.0, 3_000.0)],
        );
    }
}

#[test]
fn watching_past_the_end_is_cut_and_not_clamped() {
    check_clamped(3_590.0, 1e11, 10_000, &[(3_590.0, 3_600.0)], 0);
}

/// A moment by a server whose time of day is `step_ms` off.
fn stepped(second: i64, step_ms: i64) -> Moment {
    let steady_ms = Some(7_000 + 1_000 * second);
    Moment { steady_ms, ..Moment::received(START_MS + 1_000 * second + step_ms) }
}

#[test]
fn a_time_of_day_that_steps_changes_no_number() {
    const HOUR_MS: i64 = 3_600_000;
    for step_ms in [-24 * HOUR_MS, -HOUR_MS, -1, 0, HOUR_MS, 24 * HOUR_MS] {
        let at = |second| stepped(second, if second < 5 { 0 } else { step_ms });
        let play = |from: f64| PlayerEvent::play(from).check(0).unwrap();
        let mut session = Session::begin(&play(0.0), at(0)).unwrap();
        let open = session.viewed(Reach::Until(at(6))).segments;
        assert_eq!(seconds(&open), [(0.0, 6.0)], "{step_ms}");
        // Closed by a play, by a lost connection, by a lost connection that came back, and by leaving.
        session.apply(&play(100.0), at(8));
        session.lose(at(12));
        session.apply(&play(200.0), at(15));
        session.lose(at(17));
        session.resume(at(20));
        session.apply(&play(300.0), at(25));
        session.lose(at(30));
        session.resume(at(130));
        session.leave(at(132));
        let expected = [(0.0, 8.0), (100.0, 104.0), (200.0, 210.0), (300.0, 307.0)];
        assert_eq!(seconds(&session.viewed(Reach::LastEvent).segments), expected, "{step_ms}");
    }
}

/// A stored open segment has the time of day only, which may have been set before the session is loaded.
#[test]
fn a_time_of_day_that_steps_while_a_session_is_stored_adds_no_more_than_a_gap() {
    for (step_ms, expected) in [(-3_600_000, 10.0), (0, 15.0), (3_600_000, 12.0)] {
        let mut session = run(&[(0, play(0.0))]);
        let stored = session.snapshot(Reach::Until(Moment::received(START_MS + 10_000)));
        session = Session::load(&stored).unwrap();
        session.resume(stepped(13, step_ms));
        session.leave(stepped(15, step_ms));
        let segments = session.viewed(Reach::LastEvent).segments;
        assert_eq!(seconds(&segments), [(0.0, expected)], "{step_ms}");
    }
}

//! The minutes at which a session played.

use super::*;

/// Checks the minutes after the start at which a session is known to have played.
#[track_caller]
fn check_minutes(inputs: &[(i64, Input)], expected: &[i64]) {
    let session = run(inputs);
    // It started 20 s after a whole minute.
    let first = START_MS / MINUTE_MS + 1;
    let minutes = session.viewed(Reach::LastEvent).minutes;
    let found: Vec<_> = minutes.iter(START_MS).map(|minute| minute - first).collect();
    assert_eq!(found, expected);
    assert_eq!(session.snapshot(Reach::LastEvent).minutes, minutes);
}

#[test]
fn a_wait_is_among_the_minutes_and_a_long_absence_is_not() {
    let (stall, flow) = (on(Action::RebufferingStart { from: None }), on(Action::RebufferingEnd));
    check_minutes(&[(0, play(0.0)), (30, stall), (170, flow), (200, pause(60.0))], &[0, 1, 2]);
    check_minutes(&[(0, play(0.0)), (50, Lose), (290, Resume), (300, pause(60.0))], &[0]);
    check_minutes(&[(0, play(0.0)), (70, Lose), (110, Resume), (170, pause(170.0))], &[0, 1, 2]);
}

#[test]
fn a_video_that_is_over_plays_no_more() {
    let play = Input::Event(PlayerEvent::play(0.0).with_duration(45.0));
    check_minutes(&[(0, play.clone()), (500, Lose)], &[0]);
    check_minutes(&[(0, play), (500, pause(45.0))], &[0]);
}

#[test]
fn a_night_that_the_machine_slept_is_not_played() {
    check_minutes(&[(0, play(0.0)), (30_000, pause(50.0))], &[0, 1]);
    // A slow player.
    check_minutes(&[(0, play(0.0)), (300, pause(150.0))], &[0, 1, 2, 3, 4]);
}

#[test]
fn minutes_of_late_events_follow_the_clock_of_the_player() {
    let at = |event: PlayerEvent, second: i64| Input::Event(event.with_timestamp(1_000 * second));
    // All events arrived at once, as those of a page that was offline.
    let inputs = [
        (0, at(PlayerEvent::play(0.0), 5_000)),
        (0, at(PlayerEvent::pause(101.0), 5_101)),
        (0, at(PlayerEvent::play(100.0), 5_300)),
        (0, at(PlayerEvent::pause(160.0), 5_360)),
    ];
    check_minutes(&inputs, &[0, 1, 5]);
    // A pause that arrived late.
    check_minutes(&[inputs[0].clone(), (3_000, at(PlayerEvent::pause(101.0), 5_101))], &[0, 1]);
    // The pause of a viewer who sends batches, after the recorder counted the viewer as lost.
    let play = at(PlayerEvent::play(0.0).with_duration(600.0), 5_000);
    let pause = at(PlayerEvent::pause(600.0), 5_602);
    let whole: Vec<i64> = (0..10).collect();
    check_minutes(&[(0, play.clone()), (0, Lose), (608, pause.clone())], &whole);
    // A pause without a timestamp does not say when playback ended.
    let untimed = Input::Event(PlayerEvent::pause(600.0));
    check_minutes(&[(0, play), (0, Lose), (608, untimed)], &[0]);
}

#[test]
fn minutes_outlast_a_restart_between_play_and_pause() {
    let at = |event: PlayerEvent, second: i64| (event.with_timestamp(1_000 * second), second);
    let (play, from) = at(PlayerEvent::play(0.0).with_duration(600.0), 5_000);
    let (pause, until) = at(PlayerEvent::pause(600.0), 5_602);
    let moment = |event: &PlayerEvent, second: i64| Moment {
        timestamp_ms: event.timestamp_ms,
        ..Moment::received(START_MS + 1_000 * (second - from))
    };
    let session = Session::begin(&play.check(0).unwrap(), moment(&play, from)).unwrap();
    let mut session = Session::load(&session.snapshot(Reach::LastEvent)).unwrap();
    session.apply(&pause.check(0).unwrap(), moment(&pause, until));
    assert_eq!(session.viewed(Reach::LastEvent).minutes.len(), 10);
}

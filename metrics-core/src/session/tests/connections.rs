//! Lost connections, viewers who come back, and viewers who leave.

use super::*;

#[test]
fn a_lost_connection_counts_up_to_it() {
    check(&[(0, play(1.0)), (3, Lose)], &[(1.0, 4.0)]);
}

#[test]
fn a_lost_connection_counts_to_the_end_of_the_video_at_most() {
    let play = Input::Event(PlayerEvent::play(55.0).with_duration(60.0));
    check(&[(0, play), (3_000, Lose)], &[(55.0, 60.0)]);
}

#[test]
fn a_pause_after_a_lost_connection_is_more_exact() {
    check(&[(0, play(0.0)), (20, Lose), (25, Resume), (40, pause(39.5))], &[(0.0, 39.5)]);
    check(&[(0, play(0.0)), (20, Lose), (25, pause(18.0))], &[(0.0, 18.0)]);
}

#[test]
fn a_viewer_who_is_back_watches_on() {
    check(&[(0, play(0.0)), (20, Lose), (25, Resume), (40, Lose)], &[(0.0, 40.0)]);
}

#[test]
fn a_long_absence_is_not_watched() {
    check(
        &[(0, play(0.0)), (20, Lose), (8 * 3_600, Resume), (8 * 3_600 + 10, Lose)],
        &[(0.0, 30.0)],
    );
}

#[test]
fn a_play_after_a_lost_connection_decides_it() {
    check(
        &[(0, play(0.0)), (20, Lose), (25, play(50.0)), (30, pause(55.0))],
        &[(0.0, 20.0), (50.0, 55.0)],
    );
}

#[test]
fn leaving_closes_for_good() {
    check(&[(0, play(0.0)), (5, Leave), (9, pause(9.0))], &[(0.0, 5.0)]);
    check(&[(0, play(0.0)), (5, Leave), (6, Resume), (9, Lose)], &[(0.0, 5.0)]);
}

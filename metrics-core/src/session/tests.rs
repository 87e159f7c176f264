//! Tests each rule of a session, as data; then any order of arrival against the order of time.

mod any_events;
mod clocks;
mod connections;
mod counters;
mod minutes;
mod stop_watch;
mod stored;

use super::*;
use crate::PlayerEvent;
use crate::event::{Action, Rendition};

const START_MS: i64 = 1_700_000_000_000;

/// An event of a test, at a second.
#[derive(Clone, Debug)]
enum Input {
    Event(PlayerEvent),
    Lose,
    Resume,
    Leave,
}
use Input::{Leave, Lose, Resume};

fn play(from: f64) -> Input {
    Input::Event(PlayerEvent::play(from))
}

fn pause(to: f64) -> Input {
    Input::Event(PlayerEvent::pause(to))
}

fn on(action: Action) -> Input {
    Input::Event(PlayerEvent::new(action))
}

fn run(inputs: &[(i64, Input)]) -> Session {
    let mut session: Option<Session> = None;
    for (second, input) in inputs {
        let at = Moment::received(START_MS + 1_000 * second);
        let timestamp_ms = if let Input::Event(event) = input { event.timestamp_ms } else { None };
        let at = Moment { timestamp_ms, ..at };
        match (&mut session, input) {
            (None, Input::Event(event)) => session = Session::begin(&event.check(0).unwrap(), at),
            (None, _) => {}
            (Some(session), Input::Event(event)) => {
                session.apply(&event.check(0).unwrap(), at);
            }
            (Some(session), Lose) => _ = session.lose(at),
            (Some(session), Resume) => _ = session.resume(at),
            (Some(session), Leave) => _ = session.leave(at),
        }
    }
    session.expect("a play among the inputs")
}

fn seconds(segments: &Segments) -> Vec<(f64, f64)> {
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    segments.iter().map(|it| (seconds(it.start_ms()), seconds(it.end_ms()))).collect()
}

#[track_caller]
fn check(inputs: &[(i64, Input)], expected: &[(f64, f64)]) {
    let session = run(inputs);
    assert_eq!(seconds(&session.viewed(Reach::LastEvent).segments), expected);
    // The result is the same before and after a store.
    let stored = session.snapshot(Reach::LastEvent);
    assert_eq!(seconds(&Segments::decode(&stored.segments).unwrap()), expected);
    let loaded = Session::load(&stored).unwrap();
    assert_eq!(seconds(&loaded.viewed(Reach::LastEvent).segments), expected);
}

#[test]
fn a_pause_closes_the_segment_of_a_play() {
    check(&[(0, play(0.0)), (13, pause(12.5))], &[(0.0, 12.5)]);
}

#[test]
fn a_session_begins_with_its_first_play() {
    assert!(
        Session::begin(&PlayerEvent::pause(3.0).check(0).unwrap(), Moment::received(0)).is_none()
    );
    check(
        &[(0, pause(3.0)), (1, on(Action::Seeked)), (2, play(0.0)), (3, pause(1.0))],
        &[(0.0, 1.0)],
    );
}

#[test]
fn a_replay_is_a_segment_of_its_own() {
    check(
        &[(0, play(0.0)), (5, pause(5.0)), (6, play(0.0)), (11, pause(5.0))],
        &[(0.0, 5.0), (0.0, 5.0)],
    );
}

#[test]
fn the_second_pause_changes_nothing() {
    check(&[(0, play(0.0)), (5, pause(5.0)), (9, pause(9.0))], &[(0.0, 5.0)]);
}

#[test]
fn a_play_closes_the_open_segment_at_the_position_of_playback() {
    check(&[(0, play(0.0)), (4, play(60.0)), (6, pause(62.0))], &[(0.0, 4.0), (60.0, 62.0)]);
}

#[test]
fn a_pause_before_its_play_is_empty() {
    check(&[(0, play(10.0)), (4, pause(3.0))], &[]);
}

#[test]
fn positions_past_the_duration_are_cut_to_it() {
    let long = Input::Event(PlayerEvent::pause(1e11).with_duration(60.0));
    check(&[(0, play(50.0)), (9, long)], &[(50.0, 60.0)]);
    let rounded = Input::Event(PlayerEvent::pause(60.9).with_duration(60.0));
    check(&[(0, play(50.0)), (9, rounded)], &[(50.0, 60.9)]);
}

#[test]
fn a_position_past_the_duration_disproves_it() {
    let outside = Input::Event(PlayerEvent::play(70.0).with_duration(60.0));
    check(&[(0, outside.clone()), (9, pause(80.0))], &[(70.0, 80.0)]);
    assert_eq!(run(&[(0, outside), (9, pause(80.0))]).duration_ms(), None);
    // Playback reached that position in the time that passed.
    let safari = |event: PlayerEvent| Input::Event(event.with_duration(47_721.859));
    let live =
        [(0, safari(PlayerEvent::play(47_700.0))), (60, safari(PlayerEvent::pause(47_760.0)))];
    check(&live, &[(47_700.0, 47_760.0)]);
    assert_eq!(run(&live).duration_ms(), None);
    let again = [(70, safari(PlayerEvent::play(47_770.0))), (80, Leave)];
    check(&[&live[..], &again[..]].concat(), &[(47_700.0, 47_760.0), (47_770.0, 47_780.0)]);
}

#[test]
fn positions_without_a_duration_are_cut_to_a_day() {
    check(&[(0, play(0.0)), (9, pause(1e11))], &[(0.0, 86_400.0)]);
}

#[test]
fn a_duration_that_arrives_late_counts() {
    let late = Input::Event(PlayerEvent::new(Action::Playing).with_duration(60.0));
    check(&[(0, play(50.0)), (1, late.clone()), (30, pause(900.0))], &[(50.0, 60.0)]);
    check(&[(0, play(50.0)), (1, late), (30, Leave)], &[(50.0, 60.0)]);
}

//! Tests each rule of a session, as data; then any order of arrival against the order of time.

use super::*;
use crate::PlayerEvent;
use crate::event::Action;
use crate::interval::Interval;
use proptest::prelude::*;

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
fn a_pause_closes_what_a_play_opened() {
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
fn a_play_closes_what_was_open_where_it_must_have_got_to() {
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
fn a_duration_that_is_known_late_counts() {
    let late = Input::Event(PlayerEvent::new(Action::Playing).with_duration(60.0));
    check(&[(0, play(50.0)), (1, late.clone()), (30, pause(900.0))], &[(50.0, 60.0)]);
    check(&[(0, play(50.0)), (1, late), (30, Leave)], &[(50.0, 60.0)]);
}

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
fn a_pause_after_a_lost_connection_says_better() {
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

#[test]
fn waiting_for_data_is_not_watching() {
    let (start, end) = (on(Action::RebufferingStart { from: None }), on(Action::RebufferingEnd));
    check(&[(0, play(0.0)), (4, start.clone()), (10, end.clone()), (12, Lose)], &[(0.0, 6.0)]);
    check(&[(0, play(0.0)), (4, start.clone()), (10, Lose)], &[(0.0, 4.0)]);
    let session = run(&[(0, play(0.0)), (4, start), (10, end), (12, Lose)]);
    let counters = session.viewed(Reach::LastEvent).counters;
    assert_eq!((counters.rebufferings, counters.rebuffering_ms), (1, 6_000));
}

/// The wait and the absence are the same time.
#[test]
fn who_was_away_while_waiting_for_data_loses_no_more_than_the_wait() {
    let (waits, flows) =
        (|| on(Action::RebufferingStart { from: None }), || on(Action::RebufferingEnd));
    check(
        &[(0, play(0.0)), (10, waits()), (12, Lose), (82, Resume), (83, flows()), (90, Leave)],
        &[(0.0, 17.0)],
    );
    check(&[(0, play(0.0)), (10, waits()), (12, Lose), (82, Resume), (83, Leave)], &[(0.0, 10.0)]);
}

/// Two clocks that cannot be compared must not make a wait longer than the segment.
#[test]
fn a_wait_that_began_before_a_segment_counts_from_its_start() {
    let at = |second: f64, event: PlayerEvent| event.with_timestamp((1_000.0 * second) as i64);
    let plays = Input::Event(at(10.0, PlayerEvent::play(30.0)));
    check(
        &[
            (0, play(0.0)),
            (4, pause(4.0)),
            (5, on(Action::RebufferingStart { from: None })),
            (10, plays),
            (11, on(Action::RebufferingEnd)),
            (20, Leave),
        ],
        &[(0.0, 4.0), (30.0, 39.0)],
    );
}

#[test]
fn everything_else_is_counted() {
    let session = run(&[
        (0, play(0.0)),
        (1, on(Action::Playing)),
        (2, on(Action::Playing)),
        (3, on(Action::PlaybackFailure)),
        (4, on(Action::Seeked)),
        (5, on(Action::FullscreenEnter)),
        (6, on(Action::FullscreenExit)),
        (7, on(Action::TrackSet { language: Some("nl".to_owned()) })),
        (8, on(Action::SourceSet(Rendition { height: Some(720), ..Rendition::default() }))),
        (9, on(Action::Other { name: "volumechange".to_owned() })),
    ]);
    let counters = session.viewed(Reach::LastEvent).counters;
    let details = &counters.details;
    assert_eq!((counters.startup_ms, counters.failures), (Some(1_000), 1));
    assert_eq!((details.seeks, details.fullscreens, details.tracks), (1, 1, 1));
    assert_eq!((details.renditions, details.others), (1, 1));
    assert_eq!(details.language.as_deref(), Some("nl"));
    assert_eq!(details.rendition.as_ref().and_then(|it| it.height), Some(720));
    assert_eq!(
        Session::load(&session.snapshot(Reach::LastEvent))
            .unwrap()
            .viewed(Reach::LastEvent)
            .counters,
        counters
    );
}

#[test]
fn an_open_segment_runs_while_its_viewer_is_connected() {
    let session = run(&[(0, play(10.0))]);
    assert!(session.viewed(Reach::LastEvent).segments.is_empty());
    let viewed = session.viewed(Reach::Until(Moment::received(START_MS + 15_000)));
    assert_eq!(seconds(&viewed.segments), [(10.0, 25.0)]);
    assert!(viewed.playing);
}

#[test]
fn a_stored_open_segment_goes_on_where_it_was() {
    let stored =
        run(&[(0, play(10.0))]).snapshot(Reach::Until(Moment::received(START_MS + 15_000)));
    assert_eq!(stored.view_ms, 15_000);
    let mut session = Session::load(&stored).unwrap();
    assert!(!session.viewing());
    assert!(session.resume(Moment::received(START_MS + 20_000)));
    assert!(session.viewing());
    session.apply(&PlayerEvent::pause(40.0).check(0).unwrap(), Moment::received(START_MS + 30_000));
    assert_eq!(seconds(&session.viewed(Reach::LastEvent).segments), [(10.0, 40.0)]);
}

#[test]
fn what_a_store_kept_must_be_sound() {
    let stored =
        run(&[(0, play(10.0))]).snapshot(Reach::Until(Moment::received(START_MS + 15_000)));
    for len in 0..stored.resume.len() - 1 {
        let cut = Stored { resume: stored.resume[..len].to_vec(), ..stored.clone() };
        assert!(Session::load(&cut).is_err(), "{len} bytes");
    }
    let newer = Stored { resume: vec![9, 0, 0, 0], ..stored.clone() };
    assert!(Session::load(&newer).is_err());
    let other = Stored { segments: Vec::new(), ..stored };
    assert!(Session::load(&other).is_err());
}

#[test]
fn a_session_that_was_finished_elsewhere_is_over() {
    let segments = [(0, 4_000), (2_000, 6_000)].map(|(from, to)| Interval::new(from, to).unwrap());
    let stored =
        Stored::finished(START_MS, START_MS + 9_000, Some(60_000), &segments.into_iter().collect());
    assert_eq!((stored.view_ms, stored.unique_ms), (8_000, 6_000));
    let mut session = Session::load(&stored).unwrap();
    assert!(!session.resume(Moment::received(START_MS + 10_000)));
    assert_eq!(session.snapshot(Reach::Until(Moment::received(START_MS + 3_600_000))), stored);
}

/// One event of a player with a clock: its action, and its time by that clock.
fn told() -> impl Strategy<Value = (bool, u32, i64)> {
    (any::<bool>(), 0_u32..100, 1_i64..20)
}

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
fn what_was_watched_past_the_end_is_cut_and_not_clamped() {
    check_clamped(3_590.0, 1e11, 10_000, &[(3_590.0, 3_600.0)], 0);
}

/// A moment by a server whose time of day is `step_ms` off.
fn stepped(second: i64, step_ms: i64) -> Moment {
    let steady_ms = Some(7_000 + 1_000 * second);
    Moment { steady_ms, ..Moment::received(START_MS + 1_000 * second + step_ms) }
}

#[test]
fn a_time_of_day_that_steps_changes_no_figure() {
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

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        told in prop::collection::vec(told(), 1..12),
        shuffle in any::<prop::sample::Index>(),
        swaps in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..12),
        again in any::<prop::sample::Index>(),
    ) {
        let mut clock_ms = 0;
        let mut events = vec![PlayerEvent::play(0.0).with_timestamp(0)];
        for (plays, second, pass) in told {
            clock_ms += 1_000 * pass;
            let seconds = f64::from(second);
            let event = if plays { PlayerEvent::play(seconds) } else { PlayerEvent::pause(seconds) };
            events.push(event.with_timestamp(clock_ms));
        }
        let apply = |events: &[PlayerEvent]| {
            let at = |event: &PlayerEvent| Moment {
                timestamp_ms: event.timestamp_ms,
                ..Moment::received(START_MS)
            };
            let (first, rest) = events.split_first().unwrap();
            let mut session = Session::begin(&first.check(0).unwrap(), at(first)).unwrap();
            for event in rest {
                session.apply(&event.check(0).unwrap(), at(event));
            }
            session.viewed(Reach::LastEvent)
        };
        let expected = apply(&events);

        let mut shuffled = events.clone();
        let rest = &mut shuffled[1..];
        for (a, b) in swaps {
            rest.swap(a.index(rest.len()), b.index(rest.len()));
        }
        shuffled.insert(1 + shuffle.index(events.len()), events[again.index(events.len())].clone());

        prop_assert_eq!(apply(&shuffled), expected);
    }

    #[test]
    fn no_events_make_an_absurd_figure(
        inputs in prop::collection::vec((0_i64..200, 0_u8..8, 0.0_f64..1e12, any::<bool>()), 0..60),
    ) {
        let inputs: Vec<_> = inputs
            .into_iter()
            .map(|(second, kind, seconds, stamped)| {
                let mut event = match kind {
                    0 | 1 => PlayerEvent::play(seconds % 90.0),
                    2 => PlayerEvent::pause(seconds % 90.0),
                    3 => PlayerEvent::pause(seconds).with_duration(60.0),
                    4 => PlayerEvent::new(Action::RebufferingStart { from: None }),
                    5 => PlayerEvent::new(Action::RebufferingEnd),
                    6 => return (second, Lose),
                    _ => return (second, Resume),
                };
                event.timestamp_ms = stamped.then_some(second * 997 % 1_000);
                (second, Input::Event(event))
            })
            .collect();
        let mut all = vec![(0, play(0.0))];
        all.extend(inputs);
        let session = run(&all);
        let stored = session.snapshot(Reach::Until(Moment::received(START_MS + 300_000)));
        prop_assert!(stored.unique_ms <= stored.view_ms);
        prop_assert!(stored.unique_ms <= u64::from(crate::event::POSITION_MS_MAX));
        let loaded = Session::load(&stored).unwrap();
        let again = loaded.snapshot(Reach::LastEvent);
        prop_assert_eq!(again.segments, stored.segments);
        prop_assert_eq!(again.counters, stored.counters);
    }
}

/// An action of a viewer.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Play {
        percent: u32,
    },
    Pause,
    Lose,
    Resume,
    Leave,
    /// The session is stored, and loaded by another server.
    Reload,
}

/// The seconds in which a viewer played, measured by a stop watch.
#[derive(Debug, Default)]
struct StopWatch {
    stretches: Vec<(i64, i64)>,
    // The start of playback, the position at the start, and the end of the video.
    open: Option<(i64, i64, i64)>,
    lost: Option<i64>,
}

impl StopWatch {
    /// Plays until `now`, until the connection was lost or until the video ended, and returns the position there.
    fn stop(&mut self, now: i64) -> Option<i64> {
        let (since, from, to) = self.open.take()?;
        let until = self.lost.take().unwrap_or(now).min(since + to - from);
        self.stretches.push((since, until));
        Some(from + until - since)
    }

    fn resume(&mut self, now: i64) {
        let Some(lost) = self.lost.take() else { return };
        if let Some((since, from, to)) = self.open.filter(|_| 60 < now - lost) {
            let until = lost.min(since + to - from);
            self.stretches.push((since, until));
            self.open = Some((now, from + until - since, to));
        }
    }

    fn minutes(&self) -> Vec<i64> {
        let at = |second: i64| START_MS + 1_000 * second;
        let (first, last) = (START_MS / MINUTE_MS, START_MS / MINUTE_MS + 2_000);
        let is_in = |minute: &i64| {
            let at_ms = minute * MINUTE_MS;
            self.stretches.iter().any(|(from, until)| (at(*from)..at(*until)).contains(&at_ms))
        };
        (first..last).filter(is_in).collect()
    }
}

/// Applies one action to a session and to the stop watch.
fn happens(session: &mut Session, watch: &mut StopWatch, deed: Deed, now: i64, duration: u32) {
    let at = Moment::received(START_MS + 1_000 * now);
    let seconds = f64::from(duration);
    match deed {
        Deed::Play { percent } => {
            watch.stop(now);
            let from = duration * percent / 100;
            watch.open = Some((now, from.into(), duration.into()));
            let play = PlayerEvent::play(f64::from(from)).with_duration(seconds);
            session.apply(&play.check(0).unwrap(), at);
        }
        // A disconnected player cannot report.
        Deed::Pause if watch.lost.is_none() => {
            let Some(to) = watch.stop(now) else { return };
            let pause = PlayerEvent::pause(to as f64).with_duration(seconds);
            session.apply(&pause.check(0).unwrap(), at);
        }
        Deed::Lose => {
            watch.lost = watch.lost.or(watch.open.map(|_| now));
            session.lose(at);
        }
        Deed::Resume => {
            watch.resume(now);
            session.resume(at);
        }
        Deed::Leave => {
            watch.stop(now);
            session.leave(at);
        }
        Deed::Reload => {
            watch.lost = watch.lost.or(watch.open.map(|_| now));
            *session = Session::load(&session.snapshot(Reach::Until(at))).unwrap();
        }
        Deed::Pause => {}
    }
}

fn deed() -> impl Strategy<Value = (Deed, i64)> {
    let deeds = prop_oneof![
        3 => (0_u32..100).prop_map(|percent| Deed::Play { percent }),
        2 => Just(Deed::Pause),
        2 => Just(Deed::Lose),
        2 => Just(Deed::Resume),
        1 => Just(Deed::Leave),
        1 => Just(Deed::Reload),
    ];
    (deeds, prop_oneof![0_i64..70, 0_i64..400, 0_i64..5_000])
}

proptest! {
    #[test]
    fn minutes_are_those_of_a_stop_watch(
        deeds in prop::collection::vec(deed(), 0..20),
        duration in prop_oneof![30_u32..300, 300_u32..8_000],
        rest in 0_i64..400,
    ) {
        let mut watch = StopWatch { open: Some((0, 0, duration.into())), ..StopWatch::default() };
        let play = PlayerEvent::play(0.0).with_duration(duration.into());
        let mut session = Session::begin(&play.check(0).unwrap(), Moment::received(START_MS)).unwrap();
        let mut now = 0;
        for (deed, after) in deeds {
            now += after;
            happens(&mut session, &mut watch, deed, now, duration);
        }
        now += rest;
        watch.stop(now);
        let viewed = session.viewed(Reach::Until(Moment::received(START_MS + 1_000 * now)));
        let day_later = START_MS / MINUTE_MS + 1 + i64::from(SPAN_MINUTES);
        let expected: Vec<_> = watch.minutes().into_iter().filter(|it| *it < day_later).collect();
        prop_assert_eq!(viewed.minutes.iter(START_MS).collect::<Vec<_>>(), expected);
    }
}

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
fn minutes_of_what_was_sent_late_follow_the_clock_of_the_player() {
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

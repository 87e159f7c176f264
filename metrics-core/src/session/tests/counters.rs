//! Waits for data, and the events that are counted.

use super::*;

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
fn a_viewer_who_disconnects_during_a_wait_loses_no_more_than_the_wait() {
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

//! Open segments, and sessions that a store kept.

use super::*;
use crate::interval::Interval;

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
fn stored_metadata_must_be_valid() {
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

//! Tests each rule for old rows, as data; then compares random events with the recorder's session.

use proptest::prelude::*;
use serde_json::json;

use super::convert::{InvalidJson, Page, object, page_of_uri, session_id};
use super::left_out::{LeftOut, Reason, Tally};
use super::watched::{Line, Watched};
use crate::containment::DEPTH_MAX;
use crate::event::POSITION_MS_MAX;
use crate::interval::Segments;
use crate::key::ApiKey;
use crate::session::{Moment, Reach, SEGMENTS_MAX, Session};
use crate::{PlayerEvent, Source};

const START_MS: i64 = 1_700_000_000_000;

/// An event at a second, at a position.
fn event(second: f64, kind: &str, position: &str) -> Line {
    Line {
        at_ms: Some(START_MS as f64 + 1_000.0 * second),
        kind: Some(kind.to_owned()),
        from: Some(position.to_owned()),
        ..Line::default()
    }
}

fn play(second: f64, position: f64) -> Line {
    event(second, "play", &position.to_string())
}

fn pause(second: f64, position: f64) -> Line {
    event(second, "pause", &position.to_string())
}

/// A row of `plays`, or of `durations`.
fn segment(from: &str, to: &str) -> Line {
    Line { from: Some(from.to_owned()), to: Some(to.to_owned()), ..Line::default() }
}

fn counted(kind: &str, from: u32, to: u32) -> Line {
    Line { kind: Some(kind.to_owned()), ..segment(&from.to_string(), &to.to_string()) }
}

fn seconds(watched: &Watched) -> Vec<(f64, f64)> {
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    watched.segments.iter().map(|it| (seconds(it.start_ms()), seconds(it.end_ms()))).collect()
}

#[track_caller]
fn check_events(events: &[Line], expected: &[(f64, f64)]) {
    assert_eq!(seconds(&Watched::of(&[], events, &[])), expected);
}

#[track_caller]
fn check_durations(durations: &[Line], expected: &[(f64, f64)]) {
    assert_eq!(seconds(&Watched::of(&[], &[], durations)), expected);
}

#[test]
fn a_play_and_the_pause_after_it_are_a_segment() {
    check_events(&[play(0.0, 0.0), pause(10.0, 10.0004)], &[(0.0, 10.0)]);
    check_events(
        &[play(0.0, 5.0), pause(9.0, 12.5), play(20.0, 0.0), pause(30.0, 8.0006)],
        &[(0.0, 8.001), (5.0, 12.5)],
    );
}

#[test]
fn another_play_closes_a_segment_at_the_position_of_playback() {
    check_events(
        &[play(0.0, 5.0), play(7.0, 60.0), pause(8.0, 61.0)],
        &[(5.0, 12.0), (60.0, 61.0)],
    );
}

#[test]
fn a_play_that_was_never_closed_counts_nothing() {
    let watched = Watched::of(&[], &[play(0.0, 5.0)], &[]);
    assert_eq!((watched.played, watched.segments.len(), watched.invalid_segments), (true, 0, 0));
    check_events(&[play(0.0, 0.0), pause(3.0, 3.0), play(9.0, 5.0)], &[(0.0, 3.0)]);
}

#[test]
fn a_pause_without_a_play_is_nothing() {
    check_events(&[pause(0.0, 5.0)], &[]);
    assert!(!Watched::of(&[], &[pause(0.0, 5.0)], &[]).played);
    check_events(
        &[play(0.0, 0.0), pause(3.0, 3.0), pause(9.0, 9.0), play(10.0, 1.0), pause(11.0, 2.0)],
        &[(0.0, 3.0), (1.0, 2.0)],
    );
}

#[test]
fn events_at_one_time_take_turns() {
    // In any order of the rows, a seek is a pause and then a play.
    let seek = [pause(10.0, 10.0), play(10.0, 30.0)];
    for (one, other) in [(0, 1), (1, 0)] {
        let events = [play(0.0, 0.0), seek[one].clone(), seek[other].clone(), pause(15.0, 35.0)];
        check_events(&events, &[(0.0, 10.0), (30.0, 35.0)]);
        let events = [seek[one].clone(), seek[other].clone()];
        check_events(&events, &[]);
    }
    check_events(&[pause(0.0, 0.4), play(0.0, 0.0)], &[(0.0, 0.4)]);
}

#[test]
fn events_at_one_time_that_are_numbered_keep_their_order() {
    let numbered = |order_id, line: Line| Line { order_id, ..line };
    let events = [
        numbered(1, pause(0.0, 9.0)),
        numbered(2, play(0.0, 0.0)),
        numbered(3, play(0.0, 4.0)),
        numbered(4, pause(0.0, 6.0)),
    ];
    check_events(&events, &[(4.0, 6.0)]);
}

#[test]
fn events_without_a_time_are_paired_without_a_distance() {
    let untimed = |line: Line, order_id| Line { at_ms: None, order_id, ..line };
    let events =
        [untimed(play(0.0, 0.0), 1), untimed(play(0.0, 30.0), 2), untimed(pause(0.0, 40.0), 3)];
    check_events(&events, &[(30.0, 40.0)]);
}

#[test]
fn invalid_rows_are_counted_and_the_rest_is_imported() {
    let plays = [
        segment("0", "4.5"),
        segment("-1", "4"),
        segment("NaN", "4"),
        segment("4", "Infinity"),
        segment("9", "8"),
        segment("soon", "later"),
        segment("86400", "86500"),
        Line { to: Some("4".to_owned()), ..Line::default() },
        // Both are valid: an empty segment, and a play that was never closed.
        segment("7", "7"),
        Line { from: Some("7".to_owned()), ..Line::default() },
    ];
    let watched = Watched::of(&plays, &[], &[]);
    assert_eq!((seconds(&watched), watched.invalid_segments), (vec![(0.0, 4.5)], 7));

    let events = [
        play(0.0, -1.0),
        pause(2.0, 2.0),
        play(3.0, 5.0),
        event(4.0, "pause", "NaN"),
        pause(5.0, 4.0),
        play(6.0, 1.0),
        pause(7.0, 2.0),
    ];
    let watched = Watched::of(&[], &events, &[]);
    assert_eq!((seconds(&watched), watched.invalid_segments), (vec![(1.0, 2.0)], 3));
}

#[test]
fn a_segment_is_cut_after_a_day() {
    let day = f64::from(POSITION_MS_MAX) / 1_000.0;
    check_durations(&[segment("86390", "86500")], &[(day - 10.0, day)]);
    check_events(&[play(0.0, 0.0), play(2.0 * day, 0.0)], &[(0.0, day)]);
}

#[test]
fn durations_are_whole_seconds() {
    check_durations(&[segment("0", "10"), segment("5", "15")], &[(0.0, 10.0), (5.0, 15.0)]);
    let empty = Watched::of(&[], &[], &[Line::default()]);
    assert!(empty.played);
    assert_eq!((empty.segments.len(), empty.invalid_segments), (0, 0));
    // A range without an end.
    let endless = Line { from: Some("5".to_owned()), ..Line::default() };
    assert_eq!(Watched::of(&[], &[], &[endless]).invalid_segments, 1);
}

#[test]
fn two_accounts_of_one_viewing_count_once() {
    let (all, once) = (["all", "all"], ["once"]);
    let replayed = [counted(all[0], 0, 10), counted(all[1], 5, 15), counted(once[0], 0, 15)];
    check_durations(&replayed, &[(0.0, 10.0), (5.0, 15.0)]);
    check_durations(&[counted("all", 0, 10), counted("once", 0, 10)], &[(0.0, 10.0)]);
}

#[test]
fn kinds_of_durations_that_cover_different_seconds_all_count() {
    let parts = [counted("new", 0, 10), counted("again", 5, 10), counted("new", 10, 12)];
    check_durations(&parts, &[(0.0, 10.0), (5.0, 10.0), (10.0, 12.0)]);
}

#[test]
fn the_most_exact_table_decides() {
    let plays = [segment("0", "1.5")];
    let events = [play(0.0, 0.0), pause(2.0, 2.5)];
    let durations = [segment("0", "3"), segment("3", "4")];
    let check = |plays: &[Line], events: &[Line], expected: &[(f64, f64)]| {
        assert_eq!(seconds(&Watched::of(plays, events, &durations)), expected);
    };
    check(&plays, &events, &[(0.0, 1.5)]);
    check(&[], &events, &[(0.0, 2.5)]);
    check(&[], &[], &[(0.0, 3.0), (3.0, 4.0)]);
    // A table without segments is not used.
    check(&[segment("2", "1")], &events[..1], &[(0.0, 3.0), (3.0, 4.0)]);
}

#[test]
fn durations_decide_where_a_play_was_never_closed() {
    let events = [play(0.0, 0.2), pause(2.0, 2.2), play(9.0, 20.0)];
    let check = |durations: &[Line], expected: &[(f64, f64)]| {
        assert_eq!(seconds(&Watched::of(&[], &events, durations)), expected);
    };
    check(&[segment("0", "2"), segment("20", "25")], &[(0.0, 2.0), (20.0, 25.0)]);
    check(&[segment("0", "2")], &[(0.2, 2.2)]);
    check(&[], &[(0.2, 2.2)]);
}

#[test]
fn of_too_many_segments_the_first_are_taken() {
    let plays = vec![segment("0", "1"); SEGMENTS_MAX + 3];
    let watched = Watched::of(&plays, &[], &[]);
    assert_eq!((watched.segments.len(), watched.too_many), (SEGMENTS_MAX, 3));
}

/// Random plays and pauses, 1 ms to 20 s apart.
fn events() -> impl Strategy<Value = Vec<Line>> {
    let event = (any::<bool>(), 0_u32..120_000, 1_u32..20_000);
    prop::collection::vec(event, 0..40).prop_map(|events| {
        let mut at_ms = START_MS;
        let line = |(is_play, position_ms, later_ms)| {
            at_ms += i64::from(later_ms);
            let kind = if is_play { "play" } else { "pause" };
            let position = f64::from(position_ms) / 1_000.0;
            Line { at_ms: Some(at_ms as f64), ..event_at(kind, position) }
        };
        events.into_iter().map(line).collect()
    })
}

fn event_at(kind: &str, position: f64) -> Line {
    event(0.0, kind, &position.to_string())
}

/// The segments that the recorder would compute from the events.
fn live(events: &[Line]) -> Option<Segments> {
    let mut session: Option<Session> = None;
    for line in events {
        let position = line.from.as_ref().unwrap().parse().unwrap();
        let event =
            if line.is_play() { PlayerEvent::play(position) } else { PlayerEvent::pause(position) };
        let (event, at) = (event.check(0).unwrap(), Moment::received(line.instant_ms().unwrap()));
        match &mut session {
            Some(session) => _ = session.apply(&event, at),
            None => session = Session::begin(&event, at),
        }
    }
    session.map(|session| session.viewed(Reach::LastEvent).segments)
}

proptest! {
    #[test]
    fn events_result_in_the_same_session_as_a_recorded_one(events in events()) {
        let watched = Watched::of(&[], &events, &[]);
        let live = live(&events);
        prop_assert_eq!(watched.played, live.is_some());
        prop_assert_eq!(Segments::from_iter(watched.segments), live.unwrap_or_default());
    }

    #[test]
    fn no_rows_make_an_implausible_number(
        rows in prop::collection::vec(
            (any::<Option<f64>>(), "play|pause|\\PC*", ".*|[0-9]{1,6}", ".*|[0-9]{1,6}"), 0..20,
        ),
    ) {
        let line = |(at_ms, kind, from, to)| {
            Line { at_ms, order_id: 0, kind: Some(kind), from: Some(from), to: Some(to) }
        };
        let lines: Vec<_> = rows.into_iter().map(line).collect();
        for tables in [[&lines[..], &[], &[]], [&[], &lines, &[]], [&[], &[], &lines]] {
            let watched = Watched::of(tables[0], tables[1], tables[2]);
            let lost = watched.invalid_segments + watched.too_many;
            prop_assert!(watched.segments.len() as u64 + lost <= lines.len() as u64);
            prop_assert!(watched.segments.iter().all(|it| it.end_ms() <= POSITION_MS_MAX));
        }
    }
}

#[track_caller]
fn check_uri(uri: &serde_json::Value, expected: &str) {
    let page = Source::parse(expected).map_or(Page::Invalid, Page::Known);
    assert_eq!(page_of_uri(Some(&uri.to_string())), page, "{uri}");
}

#[test]
fn a_page_is_put_together_from_its_parts() {
    check_uri(
        &json!({"scheme": "http", "host": "example.com", "port": 8080, "path": "/a", "query": "b",
                "fragment": "c", "userinfo": "me:secret"}),
        "http://example.com:8080/a",
    );
    check_uri(&json!({"scheme": "https", "host": "a.test", "port": 443}), "https://a.test/");
    check_uri(&json!({"scheme": null, "host": "a.test", "path": "b"}), "https://a.test/b");
    check_uri(&json!({"host": "a.test", "port": "81", "path": null}), "https://a.test:81/");
    check_uri(&json!({"host": "::1", "path": "/a"}), "https://[::1]/a");
    check_uri(&json!({"host": "a b"}), "");
    check_uri(&json!("https://a.test"), "");
    for nothing in [json!(null), json!({}), json!({"host": null}), json!({"host": ""})] {
        assert_eq!(page_of_uri(Some(&nothing.to_string())), Page::Unknown, "{nothing}");
    }
    assert_eq!(page_of_uri(None), Page::Unknown);
}

#[test]
fn metadata_are_an_object_or_nothing() {
    assert_eq!(object(None), Ok(None));
    assert_eq!(object(Some("null")), Ok(None));
    assert_eq!(object(Some(r#"{"a": 1}"#)), Ok(json!({"a": 1}).as_object().cloned()));
    let large = json!({"a": "x".repeat(crate::video::METADATA_BYTES_MAX)}).to_string();
    let deep = |depth| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(object(Some(&deep(DEPTH_MAX))).is_ok());
    let nul = r#"{"a": ["\u0000"]}"#;
    for is_invalid in ["[1]", "\"a\"", "7", "", "{", nul, &large, &deep(DEPTH_MAX + 1), &deep(200)]
    {
        assert_eq!(object(Some(is_invalid)), Err(InvalidJson), "{is_invalid}");
    }
}

#[test]
fn an_old_session_has_one_id_for_ever() {
    let (one, two) = (ApiKey::new("one").unwrap(), ApiKey::new("two").unwrap());
    assert_ne!(session_id(&one, 1), session_id(&two, 1));
    assert_ne!(session_id(&one, 1), session_id(&one, 11));
    // Ids are stored, so they must never change.
    assert_eq!(format!("{:?}", session_id(&one, 1)), "8cabe02fde74b8f153ddd4b4b7220749");
}

#[test]
fn omitted_rows_are_reported_with_a_few_examples() {
    let mut tally = Tally::default();
    [7, 7, 9, 1, 2, 3, 4].into_iter().for_each(|id| tally.one(Reason::UnnamedVideo, id));
    tally.one(Reason::NoSession, None);
    tally.many(Reason::TooManySegments, 12, 5);
    tally.many(Reason::InvalidSegment, 0, 5);
    let lines: Vec<_> = tally.finish().iter().map(LeftOut::to_string).collect();
    assert_eq!(
        lines,
        [
            "sessions of a video that has neither an identifier nor metadata: 7 (videos.id 7, 9, 1, 2, 3)",
            "plays, events and durations of sessions that do not exist: 1",
            "segments of sessions that have more than 10000: 12 (sessions.id 5)",
        ]
    );
}

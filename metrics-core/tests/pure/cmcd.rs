//! Sessions of CMCD records: what players sent, and any records against a stopwatch.

use metrics_core::ApiKey;
use metrics_core::cmcd::{Format, Kind, Record, State, records};
use metrics_core::session::{Moment, Reach, Session, Viewed};
use proptest::prelude::*;

const HLS: &str = include_str!("../../src/cmcd/captures/hls.txt");
const DASH: &str = include_str!("../../src/cmcd/captures/dash.txt");
const SHAKA: &str = include_str!("../../src/cmcd/captures/shaka.txt");
const HLS_POSITIONS: &str = include_str!("../../src/cmcd/captures/hls-positions.txt");

const START_MS: i64 = 1_795_922_000_000;

fn read(lines: &str) -> Vec<Record> {
    let records = records(lines.as_bytes(), Format::Lines).unwrap();
    records.into_iter().map(Result::unwrap).collect()
}

/// Records of one session, each like `sta=p,ts=1500`.
fn session_of(lines: &[&str]) -> Vec<Record> {
    let lines = lines.iter().enumerate();
    let lines = lines.map(|(sn, keys)| {
        let e = if keys.contains("e=") { "" } else { "e=ps," };
        format!("{e}sid=a,sn={sn},{keys}\n")
    });
    read(&lines.collect::<String>())
}

/// The session of records that arrive in this order. As in a recorder, events before the first one of the session wait.
fn run(records: &[Record]) -> Option<Session> {
    let salt = ApiKey::new("site").unwrap().salt("a");
    let (mut session, mut early) = (None::<Session>, Vec::new());
    for event in records.iter().filter_map(Record::event) {
        let timestamp_ms = event.timestamp_ms;
        let event = event.check(salt).unwrap();
        let at = Moment { timestamp_ms, ..Moment::received(START_MS) };
        match &mut session {
            Some(session) => _ = session.apply(&event, at),
            None => {
                session = Session::begin(&event, at);
                match &mut session {
                    Some(session) => early.drain(..).for_each(|(event, at)| {
                        session.apply(&event, at);
                    }),
                    None => early.push((event, at)),
                }
            }
        }
    }
    session
}

fn fold(records: &[Record]) -> Viewed {
    run(records).expect("a state that begins a session").viewed(Reach::LastEvent)
}

/// Records twice each, from the last to the first, and every third one first.
fn shuffled(records: &[Record]) -> Vec<Record> {
    let twice = records.iter().rev().chain(records);
    let (thirds, others): (Vec<_>, _) = twice.cloned().partition(|it| it.sequence % 3 == 0);
    [thirds, others].concat()
}

#[track_caller]
fn check_capture(capture: &str, state_ms: u64, view_ms: u64, startup_ms: u32) {
    let records = read(capture);
    let viewed = fold(&records);
    assert_eq!(viewed.view_ms(), view_ms);
    assert!(viewed.segments.is_empty() && !viewed.playing);
    assert_eq!(viewed.counters.details.unplaced_ms, view_ms);
    assert_eq!(viewed.counters.startup_ms, Some(startup_ms));
    assert_eq!((viewed.counters.rebufferings, viewed.counters.rebuffering_ms), (0, 0));
    assert_eq!((viewed.counters.failures, viewed.counters.details.seeks), (0, 2));
    assert_eq!(fold(&shuffled(&records)), viewed);
    // Without its rate, a second in the state is a second.
    let plain = records.into_iter().map(|mut record| {
        record.rate = Some(1.0);
        record
    });
    let plain: Vec<_> = plain.collect();
    assert_eq!(fold(&plain).view_ms(), state_ms);
}

#[test]
fn a_viewing_by_hls_js_is_counted() {
    check_capture(HLS, 8_062, 10_617, 563);
}

#[test]
fn a_viewing_by_dash_js_is_counted() {
    // It tells its rate with the report after the change.
    check_capture(DASH, 7_921, 8_742, 184);
}

#[test]
fn a_viewing_by_shaka_is_counted() {
    // It never tells the rate, and measures the startup time itself.
    check_capture(SHAKA, 7_905, 7_905, 174);
}

#[test]
fn renditions_are_counted() {
    let details = fold(&read(HLS)).counters.details;
    assert_eq!((details.renditions, details.rendition.unwrap().bitrate), (1, Some(300_000)));
    assert_eq!(fold(&read(DASH)).counters.details.renditions, 0);
}

#[test]
fn positions_give_places() {
    let records = read(HLS_POSITIONS);
    let viewed = fold(&records);
    let segments: Vec<_> = viewed.segments.iter().map(|it| (it.start_ms(), it.end_ms())).collect();
    assert_eq!(segments, [(124, 3_088), (3_088, 3_366), (15_004, 19_623), (22_500, 24_033)]);
    assert_eq!(viewed.counters.details.unplaced_ms, 0);
    assert_eq!(viewed.counters.startup_ms, Some(285));
    assert_eq!(fold(&shuffled(&records)), viewed);
}

#[test]
fn the_first_position_gives_a_place_to_what_was_played_before() {
    let viewed = fold(&session_of(&[
        "sta=p,ts=1000",
        "e=pr,sta=p,pr=2,ts=2000",
        "e=t,sta=p,pr=2,ts=3000,pt=13000",
        "sta=a,ts=4000",
    ]));
    let segments: Vec<_> = viewed.segments.iter().map(|it| (it.start_ms(), it.end_ms())).collect();
    assert_eq!((segments, viewed.counters.details.unplaced_ms), (vec![(10_000, 15_000)], 0));
}

#[test]
fn a_position_that_playback_cannot_have_reached_is_a_jump() {
    let viewed = fold(&session_of(&[
        "sta=p,ts=1000,pt=5000",
        "e=t,sta=p,ts=2000,pt=60000",
        "sta=a,ts=3000,pt=61000",
    ]));
    let segments: Vec<_> = viewed.segments.iter().map(|it| (it.start_ms(), it.end_ms())).collect();
    assert_eq!(segments, [(5_000, 6_000), (60_000, 61_000)]);
}

/// View time, rebufferings and their time, waits of seeks, failures.
#[track_caller]
fn check(lines: &[&str], expected: (u64, (u32, u64), u32, u32)) {
    let viewed = fold(&session_of(lines));
    let counters = &viewed.counters;
    let rebuffering = (counters.rebufferings, counters.rebuffering_ms);
    let found = (viewed.view_ms(), rebuffering, counters.details.seek_waits, counters.failures);
    assert_eq!(found, expected, "{lines:?}");
}

#[test]
fn waits_count_in_playback_and_within_jumps() {
    let play = "sta=p,ts=1000";
    check(&[play, "sta=r,ts=2000", "sta=p,ts=2500", "sta=a,ts=3000"], (1_500, (1, 500), 0, 0));
    check(&[play, "sta=r,ts=2000", "sta=a,ts=2500"], (1_000, (1, 500), 0, 0));
    check(&[play, "sta=k,ts=2000", "sta=r,ts=2001", "sta=p,ts=2500"], (1_000, (0, 0), 1, 0));
    let shaka = [play, "sta=k,ts=2000", "sta=r,ts=2001", "sta=p,ts=2500", "sta=r,ts=2502"];
    check(&shaka, (1_002, (0, 0), 2, 0));
    // Before the first frame it is the startup.
    check(&["sta=s,ts=1", "sta=r,ts=2", "sta=p,ts=500", "sta=a,ts=600"], (100, (0, 0), 0, 0));
    check(&[play, "sta=a,ts=1100", "sta=r,ts=1200", "sta=a,ts=1300"], (100, (0, 0), 0, 0));
}

#[test]
fn errors_until_the_player_plays_again_are_one_failure() {
    check(&["sta=p,ts=1", "e=e,ec=(\"404\"),sta=p,ts=5", "sta=f,ts=6"], (5, (0, 0), 0, 1));
    let again = ["sta=p,ts=1", "sta=f,ts=5", "e=t,sta=f,ts=6", "sta=p,ts=7", "e=e,sta=p,ts=9"];
    check(&again, (6, (0, 0), 0, 2));
    check(&["sta=s,ts=1", "e=e,ts=5"], (0, (0, 0), 0, 1));
}

#[test]
fn advertisements_are_no_part_of_the_video() {
    check(
        &["sta=p,ts=1", "e=as,ts=11", "sta=p,ts=12", "e=ae,sta=p,ts=111", "sta=e,ts=121"],
        (20, (0, 0), 0, 0),
    );
    let breaks = ["e=abs,sta=s,ts=1", "e=as,sta=p,ts=2", "e=ae,ts=9", "e=abe,ts=9", "sta=p,ts=10"];
    check(&[&breaks[..], &["sta=q,ts=15"]].concat(), (5, (0, 0), 0, 0));
}

#[test]
fn a_state_is_told_again_if_its_report_is_lost() {
    check(&["e=t,sta=p,ts=1000", "e=t,sta=p,ts=2000", "e=t,sta=a,ts=3000"], (2_000, (0, 0), 0, 0));
    // Playback is known until the last report.
    check(&["sta=p,ts=1000", "e=t,sta=p,ts=31000"], (30_000, (0, 0), 0, 0));
}

#[test]
fn the_state_of_a_response_is_older_than_the_report() {
    check(&["sta=p,ts=1000", "sta=a,ts=2000", "e=rr,sta=p,ts=2001"], (1_000, (0, 0), 0, 0));
}

#[test]
fn a_record_that_tells_nothing_is_no_event() {
    for keys in ["e=t,ts=1", "e=rr,sta=p,ts=1", "e=um,ts=1", "e=ps,ts=1", "e=ce,cen=x,ts=1"] {
        assert_eq!(session_of(&[keys])[0].event(), None, "{keys}");
    }
    assert!(run(&session_of(&["sta=d,ts=1", "sta=a,ts=2", "e=pr,pr=2,ts=3"])).is_none());
    assert!(run(&session_of(&["sta=s,ts=1"])).is_some());
}

#[test]
fn a_session_goes_on_after_a_restart() {
    let records = read(HLS);
    let expected = fold(&records);
    for restart in 1..records.len() {
        let Some(session) = run(&records[..restart]) else { continue };
        let stored = session.snapshot(Reach::LastEvent);
        let mut loaded = Session::load(&stored).unwrap();
        let salt = ApiKey::new("site").unwrap().salt("a");
        for event in records[restart - 1..].iter().filter_map(Record::event) {
            let at = Moment { timestamp_ms: event.timestamp_ms, ..Moment::received(START_MS) };
            loaded.apply(&event.check(salt).unwrap(), at);
        }
        let viewed = loaded.viewed(Reach::LastEvent);
        assert_eq!(viewed.view_ms(), expected.view_ms(), "after {restart}");
        assert_eq!(viewed.counters.details.seeks, expected.counters.details.seeks);
    }
}

fn record() -> impl Strategy<Value = (u8, u8, i64, u8)> {
    (0_u8..12, 0_u8..8, prop_oneof![1 => Just(0_i64), 4 => 1_i64..500], 0_u8..3)
}

/// Records in their order, of all kinds and states. Numbers are as they follow, and some timestamps are equal.
fn made(reported: &[(u8, u8, i64, u8)]) -> Vec<Record> {
    let mut ts = 1_000;
    let lines = reported.iter().enumerate().map(|(sn, (kind, state, pass, rate))| {
        ts += 10 * pass;
        let kind = ["ps", "ps", "ps", "ps", "ps", "t", "bc", "pr", "e", "as", "ae", "rr"]
            [usize::from(*kind)];
        let state = ["s", "p", "p", "k", "r", "a", "e", "f"][usize::from(*state)];
        let rate = ["1", "2", "0.5"][usize::from(*rate)];
        format!("br={sn},e={kind},pr={rate},sid=a,sn={},sta={state},ts={ts}\n", sn + 1)
    });
    read(&lines.collect::<String>())
}

/// The time in state *playing* times the rate, from record to record.
fn stopwatch_ms(records: &[Record]) -> u64 {
    let (mut view_ms, mut rate, mut state, mut in_ads, mut last_ms) = (0.0, 1.0, None, false, 0);
    for record in records.iter().filter(|it| it.kind != Kind::Response) {
        if state == Some(State::Playing) && !in_ads {
            view_ms += rate * (record.timestamp_ms - last_ms) as f64;
        }
        in_ads = (in_ads || record.kind == Kind::AdStart) && record.kind != Kind::AdEnd;
        (state, last_ms, rate) = (record.state, record.timestamp_ms, record.rate.unwrap());
    }
    view_ms as u64
}

proptest! {
    #[test]
    fn view_time_is_the_time_in_state_playing_times_the_rate(
        reported in prop::collection::vec(record(), 1..40),
    ) {
        let records = made(&reported);
        let found = run(&records).map_or(0, |session| session.viewed(Reach::LastEvent).view_ms());
        prop_assert_eq!(found, stopwatch_ms(&records));
    }

    #[test]
    fn neither_order_nor_repetition_nor_requests_matter(
        reported in prop::collection::vec(record(), 1..30),
        positions in any::<bool>(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let mut records = made(&reported);
        for record in records.iter_mut().filter(|it| positions && it.sequence % 2 == 0) {
            record.position_ms = Some((record.timestamp_ms % 9_000) as u32);
        }
        let mut twice = [&records[..], &records[..]].concat();
        for (at, other) in order.iter().enumerate().take(twice.len()) {
            let other = other.index(twice.len());
            twice.swap(at, other);
        }
        let viewed = |records: &[Record]| run(records).map(|it| it.viewed(Reach::LastEvent));
        prop_assert_eq!(viewed(&twice), viewed(&records));
    }
}

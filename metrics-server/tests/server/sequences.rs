//! Events that published clients send at the wrong time, and the seconds that their viewers watched.
//!
//! Each sequence was observed in a browser. Events over the websocket have no timestamps unless a test sets one, so the
//! server's clock counts, which the test sets by hand.

use metrics_server::Settings;
use metrics_server_testing::{CHROME, Client, Database, TestServer, Watched, soon};
use metrics_testing::WallClock;
use serde_json::{Value, json};

/// How far a view time may be from the seconds watched: players report their position four times a second.
const NEAR: f64 = 0.31;

/// An action of a page, and the milliseconds before it.
enum Step {
    Event(u32, Value),
    Close(u32),
}

fn play(wait_ms: u32, from: impl Into<Value>) -> Step {
    Step::Event(wait_ms, json!({ "name": "play", "from": from.into(), "duration": 60 }))
}

fn pause(wait_ms: u32, to: impl Into<Value>) -> Step {
    Step::Event(wait_ms, json!({ "name": "pause", "to": to.into(), "duration": 60 }))
}

fn event(wait_ms: u32, event: Value) -> Step {
    Step::Event(wait_ms, event)
}

/// The step in a video of another duration, in seconds.
fn lasting(duration: u32, step: Step) -> Step {
    match step {
        Step::Event(wait_ms, mut event) => {
            event["duration"] = duration.into();
            Step::Event(wait_ms, event)
        }
        close @ Step::Close(_) => close,
    }
}

/// An event with the player's timestamp in milliseconds.
fn stamped(wait_ms: u32, timestamp_ms: i64, mut event: Value) -> Step {
    event["timestamp"] = (1_718_000_000_000 + timestamp_ms).into();
    Step::Event(wait_ms, event)
}

use Step::Close;

struct Site {
    server: TestServer,
    clock: WallClock,
}

impl Site {
    async fn new() -> Self {
        let (database, clock) = (Database::new().await, WallClock::at(1_718_000_000_000));
        let store = database.open().await;
        let server = database.serve_at(clock.reader(), store, Settings::default(), 100).await;
        Self { server, clock }
    }

    /// Sends the steps over a websocket; after a close, waits until the server has noticed it.
    async fn play(&self, steps: Vec<Step>) {
        let mut client: Option<Client> = Some(self.server.connect().await);
        client.as_mut().unwrap().join("session:a", "intro").await;
        for step in steps {
            match step {
                Step::Event(wait_ms, event) => {
                    self.clock.pass_ms(wait_ms.into());
                    client.as_mut().expect("still open").event("session:a", &event).await;
                }
                Close(wait_ms) => {
                    self.clock.pass_ms(wait_ms.into());
                    client = None;
                    self.nobody_watches().await;
                }
            }
        }
    }

    /// Waits until the server has noticed the end of the connection, and its effects are durable. The count of
    /// `watching` does not show that: it excludes an instance whose last sign of life is more than 20 s ago.
    async fn nobody_watches(&self) {
        soon(async {
            loop {
                let answer = self.server.http("GET", "/metrics").send().await;
                let page = String::from_utf8(answer.body).unwrap();
                let is_none = |name: &str| page.lines().any(|line| line == format!("{name} 0"));
                if is_none("metrics_sessions_connected") && is_none("metrics_waiting_events") {
                    break;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Posts events as one batch: second, name, position and duration of each.
    async fn post(&self, events: &[(f64, &str, f64, f64)]) {
        let event = |&(second, name, position, duration): &(f64, &str, f64, f64)| {
            json!({
                "name": name, "session_id": "a", "embed_id": "intro", "video_time": position,
                "duration": duration, "timestamp": 1_718_000_000_000.0 + second * 1_000.0,
            })
        };
        let events: Vec<_> = events.iter().map(event).collect();
        self.post_events(&events).await;
    }

    async fn post_events(&self, events: &[Value]) -> Value {
        let key = self.server.key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let path = format!("/v1/events?key={key}");
        let request = self.server.http("POST", &path).header("user-agent", CHROME);
        let answer = request.json(&json!({ "events": events })).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The exported session.
    async fn session(&self) -> Value {
        let path = "/api/v1/export/sessions?identifier=intro&format=ndjson&minimum_watch_seconds=0";
        let answer = self.server.http("GET", path).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // The body is chunked, and one of its lines is the session.
        let body = String::from_utf8(answer.body).unwrap();
        let line = body.lines().find(|line| line.starts_with('{')).expect("a session");
        serde_json::from_str(line).unwrap()
    }

    #[track_caller]
    fn check(&self, right: f64) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let watched = self.server.watched("intro").await;
            assert_eq!(watched.plays, u64::from(0.0 < right), "{watched:?}, at {caller}");
            let off = (watched.seconds - right).abs();
            assert!(off <= NEAR, "{} and not {right}, at {caller}", watched.seconds);
        }
    }
}

/// Checks the view time of a session over the websocket, in seconds.
async fn check(right: f64, steps: Vec<Step>) {
    let site = Site::new().await;
    site.play(steps).await;
    site.check(right).await;
}

/// Checks the view time of a batch, in seconds, also after it is sent twice.
async fn check_batch(right: f64, events: &[(f64, &str, f64, f64)]) {
    let site = Site::new().await;
    site.post(events).await;
    site.check(right).await;
    site.post(events).await;
    site.check(right).await;
}

#[tokio::test]
async fn an_echo_after_a_chapter_link() {
    check(
        2.5 + 2.25,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "20.00"),
            pause(255, 2.5071),
            Close(2_000),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_of_a_segment_that_a_play_closed() {
    check(
        1.46 + 1.2 + 2.5,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "17.88"),
            lasting(120, pause(255, 2.5071)),
            lasting(120, play(1_205, "59.10")),
            lasting(120, pause(255, 19.2095)),
            Close(950),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_where_a_loop_begins_again() {
    check(
        2.5 + 1.15 + 2.25,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "58.90"),
            pause(255, 2.5071),
            play(850, 0),
            pause(255, 59.8994),
            Close(2_000),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_after_a_small_step_back() {
    check(
        5.0 + 2.25,
        vec![play(0, 0), pause(5_000, "5.00"), play(300, "4.20"), pause(255, 5.001), Close(2_000)],
    )
    .await;
}

#[tokio::test]
async fn an_echo_and_then_the_pause_that_is_never_sent() {
    check(
        2.5 + 3.0,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "20.00"),
            pause(255, 2.5071),
            event(2_745, json!({ "name": "ratechange" })),
            play(2_000, "23.00"),
            pause(100, "23.10"),
        ],
    )
    .await;
}

/// The client takes its own steps at twice the speed for a jump, and sends no more events: 6 s were watched.
#[tokio::test]
async fn a_rate_that_the_client_takes_for_a_jump_is_out_of_reach() {
    check(2.05, vec![play(0, 0), pause(2_000, 2.05), Close(2_000)]).await;
}

#[tokio::test]
async fn an_echo_of_another_source() {
    check(
        3.0 + 2.0,
        vec![
            play(0, 0),
            pause(3_000, "3.00"),
            lasting(30, play(300, 0)),
            lasting(30, pause(255, 43.0877)),
            Close(1_745),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_jump_that_is_told_in_order() {
    check(2.5 + 2.0, vec![play(0, 0), pause(2_500, 2.4936), play(2, "20.00"), Close(2_000)]).await;
}

#[tokio::test]
async fn a_page_that_was_offline_sends_all_at_once() {
    check(
        18.2,
        vec![play(0, 0), pause(30, "10.00"), play(1, "20.00"), pause(1, 28.2), pause(1, "28.20")],
    )
    .await;
}

#[tokio::test]
async fn playback_that_resumes_in_the_first_second() {
    check(0.9 + 1.0, vec![play(0, 0), pause(900, "0.90"), play(400, 0), pause(1_000, "1.90")])
        .await;
}

#[tokio::test]
async fn a_pause_where_a_seek_landed_further_on() {
    check_batch(
        4.331 + 0.89,
        &[
            (0.0, "play", 0.0029, 60.0),
            (4.331, "pause", 58.9, 60.0),
            (4.536, "play", 59.1074, 60.0),
            (5.45, "pause", 60.0, 60.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_pause_where_a_seek_landed_further_back() {
    check_batch(
        3.567 + 1.41,
        &[
            (0.0, "play", 0.0034, 60.0),
            (3.567, "pause", 1.5654, 60.0),
            (3.771, "play", 1.7716, 60.0),
            (5.187, "pause", 3.186, 60.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn plays_that_are_not_sent_after_a_seek() {
    check_batch(
        11.52 + 0.973 + 0.156 + 2.798,
        &[
            (0.0, "play", 0.0017, 60.0),
            (11.531, "pause", 11.5214, 60.0),
            (11.736, "play", 11.4357, 60.0),
            (12.71, "pause", 12.4088, 60.0),
            (12.937, "pause", 12.5649, 60.0),
            (16.892, "pause", 15.3628, 60.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_shorter_video_later_in_the_session() {
    check_batch(
        10.0 + 5.0,
        &[
            (0.0, "play", 40.0, 60.0),
            (10.0, "pause", 50.0, 60.0),
            (20.0, "play", 0.0, 30.0),
            (25.0, "pause", 5.0, 30.0),
        ],
    )
    .await;
    check(
        2.0 + 1.0,
        vec![
            stamped(0, 0, json!({ "name": "play", "from": 40 })),
            stamped(2_000, 2_000, json!({ "name": "pause", "to": 42 })),
            stamped(100, 2_100, json!({ "name": "play", "from": 0, "duration": 30 })),
            stamped(1_000, 3_100, json!({ "name": "pause", "to": 1, "duration": 30 })),
        ],
    )
    .await;
}

#[tokio::test]
async fn two_equal_plays_in_one_millisecond() {
    check(
        2.5 + 3.0,
        vec![
            stamped(0, 0, json!({ "name": "play", "from": 0 })),
            stamped(2_500, 2_500, json!({ "name": "pause", "to": 2.5085 })),
            stamped(600, 3_100, json!({ "name": "play", "from": 20 })),
            stamped(0, 3_100, json!({ "name": "pause", "to": 2.5085 })),
            stamped(0, 3_100, json!({ "name": "play", "from": 20 })),
            stamped(3_000, 6_105, json!({ "name": "pause", "to": 23.0018 })),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_pause_of_the_segment_before_a_millisecond_after_a_play() {
    check(
        1.869 + 0.605,
        vec![
            stamped(0, 0, json!({ "name": "play", "from": 0.0139 })),
            stamped(1_869, 1_856, json!({ "name": "pause", "to": 1.8688 })),
            stamped(178, 2_034, json!({ "name": "play", "from": 0.0928 })),
            stamped(1, 2_035, json!({ "name": "pause", "to": 1.8688 })),
            stamped(1, 2_035, json!({ "name": "play", "from": 0.0942 })),
            stamped(608, 2_643, json!({ "name": "pause", "to": 0.6993 })),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_pause_where_a_slider_landed() {
    check(
        2.51 + 3.0,
        vec![
            stamped(0, 0, json!({ "name": "play", "from": 0.0033 })),
            stamped(2_511, 2_511, json!({ "name": "pause", "to": 40 })),
            stamped(320, 2_831, json!({ "name": "play", "from": 25.0011 })),
            stamped(3_007, 5_838, json!({ "name": "pause", "to": 28.0059 })),
        ],
    )
    .await;
}

#[tokio::test]
async fn ten_jumps_in_a_third_of_a_second() {
    let starts = [38.34, 36.67, 35.0, 33.34, 31.67, 30.01, 28.34, 26.67, 25.0];
    let ends = [2.383, 40.0011, 38.3359, 36.669, 35.0018, 33.3335, 31.667, 30.0042, 28.3349];
    let mut steps = vec![
        stamped(0, 0, json!({ "name": "play", "from": "0.00" })),
        stamped(2_506, 2_506, json!({ "name": "play", "from": "40.00" })),
    ];
    let mut at_ms = 2_506;
    for (from, to) in starts.into_iter().zip(ends) {
        at_ms += 31;
        let from = format!("{from:.2}");
        steps.push(stamped(31, at_ms, json!({ "name": "pause", "to": to })));
        steps.push(stamped(0, at_ms, json!({ "name": "play", "from": from })));
    }
    steps.push(stamped(3_030, at_ms + 3_030, json!({ "name": "pause", "to": 28.03 })));
    check(2.5 + 0.27 + 3.03, steps).await;
}

#[tokio::test]
async fn waits_whose_positions_advance() {
    let mut steps = vec![stamped(0, 0, json!({ "name": "play", "from": 0 }))];
    for wait in 1..=38 {
        let from = 0.05 * f64::from(wait);
        let at_ms = 50 * i64::from(wait);
        let start = json!({ "name": "rebuffering_start", "from": from });
        steps.push(stamped(4, at_ms, start));
        steps.push(stamped(46, at_ms + 46, json!({ "name": "rebuffering_end" })));
    }
    steps.push(Close(50));
    check(2.0, steps).await;
}

/// An event in the form of other clients' batches.
fn batched(name: &str, position: f64, timestamp_ms: Option<i64>) -> Value {
    let mut event = json!({
        "name": name, "session_id": "a", "embed_id": "intro", "video_time": position,
    });
    if let Some(timestamp_ms) = timestamp_ms {
        event["timestamp"] = (1_718_000_000_000 + timestamp_ms).into();
    }
    event
}

fn with(mut event: Value, member: &str, value: impl Into<Value>) -> Value {
    event[member] = value.into();
    event
}

#[tokio::test]
async fn a_pause_that_overtakes_its_play() {
    let site = Site::new().await;
    let (play, pause) = (batched("play", 0.0, Some(1_000)), batched("pause", 10.0, Some(11_000)));
    site.post_events(std::slice::from_ref(&pause)).await;
    site.check(0.0).await;
    site.clock.pass_ms(2_000);
    site.post_events(std::slice::from_ref(&play)).await;
    site.check(10.0).await;
    site.post_events(&[pause, play]).await;
    site.check(10.0).await;
}

#[tokio::test]
async fn of_a_batch_that_is_timed_in_part_the_order_is_as_it_stands() {
    for timestamps in [[Some(0), None], [None, Some(0)]] {
        let site = Site::new().await;
        let [first, second] = timestamps;
        site.post_events(&[batched("play", 0.0, first), batched("pause", 5.0, second)]).await;
        site.check(5.0).await;
    }
}

#[tokio::test]
async fn a_duration_below_zero_is_unknown() {
    let site = Site::new().await;
    let event = |name, position| with(batched(name, position, None), "duration", -0.001);
    let answer = site.post_events(&[event("play", 0.0), event("pause", 5.0)]).await;
    assert_eq!(answer, json!({ "accepted": 2, "rejected": [] }));
    site.check(5.0).await;
}

#[tokio::test]
async fn a_live_stream_with_a_duration_that_a_browser_made_up() {
    check_batch(
        60.0,
        &[(1.0, "play", 47_700.0, 47_721.859), (61.0, "pause", 47_760.0, 47_721.859)],
    )
    .await;
}

#[tokio::test]
async fn timestamps_in_seconds_and_in_microseconds() {
    for unit in [1_000.0, 0.001] {
        let site = Site::new().await;
        let at = |event: Value, second: f64| {
            with(event, "timestamp", (1_718_000_000_000.0 + second * 1_000.0) / unit)
        };
        let (play, pause) = (batched("play", 0.0, None), batched("pause", 1e5, None));
        let answer = site.post_events(&[at(play, 0.0), at(pause, 9.0)]).await;
        assert_eq!(answer["accepted"], 2);
        // The position is further than playback can have reached, so the elapsed time counts.
        site.check(9.0).await;
    }
}

#[tokio::test]
async fn paused_for_long_and_a_machine_that_slept() {
    check_batch(
        120.0,
        &[
            (0.0, "play", 0.0, 600.0),
            (60.0, "pause", 60.0, 600.0),
            (24.0 * 60.0, "play", 60.0, 600.0),
            (25.0 * 60.0, "pause", 120.0, 600.0),
        ],
    )
    .await;
    check_batch(3.0, &[(0.0, "play", 0.0, 60.0), (8.0 * 3_600.0, "pause", 3.0, 60.0)]).await;
}

#[tokio::test]
async fn a_live_window_that_jumps_back() {
    check_batch(10.0, &[(0.0, "play", 30.0, 60.0), (10.0, "pause", 3.0, 60.0)]).await;
}

#[tokio::test]
async fn what_no_duration_allows() {
    let site = Site::new().await;
    let event = |name, position| with(batched(name, position, None), "duration", 604_800);
    site.post_events(&[event("play", 0.0), event("pause", 604_800.0)]).await;
    // A page may have been offline for a day.
    site.check(24.0 * 3_600.0).await;
    // A repetition of the events adds nothing.
    site.post_events(&[event("play", 0.0), event("pause", 604_800.0)]).await;
    site.check(24.0 * 3_600.0).await;
}

#[tokio::test]
async fn a_rate_that_is_told_bounds_a_segment() {
    for (rate, right) in [(None, 2.0), (Some(16.0), 20.0)] {
        let mut rated = stamped(0, 0, json!({ "name": "ratechange", "rate": rate }));
        if let Step::Event(_, event) = &mut rated
            && rate.is_none()
        {
            event["rate"] = Value::Null;
        }
        check(
            right,
            vec![
                stamped(0, 0, json!({ "name": "play", "from": 0 })),
                rated,
                stamped(2_000, 2_000, json!({ "name": "pause", "to": 20 })),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_rate_that_is_told_before_the_first_play() {
    check(
        8.0,
        vec![
            stamped(0, 0, json!({ "name": "ratechange", "rate": 2 })),
            stamped(0, 1, json!({ "name": "play", "from": 0 })),
            Close(4_000),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_connection_that_is_lost_at_twice_the_speed() {
    check(
        8.0,
        vec![
            stamped(0, 0, json!({ "name": "play", "from": 0 })),
            stamped(0, 0, json!({ "name": "ratechange", "rate": 2 })),
            Close(4_000),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_wait_that_a_seek_causes_is_no_rebuffering() {
    let site = Site::new().await;
    site.post(&[
        (0.0, "play", 0.0, 60.0),
        (0.1, "playing", 0.0, 60.0),
        (5.0, "pause", 5.0, 60.0),
        (5.0, "seeked", 30.0, 60.0),
        (5.1, "play", 30.0, 60.0),
        (5.2, "rebuffering_start", 30.0, 60.0),
        (6.2, "rebuffering_end", 30.0, 60.0),
        (11.2, "pause", 35.0, 60.0),
    ])
    .await;
    site.check(10.0).await;
    let session = site.session().await;
    assert_eq!(session["rebufferings"], 0, "{session}");
    assert_eq!(session["seek_waits"], 1, "{session}");
    assert_eq!(session["seek_wait_time"], 1.0, "{session}");
}

#[tokio::test]
async fn what_a_drag_passes_is_view_time_that_nobody_saw() {
    let site = Site::new().await;
    let mut events = vec![(0.0, "play", 0.0, 60.0), (1.0, "pause", 1.0, 60.0)];
    let mut second = 1.0;
    for step in 0..30 {
        let position = 2.0 + f64::from(step) / 2.0;
        events.push((second, "play", position, 60.0));
        second += 0.04;
        events.push((second, "pause", position + 0.04, 60.0));
    }
    events.push((second, "play", 16.5, 60.0));
    events.push((second + 1.5, "pause", 18.0, 60.0));
    site.post(&events).await;
    site.check(1.0 + 30.0 * 0.04 + 1.5).await;
    let query = json!({ "identifier": "intro", "interval": "1 day" });
    let report = site.server.report("engagement", &query).await;
    let seconds = report["engagement"][0]["per_second"].as_array().unwrap();
    let viewed: Vec<_> = seconds.iter().map(|it| it["second"].as_u64().unwrap()).collect();
    assert_eq!(viewed, [0, 16, 17], "{report}");
}

#[tokio::test]
async fn clocks_from_all_times_count_today() {
    for timestamp in [json!(1_000), json!(4_070_908_800_000_u64), json!(1e23), json!(-5)] {
        let site = Site::new().await;
        let event =
            |name, position| with(batched(name, position, None), "timestamp", timestamp.clone());
        site.post_events(&[event("play", 0.0), event("pause", 1.0)]).await;
        site.check(1.0).await;
    }
}

#[tokio::test]
async fn batches_and_a_websocket_that_both_deliver() {
    let site = Site::new().await;
    let events = [batched("play", 0.0, Some(0)), batched("pause", 5.0, Some(5_000))];
    for _ in 0..5 {
        site.post_events(&events).await;
    }
    site.play(vec![
        stamped(0, 0, json!({ "name": "play", "from": 0 })),
        stamped(0, 5_000, json!({ "name": "pause", "to": 5 })),
        Close(0),
    ])
    .await;
    site.check(5.0).await;
    assert_eq!(site.server.watching().await, 0);
}

#[tokio::test]
async fn equal_events_of_a_batch_are_as_many_as_they_are() {
    let site = Site::new().await;
    let events = [
        batched("play", 0.0, Some(0)),
        batched("pause", 2.0, Some(2_000)),
        batched("seeked", 0.0, Some(2_000)),
        batched("seeked", 0.0, Some(2_000)),
    ];
    for _ in 0..2 {
        site.post_events(&events).await;
        assert_eq!(site.session().await["seeks"], 2);
    }
}

#[tokio::test]
async fn an_event_of_another_video_is_refused_wherever_the_session_is() {
    let site = Site::new().await;
    let refusal = |field: &str| {
        let reason = format!("the session has another video: `{field}` differs");
        let rejected = json!({ "index": 0, "reason": reason, "code": "another_video" });
        json!({ "accepted": 0, "rejected": [rejected] })
    };
    let other = || with(batched("play", 0.0, Some(9_000)), "embed_id", "outro");
    let described = with(batched("play", 0.0, Some(9_000)), "metadata", json!({ "a": 1 }));
    site.post_events(&[batched("play", 0.0, Some(0)), batched("pause", 5.0, Some(5_000))]).await;
    assert_eq!(site.post_events(&[other()]).await, refusal("embed_id"));
    assert_eq!(site.post_events(std::slice::from_ref(&described)).await, refusal("metadata"));
    // Another server reads the session's video from the database.
    let clock = site.clock.reader();
    let store = site.server.database.open().await;
    let elsewhere = site.server.database.serve_at(clock, store, Settings::default(), 100).await;
    let elsewhere = Site { server: elsewhere, clock: site.clock.clone() };
    assert_eq!(elsewhere.post_events(&[other()]).await, refusal("embed_id"));
    assert_eq!(elsewhere.post_events(&[described]).await, refusal("metadata"));
    let mut client = elsewhere.server.connect().await;
    client.join("session:a", "outro").await;
    let play = json!({ "name": "play", "from": 0 });
    let answer = client.call("session:a", "event", &play).await;
    let reason = "the session has another video: `identifier` differs";
    assert_eq!(answer, reason);
    elsewhere.check(5.0).await;
    assert_eq!(elsewhere.server.watched("outro").await, Watched::NOTHING);
    // The first server refuses the join at once.
    let mut client = site.server.connect().await;
    let join = json!({ "key": site.server.key, "identifier": "outro" });
    let answer = client.call("session:a", "phx_join", &join).await;
    assert_eq!(answer, reason);
    // The session goes on.
    elsewhere.post_events(&[batched("play", 5.0, Some(6_000))]).await;
    elsewhere.post_events(&[batched("pause", 7.0, Some(8_000))]).await;
    elsewhere.check(7.0).await;
}

#[tokio::test]
async fn what_waited_for_a_connection_is_in_order() {
    let site = Site::new().await;
    site.play(vec![play(0, 0), pause(1_070, "1.07"), Close(0)]).await;
    site.clock.pass_ms(60_000);
    site.play(vec![
        play(0, "6.69"),
        pause(1, 9.1338),
        play(0, "20.00"),
        pause(130, 21.5),
        play(0, "30.00"),
        pause(2_000, "32.00"),
    ])
    .await;
    site.check(1.07 + 2.44 + 1.5 + 2.0).await;
}

#[tokio::test]
async fn an_echo_among_what_waited_for_a_connection() {
    let site = Site::new().await;
    site.play(vec![play(0, 0), pause(1_000, "1.00"), Close(500)]).await;
    site.clock.pass_ms(20_000);
    site.play(vec![
        play(0, "2.37"),
        pause(0, 19.27),
        play(0, "19.30"),
        pause(0, 3.9603),
        Close(400),
    ])
    .await;
    site.check(1.0 + 1.59 + 0.4).await;
}

#[tokio::test]
async fn a_live_pause_at_the_end_after_a_jump_there() {
    check(
        1.56 + 2.75,
        vec![
            play(0, 0),
            pause(1_560, "1.56"),
            play(1_600, "23.65"),
            lasting(30, pause(2_745, "30.00")),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_busy_page_that_takes_its_own_step_for_a_jump() {
    check(4.0, vec![play(0, 0), pause(2_000, 1.30), play(0, "2.02"), pause(1_980, "4.00")]).await;
}

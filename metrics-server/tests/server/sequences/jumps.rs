//! Jumps, landings and plays that were not sent.

use serde_json::json;

use super::Step::Close;
use super::{Site, check, check_batch, lasting, pause, play, stamped};

/// The client takes its own steps at twice the speed for a jump, and sends no more events: 6 s were watched.
#[tokio::test]
async fn a_rate_that_the_client_takes_for_a_jump_is_out_of_reach() {
    check(2.05, vec![play(0, 0), pause(2_000, 2.05), Close(2_000)]).await;
}

#[tokio::test]
async fn a_jump_that_is_reported_in_order() {
    check(2.5 + 2.0, vec![play(0, 0), pause(2_500, 2.4936), play(2, "20.00"), Close(2_000)]).await;
}

#[tokio::test]
async fn playback_that_resumes_in_the_first_second() {
    check(0.9 + 1.0, vec![play(0, 0), pause(900, "0.90"), play(400, 0), pause(1_000, "1.90")])
        .await;
}

#[tokio::test]
async fn a_pause_at_the_target_of_a_seek_forward() {
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
async fn a_pause_at_the_target_of_a_seek_back() {
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
async fn a_pause_at_the_target_of_a_slider() {
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

#[tokio::test]
async fn a_live_window_that_jumps_back() {
    check_batch(10.0, &[(0.0, "play", 30.0, 60.0), (10.0, "pause", 3.0, 60.0)]).await;
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
async fn positions_that_a_drag_passes_are_view_time_without_viewers() {
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

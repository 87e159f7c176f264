//! Timestamps, rates and durations, and the order of events.

use metrics_server::Settings;
use metrics_server_testing::Watched;
use serde_json::{Value, json};

use super::Step::Close;
use super::{Site, Step, check, check_batch, pause, play, stamped};

#[tokio::test]
async fn a_page_that_was_offline_sends_all_at_once() {
    check(
        18.2,
        vec![play(0, 0), pause(30, "10.00"), play(1, "20.00"), pause(1, 28.2), pause(1, "28.20")],
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
async fn a_session_is_watched_for_a_day_at_most() {
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
async fn a_reported_rate_bounds_a_segment() {
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
async fn a_rate_that_is_reported_before_the_first_play() {
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
async fn an_event_of_another_video_is_refused_for_open_and_closed_sessions() {
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
async fn events_that_waited_for_a_connection_are_in_order() {
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

//! Batches that come twice, late, in any order, or beside a websocket count once.

use metrics_server::Settings;
use metrics_server_testing::{TestServer, Watched};
use serde_json::{Value, json};

use super::{START_MS, batch, described, event, expect_accepted, viewing, with, without};

#[tokio::test]
async fn a_batch_that_comes_twice_counts_once() {
    let server = TestServer::new().await;
    let events = [
        event("play", 0.0),
        event("seeked", 1.0),
        event("pause", 5.0),
        event("play", 20.0),
        event("pause", 22.0),
    ];
    for _ in 0..3 {
        expect_accepted(&batch(&server, &events).send().await, 5);
    }
    assert_eq!(server.watched("intro").await, Watched::once(7.0));
    let server = server.restart(Settings::default()).await;
    for _ in 0..2 {
        expect_accepted(&batch(&server, &events).send().await, 5);
    }
    assert_eq!(server.watched("intro").await, Watched::once(7.0));
    assert_eq!(server.database.count_sessions().await, 1);
}

#[tokio::test]
async fn the_largest_batch_that_clients_send_counts_once() {
    let server = TestServer::new().await;
    let events: Vec<_> = (0..25)
        .flat_map(|number| {
            let second = f64::from(number) * 2.0;
            [event("play", second), event("pause", second + 1.0)]
        })
        .collect();
    for _ in 0..2 {
        expect_accepted(&batch(&server, &events).send().await, 50);
    }
    assert_eq!(server.watched("intro").await, Watched::once(25.0));
}

#[tokio::test]
async fn a_batch_that_comes_twice_at_once_counts_once() {
    let server = TestServer::new().await;
    let request = batch(&server, &viewing(5.0));
    let (one, two, three) =
        tokio::join!(request.clone().send(), request.clone().send(), request.send());
    for answer in [one, two, three] {
        expect_accepted(&answer, 2);
    }
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn the_same_positions_at_other_times_are_a_replay() {
    let server = TestServer::new().await;
    let mut events = viewing(5.0);
    let later = |event: Value, ms: i64| with(event, "timestamp", json!(START_MS + ms));
    events.extend([later(event("play", 0.0), 60_000), later(event("pause", 5.0), 65_000)]);
    expect_accepted(&batch(&server, &events).send().await, 4);
    let expected = Watched { plays: 1, seconds: 10.0, unique: 5.0 };
    assert_eq!(server.watched("intro").await, expected);
}

#[tokio::test]
async fn the_order_within_a_batch_does_not_matter() {
    let server = TestServer::new().await;
    let mut events = vec![
        event("play", 0.0),
        event("pause", 5.0),
        event("play", 20.0),
        event("pause", 22.0),
        event("play", 30.0),
        event("pause", 33.0),
    ];
    events.reverse();
    expect_accepted(&batch(&server, &events).send().await, 6);
    assert_eq!(server.watched("intro").await, Watched::once(10.0));
}

#[tokio::test]
async fn the_order_of_batches_does_not_matter() {
    let server = TestServer::new().await;
    let (play, pause) = (event("play", 20.0), event("pause", 22.0));
    expect_accepted(&batch(&server, &[event("play", 0.0), pause]).send().await, 2);
    expect_accepted(&batch(&server, &[event("pause", 5.0), play]).send().await, 2);
    assert_eq!(server.watched("intro").await, Watched::once(7.0));
}

#[tokio::test]
async fn a_pause_may_come_before_its_play() {
    let server = TestServer::new().await;
    expect_accepted(&batch(&server, &[event("play", 10.0), event("pause", 12.0)]).send().await, 2);
    expect_accepted(&batch(&server, &[event("pause", 25.0)]).send().await, 1);
    expect_accepted(&batch(&server, &[event("play", 20.0)]).send().await, 1);
    assert_eq!(server.watched("intro").await, Watched::once(7.0));
}

#[tokio::test]
async fn a_session_goes_on_from_batch_to_batch() {
    let server = TestServer::new().await;
    expect_accepted(&batch(&server, &[event("play", 0.0)]).send().await, 1);
    let server = server.restart(Settings::default()).await;
    expect_accepted(&batch(&server, &[event("pause", 30.0)]).send().await, 1);
    assert_eq!(server.watched("intro").await, Watched::once(30.0));
}

#[tokio::test]
async fn a_batch_may_be_of_many_sessions() {
    let server = TestServer::new().await;
    let other =
        |event: Value| with(with(event, "session_id", json!("t")), "embed_id", json!("outro"));
    let events = [
        event("play", 0.0),
        other(event("play", 0.0)),
        event("pause", 5.0),
        other(event("pause", 3.0)),
    ];
    expect_accepted(&batch(&server, &events).send().await, 4);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
    assert_eq!(server.watched("outro").await, Watched::once(3.0));
}

#[tokio::test]
async fn an_event_counts_once_whether_it_comes_by_websocket_or_in_a_batch() {
    let server = TestServer::new().await;
    // The same event as a websocket message.
    let pushed = |event: &Value| {
        let position = if event["name"] == "play" { "from" } else { "to" };
        with(event.clone(), position, event["video_time"].clone())
    };
    let mut client = server.connect().await;
    let topic = "session:s";
    let about = described(json!({ "key": server.key, "identifier": "intro" }));
    assert_eq!(client.call(topic, "phx_join", &about).await, Value::Null);
    let events =
        [event("play", 0.0), event("pause", 5.0), event("play", 20.0), event("pause", 22.0)];
    for event in &events[..3] {
        client.event(topic, &pushed(event)).await;
    }
    // The page closes: it sends its unacknowledged events again, with the end of the current segment.
    let again = events.map(described);
    expect_accepted(&batch(&server, &again[1..]).send().await, 3);
    drop(client);
    let selection = json!({ "query": { "video": { "course": { "id": 7 } } } });
    assert_eq!(server.select(&selection).await, Watched::once(7.0));

    // The events count once at a new server, too, over either route.
    let server = server.restart(Settings::default()).await;
    expect_accepted(&batch(&server, &again).send().await, 4);
    let mut client = server.connect().await;
    assert_eq!(client.call(topic, "phx_join", &about).await, Value::Null);
    for event in &again {
        client.event(topic, &pushed(event)).await;
    }
    assert_eq!(server.select(&selection).await, Watched::once(7.0));
    assert_eq!(server.watched("intro").await, Watched::once(7.0));
    assert_eq!(server.database.count_sessions().await, 1);
}

#[tokio::test]
async fn a_batch_is_answered_once_it_is_durable() {
    let server = TestServer::new().await;
    expect_accepted(&batch(&server, &viewing(5.0)).send().await, 2);
    let after_crash = server.database.copy().await.serve(Settings::default()).await;
    assert_eq!(after_crash.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn a_batch_without_timestamps_is_in_its_own_order() {
    let server = TestServer::new().await;
    let events: Vec<_> =
        viewing(5.0).into_iter().map(|event| without(event, "timestamp")).collect();
    expect_accepted(&batch(&server, &events).send().await, 2);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn a_wrong_clock_has_no_effect() {
    for (play, pause, seconds) in [
        (json!(-1), json!(4_999), 5.0),
        (json!("1718000000000"), json!("1718000005000.4"), 5.0),
        (json!(-1e300), json!(1e300), 5.0),
        (json!(i64::MIN), json!(u64::MAX), 5.0),
        // No time passed, so the view time is at most the rounding error of players.
        (json!(0), json!(0), 0.0),
    ] {
        let server = TestServer::new().await;
        let events = [
            with(event("play", 0.0), "timestamp", play.clone()),
            with(event("pause", 5.0), "timestamp", pause.clone()),
        ];
        expect_accepted(&batch(&server, &events).send().await, 2);
        assert_eq!(server.watched("intro").await, Watched::once(seconds), "{play} to {pause}");
    }
}

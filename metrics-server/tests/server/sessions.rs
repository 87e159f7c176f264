//! View times of sessions: over reconnects, over restarts, and on pages that send no final event.
//!
//! Tests of time pause the runtime's clock: it jumps to the next timer when no other work is left, and the server's
//! time of day jumps with it.

use std::time::Duration;

use metrics_server::Settings;
use metrics_server_testing::{
    CLOSE, Client, Database, FIN, PING, PONG, Seen, TEXT, TestServer, Watched, frame,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

const TOPIC: &str = "session:0b61d2cf-6fd1-4d2e-8d7c-5f3f5d3f8a52";

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// The view times, rounded to half a second: on a busy machine the clock may jump while bytes are in transit.
async fn watched(server: &TestServer, identifier: &str) -> Watched {
    // No test awaits the final write of a connection that has just ended.
    sleep(Duration::from_millis(1)).await;
    let watched = server.watched(identifier).await;
    let rounded = |seconds: f64| (seconds * 2.0).round() / 2.0;
    Watched { seconds: rounded(watched.seconds), unique: rounded(watched.unique), ..watched }
}

/// A client with an open segment.
async fn viewer(server: &TestServer) -> Client {
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    client.play(TOPIC, 0.0).await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_closed_has_watched_until_then() {
    let server = TestServer::new().await;
    let client = viewer(&server).await;
    seconds(20).await;
    drop(client);
    assert_eq!(watched(&server, "intro").await, Watched::once(20.0));
    seconds(60).await;
    assert_eq!(watched(&server, "intro").await, Watched::once(20.0));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_closed_has_not_watched_past_the_end() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    client.event(TOPIC, &json!({ "name": "play", "from": 5, "duration": "12.50" })).await;
    seconds(20).await;
    drop(client);
    assert_eq!(watched(&server, "intro").await, Watched::once(7.5));
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_ends_like_a_lost_connection() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    seconds(7).await;
    client.send_bytes(&frame(FIN | CLOSE, &1001_u16.to_be_bytes())).await;
    assert_eq!(client.next().await, Seen::Close(1001, String::new()));
    assert_eq!(watched(&server, "intro").await, Watched::once(7.0));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_leaves_has_watched_until_then() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    seconds(8).await;
    assert_eq!(client.call(TOPIC, "phx_leave", &json!({})).await, Value::Null);
    seconds(8).await;
    assert_eq!(watched(&server, "intro").await, Watched::once(8.0));
}

#[tokio::test(start_paused = true)]
async fn open_segments_are_written_at_checkpoints() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    seconds(25).await;
    client.send_bytes(&frame(FIN | PING, b"")).await;
    seconds(25).await;
    // A crash loses at most 15 seconds, plus the interval at which the server checks the clock.
    let after_crash = server.database.copy().await.serve(Settings::default()).await;
    let Watched { plays, seconds, .. } = watched(&after_crash, "intro").await;
    assert_eq!(plays, 1);
    assert!((34.0..=50.0).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_for_a_minute_is_closed_and_counts_as_gone_since() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    seconds(30).await;
    assert_eq!(client.call("phoenix", "heartbeat", &json!({})).await, Value::Null);
    let silent = Instant::now();
    let Seen::Close(1000, reason) = client.next_ever().await else { panic!("another end") };
    assert!(!reason.is_empty());
    assert_eq!(silent.elapsed().as_secs_f64().round(), 60.0);
    assert_eq!(watched(&server, "intro").await, Watched::once(30.0));
}

#[tokio::test(start_paused = true)]
async fn anything_keeps_a_socket_open_that_has_joined() {
    let server = TestServer::new().await;
    for sound in [
        frame(FIN | TEXT, br#"[null,"1","phoenix","heartbeat",{}]"#),
        frame(FIN | PING, b"still here"),
        frame(FIN | PONG, b""),
    ] {
        let mut client = viewer(&server).await;
        for _ in 0..6 {
            seconds(50).await;
            client.send_bytes(&sound).await;
        }
        seconds(50).await;
        client.pause(TOPIC, 8.0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_whose_connection_breaks_is_still_one_play() {
    let server = TestServer::new().await;
    drop(viewer(&server).await);
    seconds(5).await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    // A 0.1.x client goes on with its next event.
    client.pause(TOPIC, 8.0).await;
    assert_eq!(watched(&server, "intro").await, Watched::once(8.0));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_is_back_watches_on() {
    let server = TestServer::new().await;
    drop(viewer(&server).await);
    seconds(5).await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    seconds(5).await;
    drop(client);
    assert_eq!(watched(&server, "intro").await, Watched::once(10.0));
}

#[tokio::test(start_paused = true)]
async fn the_old_connection_of_a_viewer_who_is_back_changes_nothing() {
    let server = TestServer::new().await;
    let old = viewer(&server).await;
    seconds(5).await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    drop(old);
    seconds(5).await;
    assert_eq!(server.watching().await, 1);
    drop(client);
    assert_eq!(watched(&server, "intro").await, Watched::once(10.0));
    assert_eq!(server.watching().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_join_on_the_same_socket_goes_on() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    seconds(3).await;
    client.join(TOPIC, "intro").await;
    assert_eq!(client.message().await[3], "phx_close");
    seconds(3).await;
    client.pause(TOPIC, 6.0).await;
    assert_eq!(watched(&server, "intro").await, Watched::once(6.0));
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    let server = server.restart(Settings::default()).await;
    assert_eq!(client.closed().await.0, 1001);
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    client.pause(TOPIC, 4.0).await;
    client.play(TOPIC, 10.0).await;
    client.pause(TOPIC, 11.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
    assert_eq!(server.database.count_sessions().await, 1);
}

#[tokio::test]
async fn a_session_goes_on_after_a_crash() {
    let server = TestServer::new().await;
    let _client = viewer(&server).await;
    let after_crash = server.database.copy().await.serve(Settings::default()).await;
    let mut client = after_crash.connect().await;
    client.join(TOPIC, "intro").await;
    client.pause(TOPIC, 4.0).await;
    assert_eq!(after_crash.watched("intro").await, Watched::once(4.0));
}

#[tokio::test]
async fn a_session_goes_on_at_another_server() {
    let database = Database::new().await;
    let one = database.serve(Settings::default()).await;
    let two = database.serve(Settings::default()).await;
    // The first server has not noticed yet that this connection is dead.
    let mut half_open = viewer(&one).await;
    let mut client = two.connect().await;
    client.join(TOPIC, "intro").await;
    client.pause(TOPIC, 4.0).await;
    client.play(TOPIC, 10.0).await;
    client.pause(TOPIC, 12.0).await;
    assert_eq!(two.watched("intro").await, Watched::once(6.0));
    // An event that still reaches the first server is not lost either.
    half_open.play(TOPIC, 20.0).await;
    half_open.pause(TOPIC, 23.0).await;
    let expected = Watched::once(9.0);
    assert_eq!(one.watched("intro").await, expected);
    assert_eq!(two.watched("intro").await, expected);
}

#[tokio::test]
async fn events_that_a_client_kept_while_disconnected_pass_in_a_burst() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    client.pause(TOPIC, 2.0).await;
    drop(client);
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    let mut burst = Vec::new();
    let mut last = String::new();
    for number in 1..=20 {
        let (from, to) = (f64::from(number) * 10.0, f64::from(number) * 10.0 + 1.0);
        for (kind, event) in [
            (
                "a",
                json!({ "name": "play", "from": format!("{from:.2}"), "timestamp": number * 10_000 }),
            ),
            (
                "b",
                json!({ "name": "pause", "to": format!("{to:.2}"), "timestamp": number * 10_000 + 1_000 }),
            ),
        ] {
            last = format!("{kind}{number}");
            let message = json!(["1", last, TOPIC, "event", event]).to_string();
            burst.extend(frame(FIN | TEXT, message.as_bytes()));
        }
    }
    client.send_bytes(&burst).await;
    assert_eq!(client.answer_to(&last).await, Value::Null);
    assert_eq!(server.watched("intro").await, Watched::once(22.0));
}

#[tokio::test]
async fn a_refreshed_page_is_another_play() {
    let server = TestServer::new().await;
    for topic in ["session:one", "session:two"] {
        let mut client = server.connect().await;
        client.join(topic, "intro").await;
        client.play(topic, 0.0).await;
        client.pause(topic, 3.0).await;
    }
    let expected = Watched { plays: 2, seconds: 6.0, unique: 6.0 };
    assert_eq!(server.watched("intro").await, expected);
}

#[tokio::test]
async fn a_session_belongs_to_its_key() {
    let server = TestServer::new().await;
    let other_key = server.metrics.create_key().await.unwrap();
    let keys = [server.key.clone(), other_key.as_str().to_owned()];
    for key in &keys {
        let mut client = server.connect().await;
        client.key.clone_from(key);
        client.join(TOPIC, "intro").await;
        client.play(TOPIC, 0.0).await;
        client.pause(TOPIC, 2.0).await;
    }
    assert_eq!(server.watched("intro").await.plays, 2);
    for key in &keys {
        let query = json!({ "identifier": "intro", "query": { "key": key } });
        assert_eq!(server.select(&query).await, Watched::once(2.0));
    }
}

#[tokio::test]
async fn a_video_is_its_metadata_in_any_order() {
    let server = TestServer::new().await;
    for (topic, metadata) in [
        ("session:one", r#"{"course":"knots","part":{"a":1,"b":[1,2]}}"#),
        ("session:two", r#"{"part":{"b":[1,2],"a":1.0},"course":"knots"}"#),
    ] {
        let mut client = server.connect().await;
        let join = format!(r#"{{"key":"{}","metadata":{metadata}}}"#, server.key);
        let join: Value = serde_json::from_str(&join).unwrap();
        assert_eq!(client.call(topic, "phx_join", &join).await, Value::Null);
        client.play(topic, 0.0).await;
        client.pause(topic, 2.0).await;
    }
    for (video, plays) in [
        (json!({ "course": "knots" }), 2),
        (json!({ "part": { "a": 1 } }), 2),
        (json!({ "part": { "b": [2] } }), 2),
        (json!({ "course": "sails" }), 0),
    ] {
        let watched = server.select(&json!({ "query": { "video": video } })).await;
        assert_eq!(watched.plays, plays, "{video}");
    }
}

#[tokio::test]
async fn watching_counts_open_segments() {
    let server = TestServer::new().await;
    assert_eq!(server.watching().await, 0);
    let mut one = viewer(&server).await;
    let mut two = server.connect().await;
    two.join("session:two", "intro").await;
    assert_eq!(server.watching().await, 1);
    two.play("session:two", 0.0).await;
    assert_eq!(server.watching().await, 2);
    one.pause(TOPIC, 1.0).await;
    assert_eq!(server.watching().await, 1);
    assert_eq!(two.call("session:two", "phx_leave", &json!({})).await, Value::Null);
    assert_eq!(server.watching().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_closes_its_channels_within_a_second_at_every_server() {
    let database = Database::new().await;
    let one = database.serve(Settings::default()).await;
    let two = database.serve(Settings::default()).await;
    let other_key = one.metrics.create_key().await.unwrap();
    seconds(1).await;
    let mut client = viewer(&two).await;
    client.key = other_key.as_str().to_owned();
    client.join("session:other", "intro").await;

    let path = format!("/api/v1/keys/{}", one.key);
    assert_eq!(one.http("DELETE", &path).send().await.status, 200);
    let revoked = Instant::now();
    let message = timeout(Duration::from_secs(1), client.message()).await;
    let message = message.expect("the channel is closed within a second");
    assert_eq!(message, json!(["1", "1", TOPIC, "phx_close", {}]));
    assert!(revoked.elapsed() <= Duration::from_secs(1));

    // The revocation affects only that key, and only new events.
    client.play("session:other", 0.0).await;
    assert_eq!(
        client.call(TOPIC, "event", &json!({ "name": "pause", "to": 1 })).await,
        "unmatched topic"
    );
    let join = json!({ "key": two.key, "identifier": "intro" });
    assert_eq!(client.call(TOPIC, "phx_join", &join).await, "invalid key");
    let event = json!({ "name": "play", "session_id": "a", "embed_id": "b", "video_time": 0,
        "timestamp": 1, "key": two.key });
    let batch = two.http("POST", "/v1/events").json(&json!({ "events": [event] }));
    assert_eq!(batch.send().await.status, 401);
    let old = two.select(&json!({ "query": { "key": two.key }, "minimum_watch_seconds": 0 })).await;
    assert_eq!(old.plays, 1);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_closes_open_segments() {
    let server = TestServer::new().await;
    let mut client = viewer(&server).await;
    seconds(5).await;
    let path = format!("/api/v1/keys/{}", server.key);
    assert_eq!(server.http("DELETE", &path).send().await.status, 200);
    assert_eq!(client.message().await[3], "phx_close");
    assert_eq!(client.call("phoenix", "heartbeat", &json!({})).await, Value::Null);
    assert_eq!(watched(&server, "intro").await, Watched::once(5.0));
    assert_eq!(server.watching().await, 0);
}

#[tokio::test]
async fn identifying_data_of_a_viewer_is_not_in_the_database() {
    let secrets = [
        "Zq1-query",
        "Zq2-fragment",
        "Zq3-user",
        "Zq4-password",
        "Zq5-query",
        "Zq6-fragment",
        "Zq7-agent",
        "Zq8-cookie",
        "Zq9-query",
        "Zq10-agent",
        "Zq11-session",
        "Zq12-session",
        "Zq13-query",
        "Zq14-path",
        "Zq15@example.com",
        "198.51.100.77",
        "203.0.113.99",
    ];
    let server = TestServer::new().await;
    let page = "source_url=https%3A%2F%2FZq3-user%3AZq4-password%40socket.example%2Fkept-1%3Fa%3DZq1-query%23Zq2-fragment";
    let headers = [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; Zq7-agent) Chrome/126.0.0.0"),
        ("cookie", "id=Zq8-cookie"),
        ("x-forwarded-for", "198.51.100.77"),
        ("referer", "https://socket.example/?Zq1-query"),
    ];
    let mut client = server.upgrade(&format!("{page}&vsn=2.0.0"), &headers).await.ok().unwrap();
    let join = json!({ "key": server.key, "identifier": "kept-2", "metadata": { "kept": 3 } });
    assert_eq!(client.call("session:Zq11-session", "phx_join", &join).await, Value::Null);
    client.play("session:Zq11-session", 0.0).await;
    let mut join = join;
    join["source_url"] = json!("https://Zq3-user@join.example/kept-4?Zq5-query#Zq6-fragment");
    join["key"] = json!(server.key);
    join["referrer"] =
        json!("https://Zq3-user:Zq4-password@kept-7.example/Zq14-path?Zq13-query#Zq6-fragment");
    join["utm_source"] = json!("Zq15@example.com");
    join["utm_campaign"] = json!("kept-8");
    assert_eq!(client.call("session:two", "phx_join", &join).await, Value::Null);
    client.play("session:two", 0.0).await;
    let event = json!({ "name": "play", "session_id": "Zq12-session", "embed_id": "kept-5", "video_time": 0,
        "timestamp": 1_718_000_000_123_u64, "key": server.key,
        "source_url": "https://Zq3-user@batch.example/kept-6?Zq9-query&utm_source=Zq13-query",
        "referrer": "http://203.0.113.99/Zq14-path?Zq13-query", "utm_medium": "kept-9" });
    let batch = server.http("POST", "/v1/events").header("user-agent", "Zq10-agent Safari/605");
    let answer = batch.json(&json!({ "events": [event] })).send().await;
    assert_eq!((answer.status, answer.json()["accepted"].clone()), (200, json!(1)));

    for secret in secrets {
        assert!(!server.database.contains(secret).await, "{secret}");
    }
    let database = server.stop().await;
    for kept in [
        "socket.example/kept-1",
        "kept-2",
        "join.example/kept-4",
        "kept-5",
        "batch.example/kept-6",
        "kept-7.example",
        "kept-8",
        "kept-9",
    ] {
        assert!(database.contains(kept).await, "{kept}");
    }
    for secret in secrets {
        assert!(!database.contains(secret).await, "{secret}");
    }
}

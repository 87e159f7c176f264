//! Events: their payloads, and the view time that follows.

use metrics_server::Settings;
use metrics_server_testing::{OTHER_EVENTS, TestServer, Watched};
use serde_json::{Value, json};

use super::{pause, play};

#[tokio::test]
async fn an_event_is_acknowledged_once_it_is_durable() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    // A copy has the data that a crash would leave at this moment.
    assert_eq!(server.database.copy().await.count_sessions().await, 1);
    client.pause("session:a", 12.5).await;
    let after_crash = server.database.copy().await.serve(Settings::default()).await;
    assert_eq!(after_crash.watched("intro").await, Watched::once(12.5));
}

#[tokio::test]
async fn positions_are_numbers_or_decimal_text() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    for (number, (from, to, seconds)) in [
        (json!(1), json!(3), 2.0),
        (json!(0), json!(12.345), 12.345),
        (json!("0"), json!("5."), 5.0),
        (json!("12.34"), json!("15.50"), 3.16),
        (json!("12"), json!(13), 1.0),
        (json!(0.0), json!("1e1"), 10.0),
        (json!(".5"), json!("1.5"), 1.0),
    ]
    .into_iter()
    .enumerate()
    {
        let (topic, video) = (format!("session:{number}"), format!("video {number}"));
        client.join(&topic, &video).await;
        client.event(&topic, &json!({ "name": "play", "from": from })).await;
        client.event(&topic, &json!({ "name": "pause", "to": to })).await;
        assert_eq!(server.watched(&video).await, Watched::once(seconds), "{from} to {to}");
    }
}

#[tokio::test]
async fn an_invalid_payload_names_its_field_and_changes_nothing() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 10.0).await;
    for (field, payload) in [
        ("name", r#"{}"#),
        ("name", r#"{"name":null}"#),
        ("name", r#"{"name":7}"#),
        ("name", r#"{"name":["play"]}"#),
        ("from", r#"{"name":"play"}"#),
        ("from", r#"{"name":"play","from":null}"#),
        ("from", r#"{"name":"play","from":""}"#),
        ("from", r#"{"name":"play","from":"abc"}"#),
        ("from", r#"{"name":"play","from":"1,5"}"#),
        ("from", r#"{"name":"play","from":"NaN"}"#),
        ("from", r#"{"name":"play","from":"Infinity"}"#),
        ("from", r#"{"name":"play","from":"1e999"}"#),
        ("from", r#"{"name":"play","from":-0.5}"#),
        ("from", r#"{"name":"play","from":true}"#),
        ("from", r#"{"name":"play","from":[1]}"#),
        ("from", r#"{"name":"play","from":{"a":1}}"#),
        ("to", r#"{"name":"pause"}"#),
        ("to", r#"{"name":"pause","to":"abc"}"#),
        ("to", r#"{"name":"pause","to":"-1"}"#),
        ("to", r#"{"name":"pause","from":12}"#),
        ("duration", r#"{"name":"pause","to":12,"duration":"long"}"#),
        ("timestamp", r#"{"name":"pause","to":12,"timestamp":"noon"}"#),
        ("timestamp", r#"{"name":"pause","to":12,"timestamp":{}}"#),
    ] {
        let payload: Value = serde_json::from_str(payload).unwrap();
        let reply = client.call("session:a", "event", &payload).await;
        let reason = reply.as_str().unwrap_or_else(|| panic!("{payload} was taken"));
        assert!(reason.contains(&format!("`{field}`")), "{payload}: {reason}");
    }
    client.pause("session:a", 12.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(2.0));
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_refused_and_the_channel_lives() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    for payload in [
        "null",
        "[]",
        "7",
        "\"play\"",
        r#"["play",0,0,0,60]"#,
        // A number beyond the range of a float, and half of a surrogate pair.
        r#"{"name":"play","from":1e999}"#,
        r#"{"name":"\ud800"}"#,
    ] {
        client.send_text(&format!(r#"["1","x","session:a","event",{payload}]"#)).await;
        let message = client.message().await;
        assert_eq!(message[4]["status"], "error", "{payload}: {message}");
        assert_eq!(message[4]["response"]["code"], "invalid_event", "{payload}: {message}");
    }
    client.play("session:a", 0.0).await;
}

#[tokio::test]
async fn every_event_that_players_send_is_accepted() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.event("session:a", &json!({ "name": "play", "from": 0, "duration": null })).await;
    let at = 1_718_000_000_000_u64;
    for payload in [
        json!({ "name": "rebuffering_start", "from": "1.00", "timestamp": at }),
        json!({ "name": "rebuffering_end", "timestamp": at + 1 }),
        json!({ "name": "playback_failure", "timestamp": at + 2 }),
        json!({ "name": "seeked", "timestamp": at + 3 }),
        json!({ "name": "fullscreen_enter", "timestamp": at + 4 }),
        json!({ "name": "fullscreen_exit", "timestamp": at + 5 }),
        json!({ "name": "track_set", "language": "nl", "timestamp": at + 6 }),
        json!({ "name": "track_set" }),
        json!({ "name": "source_set", "source_url": "http://cdn/a.m3u8", "width": 1280, "height": 720,
            "bitrate": 2_500_000, "codec": "avc1.640028" }),
        json!({ "name": "source_set" }),
        json!({ "name": "source_set", "width": "wide", "height": -1 }),
    ] {
        client.event("session:a", &payload).await;
    }
    for name in OTHER_EVENTS.into_iter().chain(["", "phx_close"]) {
        client.event("session:a", &json!({ "name": name, "timestamp": at + 7 })).await;
        client.event("session:a", &json!({ "name": name })).await;
    }
    client.pause("session:a", 3.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(3.0));
}

/// Sends events on a channel of its own, and expects the server to accept all of them.
async fn check_watched(events: Value, expected: Watched) {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    for event in events.as_array().unwrap() {
        client.event("session:a", event).await;
    }
    assert_eq!(server.watched("intro").await, expected, "{events}");
}

#[tokio::test]
async fn before_the_first_play_nothing_counts() {
    check_watched(json!([pause(3.0)]), Watched::NOTHING).await;
    check_watched(json!([{ "name": "something_new" }, { "name": "ended" }]), Watched::NOTHING)
        .await;
    check_watched(json!([pause(3.0), play(0.0), pause(2.0)]), Watched::once(2.0)).await;
}

#[tokio::test]
async fn the_second_pause_changes_nothing() {
    check_watched(json!([play(0.0), pause(2.0), pause(9.0)]), Watched::once(2.0)).await;
}

#[tokio::test]
async fn a_replay_counts_as_view_time_but_not_as_a_play() {
    let events = json!([play(0.0), pause(4.0), play(1.0), pause(3.0)]);
    check_watched(events, Watched { plays: 1, seconds: 6.0, unique: 4.0 }).await;
}

#[tokio::test]
async fn a_segment_ends_after_it_begins_or_is_empty() {
    check_watched(json!([play(10.0), pause(3.0)]), Watched::once(0.0)).await;
}

#[tokio::test]
async fn a_segment_ends_within_the_video() {
    let pause_of =
        |to: f64, duration: Value| json!({ "name": "pause", "to": to, "duration": duration });
    check_watched(json!([play(50.0), pause_of(1e11, json!(60))]), Watched::once(10.0)).await;
    check_watched(json!([play(50.0), pause_of(61.5, json!("60.00"))]), Watched::once(10.0)).await;
    check_watched(json!([play(50.0), pause_of(60.5, json!(60))]), Watched::once(10.5)).await;
}

#[tokio::test]
async fn a_segment_of_a_video_without_a_duration_ends_within_a_day() {
    check_watched(json!([play(0.0), pause(1e11)]), Watched::once(86_400.0)).await;
    let endless = json!({ "name": "pause", "to": 1e11, "duration": 0 });
    check_watched(json!([play(0.0), endless]), Watched::once(86_400.0)).await;
}

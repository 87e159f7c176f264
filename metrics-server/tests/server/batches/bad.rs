//! Events and bodies that are refused, without harm to others.

use metrics_server::{BODY_BYTES_MAX, Settings};
use metrics_server_testing::{Answer, CHROME, GOOGLEBOT, HEADLESS_CHROME, TestServer, Watched};
use serde_json::{Value, json};

use super::{batch, described, event, expect_accepted, form_encode, viewing, with, without};

/// The rejected events, as pairs of index and reason.
#[track_caller]
fn rejected(answer: &Answer) -> Vec<(u64, String)> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let rejected = json["rejected"].as_array().unwrap().iter();
    let rejected = rejected.inspect(|it| assert!(it["code"].is_string(), "no code: {it}"));
    rejected
        .map(|it| (it["index"].as_u64().unwrap(), it["reason"].as_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test]
async fn a_bad_event_does_not_lose_the_others() {
    let server = TestServer::new().await;
    let good = event("play", 0.0);
    let events = [
        good.clone(),
        without(good.clone(), "session_id"),
        with(good.clone(), "session_id", json!("")),
        with(good.clone(), "session_id", json!(7)),
        without(good.clone(), "embed_id"),
        without(good.clone(), "name"),
        without(good.clone(), "video_time"),
        with(good.clone(), "video_time", json!(-1)),
        with(good.clone(), "video_time", json!("abc")),
        with(good.clone(), "timestamp", json!("noon")),
        with(good.clone(), "duration", json!("long")),
        with(good.clone(), "key", json!(7)),
        json!("play"),
        json!(null),
        json!([good]),
        // The members of an event in an array.
        json!(["play", 0, 0, 0]),
        event("pause", 5.0),
    ];
    let answer = batch(&server, &events).send().await;
    assert_eq!(answer.json()["accepted"], 2);
    let rejected = rejected(&answer);
    for ((index, reason), field) in rejected.iter().zip([
        "`session_id`",
        "`session_id`",
        "`session_id`",
        "`embed_id`",
        "`name`",
        "`video_time`",
        "`video_time`",
        "`video_time`",
        "`timestamp`",
        "`duration`",
        "`key`",
        "object",
        "object",
        "object",
        "object",
    ]) {
        assert!(reason.contains(field), "{index}: {reason}");
    }
    let indices: Vec<_> = rejected.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, (1..16).collect::<Vec<_>>());
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn an_event_with_a_bad_key_does_not_lose_the_others() {
    let server = TestServer::new().await;
    let events = [
        event("play", 0.0),
        with(with(event("play", 0.0), "session_id", json!("t")), "key", json!("unknown")),
        with(event("play", 0.0), "key", json!("not a key")),
        event("pause", 5.0),
    ];
    let answer = batch(&server, &events).send().await;
    let expected = [(1, "invalid key".to_owned()), (2, "invalid key".to_owned())];
    assert_eq!(rejected(&answer), expected);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn an_event_that_is_too_long_does_not_lose_the_others() {
    let server = TestServer::new().await;
    let events = [
        with(event("play", 0.0), "session_id", json!("x".repeat(300))),
        event("play", 0.0),
        event("pause", 5.0),
        with(
            with(event("play", 0.0), "session_id", json!("t")),
            "embed_id",
            json!("x".repeat(1025)),
        ),
    ];
    let answer = batch(&server, &events).send().await;
    let rejected = rejected(&answer);
    let indices: Vec<_> = rejected.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [0, 3], "{rejected:?}");
    // The reason names the field as this client does.
    assert!(rejected[0].1.contains("`session_id`"), "{rejected:?}");
    assert!(rejected[1].1.contains("`embed_id`"), "{rejected:?}");
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn an_event_that_no_store_can_keep_does_not_lose_the_others() {
    let server = TestServer::new().await;
    let other = |event| with(event, "session_id", json!("t"));
    let events = [
        event("play", 0.0),
        event("pause", 5.0),
        with(other(event("play", 0.0)), "embed_id", json!("in\0tro")),
    ];
    let answer = batch(&server, &events).send().await;
    let reason = "`embed_id` must not hold the character U+0000".to_owned();
    assert_eq!(rejected(&answer), [(2, reason)]);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn metadata_that_is_no_object_is_refused_by_name() {
    let server = TestServer::new().await;
    let events = [
        with(event("play", 0.0), "metadata", json!([1])),
        with(event("play", 0.0), "session_data", json!("free")),
        with(with(event("play", 0.0), "metadata", Value::Null), "session_data", Value::Null),
        event("pause", 5.0),
        described(event("pause", 9.0)),
    ];
    let answer = batch(&server, &events).send().await;
    let expected = [
        (0, "`metadata` must be an object"),
        (1, "`session_data` must be an object"),
        (4, "the session has another video: `metadata` differs"),
    ];
    let expected = expected.map(|(index, reason)| (index, reason.to_owned()));
    assert_eq!(rejected(&answer), expected);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn a_body_that_is_no_batch_is_a_bad_request() {
    let server = TestServer::new().await;
    let request = batch(&server, &[]);
    let too_many = json!({ "events": vec![json!({}); 257] }).to_string();
    for body in [
        "",
        "nonsense",
        "[]",
        "null",
        "7",
        "{}",
        "{\"events\":7}",
        "{\"events\":{}}",
        "{\"events\":null}",
        "{\"events\":[",
        "{\"events\":[]} more",
        "\u{0}",
        "[[]]",
        &too_many,
    ] {
        let answer = request.clone().body(body).send().await;
        assert_eq!(answer.status, 400, "{}: {answer:?}", &body[..body.len().min(40)]);
        assert!(!answer.error().is_empty());
    }
    let answer = request.body(b"{\"events\":[\"\xff\"]}".to_vec()).send().await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test]
async fn a_deeply_nested_event_affects_no_other() {
    let server = TestServer::new().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let [play, pause] = [event("play", 0.0), event("pause", 5.0)].map(|it| it.to_string());
    let within = play.replacen("{", &format!("{{\"more\":{deep},"), 1);
    let body = format!("{{\"events\":[{deep},{within},{pause}]}}");
    let answer = batch(&server, &[]).body(body).send().await;
    assert_eq!(rejected(&answer), [(0, "an event must be an object".to_owned())]);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_too_large() {
    let server = TestServer::new().await;
    let padded = |bytes: usize| {
        let body = json!({ "events": viewing(5.0) }).to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    let answer = batch(&server, &[]).body(padded(BODY_BYTES_MAX)).send().await;
    expect_accepted(&answer, 2);
    for bytes in [BODY_BYTES_MAX + 1, 8 * BODY_BYTES_MAX] {
        let answer = batch(&server, &[]).body(padded(bytes)).send().await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(!answer.error().is_empty());
    }
}

#[tokio::test]
async fn the_batches_of_a_bot_are_rejected() {
    let server = TestServer::new().await;
    let path = format!("/v1/events?key={}", form_encode(&server.key));
    let driven = "\"Not/A)Brand\";v=\"8\", \"HeadlessChrome\";v=\"120\"";
    for (user_agent, brands) in [(GOOGLEBOT, ""), (HEADLESS_CHROME, ""), (CHROME, driven)] {
        let request = server.http("POST", &path).header("user-agent", user_agent);
        let request = request.header("sec-ch-ua", brands);
        let answer = request.json(&json!({ "events": viewing(5.0) })).send().await;
        assert_eq!(rejected(&answer), [(0, "bot".to_owned()), (1, "bot".to_owned())]);
        assert_eq!(answer.json()["accepted"], 0);
    }
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
}

#[tokio::test]
async fn batches_of_viewers_who_opted_out_are_rejected_where_the_setting_is_on() {
    let settings = Settings::default().refuse_opted_out();
    let server = TestServer::with(settings).await;
    for header in ["sec-gpc", "dnt"] {
        let answer = batch(&server, &viewing(5.0)).header(header, "1").send().await;
        let expected = [(0, "opted out".to_owned()), (1, "opted out".to_owned())];
        assert_eq!(rejected(&answer), expected);
    }
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
    expect_accepted(&batch(&server, &viewing(5.0)).header("dnt", "0").send().await, 2);
}

#[tokio::test]
async fn a_session_has_one_video() {
    let server = TestServer::new().await;
    let mut stray = event("pause", 5.0);
    stray["embed_id"] = json!("another");
    let events = [event("play", 0.0), stray, event("pause", 2.0)];
    let answer = batch(&server, &events).send().await;
    let reason = "the session has another video: `embed_id` differs".to_owned();
    assert_eq!(rejected(&answer), [(1, reason)]);
    assert_eq!(server.watched("intro").await, Watched::once(2.0));
    assert_eq!(server.watched("another").await.plays, 0);
}

#[tokio::test]
async fn a_batch_without_any_key_is_unauthorized_even_with_garbage() {
    let server = TestServer::new().await;
    let batch = json!({ "events": [event("play", 0.0), 5] });
    let answer = server.http("POST", "/v1/events").json(&batch).send().await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

//! Batches of events: counts, refusals, and repetitions.

use metrics_core::ApiKey;
use metrics_server::{BODY_BYTES_MAX, Settings};
use metrics_server_testing::{
    Answer, CHROME, GOOGLEBOT, HEADLESS_CHROME, Http, TestServer, Watched,
};
use serde_json::{Value, json};

/// The browser's timestamp of the start.
const START_MS: i64 = 1_718_000_000_000;

/// An event of session `s` on the video `intro`; `second` is its position and its time.
fn event(name: &str, second: f64) -> Value {
    json!({
        "name": name,
        "session_id": "s",
        "embed_id": "intro",
        "video_time": second,
        "duration": 60.1,
        "timestamp": START_MS + (second * 1_000.0) as i64,
        "source_url": "https://site.example/page?query",
        "component": "player",
    })
}

/// The event with a member replaced.
fn with(mut event: Value, member: &str, value: Value) -> Value {
    event[member] = value;
    event
}

/// The event without a member.
fn without(mut event: Value, member: &str) -> Value {
    event.as_object_mut().unwrap().remove(member).unwrap();
    event
}

/// A play and a pause `seconds` later.
fn viewing(seconds: f64) -> Vec<Value> {
    vec![event("play", 0.0), event("pause", seconds)]
}

/// A request with its key in the URL, as a page configures it.
fn batch(server: &TestServer, events: &[Value]) -> Http {
    let key: String = form_encode(&server.key);
    server
        .http("POST", &format!("/v1/events?key={key}"))
        .header("user-agent", CHROME)
        .json(&json!({ "events": events }))
}

fn form_encode(text: &str) -> String {
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[track_caller]
fn expect_accepted(answer: &Answer, accepted: u64) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({ "accepted": accepted, "rejected": [] }));
}

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
async fn a_batch_is_a_play_under_both_paths() {
    for path in ["/v1/events", "/api/v1/events"] {
        let server = TestServer::new().await;
        let address = format!("{path}?key={}", form_encode(&server.key));
        let events = json!({ "events": viewing(12.5) });
        let answer = server.http("POST", &address).json(&events).send().await;
        expect_accepted(&answer, 2);
        assert_eq!(server.watched("intro").await, Watched::once(12.5));
    }
}

#[tokio::test]
async fn a_batch_says_who_watches_and_where() {
    let server = TestServer::new().await;
    expect_accepted(&batch(&server, &viewing(12.5)).send().await, 2);
    let report = server.report("plays", &json!({ "identifier": "intro" })).await;
    assert_eq!(report["views"][0]["browser"]["chrome"], 1);
    assert_eq!(report["views"][0]["platform"]["mac"], 1);
    let report = server.report("sources", &json!({ "identifier": "intro" })).await;
    assert_eq!(report["sources"][0]["path"], "https://site.example/page");
    let query = json!({ "identifier": "intro", "ranges": 2 });
    let report = server.report("engagement", &query).await;
    assert_eq!(report["engagement"][1]["viewers"], 1);
}

#[tokio::test]
async fn a_page_of_any_origin_may_send_batches() {
    let server = TestServer::new().await;
    for path in ["/v1/events", "/api/v1/events", "/v1/events?key=abc"] {
        let preflight = server
            .http("OPTIONS", path)
            .header("origin", "https://site.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let answer = preflight.send().await;
        assert_eq!(answer.status, 204, "{answer:?}");
        // A browser sends a beacon with credentials, for which it does not accept `*`.
        let allowed = ["origin", "credentials"]
            .map(|it| answer.header(&format!("access-control-allow-{it}")));
        assert_eq!(allowed, [Some("https://site.example"), Some("true")]);
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("POST"), "{methods}");
        let headers = answer.header("access-control-allow-headers").unwrap();
        assert!(headers.to_lowercase().contains("content-type"), "{headers}");
    }
    let answer =
        batch(&server, &viewing(1.0)).header("origin", "https://site.example").send().await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    // A page can read the reason of a refusal only if the refusal has the header, too.
    let answer = server
        .http("POST", "/v1/events")
        .header("origin", "https://site.example")
        .body("nonsense")
        .send()
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
}

#[tokio::test]
async fn a_beacon_may_say_that_it_is_text() {
    let server = TestServer::new().await;
    let path = format!("/v1/events?key={}", form_encode(&server.key));
    let body = json!({ "events": viewing(12.5) }).to_string();
    for kind in ["text/plain;charset=UTF-8", "application/octet-stream"] {
        let request = server.http("POST", &path).header("content-type", kind).body(body.clone());
        expect_accepted(&request.send().await, 2);
    }
    let request = server.http("POST", &path).body(body);
    expect_accepted(&request.send().await, 2);
    assert_eq!(server.watched("intro").await, Watched::once(12.5));
}

#[tokio::test]
async fn a_key_comes_with_the_event_or_the_address_or_by_default() {
    let server = TestServer::new().await;
    let (default_key, own_key) = (server.key.clone(), server.metrics.create_key().await.unwrap());
    let third_key = server.metrics.create_key().await.unwrap();
    let settings = Settings::default().default_key(ApiKey::new(&default_key).unwrap());
    let server = server.restart(settings).await;

    let send = async |query: &str, key: Option<&ApiKey>| {
        let mut events = viewing(2.0);
        if let Some(key) = key {
            events = events.into_iter().map(|it| with(it, "key", json!(key.as_str()))).collect();
        }
        let request = server.http("POST", "/v1/events").query(query);
        expect_accepted(&request.json(&json!({ "events": events })).send().await, 2);
    };
    let plays = async |key: &str| server.select(&json!({ "query": { "key": key } })).await.plays;
    let in_address = format!("key={}", form_encode(third_key.as_str()));

    send("", None).await;
    assert_eq!(plays(&default_key).await, 1);
    send(&in_address, None).await;
    assert_eq!(plays(third_key.as_str()).await, 1);
    send(&in_address, Some(&own_key)).await;
    assert_eq!(plays(own_key.as_str()).await, 1);
    assert_eq!((plays(&default_key).await, plays(third_key.as_str()).await), (1, 1));
}

#[tokio::test]
async fn a_key_in_the_address_may_be_written_raw() {
    let server = TestServer::new().await;
    let key = ApiKey::new("ab+cd/ef==").unwrap();
    assert!(server.metrics.import_key(&key).await.unwrap());
    for raw in ["ab+cd/ef==", "ab%2Bcd%2Fef%3D%3D", "ab+cd%2Fef%3D%3D"] {
        let request = server.http("POST", &format!("/v1/events?a=b&key={raw}"));
        expect_accepted(&request.json(&json!({ "events": viewing(2.0) })).send().await, 2);
    }
    assert_eq!(server.watched("intro").await, Watched::once(2.0));
}

#[tokio::test]
async fn without_a_valid_key_a_batch_is_unauthorized() {
    let server = TestServer::new().await;
    let revoked = server.metrics.create_key().await.unwrap();
    server.metrics.revoke_key(&revoked).await.unwrap();
    let revoked = format!("key={}", form_encode(revoked.as_str()));
    for query in ["", "key=unknown", "key=%00", "key=", revoked.as_str()] {
        let request = server.http("POST", "/v1/events").query(query);
        let answer = request.json(&json!({ "events": viewing(2.0) })).send().await;
        assert_eq!(answer.status, 401, "{query}: {answer:?}");
        assert!(answer.error().contains("key"), "{answer:?}");
    }
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
}

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

/// The event of a video with metadata.
fn described(event: Value) -> Value {
    with(event, "metadata", json!({ "course": { "id": 7, "tags": ["a", "b"] } }))
}

#[tokio::test]
async fn a_video_may_have_metadata_and_a_viewing_data() {
    let server = TestServer::new().await;
    let events: Vec<_> = viewing(5.0)
        .into_iter()
        .map(|event| with(described(event), "session_data", json!({ "plan": "free" })))
        .collect();
    expect_accepted(&batch(&server, &events).send().await, 2);
    for selection in [
        json!({ "identifier": "intro" }),
        json!({ "query": { "video": { "course": { "tags": ["b"] } } } }),
        json!({ "query": { "session": { "plan": "free" } } }),
    ] {
        assert_eq!(server.select(&selection).await, Watched::once(5.0), "{selection}");
    }
    let other = json!({ "query": { "video": { "course": { "id": 8 } } } });
    assert_eq!(server.select(&other).await, Watched::NOTHING);
}

#[tokio::test]
async fn metadata_alone_is_a_video() {
    let server = TestServer::new().await;
    let events = viewing(5.0).into_iter().map(|event| without(described(event), "embed_id"));
    expect_accepted(&batch(&server, &events.collect::<Vec<_>>()).send().await, 2);
    let selection = json!({ "query": { "video": { "course": { "id": 7 } } } });
    assert_eq!(server.select(&selection).await, Watched::once(5.0));
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
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
async fn events_of_every_kind_are_accepted() {
    let server = TestServer::new().await;
    let names = [
        "rebuffering_start",
        "rebuffering_end",
        "playback_failure",
        "seeked",
        "fullscreen_enter",
        "fullscreen_exit",
        "track_set",
        "source_set",
        "durationchange",
        "loadedmetadata",
        "loadeddata",
        "canplay",
        "canplaythrough",
        "playing",
        "ended",
        "ratechange",
        "volumechange",
        "something_new",
    ];
    let mut events = viewing(5.0);
    events.extend(names.map(|name| without(event(name, 2.0), "video_time")));
    expect_accepted(&batch(&server, &events).send().await, events.len() as u64);
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test]
async fn an_empty_batch_is_accepted() {
    let server = TestServer::new().await;
    expect_accepted(&batch(&server, &[]).send().await, 0);
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
async fn an_event_that_is_nested_without_end_harms_nothing() {
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
async fn the_batches_of_who_opted_out_are_rejected_where_that_is_heeded() {
    let settings = Settings::default().heed_opt_out();
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
async fn a_clock_that_is_far_off_harms_nothing() {
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
async fn a_batch_without_any_key_is_told_so_beside_garbage() {
    let server = TestServer::new().await;
    let batch = json!({ "events": [event("play", 0.0), 5] });
    let answer = server.http("POST", "/v1/events").json(&batch).send().await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

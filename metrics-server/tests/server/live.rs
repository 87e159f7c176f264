//! Streams of viewers: their states, and how they begin, resume and end.

use http::request::Parts;
use metrics_core::ApiKey;
use metrics_server::{Access, Decision, Purpose, Settings};
use metrics_server_testing::{
    Client, Database, EventStream, Process, Received, Server, TestServer, soon,
};
use serde_json::{Value, json};

mod limits;

/// A client that plays a video with a duration of 60 s from a second on.
async fn viewer(server: &Server, topic: &str, identifier: &str, from: f64) -> Client {
    let mut client = server.connect().await;
    client.join(topic, identifier).await;
    client.event(topic, &json!({ "name": "play", "from": from, "duration": 60 })).await;
    client
}

/// The identifiers of the videos in a state, and their viewers.
fn videos(state: &Value) -> Vec<(&str, u64)> {
    let videos = state["videos"].as_array().unwrap().iter();
    let viewers = |video: &Value| video["watching"].as_u64().unwrap();
    videos.map(|video| (video["identifier"].as_str().unwrap(), viewers(video))).collect()
}

/// Encodes JSON in a query string.
fn encoded(query: &str) -> String {
    let codes = [('"', "%22"), ('[', "%5B"), (']', "%5D"), ('{', "%7B"), ('}', "%7D")];
    codes.into_iter().fold(query.to_owned(), |text, (char, code)| text.replace(char, code))
}

fn watching(state: &Value) -> u64 {
    state["watching"].as_u64().unwrap()
}

/// A state without its time.
fn timeless(mut state: Value) -> Value {
    assert!(state.as_object_mut().unwrap().remove("time").unwrap().is_string());
    state
}

#[tokio::test]
async fn the_state_comes_first_and_then_each_change() {
    let server = TestServer::new().await;
    let mut stream = server.live("").await;
    assert_eq!(stream.answer.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(stream.answer.header(name), Some(value));
    }
    assert_eq!(stream.answer.header("content-encoding"), None);
    let Received::Retry(ms) = stream.next().await else { panic!("no retry") };
    assert!((2_500..=3_000).contains(&ms), "{ms}");
    let (_, state) = stream.state().await;
    let nothing = json!({ "watching": 0, "plays": 0, "rows": 0, "videos": [] });
    assert_eq!(timeless(state), nothing);

    let mut client = viewer(&server, "session:a", "intro", 0.0).await;
    let state = stream.wait_for(|state| watching(state) == 1).await;
    assert_eq!((videos(&state), &state["rows"]), (vec![("intro", 1)], &json!(1)));
    client.pause("session:a", 2.0).await;
    let state = stream.wait_for(|state| watching(state) == 0).await;
    let once = json!({ "watching": 0, "plays": 1, "rows": 0, "videos": [] });
    assert_eq!(timeless(state), once);
}

#[tokio::test]
async fn a_state_says_which_videos_are_watched_and_where() {
    let server = TestServer::new().await;
    let _clients = [
        viewer(&server, "session:a", "long", 45.0).await,
        viewer(&server, "session:b", "long", 0.0).await,
        viewer(&server, "session:c", "short", 0.0).await,
    ];
    let state = server.live("limit=1&parts=2").await.state().await.1;
    assert_eq!(videos(&state), [("long", 2)]);
    let video = &state["videos"][0];
    assert_eq!((&state["watching"], &state["rows"]), (&json!(3), &json!(2)));
    assert_eq!((&video["name"], &video["title"]), (&json!("long"), &Value::Null));
    assert_eq!((&video["duration"], &video["end"]), (&json!(60.0), &json!(60.0)));
    assert_eq!(video["positions"], json!([1, 1]));
    let all = server.live("").await.state().await.1;
    assert_eq!(videos(&all), [("long", 2), ("short", 1)]);
    assert_eq!(all["videos"][1]["positions"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn a_stream_has_the_sessions_of_its_selection() {
    let server = TestServer::new().await;
    let _clients = [
        viewer(&server, "session:a", "one", 0.0).await,
        viewer(&server, "session:b", "two", 0.0).await,
    ];
    let key = server.key.replace('+', "%2B");
    let states = [
        ("identifier=one".to_owned(), vec![("one", 1)]),
        (encoded(r#"filters=[["is","video",["two"]]]"#), vec![("two", 1)]),
        (encoded(r#"filters=[["is","device",["mobile"]]]"#), vec![]),
        (encoded(&format!(r#"query={{"key":"{key}"}}"#)), vec![("one", 1), ("two", 1)]),
        (encoded(r#"query={"key":"another"}"#), vec![]),
    ];
    for (query, expected) in states {
        let mut stream = server.live(&query).await;
        assert_eq!(stream.answer.status, 200, "{query}");
        let (_, state) = stream.state().await;
        assert_eq!(videos(&state), expected, "{query}");
    }
    // Plays in another timeframe.
    let mut yesterday = server.live("timeframe=yesterday&minimum_watch_seconds=0").await;
    assert_eq!(yesterday.state().await.1["plays"], 0);
    let mut today = server.live("minimum_watch_seconds=0").await;
    assert_eq!(today.state().await.1["plays"], 2);
}

#[tokio::test]
async fn invalid_requests_are_refused_with_the_nearest_name() {
    let server = TestServer::new().await;
    for method in ["GET", "HEAD"] {
        let answer = server.http(method, "/api/v1/live?identifer=intro").send().await;
        assert_eq!(answer.status, 400, "{answer:?}");
        if method == "GET" {
            assert_eq!(answer.json()["code"], "unknown_parameter");
            assert!(answer.error().contains("identifier"), "{answer:?}");
        }
    }
    for query in ["parts=0", "limit=101", "filters=x", "timezone=Mars"] {
        let answer = server.http("GET", "/api/v1/live").query(query).send().await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    assert_eq!(server.http("POST", "/api/v1/live").send().await.status, 405);
    let head = server.http("HEAD", "/api/v1/live").send().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert!(head.body.is_empty(), "{head:?}");
}

#[tokio::test]
async fn a_client_that_resumes_receives_no_state_that_it_has() {
    // The id of a state is the same at both servers.
    let database = Database::new().await;
    let (one, two) = (Process::start(&database).await, Process::start(&database).await);
    let (id, nothing) = one.live("").await.state().await;
    assert_eq!(watching(&nothing), 0);
    let http = two.http("GET", "/api/v1/live").header("last-event-id", &id);
    let mut resumed = EventStream::open(http).await;
    let mut other = two.live("").await;
    assert_eq!(other.state().await.0, id);
    let _client = viewer(&one, "session:a", "intro", 0.0).await;
    let (_, state) = resumed.state().await;
    assert_eq!(watching(&state), 1, "{state}");
    // An id of anything else is no state.
    let http = two.http("GET", "/api/v1/live").header("last-event-id", "7");
    assert_eq!(watching(&EventStream::open(http).await.state().await.1), 1);
}

#[tokio::test]
async fn a_stream_counts_the_viewers_of_all_servers() {
    let database = Database::new().await;
    let (one, two) = (Process::start(&database).await, Process::start(&database).await);
    let (mut here, mut there) = (one.live("").await, two.live("identifier=intro").await);
    let mut client = viewer(&one, "session:a", "intro", 0.0).await;
    let _other = viewer(&two, "session:b", "intro", 30.0).await;
    for stream in [&mut here, &mut there] {
        let state = stream.wait_for(|state| watching(state) == 2).await;
        assert_eq!(videos(&state), [("intro", 2)]);
    }
    client.pause("session:a", 1.0).await;
    for stream in [&mut here, &mut there] {
        // The other viewer is a play after a second.
        stream.wait_for(|state| watching(state) == 1 && state["plays"] != 0).await;
    }
}

#[tokio::test]
async fn an_erased_session_leaves() {
    let server = TestServer::new().await;
    let (mut all, mut intro) = (server.live("").await, server.live("identifier=intro").await);
    let mut client = viewer(&server, "session:a", "intro", 0.0).await;
    let _other = viewer(&server, "session:b", "other", 0.0).await;
    client.pause("session:a", 3.0).await;
    intro.wait_for(|state| state["plays"] == 1 && watching(state) == 0).await;
    let body = json!({ "identifier": "intro", "query": { "key": server.key } });
    let erase = async |body: &Value| {
        let answer = server.http("POST", "/api/v1/erase").json(body).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let mut sure = body.clone();
    sure["dry_run"] = json!(false);
    sure["expect"] = erase(&body).await["sessions"].clone();
    erase(&sure).await;
    // On a busy machine, an erasure delays the sign of life of the server for a moment.
    intro.wait_for(|state| state["plays"] == 0).await;
    all.wait_for(|state| videos(state) == [("other", 1)]).await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let server = TestServer::new().await;
    let mut stream = server.live("").await;
    stream.state().await;
    let stopping = server.begin_stop();
    assert_eq!(stream.next().await, Received::End);
    soon(stopping).await.unwrap();
}

const OURS: &str = "ours";

/// Lets everybody read one key.
#[derive(Debug)]
struct OnlyOurs;

#[async_trait::async_trait]
impl Access for OnlyOurs {
    async fn decide(&self, request: &Parts, wanted: Purpose) -> Decision {
        match request.headers.get("x-nobody") {
            None if wanted == Purpose::Report => {
                Decision::AllowKeys(vec![ApiKey::new(OURS).unwrap()])
            }
            _ => Decision::forbidden(),
        }
    }
}

#[tokio::test]
async fn a_caller_receives_the_viewers_of_its_keys() {
    let server = TestServer::with(Settings::default().access(OnlyOurs)).await;
    assert!(server.metrics.import_key(&ApiKey::new(OURS).unwrap()).await.unwrap());
    let _theirs = viewer(&server, "session:a", "theirs", 0.0).await;
    let mut client = server.connect().await;
    OURS.clone_into(&mut client.key);
    client.join("session:b", "ours").await;
    client.play("session:b", 0.0).await;
    let (_, state) = server.live("").await.state().await;
    assert_eq!((videos(&state), watching(&state)), (vec![("ours", 1)], 1));
    let key = server.key.replace('+', "%2B");
    let other = server.live(&encoded(&format!(r#"query={{"key":"{key}"}}"#))).await;
    assert_eq!(other.answer.status, 403);
    let nobody = server.http("GET", "/api/v1/live").header("x-nobody", "1").send().await;
    assert_eq!(nobody.status, 403);
}

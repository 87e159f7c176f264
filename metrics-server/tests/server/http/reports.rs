//! Reports: the forms of requests and responses, and errors that name their field.

use metrics_server_testing::{Answer, Http, TestServer, Watched, soon};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{REPORTS, watched};

/// Sends a request, and expects the one play of `intro`.
async fn check_one_play(request: Http) {
    let answer = request.send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["views"][0]["views"], 1, "{answer:?}");
}

#[tokio::test]
async fn a_report_can_be_requested_in_three_ways() {
    let server = watched().await;
    let body = json!({ "identifier": "intro", "interval": "1 day" });
    for path in ["/api/v1/plays", "/api/v1/views"] {
        check_one_play(server.http("POST", path).json(&body)).await;
        // The body has no JSON type, as `curl -X GET -d` sends it.
        check_one_play(
            server
                .http("GET", path)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.to_string()),
        )
        .await;
        check_one_play(server.http("GET", path).json(&body)).await;
        check_one_play(server.http("GET", path).query("identifier=intro&interval=1%20day")).await;
        check_one_play(server.http("GET", path).query("identifier=intro&interval=1+day")).await;
        check_one_play(server.http("POST", path).query("identifier=intro")).await;
        let query = format!("query=%7B%22key%22%3A%22{}%22%7D", server.key.replace('+', "%2B"));
        check_one_play(server.http("GET", path).query(&query)).await;
    }
}

#[tokio::test]
async fn parameters_of_the_body_win() {
    let server = watched().await;
    let request = server.http("POST", "/api/v1/plays").query("identifier=outro&interval=nonsense");
    check_one_play(request.json(&json!({ "identifier": "intro", "interval": "1 day" }))).await;
}

#[tokio::test]
async fn every_report_has_its_form() {
    let server = watched().await;
    let report =
        async |report: &str| server.report(report, &json!({ "identifier": "intro" })).await;
    assert!(report("plays").await["views"].is_array());
    assert_eq!(report("plays").await["views"][0]["total_view_time"], 3.0);
    assert_eq!(report("engagement").await["engagement"].as_array().unwrap().len(), 10);
    assert_eq!(report("sources").await, json!({ "sources": [] }));
    assert_eq!(report("watching").await, json!({ "watching": 0 }));
}

#[tokio::test]
async fn a_selection_without_a_video_is_an_empty_list() {
    let server = watched().await;
    for selection in [
        json!({ "identifier": "unknown" }),
        // A value that no session can have is a valid selection all the same.
        json!({ "identifier": "in\0tro" }),
        json!({ "query": { "video": { "a": "\0" } } }),
        json!({ "identifier": "intro", "query": { "session": { "\0": 1 } } }),
    ] {
        let report = async |report: &str| server.report(report, &selection).await;
        assert_eq!(report("plays").await, json!({ "views": [] }));
        assert_eq!(report("engagement").await, json!({ "engagement": [] }));
        assert_eq!(report("sources").await, json!({ "sources": [] }));
        assert_eq!(report("watching").await, json!({ "watching": 0 }));
    }
}

#[tokio::test]
async fn a_bad_parameter_is_named() {
    let server = watched().await;
    for (name, body) in [
        ("identifier", json!({ "identifier": 7 })),
        ("query", json!({ "query": "key" })),
        ("timeframe", json!({ "identifier": "intro", "timeframe": "a while" })),
        (
            "interval",
            json!({ "identifier": "intro", "interval": "1 day'; drop table sessions; --" }),
        ),
        ("interval", json!({ "identifier": "intro", "interval": "0 days" })),
        ("timezone", json!({ "identifier": "intro", "timezone": "Middle/Earth" })),
        ("minimum_watch_seconds", json!({ "identifier": "intro", "minimum_watch_seconds": -1 })),
    ] {
        let answer = server.http("POST", "/api/v1/plays").json(&body).send().await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.error().contains(name), "{body}: {answer:?}");
    }
    for ranges in [json!(0), json!(10_001), json!(-1), json!("many")] {
        let body = json!({ "identifier": "intro", "ranges": ranges });
        let answer = server.http("POST", "/api/v1/engagement").json(&body).send().await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.error().contains("ranges"), "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_that_a_client_sends_is_a_server_error() {
    let server = watched().await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(5_000), close.repeat(5_000));
    let mut bodies: Vec<Vec<u8>> = [
        "nonsense",
        "[]",
        "null",
        "7",
        "\"intro\"",
        "{",
        "{\"identifier\":",
        "\u{0}",
        "{\"identifier\":\"\\ud800\"}",
        "{\"identifier\":[[]]}",
        "{\"identifier\":{}}",
        "{\"query\":{\"video\":7}}",
        "{\"query\":{\"video\":[1]}}",
        "{\"query\":{\"key\":7}}",
        "{\"query\":{\"key\":\"\"}}",
        "{\"query\":{}}",
        "{\"query\":[]}",
        "{\"query\":{\"unknown\":1}}",
        "{\"identifier\":\"intro\",\"timeframe\":{}}",
        "{\"identifier\":\"intro\",\"timeframe\":{\"from\":1e300}}",
        "{\"identifier\":\"intro\",\"timeframe\":-1e18}",
        "{\"identifier\":\"intro\",\"timeframe\":\"99999999999 years\"}",
        "{\"identifier\":\"intro\",\"timeframe\":{\"from\":\"2024-02-30\"}}",
        "{\"identifier\":\"intro\",\"interval\":\"99999999999999999999 years\"}",
        "{\"identifier\":\"intro\",\"interval\":1e999}",
        "{\"identifier\":\"intro\",\"interval\":\"1 nanosecond\"}",
        "{\"identifier\":\"intro\",\"interval\":\"1 second\",\"timeframe\":0,\"fill\":true}",
        "{\"identifier\":\"intro\",\"ranges\":1e10}",
        "{\"identifier\":\"intro\",\"fill\":\"maybe\"}",
        "{\"identifier\":\"intro\",\"minimum_watch_seconds\":1e300}",
        "{\"identifier\":\"' or 1=1 --\"}",
        "{\"identifier\":\"intro\",\"identifier\":7}",
        "{\"query\":{\"video\":{\"a\":1e308}}}",
        "{\"query\":{\"video\":{\"\":null}}}",
    ]
    .map(|body| body.as_bytes().to_vec())
    .to_vec();
    bodies.push(b"{\"identifier\":\"\xff\"}".to_vec());
    bodies.push(deep("[", "]").into_bytes());
    bodies.push(format!("{{\"query\":{{\"video\":{{\"a\":{}}}}}}}", deep("[", "]")).into_bytes());
    bodies.push(format!("{{\"query\":{{\"video\":{}}}}}", deep("{\"a\":", "}")).into_bytes());
    for report in REPORTS {
        for body in &bodies {
            let answer =
                server.http("POST", &format!("/api/v1/{report}")).body(body.clone()).send().await;
            check_client_error_or_ok(&answer, &String::from_utf8_lossy(body));
        }
        for query in [
            "identifier",
            "identifier=%",
            "identifier=%ff%fe",
            "query=%7B",
            "query=nonsense",
            "timeframe=%7B%7D",
            "identifier=intro&interval=%00",
            "&&&=&=",
            "identifier=intro&ranges=1.5",
            "identifier=a&identifier=b",
        ] {
            let answer = server.http("GET", &format!("/api/v1/{report}")).query(query).send().await;
            check_client_error_or_ok(&answer, query);
        }
    }
}

#[track_caller]
fn check_client_error_or_ok(answer: &Answer, sent: &str) {
    let sent = &sent.chars().take(100).collect::<String>();
    match answer.status {
        200 => assert!(answer.json().is_object(), "{sent}"),
        400 => {
            let error = answer.error().to_lowercase();
            for leak in ["sqlite", "select ", "panicked", "/root", "/tmp", "127.0.0.1"] {
                assert!(!error.contains(leak), "{sent}: {error}");
            }
        }
        _ => panic!("{sent}: {answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_first_plays_at_once_are_of_one_video() {
    const VIEWERS: usize = 20;
    let server = TestServer::new().await;
    let mut viewers = JoinSet::new();
    for viewer in 0..VIEWERS {
        let mut client = server.connect().await;
        viewers.spawn(async move {
            let topic = format!("session:{viewer}");
            let join = json!({ "key": client.key, "identifier": "intro", "metadata": { "a": 1, "b": [2] } });
            assert_eq!(client.call(&topic, "phx_join", &join).await, Value::Null);
            client.play(&topic, 0.0).await;
            client.pause(&topic, 2.0).await;
        });
    }
    soon(viewers.join_all()).await;
    let seconds = 2.0 * VIEWERS as f64;
    let expected = Watched { plays: VIEWERS as u64, seconds, unique: seconds };
    assert_eq!(server.watched("intro").await, expected);
    let by_metadata = json!({ "query": { "video": { "b": [2] } } });
    assert_eq!(server.select(&by_metadata).await, expected);
}

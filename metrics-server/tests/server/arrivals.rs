//! Where viewers come from: what clients tell, as dimensions of queries.

use metrics_server_testing::{CHROME, Poller, Server, TestServer};
use serde_json::{Value, json};

/// The values of a dimension, with the plays of each, ordered by value.
pub(crate) async fn plays_by(server: &Server, dimension: &str) -> Value {
    let query = json!({ "metrics": ["plays"], "dimensions": [dimension], "minimum_watch_seconds": 0,
        "order_by": [[dimension, "asc"]] });
    let answer = server.http("POST", "/api/v1/query").json(&query).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.json()["results"].as_array().unwrap().clone();
    rows.iter().map(|row| json!([row["dimensions"][0], row["metrics"][0]])).collect()
}

/// A join of the video `intro`, with these members.
fn join(server: &Server, members: &Value) -> Value {
    let mut join = json!({ "key": server.key, "identifier": "intro" });
    join.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    join
}

/// A batch of a play with these members, and a pause.
pub(crate) async fn batch_from(
    server: &Server,
    headers: &[(&str, &str)],
    session: &str,
    members: &Value,
) {
    let event = |name, at| {
        json!({ "name": name, "key": server.key, "session_id": session, "embed_id": "intro",
            "video_time": at, "timestamp": 1_718_000_000_000_u64 + at })
    };
    let (mut play, pause) = (event("play", 0), event("pause", 5));
    play.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let mut http = server.http("POST", "/v1/events");
    for (name, value) in headers {
        http = http.header(name, value);
    }
    let answer = http.json(&json!({ "events": [play, pause] })).send().await;
    assert_eq!(answer.json(), json!({ "accepted": 2, "rejected": [] }));
}

async fn batch(server: &Server, session: &str, members: &Value) {
    batch_from(server, &[("user-agent", CHROME)], session, members).await;
}

#[tokio::test]
async fn clients_tell_where_viewers_come_from() {
    let server = TestServer::new().await;
    let told = json!({ "referrer": "https://www.news.example/story?id=7", "utm_source": "letter",
        "utm_medium": "mail", "utm_campaign": "May sale" });
    let mut client = server.connect().await;
    assert_eq!(client.call("session:a", "phx_join", &join(&server, &told)).await, Value::Null);
    client.play("session:a", 0.0).await;
    let mut poller = Poller::open(&server).await;
    assert_eq!(poller.call("session:b", "phx_join", &join(&server, &told)).await, Value::Null);
    poller.call("session:b", "event", &json!({ "name": "play", "from": 0 })).await;
    batch(&server, "c", &told).await;
    batch(&server, "d", &json!({ "utm_source": "ads" })).await;

    for (dimension, expected) in [
        ("referrer", json!([[null, 1], ["news.example", 3]])),
        ("utm_source", json!([["ads", 1], ["letter", 3]])),
        ("utm_medium", json!([[null, 1], ["mail", 3]])),
        ("utm_campaign", json!([[null, 1], ["May sale", 3]])),
        ("country", json!([[null, 4]])),
    ] {
        assert_eq!(plays_by(&server, dimension).await, expected, "{dimension}");
    }
}

#[tokio::test]
async fn what_tells_nothing_is_ignored() {
    let server = TestServer::new().await;
    let own = json!({ "source_url": "https://example.com/watch?utm_source=not-read",
        "referrer": "https://www.example.com/list" });
    // A client does not choose its country.
    let other = json!({ "referrer": 7, "utm_source": ["a"], "utm_medium": null, "utm_campaign": {},
        "country": "NL" });
    let useless = json!({ "referrer": "about:blank", "utm_source": "me@example.com",
        "utm_medium": "\u{1} ", "utm_campaign": "" });
    let mut client = server.connect().await;
    for (session, members) in [("a", &own), ("b", &other), ("c", &useless)] {
        let topic = format!("session:{session}");
        assert_eq!(client.call(&topic, "phx_join", &join(&server, members)).await, Value::Null);
        client.play(&topic, 0.0).await;
        batch(&server, &format!("{session} in a batch"), members).await;
    }
    for dimension in ["referrer", "utm_source", "utm_medium", "utm_campaign", "country"] {
        assert_eq!(plays_by(&server, dimension).await, json!([[null, 6]]), "{dimension}");
    }
}

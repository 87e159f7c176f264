//! No token ever shows a session that it excludes, at any endpoint: random tokens and random requests, against a naive
//! oracle.
//!
//! Session `n` is watched for 2^n seconds, so a sum of view times names the sessions that it counts. Each session has a
//! name of its own as a field and as a value of its data, and each video one in its title: whatever a response is made
//! of, a name in it that the token excludes is a leak.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use metrics_server::{Credentials, Settings, Tokens, Users};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::runtime::Runtime;

use super::oracle::{Part, Session, creators, part};
use super::{SECRET, token};
use metrics_core::ApiKey;
use metrics_server_testing::{Answer, CHROME, Database, TestServer};

/// A token of a user who could read everything at that time, or of nobody.
fn signed(own: &Part, creator: Option<&str>) -> String {
    let mut claims = own.members(true);
    claims["exp"] = (chrono::Utc::now().timestamp() + 3_600).into();
    claims["scope"] = "read live".into();
    if let Some(name) = creator {
        claims["by"] = name.into();
    }
    let part = |it: Value| BASE64_URL_SAFE_NO_PAD.encode(it.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "HS256" })), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The endpoints that read, with further parameters.
fn requests() -> Vec<(&'static str, Value)> {
    let all = json!({ "timeframe": "all" });
    let every = |more: Value| {
        let mut members = all.clone();
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        members
    };
    let by = |dimensions: Value| {
        json!({ "metrics": ["plays", "view_time", "sessions", "peak_concurrent"], "timeframe": "1 day",
            "dimensions": dimensions, "totals": true, "compare": "previous_period" })
    };
    let mut requests = vec![
        ("query", every(json!({ "metrics": ["view_time", "plays"] }))),
        ("plays", every(json!({ "interval": "1 day" }))),
        ("views", all.clone()),
        ("sources", all.clone()),
        ("engagement", every(json!({ "ranges": 3 }))),
        ("engagement", every(json!({ "resolution": "4 steps" }))),
        ("watching", json!({})),
        ("videos", every(json!({ "metrics": ["view_time"] }))),
        ("videos", every(json!({ "search": "title" }))),
        ("fields", all.clone()),
        ("export/sessions", json!({ "format": "ndjson" })),
        ("export/sessions", json!({ "format": "csv" })),
    ];
    for dimension in ["session.own", "session.plan", "video", "video.title", "page", "key"] {
        requests.push(("query", by(json!([dimension]))));
    }
    requests.push(("dimensions/session.own", json!({})));
    requests.push(("dimensions/video.title", json!({ "search": "title" })));
    for table in ["export/plays", "export/sources", "export/engagement"] {
        requests.push((table, all.clone()));
    }
    requests.push(("export/query", by(json!(["session.own", "video.title"]))));
    requests.push(("export/videos", all));
    requests
}

/// The rows of a response with these names.
fn rows(answer: &Answer, name: &str) -> Vec<Value> {
    answer.json()[name].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone()
}

/// Checks the numbers of a response against the sessions that it must count.
fn check_numbers(endpoint: &str, parameters: &Value, answer: &Answer, selected: &[&Session]) {
    let seconds: u64 = selected.iter().map(|it| 1 << it.number).sum();
    let count = selected.len() as u64;
    let sum = |rows: &[Value], name: &str| {
        rows.iter().map(|row| row[name].as_f64().unwrap()).sum::<f64>() as u64
    };
    match endpoint {
        "query" if parameters.get("dimensions").is_none() => {
            let metrics = &rows(answer, "results")[0]["metrics"];
            assert_eq!(metrics, &json!([seconds, count]));
        }
        "query" => {
            let rows = rows(answer, "results");
            let of = |at: usize| -> u64 {
                rows.iter().map(|row| row["metrics"][at].as_u64().unwrap()).sum()
            };
            assert_eq!((of(0), of(1)), (count, seconds));
            assert_eq!(answer.json()["totals"]["metrics"][1], json!(seconds));
        }
        "plays" | "views" => {
            assert_eq!(sum(&rows(answer, "views"), "total_view_time"), seconds);
        }
        "sources" => assert_eq!(sum(&rows(answer, "sources"), "views"), count),
        "watching" => assert_eq!(answer.json(), json!({ "watching": 0 })),
        "fields" => {
            let fields = rows(answer, "fields");
            let of_plan = fields.iter().find(|it| it["name"] == "session.plan");
            assert_eq!(of_plan.map_or(0, |it| it["sessions"].as_u64().unwrap()), count);
        }
        "dimensions/session.own" | "dimensions/video.title" => {
            assert_eq!(sum(&rows(answer, "values"), "plays"), count);
        }
        "export/sessions" if parameters["format"] == "ndjson" => {
            let body = String::from_utf8_lossy(&answer.body);
            assert_eq!(body.matches("{\"started_at\"").count(), selected.len());
        }
        _ => {}
    }
}

/// Checks that a response names no session that the token excludes, and no video without another.
fn check_names(answer: &Answer, sessions: &[Session], is_visible: impl Fn(&Session) -> bool) {
    let body = String::from_utf8_lossy(&answer.body);
    for session in sessions.iter().filter(|it| !is_visible(it)) {
        assert!(!body.contains(&session.name()), "{} is in {body}", session.name());
        let is_shared = sessions.iter().any(|it| is_visible(it) && it.title() == session.title());
        assert!(is_shared || !body.contains(&session.title()), "{} is in {body}", session.title());
    }
}

async fn recorded() -> TestServer {
    // A password that nobody has.
    let hash =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let lines = creators().into_iter().map(|(name, part)| {
        let within = part.members(true);
        format!("{name} editor {hash} {within}\n")
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let users = Users::open(file).unwrap();
    let users = users.operator(Credentials::new("ada", "open sesame").unwrap());
    let settings = Settings::default().tokens(Tokens::new(SECRET).unwrap()).users(users);
    let server = Database::new().await.without_rates().serve(settings).await;
    for key in ["one", "two"] {
        assert!(server.metrics.import_key(&ApiKey::new(key).unwrap()).await.unwrap());
    }
    for session in Session::all() {
        session.record(&server).await;
    }
    server
}

/// Checks all endpoints with a token that `own` limits, as do the present rights of its creator.
async fn check(server: &TestServer, own: &Part, creator: Option<&(&str, Part)>, asked: &Part) {
    let sessions = Session::all();
    let token = signed(own, creator.map(|(name, _)| *name));
    let rights = creator.map(|(_, rights)| rights.clone()).unwrap_or_default();
    let is_visible = |it: &Session| own.holds(it) && rights.holds(it);
    let selected: Vec<_> = sessions.iter().filter(|it| is_visible(it) && asked.holds(it)).collect();
    let is_within = |inner: &Option<Vec<&str>>, outer: &Option<Vec<&str>>| match (inner, outer) {
        (Some(inner), Some(outer)) => inner.iter().all(|key| outer.contains(key)),
        _ => true,
    };
    let is_refused = !is_within(&own.keys, &rights.keys);
    let keys = own.keys.clone().or(rights.keys.clone());
    let names_other_key = !is_within(&asked.keys, &keys);
    for (endpoint, parameters) in requests() {
        let mut parameters = parameters;
        parameters
            .as_object_mut()
            .unwrap()
            .extend(asked.members(false).as_object().unwrap().clone());
        let path = format!("/api/v1/{endpoint}?token={token}");
        let answer = server.http("POST", &path).json(&parameters).send().await;
        let context = format!("{endpoint} {parameters} with {} of {creator:?}", own.members(true));
        if is_refused {
            assert_eq!(answer.status, 401, "{context}");
            continue;
        }
        if names_other_key {
            assert_eq!(answer.status, 403, "{context}");
            continue;
        }
        assert_eq!(answer.status, 200, "{context}: {answer:?}");
        let checked = std::panic::catch_unwind(|| {
            check_numbers(endpoint, &parameters, &answer, &selected);
            check_names(&answer, &sessions, is_visible);
        });
        assert!(checked.is_ok(), "{context}: {answer:?}");
    }
    let mut stream = server.live(&live_query(&token, asked)).await;
    if is_refused || names_other_key {
        assert_eq!(stream.answer.status, if is_refused { 401 } else { 403 });
        return;
    }
    let (_, state) = stream.state().await;
    assert_eq!((&state["plays"], &state["videos"]), (&json!(selected.len()), &json!([])));
}

/// The query string of a stream of today's sessions.
fn live_query(token: &str, asked: &Part) -> String {
    let members = asked.members(false);
    let members = members.as_object().unwrap().iter().map(|(name, it)| (&**name, it.to_string()));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("token", token).extend_pairs(members).finish()
}

#[test]
fn no_token_shows_a_session_that_it_excludes() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(recorded());
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let creator = proptest::option::weighted(0.6, proptest::sample::select(creators()));
    let strategy = (part(2), creator, prop_oneof![Just(Part::default()), part(1)]);
    let ran = TestRunner::new(config).run(&strategy, |(own, creator, asked)| {
        runtime.block_on(check(&server, &own, creator.as_ref(), &asked));
        Ok(())
    });
    if let Err(err) = ran {
        panic!("{err}");
    }
}

/// Sends a request with a token that permits some metrics.
async fn send_with(
    server: &TestServer,
    metrics: &[&str],
    endpoint: &str,
    parameters: &Value,
) -> Answer {
    let token = token(server, &json!({ "metrics": metrics })).await;
    let path = format!("/api/v1/{endpoint}?token={token}");
    server.http("POST", &path).json(parameters).send().await
}

/// A token that permits some metrics discloses no other number, and reads no list of them from limits of filters.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_metrics_reads_no_other_number() {
    let server = recorded().await;
    let send = async |metrics: &[&str], endpoint: &str, parameters: Value| {
        send_with(&server, metrics, endpoint, &parameters).await
    };
    let all = json!({ "timeframe": "all" });
    let of_plays = &["plays", "view_time", "unique_view_time"][..];
    for (endpoint, needed) in [
        ("plays", of_plays),
        ("views", of_plays),
        ("export/plays", of_plays),
        ("sources", &["plays"]),
        ("dimensions/video", &["plays"]),
        ("export/sources", &["plays"]),
        ("engagement", &["engagement"]),
        ("export/engagement", &["engagement"]),
        ("watching", &["watching"]),
        ("fields", &["sessions"]),
    ] {
        let parameters = if endpoint == "watching" { json!({}) } else { all.clone() };
        let permitted = send(needed, endpoint, parameters.clone()).await;
        assert_eq!(permitted.status, 200, "{endpoint} {permitted:?}");
        for missing in needed {
            let others: Vec<_> = needed.iter().filter(|it| *it != missing).copied().collect();
            let others = [&others[..], &["failures"]].concat();
            let refused = send(&others, endpoint, parameters.clone()).await;
            assert_eq!(refused.status, 403, "{endpoint} without {missing}");
        }
    }
    for endpoint in ["query", "videos", "export/query", "export/videos"] {
        let own = send(&["plays", "engagement"], endpoint, all.clone()).await;
        assert_eq!(own.status, 200, "{endpoint}");
        assert!(!String::from_utf8_lossy(&own.body).contains("4095"), "{endpoint} {own:?}");
        for more in [json!(["view_time"]), json!(["plays", "view_time"])] {
            let answer = send(&["plays"], endpoint, json!({ "metrics": more })).await;
            assert_eq!(answer.status, 403, "{endpoint} {more}");
        }
    }
    for parameters in [
        json!({ "filters": [">", "view_time", 10] }),
        json!({ "filters": ["not", ["and", ["is", "failures", 0]]] }),
        json!({ "filters": ["or", ["is", "device", ["mobile"]], ["watched", 0, 60]] }),
        json!({ "minimum_watch_seconds": 60 }),
    ] {
        for endpoint in ["sources", "query", "videos"] {
            let answer = send(&["plays"], endpoint, parameters.clone()).await;
            assert_eq!(answer.status, 403, "{endpoint} {parameters}");
        }
    }
    assert_eq!(send(&["plays"], "export/sessions", json!({})).await.status, 403);
}

/// Durations and times of plays are numbers that no name in a list of metrics stands for.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_metrics_reads_no_durations_and_times() {
    let server = recorded().await;
    let unlisted = token(&server, &json!({})).await;
    let path = format!("/api/v1/videos?timeframe=all&token={unlisted}");
    let whole = rows(&server.http("GET", &path).send().await, "results");
    let narrow = rows(
        &send_with(&server, &["plays"], "videos", &json!({ "timeframe": "all" })).await,
        "results",
    );
    assert_eq!((whole.len(), narrow.len()), (3, 3));
    for row in &narrow {
        let whole = whole.iter().find(|it| it["name"] == row["name"]).unwrap();
        for name in ["name", "identifier", "title", "metadata"] {
            assert!(!row[name].is_null() && row[name] == whole[name], "{name}: {row}");
        }
        for name in ["duration", "first_played_at", "last_played_at"] {
            assert!(row[name].is_null() && !whole[name].is_null(), "{name}: {row} {whole}");
        }
    }
    let ndjson = json!({ "timeframe": "all", "format": "ndjson", "metrics": ["plays"] });
    let file = send_with(&server, &["plays"], "export/videos", &ndjson).await;
    let file = String::from_utf8(file.body).unwrap();
    assert_eq!(file.lines().count(), 3, "{file}");
    for row in file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert!(!row["title"].is_null(), "{row}");
        for name in ["duration", "first_played_at", "last_played_at"] {
            assert!(row.get(name).is_none_or(Value::is_null), "{name}: {row}");
        }
    }
}

/// A request that cannot be narrowed is refused, however wide the token is.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_changes_nothing() {
    let server = recorded().await;
    let token = token(&server, &json!({ "scope": "read live write", "key": "one" })).await;
    let erase = json!({ "query": { "key": "one" }, "dry_run": true });
    for (method, path, body) in [
        ("GET", "/metrics", None),
        ("GET", "/api/v1/keys", None),
        ("POST", "/api/v1/keys", Some(json!({}))),
        ("PATCH", "/api/v1/keys/one", Some(json!({ "name": "Mine" }))),
        ("DELETE", "/api/v1/keys/one", None),
        ("POST", "/api/v1/erase", Some(erase)),
        ("POST", "/api/v1/tokens", Some(json!({}))),
        ("DELETE", "/api/v1/tokens/a", None),
    ] {
        let http = server.http(method, &format!("{path}?token={token}"));
        let http = http.header("user-agent", CHROME);
        let answer = match body {
            Some(body) => http.json(&body).send().await,
            None => http.send().await,
        };
        assert_eq!(answer.status, 403, "{method} {path} {answer:?}");
    }
}

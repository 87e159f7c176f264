//! No token ever shows a session that it excludes, at any endpoint: random tokens and random requests, against a naive
//! oracle.
//!
//! Session `n` is watched for 2^n seconds, so a sum of view times names the sessions that it counts. Each session has a
//! name of its own as a field and as a value of its data, and each video one in its title: whatever a response is made
//! of, a name in it that the token excludes is a leak.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{batch, guarded, token};
use metrics_core::ApiKey;
use metrics_server_testing::{Answer, CHROME, Database, TestServer};

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 \
    (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

const SESSIONS: usize = 12;

/// A session as the oracle knows it.
#[derive(Clone, Debug)]
struct Session {
    number: usize,
    key: &'static str,
    video: usize,
    host: &'static str,
    device: &'static str,
    plan: &'static str,
}

impl Session {
    fn all() -> Vec<Self> {
        let session = |number: usize| Self {
            number,
            key: ["one", "two"][number % 2],
            video: number % 3,
            host: ["a.example", "b.example"][(number / 2) % 2],
            device: ["desktop", "mobile"][(number / 3) % 2],
            plan: ["free", "pro"][(number / 5) % 2],
        };
        (0..SESSIONS).map(session).collect()
    }

    fn identifier(&self) -> String {
        format!("v{}", self.video)
    }

    /// The title of its video under its key, which no other has.
    fn title(&self) -> String {
        format!("title-{}-{}-end", self.key, self.video)
    }

    fn course(&self) -> &'static str {
        ["knots", "ropes", "knots"][self.video]
    }

    /// The text that only this session has.
    fn name(&self) -> String {
        format!("mark-{}-end", self.number)
    }

    async fn record(&self, server: &TestServer) {
        let event = json!({
            "key": self.key, "session_id": self.name(), "embed_id": self.identifier(),
            "metadata": { "title": self.title(), "course": self.course() },
            "session_data": { "plan": self.plan, "own": self.name(), self.name(): true },
            "source_url": format!("https://{}/watch", self.host),
        });
        let seconds = f64::from(1 << self.number);
        let user_agent = if self.device == "mobile" { PHONE } else { CHROME };
        let http = server.http("POST", "/v1/events").header("user-agent", user_agent);
        assert_eq!(http.json(&batch(&event, seconds)).send().await.status, 200);
    }
}

/// A filter, as the oracle evaluates it.
#[derive(Clone, Debug)]
enum Condition {
    Is(&'static str, Vec<String>, bool),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

impl Condition {
    fn holds(&self, session: &Session) -> bool {
        match self {
            Self::Is(dimension, values, is_negated) => {
                let value = match *dimension {
                    "key" => session.key.to_owned(),
                    "video" => session.identifier(),
                    "video.course" => session.course().to_owned(),
                    "page_host" => session.host.to_owned(),
                    "device" => session.device.to_owned(),
                    _ => session.plan.to_owned(),
                };
                values.contains(&value) != *is_negated
            }
            Self::All(parts) => parts.iter().all(|part| part.holds(session)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(session)),
            Self::Not(part) => !part.holds(session),
        }
    }

    fn json(&self) -> Value {
        let list = |name: &str, parts: &[Self]| {
            let parts = parts.iter().map(Self::json);
            std::iter::once(json!(name)).chain(parts).collect()
        };
        match self {
            Self::Is(dimension, values, is_negated) => {
                json!([if *is_negated { "is_not" } else { "is" }, dimension, values])
            }
            Self::All(parts) => list("and", parts),
            Self::Any(parts) => list("or", parts),
            Self::Not(part) => json!(["not", part.json()]),
        }
    }
}

/// The limits of a token or of a request.
#[derive(Clone, Debug, Default)]
struct Part {
    keys: Option<Vec<&'static str>>,
    identifiers: Option<Vec<String>>,
    course: Option<&'static str>,
    plan: Option<&'static str>,
    filter: Option<Condition>,
}

impl Part {
    fn holds(&self, session: &Session) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(&session.key))
            && self.identifiers.as_ref().is_none_or(|all| all.contains(&session.identifier()))
            && self.course.is_none_or(|course| course == session.course())
            && self.plan.is_none_or(|plan| plan == session.plan)
            && self.filter.as_ref().is_none_or(|filter| filter.holds(session))
    }

    /// The members of a token or of a request, which has its key in `query`.
    fn members(&self, is_token: bool) -> Value {
        let mut members = json!({});
        let mut query = json!({});
        if let Some(course) = self.course {
            query["video"] = json!({ "course": course });
        }
        if let Some(plan) = self.plan {
            query["session"] = json!({ "plan": plan });
        }
        match &self.keys {
            Some(keys) if is_token => members["key"] = json!(keys),
            Some(keys) => query["key"] = json!(keys[0]),
            None => {}
        }
        if query != json!({}) {
            members["query"] = query;
        }
        if let Some(identifiers) = &self.identifiers {
            members["identifier"] = json!(identifiers);
        }
        if let Some(filter) = &self.filter {
            members["filters"] = filter.json();
        }
        members
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let values = |dimension: &'static str, all: &'static [&'static str]| {
        let some = proptest::sample::subsequence(all, 1..=all.len());
        (some, any::<bool>()).prop_map(move |(values, is_negated)| {
            let values = values.into_iter().map(str::to_owned).collect();
            Condition::Is(dimension, values, is_negated)
        })
    };
    let leaf = prop_oneof![
        values("key", &["one", "two"]),
        values("video", &["v0", "v1", "v2", "other"]),
        values("video.course", &["knots", "ropes"]),
        values("page_host", &["a.example", "b.example"]),
        values("device", &["desktop", "mobile"]),
        values("session.plan", &["free", "pro"]),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let some = proptest::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            some.clone().prop_map(Condition::All),
            some.prop_map(Condition::Any),
            inner.prop_map(|it| Condition::Not(Box::new(it))),
        ]
    })
}

fn part(keys_max: usize) -> impl Strategy<Value = Part> {
    let keys = proptest::sample::subsequence(&["one", "two"][..], 1..=keys_max);
    let identifiers = proptest::sample::subsequence(&["v0", "v1", "v2", "other"][..], 1..=3);
    let of = proptest::option::weighted::<BoxedStrategy<_>>;
    (
        of(0.5, keys.boxed()),
        proptest::option::weighted(0.3, identifiers),
        proptest::option::weighted(0.2, proptest::sample::select(&["knots", "ropes"][..])),
        proptest::option::weighted(0.2, proptest::sample::select(&["free", "pro"][..])),
        proptest::option::weighted(0.6, condition()),
    )
        .prop_map(|(keys, identifiers, course, plan, filter)| Part {
            keys,
            identifiers: identifiers.map(|all| all.into_iter().map(str::to_owned).collect()),
            course,
            plan,
            filter,
        })
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
    let server = Database::new().await.without_rates().serve(guarded()).await;
    for key in ["one", "two"] {
        assert!(server.metrics.import_key(&ApiKey::new(key).unwrap()).await.unwrap());
    }
    for session in Session::all() {
        session.record(&server).await;
    }
    server
}

async fn check(server: &TestServer, own: &Part, asked: &Part) {
    let sessions = Session::all();
    let token = token(server, &own.members(true)).await;
    let selected: Vec<_> = sessions.iter().filter(|it| own.holds(it) && asked.holds(it)).collect();
    let names_other_key = match (&own.keys, &asked.keys) {
        (Some(own), Some(asked)) => !own.contains(&asked[0]),
        _ => false,
    };
    for (endpoint, parameters) in requests() {
        let mut parameters = parameters;
        parameters
            .as_object_mut()
            .unwrap()
            .extend(asked.members(false).as_object().unwrap().clone());
        let path = format!("/api/v1/{endpoint}?token={token}");
        let answer = server.http("POST", &path).json(&parameters).send().await;
        let context = format!("{endpoint} {parameters} with {}", own.members(true));
        if names_other_key {
            assert_eq!(answer.status, 403, "{context}");
            continue;
        }
        assert_eq!(answer.status, 200, "{context}: {answer:?}");
        let checked = std::panic::catch_unwind(|| {
            check_numbers(endpoint, &parameters, &answer, &selected);
            check_names(&answer, &sessions, |it| own.holds(it));
        });
        assert!(checked.is_ok(), "{context}: {answer:?}");
    }
    let mut stream = server.live(&live_query(&token, asked)).await;
    if names_other_key {
        assert_eq!(stream.answer.status, 403);
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
    let strategy = (part(2), prop_oneof![Just(Part::default()), part(1)]);
    let ran = TestRunner::new(config).run(&strategy, |(own, asked)| {
        runtime.block_on(check(&server, &own, &asked));
        Ok(())
    });
    if let Err(err) = ran {
        panic!("{err}");
    }
}

/// A token that permits some metrics discloses no other number, and reads no list of them from limits of filters.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_metrics_reads_no_other_number() {
    let server = recorded().await;
    let send = async |metrics: &[&str], endpoint: &str, parameters: Value| {
        let token = token(&server, &json!({ "metrics": metrics })).await;
        let path = format!("/api/v1/{endpoint}?token={token}");
        server.http("POST", &path).json(&parameters).send().await
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

//! Access tokens at a server: accepted in two places, narrowed, created, revoked, and shared by instances.

mod endpoints;
mod languages;
mod live;
mod oracle;

use http::request::Parts;
use metrics_core::ApiKey;
use metrics_server::{Access, Cors, Credentials, Decision, Grant, Purpose, Role, Settings, Tokens};
use metrics_server_testing::{Answer, Database, Process, Server, TestServer, binary};
use serde_json::{Value, json};

pub(super) const SECRET: &str = "a secret of thirty-two bytes or more";
pub(super) const USER: &str = "Basic YWRhOm9wZW4gc2VzYW1l";

/// Settings with tokens, and with a password for everything else.
pub(super) fn guarded() -> Settings {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    Settings::default().tokens(Tokens::new(SECRET).unwrap()).access(credentials)
}

/// Creates a token as the operator.
pub(super) async fn create(server: &Server, members: &Value) -> Answer {
    let http = server.http("POST", "/api/v1/tokens").header("authorization", USER);
    http.json(members).send().await
}

pub(super) async fn token(server: &Server, members: &Value) -> String {
    let created = create(server, members).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.json()["token"].as_str().unwrap().to_owned()
}

/// A batch of a play at 0 and a pause, with the other members of `event`.
fn batch(event: &Value, seconds: f64) -> Value {
    let at = |name: &str, at: f64| {
        let mut event = event.clone();
        event["name"] = name.into();
        event["video_time"] = at.into();
        event
    };
    json!({ "events": [at("play", 0.0), at("pause", seconds)] })
}

/// Records a session of a key, under an id of its own.
pub(super) async fn record(server: &Server, event: &Value, seconds: f64) {
    let sent = server.http("POST", "/v1/events").json(&batch(event, seconds)).send().await;
    assert_eq!(sent.json(), json!({ "accepted": 2, "rejected": [] }));
}

async fn get(server: &Server, path: &str, token: &str) -> Answer {
    server.http("GET", path).header("authorization", &format!("Bearer {token}")).send().await
}

/// A server with two keys, each with a play of its own video.
async fn shared() -> TestServer {
    let server = Database::new().await.serve(guarded()).await;
    for (key, seconds) in [("ours", 1.0), ("theirs", 2.0)] {
        assert!(server.metrics.import_key(&ApiKey::new(key).unwrap()).await.unwrap());
        let event = json!({ "key": key, "session_id": "a", "embed_id": format!("video of {key}") });
        record(&server, &event, seconds).await;
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_accepted_in_two_places_and_narrows_what_is_read() {
    let server = shared().await;
    let ours = token(&server, &json!({ "key": "ours" })).await;
    let all = token(&server, &json!({})).await;
    let seconds = |answer: Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        let views = answer.json()["views"].as_array().unwrap().clone();
        views.iter().map(|it| it["total_view_time"].as_f64().unwrap()).sum::<f64>()
    };
    assert_eq!(seconds(get(&server, "/api/v1/plays", &ours).await), 1.0);
    assert_eq!(seconds(get(&server, "/api/v1/plays", &all).await), 3.0);
    let path = format!("/api/v1/plays?token={ours}");
    assert_eq!(seconds(server.http("GET", &path).send().await), 1.0);
    // The token wins over a password, which permits more.
    let both = server.http("GET", &path).header("authorization", USER);
    assert_eq!(seconds(both.send().await), 1.0);
    let posted = server.http("POST", &path).json(&json!({ "query": {} }));
    assert_eq!(seconds(posted.send().await), 1.0);
    for (path, status) in [
        (format!("/api/v1/plays?token={ours}&token={all}"), 401),
        (format!("/api/v1/plays?token={}", &ours[1..]), 401),
        ("/api/v1/plays?token=".to_owned(), 401),
        ("/api/v1/plays".to_owned(), 401),
    ] {
        assert_eq!(server.http("GET", &path).send().await.status, status, "{path}");
    }
    let two = get(&server, &path, &all).await;
    assert_eq!((two.status, two.json()["code"].as_str()), (401, Some("invalid_token")));
    assert_eq!(two.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_secret_accepts_no_token() {
    let server = shared().await;
    let ours = token(&server, &json!({ "key": "ours" })).await;
    let open = server.database.serve(Settings::default()).await;
    assert_eq!(open.http("GET", "/api/v1/plays").send().await.status, 200);
    assert_eq!(get(&open, "/api/v1/plays", &ours).await.status, 401);
    let answer = open.http("POST", "/api/v1/tokens").json(&json!({})).send().await;
    assert_eq!(answer.status, 403);
    assert!(answer.error().contains("METRICS_TOKEN_SECRET"), "{answer:?}");
    // So the page offers no share link.
    let may = open.http("GET", "/api/v1/me").send().await.json()["may"].to_string();
    assert!(may.contains("create_keys") && !may.contains("tokens"), "{may}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_read_with_a_token() {
    let settings = guarded().cors(Cors::Listed(vec!["https://listed.example".to_owned()]));
    let server = TestServer::with(settings).await;
    let token = token(&server, &json!({})).await;
    let from = [("origin", "https://cms.example"), ("sec-fetch-site", "cross-site")];
    let send = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let http = server.http(method, path);
        let all = from.iter().chain(headers);
        let answer = all.fold(http, |http, (name, value)| http.header(name, value)).send().await;
        let allowed = answer.header("access-control-allow-origin").map(str::to_owned);
        (answer.status, allowed, answer.header("referrer-policy").map(str::to_owned))
    };
    let any = || Some("*".to_owned());
    let no_referrer = || Some("no-referrer".to_owned());
    let path = format!("/api/v1/plays?token={token}");
    assert_eq!(send("GET", &path, &[]).await, (200, any(), no_referrer()));
    let bearer = format!("Bearer {token}");
    let bearer = ("authorization", &*bearer);
    assert_eq!(send("GET", "/api/v1/plays", &[bearer]).await, (200, any(), no_referrer()));
    assert_eq!(send("OPTIONS", "/api/v1/plays", &[]).await, (204, any(), None));
    assert_eq!(send("GET", "/api/v1/plays?token=a.b.c", &[]).await, (401, any(), no_referrer()));
    // A password is the authority of the browser, which other pages must not use.
    assert_eq!(send("GET", "/api/v1/plays", &[("authorization", USER)]).await, (403, None, None));
    // The page itself is not embedded by them.
    let (status, allowed, policy) = send("GET", &format!("/?token={token}"), &[]).await;
    assert_eq!((status, allowed, policy), (200, None, no_referrer()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_token_permits_no_more_than_its_creator() {
    let server = shared().await;
    let ours = token(&server, &json!({ "key": "ours", "metrics": ["plays"] })).await;
    // A token creates none.
    let http = server.http("POST", &format!("/api/v1/tokens?token={ours}")).json(&json!({}));
    assert_eq!(http.send().await.status, 403);
    for (members, status) in [
        (json!({ "scope": ["admin"] }), 400),
        (json!({ "scope": [] }), 400),
        (json!({ "expires_in": "401 days" }), 400),
        (json!({ "expires_in": 0 }), 400),
        (json!({ "expires_in": -1 }), 400),
        (json!({ "exp": 1 }), 400),
        (json!({ "jti": "mine" }), 400),
        (json!({ "filter": [] }), 400),
        (json!({ "filters": [["is", "hour_of_day", ["9"]]] }), 400),
        (json!({ "metrics": ["revenue"] }), 400),
        (json!({ "key": null }), 400),
        (json!({ "scope": ["write"] }), 400),
        (json!({ "scope": ["write"], "key": "ours", "identifier": "a" }), 400),
        (json!({ "identifier": vec!["x".repeat(100); 100] }), 400),
        (json!([]), 400),
        (json!({ "scope": ["write"], "key": "ours", "expires_in": "400 days" }), 201),
        (json!({ "scope": "read live", "expires_in": 60, "query": { "key": "ours" } }), 201),
    ] {
        let created = create(&server, &members).await;
        assert_eq!(created.status, status, "{members} {created:?}");
    }
    let link = create(&server, &json!({})).await.json()["link"].as_str().unwrap().to_owned();
    assert_eq!(server.http("GET", &link).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_learns_what_it_may_do() {
    let server = shared().await;
    let http = server.http("GET", "/api/v1/me").header("authorization", USER);
    let owner = http.send().await.json();
    assert_eq!((&owner["role"], &owner["keys"]), (&json!("owner"), &Value::Null));
    assert_eq!(owner["may"].as_array().unwrap().len(), 11, "{owner}");
    let members = json!({ "key": ["ours", "unknown"], "identifier": "a", "metrics": ["plays"],
        "filters": ["is", "device", ["mobile"]], "scope": ["live"] });
    let narrow = token(&server, &members).await;
    assert_eq!(get(&server, "/api/v1/me", &narrow).await.status, 401, "a key is unknown");
    let members = json!({ "key": "ours", "identifier": "a", "metrics": ["plays"],
        "filters": ["is", "device", ["mobile"]], "scope": ["live"] });
    let mut me = get(&server, "/api/v1/me", &token(&server, &members).await).await.json();
    assert!(me["expires_at"].take().is_string());
    assert_eq!(
        me,
        json!({ "user": null, "role": null, "scope": ["live"], "may": ["page", "live"],
            "keys": [{ "key": "ours", "name": null }], "expires_at": null, "sign_out": false,
            "within": { "identifier": ["a"], "metrics": ["plays"], "filters": ["and", ["is", "device", ["mobile"]]] } })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_permits_its_own_requests_only() {
    let server = shared().await;
    for (scope, plays, watching, page, batch) in [
        ("read", 200, 200, 200, 403),
        ("live", 403, 200, 200, 403),
        ("write", 403, 403, 403, 200),
        ("read live write", 200, 200, 200, 200),
    ] {
        let token = token(&server, &json!({ "key": "ours", "scope": scope })).await;
        let status = async |path: &str| get(&server, path, &token).await.status;
        assert_eq!(status("/api/v1/plays").await, plays, "{scope}");
        assert_eq!(status("/api/v1/watching").await, watching, "{scope}");
        assert_eq!(status("/").await, page, "{scope}");
        let event = json!({ "name": "play", "session_id": "b", "embed_id": "c", "video_time": 0 });
        let http = server.http("POST", &format!("/v1/events?token={token}"));
        let sent = http.json(&json!({ "events": [event] })).send().await;
        assert_eq!(sent.status, batch, "{scope} {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_records_events_of_its_key_only() {
    let server = shared().await;
    let ours = token(&server, &json!({ "key": "ours", "scope": ["write"] })).await;
    let event = |key: Option<&str>| {
        let mut event =
            json!({ "name": "play", "session_id": "z", "embed_id": "c", "video_time": 0 });
        if let Some(key) = key {
            event["key"] = key.into();
        }
        event
    };
    let batch = json!({ "events": [event(None), event(Some("theirs")), event(Some("ours"))] });
    let path = format!("/v1/events?token={ours}&key=theirs");
    let sent = server.http("POST", &path).json(&batch).send().await;
    let rejected =
        json!([{ "index": 1, "reason": "the token is of another key", "code": "forbidden" }]);
    assert_eq!(sent.json(), json!({ "accepted": 2, "rejected": rejected }));
    for (members, status) in [
        (json!({ "key": "ours", "scope": ["read"] }), 403),
        (json!({ "key": "ours", "scope": ["write"], "expires_in": 1 }), 200),
    ] {
        let token = token(&server, &members).await;
        let http = server.http("POST", &format!("/v1/events?token={token}")).json(&batch);
        assert_eq!(http.send().await.status, status, "{members}");
    }
    let forged = server.http("POST", "/v1/events?token=a.b.c").json(&batch);
    assert_eq!(forged.send().await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_by_every_instance_and_after_a_restart() {
    let server = shared().await;
    let another = server.database.serve(guarded()).await;
    let created = create(&server, &json!({ "key": "ours" })).await.json();
    let (revoked, id) = (created["token"].as_str().unwrap(), created["id"].as_str().unwrap());
    let other = token(&server, &json!({ "key": "ours" })).await;
    for server in [&server, &another] {
        assert_eq!(get(server, "/api/v1/plays", revoked).await.status, 200);
    }
    let delete = async |credentials: &str| {
        let http = server.http("DELETE", &format!("/api/v1/tokens/{id}"));
        http.header("authorization", credentials).send().await.status
    };
    assert_eq!(delete(&format!("Bearer {other}")).await, 403);
    assert_eq!(delete(USER).await, 200);
    assert_eq!(delete(USER).await, 200);
    for server in [&server, &another] {
        let answer = get(server, "/api/v1/plays", revoked).await;
        assert_eq!((answer.status, answer.error()), (401, "the token was revoked".to_owned()));
        assert_eq!(get(server, "/api/v1/plays", &other).await.status, 200);
    }
    let restarted = server.restart(guarded()).await;
    assert_eq!(get(&restarted, "/api/v1/plays", revoked).await.status, 401);
    assert_eq!(get(&restarted, "/api/v1/plays", &other).await.status, 200);
}

/// Editors of the keys that a header names.
#[derive(Debug)]
struct Editors;

#[async_trait::async_trait]
impl Access for Editors {
    async fn decide(&self, request: &Parts, _: Purpose) -> Decision {
        let keys = request.headers["keys"].to_str().unwrap().split(',');
        let keys = keys.map(|key| ApiKey::new(key).unwrap());
        Decision::AllowGrant(Grant::keys(keys).role(Role::Editor))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_revokes_tokens_of_own_keys_only() {
    let server = shared().await;
    let editors = server.database.serve(guarded().access(Editors)).await;
    let created = async |members: Value| {
        let created = create(&server, &members).await.json();
        [&created["token"], &created["id"]].map(|it| it.as_str().unwrap().to_owned())
    };
    let revoke = async |id: &str, keys: &str| {
        let http = editors.http("DELETE", &format!("/api/v1/tokens/{id}")).header("keys", keys);
        assert_eq!(http.send().await.status, 200);
    };
    let status = async |token: &str| get(&server, "/api/v1/plays", token).await.status;
    let [ours, id] = created(json!({ "key": "ours" })).await;
    revoke(&id, "theirs").await;
    assert_eq!(status(&ours).await, 200);
    revoke(&id, "theirs,ours").await;
    assert_eq!(status(&ours).await, 401);
    let [both, id] = created(json!({ "key": ["ours", "theirs"] })).await;
    revoke(&id, "ours").await;
    assert_eq!(status(&both).await, 200);
    revoke(&id, "theirs").await;
    assert_eq!(status(&both).await, 401);
    let [all, id] = created(json!({})).await;
    revoke(&id, "ours,theirs").await;
    assert_eq!(status(&all).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_a_revoked_key_are_refused_at_once() {
    let server = shared().await;
    let ours = token(&server, &json!({ "key": "ours" })).await;
    let both = token(&server, &json!({ "key": ["ours", "theirs"] })).await;
    let theirs = token(&server, &json!({ "key": "theirs" })).await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for token in [&ours, &both, &theirs] {
            statuses.push(get(&server, "/api/v1/plays", token).await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 200]);
    let revoke = server.http("DELETE", "/api/v1/keys/ours").header("authorization", USER);
    assert_eq!(revoke.send().await.status, 200);
    assert_eq!(statuses().await, [401, 401, 200]);
    let restore = server.http("PATCH", "/api/v1/keys/ours").header("authorization", USER);
    assert_eq!(restore.json(&json!({ "revoked": false })).send().await.status, 200);
    assert_eq!(statuses().await, [200, 200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_in_no_log() {
    let database = Database::new().await;
    let mut command = binary();
    command.env("DATABASE_URL", database.url()).env("RUST_LOG", "trace");
    command.env("METRICS_TOKEN_SECRET", SECRET);
    let server = Process::run(command).await;
    let token = token(&server, &json!({})).await;
    let wrong = format!("{token}A");
    for (token, status) in [(&token, 200), (&wrong, 401)] {
        for path in ["/", "/api/v1/plays", "/api/v1/me", "/api/v1/export/sessions"] {
            let http = server.http("GET", &format!("{path}?token={token}"));
            assert_eq!(http.send().await.status, status, "{path}");
            assert_eq!(get(&server, path, token).await.status, status, "{path}");
        }
    }
    let log = server.terminate().await;
    let signature = token.rsplit_once('.').unwrap().1;
    for secret in [&*token, signature, SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

//! Authorization by an embedder's `Access`: the reports, keys and pages each caller may read.

use std::future::pending;

use http::request::Parts;
use http_body_util::Full;
use hyper::{Request, Response};
use metrics_core::ApiKey;
use metrics_server::{Access, Body, Decision, Purpose, Service, Settings};
use metrics_server_testing::{Answer, Database, Http, TestServer};
use serde_json::{Value, json};

const OURS: &str = "ours+/==";
const ALSO_OURS: &str = "also-ours";
const THEIRS: &str = "theirs";

/// Takes the caller's name from a header, as an authentication layer in front may set it.
#[derive(Debug)]
struct Tenants;

#[async_trait::async_trait]
impl Access for Tenants {
    async fn decide(&self, request: &Parts, wanted: Purpose) -> Decision {
        let keys = |names: &[&str]| names.iter().map(|name| ApiKey::new(name).unwrap()).collect();
        let who = request.headers.get("x-who").and_then(|who| who.to_str().ok());
        match (who, wanted) {
            (Some("root"), _) => Decision::Allow,
            (Some("one"), _) => Decision::AllowKeys(keys(&[OURS])),
            (Some("two"), _) => Decision::AllowKeys(keys(&[OURS, ALSO_OURS])),
            (Some("none"), _) => Decision::AllowKeys(Vec::new()),
            (Some("reader"), Purpose::Report) => Decision::Allow,
            (Some(_), _) => Decision::forbidden(),
            (None, Purpose::Page) => {
                let login = Response::builder().status(303).header("location", "/login");
                Decision::Refuse(login.body(Body::default()).unwrap())
            }
            (None, _) => Decision::unauthorized("Bearer"),
        }
    }
}

/// A server with `Tenants` as its access control, where each key recorded one play of `intro`.
async fn shared() -> TestServer {
    let server = Database::new().await.serve(Settings::default().access(Tenants)).await;
    for (key, seconds) in [(OURS, 1.0), (ALSO_OURS, 2.0), (THEIRS, 4.0)] {
        assert!(server.metrics.import_key(&ApiKey::new(key).unwrap()).await.unwrap());
        let event = |name: &str, at: f64| {
            json!({ "name": name, "key": key, "session_id": "a", "embed_id": "intro",
                "video_time": at })
        };
        let batch = json!({ "events": [event("play", 0.0), event("pause", seconds)] });
        // Recording needs no decision.
        let sent = server.http("POST", "/v1/events").json(&batch).send().await;
        assert_eq!(sent.json(), json!({ "accepted": 2, "rejected": [] }));
    }
    server
}

async fn send(http: Http, who: &str) -> Answer {
    http.header("x-who", who).send().await
}

/// The view time of `intro` that `who` reads, or the status of the refusal; all reports must agree on the status.
async fn seconds(server: &TestServer, who: &str, key: Option<&str>) -> Result<f64, u16> {
    let mut query = json!({ "identifier": "intro" });
    if let Some(key) = key {
        query["query"] = json!({ "key": key });
    }
    let mut statuses = Vec::new();
    let mut seconds = None;
    let files = ["export/plays", "export/engagement", "export/sources", "export/sessions"];
    for report in ["plays", "views", "engagement", "sources", "watching"].into_iter().chain(files) {
        let http = server.http("POST", &format!("/api/v1/{report}")).json(&query);
        let answer = send(http, who).await;
        statuses.push(answer.status);
        if report == "plays" && answer.status == 200 {
            seconds = answer.json()["views"][0]["total_view_time"].as_f64();
        }
    }
    statuses.dedup();
    match statuses[..] {
        [200] => Ok(seconds.unwrap()),
        [status] => Err(status),
        _ => panic!("reports are not of one mind: {statuses:?}"),
    }
}

#[tokio::test]
async fn a_tenant_reads_sessions_of_its_own_keys_only() {
    let server = shared().await;
    assert_eq!(seconds(&server, "root", None).await, Ok(7.0));
    assert_eq!(seconds(&server, "root", Some(THEIRS)).await, Ok(4.0));
    assert_eq!(seconds(&server, "reader", None).await, Ok(7.0));
    assert_eq!(seconds(&server, "one", None).await, Ok(1.0));
    assert_eq!(seconds(&server, "one", Some(OURS)).await, Ok(1.0));
    assert_eq!(seconds(&server, "one", Some(THEIRS)).await, Err(403));
    assert_eq!(seconds(&server, "one", Some("unknown")).await, Err(403));
    assert_eq!(seconds(&server, "two", Some(ALSO_OURS)).await, Ok(2.0));
    assert_eq!(seconds(&server, "two", None).await, Ok(3.0));
    assert_eq!(seconds(&server, "none", None).await, Err(403));
    assert_eq!(seconds(&server, "somebody", None).await, Err(403));
}

#[tokio::test]
async fn a_tenant_exports_sessions_of_its_own_keys_only() {
    let server = shared().await;
    let export = async |who: &str| {
        send(server.http("GET", "/api/v1/export/sessions?format=ndjson"), who).await
    };
    let all =
        [("root", &[ALSO_OURS, OURS, THEIRS][..]), ("two", &[ALSO_OURS, OURS]), ("one", &[OURS])];
    for (who, keys) in all {
        let answer = export(who).await;
        assert_eq!(answer.status, 200, "{who}");
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let shown = [ALSO_OURS, OURS, THEIRS].into_iter();
        let shown: Vec<_> = shown.filter(|key| body.contains(&format!("\"{key}\""))).collect();
        assert_eq!(shown, keys, "{who}");
    }
    for (who, status) in [("none", 403), ("somebody", 403)] {
        assert_eq!(export(who).await.status, status, "{who}");
    }
}

#[tokio::test]
async fn a_query_string_is_restricted_like_a_body() {
    let server = shared().await;
    let target = |key: &str| {
        let query = format!(r#"%7B%22key%22:%22{key}%22%7D"#);
        format!("/api/v1/plays?identifier=intro&query={query}")
    };
    let views = send(server.http("GET", "/api/v1/plays?identifier=intro"), "one").await.json();
    assert_eq!(views["views"][0]["total_view_time"], 1.0);
    assert_eq!(send(server.http("GET", &target(THEIRS)), "one").await.status, 403);
    // The body wins over the query string, and neither exceeds the keys of the decision.
    let body = json!({ "query": { "key": THEIRS } });
    let http = server.http("POST", "/api/v1/plays?identifier=intro").json(&body);
    assert_eq!(send(http, "one").await.status, 403);
}

/// The keys that `who` can list.
async fn listed(server: &TestServer, who: &str) -> Vec<String> {
    let answer = send(server.http("GET", "/api/v1/keys"), who).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    keys.iter().map(|key| key["key"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_tenant_manages_its_own_keys_only() {
    let server = shared().await;
    assert_eq!(listed(&server, "one").await, [OURS]);
    assert_eq!(listed(&server, "two").await, [OURS, ALSO_OURS]);
    assert_eq!(listed(&server, "none").await, [""; 0]);
    assert_eq!(listed(&server, "root").await.len(), 4);

    let create = async |who: &str, body: Value| {
        send(server.http("POST", "/api/v1/keys").json(&body), who).await.status
    };
    assert_eq!(create("one", json!({})).await, 403);
    assert_eq!(create("one", json!({ "key": "new" })).await, 403);
    assert_eq!(create("one", json!({ "key": THEIRS })).await, 403);
    assert_eq!(create("one", json!({ "key": OURS })).await, 409);
    assert_eq!(create("reader", json!({})).await, 403);
    assert_eq!(create("root", json!({ "key": "new" })).await, 201);

    let revoke = async |who: &str, key: &str| {
        send(server.http("DELETE", &format!("/api/v1/keys/{key}")), who).await.status
    };
    assert_eq!(revoke("one", THEIRS).await, 404);
    assert_eq!(revoke("one", "ours%2B%2F%3D%3D").await, 200);
    assert_eq!(revoke("root", THEIRS).await, 200);
}

/// Limits protect the server from its tenants, and a revocation may have had a reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sets_no_limits_and_restores_no_key() {
    let server = shared().await;
    let patch = async |who: &str, members: Value| {
        let path = "/api/v1/keys/ours+%2F==";
        send(server.http("PATCH", path).json(&members), who).await.status
    };
    assert_eq!(patch("one", json!({ "name": "Ours", "revoked": true })).await, 200);
    for refused in [
        json!({ "revoked": false }),
        json!({ "limits": { "videos": 9 } }),
        json!({ "limits": null }),
        json!({ "name": "Mine", "revoked": false }),
    ] {
        assert_eq!(patch("one", refused.clone()).await, 403, "{refused}");
    }
    let create = json!({ "key": OURS, "limits": { "videos": 9 } });
    assert_eq!(send(server.http("POST", "/api/v1/keys").json(&create), "one").await.status, 403);
    let listed = send(server.http("GET", "/api/v1/keys"), "one").await.json();
    assert_eq!(listed["keys"][0]["settings"], json!({ "name": "Ours" }));
    assert_eq!(patch("root", json!({ "limits": { "videos": 9 }, "revoked": false })).await, 200);
}

#[tokio::test]
async fn the_page_and_the_stats_show_a_tenant_nothing_of_others() {
    let server = shared().await;
    let page = async |who: &str| {
        let answer = send(server.http("GET", "/"), who).await;
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).unwrap()
    };
    // The page itself holds no figure, and no rights but those of its caller, for whom its requests are answered.
    let parts = async |who: &str| {
        let page = page(who).await;
        let (before, rest) = page.split_once("data-me=\"").unwrap();
        let (rights, after) = rest.split_once('"').unwrap();
        (rights.to_owned(), format!("{before}{after}"))
    };
    let ((root, of_root), (one, of_one)) = (parts("root").await, parts("one").await);
    assert_eq!(of_root, of_one);
    assert!(root.contains("stats") && !one.contains("stats"), "{root} {one}");
    assert!(one.contains(OURS) && !one.contains(THEIRS), "{one}");
    let watching =
        async |who: &str| send(server.http("POST", "/api/v1/watching").json(&json!({})), who).await;
    assert_eq!(watching("root").await.json(), json!({ "watching": 0 }));
    assert_eq!(watching("one").await.json(), json!({ "watching": 0 }));
    assert_eq!(send(server.http("GET", "/metrics"), "root").await.status, 200);
    assert_eq!(send(server.http("GET", "/metrics"), "one").await.status, 403);
}

#[tokio::test]
async fn a_refusal_is_answered_as_it_was_made() {
    let server = shared().await;
    let plays = server.http("GET", "/api/v1/plays?identifier=intro").send().await;
    assert_eq!((plays.status, plays.header("www-authenticate")), (401, Some("Bearer")));
    assert!(!plays.error().is_empty());
    let page = server.http("GET", "/").send().await;
    assert_eq!((page.status, page.header("location")), (303, Some("/login")));
    // The server refuses before it reads the body.
    let plays = server.http("POST", "/api/v1/plays").body("no JSON").send().await;
    assert_eq!(plays.status, 401);
}

/// Forbids every request, so that a request which passes needed no decision.
#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl Access for Nobody {
    async fn decide(&self, _: &Parts, _: Purpose) -> Decision {
        Decision::forbidden()
    }
}

#[tokio::test]
async fn viewers_and_probes_need_no_decision() {
    let server = TestServer::with(Settings::default().access(Nobody)).await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 3.0).await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(server.http("GET", path).send().await.status, 200, "{path}");
    }
    for (method, path) in [("OPTIONS", "/v1/events"), ("OPTIONS", "/api/v1/plays")] {
        assert_eq!(server.http(method, path).send().await.status, 204, "{path}");
    }
    for path in ["/", "/metrics", "/api/v1/keys", "/api/v1/plays?identifier=intro"] {
        assert_eq!(server.http("GET", path).send().await.status, 403, "{path}");
    }
}

/// An extension by which the application marks a request that it let through.
#[derive(Clone, Copy)]
struct Allowed;

#[derive(Debug)]
struct AllowsMarked;

#[async_trait::async_trait]
impl Access for AllowsMarked {
    async fn decide(&self, request: &Parts, wanted: Purpose) -> Decision {
        let place = (request.method.as_str(), request.uri.path(), wanted);
        match (request.extensions.get::<Allowed>(), place) {
            (Some(Allowed), ("POST", "/a/api/v1/keys", Purpose::CreateKey)) => Decision::Allow,
            (Some(Allowed), ("GET", "/a/api/v1/keys", Purpose::ListKeys)) => pending().await,
            _ => Decision::forbidden(),
        }
    }
}

#[tokio::test]
async fn a_decision_receives_the_request_as_the_application_changed_it() {
    let server = TestServer::new().await;
    let settings = Settings::default().prefix("/a").access(AllowsMarked);
    let service = Service::new(server.metrics.clone(), settings);
    let status = async |method: &str, allowed: bool| {
        let request = Request::builder().method(method).uri("/a/api/v1/keys");
        let request = if allowed { request.extension(Allowed) } else { request };
        let response = service.respond(request.body(Full::<bytes::Bytes>::default()).unwrap());
        response.await.status().as_u16()
    };
    assert_eq!(status("POST", true).await, 201);
    assert_eq!(status("POST", false).await, 403);
    // A decision that never comes does not block the request for ever.
    tokio::time::pause();
    assert_eq!(status("GET", true).await, 503);
}

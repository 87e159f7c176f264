//! Credentials, and the origins that may read reports.

use metrics_server::{Cors, Settings};
use metrics_server_testing::TestServer;
use serde_json::json;

use super::{AUTHORIZATION, REPORTS, guarded};

#[tokio::test]
async fn reports_and_keys_and_the_page_need_credentials() {
    let server = guarded().await;
    let mut guarded: Vec<_> = REPORTS
        .iter()
        .flat_map(|it| [("GET", format!("/api/v1/{it}")), ("POST", format!("/api/v1/{it}"))])
        .collect();
    for (method, path) in [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/demo"),
        ("GET", "/api/v1/keys"),
        ("POST", "/api/v1/keys"),
        ("DELETE", "/api/v1/keys/abc"),
    ] {
        guarded.push((method, path.to_owned()));
    }
    for (method, path) in guarded {
        let request = server.http(method, &path);
        let refused = request.clone().send().await;
        assert_eq!(refused.status, 401, "{method} {path}: {refused:?}");
        assert_eq!(refused.header("www-authenticate"), Some(r#"Basic realm="metrics""#));
        if method != "HEAD" {
            assert!(!refused.error().is_empty());
        }
        let answer = request.header("authorization", AUTHORIZATION).send().await;
        assert_ne!(answer.status, 401, "{method} {path}: {answer:?}");
    }
    assert_eq!(server.metrics.keys().await.unwrap().len(), 2, "one was there, one was made");
    // The files of the page are the same for everybody: those with a link to the page have no password.
    for path in ["/page/main.js", "/page/tide.webm"] {
        assert_eq!(server.http("GET", path).send().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let server = guarded().await;
    for wrong in [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "YWRhOm9wZW4gc2VzYW1l",
        "Bearer YWRhOm9wZW4gc2VzYW1l",
        // ada: / :open sesame / ada:open sesam / ada:open sesame! / eve:open sesame / no colon
        "Basic YWRhOg==",
        "Basic Om9wZW4gc2VzYW1l",
        "Basic YWRhOm9wZW4gc2VzYW0=",
        "Basic YWRhOm9wZW4gc2VzYW1lIQ==",
        "Basic ZXZlOm9wZW4gc2VzYW1l",
        "Basic YWRhb3BlbiBzZXNhbWU=",
    ] {
        let answer = server.http("GET", "/api/v1/keys").header("authorization", wrong).send().await;
        assert_eq!(answer.status, 401, "{wrong}");
    }
    let right =
        server.http("GET", "/api/v1/keys").header("authorization", AUTHORIZATION).send().await;
    assert_eq!(right.status, 200);
}

#[tokio::test]
async fn viewers_and_probes_need_no_credentials() {
    let server = guarded().await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(server.http("GET", path).send().await.status, 200, "{path}");
    }
    for path in ["/v1/events", "/api/v1/events"] {
        let event = json!({ "name": "play", "session_id": path, "embed_id": "intro", "video_time": 0,
            "timestamp": 1, "key": server.key });
        let answer = server.http("POST", path).json(&json!({ "events": [event] })).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    // A browser sends no credentials with a preflight.
    let answer = server.http("OPTIONS", "/api/v1/plays").send().await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

#[tokio::test]
async fn a_missing_page_is_missing_for_everybody() {
    let server = guarded().await;
    assert_eq!(server.http("GET", "/api/v1/nothing").send().await.status, 404);
}

#[tokio::test]
async fn reports_may_be_read_by_listed_origins_only() {
    let listed =
        Cors::Listed(vec!["https://a.example".to_owned(), "https://b.example:8443".to_owned()]);
    let server = TestServer::with(Settings::default().cors(listed)).await;
    for (origin, allowed) in [
        (Some("https://a.example"), true),
        (Some("https://b.example:8443"), true),
        (Some("https://b.example"), false),
        (Some("http://a.example"), false),
        (Some("https://a.example.evil"), false),
        (Some("null"), false),
        (None, false),
    ] {
        for (method, path) in [
            ("OPTIONS", "/api/v1/plays"),
            ("POST", "/api/v1/plays"),
            ("GET", "/api/v1/export/plays"),
        ] {
            let mut request = server.http(method, path);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = request.send().await;
            let expected = origin.filter(|_| allowed);
            assert_eq!(answer.header("access-control-allow-origin"), expected, "{method} {path}");
        }
    }
}

/// Neither a list of origins nor `*` applies to keys.
#[tokio::test]
async fn keys_are_for_pages_of_no_other_origin() {
    let origin = "https://a.example";
    for cors in [Cors::Own, Cors::Any, Cors::Listed(vec![origin.to_owned()])] {
        let server = TestServer::with(Settings::default().cors(cors)).await;
        let path = format!("/api/v1/keys/{}", server.key);
        for (method, path) in [
            ("GET", "/api/v1/keys"),
            ("POST", "/api/v1/keys"),
            ("DELETE", &*path),
            ("OPTIONS", "/api/v1/keys"),
            ("OPTIONS", &*path),
        ] {
            let answer = server.http(method, path).header("origin", origin).send().await;
            let expected = if method == "OPTIONS" { 204 } else { 403 };
            assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{method} {path}");
        }
        let keys = server.metrics.keys().await.unwrap();
        assert!(keys.len() == 1 && keys[0].disabled_at.is_none(), "{keys:?}");
    }
}

/// Guarded routes are open to pages of other sites only for listed origins, and the refusal names the setting.
#[tokio::test]
async fn a_page_of_another_site_gets_the_setting_that_allows_it() {
    let server = TestServer::new().await;
    for path in ["/", "/metrics", "/api/v1/plays?identifier=a", "/api/v1/export/plays?identifier=a"]
    {
        for site in ["cross-site", "same-site"] {
            let answer = server.http("GET", path).header("sec-fetch-site", site).send().await;
            assert_eq!(answer.status, 403, "{path}: {answer:?}");
            assert!(answer.error().contains("METRICS_CORS_ORIGINS"), "{answer:?}");
        }
        let own = server.http("GET", path).header("sec-fetch-site", "same-origin").send().await;
        assert_eq!(own.status, 200, "{path}: {own:?}");
    }
    // Recording, the script and health are open to all pages.
    for path in ["/metrics.js", "/health/live", "/api/v1/openapi.json"] {
        let answer = server.http("GET", path).header("sec-fetch-site", "cross-site").send().await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let foreign = [("origin", "https://a.example"), ("sec-fetch-site", "cross-site")];
    assert!(server.upgrade("vsn=2.0.0", &foreign).await.is_ok());
    let batch = server.http("POST", "/v1/events").header("origin", "https://a.example");
    let batch = batch.header("sec-fetch-site", "cross-site").header("content-type", "text/plain");
    assert_eq!(batch.body(r#"{"events":[]}"#).send().await.status, 200);
}

#[tokio::test]
async fn reports_may_be_read_by_no_other_origin_by_default() {
    let server = TestServer::new().await;
    let request = server.http("POST", "/api/v1/plays").header("origin", "https://a.example");
    let answer = request.json(&json!({ "identifier": "intro" })).send().await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

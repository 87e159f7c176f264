//! The HTTP API from outside: routes, authorization, and error messages.

use std::io::Read as _;

use metrics_server::{BODY_BYTES_MAX, Cors, Credentials, Settings};
use metrics_server_testing::{Answer, CHROME, Database, Http, TestServer, Watched, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

const REPORTS: [&str; 5] = ["plays", "views", "engagement", "sources", "watching"];

/// `ada:open sesame`
const AUTHORIZATION: &str = "Basic YWRhOm9wZW4gc2VzYW1l";

async fn guarded() -> TestServer {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    TestServer::with(Settings::default().access(credentials)).await
}

/// A server on which `intro` was watched for 3 seconds.
async fn watched() -> TestServer {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 3.0).await;
    server
}

#[tokio::test]
async fn the_binary_asks_a_server_for_its_health() {
    let server = TestServer::new().await;
    let address = server.address.to_string();
    let asking = tokio::task::spawn_blocking(move || {
        let binary = env!("CARGO_BIN_EXE_metrics-server");
        std::process::Command::new(binary).args(["health", "--listen", &address]).output()
    });
    let output = asking.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn health_and_page_are_there_to_get_and_to_look_at() {
    let server = TestServer::new().await;
    for (path, kind) in [
        ("/health/live", "application/json"),
        ("/health/ready", "application/json"),
        ("/", "text/html"),
    ] {
        let got = server.http("GET", path).send().await;
        assert_eq!(got.status, 200, "{got:?}");
        assert!(got.header("content-type").unwrap().starts_with(kind), "{got:?}");
        assert!(!got.body.is_empty());
        let looked = server.http("HEAD", path).send().await;
        assert_eq!((looked.status, &*looked.body), (200, &b""[..]), "{looked:?}");
        assert_eq!(looked.header("content-type"), got.header("content-type"));
        assert_eq!(looked.header("content-length"), got.header("content-length"));
    }
}

#[tokio::test]
async fn a_page_of_any_origin_may_have_the_script() {
    let server = guarded().await;
    for (path, kind, text) in [
        ("/metrics.js", "text/javascript; charset=utf-8", "document.currentScript"),
        ("/metrics.mjs", "text/javascript; charset=utf-8", "export const { monitor }"),
        ("/metrics.d.ts", "text/plain; charset=utf-8", "export function monitor"),
    ] {
        let got = server.http("GET", path).header("origin", "https://site.example").send().await;
        assert_eq!(got.status, 200, "{got:?}");
        assert!(String::from_utf8_lossy(&got.body).contains(text), "{got:?}");
        for (header, value) in [
            ("content-type", kind),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "public, max-age=600"),
        ] {
            assert_eq!(got.header(header), Some(value), "{path}: {got:?}");
        }
        let looked = server.http("HEAD", path).send().await;
        assert_eq!((looked.status, &*looked.body), (200, &b""[..]), "{looked:?}");
        assert_eq!(looked.header("etag"), got.header("etag"));
        assert_eq!(looked.header("content-length"), got.header("content-length"));
        let posted = server.http("POST", path).send().await;
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[tokio::test]
async fn who_has_the_script_is_not_sent_it_again() {
    let server = TestServer::new().await;
    let got = server.http("GET", "/metrics.js").send().await;
    let tag = got.header("etag").unwrap();
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let request = server.http("GET", "/metrics.js").header("if-none-match", &known);
        let answer = request.send().await;
        assert_eq!((answer.status, &*answer.body), (304, &b""[..]), "{known}: {answer:?}");
        assert_eq!(answer.header("etag"), Some(tag));
        assert_eq!(answer.header("cache-control"), got.header("cache-control"));
    }
    let request = server.http("GET", "/metrics.js").header("if-none-match", "\"another\"");
    assert_eq!(request.send().await.body, got.body);
}

#[tokio::test]
async fn the_script_is_compressed_for_clients_that_accept_it() {
    let server = TestServer::new().await;
    for path in ["/metrics.js", "/metrics.mjs", "/metrics.d.ts"] {
        let plain = server.http("GET", path).send().await;
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.header("vary"), Some("accept-encoding"));
        for (accepted, name) in [("gzip, deflate, br, zstd", "br"), ("gzip, br;q=0", "gzip")] {
            let got = server.http("GET", path).header("accept-encoding", accepted).send().await;
            let looked = server.http("HEAD", path).header("accept-encoding", accepted).send().await;
            assert_eq!(decoded(name, &got.body), plain.body, "{path} {name}");
            assert_eq!((looked.status, &*looked.body), (200, &b""[..]), "{looked:?}");
            for (header, value) in [
                ("content-encoding", name),
                ("content-length", &got.body.len().to_string()),
                ("content-type", plain.header("content-type").unwrap()),
                ("vary", "accept-encoding"),
            ] {
                assert_eq!(got.header(header), Some(value), "{path} {name}");
                assert_eq!(looked.header(header), Some(value), "{path} {name}");
            }
        }
    }
}

fn decoded(encoding: &str, mut body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let read = match encoding {
        "br" => brotli::Decompressor::new(&mut body, 4096).read_to_end(&mut decoded),
        _ => flate2::read::GzDecoder::new(&mut body).read_to_end(&mut decoded),
    };
    read.unwrap();
    decoded
}

#[tokio::test]
async fn each_encoding_of_the_script_has_a_tag_of_its_own() {
    let server = TestServer::new().await;
    let get = |encoding| server.http("GET", "/metrics.js").header("accept-encoding", encoding);
    let [plain, gzip, brotli] =
        [get("identity"), get("gzip"), get("br")].map(async |request| request.send().await);
    let (plain, gzip, brotli) = tokio::join!(plain, gzip, brotli);
    let tags = [&plain, &gzip, &brotli].map(|answer| answer.header("etag").unwrap());
    let version = tags[0].trim_matches('"');
    assert_eq!(tags[1..], [format!("\"{version}-gzip\""), format!("\"{version}-br\"")]);
    for (index, encoding) in ["identity", "gzip", "br"].into_iter().enumerate() {
        for (other, tag) in tags.iter().enumerate() {
            let answer = get(encoding).header("if-none-match", tag).send().await;
            let expected = if index == other { 304 } else { 200 };
            assert_eq!(answer.status, expected, "{tag} for {encoding}");
            assert_eq!(answer.header("etag"), Some(tags[index]));
            assert_eq!(answer.header("vary"), Some("accept-encoding"));
            assert_eq!(answer.body.is_empty(), index == other);
        }
    }
}

#[tokio::test]
async fn a_version_of_the_script_never_changes_and_another_leads_to_it() {
    let server = TestServer::new().await;
    for ending in ["js", "mjs"] {
        let current = format!("/metrics.{ending}");
        let got = server.http("GET", &current).send().await;
        let version = got.header("etag").unwrap().trim_matches('"').to_owned();
        let same = server.http("GET", &format!("/metrics.{version}.{ending}")).send().await;
        assert_eq!((same.status, &same.body), (200, &got.body));
        let kept = same.header("cache-control").unwrap();
        assert_eq!(kept, "public, max-age=31536000, immutable");
        let older = server.http("GET", &format!("/metrics.0123456789abcdef.{ending}")).send().await;
        assert_eq!(older.status, 302, "{older:?}");
        assert_eq!(older.header("location"), Some(&current[1..]));
        assert_eq!(older.header("access-control-allow-origin"), Some("*"));
        let other = server.http("GET", &format!("/metrics.latest.{ending}")).send().await;
        assert_eq!(other.status, 404);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = TestServer::new().await;
    for path in [
        "/nothing",
        "/health",
        "/socket",
        "/api/v1",
        "/api/v1/",
        "/api/v1/nothing",
        "/API/V1/plays",
        "/api/v1/../v1/plays",
        "/v1/plays",
    ] {
        for method in ["GET", "POST", "DELETE", "BREW"] {
            let answer = server.http(method, path).send().await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            assert!(!answer.error().is_empty());
        }
    }
}

#[tokio::test]
async fn slashes_that_are_too_many_do_not_matter() {
    let server = TestServer::new().await;
    for path in ["/health/live/", "//health//live", "/api/v1/keys/", "/api/v1//keys"] {
        let answer = server.http("GET", path).send().await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn another_method_is_not_allowed_and_the_answer_says_which_is() {
    let server = TestServer::new().await;
    for (path, methods, allowed) in [
        ("/", &["POST", "DELETE"][..], &["GET", "HEAD"][..]),
        ("/health/live", &["POST"], &["GET", "HEAD"]),
        ("/health/ready", &["PUT"], &["GET", "HEAD"]),
        ("/socket/websocket", &["POST", "HEAD"], &["GET"]),
        ("/socket/longpoll", &["PUT", "HEAD", "DELETE"], &["GET", "POST", "OPTIONS"]),
        ("/v1/events", &["GET", "PUT"], &["POST", "OPTIONS"]),
        ("/api/v1/events", &["GET", "DELETE"], &["POST", "OPTIONS"]),
        ("/api/v1/plays", &["PUT", "DELETE", "PATCH", "BREW"], &["GET", "POST", "OPTIONS"]),
        ("/api/v1/keys", &["DELETE", "PUT"], &["GET", "POST", "OPTIONS"]),
        ("/api/v1/keys/abc", &["GET", "POST", "PUT"], &["DELETE", "PATCH", "OPTIONS"]),
    ] {
        for method in methods {
            let answer = server.http(method, path).send().await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            let listed: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
            assert_eq!(listed, allowed, "{method} {path}");
            if *method != "HEAD" {
                assert!(!answer.error().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn reports_and_keys_and_the_page_ask_for_credentials() {
    let server = guarded().await;
    let mut guarded: Vec<_> = REPORTS
        .iter()
        .flat_map(|it| [("GET", format!("/api/v1/{it}")), ("POST", format!("/api/v1/{it}"))])
        .collect();
    for (method, path) in [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/page/page.js"),
        ("GET", "/page/tide.webm"),
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
async fn a_page_of_another_site_is_told_which_setting_lets_it_read() {
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
async fn reports_may_be_read_by_no_other_origin_unless_said_otherwise() {
    let server = TestServer::new().await;
    let request = server.http("POST", "/api/v1/plays").header("origin", "https://a.example");
    let answer = request.json(&json!({ "identifier": "intro" })).send().await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

/// Sends a request, and expects the one play of `intro`.
async fn check_one_play(request: Http) {
    let answer = request.send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["views"][0]["views"], 1, "{answer:?}");
}

#[tokio::test]
async fn a_report_can_be_asked_for_in_three_ways() {
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
async fn what_the_body_says_wins() {
    let server = watched().await;
    let request = server.http("POST", "/api/v1/plays").query("identifier=outro&interval=nonsense");
    check_one_play(request.json(&json!({ "identifier": "intro", "interval": "1 day" }))).await;
}

#[tokio::test]
async fn every_report_has_its_form() {
    let server = watched().await;
    let ask = async |report: &str| server.report(report, &json!({ "identifier": "intro" })).await;
    assert!(ask("plays").await["views"].is_array());
    assert_eq!(ask("plays").await["views"][0]["total_view_time"], 3.0);
    assert_eq!(ask("engagement").await["engagement"].as_array().unwrap().len(), 10);
    assert_eq!(ask("sources").await, json!({ "sources": [] }));
    assert_eq!(ask("watching").await, json!({ "watching": 0 }));
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
        let ask = async |report: &str| server.report(report, &selection).await;
        assert_eq!(ask("plays").await, json!({ "views": [] }));
        assert_eq!(ask("engagement").await, json!({ "engagement": [] }));
        assert_eq!(ask("sources").await, json!({ "sources": [] }));
        assert_eq!(ask("watching").await, json!({ "watching": 0 }));
    }
}

#[tokio::test]
async fn a_bad_parameter_is_named() {
    let server = watched().await;
    for (name, body) in [
        ("identifier", json!({})),
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
async fn nothing_that_a_client_sends_is_the_fault_of_the_server() {
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

#[tokio::test]
async fn a_body_over_a_mebibyte_is_too_large() {
    let server = TestServer::new().await;
    for path in ["/api/v1/plays", "/api/v1/keys"] {
        let post = server.http("POST", path).header("content-type", "application/json");
        let answer = post.body(" ".repeat(BODY_BYTES_MAX + 1)).send().await;
        assert_eq!(answer.status, 413, "{path}: {answer:?}");
        assert!(!answer.error().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_is_not_waited_for() {
    let server = TestServer::new().await;
    for (start, least, most) in [("GET / HTTP/1.1\r\nhost:", 9, 11), ("", 9, 11)] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let seconds = began.elapsed().as_secs();
        assert!((least..=most).contains(&seconds), "{seconds} s for {start:?}");
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let start = "POST /api/v1/plays HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(start.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("\"error\""), "{answer}");
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

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let server = TestServer::new().await;
    let mut made = vec![server.key.clone()];
    for body in ["", "{}"] {
        let answer = server
            .http("POST", "/api/v1/keys")
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let json = answer.json();
        let key = json["key"].as_str().unwrap();
        assert_eq!((key.len(), &key[22..]), (24, "=="), "{key}");
        made.push(key.to_owned());
    }
    let listed = server.http("GET", "/api/v1/keys").send().await.json();
    let listed = listed["keys"].as_array().unwrap();
    let keys: Vec<_> = listed.iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, made);
    for key in listed {
        assert!(key["created_at"].is_string(), "{key}");
        assert_eq!((&key["disabled_at"], &key["settings"]), (&Value::Null, &json!({})));
    }
}

#[tokio::test]
async fn a_key_can_be_imported_once() {
    let server = TestServer::new().await;
    let import =
        server.http("POST", "/api/v1/keys").json(&json!({ "key": "HDsj3NfKQTNwn5Ix9g+cfQ==" }));
    let answer = import.clone().send().await;
    assert_eq!((answer.status, answer.json()), (201, json!({ "key": "HDsj3NfKQTNwn5Ix9g+cfQ==" })));
    let again = import.send().await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(!again.error().is_empty());
    for bad in [
        "nonsense",
        "[]",
        "[null]",
        r#"["mykey"]"#,
        r#"{"key":""}"#,
        r#"{"key":7}"#,
        r#"{"key":"a b"}"#,
        r#"{"key":"\u00e9"}"#,
    ] {
        let answer = server
            .http("POST", "/api/v1/keys")
            .header("content-type", "application/json")
            .body(bad)
            .send()
            .await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    assert_eq!(server.metrics.keys().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_is_revoked_raw_or_encoded() {
    let server = TestServer::new().await;
    let key = "ab+/cd//e/+==";
    for id in [
        "ab+/cd//e/+==",
        "ab%2B%2Fcd%2F%2Fe%2F%2B%3D%3D",
        "ab%2b%2fcd%2f%2fe%2f%2b%3d%3d",
        "ab+%2Fcd//e%2F%2B==",
    ] {
        let server = TestServer::new().await;
        let import = server.http("POST", "/api/v1/keys").json(&json!({ "key": key }));
        assert_eq!(import.send().await.status, 201);
        let answer = server.http("DELETE", &format!("/api/v1/keys/{id}")).send().await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({ "message": "Key revoked" })),
            "{id}"
        );
        let listed = server.http("GET", "/api/v1/keys").send().await.json();
        assert_eq!(listed["keys"][0]["disabled_at"], Value::Null);
        assert_eq!(listed["keys"][1]["key"], key);
        assert!(listed["keys"][1]["disabled_at"].is_string(), "{listed}");
    }
    for unknown in ["unknown", "ab", "%00", "%ff", "a/b/c"] {
        let answer = server.http("DELETE", &format!("/api/v1/keys/{unknown}")).send().await;
        assert_eq!(answer.status, 404, "{unknown}: {answer:?}");
        let expected = json!({ "error": "Could not revoke key", "code": "unknown_key" });
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_twice_keeps_its_first_time() {
    let server = TestServer::new().await;
    let path = format!("/api/v1/keys/{}", server.key);
    let revoke = server.http("DELETE", &path);
    assert_eq!(revoke.clone().send().await.status, 200);
    let first = server.http("GET", "/api/v1/keys").send().await.json();
    assert_eq!(revoke.send().await.status, 200);
    assert_eq!(server.http("GET", "/api/v1/keys").send().await.json(), first);
}

#[tokio::test]
async fn one_connection_can_ask_more_than_once() {
    let server = TestServer::new().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let ask = server.http("GET", "/health/live").bytes();
    stream.write_all(&ask.repeat(3)).await.unwrap();
    let mut received = Vec::new();
    while received.windows(8).filter(|it| it == b"HTTP/1.1").count() < 3
        || !received.ends_with(b"}")
    {
        soon(stream.read_buf(&mut received)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_room_for_so_many_connections_and_no_more() {
    let server = Database::new().await.serve_some(Settings::default(), 2).await;
    let (one, two) = (server.connect().await, server.connect().await);
    // A websocket holds its permit for as long as it is open.
    let script = || async { server.http("GET", "/metrics.js").send().await.status };
    assert_eq!(script().await, 503);
    assert_eq!(server.http("GET", "/health/live").send().await.status, 200);
    drop(one);
    soon(async { while script().await != 200 {} }).await;
    let stats = server.http("GET", "/metrics").send().await;
    let stats = String::from_utf8(stats.body).unwrap();
    let refused = stats.lines().find(|line| line.starts_with("metrics_connections_refused_total"));
    assert!(refused.is_some_and(|line| !line.ends_with(" 0")), "{stats}");
    drop(two);
}

/// A request that a proxy and a server read differently can bypass checks (request smuggling).
#[tokio::test]
async fn a_request_names_one_host() {
    let server = TestServer::new().await;
    for (head, status) in [
        ("GET /health/live HTTP/1.1\r\n", "400"),
        ("GET /health/live HTTP/1.1\r\nhost: a\r\nhost: a\r\n", "400"),
        ("GET /health/live HTTP/1.0\r\nhost: a\r\nhost: b\r\n", "400"),
        ("GET /health/live HTTP/1.1\r\nhost: a\r\n", "200"),
        ("GET /health/live HTTP/1.0\r\n", "200"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}: {answer}");
    }
}

#[tokio::test]
async fn the_page_says_what_is_stored_and_shows_no_key() {
    let server = watched().await;
    let request = server.http("GET", "/").header("user-agent", CHROME);
    let answer = request.send().await;
    let page = String::from_utf8(answer.body.clone()).unwrap();
    assert!(page.contains("1 session"), "{page}");
    assert!(!page.contains(&server.key), "a key is nothing for a page that anybody may read");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
}

/// Browsers must not guess the type of any response, errors included.
#[tokio::test]
async fn no_answer_is_taken_for_something_else() {
    let server = TestServer::new().await;
    for (path, status) in
        [("/", 200), ("/api/v1/keys", 200), ("/health/live", 200), ("/metrics", 200), ("/x", 404)]
    {
        let answer = server.http("GET", path).send().await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    let page = server.http("GET", "/").send().await;
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cross-origin-resource-policy"), Some("same-origin"));
}

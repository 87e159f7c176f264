//! Routes, methods and connections.

use metrics_server::{BODY_BYTES_MAX, Settings};
use metrics_server_testing::{CHROME, Database, TestServer, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::watched;

#[tokio::test]
async fn the_binary_requests_the_health_of_a_server() {
    let server = TestServer::new().await;
    let address = server.address.to_string();
    let polling = tokio::task::spawn_blocking(move || {
        let binary = env!("CARGO_BIN_EXE_metrics-server");
        std::process::Command::new(binary).args(["health", "--listen", &address]).output()
    });
    let output = polling.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn health_and_page_support_get_and_head() {
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
        let head = server.http("HEAD", path).send().await;
        assert_eq!((head.status, &*head.body), (200, &b""[..]), "{head:?}");
        assert_eq!(head.header("content-type"), got.header("content-type"));
        assert_eq!(head.header("content-length"), got.header("content-length"));
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
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
async fn another_method_is_not_allowed_and_the_response_names_the_allowed_ones() {
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

#[tokio::test]
async fn one_connection_can_send_several_requests() {
    let server = TestServer::new().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = server.http("GET", "/health/live").bytes();
    stream.write_all(&request.repeat(3)).await.unwrap();
    let mut received = Vec::new();
    while received.windows(8).filter(|it| it == b"HTTP/1.1").count() < 3
        || !received.ends_with(b"}")
    {
        soon(stream.read_buf(&mut received)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_limited_by_permits() {
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
async fn the_page_itself_holds_no_key_and_nothing_that_is_stored() {
    let server = watched().await;
    let request = server.http("GET", "/").header("user-agent", CHROME);
    let answer = request.send().await;
    let page = String::from_utf8(answer.body.clone()).unwrap();
    let empty = TestServer::new().await.http("GET", "/").send().await;
    assert_eq!(page.as_bytes(), empty.body, "its requests are answered for their caller");
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

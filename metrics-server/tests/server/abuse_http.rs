//! Abuse by one client over HTTP: the server closes its connection, and no other viewer notices.

use std::time::Duration;

use metrics_server::{BODY_BYTES_MAX, Settings};
use metrics_server_testing::{Bystander, Database, Server, TestServer, Watched, soon};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Longer than any timeout for an action of a client.
const EVER: Duration = Duration::from_secs(3_600);

/// A body that creates a key if the server takes it for a request.
const SMUGGLED: &str = "POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";

/// Sends bytes and reads to the end of the connection. Returns the status of each answer.
async fn statuses(server: &Server, bytes: &[u8]) -> Vec<u16> {
    soon(async {
        let (mut read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
        let mut received = Vec::new();
        // The server may stop reading, and may close the connection, before the last byte.
        let writing = async { drop(write.write_all(bytes).await) };
        let reading = async { drop(read.read_to_end(&mut received).await) };
        tokio::join!(writing, reading);
        let text = String::from_utf8_lossy(&received);
        let lines = text.match_indices("HTTP/1.1 ").map(|(at, start)| &text[at + start.len()..]);
        lines.map(|line| line[..3].parse().unwrap()).collect()
    })
    .await
}

/// A server with a bystander, where no request may create a key.
struct Attacked {
    server: TestServer,
    bystander: Bystander,
}

impl Attacked {
    async fn new() -> Self {
        let server = TestServer::new().await;
        let bystander = Bystander::of(&server).await;
        Self { server, bystander }
    }

    /// Sends bytes, and expects responses with these statuses and then the end.
    async fn check(&self, bytes: &str, expected: &[u16]) {
        let shown: String = bytes.chars().take(200).collect();
        assert_eq!(statuses(&self.server, bytes.as_bytes()).await, expected, "{shown}");
        let keys = self.server.metrics.keys().await.unwrap();
        assert_eq!(keys.len(), 1, "a key was smuggled in by {shown}");
    }

    async fn expect_unharmed(self) {
        self.bystander.expect_unharmed().await;
    }
}

/// The head of a batch with these lines, followed by `rest`.
fn post(lines: &str, rest: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n\r\n{rest}")
}

#[tokio::test]
async fn a_request_with_two_ends_is_the_last_on_its_connection() {
    let attacked = Attacked::new().await;
    let chunked = "transfer-encoding: chunked";
    let length = format!("content-length: {}", SMUGGLED.len() + 5);
    let rest = format!("0\r\n\r\n{SMUGGLED}");
    // The chunked encoding counts, and the bytes after it are no request.
    attacked.check(&post(&format!("{length}\r\n{chunked}"), &rest), &[400]).await;
    attacked.check(&post(&format!("{chunked}\r\n{length}"), &rest), &[400]).await;
    attacked.check(&post(&format!("{chunked}\r\ncontent-length: nonsense"), &rest), &[400]).await;
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn a_length_that_is_not_one_is_refused() {
    let attacked = Attacked::new().await;
    let smuggled = |lines: &str| post(lines, SMUGGLED);
    let length = SMUGGLED.len();
    attacked
        .check(&smuggled(&format!("content-length: 0\r\ncontent-length: {length}")), &[400])
        .await;
    attacked
        .check(&smuggled(&format!("content-length: {length}\r\ncontent-length: 0")), &[400])
        .await;
    for odd in ["0, 0", "+0", "-1", "0x0", "0.0", "", "1e1", "99999999999999999999", "0 0", "\"0\""]
    {
        attacked.check(&smuggled(&format!("content-length: {odd}")), &[400]).await;
    }
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn a_coding_that_is_not_chunked_and_once_is_refused() {
    let attacked = Attacked::new().await;
    let rest = format!("0\r\n\r\n{SMUGGLED}");
    for odd in [
        "chunked, chunked",
        "chunked\r\ntransfer-encoding: chunked",
        "gzip, chunked",
        "gzip\r\ntransfer-encoding: chunked",
        "chunked, identity",
        "identity",
        "xchunked",
        "chunked;a=b",
        "\u{b}chunked",
        "",
    ] {
        attacked.check(&post(&format!("transfer-encoding: {odd}"), &rest), &[400]).await;
    }
    let old = post("transfer-encoding: chunked", &rest).replacen("HTTP/1.1", "HTTP/1.0", 1);
    attacked.check(&old, &[400]).await;
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn a_header_that_others_may_read_differently_is_refused() {
    let attacked = Attacked::new().await;
    let rest = format!("0\r\n\r\n{SMUGGLED}");
    for odd in [
        // A space before the colon, a folded line, lines that end in a carriage return alone, and more.
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding:\r\n chunked",
        "a: b\r\n\ttransfer-encoding: chunked",
        "a: b\rtransfer-encoding: chunked",
        "a: b\0\r\ntransfer-encoding: chunked",
        " a: b\r\ntransfer-encoding: chunked",
        ": b\r\ntransfer-encoding: chunked",
        "transfer-encoding",
        "tr\u{e4}nsfer-encoding: chunked",
    ] {
        attacked.check(&post(odd, &rest), &[400]).await;
    }
    attacked
        .check(&format!("GET /health/live HTTP/1.1\r\n host: localhost\r\n\r\n{SMUGGLED}"), &[400])
        .await;
    attacked.check("GET  /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", &[400]).await;
    attacked.check("GET /health/live HTTP/1.1 \r\nhost: localhost\r\n\r\n", &[400]).await;
    attacked.check("GET /health/live HTTP/3.0\r\nhost: localhost\r\n\r\n", &[400]).await;
    attacked.check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]).await;
    attacked.check("GE\0T /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", &[400]).await;
    attacked.check("GET /health/\u{1}live HTTP/1.1\r\nhost: localhost\r\n\r\n", &[400]).await;
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn a_newline_alone_ends_a_line_like_any_other() {
    let attacked = Attacked::new().await;
    // A recipient may accept it as a line end (RFC 9112, section 2.2); this server always does, so the line after it
    // counts.
    let close = "connection: close";
    let length = SMUGGLED.len();
    attacked
        .check(&post(&format!("a: b\ncontent-length: {length}\r\n{close}"), SMUGGLED), &[400])
        .await;
    let rest = format!("0\r\n\r\n{SMUGGLED}");
    attacked
        .check(&post(&format!("a: b\ntransfer-encoding: chunked\r\n{close}"), &rest), &[400])
        .await;
    attacked
        .check(
            &format!("GET /health/live HTTP/1.1\nhost: localhost\n{close}\n\n{SMUGGLED}"),
            &[200],
        )
        .await;
    // In chunked encoding it is no line end.
    for odd in ["0\n\n", "1\nx\n0\n\n", "1;a\nx\r\n0\r\n\r\n"] {
        attacked
            .check(&post("transfer-encoding: chunked", &format!("{odd}{SMUGGLED}")), &[400])
            .await;
    }
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn chunks_that_are_none_end_the_connection() {
    let attacked = Attacked::new().await;
    for odd in ["x\r\n", "-1\r\n", "0x1\r\nx\r\n", "1 1\r\nx\r\n", "\r\n", "1\r\nxx\r\n0\r\n\r\n"] {
        attacked
            .check(&post("transfer-encoding: chunked", &format!("{odd}{SMUGGLED}")), &[400])
            .await;
    }
    let endless = format!("{}\r\n", "f".repeat(40));
    attacked.check(&post("transfer-encoding: chunked", &endless), &[400]).await;
    let extended = format!("1;{}", "x".repeat(100_000));
    attacked.check(&post("transfer-encoding: chunked", &extended), &[400]).await;
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn the_body_of_a_request_that_has_none_is_no_request() {
    let attacked = Attacked::new().await;
    let ask = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n";
    let (length, close) =
        (format!("content-length: {}\r\n", SMUGGLED.len()), "connection: close\r\n");
    attacked.check(&format!("{ask}{length}{close}\r\n{SMUGGLED}"), &[200]).await;
    // The server may answer the next request or not; the bytes in between are a body.
    let server = TestServer::new().await;
    let bytes = format!("{ask}{length}\r\n{SMUGGLED}{ask}{close}\r\n");
    let response = statuses(&server, bytes.as_bytes()).await;
    assert!(response == [200] || response == [200, 200], "{response:?}");
    assert_eq!(server.metrics.keys().await.unwrap().len(), 1);
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn pipelined_requests_are_executed_one_by_one() {
    let server = TestServer::new().await;
    let last = SMUGGLED.replace("host: localhost", "host: localhost\r\nconnection: close");
    assert_eq!(statuses(&server, format!("{SMUGGLED}{last}").as_bytes()).await, [201, 201]);
    assert_eq!(server.metrics.keys().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let attacked = Attacked::new().await;
    let header =
        |line: &str| format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{line}\r\n\r\n");
    attacked.check(&header(&format!("a: {}", "x".repeat(70_000))), &[431]).await;
    attacked.check(&header(&format!("{}: a", "x".repeat(70_000))), &[431]).await;
    attacked.check(&header(&vec!["a: b"; 200].join("\r\n")), &[431]).await;
    // The head has no end within the size limit.
    attacked
        .check(&format!("GET /health/live HTTP/1.1\r\n{}", "a: b\r\n".repeat(100_000)), &[431])
        .await;
    attacked.check(&"x".repeat(1_000_000), &[431]).await;
    attacked.check(&format!("GET /{}", "x".repeat(1_000_000)), &[431]).await;
    let host =
        format!("GET / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", "x".repeat(60_000));
    attacked.check(&host, &[421]).await;
    attacked.expect_unharmed().await;
}

#[tokio::test]
async fn a_target_of_any_form_leads_nowhere_else() {
    let attacked = Attacked::new().await;
    let close = "connection: close\r\n\r\n";
    attacked
        .check(
            &format!("GET http://evil.example/nothing HTTP/1.1\r\nhost: localhost\r\n{close}"),
            &[404],
        )
        .await;
    attacked
        .check(
            &format!("CONNECT a.example:80 HTTP/1.1\r\nhost: localhost\r\n{close}{SMUGGLED}"),
            &[405],
        )
        .await;
    attacked.check(&format!("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n{close}"), &[404]).await;
    attacked
        .check(&format!("GET /api/v1/keys/%2e%2e/ HTTP/1.1\r\nhost: localhost\r\n{close}"), &[405])
        .await;
    attacked.expect_unharmed().await;
}

/// Sends a request byte by byte, one per second, while a bystander watches. Returns the number of seconds until the
/// server closed the connection, and its response.
async fn trickle(start: &str, rest: &str) -> (u64, String) {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let (mut read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
    let began = Instant::now();
    write.write_all(start.as_bytes()).await.unwrap();
    let trickle = async {
        for byte in rest.bytes().cycle() {
            sleep(Duration::from_secs(1)).await;
            if write.write_all(&[byte]).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    // A reset is an end as well.
    let reading = async { drop(read.read_to_end(&mut answer).await) };
    tokio::select! {
        () = trickle => {}
        ended = timeout(EVER, reading) => ended.unwrap(),
    }
    let seconds = began.elapsed().as_secs();
    bystander.expect_unharmed().await;
    (seconds, String::from_utf8(answer).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_header_that_comes_byte_by_byte_is_waited_for_10_s() {
    for start in ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: localhost\r\nx-"] {
        let (seconds, _) = trickle(start, "a: b\r\n").await;
        assert!((10..=11).contains(&seconds), "{seconds} s for {start:?}");
    }
    // The timeout also applies to a connection that was used before.
    let used = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\nGET";
    let (seconds, answer) = trickle(used, " ").await;
    assert!(
        (10..=11).contains(&seconds) && answer.starts_with("HTTP/1.1 200"),
        "{seconds} {answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_byte_by_byte_is_waited_for_30_s() {
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let (seconds, answer) = trickle(&post(head, "1\r\n"), "x\r\n1\r\n").await;
        assert!((30..=31).contains(&seconds), "{seconds} s for {head}");
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_requests_and_never_reads_is_cut_off() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    // Kept in scope, so that the connection stays open at this end.
    let (_read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
    let requests = server.http("GET", "/").bytes().repeat(1_000);
    let flood = async { while write.write_all(&requests).await.is_ok() {} };
    timeout(EVER, flood).await.expect("it still listens");
    bystander.expect_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_on_one_connection_is_answered_one_by_one() {
    const REQUESTS: usize = 3_000;
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let last = server.http("GET", "/health/ready").header("connection", "close").bytes();
    let flood = [server.http("GET", "/health/ready").bytes().repeat(REQUESTS - 1), last].concat();
    assert_eq!(statuses(&server, &flood).await, vec![200; REQUESTS]);
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_body_in_chunks_that_exceeds_the_limit_is_cut_off() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let without_end = chunk.repeat(2 * BODY_BYTES_MAX / 0x10000);
    for path in ["/v1/events", "/api/v1/plays", "/api/v1/keys"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        let sent = [head, without_end.clone()].concat();
        let response = statuses(&server, sent.as_bytes()).await;
        // The response is empty if a reset overtook it: the client is still sending.
        assert!(response == [413] || response.is_empty(), "{path}: {response:?}");
    }
    bystander.expect_unharmed().await;
}

/// `text` in the gzip format, uncompressed.
fn gzip(text: &[u8]) -> Vec<u8> {
    let crc = text.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let len = u16::try_from(text.len()).unwrap();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    bytes.extend(len.to_le_bytes());
    bytes.extend((!len).to_le_bytes());
    bytes.extend(text);
    bytes.extend((!crc).to_le_bytes());
    bytes.extend(u32::from(len).to_le_bytes());
    bytes
}

#[tokio::test]
async fn nothing_is_unpacked() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    for (path, json) in [("/v1/events", r#"{"events":[]}"#), ("/api/v1/keys", "{}")] {
        let post = || server.http("POST", path).header("content-type", "application/json");
        let plain = post().body(json).send().await;
        assert!(matches!(plain.status, 200 | 201), "{plain:?}");
        let packed = post().header("content-encoding", "gzip").body(gzip(json.as_bytes()));
        let answer = packed.send().await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn bodies_that_are_nested_without_end_are_refused() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(40_000), close.repeat(40_000));
        let member = format!("{{\"key\":{deep},\"events\":{deep},\"identifier\":{deep}}}");
        for path in ["/api/v1/plays", "/api/v1/keys", "/v1/events"] {
            for body in [&member, &open.repeat(100_000)] {
                let post = server.http("POST", path).header("content-type", "application/json");
                let answer = post.body(body.as_str()).send().await;
                // It is a valid batch all the same, of one invalid event.
                let is_batch = answer.status == 200 && answer.json()["accepted"] == 0;
                assert!(answer.status == 400 || is_batch, "{path}: {answer:?}");
            }
        }
    }
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn large_bodies_that_do_not_end_keep_only_each_other_waiting() {
    const LARGE: usize = 32;
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut stalled = JoinSet::new();
    for _ in 0..LARGE {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("connection: close\r\ncontent-length: {BODY_BYTES_MAX}");
        stream.write_all(post(&head, &" ".repeat(BODY_BYTES_MAX - 1)).as_bytes()).await.unwrap();
        stalled.spawn(async move {
            let mut answer = String::new();
            timeout(EVER, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
            answer
        });
    }
    // Bodies of the usual size do not wait.
    let event = json!({ "name": "play", "key": server.key, "session_id": "a", "embed_id": "intro",
        "video_time": 0, "timestamp": 1, "padding": "x".repeat(60_000) });
    let batch = server.http("POST", "/v1/events").json(&json!({ "events": [event] }));
    assert_eq!(batch.send().await.json()["accepted"], 1);
    while let Some(answer) = stalled.join_next().await {
        let answer = answer.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("too long to arrive"),
            "{answer}"
        );
    }
    let large = server.http("POST", "/v1/events").body(" ".repeat(BODY_BYTES_MAX));
    assert_eq!(large.send().await.status, 400, "there is room again");
    bystander.expect_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_request_reports_and_end_delay_nobody() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    for path in
        ["/api/v1/plays?identifier=bystander", "/api/v1/engagement?identifier=bystander", "/"]
    {
        for _ in 0..200 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(&server.http("GET", path).bytes()).await.unwrap();
        }
    }
    assert_eq!(server.http("GET", "/health/ready").send().await.status, 200);
    bystander.expect_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_batches_does_not_delay_others() {
    const BATCHES: usize = 20;
    const SESSIONS: usize = 256;
    let database = Database::new().await.without_rates();
    let server = database.serve(Settings::default()).await;
    let bystander = Bystander::of(&server).await;
    for batch in 0..BATCHES {
        let events = (0..SESSIONS).map(|number| {
            json!({ "name": "play", "key": server.key, "session_id": format!("{batch}-{number}"),
                "embed_id": "flood", "video_time": 0, "duration": 10, "timestamp": 1 })
        });
        let events: Vec<_> = events.collect();
        let answer =
            server.http("POST", "/v1/events").json(&json!({ "events": events })).send().await;
        assert_eq!(answer.json(), json!({ "accepted": SESSIONS, "rejected": [] }));
    }
    bystander.expect_unharmed().await;
    assert_eq!(server.watched("flood").await.plays, (BATCHES * SESSIONS) as u64);
    assert_eq!(server.watched("nothing").await, Watched::NOTHING);
}

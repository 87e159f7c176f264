//! Pages of other sites that send requests with an operator's credentials, while a bystander watches.

use metrics_server::{Credentials, Hosts, Settings};
use metrics_server_testing::{Answer, Bystander, Server, TestServer, soon, split_head};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// `ada:open sesame`, as a browser sends it with any page's requests.
const LOGIN: &str = "Basic YWRhOm9wZW4gc2VzYW1l";

/// Sends a request head with this `host` header, and returns the response.
async fn request_as(server: &Server, host: &str, request: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    soon(stream.read_to_end(&mut received)).await.unwrap();
    let (head, body) = split_head(&received).unwrap();
    Answer { body: body.to_vec(), ..Answer::parse(head) }
}

#[tokio::test]
async fn a_form_of_another_site_creates_no_key_in_the_name_of_an_operator() {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    for settings in [Settings::default(), Settings::default().access(credentials)] {
        let server = TestServer::with(settings).await;
        let form = r#"{"key":"known","x":"="}"#;
        let keys = |kind| {
            let request = server.http("POST", "/api/v1/keys").header("authorization", LOGIN);
            request.header("content-type", kind).body(form)
        };
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
            for headers in [
                &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")][..],
                &[("sec-fetch-site", "same-site")],
                &[("origin", "https://evil.example")],
                &[("origin", "null")],
            ] {
                let request =
                    headers.iter().fold(keys(kind), |it, (name, value)| it.header(name, value));
                let answer = request.send().await;
                assert_eq!(answer.status, 403, "{kind} {headers:?}: {answer:?}");
            }
        }
        // A form of a browser without these headers cannot send JSON either.
        let answer = keys("text/plain").send().await;
        assert_eq!(
            (answer.status, answer.error()),
            (415, "`content-type` must be application/json (with curl: --json)".to_owned())
        );
        assert_eq!(server.metrics.keys().await.unwrap().len(), 1);
        let bystander = Bystander::of(&server.clone()).await;
        let own = keys("application/json").header("sec-fetch-site", "same-origin");
        let own = own.body(r#"{"key":"known"}"#).send().await;
        assert_eq!(own.status, 201, "{own:?}");
        // A server without a password, which the bystander needs to read its view time.
        let open = server.database.serve(Settings::default()).await;
        bystander.counted_by(&open).expect_unharmed().await;
    }
}

#[tokio::test]
async fn a_name_that_leads_here_by_dns_reads_and_changes_nothing() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let evil = "host: evil.example:3000\r\norigin: http://evil.example:3000\r\n";
    let revoke = format!("DELETE /api/v1/keys/{}", server.key);
    for request in
        ["GET /", "GET /metrics", "GET /api/v1/keys", "GET /api/v1/plays?identifier=a", &revoke]
    {
        let answer = request_as(&server, evil, request).await;
        assert_eq!(answer.status, 421, "{request}: {answer:?}");
        let reported = answer.error();
        assert!(
            reported.contains("evil.example") && reported.contains("METRICS_HOSTS"),
            "{reported}"
        );
        // A name in another header changes nothing.
        let forwarded = format!("{evil}x-forwarded-host: localhost\r\n");
        assert_eq!(request_as(&server, &forwarded, request).await.status, 421);
    }
    for request in ["GET /health/live", "GET /metrics.js", "GET /socket/longpoll?vsn=2.0.0"] {
        assert_eq!(request_as(&server, evil, request).await.status, 200, "{request}");
    }
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn listed_names_and_those_behind_a_password_are_answered() {
    let listed = Hosts::Listed(vec!["*.internal.example".to_owned()]);
    let server = TestServer::with(Settings::default().hosts(listed)).await;
    let keys = "GET /api/v1/keys";
    assert_eq!(request_as(&server, "host: metrics.internal.example\r\n", keys).await.status, 200);
    assert_eq!(request_as(&server, "host: internal.example\r\n", keys).await.status, 421);
    let guarded = Settings::default().access(Credentials::new("ada", "open sesame").unwrap());
    let server = TestServer::with(guarded).await;
    assert_eq!(request_as(&server, "host: any.example\r\n", keys).await.status, 401);
    let login = format!("host: any.example\r\nauthorization: {LOGIN}\r\n");
    let answer = request_as(&server, &login, keys).await;
    assert_eq!(answer.json()["keys"][0]["key"], json!(server.key));
}

//! A service within another server: under a path, with some of its routes, behind the traits of routers.

use std::convert::Infallible;
use std::future::poll_fn;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use metrics_server::{Body, Routes, Service, Settings};
use metrics_server_testing::{CHROME, Client, Http, Server, TestServer, Watched, soon};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service as _;

const PREFIX: &str = "/analytics";

/// A method and a path for each part of a service.
const ALL: [(&str, &str, Routes); 10] = [
    ("GET", "/", Routes::PAGE),
    ("GET", "/health/live", Routes::HEALTH),
    ("GET", "/health/ready", Routes::HEALTH),
    ("GET", "/metrics", Routes::STATS),
    ("GET", "/api/v1/plays?identifier=intro", Routes::REPORTS),
    ("GET", "/api/v1/watching?identifier=intro", Routes::REPORTS),
    ("HEAD", "/api/v1/live", Routes::REPORTS),
    ("GET", "/api/v1/keys", Routes::KEYS),
    ("OPTIONS", "/api/v1/keys/abc", Routes::KEYS),
    ("OPTIONS", "/v1/events", Routes::BATCHES),
];

/// Watches 3 seconds of `intro`, over the websocket at this path.
async fn watch(server: &Server, path: &str) {
    let http = Http::new(server.address, "GET", path).query("vsn=2.0.0");
    let http = http.header("user-agent", CHROME);
    let mut client = Client::upgrade(http, server.key.clone()).await.unwrap();
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 3.0).await;
}

#[tokio::test]
async fn under_a_prefix_everything_is_as_without() {
    let server = TestServer::with(Settings::default().prefix("analytics/")).await;
    for (method, path, _) in ALL {
        let answer = server.http(method, &format!("{PREFIX}{path}")).send().await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    }
    watch(&server, "/analytics/socket/websocket").await;
    let event = |name: &str, at: f64| {
        json!({ "name": name, "key": server.key, "session_id": "b", "embed_id": "intro",
            "video_time": at })
    };
    let batch = json!({ "events": [event("play", 0.0), event("pause", 2.0)] });
    let sent = server.http("POST", "/analytics/v1/events").json(&batch).send().await;
    assert_eq!(sent.json(), json!({ "accepted": 2, "rejected": [] }));
    let plays = server.http("GET", "/analytics/api/v1/plays?identifier=intro").send().await.json();
    assert_eq!(plays["views"][0]["views"], 2);
    assert_eq!(plays["views"][0]["total_view_time"], 5.0);
}

#[tokio::test]
async fn paths_outside_the_prefix_are_not_of_the_service() {
    let server = TestServer::with(Settings::default().prefix(PREFIX)).await;
    for (method, path, _) in ALL {
        for path in [path.to_owned(), format!("/analyticsx{path}"), format!("/x{PREFIX}{path}")] {
            let answer = server.http(method, &path).send().await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_description_names_the_path_of_the_api() {
    let described = async |settings, path: &str| {
        let server = TestServer::with(settings).await;
        server.http("GET", &format!("{path}/api/v1/openapi.json")).send().await.json()
    };
    let plain = described(Settings::default(), "").await;
    assert!(plain.get("servers").is_none(), "{plain}");
    let odd = "/a\"b\\";
    for (settings, path, expected) in [
        (Settings::default().prefix("analytics/"), PREFIX, PREFIX),
        (Settings::default().stripped_prefix(PREFIX), "", PREFIX),
        (Settings::default().stripped_prefix(odd), "", odd),
    ] {
        let mut placed = described(settings, path).await;
        let servers = placed.as_object_mut().unwrap().remove("servers");
        assert_eq!(servers, Some(json!([{ "url": expected }])));
        assert_eq!(placed, plain, "the rest is the same");
    }
}

#[tokio::test]
async fn disabled_routes_are_not_found() {
    for left in [
        Routes::PAGE,
        Routes::HEALTH,
        Routes::STATS,
        Routes::REPORTS,
        Routes::KEYS,
        Routes::BATCHES,
    ] {
        let only = TestServer::with(Settings::default().routes(left)).await;
        let without = TestServer::with(Settings::default().routes(Routes::ALL.without(left))).await;
        for (method, path, among) in ALL {
            let (in_only, in_without) =
                (only.http(method, path).send().await, without.http(method, path).send().await);
            let found = [in_only.status != 404, in_without.status != 404];
            assert_eq!(found, [among == left, among != left], "{left:?}: {method} {path}");
        }
        let socket = only.upgrade("vsn=2.0.0", &[]).await;
        assert_eq!(socket.err().map(|answer| answer.status), Some(404), "{left:?}");
        watch(&without, "/socket/websocket").await;
    }
}

#[tokio::test]
async fn a_service_reports_which_requests_are_its_own() {
    let server = TestServer::new().await;
    let settings = || Settings::default().prefix(PREFIX);
    let service = Service::new(server.metrics.clone(), settings().routes(Routes::INGEST));
    for (path, owned) in [
        ("/analytics/socket/websocket", true),
        ("/analytics/v1/events", true),
        ("/analytics/api/v1/plays", false),
        ("/analytics", false),
        ("/socket/websocket", false),
        ("/analytics.html", false),
    ] {
        assert_eq!(service.owns(path), owned, "{path}");
    }
    assert!(Service::new(server.metrics.clone(), settings()).owns("/analytics"));
}

/// Serves connections: the service's own paths, and a page of the application for all others.
async fn serve_beside(listener: TcpListener, service: Service) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service.clone();
        let both = service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move {
                Ok::<_, Infallible>(if service.owns(request.uri().path()) {
                    service.respond(request).await
                } else {
                    Response::new(Body::from("the application"))
                })
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), both)
            .with_upgrades();
        tokio::spawn(connection);
    }
}

#[tokio::test]
async fn it_serves_with_the_routes_of_an_application() {
    let recording = TestServer::new().await;
    let service = Service::new(recording.metrics.clone(), Settings::default().prefix(PREFIX));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server { address, key: recording.key.clone() };
    let serving = tokio::spawn(serve_beside(listener, service.clone()));

    for path in ["/", "/analytic", "/analytics/nothing", "/socket/websocket"] {
        assert_eq!(server.http("GET", path).send().await.body, b"the application", "{path}");
    }
    assert_eq!(server.http("GET", "/analytics/health/live").send().await.json()["status"], "ok");
    watch(&server, "/analytics/socket/websocket").await;
    assert_eq!(recording.watched("intro").await, Watched::once(3.0));
    soon(service.close_sockets()).await;
    serving.abort();
}

#[tokio::test]
async fn it_is_a_service_of_tower() {
    let server = TestServer::new().await;
    let mut service = Service::new(server.metrics.clone(), Settings::default());
    poll_fn(|cx| tower_service::Service::<Request<Full<Bytes>>>::poll_ready(&mut service, cx))
        .await
        .unwrap();
    let request = Request::get("/health/live").body(Full::<Bytes>::default()).unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn it_is_a_service_of_hyper() {
    let recording = TestServer::new().await;
    let service = Service::new(recording.metrics.clone(), Settings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service.clone())
        .with_upgrades();
    let serving = tokio::spawn(connection);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(client))
            .await
            .unwrap();
    let asking = tokio::spawn(connection);
    let request = Request::get("/health/live").header("host", "a").body(Full::default()).unwrap();
    assert_eq!(soon(sender.send_request(request)).await.unwrap().status(), 200);
    drop(sender);
    soon(asking).await.unwrap().unwrap();
    soon(serving).await.unwrap().unwrap();
}

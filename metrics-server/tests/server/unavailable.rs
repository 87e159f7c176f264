//! An unavailable store: viewers notice only late acknowledgements, and no event is lost.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_core::recorder::{Spool, WAITING_MAX};
use metrics_core::{ApiKey, Join, PlayerEvent, Video};
use metrics_server::Settings;
use metrics_server_testing::{Database, Process, Server, TestServer, Watched, binary, soon};
use metrics_testing::{Backend, Faults, Proxy};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const TOPIC: &str = "session:0b61d2cf-6fd1-4d2e-8d7c-5f3f5d3f8a52";

/// Longer than the timeouts of clients.
const LONG: Duration = Duration::from_secs(45);

/// A server, and a switch that makes its store unavailable.
async fn server(settings: Settings) -> (TestServer, Arc<AtomicUsize>) {
    let database = Database::new().await;
    let store = Faults::default().over(database.open().await);
    let failures = store.intercept.failures();
    let server = database.serve_over(Arc::new(store), settings, 1_000).await;
    assert!(server.metrics.accepts_key(&ApiKey::new(&server.key).unwrap()).await.unwrap());
    (server, failures)
}

async fn health(server: &Server) -> (u16, Value) {
    let answer = server.http("GET", "/health/ready").send().await;
    (answer.status, answer.json())
}

fn batch(server: &Server) -> Value {
    let event = |name: &str, time: f64, timestamp: i64| {
        json!({ "name": name, "session_id": "batched", "embed_id": "batched", "video_time": time,
            "timestamp": timestamp, "key": server.key })
    };
    json!({ "events": [event("play", 0.0, 1), event("pause", 2.0, 2_001)] })
}

#[tokio::test(start_paused = true)]
async fn viewers_stay_and_others_come_while_the_store_is_unavailable() {
    let (server, failures) = server(Settings::default()).await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    client.play(TOPIC, 0.0).await;
    assert_eq!(health(&server).await, (200, json!({ "status": "ok" })));

    failures.store(100, Relaxed);
    let paused = client.push(TOPIC, "event", &json!({ "name": "pause", "to": 3 })).await;
    assert!(timeout(LONG, client.next_ever()).await.is_err(), "it is acknowledged");
    // The connection is still open half a minute later.
    let heartbeat = client.push("phoenix", "heartbeat", &json!({})).await;
    assert_eq!(client.answer_to(&heartbeat).await, Value::Null);
    let mut other = server.connect().await;
    other.join("session:another", "intro").await;
    let played =
        other.push("session:another", "event", &json!({ "name": "play", "from": 7 })).await;
    assert!(timeout(Duration::from_secs(5), other.next_ever()).await.is_err());

    let (status, body) = health(&server).await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.starts_with("the store is unavailable since 2"), "{reason}");
    assert!(
        reason.ends_with(" events wait in memory, and further events are accepted"),
        "{reason}"
    );
    let stats = server.http("GET", "/metrics").send().await;
    let stats = String::from_utf8(stats.body).unwrap();
    assert!(stats.contains("\nmetrics_store_up 0\n"), "{stats}");

    failures.store(0, Relaxed);
    assert_eq!(client.answer_to(&paused).await, Value::Null);
    assert_eq!(other.answer_to(&played).await, Value::Null);
    other.pause("session:another", 8.0).await;
    assert_eq!(health(&server).await, (200, json!({ "status": "ok" })));
    let stats = server.http("GET", "/metrics").send().await;
    let stats = String::from_utf8(stats.body).unwrap();
    assert!(stats.contains("\nmetrics_waiting_events 0\n"), "{stats}");
    let expected = Watched { plays: 2, seconds: 4.0, unique: 4.0 };
    assert_eq!(server.watched("intro").await, expected);
}

/// A batch that timed out is sent again, and counts once.
#[tokio::test(start_paused = true)]
async fn a_batch_is_refused_for_now_and_counts_once() {
    let (server, failures) = server(Settings::default()).await;
    failures.store(100, Relaxed);
    for _ in 0..3 {
        // The paused clock jumps ahead while the response is in transit.
        let request = server.http("POST", "/v1/events").json(&batch(&server));
        let answer = request.send_untimed().await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    failures.store(0, Relaxed);
    let answer = server.http("POST", "/v1/events").json(&batch(&server)).send().await;
    assert_eq!(answer.json(), json!({ "accepted": 2, "rejected": [] }));
    assert_eq!(server.watched("batched").await, Watched::once(2.0));
}

/// The server stops reading from clients while it has no room, and resumes afterwards.
#[tokio::test(start_paused = true)]
async fn a_server_at_its_limit_reads_nothing_until_the_store_is_back() {
    let (server, failures) = server(Settings::default()).await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    client.play(TOPIC, 0.0).await;
    let join = Join::new(ApiKey::new(&server.key).unwrap(), "crowd", Video::labelled("crowd"));
    let viewing = server.metrics.join(join).await.unwrap();
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();

    failures.store(100, Relaxed);
    let failure = PlayerEvent::new(metrics_core::Action::PlaybackFailure);
    for _ in 0..WAITING_MAX {
        drop(viewing.submit(&failure).unwrap());
    }
    let (status, body) = health(&server).await;
    assert_eq!((status, &body["status"]), (503, &json!("unavailable")));
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.ends_with("and further events are refused"), "{reason}");
    // The server reads one more message before it notices that it has no room.
    let paused = client.push(TOPIC, "event", &json!({ "name": "pause", "to": 3 })).await;
    let heartbeat = client.push("phoenix", "heartbeat", &json!({})).await;
    assert!(timeout(LONG, client.next_ever()).await.is_err(), "it is read");
    let answer = server.http("POST", "/v1/events").json(&batch(&server)).send_untimed().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");

    failures.store(0, Relaxed);
    let answers = [client.message().await, client.message().await];
    let refs: Vec<_> = answers.iter().map(|answer| answer[1].as_str().unwrap()).collect();
    assert!(refs.contains(&&*paused) && refs.contains(&&*heartbeat), "{answers:?}");
    let answer = server.http("POST", "/v1/events").json(&batch(&server)).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(server.watched("intro").await, Watched::once(3.0));
    assert_eq!(server.watched("batched").await, Watched::once(2.0));
    assert_eq!(health(&server).await, (200, json!({ "status": "ok" })));
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_store_is_unavailable_stops_in_time_and_spills() {
    let directory = TempDir::new().unwrap();
    let spool = Spool::new(directory.path(), "metrics");
    let (server, failures) = server(Settings::default().spool(spool.clone())).await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    client.play(TOPIC, 0.0).await;
    failures.store(100, Relaxed);
    client.push(TOPIC, "event", &json!({ "name": "pause", "to": 5 })).await;
    client.push(TOPIC, "event", &json!({ "name": "play", "from": 50 })).await;
    // Waits until the server has noticed that the store is unavailable.
    while server.metrics.stats().unavailable_since.is_none() {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(4)).await;
    let database = server.database.clone();
    timeout(Duration::from_secs(8), server.begin_stop()).await.expect("in time").unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    let recovered = spool.recover(&database.open().await).await.unwrap();
    assert_eq!((recovered.files, recovered.sessions, recovered.refused), (1, 1, 0));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let server = database.serve(Settings::default()).await;
    let watched = server.watched("intro").await;
    assert_eq!(watched.plays, 1);
    // The open segment ran until the server stopped.
    assert!((9.0..18.0).contains(&watched.seconds), "{watched:?}");
}

/// The binary, with a database server that cannot be reached any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_binary_recovers_spilled_sessions_at_its_next_start() {
    let directory = TempDir::new().unwrap();
    let database = metrics_testing::Database::new(Backend::Timescale).await;
    let (proxy, url) = Proxy::start(&database.url()).await;
    let command = || {
        let mut command = binary();
        command.env("DATABASE_URL", &url).env("METRICS_SPOOL", directory.path());
        command
    };
    let server = Process::run(command()).await;
    let mut client = server.connect().await;
    client.join(TOPIC, "intro").await;
    client.play(TOPIC, 0.0).await;
    // The proxy passes no byte from now on.
    proxy.chaos(1, 1..2);
    client.push(TOPIC, "event", &json!({ "name": "pause", "to": 5 })).await;
    soon(async {
        while health(&server).await.1["status"] != "degraded" {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let log = server.terminate().await;
    assert!(log.contains("were spilled to a file"), "{log}");
    let file = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.contains("metrics-test") && name.ends_with(".spool"), "{name}");

    proxy.stop_cutting();
    let server = Process::run(command()).await;
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let log = server.terminate().await;
    assert!(log.contains("recovered the sessions that were spilled"), "{log}");
}

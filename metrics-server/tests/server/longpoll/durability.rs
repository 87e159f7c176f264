//! Acknowledgements, stores that are unavailable, and stops.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_server::Settings;
use metrics_server_testing::{Database, Poller, TestServer, Watched, soon, split_head};
use metrics_testing::Faults;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;

use super::{TOPIC, begin_poll, gone, until};

#[tokio::test]
async fn an_event_is_acknowledged_once_it_is_durable() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    poller.pause(TOPIC, 12.5).await;
    let after_crash = server.database.copy().await.serve(Settings::default()).await;
    assert_eq!(after_crash.watched("intro").await, Watched::once(12.5));
}

/// A server, and a switch that makes its store unavailable.
async fn faulty() -> (TestServer, Arc<AtomicUsize>) {
    let database = Database::new().await;
    let store = Faults::default().over(database.open().await);
    let failures = store.intercept.failures();
    (database.serve_over(Arc::new(store), Settings::default(), 1_000).await, failures)
}

#[tokio::test(start_paused = true)]
async fn a_poller_stays_while_the_store_is_unavailable() {
    let (server, failures) = faulty().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    failures.store(100, Relaxed);
    let paused = poller.push(TOPIC, "event", &json!({ "name": "pause", "to": 3 })).await;
    for _ in 0..10 {
        assert_eq!(poller.poll().await["status"], 204, "it is acknowledged");
    }
    failures.store(0, Relaxed);
    assert_eq!(poller.answer_to(&paused).await, Value::Null);
    assert_eq!(server.watched("intro").await, Watched::once(3.0));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_waits_for_the_store_no_longer_than_its_client() {
    let (server, failures) = faulty().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    failures.store(100, Relaxed);
    poller.push(TOPIC, "event", &json!({ "name": "play", "from": 0 })).await;
    assert_eq!(poller.post("garbage").await["status"], 400);
    assert_eq!(poller.poll().await["status"], 204);
    until(&server, "metrics_longpoll_sessions 1").await;
    sleep(Duration::from_secs(61)).await;
    until(&server, "metrics_longpoll_sessions 0").await;
}

/// The pending poll may be the last one with a response, which must carry all acknowledgements.
#[tokio::test]
async fn a_stop_answers_the_poll_that_is_held() {
    let (server, failures) = faulty().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    failures.store(100, Relaxed);
    let mut refs = Vec::new();
    for second in 0..20 {
        for event in [
            json!({ "name": "play", "from": second }),
            json!({ "name": "pause", "to": second + 1 }),
        ] {
            refs.push(poller.push(TOPIC, "event", &event).await);
        }
    }
    let mut poll = begin_poll(&poller, &server).await;
    let database = server.database.clone();
    let stopping = server.begin_stop();
    failures.store(0, Relaxed);
    let mut received = Vec::new();
    soon(poll.read_to_end(&mut received)).await.unwrap();
    soon(stopping).await.unwrap();
    let (_, body) = split_head(&received).unwrap();
    let polled: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(polled["status"], 200, "{polled}");
    let messages = polled["messages"].as_array().unwrap();
    let response: Vec<Value> =
        messages.iter().map(|it| serde_json::from_str(it.as_str().unwrap()).unwrap()).collect();
    let response: Vec<_> = response.iter().map(|it| it[1].as_str().unwrap()).collect();
    assert_eq!(response, refs);
    let server = database.serve(Settings::default()).await;
    assert_eq!(server.watched("intro").await, Watched::once(20.0));
}

#[tokio::test(start_paused = true)]
async fn an_open_segment_counts_until_the_server_stops() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    sleep(Duration::from_secs(12)).await;
    let server = server.restart(Settings::default()).await;
    let Watched { plays, seconds, .. } = server.watched("intro").await;
    assert_eq!((plays, seconds.round() as u64), (1, 12));
    assert!(gone(&poller.at(&server).poll().await));
}

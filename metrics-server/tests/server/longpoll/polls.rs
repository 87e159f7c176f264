//! Polls: held, answered, broken off, and missing.

use std::time::Duration;

use metrics_server_testing::{Poller, TestServer, Watched, soon};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep};

use super::{TOPIC, begin_poll, gone, until};

/// The server keeps few messages for a poll; once they are too many it reads no more, until it gives up the client.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_polls_is_cut_off() {
    let server = TestServer::new().await;
    let poller = Poller::open(&server).await;
    let heartbeats = vec![json!([null, "1", "phoenix", "heartbeat", {}]); 4_000];
    let began = Instant::now();
    assert_eq!(poller.post_lines(&heartbeats).await["status"], 410);
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(gone(&poller.poll().await));
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_held_for_10_s() {
    let server = TestServer::new().await;
    let poller = Poller::open(&server).await;
    let began = Instant::now();
    let nothing = json!({ "status": 204, "token": poller.token, "messages": [] });
    assert_eq!(poller.poll().await, nothing);
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_held_poll_is_answered_as_soon_as_there_is_a_message() {
    let server = TestServer::new().await;
    let poller = Poller::open(&server).await;
    let (polled, posted) =
        tokio::join!(soon(poller.poll()), poller.post(r#"[null,"1","phoenix","heartbeat",{}]"#),);
    assert_eq!((&polled["status"], &posted["status"]), (&json!(200), &json!(200)));
}

#[tokio::test]
async fn the_latest_poll_is_answered() {
    let server = TestServer::new().await;
    let poller = Poller::open(&server).await;
    let mut older = begin_poll(&poller, &server).await;
    let (younger, posted) = tokio::join!(poller.poll(), async {
        // The server answers the older poll with an empty response, so that no message is lost if nobody reads it.
        let mut received = Vec::new();
        while !received.ends_with(b"}") {
            soon(older.read_buf(&mut received)).await.unwrap();
        }
        let received = String::from_utf8(received).unwrap();
        assert!(received.contains("\"status\":204"), "{received}");
        poller.post(r#"[null,"1","phoenix","heartbeat",{}]"#).await
    });
    assert_eq!((&younger["status"], &posted["status"]), (&json!(200), &json!(200)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_polls_no_more_is_lost_as_of_its_last_poll() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    sleep(Duration::from_secs(20)).await;
    // The server does not give up the client between polls.
    assert_eq!(poller.poll().await["status"], 204);
    sleep(Duration::from_secs(45)).await;
    assert_eq!(poller.poll().await["status"], 204);
    assert_eq!(server.watching().await, 1);
    sleep(Duration::from_secs(51)).await;
    assert_eq!(server.watching().await, 0);
    assert!(gone(&poller.poll().await));
    // The client was last there at its last poll, 75 s after the play: 20 s, 10 s and 45 s.
    let Watched { plays, seconds, .. } = server.watched("intro").await;
    assert_eq!((plays, seconds.round() as u64), (1, 75));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_never_polled_ends_after_10_s() {
    let server = TestServer::new().await;
    let poller = Poller::open(&server).await;
    sleep(Duration::from_secs(9)).await;
    until(&server, "metrics_longpoll_sessions 1").await;
    sleep(Duration::from_secs(2)).await;
    until(&server, "metrics_longpoll_sessions 0").await;
    assert!(gone(&poller.poll().await));
}

/// A closed page aborts its poll without a message.
#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_off_its_poll_is_lost_as_of_then() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    let stream = begin_poll(&poller, &server).await;
    sleep(Duration::from_secs(8)).await;
    drop(stream);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(server.watching().await, 1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.watching().await, 0);
    let Watched { plays, seconds, .. } = server.watched("intro").await;
    assert_eq!((plays, seconds.round() as u64), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_broken_off_may_be_repeated_and_nothing_is_lost() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    // A session without a join ends soon.
    poller.join("session:first", "intro").await;
    let stream = begin_poll(&poller, &server).await;
    sleep(Duration::from_secs(1)).await;
    drop(stream);
    sleep(Duration::from_secs(1)).await;
    let heartbeat = poller.push("phoenix", "heartbeat", &json!({})).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(poller.answer_to(&heartbeat).await, Value::Null);
    sleep(Duration::from_secs(50)).await;
    poller.join(TOPIC, "intro").await;
}

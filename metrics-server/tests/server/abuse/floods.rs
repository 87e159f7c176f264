//! Floods of events, joins and pings are read slowly.

use metrics_server_testing::{
    Bystander, Client, FIN, PING, Seen, TestServer, Watched, frame, soon,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

use super::{EVER, FRAMES, message};

/// How many more messages it may send per second, how many joins at once, and how many more joins per second.
const FRAMES_A_SECOND: f64 = 100.0;
const JOINS: usize = 256;
const JOINS_A_SECOND: f64 = 10.0;

/// Sends all bytes, however long that takes, and reads `answers` messages meanwhile. Returns them.
async fn send_all(client: Client, bytes: Vec<u8>, answers: usize) -> Vec<Value> {
    let (mut reader, mut writer) = client.split();
    let writing = async { writer.write_all(&bytes).await.unwrap() };
    let reading = async {
        let mut seen = Vec::new();
        while seen.len() < answers {
            match reader.next_ever().await {
                Seen::Text(text) => seen.push(serde_json::from_str(&text).unwrap()),
                Seen::Pong(payload) => seen.push(json!(payload.len())),
                other => panic!("{other:?} instead of an answer"),
            }
        }
        seen
    };
    timeout(EVER, async { tokio::join!(writing, reading).1 }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_is_read_slowly_and_all_of_it_counts() {
    const EXCESS: usize = 500;
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    let events = (0..FRAMES + EXCESS).flat_map(|number| {
        let event = match number % 2 {
            0 => json!({ "name": "play", "from": number }),
            _ => json!({ "name": "pause", "to": number }),
        };
        message(&json!(["1", number, "session:a", "event", event]))
    });
    let (began, events) = (Instant::now(), events.collect());
    let answers = send_all(client, events, FRAMES + EXCESS).await;
    // A little less than the burst was available, and some of the budget refilled meanwhile.
    let least = (EXCESS as f64 / FRAMES_A_SECOND) * 0.9;
    assert!(least < began.elapsed().as_secs_f64(), "{:?}", began.elapsed());
    assert!(answers.iter().all(|answer| answer[4]["status"] == "ok"));
    let seconds = ((FRAMES + EXCESS) / 2) as f64;
    assert_eq!(server.watched("intro").await, Watched::once(seconds));
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn events_that_a_client_kept_for_hours_pass_at_once() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    let events = (0..FRAMES - 1).flat_map(|number| {
        let event = match number % 2 {
            0 => json!({ "name": "play", "from": number }),
            _ => json!({ "name": "pause", "to": number }),
        };
        message(&json!(["1", number, "session:a", "event", event]))
    });
    let (began, events) = (Instant::now(), events.collect());
    send_all(client, events, FRAMES - 1).await;
    assert!(began.elapsed().as_secs_f64() < FRAMES as f64 / FRAMES_A_SECOND / 4.0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_joins_is_read_slowly() {
    const EXCESS: usize = 50;
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let client = server.connect().await;
    let joins = (0..JOINS + EXCESS).flat_map(|number| {
        let topic = format!("session:{number}");
        let payload = json!({ "key": server.key, "identifier": "intro" });
        let join = message(&json!(["1", "1", topic, "phx_join", payload]));
        [join, message(&json!(["1", "2", topic, "phx_leave", {}]))].concat()
    });
    let (began, joins) = (Instant::now(), joins.collect());
    // A join has one reply; a leave has one, and a `phx_close`.
    let answers = send_all(client, joins, 3 * (JOINS + EXCESS)).await;
    let least = (EXCESS as f64 / JOINS_A_SECOND) * 0.9;
    assert!(least < began.elapsed().as_secs_f64(), "{:?}", began.elapsed());
    let replies = answers.iter().filter(|answer| answer[3] == "phx_reply");
    assert!(replies.into_iter().all(|answer| answer[4]["status"] == "ok"));
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_read_slowly() {
    const EXCESS: usize = 200;
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let client = server.connect().await;
    let pings = frame(FIN | PING, &[7; 125]).repeat(FRAMES + EXCESS);
    let began = Instant::now();
    let answers = send_all(client, pings, FRAMES + EXCESS).await;
    assert!((EXCESS as f64 / FRAMES_A_SECOND) * 0.9 < began.elapsed().as_secs_f64());
    assert!(answers.iter().all(|answer| answer == 125));
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_flood() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 3.0).await;
    let (mut reader, mut writer) = client.split();
    let heartbeats = message(&json!([null, "1", "phoenix", "heartbeat", {}])).repeat(FRAMES * 4);
    let flood = tokio::spawn(async move { writer.write_all(&heartbeats).await.is_ok() });
    // After these replies the server throttles the connection.
    for _ in 0..FRAMES {
        assert!(matches!(reader.next().await, Seen::Text(_)));
    }
    let stopping = server.begin_stop();
    loop {
        match reader.next().await {
            Seen::Text(_) => {}
            other => break assert_eq!(other, Seen::Close(1001, "the server stops".to_owned())),
        }
    }
    drop(reader);
    soon(stopping).await.unwrap();
    flood.abort();
}

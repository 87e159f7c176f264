//! A stopping server loses no acknowledged event, and answers every request that it has read.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_server::Settings;
use metrics_server_testing::{
    Answer, Client, Database, FIN, Seen, TEXT, TestServer, Watched, frame, soon,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many seconds each viewer watches before the server stops.
const STEPS: usize = 20;

/// Plays one second after another, and waits for each event's acknowledgement.
///
/// Returns the number of acknowledged seconds once the server has closed the connection.
async fn watch_in_step(mut client: Client, viewer: usize, progress: Arc<Semaphore>) -> usize {
    let topic = format!("session:{viewer}");
    client.join(&topic, &format!("video {viewer}")).await;
    let mut acknowledged = 0;
    for second in 0.. {
        for event in [
            json!({ "name": "play", "from": second }),
            json!({ "name": "pause", "to": second + 1 }),
        ] {
            let message = json!(["1", "0", topic, "event", event]).to_string();
            if !client.try_send_bytes(&frame(FIN | TEXT, message.as_bytes())).await {
                expect_going_away(&mut client).await;
                return acknowledged;
            }
            match client.next().await {
                Seen::Text(text) => assert!(text.contains("\"ok\""), "{text}"),
                Seen::Close(1001, _) => return acknowledged,
                other => panic!("{other:?}"),
            }
        }
        acknowledged += 1;
        // Each viewer adds the same number of permits, so that every viewer has made progress.
        if acknowledged <= STEPS {
            progress.add_permits(1);
        }
    }
    acknowledged
}

/// Plays one second after another without waiting for acknowledgements. Returns the number of acknowledged seconds.
async fn watch_ahead(mut client: Client, viewer: usize, progress: Arc<Semaphore>) -> usize {
    let topic = format!("session:{viewer}");
    client.join(&topic, &format!("video {viewer}")).await;
    let (mut reader, mut writer) = client.split();
    let sending = tokio::spawn(async move {
        for second in 0..2_000 {
            let play = json!(["1", second, topic, "event", { "name": "play", "from": second }]);
            let pause = json!(["1", second, topic, "event", { "name": "pause", "to": second + 1 }]);
            let both =
                [play, pause].map(|it| frame(FIN | TEXT, it.to_string().as_bytes())).concat();
            if writer.write_all(&both).await.is_err() {
                break;
            }
        }
        // Keeps the writing half open, as a browser does until it has read the close frame.
        writer
    });
    let mut answers = 0;
    loop {
        match reader.next().await {
            Seen::Text(text) => assert!(text.contains("\"ok\""), "{text}"),
            Seen::Close(1001, _) => break,
            other => panic!("{other:?}"),
        }
        answers += 1;
        if answers <= STEPS {
            progress.add_permits(1);
        }
    }
    drop(soon(sending).await.unwrap());
    // The pause of the last second may not have been acknowledged.
    answers / 2
}

async fn expect_going_away(client: &mut Client) {
    loop {
        match client.next().await {
            Seen::Close(code, _) => return assert_eq!(code, 1001),
            Seen::End => panic!("the connection ended without a close frame"),
            _ => {}
        }
    }
}

/// Waits until every viewer has made `STEPS` steps, without a timeout: the viewers have one for each step.
async fn under_way<T: Debug + 'static>(progress: &Semaphore, count: usize, all: &mut JoinSet<T>) {
    tokio::select! {
        steps = progress.acquire_many((count * STEPS) as u32) => drop(steps.unwrap()),
        ended = all.join_next() => panic!("one ended before the server did: {ended:?}"),
    }
}

/// Checks that all acknowledged seconds are in the database.
async fn check(database: Database, acknowledged: &HashMap<usize, usize>) {
    let server = database.serve(Settings::default()).await;
    for (viewer, seconds) in acknowledged {
        let watched = server.watched(&format!("video {viewer}")).await;
        assert_eq!(watched.plays, 1);
        assert!(*seconds as f64 <= watched.seconds, "{watched:?} of {seconds}");
        // Each second counts once.
        assert_eq!(watched.seconds, watched.unique);
    }
    assert_eq!(database.count_sessions().await, acknowledged.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_under_load_are_stored_after_a_stop() {
    const VIEWERS: usize = 30;
    let server = TestServer::new().await;
    let progress = Arc::new(Semaphore::new(0));
    let mut viewers = JoinSet::new();
    for viewer in 0..VIEWERS {
        let (client, progress) = (server.connect().await, Arc::clone(&progress));
        viewers.spawn(async move {
            let seconds = if viewer % 5 == 0 {
                watch_ahead(client, viewer, progress).await
            } else {
                watch_in_step(client, viewer, progress).await
            };
            (viewer, seconds)
        });
    }
    under_way(&progress, VIEWERS, &mut viewers).await;
    let database = server.stop().await;
    let acknowledged: HashMap<_, _> = soon(viewers.join_all()).await.into_iter().collect();
    check(database, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_were_accepted_under_load_are_there_after_a_stop() {
    const PAGES: usize = 20;
    let server = TestServer::new().await;
    let progress = Arc::new(Semaphore::new(0));
    let mut pages = JoinSet::new();
    for page in 0..PAGES {
        let (address, key, progress) = (server.address, server.key.clone(), Arc::clone(&progress));
        pages.spawn(async move {
            let mut accepted = 0;
            for second in 0.. {
                let event = |name: &str, second: usize| {
                    json!({ "name": name, "session_id": page.to_string(), "embed_id": format!("video {page}"),
                        "video_time": second, "timestamp": 1_000 * second, "key": key })
                };
                let events = [event("play", 2 * second), event("pause", 2 * second + 1)];
                let Some(answer) = post(address, &json!({ "events": events }).to_string()).await else { break };
                assert_eq!(answer.status, 200, "{answer:?}");
                accepted += 1;
                if accepted <= STEPS {
                    progress.add_permits(1);
                }
            }
            (page, accepted)
        });
    }
    under_way(&progress, PAGES, &mut pages).await;
    let database = server.stop().await;
    let accepted: HashMap<_, _> = soon(pages.join_all()).await.into_iter().collect();
    check(database, &accepted).await;
}

/// Posts a batch; `None` if no server listens any more.
async fn post(address: SocketAddr, body: &str) -> Option<Answer> {
    let mut stream = soon(TcpStream::connect(address)).await.ok()?;
    let length = body.len();
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut received = Vec::new();
    // A connection that the system accepted but the server did not is reset.
    soon(stream.read_to_end(&mut received)).await.ok()?;
    (!received.is_empty())
        .then(|| Answer::parse(received.split(|byte| *byte == b'\r').next().unwrap()))
}

#[tokio::test]
async fn a_request_that_is_under_way_is_answered() {
    let server = TestServer::new().await;
    let body = json!({ "events": [
        { "name": "play", "session_id": "s", "embed_id": "intro", "video_time": 0, "timestamp": 1, "key": server.key },
        { "name": "pause", "session_id": "s", "embed_id": "intro", "video_time": 5, "timestamp": 5_001, "key": server.key },
    ] });
    let request = server.http("POST", "/v1/events").json(&body).bytes();
    let (first, rest) = request.split_at(request.len() - 20);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(first).await.unwrap();
    // The response to another request shows that the server has read this one.
    server.watched("intro").await;
    let address = server.address;
    let database = server.database.clone();
    let stopping = server.begin_stop();
    // The server accepts no more connections, but serves the open ones.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(rest).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    soon(stopping).await.unwrap();
    let server = database.serve(Settings::default()).await;
    assert_eq!(server.watched("intro").await, Watched::once(5.0));
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_idle_do_not_hold_a_stop_up() {
    let server = TestServer::new().await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let mut kept_alive = TcpStream::connect(server.address).await.unwrap();
    kept_alive.write_all(&server.http("GET", "/health/live").bytes()).await.unwrap();
    assert_eq!(kept_alive.read_u8().await.unwrap(), b'H');
    let _socket = server.connect().await;
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_socket_is_closed_with_the_code_for_a_stop() {
    let server = TestServer::new().await;
    let mut clients = Vec::new();
    for query in ["", "vsn=2.0.0"].repeat(5) {
        clients.push(server.connect_to(query).await);
    }
    server.stop().await;
    for mut client in clients {
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1001);
        assert!(!reason.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_segment_counts_until_the_server_stops() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    sleep(Duration::from_secs(12)).await;
    // A client that disconnects at once gives the server no more time than the server needs.
    let goes = async move { assert_eq!(client.closed().await.0, 1001) };
    let (database, ()) = tokio::join!(server.stop(), goes);
    let server = database.serve(Settings::default()).await;
    let Watched { plays, seconds, .. } = server.watched("intro").await;
    assert_eq!((plays, seconds.round() as u64), (1, 12));
}

#[tokio::test(start_paused = true)]
async fn sessions_go_on_at_the_next_server() {
    const VIEWERS: usize = 20;
    let mut server = TestServer::new().await;
    for turn in 0..3_u32 {
        let mut clients = Vec::new();
        for viewer in 0..VIEWERS {
            let mut client = server.connect().await;
            let topic = format!("session:{viewer}");
            client.join(&topic, &format!("video {viewer}")).await;
            let from = f64::from(turn) * 10.0;
            client.play(&topic, from).await;
            client.pause(&topic, from + 2.0).await;
            clients.push(client);
        }
        server = server.restart(Settings::default()).await;
    }
    for viewer in 0..VIEWERS {
        let watched = server.watched(&format!("video {viewer}")).await;
        assert_eq!(watched, Watched::once(6.0), "{viewer}");
    }
    assert_eq!(server.database.count_sessions().await, VIEWERS as u64);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_does_not_hold_a_stop_up_for_ever() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 3.0).await;
    let heartbeats = frame(FIN | TEXT, br#"[null,"1","phoenix","heartbeat",{}]"#).repeat(20_000);
    let flood = async { while client.try_send_bytes(&heartbeats).await {} };
    // Sends until the server has no room for more replies.
    timeout(Duration::from_secs(1), flood).await.expect_err("the server takes no more");
    let database = server.database.clone();
    // The drain may take its ten seconds, but not more.
    let ended = timeout(Duration::from_secs(12), server.begin_stop()).await;
    ended.expect("the drain is bounded").unwrap();
    let server = database.serve(Settings::default()).await;
    assert_eq!(server.watched("intro").await, Watched::once(3.0));
}

//! Abuse by one socket: the server closes the connection or reads it more slowly, and no other viewer notices.
//!
//! `frames.rs` covers frames that break the protocol.

use std::time::Duration;

use metrics_server::Settings;
use metrics_server_testing::{
    Bystander, CHROME, CONTINUATION, Client, Database, FIN, PING, Seen, TEXT, TestServer, Watched,
    frame, soon,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How much a socket may send at once, and how much per second after that.
const FRAMES: usize = 4_096;
const FRAMES_A_SECOND: f64 = 100.0;
const JOINS: usize = 256;
const JOINS_A_SECOND: f64 = 10.0;

/// Longer than any timeout for an action of a client.
const EVER: Duration = Duration::from_secs(3_600);

fn message(value: &Value) -> Vec<u8> {
    frame(FIN | TEXT, value.to_string().as_bytes())
}

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
async fn what_a_client_kept_for_hours_passes_at_once() {
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

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    // Each reply repeats the topic, so that the replies soon fill the socket buffers of a client that does not read.
    let topic = "x".repeat(1_024);
    let nonsense = message(&json!([null, "1", topic, "event", {}])).repeat(FRAMES * 4);
    let (_reader, mut writer) = server.connect().await.split();
    let sent = timeout(EVER, writer.write_all(&nonsense)).await.unwrap();
    assert!(sent.is_err(), "it still listens");
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_byte_by_byte_is_waited_for_no_longer_than_silence() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let (mut reader, mut writer) = server.connect().await.split();
    let began = Instant::now();
    let trickle = async {
        for byte in frame(FIN | TEXT, &[b' '; 60_000]) {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let closing = async {
        assert!(matches!(reader.next_ever().await, Seen::Close(1008, _)));
        assert_eq!(began.elapsed().as_secs(), 10);
        // The server waits for the client's close frame for a moment only.
        while reader.next().await != Seen::End {}
    };
    tokio::select! {
        () = trickle => panic!("it still listens"),
        () = closing => {}
    }
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_fragments_come_fast_ends_with_their_number() {
    let server = TestServer::new().await;
    let rest = Duration::from_secs(25);
    let bystander = Bystander::at_pace(&server, rest).await;
    let mut client = server.connect().await;
    client.send_bytes(&frame(TEXT, b"[")).await;
    let closed = loop {
        if let Ok(seen) = timeout(Duration::from_millis(100), client.next_ever()).await {
            break seen;
        }
        assert!(client.try_send_bytes(&frame(CONTINUATION, b" ")).await);
    };
    assert!(matches!(closed, Seen::Close(1009, _)), "{closed:?}");
    bystander.expect_unharmed().await;
}

/// Pings show that a client is alive, not that its message will ever end.
#[tokio::test(start_paused = true)]
async fn a_message_whose_fragments_trickle_ends_with_its_time() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.send_bytes(&frame(TEXT, b"[")).await;
    let began = Instant::now();
    let closed = loop {
        match timeout(Duration::from_secs(3), client.next_ever()).await {
            Ok(Seen::Pong(_)) => {}
            Ok(seen) => break seen,
            Err(_) => {
                client
                    .send_bytes(&[frame(CONTINUATION, b" "), frame(FIN | PING, b"")].concat())
                    .await;
            }
        }
    };
    assert!(matches!(closed, Seen::Close(1008, _)), "{closed:?}");
    assert_eq!(began.elapsed().as_secs(), 10);
    bystander.expect_unharmed().await;
}

/// Sockets without a join would otherwise hold connection permits for ever.
#[tokio::test(start_paused = true)]
async fn sockets_that_join_nothing_are_closed_however_often_they_ping() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let heartbeat = br#"[null,"1","phoenix","heartbeat",{}]"#;
    let refused = br#"["1","1","session:a","phx_join",{"key":"no key","identifier":"intro"}]"#;
    let (ping, heartbeat) = (frame(FIN | PING, b""), frame(FIN | TEXT, heartbeat));
    for sent in [&ping, &heartbeat, &frame(FIN | TEXT, refused), &ping.repeat(100)] {
        let mut client = server.connect().await;
        let began = Instant::now();
        let closed = loop {
            match timeout(Duration::from_secs(4), client.next_ever()).await {
                Ok(Seen::Pong(_) | Seen::Text(_)) => {}
                Ok(seen) => break seen,
                Err(_) => client.send_bytes(sent).await,
            }
        };
        // The code is not 1000, after which Phoenix's clients do not reconnect.
        assert!(matches!(closed, Seen::Close(1001, _)), "{closed:?}");
        assert_eq!(began.elapsed().as_secs(), 30);
    }
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_leaves_its_topics_has_time_to_join_another() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    for _ in 0..5 {
        sleep(Duration::from_secs(25)).await;
        client.call("phoenix", "heartbeat", &json!({})).await;
    }
    client.call("session:a", "phx_leave", &json!({})).await;
    sleep(Duration::from_secs(25)).await;
    client.join("session:b", "intro").await;
    sleep(Duration::from_secs(25)).await;
    client.event("session:b", &json!({ "name": "play", "from": 0 })).await;
}

#[tokio::test(start_paused = true)]
async fn silent_sockets_are_closed_and_free_their_permits() {
    const SILENT: usize = 50;
    // Permits for the silent sockets, the bystander, and one connection for requests.
    let server = Database::new().await.serve_some(Settings::default(), SILENT + 2).await;
    let bystander = Bystander::of(&server).await;
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let mut client = server.connect().await;
        client.join(&format!("session:{number}"), "intro").await;
        silent.push(client);
    }
    let began = Instant::now();
    for client in &mut silent {
        assert!(matches!(client.next_ever().await, Seen::Close(1000, _)));
    }
    assert_eq!(began.elapsed().as_secs(), 60);
    // No client sends a close frame: their sides stay open, as when a client's network is gone.
    for _ in 0..SILENT {
        drop(server.connect().await);
    }
    bystander.expect_unharmed().await;
    drop(silent);
}

#[tokio::test]
async fn a_socket_that_is_closed_half_way_is_closed() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    for half_way in [&b""[..], &frame(FIN | TEXT, b"[null")[..4], &frame(TEXT, b"[null")] {
        let mut client = server.connect().await;
        client.send_bytes(half_way).await;
        let (mut reader, mut writer) = client.split();
        writer.shutdown().await.unwrap();
        assert_eq!(reader.next().await, Seen::End);
    }
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn when_there_is_no_room_all_are_told_and_health_is_answered() {
    const ROOM: usize = 20;
    let server = Database::new().await.serve_some(Settings::default(), ROOM).await;
    let bystander = Bystander::of(&server).await;
    let mut idle = Vec::new();
    for _ in 1..ROOM {
        idle.push(server.connect().await);
    }
    for _ in 0..2 * ROOM {
        for (path, status) in [("/health/live", 200), ("/health/ready", 200), ("/metrics.js", 503)]
        {
            let answer = server.http("GET", path).send().await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert_eq!(answer.header("connection"), Some("close"));
        }
        let batch = server.http("POST", "/v1/events").body("{}").send().await;
        assert_eq!((batch.status, batch.header("retry-after")), (503, Some("2")), "{batch:?}");
    }
    let refused = server.upgrade("vsn=2.0.0", &[]).await.err().unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    drop(idle.pop());
    // The server frees a permit once it notices the end of the connection.
    let joined = async { while server.upgrade("vsn=2.0.0", &[]).await.is_err() {} };
    soon(joined).await;
    bystander.expect_unharmed().await;
}

/// Connections that hold the permits reserved for health checks lose them soon.
#[tokio::test(start_paused = true)]
async fn connections_that_ask_nothing_keep_health_unanswered_for_a_moment_only() {
    const ROOM: usize = 2;
    let server = Database::new().await.serve_some(Settings::default(), ROOM).await;
    let bystander = Bystander::of(&server).await;
    let _last = server.connect().await;
    let mut mute = Vec::new();
    for _ in 0..100 {
        mute.push(TcpStream::connect(server.address).await.unwrap());
    }
    for stream in &mut mute {
        // The server closes the connection at once, or at its timeout.
        assert!(!matches!(
            timeout(Duration::from_secs(10), stream.read_u8()).await,
            Ok(Ok(_)) | Err(_)
        ));
    }
    assert_eq!(server.http("GET", "/health/live").send().await.status, 200);
    bystander.expect_unharmed().await;
}

/// Behind a proxy, all connections have the proxy's address, and the forwarded address counts.
#[tokio::test(start_paused = true)]
async fn an_address_behind_a_proxy_holds_its_share_and_no_more() {
    const SHARE: usize = 5;
    let settings = Settings::default().forwarded_header("x-forwarded-for".parse().unwrap());
    let server = TestServer::with(settings.connections_per_address(SHARE)).await;
    let bystander = Bystander::of(&server).await;
    let from = |address: &'static str| [("x-forwarded-for", address), ("user-agent", CHROME)];
    let mut held = Vec::new();
    for _ in 0..SHARE {
        held.push(server.upgrade("vsn=2.0.0", &from("2001:db8::1")).await.unwrap());
    }
    for same in ["2001:db8::1", "198.51.100.9, 2001:db8::2"] {
        let refused = server.upgrade("vsn=2.0.0", &from(same)).await.err().unwrap();
        assert_eq!(refused.status, 503, "{refused:?}");
        let request = server.http("GET", "/metrics.js").header("x-forwarded-for", same);
        assert_eq!(request.send().await.status, 503);
        let health = server.http("GET", "/health/live").header("x-forwarded-for", same);
        assert_eq!(health.send().await.status, 200);
    }
    let mut other = server.upgrade("vsn=2.0.0", &from("198.51.100.9")).await.unwrap();
    other.join("session:other", "intro").await;
    drop(held);
    let back = async { while server.upgrade("vsn=2.0.0", &from("2001:db8::1")).await.is_err() {} };
    soon(back).await;
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn whoever_connects_and_hangs_up_holds_nobody_up() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    for _ in 0..500 {
        let stream = TcpStream::connect(server.address).await.unwrap();
        // The connection ends with a reset.
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    assert_eq!(server.http("GET", "/health/live").send().await.status, 200);
    bystander.expect_unharmed().await;
}

/// Joins with this payload while a bystander watches, and expects this error in the reply.
async fn check_refused(topic: &str, payload: Value, expected: &str) {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    let mut payload = payload;
    payload["key"] = json!(server.key);
    let told = client.call(topic, "phx_join", &payload).await;
    assert!(told.as_str().unwrap().contains(expected), "{told}");
    // The sender loses only this join.
    client.join("session:after", "after").await;
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn what_is_huge_in_a_join_is_refused() {
    let huge = "x".repeat(20_000);
    check_refused("session:a", json!({ "identifier": huge }), "identifier").await;
    let metadata = json!({ "metadata": { "title": huge } });
    check_refused("session:a", metadata, "metadata").await;
    let session_data = json!({ "identifier": "intro", "session_data": { "plan": huge } });
    check_refused("session:a", session_data, "session_data").await;
    let long = format!("session:{}", "x".repeat(1_000));
    check_refused(&long, json!({ "identifier": "intro" }), "session").await;
}

/// Sends a message while a bystander watches, and expects the server to close the sender's connection.
async fn check_closed(message: &str, expected: u16) {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    client.send_text(message).await;
    assert_eq!(client.closed().await.0, expected);
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn what_is_huge_in_a_message_ends_it() {
    let huge = "x".repeat(20_000);
    check_closed(&format!(r#"[null,"{huge}","phoenix","heartbeat",{{}}]"#), 1008).await;
    check_closed(&format!(r#"["{huge}","1","phoenix","heartbeat",{{}}]"#), 1008).await;
    check_closed(&format!(r#"[null,{},"phoenix","heartbeat",{{}}]"#, "7".repeat(20_000)), 1008)
        .await;
    check_closed(&format!(r#"[null,"1","session:{huge}","phx_join",{{}}]"#), 1008).await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    check_closed(&format!(r#"[null,"1","phoenix","heartbeat",{deep}]"#), 1008).await;
}

#[tokio::test]
async fn a_huge_event_name_is_an_event_nobody_knows() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    let huge = "x".repeat(60_000);
    assert_eq!(client.call("session:a", &huge, &json!({})).await, "unmatched event");
    client.event("session:a", &json!({ "name": huge })).await;
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn channels_without_end_are_refused() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    for number in 0..64 {
        client.join(&format!("session:{number}"), "intro").await;
    }
    let join = json!({ "key": server.key, "identifier": "intro" });
    for number in 64..128 {
        let told = client.call(&format!("session:{number}"), "phx_join", &join).await;
        assert!(told.as_str().unwrap().contains("64"), "{told}");
    }
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_socket_that_says_the_most_on_every_channel_is_refused() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let mut client = server.connect().await;
    let huge = json!({ "title": "x".repeat(16_000) });
    let join = json!({ "key": server.key, "metadata": huge, "session_data": huge });
    let mut joined = 0;
    let told = loop {
        let told = client.call(&format!("session:{joined}"), "phx_join", &join).await;
        if told != Value::Null {
            break told;
        }
        joined += 1;
    };
    assert!(told.as_str().unwrap().contains("262144 bytes"), "{told}");
    assert_eq!(joined, 8);
    // A leave frees room for another join.
    assert_eq!(client.call("session:0", "phx_leave", &json!({})).await, Value::Null);
    assert_eq!(client.message().await[3], "phx_close");
    assert_eq!(client.call("session:0", "phx_join", &join).await, Value::Null);
    client.join("session:small", "intro").await;
    bystander.expect_unharmed().await;
}

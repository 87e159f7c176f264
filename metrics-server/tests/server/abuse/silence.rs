//! Sockets that never read, send byte by byte, or join nothing.

use std::time::Duration;

use metrics_server::Settings;
use metrics_server_testing::{
    Bystander, CONTINUATION, Database, FIN, PING, Seen, TEXT, TestServer, frame,
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{EVER, FRAMES, message};

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

//! Viewers whose clients use long polling: the same channels as over a websocket, within the same limits.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_core::ApiKey;
use metrics_server::Settings;
use metrics_server_testing::{
    CHROME, Database, GOOGLEBOT, Poller, TestServer, Watched, soon, split_head,
};
use metrics_testing::Faulty;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const TOPIC: &str = "session:a";
const V1: &str = "vsn=1.0.0";
const V2: &str = "vsn=2.0.0";

/// Whether this is the response to a poll of a session that is over.
fn gone(polled: &Value) -> bool {
    polled["status"] == 500 && polled.get("token").is_none() && polled["error"].is_string()
}

/// Polls, and returns the connection of the pending poll.
async fn begin_poll(poller: &Poller, server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&poller.http("GET").bytes()).await.unwrap();
    // The response to a later request shows that the server has read this one.
    server.http("GET", "/health/live").send().await;
    stream
}

/// Waits until a sample of `/metrics` has a value.
async fn until(server: &TestServer, sample: &str) {
    let waiting = async {
        loop {
            let stats = server.http("GET", "/metrics").send().await;
            if String::from_utf8(stats.body).unwrap().lines().any(|line| line == sample) {
                return;
            }
            // Advances the clock if it is paused.
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon(waiting).await;
}

#[tokio::test]
async fn a_viewing_in_the_second_serializer() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    for (sent, answers) in [
        (
            json!(["1", "1", TOPIC, "phx_join", join]),
            json!([["1", "1", TOPIC, "phx_reply", { "status": "ok", "response": {} }]]),
        ),
        (
            json!([null, "2", "phoenix", "heartbeat", {}]),
            json!([[null, "2", "phoenix", "phx_reply", { "status": "ok", "response": {} }]]),
        ),
        (
            json!(["1", "3", TOPIC, "event", { "name": "play", "from": 0 }]),
            json!([["1", "3", TOPIC, "phx_reply", { "status": "ok", "response": {} }]]),
        ),
        (
            json!(["1", "4", TOPIC, "event", { "name": "pause", "to": 2.5 }]),
            json!([["1", "4", TOPIC, "phx_reply", { "status": "ok", "response": {} }]]),
        ),
        (
            json!(["1", "5", TOPIC, "phx_leave", {}]),
            json!([
                ["1", "5", TOPIC, "phx_reply", { "status": "ok", "response": {} }],
                ["1", "1", TOPIC, "phx_close", {}],
            ]),
        ),
    ] {
        assert_eq!(poller.post(sent.to_string()).await, json!({ "status": 200 }));
        for expected in answers.as_array().unwrap() {
            assert_eq!(poller.message().await, *expected, "after {sent}");
        }
    }
    assert_eq!(server.watched("intro").await, Watched::once(2.5));
}

/// Messages are objects in this version, not texts: the one client that speaks it expects objects.
#[tokio::test]
async fn a_viewing_in_the_first_serializer() {
    for query in [V1, ""] {
        let server = TestServer::new().await;
        let poller = Poller::open_as(&server, query, &[("user-agent", CHROME)]).await;
        let join = json!({ "topic": TOPIC, "event": "phx_join", "ref": "1",
            "payload": { "key": server.key, "identifier": "intro" } });
        assert_eq!(poller.post(join.to_string()).await, json!({ "status": 200 }));
        let expected = json!({ "status": 200, "token": poller.token, "messages": [
            { "topic": TOPIC, "event": "phx_reply", "ref": "1",
              "payload": { "status": "ok", "response": {} } },
        ] });
        assert_eq!(poller.poll().await, expected);
    }
}

#[tokio::test]
async fn an_unknown_version_is_forbidden() {
    let server = TestServer::new().await;
    for query in ["vsn=3.0.0", "vsn=", "vsn=garbage"] {
        let answer = Poller::try_open(&server, query, &[]).await;
        assert_eq!(answer["status"], 403, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("vsn"), "{answer}");
    }
}

/// Phoenix's clients then reconnect and join again; before 1.8 they would not if they got a new token at once.
#[tokio::test]
async fn a_token_that_is_unknown_is_over() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.token = format!("longpoll-{}", "0".repeat(32));
    assert!(gone(&poller.poll().await));
    assert_eq!(poller.post("[]").await["status"], 410);
}

#[tokio::test]
async fn what_a_page_calls_a_token_is_none() {
    let server = TestServer::new().await;
    for own in ["mine", "", "longpoll-", "longpoll-00", &"0".repeat(32)] {
        let opened = Poller::try_open(&server, &format!("token={own}&vsn=2.0.0&"), &[]).await;
        assert_eq!(opened["status"], 410, "{own}");
        // The client's own parameter follows those of the page.
        let token = opened["token"].as_str().unwrap();
        let query = format!("token={own}&vsn=2.0.0&token={token}");
        let post = server.http("POST", "/socket/longpoll").query(&query);
        let answer = post.body(r#"[null,"1","phoenix","heartbeat",{}]"#).send().await;
        assert_eq!(answer.json(), json!({ "status": 200 }), "{own}");
    }
    let post = server.http("POST", "/socket/longpoll?token=mine").body("[]").send().await;
    assert_eq!(post.json()["status"], 410);
}

#[tokio::test]
async fn tokens_are_not_alike() {
    let server = TestServer::new().await;
    let (one, two) = (Poller::open(&server).await, Poller::open(&server).await);
    let random = |poller: &Poller| u128::from_str_radix(&poller.token[9..], 16).unwrap();
    assert!(10 < (random(&one) ^ random(&two)).count_ones());
}

#[tokio::test]
async fn many_messages_may_come_in_one_request() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    let (mut messages, mut refs) = (Vec::new(), Vec::new());
    for second in 0..200 {
        for event in [
            json!({ "name": "play", "from": second }),
            json!({ "name": "pause", "to": second + 1 }),
        ] {
            let (message, message_ref) = poller.compose(TOPIC, "event", &event);
            messages.push(message);
            refs.push(message_ref);
        }
    }
    let posting = poller.lines(&messages).send_patiently();
    let polling = async {
        for message_ref in refs {
            assert_eq!(poller.message().await[1], message_ref);
        }
    };
    let (posted, ()) = tokio::join!(posting, polling);
    assert_eq!(posted.json(), json!({ "status": 200 }));
    assert_eq!(server.watched("intro").await, Watched::once(200.0));
}

#[tokio::test]
async fn lines_are_messages_only_where_it_says_so() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    let pretty = "[null,\n\"1\",\n\"phoenix\",\n\"heartbeat\",\n{}]";
    assert_eq!(poller.post(pretty).await, json!({ "status": 200 }));
    assert_eq!(poller.message().await[1], "1");
    // The content type as browsers send it, and a newline too many at the end.
    let http = poller.http("POST").header("content-type", "application/x-ndjson;charset=UTF-8");
    let lines =
        "[null,\"2\",\"phoenix\",\"heartbeat\",{}]\n[null,\"3\",\"phoenix\",\"heartbeat\",{}]\n";
    assert_eq!(http.body(lines).send().await.json(), json!({ "status": 200 }));
    assert_eq!(poller.message().await[1], "2");
    assert_eq!(poller.message().await[1], "3");
    assert_eq!(poller.post(pretty.replace("\"1\"", "\"4\"")).await, json!({ "status": 200 }));
    assert_eq!(poller.message().await[1], "4");
}

#[tokio::test]
async fn a_binary_push_is_answered() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    // 0, the lengths of four fields, the fields, and a payload, as Base64.
    assert_eq!(poller.post("AAEBCQUxOXNlc3Npb246YWV2ZW50AAEC").await, json!({ "status": 200 }));
    assert_eq!(poller.answer_to("9").await, "unmatched event");
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_session() {
    let server = TestServer::new().await;
    for body in [&b"garbage"[..], b"{}", b"[1]", b"\xff", b"AAEC", &[b' '; 65 * 1024]] {
        let mut poller = Poller::open(&server).await;
        poller.join(TOPIC, "intro").await;
        let ((), polled) = tokio::join!(
            async {
                let posted = poller.post(body).await;
                assert_eq!(posted["status"], 400, "{posted}");
                assert!(posted["error"].is_string(), "{posted}");
            },
            poller.poll(),
        );
        assert!(gone(&polled), "{polled}");
        assert!(gone(&poller.poll().await));
        assert_eq!(poller.post("[]").await["status"], 410);
    }
}

#[tokio::test]
async fn a_message_has_64_kib_and_a_request_1_mib() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    let heartbeat = |bytes: usize| {
        let message = json!([null, "1", "phoenix", "heartbeat", ""]);
        json!([null, "1", "phoenix", "heartbeat", "x".repeat(bytes - message.to_string().len())])
    };
    assert_eq!(poller.post_lines(&vec![heartbeat(64 * 1024); 15]).await, json!({ "status": 200 }));
    for _ in 0..15 {
        assert_eq!(poller.message().await[1], "1");
    }
    let large = poller.http("POST").body(vec![b'x'; 1024 * 1024 + 1]).send().await;
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(poller.post_lines(&[heartbeat(64 * 1024 + 1)]).await["status"], 400);
}

#[tokio::test]
async fn a_session_has_as_many_channels_as_a_socket() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    for channel in 0..64 {
        poller.join(&format!("session:{channel}"), "intro").await;
    }
    let join = json!({ "key": server.key, "identifier": "intro" });
    let reply = poller.call("session:one-more", "phx_join", &join).await;
    assert!(reply.as_str().unwrap().contains("64"), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_joins_is_read_slowly() {
    const JOINS: usize = 300;
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    let joins: Vec<_> = (0..JOINS).map(|_| poller.compose(TOPIC, "phx_join", &join).0).collect();
    let (began, posting) = (Instant::now(), poller.lines(&joins).send_patiently());
    let polling = async {
        // Each join but the last is closed by the next one.
        for _ in 1..2 * JOINS {
            poller.message().await;
        }
    };
    let (posted, ()) = tokio::join!(posting, polling);
    assert_eq!(posted.json(), json!({ "status": 200 }));
    // The server reads 256 at once, and 10 a second after that.
    assert!((4..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

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
async fn a_poll_that_is_held_is_answered_at_once_when_there_is_something() {
    let server = TestServer::new().await;
    let poller = Poller::open(&server).await;
    let (polled, posted) =
        tokio::join!(soon(poller.poll()), poller.post(r#"[null,"1","phoenix","heartbeat",{}]"#),);
    assert_eq!((&polled["status"], &posted["status"]), (&json!(200), &json!(200)));
}

#[tokio::test]
async fn the_youngest_poll_is_answered() {
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

#[tokio::test]
async fn a_revoked_key_closes_its_channels() {
    let server = TestServer::new().await;
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    server.metrics.revoke_key(&ApiKey::new(&server.key).unwrap()).await.unwrap();
    assert_eq!(poller.message().await, json!(["1", "1", TOPIC, "phx_close", {}]));
    let event = json!({ "name": "pause", "to": 1 });
    assert_eq!(poller.call(TOPIC, "event", &event).await, "unmatched topic");
}

#[tokio::test]
async fn a_bot_may_connect_but_not_join() {
    let server = TestServer::new().await;
    let mut poller = Poller::open_as(&server, V2, &[("user-agent", GOOGLEBOT)]).await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    assert_eq!(poller.call(TOPIC, "phx_join", &join).await, "bot");
}

#[tokio::test]
async fn who_opted_out_is_refused_where_that_is_heeded() {
    let server = TestServer::with(Settings::default().heed_opt_out()).await;
    let mut poller = Poller::open_as(&server, V2, &[("sec-gpc", "1")]).await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    assert_eq!(poller.call(TOPIC, "phx_join", &join).await, "opted out");
}

#[tokio::test]
async fn keys_that_are_guessed_are_not_looked_at_after_some() {
    let server = TestServer::new().await;
    let mut reasons = Vec::new();
    for guess in 0..30 {
        // A new session or another transport does not reset the limit of the caller.
        let join = json!({ "key": format!("guess-{guess}"), "identifier": "intro" });
        reasons.push(Poller::open(&server).await.call(TOPIC, "phx_join", &join).await);
    }
    assert_eq!((&reasons[0], &reasons[29]), (&json!("invalid key"), &json!("too many attempts")));
    let join = json!({ "key": "guess-30", "identifier": "intro" });
    let reply = server.connect().await.call(TOPIC, "phx_join", &join).await;
    assert_eq!(reply, "too many attempts");
}

#[tokio::test]
async fn a_viewer_is_classed_and_their_page_known_as_of_the_first_request() {
    let server = TestServer::new().await;
    let query = "source_url=https%3A%2F%2Fsite.example%2Fa%3Fb&vsn=2.0.0";
    let mut poller = Poller::open_as(&server, query, &[("user-agent", CHROME)]).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 0.0).await;
    let query = json!({ "identifier": "intro", "minimum_watch_seconds": 0 });
    let plays = server.report("plays", &query).await;
    assert_eq!(plays["views"][0]["browser"]["chrome"], 1, "{plays}");
    let sources = server.report("sources", &query).await;
    assert_eq!(sources["sources"][0]["path"], "https://site.example/a", "{sources}");
}

#[tokio::test]
async fn a_session_goes_on_over_another_transport() {
    let server = TestServer::new().await;
    let mut socket = server.connect().await;
    socket.join(TOPIC, "intro").await;
    socket.play(TOPIC, 0.0).await;
    socket.pause(TOPIC, 2.0).await;
    drop(socket);
    let mut poller = Poller::open(&server).await;
    poller.join(TOPIC, "intro").await;
    poller.play(TOPIC, 2.0).await;
    poller.pause(TOPIC, 5.0).await;
    // The same holds while the server has not noticed the end of the older connection.
    let mut socket = server.connect().await;
    socket.join(TOPIC, "intro").await;
    socket.play(TOPIC, 5.0).await;
    socket.pause(TOPIC, 9.0).await;
    assert_eq!(server.watched("intro").await, Watched::once(9.0));
    assert_eq!(server.database.count_sessions().await, 1);
}

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
    let store = Faulty::over(database.open().await);
    let failures = store.failures();
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
    let answered: Vec<Value> =
        messages.iter().map(|it| serde_json::from_str(it.as_str().unwrap()).unwrap()).collect();
    let answered: Vec<_> = answered.iter().map(|it| it[1].as_str().unwrap()).collect();
    assert_eq!(answered, refs);
    let server = database.serve(Settings::default()).await;
    assert_eq!(server.watched("intro").await, Watched::once(20.0));
}

#[tokio::test(start_paused = true)]
async fn what_plays_when_the_server_stops_counts_until_then() {
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

#[tokio::test]
async fn pages_of_any_origin_may_poll() {
    let server = TestServer::new().await;
    let preflight =
        server.http("OPTIONS", "/socket/longpoll").header("origin", "https://a.example");
    let answer = preflight.header("access-control-request-method", "POST").send().await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("content-type") && headers.contains("x-phoenix-authtoken"));
}

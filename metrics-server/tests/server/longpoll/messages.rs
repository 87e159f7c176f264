//! Messages in requests, and what they may hold.

use metrics_server_testing::{CHROME, Poller, TestServer, Watched};
use serde_json::json;
use tokio::time::Instant;

use super::{TOPIC, V1, gone};

#[tokio::test]
async fn a_session_in_the_second_serializer() {
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
async fn a_session_in_the_first_serializer() {
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
async fn a_token_parameter_of_a_page_is_no_token() {
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
    let posting = poller.lines(&messages).send_untimed();
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
async fn lines_are_messages_only_in_requests_of_that_content_type() {
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
async fn an_unreadable_message_ends_the_session() {
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
    let (began, posting) = (Instant::now(), poller.lines(&joins).send_untimed());
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

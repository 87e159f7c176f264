//! A server with little memory, and strangers who try to make it use much more: it survives, a bystander notices
//! nothing, and all acknowledged events are stored.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use metrics_server_testing::{
    Bystander, CHROME, Client, FIN, NO_RATES, Process, Reader, Seen, Server, TEXT, TestServer,
    Watched, binary, frame,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The memory limit of the server, in bytes: stacks, heap, and other writable mappings. It is the smallest limit that
/// the server accepts, because strangers fill it soonest.
const LIMIT: usize = 160 * 1024 * 1024;

/// The memory budget that the server derives from this limit.
const BUDGET: usize = 96 * 1024 * 1024;

/// The timeout of every step, on a busy machine.
const LONG: Duration = Duration::from_secs(300);

/// A server with this memory limit, on an SQLite file.
async fn limited(directory: &TempDir) -> Process {
    let binary = binary();
    let mut command = Command::new("prlimit");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("METRICS_LIMITS", NO_RATES);
    command
        .env("DATABASE_URL", format!("sqlite:{}", directory.path().join("metrics.db").display()));
    command.arg(format!("--data={LIMIT}")).arg(binary.get_program());
    Process::run(command).await
}

/// A statistic of the process, by its name and its labels.
async fn statistic(server: &Server, name: &str) -> usize {
    let answer = server.http("GET", "/metrics").send_untimed().await;
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

async fn held(server: &Server, held_for: &str) -> usize {
    statistic(server, &format!("metrics_memory_held_bytes{{use=\"{held_for}\"}}")).await
}

/// Opens a websocket, however long that takes.
async fn connect(server: &Server) -> (Reader, OwnedWriteHalf) {
    let http =
        server.http("GET", "/socket/websocket").query("vsn=2.0.0").header("user-agent", CHROME);
    let connecting = Client::try_upgrade(http, server.key.clone(), &[]);
    timeout(LONG, connecting).await.unwrap().unwrap().unwrap().split()
}

/// Waits until a condition holds.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it never comes to that");
}

/// A batch of new sessions that watch two seconds each.
fn batch(server: &Server, video: &str, first: usize, sessions: usize, data: usize) -> Value {
    let text = "x".repeat(data);
    let events = (first..first + sessions).flat_map(|number| {
        let event = |name: &str, seconds: usize| {
            json!({ "name": name, "key": server.key, "session_id": format!("{video}-{number}"),
                "embed_id": video, "video_time": seconds, "timestamp": 1_000 * seconds,
                "session_data": { "text": text } })
        };
        // Session data in one event of a session is enough.
        let mut pause = event("pause", 2);
        pause.as_object_mut().unwrap().remove("session_data");
        [event("play", 0), pause]
    });
    json!({ "events": events.collect::<Vec<_>>() })
}

/// Sends batches over some connections at once, each until it is acknowledged, and returns the number of refusals.
async fn flood(
    server: &Server,
    video: &'static str,
    batches: usize,
    sessions: usize,
    data: usize,
) -> usize {
    let (next, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut senders = JoinSet::new();
    for _ in 0..6 {
        let (server, next, refused) = (server.clone(), Arc::clone(&next), Arc::clone(&refused));
        senders.spawn(async move {
            loop {
                let number = next.fetch_add(1, SeqCst);
                if batches <= number {
                    return;
                }
                let batch = batch(&server, video, number * sessions, sessions, data);
                let request = server.http("POST", "/v1/events").json(&batch);
                loop {
                    let answer = request.clone().send_untimed().await;
                    if answer.status == 200 {
                        assert_eq!(
                            answer.json(),
                            json!({ "accepted": 2 * sessions, "rejected": [] })
                        );
                        break;
                    }
                    assert_eq!(answer.status, 503, "{answer:?}");
                    assert!(answer.header("retry-after").is_some(), "{answer:?}");
                    refused.fetch_add(1, SeqCst);
                    sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    timeout(LONG, senders.join_all()).await.expect("it never ends");
    refused.load(SeqCst)
}

/// The plays and the view time of a video, however long the report takes.
async fn plays(server: &Server, video: &str) -> Value {
    let query = json!({ "identifier": video, "minimum_watch_seconds": 0 });
    let answer = server.http("POST", "/api/v1/plays").json(&query).send_untimed().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let view = &answer.json()["views"][0];
    json!([view["views"], view["total_view_time"]])
}

async fn expect_all(server: &Server, video: &str, sessions: usize) {
    assert_eq!(plays(server, video).await, json!([sessions, 2.0 * sessions as f64]));
}

/// Runs one test at a time: the bystander of one would notice the load of another.
static MACHINE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_sessions_are_bounded_and_all_are_counted() {
    let _machine = MACHINE.lock().await;
    let directory = TempDir::new().unwrap();
    let server = limited(&directory).await;
    let bystander = Bystander::at_pace(&server, Duration::from_millis(500)).await;
    flood(&server, "large", 130, 60, 15_000).await;
    flood(&server, "small", 40, 100, 3_000).await;
    expect_all(&server, "large", 130 * 60).await;
    expect_all(&server, "small", 40 * 100).await;
    assert!(held(&server, "sessions").await <= BUDGET / 4 * 3);
    bystander.expect_unharmed().await;
    server.terminate().await;
}

/// Runs in this process, where a test can use up the memory budget.
#[tokio::test]
async fn a_client_without_memory_is_refused_and_comes_back() {
    let server = TestServer::new().await;
    let memory = server.metrics.memory().clone();
    let mut client = server.connect().await;
    client.join("session:before", "before").await;
    client.play("session:before", 0.0).await;

    let others = memory.charge(memory.remaining());
    let join = json!({ "key": server.key, "identifier": "late" });
    let refused = client.call("session:late", "phx_join", &join).await;
    assert_eq!(refused, "no memory is left for another session; try again later");
    let pause = json!({ "name": "pause", "to": 2 });
    let refused = client.call("session:before", "event", &pause).await;
    assert_eq!(refused, "no memory is left for another event; send it again later");
    let heartbeat = client.push("phoenix", "heartbeat", &json!({})).await;
    assert_eq!(client.answer_to(&heartbeat).await, Value::Null);
    let batch = server.http("POST", "/v1/events").json(&batch(&server, "late", 0, 1, 10));
    let answer = batch.clone().send_untimed().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{answer:?}");
    assert_eq!(answer.json()["reason"], "memory");
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(server.http("GET", path).send().await.status, 200, "{path}");
    }
    for (name, refusals) in [("join", 1), ("event", 1), ("request", 1)] {
        let name = format!("metrics_memory_refusals_total{{outcome=\"{name}\"}}");
        assert_eq!(statistic(&server, &name).await, refusals, "{name}");
    }

    drop(others);
    assert_eq!(client.call("session:late", "phx_join", &join).await, Value::Null);
    client.event("session:before", &pause).await;
    assert_eq!(batch.send().await.status, 200);
    assert_eq!(server.watched("late").await, Watched::once(2.0));
    assert_eq!(server.watched("before").await, Watched::once(2.0));
}

/// The messages of a viewer who joins and plays.
fn viewing(key: &str, number: usize) -> [Value; 2] {
    let (topic, text) = (format!("session:{number}"), "x".repeat(15_000));
    let join = json!({ "key": key, "identifier": "waiting", "metadata": { "text": text },
        "session_data": { "text": text } });
    let event = json!({ "name": "play", "from": 0 });
    [json!(["1", "join", topic, "phx_join", join]), json!(["1", "play", topic, "event", event])]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_for_an_unavailable_store_are_bounded_and_written_when_it_is_back() {
    let _machine = MACHINE.lock().await;
    let directory = TempDir::new().unwrap();
    let server = limited(&directory).await;
    let (file, moved) = (directory.path().join("metrics.db"), directory.path().join("moved"));
    fs::rename(&file, &moved).unwrap();

    // Each viewer joins eight sessions, which use up the limit on the texts of one socket.
    let mut viewers = JoinSet::new();
    for first in (0..8 * 300).step_by(8) {
        let server = (*server).clone();
        // The test connects one client after another: the server would close a connection with a slow first request.
        let (mut reader, mut writer) = connect(&server).await;
        viewers.spawn(async move {
            let sending = async {
                let heartbeat = json!([null, "alive", "phoenix", "heartbeat", {}]).to_string();
                for message in (first..first + 8).flat_map(|number| viewing(&server.key, number)) {
                    let message = frame(FIN | TEXT, message.to_string().as_bytes());
                    writer.write_all(&message).await.unwrap();
                }
                loop {
                    sleep(Duration::from_secs(20)).await;
                    let heartbeat = frame(FIN | TEXT, heartbeat.as_bytes());
                    writer.write_all(&heartbeat).await.unwrap();
                }
            };
            let receiving = async {
                let (mut answers, mut played) = (0, 0);
                while answers < 16 {
                    let answer = match reader.next_ever().await {
                        Seen::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
                        other => panic!("{other:?} instead of an answer"),
                    };
                    let (message_ref, status) = (&answer[1], &answer[4]["status"]);
                    answers += usize::from(message_ref != "alive");
                    played += usize::from(message_ref == "play" && status == "ok");
                }
                played
            };
            tokio::select! {
                never = sending => never,
                played = receiving => played,
            }
        });
    }
    until(async || BUDGET / 2 < held(&server, "sessions").await).await;
    let live = server.http("GET", "/health/live").send_untimed().await;
    assert_eq!(live.status, 200);
    let batch = server.http("POST", "/v1/events").json(&batch(&server, "late", 0, 1, 10));
    let answer = batch.clone().send_untimed().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(held(&server, "sessions").await <= BUDGET * 3 / 4);

    fs::rename(&moved, &file).unwrap();
    let played: usize = timeout(LONG, viewers.join_all()).await.unwrap().into_iter().sum();
    assert!(BUDGET / 2 / 40_000 < played, "{played}");
    until(async || batch.clone().send_untimed().await.status == 200).await;
    assert_eq!(server.watched("late").await, Watched::once(2.0));
    assert_eq!(plays(&server, "waiting").await[0], played);
    Bystander::of(&server).await.expect_unharmed().await;
    server.terminate().await;
}

/// Starts a message without ending it, and starts another whenever the server closes the connection.
async fn start_messages(server: Server) {
    // A fragment, and a part of the next.
    let fragment = frame(TEXT, &[b'x'; 32_000]);
    let next = frame(FIN, &[b'x'; 32_000]);
    let bytes = [&fragment[..], &next[..20_000]].concat();
    loop {
        let http =
            server.http("GET", "/socket/websocket").query("vsn=2.0.0").header("user-agent", CHROME);
        let connected = Client::try_upgrade(http, server.key.clone(), &[]).await;
        if let Ok(Ok(client)) = connected {
            let (mut reader, mut writer) = client.split();
            if writer.write_all(&bytes).await.is_ok() {
                while !matches!(reader.next_ever().await, Seen::End) {}
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_messages_and_headers_are_bounded() {
    let _machine = MACHINE.lock().await;
    let directory = TempDir::new().unwrap();
    let server = limited(&directory).await;
    let bystander = Bystander::at_pace(&server, Duration::from_millis(500)).await;
    let mut strangers = JoinSet::new();
    for _ in 0..1_000 {
        strangers.spawn(start_messages((*server).clone()));
    }
    until(async || BUDGET / 8 < held(&server, "messages").await).await;
    assert!(held(&server, "messages").await <= BUDGET / 4);
    flood(&server, "meanwhile", 12, 60, 15_000).await;
    expect_all(&server, "meanwhile", 12 * 60).await;
    drop(strangers);
    until(async || held(&server, "messages").await == 0).await;
    bystander.expect_unharmed().await;
    server.terminate().await;
}

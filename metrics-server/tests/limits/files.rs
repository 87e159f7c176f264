//! Connections by the thousand, and a process that cannot open files for more.
//!
//! The server runs in its own process, because the limit of open files applies to a process.

use std::fs;
use std::process::Command;
use std::time::Duration;

use metrics_server_testing::{
    Bystander, CHROME, Database, FIN, PING, Process, Server, TEXT, frame, soon,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, interval, timeout};

/// The number of sockets, if this machine allows a process that many.
const SOCKETS: usize = 20_000;

/// The minimum number of sockets for the test to mean anything.
const SOCKETS_MIN: usize = 1_000;

/// The number of files that the server reserves for other uses than connections, 10 of them for a database.
const KEPT: usize = 210;

/// How long the server may take to notice what thousands of clients did.
const NOTICED_MAX: Duration = Duration::from_secs(60);

/// The interval of a client's heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// The time after which a request counts as unanswered.
const UNANSWERED: Duration = Duration::from_millis(500);

/// The interval of checks.
const POLL: Duration = Duration::from_millis(50);

/// Starts a server whose process has these limits of open files.
async fn start_with_files(database: &Database, soft: usize, hard: usize) -> Process {
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.env_clear().args(["-c", &script, env!("CARGO_BIN_EXE_metrics-server")]);
    command.env("DATABASE_URL", database.url());
    Process::run(command).await
}

fn pid(process: &Process) -> Option<Pid> {
    Pid::from_raw(process.pid().try_into().unwrap())
}

/// How many files a process has open.
fn files(process: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count()
}

/// Waits until a condition holds.
async fn wait_until(name: &str, is_so: impl Fn() -> bool) {
    let mut poll = interval(POLL);
    let waiting = async {
        while !is_so() {
            poll.tick().await;
        }
    };
    timeout(NOTICED_MAX, waiting).await.unwrap_or_else(|_| panic!("{name}"));
}

/// Opens a websocket by hand, and keeps only the connection.
async fn open(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = server
        .http("GET", "/socket/websocket?vsn=2.0.0")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("user-agent", CHROME)
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    stream.write_all(&request.bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "it was closed");
    }
    assert!(received.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&received));
    stream
}

/// Opens a websocket and joins a topic: the server closes one without a join after a while.
async fn open_joined(server: &Server) -> TcpStream {
    let mut stream = open(server).await;
    let join = json!(["1", "1", "session:a", "phx_join", { "key": server.key, "identifier": "a" }]);
    stream.write_all(&frame(FIN | TEXT, join.to_string().as_bytes())).await.unwrap();
    // A short text message in an unmasked frame.
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    assert!(head[0] == FIN | TEXT && head[1] < 126, "{head:?}");
    let mut reply = vec![0; head[1].into()];
    stream.read_exact(&mut reply).await.unwrap();
    assert!(String::from_utf8_lossy(&reply).contains("\"ok\""), "{reply:?}");
    stream
}

/// Whether the next message on a websocket is the answer to a ping.
async fn is_pong(stream: &mut TcpStream) -> bool {
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).await.is_ok() && pong == [0x8A, 0]
}

/// Keeps sockets open as idle clients do, until `end`. The server must still answer on all of them.
async fn stay(mut streams: Vec<TcpStream>, mut end: watch::Receiver<bool>) {
    let mut ended = false;
    while !ended {
        ended = timeout(HEARTBEAT, end.wait_for(|end| *end)).await.is_ok();
        // Pings all before the first answer: on a busy machine each takes its time, and a socket must not be silent for a
        // minute.
        for stream in &mut streams {
            stream.write_all(&frame(FIN | PING, b"")).await.unwrap();
        }
        for stream in &mut streams {
            assert!(timeout(NOTICED_MAX, is_pong(stream)).await.unwrap());
        }
    }
}

/// Raises this process's limit of open files, and returns the number of sockets that it allows.
fn sockets() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let files = limit.maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap());
    let sockets = SOCKETS.min(files.saturating_sub(2 * KEPT));
    assert!(SOCKETS_MIN <= sockets, "this machine lets a process open {files} files only");
    sockets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_sockets_are_held_and_closed() {
    let sockets = sockets();
    let database = Database::new().await;
    let server = Process::start(&database).await;
    let mut bystander = Bystander::of(&server).await;
    let before = files(&server);
    let began = Instant::now();
    let (mut idle, mut opened) = (JoinSet::new(), 0);
    let end = watch::Sender::new(false);
    while opened < sockets {
        // Opens at most as many sockets at once as the system's accept queue holds.
        let count = 500.min(sockets - opened);
        let mut opening = JoinSet::new();
        for _ in 0..count {
            let server = Server::clone(&server);
            opening.spawn(async move { open_joined(&server).await });
        }
        let streams = timeout(NOTICED_MAX, opening.join_all()).await.unwrap();
        idle.spawn(stay(streams, end.subscribe()));
        opened += count;
    }
    #[expect(clippy::print_stdout, reason = "a machine may not let it be as many as it should be")]
    {
        println!("opened {sockets} sockets in {:?}", began.elapsed());
    }
    bystander.watches_on().await;
    assert!(before + sockets <= files(&server));
    end.send_replace(true);
    timeout(NOTICED_MAX, idle.join_all()).await.unwrap();
    wait_until("the server keeps what its clients have closed", || files(&server) <= before).await;
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_server_raises_its_limit_of_files() {
    let database = Database::new().await;
    let server = start_with_files(&database, 200, 500).await;
    let limit =
        prlimit(pid(&server), Resource::Nofile, Rlimit { current: Some(500), maximum: Some(500) });
    assert_eq!(limit.unwrap().current, Some(500));
    let log = server.kill();
    let warned = log.lines().find(|line| line.contains("at most 290 connections"));
    assert!(
        warned.is_some_and(|line| line.contains("WARN") && line.contains("LimitNOFILE")),
        "{log}"
    );
}

#[tokio::test]
async fn a_server_with_too_few_files_does_not_start() {
    let database = Database::new().await;
    let mut command = Command::new("/bin/sh");
    let script = "ulimit -n 120 && exec \"$0\" --listen 127.0.0.1:0";
    command.env_clear().args(["-c", script, env!("CARGO_BIN_EXE_metrics-server")]);
    command.env("DATABASE_URL", database.url());
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("ulimit -n"), "{stderr}");
}

#[tokio::test]
async fn connections_never_take_all_files() {
    const FILES: usize = 300;
    let connections = FILES - KEPT;
    let database = Database::new().await;
    let server = start_with_files(&database, FILES, FILES).await;
    let bystander = Bystander::of(&server).await;
    let mut open_ones = Vec::new();
    for _ in 1..connections {
        open_ones.push(soon(open(&server)).await);
    }
    for _ in 1..connections {
        assert_eq!(server.http("GET", "/metrics.js").send().await.status, 503);
    }
    assert_eq!(server.http("GET", "/health/ready").send().await.status, 200);
    assert!(files(&server) < FILES, "it needs some to reach its database");
    drop(open_ones);
    let served = async { while server.http("GET", "/metrics.js").send().await.status != 200 {} };
    timeout(NOTICED_MAX, served).await.unwrap();
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_process_without_files_goes_on_and_takes_connections_when_it_has_some() {
    const SPARE: usize = 5;
    let database = Database::new().await;
    let server = Process::start(&database).await;
    let mut bystander = Bystander::of(&server).await;
    let limit = |files: usize| {
        let files = Some(files as u64);
        prlimit(pid(&server), Resource::Nofile, Rlimit { current: files, maximum: files })
    };
    limit(files(&server) + SPARE).unwrap();
    let mut opening = JoinSet::new();
    for _ in 0..10 * SPARE {
        let server = Server::clone(&server);
        opening.spawn(async move { open(&server).await });
    }
    let mut open_ones = Vec::new();
    while let Ok(Some(opened)) = timeout(UNANSWERED, opening.join_next()).await {
        open_ones.push(opened.unwrap());
    }
    assert!(!opening.is_empty(), "it has files for all of them");
    bystander.watches_on().await;
    // Each closed connection frees a permit for another.
    loop {
        drop(open_ones.pop());
        match soon(opening.join_next()).await {
            Some(opened) => open_ones.insert(0, opened.unwrap()),
            None => break,
        }
    }
    drop(open_ones);
    bystander.expect_unharmed().await;
    let log = server.kill();
    assert_eq!(log.matches("could not accept a connection").count(), 1, "{log}");
}

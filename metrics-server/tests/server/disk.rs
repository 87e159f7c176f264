//! The binary on a disk that is full or fails, and on a file that is damaged or in use.
//!
//! Only the SQLite store owns a file, so these tests are the same for every value of `METRICS_TEST_STORE`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use metrics_core::store::{SqliteStore, Store as _};
use metrics_server_testing::{Answer, Client, Process, Server, Watched, binary, soon};
use metrics_testing::SmallDisk;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Duration, interval};

/// The interval of polls.
const POLL: Duration = Duration::from_millis(20);

const VIEWERS: usize = 10;

fn file_in(directory: &Path) -> PathBuf {
    directory.join("metrics.db")
}

fn on(directory: &Path) -> Command {
    let mut command = binary();
    command.env("DATABASE_URL", format!("sqlite:{}", file_in(directory).display()));
    command
}

async fn health(server: &Server) -> (u16, Value) {
    let answer = server.http("GET", "/health/ready").send().await;
    (answer.status, answer.json())
}

/// Waits until the server has noticed that its store is unavailable, and checks its health report.
async fn wait_until_unavailable(server: &Server) {
    let unavailable = async {
        let mut polling = interval(POLL);
        loop {
            polling.tick().await;
            let (code, health) = health(server).await;
            let reason = health["reason"].as_str().unwrap_or_default().to_owned();
            if reason.starts_with("the store is unavailable since") {
                assert_eq!((code, &health["status"]), (200, &json!("degraded")), "{health}");
                assert!(reason.ends_with("and further events are accepted"), "{reason}");
                return;
            }
        }
    };
    soon(unavailable).await;
}

/// Viewers whose events wait, and a page whose batch waits.
struct Waiting {
    viewers: Vec<(Client, [String; 2])>,
    batch: JoinHandle<Answer>,
}

impl Waiting {
    async fn at(server: &Server) -> Self {
        let mut viewers = Vec::new();
        for viewer in 0..VIEWERS {
            let mut client = server.connect().await;
            let topic = format!("session:{viewer}");
            client.join(&topic, "intro").await;
            let play = client.push(&topic, "event", &json!({ "name": "play", "from": 0 })).await;
            let pause = client.push(&topic, "event", &json!({ "name": "pause", "to": 3 })).await;
            viewers.push((client, [play, pause]));
        }
        let event = |name: &str, second: u64| {
            json!({ "name": name, "session_id": "page", "embed_id": "batch", "video_time": second,
                "timestamp": 1_000 * second, "key": server.key })
        };
        let events = json!({ "events": [event("play", 1), event("pause", 5)] });
        let batch = server.http("POST", "/v1/events").json(&events);
        wait_until_unavailable(server).await;
        Self { viewers, batch: tokio::spawn(batch.send()) }
    }

    /// Checks that no event is acknowledged.
    async fn check_unanswered(&mut self) {
        for (client, _) in &mut self.viewers {
            client.is_quiet().await;
        }
        assert!(!self.batch.is_finished());
    }

    /// Checks that all events are acknowledged, and stored once.
    async fn check_stored(mut self, server: &Server) {
        for (client, refs) in &mut self.viewers {
            for message_ref in refs {
                assert_eq!(client.answer_to(message_ref).await, Value::Null);
            }
            client.is_quiet().await;
        }
        let answer = soon(self.batch).await.unwrap();
        assert_eq!(answer.json(), json!({ "accepted": 2, "rejected": [] }));
        check_watched(server).await;
        assert_eq!(server.watched("batch").await, Watched::once(4.0));
    }
}

async fn check_watched(server: &Server) {
    let seconds = 3.0 * VIEWERS as f64;
    let all = Watched { plays: VIEWERS as u64, seconds, unique: seconds };
    assert_eq!(server.watched("intro").await, all);
}

/// Starts the server, and stores one session.
async fn watched_on(command: Command) -> Process {
    let server = Process::run(command).await;
    let mut client = server.connect().await;
    client.join("session:before", "before").await;
    client.play("session:before", 0.0).await;
    client.pause("session:before", 2.0).await;
    server
}

#[track_caller]
fn expect_once(log: &str, text: &str) {
    assert_eq!(log.matches(text).count(), 1, "{text:?} once in\n{log}");
}

#[tokio::test]
async fn events_wait_while_the_disk_is_full_and_are_stored_when_there_is_room() {
    let disk = SmallDisk::new(8);
    let server = watched_on(on(disk.path())).await;
    disk.fill();
    let mut waiting = Waiting::at(&server).await;
    waiting.check_unanswered().await;
    // Only the sessions stored before can be read.
    assert_eq!(server.watched("before").await, Watched::once(2.0));
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
    disk.empty();
    waiting.check_stored(&server).await;
    assert_eq!(health(&server).await, (200, json!({ "status": "ok" })));

    let (status, log) = server.stop().await;
    assert!(status.success(), "{status}\n{log}");
    expect_once(&log, "the store is unavailable; sessions wait in memory");
    expect_once(&log, "database or disk is full: make room on its disk");
    expect_once(&log, "the store is available again");
    let store = SqliteStore::open(file_in(disk.path())).await.unwrap();
    assert_eq!(store.count_sessions().await.unwrap(), VIEWERS as u64 + 2);
}

#[tokio::test]
async fn sessions_that_a_full_disk_cannot_hold_are_spilled_to_another_at_a_stop() {
    let (disk, spool) = (SmallDisk::new(8), TempDir::new().unwrap());
    let command = || {
        let mut command = on(disk.path());
        command.arg("--spool").arg(spool.path());
        command
    };
    let server = watched_on(command()).await;
    disk.fill();
    let mut waiting = Waiting::at(&server).await;
    waiting.check_unanswered().await;
    let (status, log) = server.stop().await;
    assert!(status.success(), "{status}\n{log}");
    expect_once(&log, "sessions that it did not accept were spilled to a file");
    disk.empty();
    let server = Process::run(command()).await;
    check_watched(&server).await;
    assert_eq!(server.watched("before").await, Watched::once(2.0));
    assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stop_on_a_full_disk_loses_nothing_that_was_acknowledged_and_leaves_no_half_a_file() {
    let disk = SmallDisk::new(8);
    let server = watched_on(on(disk.path())).await;
    disk.fill();
    let mut waiting = Waiting::at(&server).await;
    waiting.check_unanswered().await;
    let (_, log) = server.stop().await;
    expect_once(&log, "events that were not acknowledged are lost");
    disk.empty();
    for entry in fs::read_dir(disk.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(["metrics.db", "metrics.db-wal", "metrics.db-shm"].contains(&&*name), "{name}");
    }
    let server = Process::run(on(disk.path())).await;
    assert_eq!(server.watched("before").await, Watched::once(2.0));
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
}

/// Limits the size of files that the process writes, or removes the limit: a write past it fails as on a broken disk.
fn set_limit(server: &Process, limit: &str) {
    let mut prlimit = Command::new("prlimit");
    let prlimit = prlimit.arg(format!("--pid={}", server.pid())).arg(format!("--fsize={limit}:"));
    assert!(prlimit.status().unwrap().success());
}

#[tokio::test]
async fn events_wait_while_the_disk_fails_and_are_stored_when_it_works() {
    let directory = TempDir::new().unwrap();
    // The shell ignores SIGXFSZ, so that a write past the limit fails, as on a disk, instead of killing the process.
    let server = binary();
    let mut command = Command::new("/bin/sh");
    command
        .env_clear()
        .env("DATABASE_URL", format!("sqlite:{}", file_in(directory.path()).display()));
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(server.get_program());
    let server = watched_on(command).await;
    set_limit(&server, "4096");
    let mut waiting = Waiting::at(&server).await;
    waiting.check_unanswered().await;
    assert_eq!(server.watched("before").await, Watched::once(2.0));
    set_limit(&server, "unlimited");
    waiting.check_stored(&server).await;
    let (status, log) = server.stop().await;
    assert!(status.success(), "{status}\n{log}");
    expect_once(&log, "disk I/O error: make room on its disk");
    expect_once(&log, "the store is available again");
}

#[tokio::test]
async fn events_wait_while_the_file_is_missing_and_are_stored_when_it_is_back() {
    let directory = TempDir::new().unwrap();
    let server = watched_on(on(directory.path())).await;
    let (file, moved) = (file_in(directory.path()), directory.path().join("away"));
    fs::rename(&file, &moved).unwrap();
    let mut waiting = Waiting::at(&server).await;
    waiting.check_unanswered().await;
    assert!(!file.exists());
    fs::rename(&moved, &file).unwrap();
    waiting.check_stored(&server).await;
    let (_, log) = server.stop().await;
    expect_once(&log, "metrics.db: it was removed or replaced while it was in use");
}

/// Starts the server where it cannot run, and returns the line with the reason.
async fn refusal(directory: &Path) -> String {
    let mut command = on(directory);
    command.args(["--listen", "127.0.0.1:0"]);
    let Output { status, stderr, .. } =
        soon(spawn_blocking(move || command.output().unwrap())).await.unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[tokio::test]
async fn a_start_on_an_unusable_file_logs_the_reason_in_a_line_and_changes_nothing() {
    let disk = SmallDisk::new(8);
    let (status, _) = watched_on(on(disk.path())).await.stop().await;
    assert!(status.success());
    let file = file_in(disk.path());
    let whole = fs::read(&file).unwrap();
    for (bytes, text) in [
        (whole[..whole.len() / 2].to_vec(), "the file is damaged"),
        ("my diary\n".repeat(1_000).into_bytes(), "file is not a database"),
    ] {
        fs::write(&file, &bytes).unwrap();
        let line = refusal(disk.path()).await;
        assert!(line.contains(text), "{line}");
        assert!(fs::read(&file).unwrap() == bytes, "the file was changed");
    }
    fs::write(&file, &whole).unwrap();
    disk.fill();
    let line = refusal(disk.path()).await;
    assert!(line.contains("room on its disk"), "{line}");
    disk.empty();
    disk.set_read_only(true);
    let line = refusal(disk.path()).await;
    assert!(line.contains("writable"), "{line}");
    assert!(fs::read(&file).unwrap() == whole, "the file was changed");
    disk.set_read_only(false);
    let server = Process::run(on(disk.path())).await;
    assert_eq!(server.watched("before").await, Watched::once(2.0));
}

#[tokio::test]
async fn a_start_may_wait_for_space_on_the_disk() {
    let disk = SmallDisk::new(8);
    disk.fill();
    let mut command = on(disk.path());
    command.arg("--wait-for-store");
    let starting = tokio::spawn(Process::run(command));
    // Once the file exists, the server has tried to start, and the disk has no room for its contents.
    let tried = async {
        let mut polling = interval(POLL);
        while !file_in(disk.path()).exists() {
            polling.tick().await;
        }
    };
    soon(tried).await;
    disk.empty();
    let server = starting.await.unwrap();
    assert_eq!(health(&server).await, (200, json!({ "status": "ok" })));
}

#[tokio::test]
async fn a_file_that_is_in_use_can_be_copied_and_stays_intact() {
    let (directory, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = watched_on(on(directory.path())).await;
    let mut client = server.connect().await;
    client.join("session:on", "intro").await;
    client.play("session:on", 0.0).await;
    let mut command = binary();
    command.arg("copy");
    for directory in [&directory, &target] {
        command.arg(format!("sqlite:{}", file_in(directory.path()).display()));
    }
    let copied = soon(spawn_blocking(move || command.output().unwrap())).await.unwrap();
    assert!(copied.status.success(), "{copied:?}");
    client.pause("session:on", 2.0).await;
    let copy = SqliteStore::open(file_in(target.path())).await.unwrap();
    assert_eq!(copy.count_sessions().await.unwrap(), 2);
    assert_eq!(server.watched("intro").await, Watched::once(2.0));
    assert_eq!(server.watched("before").await, Watched::once(2.0));
}

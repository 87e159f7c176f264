//! Runs every example as a user does, and checks its output.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use metrics_testing::{Backend, Database};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The time limit for a line of an example, on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// Returns the path of an example, which is built with the tests of this package.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "there is no {path:?}: build it, or test the whole package");
    path
}

/// Runs an example to its successful end, and returns its output.
fn run(name: &str, arguments: &[&str]) -> String {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(example(name));
    let Output { status, stdout, stderr } =
        command.args(arguments).current_dir(directory.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{name} ended with {status}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

/// An example that serves until it is stopped.
struct Serving {
    child: Child,
    lines: Receiver<String>,
    address: String,
    output: Vec<String>,
    _directory: TempDir,
}

impl Serving {
    /// Starts an example on a free port.
    fn start(name: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let mut command = Command::new(example(name));
        command.arg("127.0.0.1:0").current_dir(directory.path()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (output, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The receiver is gone when the test is over.
                let _ignored = output.send(line);
            }
        });
        let (address, output) = (String::new(), Vec::new());
        let mut this = Self { child, lines, address, output, _directory: directory };
        this.address = this.wait_for("listening on http://");
        this
    }

    /// Returns the rest of the line that begins with `begin`.
    fn wait_for(&mut self, begin: &str) -> String {
        loop {
            if let Some(rest) = self.output.iter().find_map(|line| line.strip_prefix(begin)) {
                return rest.to_owned();
            }
            let Ok(line) = self.lines.recv_timeout(WAIT) else {
                panic!("no line begins with {begin:?}: {:?}", self.output);
            };
            self.output.push(line);
        }
    }

    /// Sends a request with these headers, and returns the status and the body of the response.
    fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Returns the plays of `intro` that a caller with these headers sees.
    fn plays(&self, headers: &str) -> Value {
        let (status, body) = self.get("/analytics/api/v1/plays?identifier=intro", headers);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Runs a viewer who watches `intro`, and returns the messages of both sides.
    fn watch(&self, key: &str) -> String {
        run("player", &[&format!("ws://{}/analytics/socket", self.address), key])
    }

    /// Presses Ctrl-C, and waits until the example has ended successfully.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
        self.wait_for("stopped");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The example may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn embed_shows_its_recordings() {
    assert_eq!(run("embed", &[]), "1 plays, 12500 ms watched\n");
}

#[test]
fn embed_hyper_measures_with_its_own_routes() {
    let mut server = Serving::start("embed_hyper");
    let key = server.wait_for("key ");
    for path in ["/", "/analytics/nothing", "/socket/websocket"] {
        assert_eq!(server.get(path, ""), (200, "hello from the application".to_owned()), "{path}");
    }
    let (status, page) = server.get("/analytics/", "");
    assert!(status == 200 && page.contains(r#"src="/analytics/page/main.js""#), "{page}");

    server.watch(&key);
    let plays = server.plays("");
    assert_eq!(plays["views"][0]["total_view_time"], 15.0);
    assert_eq!(plays["views"][0]["unique_total_view_time"], 10.0);
    server.stop();
}

#[test]
fn embed_axum_shows_its_users_their_own_numbers() {
    let mut server = Serving::start("embed_axum");
    let ada = server.wait_for("ada has the key ");
    let bob = server.wait_for("bob has the key ");
    assert_eq!(server.get("/", ""), (200, "hello from the application".to_owned()));
    assert_eq!(server.get("/nothing", "").0, 404);
    assert_eq!(server.get("/analytics/api/v1/plays?identifier=intro", "").0, 401);

    server.watch(&ada);
    let (of_ada, of_bob) =
        ("authorization: Bearer ada-token\r\n", "authorization: Bearer bob-token\r\n");
    assert_eq!(server.plays(of_ada)["views"][0]["total_view_time"], 15.0);
    assert_eq!(server.plays(of_bob)["views"], json!([]));
    server.watch(&bob);
    server.watch(&bob);
    assert_eq!(server.plays(of_ada)["views"][0]["views"], 1);
    assert_eq!(server.plays(of_bob)["views"][0]["views"], 2);
    assert_eq!(server.get("/analytics/", of_ada).0, 403);
    server.stop();
}

#[test]
fn player_shows_the_messages_that_it_sends_and_receives() {
    let mut server = Serving::start("embed_hyper");
    let key = server.wait_for("key ");
    let output = server.watch(&key);
    let messages: Vec<(char, Value)> = output
        .lines()
        .map(|line| (line.chars().next().unwrap(), serde_json::from_str(&line[2..]).unwrap()))
        .collect();
    let sent = messages.iter().filter(|(direction, _)| *direction == '>');
    let events: Vec<_> = sent.map(|(_, message)| message[3].as_str().unwrap()).collect();
    assert_eq!(events, ["phx_join", "event", "event", "event", "event", "event", "phx_leave"]);
    let replies = messages.iter().filter(|(_, message)| message[3] == "phx_reply");
    let statuses: Vec<_> = replies.map(|(_, message)| message[4]["status"].clone()).collect();
    assert_eq!(statuses, ["ok"; 7]);

    let socket = format!("ws://{}/analytics/socket", server.address);
    let refused = Command::new(example("player")).args([&socket, "no-key"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("invalid key"));
    server.stop();
}

#[test]
fn custom_store_answers_as_any_other() {
    assert_eq!(
        run("custom_store", &[]),
        "2 plays, 40 s watched\n\
         0 to 10 s: 2 viewers\n\
         10 to 20 s: 1 viewers\n\
         20 to 30 s: 1 viewers\n"
    );
}

#[test]
fn offline_folds_a_log() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("offline.ndjson");
    assert_eq!(
        run("offline", &[log.to_str().unwrap()]),
        "2024-06-10: 2 plays, 26500 ms watched, 22500 ms of them once\n\
         2024-06-11: 1 plays, 5000 ms watched, 5000 ms of them once\n\
         0 to 5 s: 2 viewers\n\
         5 to 10 s: 1 viewers\n\
         10 to 15 s: 2 viewers\n\
         15 to 20 s: 1 viewers\n"
    );
}

#[tokio::test]
async fn two_instances_count_a_viewer_who_moves_once() {
    let database = Database::new(Backend::Timescale).await;
    let url = database.url();
    let output = tokio::task::spawn_blocking(move || run("two_instances", &[&url])).await.unwrap();
    let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with(['<', '>'])).collect();
    assert_eq!(lines, ["the first server has stopped", "1 plays, 12.5 s watched"]);
}

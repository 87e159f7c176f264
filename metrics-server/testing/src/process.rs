//! The binary, run as an operator runs it.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use metrics_server::EXAMPLE_KEY;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::{Database, Server};

/// How long a start may take: it creates the tables, on a busy machine, and others may do so at the same time.
const START_MAX: Duration = Duration::from_secs(30);

/// How long a stop may take: two drains, on a busy machine.
const STOP_MAX: Duration = Duration::from_secs(30);

/// The interval of checks for the end of the process.
const STOP_POLL: Duration = Duration::from_millis(5);

/// The binary with an empty environment: a variable of the test's own would be a setting of the server.
pub fn binary() -> Command {
    // Cargo builds it for the tests of its package, in the directory above theirs.
    let test = env::current_exe().unwrap();
    let directory =
        test.parent().and_then(Path::parent).expect("tests are in a directory of Cargo");
    let binary = directory.join("metrics-server").with_extension(env::consts::EXE_EXTENSION);
    assert!(binary.is_file(), "{} is missing: run `cargo build --all-features`", binary.display());
    let mut command = Command::new(binary);
    command.env_clear();
    command
}

/// A server in a process of its own, on a database in which the example key is valid.
#[derive(Debug)]
pub struct Process {
    server: Server,
    child: Child,
    /// Reads the log to its end.
    log: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts the server on an existing database.
    pub async fn start(database: &Database) -> Self {
        let mut command = binary();
        command.env("DATABASE_URL", database.url());
        Self::run(command).await
    }

    /// Starts `command` on a free port, and returns once the server listens.
    pub async fn run(command: Command) -> Self {
        spawn_blocking(|| Self::run_now(command)).await.unwrap()
    }

    fn run_now(mut command: Command) -> Self {
        let command = command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (found, address) = mpsc::channel();
        let log = thread::spawn(move || {
            let mut log = String::new();
            for line in stdout.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening address=") {
                    // The receiver is gone if the server logs its address again.
                    let _found = found.send(address.trim().to_owned());
                }
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        let Ok(address) = address.recv_timeout(START_MAX) else {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            panic!("it does not listen ({status}):\n{}", log.join().unwrap());
        };
        let server = Server { address: address.parse().unwrap(), key: EXAMPLE_KEY.to_owned() };
        Self { server, child, log: Some(log) }
    }

    /// Kills the process like a power cut or `kill -9`. Returns its log.
    pub fn kill(mut self) -> String {
        self.end()
    }

    fn end(&mut self) -> String {
        // The process may have ended.
        drop(self.child.kill());
        self.child.wait().unwrap();
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }

    /// Sends SIGTERM, and waits for the end of the process, for at most `STOP_MAX`. Returns its exit status and its
    /// log.
    pub async fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let stopped = async {
            while self.child.try_wait().unwrap().is_none() {
                sleep(STOP_POLL).await;
            }
        };
        assert!(timeout(STOP_MAX, stopped).await.is_ok(), "it does not stop");
        (self.child.wait().unwrap(), self.end())
    }

    /// Stops the process, and expects a successful exit. Returns the log.
    pub async fn terminate(self) -> String {
        let (status, log) = self.stop().await;
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// The resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Deref for Process {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let log = self.end();
        if thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a test that fails should say why")]
            {
                eprintln!("the server at {} said:\n{log}", self.server.address);
            }
        }
    }
}

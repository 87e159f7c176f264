//! The binary, as an operator starts it.

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

/// How long a start may take: it makes the tables, on a busy machine, and others may do so at the same time.
const START_MAX: Duration = Duration::from_secs(30);

/// How long a stop may take: two drains, on a busy machine.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How often is looked whether it has stopped.
const STOP_POLL: Duration = Duration::from_millis(5);

/// The binary with nothing of the environment: a setting in it would be one of the server's.
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
    /// Reads what it logs, to its end.
    log: Option<JoinHandle<String>>,
}

impl Process {
    /// On a database that is there.
    pub async fn start(database: &Database) -> Self {
        let mut command = binary();
        command.env("DATABASE_URL", database.url());
        Self::run(command).await
    }

    /// Whatever the command says, on a free port, once it listens there.
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
                    // Nobody waits for it any more if the server says it again.
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

    /// What a power cut does to it, or `kill -9`. Returns what it has logged.
    pub fn kill(mut self) -> String {
        self.end()
    }

    fn end(&mut self) -> String {
        // It may have ended.
        drop(self.child.kill());
        self.child.wait().unwrap();
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }

    /// Tells it to stop, and waits until it has, which must be soon. Returns how it ended, and what it has logged.
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

    /// The same, in order. Returns what it has logged.
    pub async fn terminate(self) -> String {
        let (status, log) = self.stop().await;
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// How the system knows it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// How much memory it has, in KiB.
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

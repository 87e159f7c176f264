//! Servers as processes: started, measured from outside, and stopped.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The time limit for a server to start or to stop: its connections and its store have 10 s each to stop.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The text before the server's address in its output.
const LISTENING: &str = "listening address=";

/// A server process, which is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    pid: u32,
}

impl Server {
    /// Starts a server on a free port, and returns when it listens.
    ///
    /// # Errors
    ///
    /// It cannot be started, or ends without listening.
    pub async fn start(binary: &Path, database_url: Option<&str>) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0"]);
        if let Some(url) = database_url {
            command.env("DATABASE_URL", url);
        }
        // Disables the limits: all viewers have one address and one key.
        let limits = ["joins", "events", "new_videos", "new_pages"];
        let limits = limits.map(|limit| format!("{limit}=none,{limit}_per_address=none"));
        command.env("METRICS_LIMITS", limits.join(","));
        command.env("RUST_LOG", "info").env("METRICS_LOG_FORMAT", "text");
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the server has ended"))?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("there is no output"))?;
        let mut lines = BufReader::new(output).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    return address.trim().parse().map_err(io::Error::other);
                }
            }
            Err(io::Error::other("the server ended before it listened"))
        };
        let address = timeout(WAIT_MAX, listening).await.map_err(io::Error::other)??;
        // Drains the log: a server whose log is not read blocks once the pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, address, pid })
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops the server as an operator does.
    ///
    /// # Errors
    ///
    /// The server does not end.
    pub async fn stop(mut self) -> io::Result<ExitStatus> {
        kill_process(process(self.pid)?, Signal::TERM)?;
        timeout(WAIT_MAX, self.child.wait()).await.map_err(io::Error::other)?
    }
}

fn process(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Returns the processor time of a process.
///
/// # Errors
///
/// There is no such process.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    Ok(ticks(Stat::of(pid)?.own))
}

/// Returns the processor time of a process and its children, including ended ones: for PostgreSQL, which has a process
/// for each connection.
///
/// # Errors
///
/// There is no such process.
pub fn cpu_of_tree(pid: u32) -> io::Result<Duration> {
    let parent = Stat::of(pid)?;
    let mut sum = parent.own + parent.ended;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(other) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // The process may have ended since.
        if let Ok(child) = Stat::of(other)
            && child.parent == pid
        {
            sum += child.own;
        }
    }
    Ok(ticks(sum))
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / clock_ticks_per_second() as f64)
}

/// The statistics that the system reports about a process, in ticks.
struct Stat {
    parent: u32,
    own: u64,
    ended: u64,
}

impl Stat {
    fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name is in parentheses, and may contain anything.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        let fields: Vec<u64> =
            fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        // The first is the state, which is field 3 of proc(5).
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        Ok(Self {
            parent: u32::try_from(field(4)).unwrap_or(0),
            own: field(14) + field(15),
            ended: field(16) + field(17),
        })
    }
}

/// Returns the resident memory of a process, in bytes.
///
/// # Errors
///
/// There is no such process.
pub fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("the process has no memory"))
}

/// Raises this process's limit on open files to the maximum of the system: every connection is a file.
///
/// # Errors
///
/// The system refuses, or allows fewer than `needed`.
pub fn allow_files(needed: usize) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let needed = needed as u64;
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(io::Error::other(format!(
            "the system lets a process open fewer than {needed} files"
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

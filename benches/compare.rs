//! Compares the server with the upper bound (`bare`), under the same load and in one run, as tables.
//!
//! ```sh
//! cargo build --release -p metrics-video-server -p benches
//! target/release/compare --disk /var/tmp --postgres "$(scripts/timescaledb url)"
//! ```

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::drive::{BURST, Load, Outcome};
use benches::idle::{Cost, Idle};
use benches::process::allow_files;
use benches::report;
use benches::table::{HEAD, IDLE_HEAD, idle_row, millis, row};
use benches::target::{Target, drive};
use clap::Parser;

/// The number of open files beside connections.
const OTHER_FILES: usize = 100;

#[derive(Debug, Parser)]
#[command(about = "Measures the server beside one that does nothing with what it reads")]
struct Flags {
    /// The directory of `metrics-server` and `bare`
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,

    /// A directory on a disk, for SQLite files
    #[arg(long, default_value = ".")]
    disk: PathBuf,

    /// The URL of a PostgreSQL server, on which a database is created
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,

    /// The first process of that server
    #[arg(long)]
    database_pid: Option<u32>,

    /// The number of rounds; the tables have the median
    #[arg(long, default_value_t = 1)]
    rounds: usize,

    /// The duration of each run; shorter if a socket sends the 4,096 messages that it may send at once
    #[arg(long, default_value_t = 10)]
    seconds: u64,

    /// The number of websockets under load
    #[arg(long, default_value_t = 200)]
    connections: usize,

    /// The number of viewers on each
    #[arg(long, default_value_t = 16)]
    sessions: usize,

    /// The number of messages that each websocket keeps in flight
    #[arg(long, default_value_t = 16)]
    in_flight: usize,

    /// The number of idle websockets
    #[arg(long, default_value_t = 10_000)]
    idle: usize,

    /// The seed; equal seeds produce equal viewers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A server to measure.
struct Candidate {
    name: &'static str,
    binary: PathBuf,
    store: Option<String>,
    database_pid: Option<u32>,
    runs: Vec<Run>,
}

/// The outcome of one run.
struct Run {
    full: Outcome,
    half: Outcome,
}

#[tokio::main]
async fn main() -> ExitCode {
    report("compare", compare(&Flags::parse()).await)
}

async fn compare(flags: &Flags) -> io::Result<String> {
    allow_files(flags.connections.max(flags.idle) + OTHER_FILES)?;
    let mut candidates = candidates(flags);
    for _ in 0..flags.rounds.max(1) {
        for candidate in &mut candidates {
            let run = candidate.run(flags).await?;
            candidate.runs.push(run);
        }
    }
    let mut lines = vec![HEAD.to_owned()];
    for candidate in &mut candidates {
        candidate.runs.sort_by(|one, other| one.full.rate().total_cmp(&other.full.rate()));
        let Run { full, half } = candidate.median();
        lines.push(row(candidate.name, "full", full));
        lines.push(row(candidate.name, "half", half));
    }
    lines.push(
        "\n| server | of bare | p50 ms at half | p99 ms at half |\n|---|---:|---:|---:|".into(),
    );
    let bare = candidates[0].median().full.rate();
    for candidate in &candidates {
        let Run { full, half } = candidate.median();
        let (p50, p99) = (millis(half.latency(0.5)), millis(half.latency(0.99)));
        lines.push(format!("| {} | {:.2} | {p50} | {p99} |", candidate.name, full.rate() / bare));
    }
    if 0 < flags.idle {
        lines.push(format!("\n{IDLE_HEAD}"));
        let mut resident = Vec::new();
        for candidate in &candidates[..2] {
            let cost = candidate.idle(flags).await?;
            lines.push(idle_row(candidate.name, &cost));
            resident.push(cost.resident);
        }
        lines.push(format!(
            "\nMemory of an idle connection: {:.2} of bare.",
            resident[1] / resident[0]
        ));
    }
    Ok(lines.join("\n"))
}

fn candidates(flags: &Flags) -> Vec<Candidate> {
    let server = flags.binaries.join("metrics-server");
    let candidate = |name, binary: &PathBuf, store: Option<&str>, database_pid| Candidate {
        name,
        binary: binary.clone(),
        store: store.map(str::to_owned),
        database_pid,
        runs: Vec::new(),
    };
    let mut candidates = vec![
        candidate("bare", &flags.binaries.join("bare"), None, None),
        candidate("SQLite", &server, Some("sqlite"), None),
    ];
    if let Some(url) = &flags.postgres {
        candidates.push(candidate("PostgreSQL", &server, Some(url), flags.database_pid));
    }
    candidates
}

impl Candidate {
    fn median(&self) -> &Run {
        &self.runs[self.runs.len() / 2]
    }

    /// Measures the server under as much load as it takes, and then under half of that.
    async fn run(&self, flags: &Flags) -> io::Result<Run> {
        let target = Target::start(&self.binary, self.store.as_deref(), &flags.disk).await?;
        let mut load = Load {
            server: target.address(),
            key: target.key().to_owned(),
            connections: flags.connections,
            sessions: flags.sessions,
            measured: Duration::from_secs(flags.seconds),
            burst: target.counts().then_some(BURST),
            in_flight: flags.in_flight,
            rate: None,
            seed: flags.seed,
            pid: Some(target.pid()),
            database_pid: self.database_pid,
        };
        let full = drive(&load, target.counts()).await?;
        load.rate = Some(full.rate() / 2.0);
        // Other viewers than before, so that no viewer returns.
        load.seed += 1;
        let half = drive(&load, target.counts()).await?;
        target.stop().await?;
        Ok(Run { full, half })
    }

    /// Measures the cost of idle viewers.
    async fn idle(&self, flags: &Flags) -> io::Result<Cost> {
        let target = Target::start(&self.binary, self.store.as_deref(), &flags.disk).await?;
        let idle = Idle {
            server: target.address(),
            key: target.key().to_owned(),
            connections: flags.idle,
            stay: Duration::from_secs(flags.seconds),
            seed: flags.seed,
            pid: target.pid(),
        };
        let cost = idle.run().await?;
        target.stop().await?;
        Ok(cost)
    }
}

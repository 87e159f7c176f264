//! Puts a server under load, and checks that it counts everything.
//!
//! ```sh
//! cargo build --release -p metrics-video-server -p benches
//! target/release/load --server target/release/metrics-server --store sqlite
//! target/release/load --server target/release/bare
//! target/release/load --url 127.0.0.1:3000 --pid 4711 --rate 5000
//! target/release/load --server target/release/metrics-server --store sqlite idle
//! target/release/load --server target/release/metrics-server --store sqlite reports
//! ```
//!
//! With `--store postgres://...` a database is created on that server, and dropped at the end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::bystander::{BystanderTimes, table};
use benches::drive::{BURST, Load, Outcome};
use benches::idle::{Cost, Idle};
use benches::process::allow_files;
use benches::report;
use benches::table::{HEAD, IDLE_HEAD, idle_row, row};
use benches::target::{Target, drive};
use benches::verify::new_key;
use clap::{Parser, Subcommand};
use serde_json::json;

/// The default number of websockets.
const CONNECTIONS: usize = 200;

/// The default number of idle websockets.
const IDLE_CONNECTIONS: usize = 10_000;

/// The number of open files beside connections.
const OTHER_FILES: usize = 100;

#[derive(Debug, Parser)]
#[command(about = "Puts a server under load, and checks that it has counted everything")]
struct Flags {
    #[command(subcommand)]
    mode: Option<Mode>,

    /// The address of a running server to measure
    #[arg(long, global = true, value_name = "ADDRESS:PORT", conflicts_with = "server")]
    url: Option<SocketAddr>,

    /// The server to start
    #[arg(long, global = true, value_name = "BINARY")]
    server: Option<PathBuf>,

    /// Where it keeps sessions: `sqlite`, or a `postgres://` server on which a database is created; none for `bare`
    #[arg(long, global = true)]
    store: Option<String>,

    /// The directory of the SQLite file
    #[arg(long, global = true, default_value = ".")]
    disk: PathBuf,

    /// The API key of the viewers [default: a new one]
    #[arg(long, global = true)]
    key: Option<String>,

    /// The number of websockets [default: 200, or 10000 if idle]
    #[arg(long, global = true)]
    connections: Option<usize>,

    /// The number of viewers on each at a time, 64 at most
    #[arg(long, global = true, default_value_t = 16)]
    sessions: usize,

    /// The duration of the measurement; shorter if a socket sends the 4,096 messages that it may send at once
    #[arg(long, global = true, default_value_t = 10)]
    seconds: u64,

    /// The number of events per second; without it, each connection keeps some in flight
    #[arg(long, global = true)]
    rate: Option<f64>,

    /// The number of messages that each connection keeps in flight
    #[arg(long, global = true, default_value_t = 16)]
    in_flight: usize,

    /// The process of the server
    #[arg(long, global = true)]
    pid: Option<u32>,

    /// The first process of PostgreSQL
    #[arg(long, global = true)]
    database_pid: Option<u32>,

    /// The seed; equal seeds produce equal viewers
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,

    /// Print JSON and no table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Mode {
    /// Connect and join only, and measure the cost
    Idle,
    /// Measure the latency of events without and with 16 of the most expensive reports at once
    Reports,
}

#[tokio::main]
async fn main() -> ExitCode {
    report("load", run(&Flags::parse()).await)
}

async fn run(flags: &Flags) -> io::Result<String> {
    match (&flags.server, flags.url) {
        (Some(binary), _) => {
            let target = Target::start(binary, flags.store.as_deref(), &flags.disk).await?;
            let key = flags.key.as_deref().unwrap_or(target.key()).to_owned();
            let measured =
                measure(flags, target.address(), key, Some(target.pid()), target.counts());
            let text = measured.await?;
            target.stop().await?;
            Ok(text)
        }
        (None, Some(server)) => {
            let key = match &flags.key {
                Some(key) => key.clone(),
                None => new_key(server).await?,
            };
            measure(flags, server, key, flags.pid, true).await
        }
        (None, None) => {
            Err(io::Error::other("say which server: --server BINARY or --url ADDRESS:PORT"))
        }
    }
}

async fn measure(
    flags: &Flags,
    server: SocketAddr,
    key: String,
    pid: Option<u32>,
    counts: bool,
) -> io::Result<String> {
    if let Some(Mode::Reports) = flags.mode {
        let measured = Duration::from_secs(flags.seconds);
        return Ok(table(&BystanderTimes { server, key, measured, seed: flags.seed }.run().await?));
    }
    if let Some(Mode::Idle) = flags.mode {
        let pid = pid.ok_or_else(|| io::Error::other("say which process it is: --pid"))?;
        let connections = flags.connections.unwrap_or(IDLE_CONNECTIONS);
        let stay = Duration::from_secs(flags.seconds);
        let cost = Idle { server, key, connections, stay, seed: flags.seed, pid }.run().await?;
        let table = format!("{IDLE_HEAD}\n{}", idle_row("server", &cost));
        return Ok(if flags.json { idle_json(&cost) } else { table });
    }
    let load = Load {
        server,
        key,
        connections: flags.connections.unwrap_or(CONNECTIONS),
        sessions: flags.sessions,
        measured: Duration::from_secs(flags.seconds),
        burst: counts.then_some(BURST),
        in_flight: flags.in_flight,
        rate: flags.rate,
        seed: flags.seed,
        pid,
        database_pid: flags.database_pid,
    };
    allow_files(load.connections + OTHER_FILES)?;
    let outcome = drive(&load, counts).await?;
    let name = flags.rate.map_or("full".to_owned(), |rate| format!("{rate:.0}/s"));
    let table = format!("{HEAD}\n{}", row("server", &name, &outcome));
    Ok(if flags.json { outcome_json(&outcome) } else { table })
}

fn outcome_json(outcome: &Outcome) -> String {
    let ms = |of| outcome.latency(of).as_secs_f64() * 1_000.0;
    let value = json!({
        "events_per_second": outcome.rate(),
        "seconds": outcome.measured.as_secs_f64(),
        "latency_ms": { "p50": ms(0.5), "p95": ms(0.95), "p99": ms(0.99) },
        "cpu_seconds_per_100000_events": outcome.cpu.map(|cpu| outcome.per_events(cpu)),
        "database_cpu_seconds_per_100000_events": outcome.database_cpu.map(|cpu| outcome.per_events(cpu)),
        "resident_bytes": outcome.resident,
        "joins": outcome.joins,
        "plays": outcome.tally.plays,
    });
    value.to_string()
}

fn idle_json(cost: &Cost) -> String {
    let value = json!({
        "connections": cost.connections,
        "resident_bytes_each": cost.resident,
        "cpu_ms_each": cost.cpu.as_secs_f64() * 1_000.0,
        "joins_per_second": cost.connections as f64 / cost.took.as_secs_f64(),
    });
    value.to_string()
}

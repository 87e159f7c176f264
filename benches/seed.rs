//! Fills a store with the sessions of a busy site, through its own write path at full speed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::Failure;
use benches::dataset::{Dataset, INSTANCE};
use benches::store_url::{AT_ONCE, StoreUrl, close_all};
use chrono::{DateTime, SubsecRound as _, Utc};
use clap::Parser;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics_core::query::instant;
use metrics_core::store::{FINAL_AFTER, Outcome, SessionWrite, Store};

/// The number of sessions per write. A server writes up to 2,000 under load.
const BATCH: u64 = 1_000;

/// The number of batches that are made ahead of the writes.
const AHEAD: usize = 4;

/// The number of concurrent writes: a store has as many connections that record.
const IN_FLIGHT: usize = 3;

/// The number of sessions after which quiet sessions are closed and merged, and sessions that were silent for long are
/// made final.
const PORTION: u64 = 50_000;

/// The number of sessions between two vacuums of a PostgreSQL store: a week, with ten million sessions.
const VACUUM_EVERY: u64 = 4 * PORTION;

/// The interval between two displays of progress.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Fills an empty store with sessions.
#[derive(Parser)]
struct Args {
    /// sqlite:PATH or postgres://...
    #[arg(long)]
    store: StoreUrl,
    /// The number of sessions.
    #[arg(long, default_value_t = 10_000_000)]
    sessions: u64,
    /// The seed; equal seeds produce equal sessions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The start of the last session, in RFC 3339; now by default.
    #[arg(long)]
    until: Option<DateTime<Utc>>,
    /// Leaves all sessions open: a server that starts on them closes them while it does its other work.
    #[arg(long)]
    open: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let until = args.until.unwrap_or_else(Utc::now).trunc_subsecs(3);
    let store = args.store.open().await?;
    if 0 < store.count_sessions().await? {
        return Err("the store has sessions already: take one that has none".into());
    }
    let dataset = Arc::new(Dataset::new(args.seed, args.sessions, until.timestamp_millis()));
    store.create_key(dataset.key(), until).await?;

    let mut progress = Progress { sessions: args.sessions, written: 0, shown_at: Instant::now() };
    let (mut writing, mut upkeep) = (Duration::ZERO, Duration::ZERO);
    for first in (0..args.sessions).step_by(PORTION as usize) {
        let began = Instant::now();
        let portion = first..args.sessions.min(first + PORTION);
        write(&store, &dataset, portion, &mut progress).await?;
        writing += began.elapsed();
        if args.open {
            continue;
        }
        let began = Instant::now();
        close_all(&*store).await?;
        let now = instant(dataset.reached_ms(progress.written));
        while 0 < store.finalize(now - FINAL_AFTER, AT_ONCE).await? {}
        if progress.written.is_multiple_of(VACUUM_EVERY) {
            args.store.vacuum().await?;
        }
        upkeep += began.elapsed();
    }
    store.heartbeat(INSTANCE, until).await?;
    args.store.tidy().await?;

    let rate = args.sessions as f64 / writing.as_secs_f64();
    println!(
        "{}: {} sessions in {writing:.1?}, {rate:.0}/s; closed and merged in {upkeep:.1?}",
        args.store, args.sessions
    );
    print_space(&args.store, args.sessions).await
}

/// Writes sessions in the order of time, as a server does.
async fn write(
    store: &Arc<dyn Store>,
    dataset: &Arc<Dataset>,
    sessions: Range<u64>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let end = sessions.end;
    let batches = sessions.step_by(BATCH as usize).map(|first| {
        let dataset = Arc::clone(dataset);
        tokio::task::spawn_blocking(move || dataset.sessions(first..end.min(first + BATCH)))
    });
    stream::iter(batches)
        .buffered(AHEAD)
        .map_err(Failure::from)
        .map_ok(|writes| commit(store, writes))
        .try_buffered(IN_FLIGHT)
        .try_for_each(|written| {
            progress.show(written);
            std::future::ready(Ok(()))
        })
        .await
}

async fn commit(store: &Arc<dyn Store>, writes: Arc<[SessionWrite]>) -> Result<u64, Failure> {
    let outcomes = store.commit(Arc::clone(&writes)).await?;
    if outcomes.iter().any(|outcome| *outcome != Outcome::Written) {
        return Err("the store has one of the sessions already".into());
    }
    Ok(outcomes.len() as u64)
}

struct Progress {
    sessions: u64,
    written: u64,
    shown_at: Instant,
}

impl Progress {
    fn show(&mut self, written: u64) {
        self.written += written;
        let done = self.written == self.sessions;
        if !std::io::stderr().is_terminal() || !done && self.shown_at.elapsed() < REPORT_INTERVAL {
            return;
        }
        self.shown_at = Instant::now();
        let end = if done { "\n" } else { "" };
        eprint!("\r{} of {}{end}", self.written, self.sessions);
        // A failure to show progress does not stop the program.
        let _shown = std::io::stderr().flush();
    }
}

async fn print_space(store_url: &StoreUrl, sessions: u64) -> Result<(), Failure> {
    println!("\n| table or index | bytes | per session |\n|---|---|---|");
    let space = store_url.space().await?;
    let print = |name: &str, bytes: i64| {
        println!("| {name} | {bytes} | {:.1} |", bytes as f64 / sessions as f64);
    };
    space.iter().for_each(|it| print(&it.name, it.bytes));
    print("all", space.iter().map(|it| it.bytes).sum());
    Ok(())
}

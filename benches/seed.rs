//! Fills a store with the sessions of a busy site, as fast as its own write path takes them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::Failure;
use benches::dataset::{Dataset, INSTANCE};
use benches::place::{AT_ONCE, Place, close_all};
use chrono::{DateTime, SubsecRound as _, Utc};
use clap::Parser;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics_core::query::instant;
use metrics_core::store::{LIVE, Outcome, SessionWrite, Store};

/// How many sessions are written at once: as many as a server writes under load.
const BATCH: u64 = 1_000;

/// How many batches are made before they can be written.
const AHEAD: usize = 4;

/// How many batches are written at the same time: a store has as many connections that record.
const IN_FLIGHT: usize = 3;

/// After how many sessions those that are quiet are closed and merged, and those that were silent for long made final.
const PORTION: u64 = 50_000;

/// How many sessions there are between two times that the table of live sessions is vacuumed: a week, with ten millions.
const VACUUM_EVERY: u64 = 4 * PORTION;

/// How often progress is shown.
const TELL: Duration = Duration::from_millis(500);

/// Fills an empty store with sessions.
#[derive(Parser)]
struct Args {
    /// sqlite:PATH or postgres://...
    #[arg(long)]
    store: Place,
    /// How many.
    #[arg(long, default_value_t = 10_000_000)]
    sessions: u64,
    /// The same number makes the same sessions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When the last of them starts, in RFC 3339: now, unless said otherwise.
    #[arg(long)]
    until: Option<DateTime<Utc>>,
    /// Leaves all sessions open: a server that is started on them closes them beside whatever else it does.
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

    let mut progress = Progress { sessions: args.sessions, written: 0, told: Instant::now() };
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
        while 0 < store.finalize(now - LIVE, AT_ONCE).await? {}
        if progress.written.is_multiple_of(VACUUM_EVERY) {
            args.store.vacuum().await?;
        }
        upkeep += began.elapsed();
    }
    store.beat(INSTANCE, until).await?;
    args.store.tidy().await?;

    let rate = args.sessions as f64 / writing.as_secs_f64();
    println!(
        "{}: {} sessions in {writing:.1?}, {rate:.0}/s; closed and merged in {upkeep:.1?}",
        args.store, args.sessions
    );
    tell_space(&args.store, args.sessions).await
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
            progress.tell(written);
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
    told: Instant,
}

impl Progress {
    fn tell(&mut self, written: u64) {
        self.written += written;
        let done = self.written == self.sessions;
        if !std::io::stderr().is_terminal() || !done && self.told.elapsed() < TELL {
            return;
        }
        self.told = Instant::now();
        let end = if done { "\n" } else { "" };
        eprint!("\r{} of {}{end}", self.written, self.sessions);
        // Progress that cannot be shown is not worth stopping for.
        let _shown = std::io::stderr().flush();
    }
}

async fn tell_space(place: &Place, sessions: u64) -> Result<(), Failure> {
    println!("\n| table or index | bytes | per session |\n|---|---|---|");
    let space = place.space().await?;
    let tell = |name: &str, bytes: i64| {
        println!("| {name} | {bytes} | {:.1} |", bytes as f64 / sessions as f64);
    };
    space.iter().for_each(|it| tell(&it.name, it.bytes));
    tell("all", space.iter().map(|it| it.bytes).sum());
    Ok(())
}

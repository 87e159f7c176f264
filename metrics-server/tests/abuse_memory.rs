//! What strangers have a server hold is given back: after all abuses its memory is what it was before.
//!
//! A file of its own: other tests beside the first round would make its peak lower than that of the second.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use metrics_server_testing::{Bystander, Database, NO_RATES, Process, abuses, binary};
use tokio::time::{sleep, timeout};

/// How much more memory there may be than before, in percent: all of it, and what is the server's own, which is half of
/// it and of which the allocator wastes now more and now less.
const MORE_MAX: (u64, u64) = (20, 30);

/// How many times everything is done in a round.
const TIMES: usize = 20;

/// How long a round may take, on a busy machine.
const ROUND_MAX: Duration = Duration::from_secs(300);

/// After which time a server has evicted all sessions of clients that are gone: a client that polls is gone a minute after
/// its last poll, a session stays in memory for a minute after that, and every session is checked four times a minute. The
/// time passes for another process, whose clock nobody can move.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// The allocator is to give back what it can. By itself it has an arena for each thread, and keeps what once was in use
/// for the process to use again: of 65 MB after abuses that were over, 59 were free.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
];

/// The memory of a process that is its own, in KiB: without what it shares with the file that it was started from,
/// which would hide what is more.
fn own_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Even so the allocator does not give all of it back to the system, because what is in use lies in between. So there is
/// a round before: what is free after that must do for the next. That all of it is free, `abuse_allocations.rs` sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_all_abuses_memory_is_what_it_was() {
    let database = Database::new().await;
    let mut command = binary();
    command.env("DATABASE_URL", database.url()).env("METRICS_LIMITS", NO_RATES).envs(ALLOCATOR);
    let server = Process::run(command).await;
    let bystander = Bystander::of(&server).await;
    let abuse = async |name: &str| {
        timeout(ROUND_MAX, abuses::all(&server, name, TIMES)).await.unwrap();
        (server.resident_kib(), own_kib(&server))
    };
    let before = abuse("before").await;
    sleep(FORGOTTEN).await;
    let after = abuse("after").await;
    bystander.expect_unharmed().await;
    let is_within = |before, after, more_max| after <= before + before * more_max / 100;
    assert!(is_within(before.0, after.0, MORE_MAX.0), "{before:?} KiB before, {after:?} KiB after");
    assert!(is_within(before.1, after.1, MORE_MAX.1), "{before:?} KiB before, {after:?} KiB after");
}

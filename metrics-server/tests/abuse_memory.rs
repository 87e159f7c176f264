//! The server frees the memory that strangers make it use: after all abuses it uses as much as before.
//!
//! This file is a binary of its own: tests beside the first round would lower its peak below that of the second.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use metrics_server_testing::{Bystander, Database, NO_RATES, Process, abuses, binary};
use tokio::time::{sleep, timeout};

/// How much the memory may grow, in percent: the resident memory, and the process's private memory, which is half of it
/// and varies with the fragmentation of the allocator.
const MORE_MAX: (u64, u64) = (20, 30);

/// How many times a round repeats each abuse.
const TIMES: usize = 20;

/// How long a round may take, on a busy machine.
const ROUND_MAX: Duration = Duration::from_secs(300);

/// The time after which a server has evicted all sessions of disconnected clients: a polling client is disconnected a
/// minute after its last poll, a session stays in memory for another minute, and the server checks every session four
/// times a minute. The time is real, because a test cannot move the clock of another process.
const EVICTED_AFTER: Duration = Duration::from_secs(150);

/// Settings by which the allocator returns free memory to the system. By default it has an arena per thread and keeps
/// freed memory for the process: of 65 MB after completed abuses, 59 were free.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
];

/// The private memory of a process in KiB, without the pages of its executable, which would hide the growth.
fn own_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Even so the allocator does not return all free memory to the system, because allocations in use lie in between. So a
/// first round comes before the measurement: its free memory must suffice for the next. `allocations.rs` checks that
/// everything is freed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_all_abuses_memory_is_as_before() {
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
    sleep(EVICTED_AFTER).await;
    let after = abuse("after").await;
    bystander.expect_unharmed().await;
    let is_within = |before, after, more_max| after <= before + before * more_max / 100;
    assert!(is_within(before.0, after.0, MORE_MAX.0), "{before:?} KiB before, {after:?} KiB after");
    assert!(is_within(before.1, after.1, MORE_MAX.1), "{before:?} KiB before, {after:?} KiB after");
}

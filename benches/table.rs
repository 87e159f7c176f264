//! Results as tables for people.

use std::time::Duration;

use crate::drive::Outcome;
use crate::idle::Cost;

/// The columns of [`row`].
pub const HEAD: &str = "\
| server | load | acknowledged events/s | p50 ms | p95 ms | p99 ms | CPU s per 100,000 | of the database | MiB |
|---|---|---:|---:|---:|---:|---:|---:|---:|";

/// The columns of [`idle_row`].
pub const IDLE_HEAD: &str = "\
| server | connections | KiB each | CPU ms each, connect and join |
|---|---:|---:|---:|";

/// Formats one run.
#[must_use]
pub fn row(server: &str, load: &str, outcome: &Outcome) -> String {
    let ms = |of| millis(outcome.latency(of));
    let cpu = |cpu: Option<Duration>| {
        cpu.map_or(String::new(), |cpu| format!("{:.2}", outcome.per_events(cpu)))
    };
    let mib = outcome.resident.map_or(String::new(), |bytes| (bytes >> 20).to_string());
    let (rate, own, database) = (outcome.rate(), cpu(outcome.cpu), cpu(outcome.database_cpu));
    format!(
        "| {server} | {load} | {rate:.0} | {} | {} | {} | {own} | {database} | {mib} |",
        ms(0.5),
        ms(0.95),
        ms(0.99)
    )
}

/// Formats the cost of idle viewers.
#[must_use]
pub fn idle_row(server: &str, cost: &Cost) -> String {
    let Cost { connections, resident, cpu, .. } = cost;
    let (kib, ms) = (resident / 1_024.0, cpu.as_secs_f64() * 1_000.0);
    format!("| {server} | {connections} | {kib:.1} | {ms:.3} |")
}

/// Formats a duration with the precision of a measurement.
#[must_use]
pub fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1_000.0)
}

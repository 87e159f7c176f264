//! `GET /metrics`: process statistics, in the text format of `OpenMetrics` or of Prometheus.

mod page;
mod process;

use std::path::Path;
use std::time::Duration;

use hyper::Response;
use hyper::header::HeaderMap;
use metrics_core::Metrics;
use metrics_core::recorder::{Histogram, Spool, Stats};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::page::{Buckets, Format, Page};
use self::process::Process;
use crate::counters::{BOUNDS, Counters, Endpoint, Failure};
use crate::memory::Memory;
use crate::response::{self, Body};
use crate::single_flight::SingleFlight;

/// How long sizes are cached: PostgreSQL adds up the lengths of all its files.
const SIZES_CACHED: Duration = Duration::from_secs(60);

/// The timeout of reading a size. Without an answer, the size is left out.
const SIZES_MAX: Duration = Duration::from_secs(2);

/// The sizes of the database and of spool files, in bytes; `None` if unknown.
type Sizes = (Option<u64>, Option<u64>);

/// The latest sizes.
pub(crate) struct Measured(SingleFlight<Sizes>);

impl Measured {
    pub(crate) fn new() -> Self {
        Self(SingleFlight::new(SIZES_CACHED))
    }

    async fn sizes(&self, metrics: &Metrics, spool: Option<&Spool>) -> Sizes {
        let (metrics, spool) = (metrics.clone(), spool.cloned());
        let measure = || async move {
            let database = timeout(SIZES_MAX, metrics.store().size_bytes()).await;
            let spool = match spool {
                Some(spool) => spool.size_bytes().await.ok(),
                None => None,
            };
            (database.ok().and_then(Result::ok).flatten(), spool)
        };
        self.0.get(measure).await.unwrap_or_default()
    }
}

/// The statistics of this process. `connected` are the numbers of websockets and of long-polling sessions.
pub(crate) async fn stats(
    metrics: &Metrics,
    (counters, memory): (&Counters, &Memory),
    connected: (usize, usize),
    (measured, spool): (&Measured, Option<&Spool>),
    headers: &HeaderMap,
) -> Response<Body> {
    let sizes = measured.sizes(metrics, spool).await;
    let process = spawn_blocking(|| Process::read(Path::new("/proc"))).await.unwrap_or_default();
    let format = Format::accepted(headers);
    let mut page = Page::new(format);
    self::process(&mut page, &process);
    recording(&mut page, &metrics.stats(), counters, connected);
    store(&mut page, &metrics.stats(), sizes);
    reports(&mut page, counters);
    webhooks(&mut page, counters);
    self::memory(&mut page, &metrics.stats(), counters, memory);
    response::text(format.content_type(), page.finish())
}

/// The program and its use of the machine, under the names that all clients of Prometheus have.
fn process(page: &mut Page, process: &Process) {
    page.family("metrics_build", "info", None, "The version of the server.");
    page.sample("metrics_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(seconds) = process.cpu_seconds {
        let name = "process_cpu_seconds";
        page.family(name, "counter", Some("seconds"), "Time on processors, user and system.");
        page.sample("process_cpu_seconds_total", &[], seconds);
    }
    let (resident, all) = (process.resident_bytes, process.virtual_bytes);
    page.measure("process_resident_memory_bytes", "Memory of the process in RAM.", resident);
    page.measure("process_virtual_memory_bytes", "Addresses that the process reserved.", all);
    if let Some(files) = process.open_files {
        page.gauge("process_open_fds", "Open files, sockets included.", files);
    }
    if let Some(files) = process.open_files_max {
        page.gauge("process_max_fds", "The largest number of open files.", files);
    }
    let name = "process_start_time_seconds";
    page.measure(name, "When the process started, as Unix time.", process.start_seconds);
}

/// Connections, sessions and events.
fn recording(
    page: &mut Page,
    stats: &Stats,
    counters: &Counters,
    (websockets, longpolls): (usize, usize),
) {
    page.gauge("metrics_connections", "Open connections.", counters.open());
    page.counter("metrics_connections_accepted", "Accepted connections.", counters.accepted());
    page.counter(
        "metrics_connections_refused",
        "Connections refused by the limit of the server or of their address.",
        counters.refused(),
    );
    page.gauge("metrics_websockets", "Open websockets.", websockets);
    page.gauge("metrics_longpoll_sessions", "Open long-polling sessions.", longpolls);
    page.gauge("metrics_sessions_connected", "Sessions with a connected viewer.", stats.connected);
    page.gauge(
        "metrics_sessions_in_memory",
        "Sessions in memory, with a connected viewer or without.",
        stats.in_memory,
    );
    let help = "Joins, over a channel or in a batch, by outcome.";
    page.outcomes("metrics_joins", help, &joins(stats, counters));
    page.outcomes("metrics_events", "Events, by outcome.", &events(stats));
    page.outcomes(
        "metrics_sessions_refused",
        "Sessions with events that were not stored, by reason.",
        &[
            ("too_many_videos", stats.events.too_many_videos_sessions),
            ("too_many_new_videos", stats.events.too_many_new_videos_sessions),
            ("another_video", stats.events.other_video_sessions),
            ("store", stats.events.refused_sessions),
        ],
    );
    page.outcomes(
        "metrics_pages_reduced",
        "Pages counted as their site, or not at all, by the limit that was reached.",
        &[
            ("too_many_pages", stats.pages.too_many),
            ("too_many_new_pages", stats.pages.too_many_new),
        ],
    );
    page.counter(
        "metrics_clamped_segments",
        "Segments cut to the time between their timestamps.",
        stats.clamped,
    );
}

fn joins(stats: &Stats, counters: &Counters) -> [(&'static str, u64); 10] {
    let joins = &stats.joins;
    [
        ("admitted", joins.admitted),
        ("invalid_key", joins.invalid_key),
        ("bot", joins.bot),
        ("origin_not_allowed", joins.origin),
        ("too_many_joins", joins.too_many),
        ("invalid", joins.invalid),
        ("unavailable", joins.unavailable),
        ("out_of_memory", joins.no_memory),
        ("opted_out", counters.opted_out()),
        ("too_many_attempts", counters.too_many_attempts()),
    ]
}

fn events(stats: &Stats) -> [(&'static str, u64); 7] {
    let events = &stats.events;
    [
        ("accepted", events.accepted),
        ("unchanged", events.unchanged),
        ("invalid", events.invalid),
        ("too_many_segments", events.full),
        ("out_of_memory", events.no_memory),
        ("stopped", events.late),
        ("too_many_events", events.too_many),
    ]
}

fn store(page: &mut Page, stats: &Stats, (database, spool): Sizes) {
    page.gauge("metrics_waiting_events", "Events that are not durable yet.", stats.waiting);
    page.gauge(
        "metrics_waiting_sessions",
        "Sessions with events that are not durable yet.",
        stats.waiting_sessions,
    );
    let name = "metrics_acknowledgement_seconds";
    let help = "Time from the first event of a session that is not durable until its commit.";
    page.family(name, "histogram", Some("seconds"), help);
    page.buckets(name, &[], buckets(&stats.waits));
    page.outcomes(
        "metrics_commits",
        "Commits to the store, by outcome.",
        &[("done", stats.commits.done), ("failed", stats.commits.failed)],
    );
    page.family("metrics_commit_sessions", "histogram", None, "Sessions per commit.");
    page.buckets("metrics_commit_sessions", &[], buckets(&stats.batches));
    page.gauge(
        "metrics_store_up",
        "Whether the store is available: 1 or 0.",
        u8::from(stats.unavailable_since.is_none()),
    );
    page.counter(
        "metrics_sessions_closed",
        "Sessions moved to a block and added to the totals of their day.",
        stats.closed,
    );
    page.counter(
        "metrics_sessions_finalized",
        "Sessions whose resume state was discarded after 28 days of inactivity.",
        stats.finalized,
    );
    let help = "Size of the database on its disks; of all of it, if it is shared.";
    page.measure("metrics_database_bytes", help, database);
    let help =
        "Size of the files of sessions that earlier runs spilled, and that no start recovered yet.";
    page.measure("metrics_spool_bytes", help, spool);
}

fn buckets<const N: usize>(histogram: &Histogram<N>) -> Buckets<'_> {
    let Histogram { bounds, counts, larger, sum, .. } = histogram;
    Buckets { bounds, counts, larger: *larger, sum: *sum }
}

/// Reports by endpoint.
fn reports(page: &mut Page, counters: &Counters) {
    let name = "metrics_report_seconds";
    let help = "Time from the request of a report until its answer begins, its turn included.";
    page.family(name, "histogram", Some("seconds"), help);
    for endpoint in Endpoint::ALL {
        let durations = counters.reports().durations(endpoint);
        let (counts, larger, sum) = (&durations.counts[..], durations.larger, durations.sum);
        let values = Buckets { bounds: &BOUNDS, counts, larger, sum };
        page.buckets(name, &[("endpoint", endpoint.name())], values);
    }
    let help = "Reports without an answer: refused as invalid, unavailable for lack of a turn, memory or the store, or \
                failed by a fault of the server.";
    page.family("metrics_report_failures", "counter", None, help);
    for endpoint in Endpoint::ALL {
        for failure in Failure::ALL {
            let labels = [("endpoint", endpoint.name()), ("reason", failure.name())];
            let count = counters.reports().failures(endpoint, failure);
            page.sample("metrics_report_failures_total", &labels, count);
        }
    }
}

fn webhooks(page: &mut Page, counters: &Counters) {
    let webhooks = counters.webhooks();
    page.gauge("metrics_webhook_rules", "Rules of webhooks.", webhooks.rules());
    page.gauge(
        "metrics_webhook_queue",
        "Deliveries that no receiver accepted yet.",
        webhooks.queue(),
    );
    page.outcomes(
        "metrics_webhook_deliveries",
        "Attempts to deliver a webhook, and deliveries that were given up or dropped, by outcome.",
        &webhooks.deliveries(),
    );
    page.outcomes(
        "metrics_webhook_evaluations",
        "Evaluations of rules of webhooks, by outcome.",
        &webhooks.evaluations(),
    );
}

fn memory(page: &mut Page, stats: &Stats, counters: &Counters, memory: &Memory) {
    let name = "metrics_memory_held_bytes";
    page.family(name, "gauge", Some("bytes"), "Memory held for clients, by use.");
    for (held_for, bytes) in [("sessions", stats.session_bytes)].into_iter().chain(memory.uses()) {
        page.sample(name, &[("use", held_for)], bytes);
    }
    let help = "The budget of memory held for clients.";
    page.measure("metrics_memory_max_bytes", help, Some(memory.all.max()));
    page.outcomes(
        "metrics_memory_refusals",
        "Joins, events and requests refused because the memory budget was used up.",
        &[
            ("join", stats.joins.no_memory),
            ("event", stats.events.no_memory),
            ("request", counters.out_of_memory()),
        ],
    );
}

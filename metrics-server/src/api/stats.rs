//! `GET /metrics`: process statistics in the text format of `OpenMetrics`.

use std::fmt::{self, Write as _};

use hyper::Response;
use metrics_core::Metrics;
use metrics_core::recorder::{Histogram, Stats};

use crate::counters::Counters;
use crate::memory::Memory;
use crate::response::{self, Body};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The statistics of this process.
pub(crate) fn stats(
    metrics: &Metrics,
    counters: &Counters,
    memory: &Memory,
    connected: (usize, usize, usize),
) -> Response<Body> {
    response::text(CONTENT_TYPE, text(&metrics.stats(), counters, memory, connected))
}

fn text(
    stats: &Stats,
    counters: &Counters,
    memory: &Memory,
    (websockets, longpolls, streams): (usize, usize, usize),
) -> String {
    let mut page = Page { text: String::new() };
    page.gauge("metrics_connections", "Open connections.", counters.open());
    page.counter("metrics_connections_accepted", "Accepted connections.", counters.accepted());
    page.counter(
        "metrics_connections_refused",
        "Connections refused by the limit of the server or of their address.",
        counters.refused(),
    );
    page.gauge("metrics_websockets", "Open websockets.", websockets);
    page.gauge("metrics_longpoll_sessions", "Open long-polling sessions.", longpolls);
    page.gauge("metrics_live_streams", "Open streams of /api/v1/live.", streams);
    page.gauge("metrics_sessions_connected", "Sessions with a connected viewer.", stats.connected);
    page.gauge(
        "metrics_sessions_in_memory",
        "Sessions in memory, with a connected viewer or without.",
        stats.in_memory,
    );
    page.outcomes(
        "metrics_joins",
        "Joins, over a channel or in a batch, by outcome.",
        &joins(stats, counters),
    );
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
    store(&mut page, stats);
    self::memory(&mut page, stats, counters, memory);
    page.text.push_str("# EOF\n");
    page.text
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

fn store(page: &mut Page, stats: &Stats) {
    page.gauge("metrics_waiting_events", "Events that are not durable yet.", stats.waiting);
    page.gauge(
        "metrics_waiting_sessions",
        "Sessions with events that are not durable yet.",
        stats.waiting_sessions,
    );
    page.histogram(
        "metrics_acknowledgement_seconds",
        Some("seconds"),
        "Time from the first event of a session that is not durable until its commit.",
        &stats.waits,
    );
    page.outcomes(
        "metrics_commits",
        "Commits to the store, by outcome.",
        &[("done", stats.commits.done), ("failed", stats.commits.failed)],
    );
    page.histogram("metrics_commit_sessions", None, "Sessions per commit.", &stats.batches);
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
}

fn memory(page: &mut Page, stats: &Stats, counters: &Counters, memory: &Memory) {
    let name = "metrics_memory_held_bytes";
    page.family(name, "gauge", Some("bytes"), "Memory held for clients, by use.");
    for (held_for, bytes) in [("sessions", stats.session_bytes)].into_iter().chain(memory.uses()) {
        let _ = writeln!(page.text, "{name}{{use=\"{held_for}\"}} {bytes}");
    }
    let name = "metrics_memory_max_bytes";
    page.family(name, "gauge", Some("bytes"), "The budget of memory held for clients.");
    let _ = writeln!(page.text, "{name} {}", memory.all.max());
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

/// The text of a response. Writing to it cannot fail.
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.family(name, "gauge", None, help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", None, help);
        let _ = writeln!(self.text, "{name}_total {value}");
    }

    fn outcomes(&mut self, name: &str, help: &str, values: &[(&str, u64)]) {
        self.family(name, "counter", None, help);
        for (outcome, value) in values {
            let _ = writeln!(self.text, "{name}_total{{outcome=\"{outcome}\"}} {value}");
        }
    }

    fn histogram<const N: usize>(
        &mut self,
        name: &str,
        unit: Option<&str>,
        help: &str,
        histogram: &Histogram<N>,
    ) {
        self.family(name, "histogram", unit, help);
        let mut count = 0;
        for (bound, values) in histogram.bounds.iter().zip(histogram.counts) {
            count += values;
            // Writes bounds with a decimal point, as OpenMetrics requires, even for whole numbers.
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound:?}\"}} {count}");
        }
        count += histogram.larger;
        let _ = writeln!(self.text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(self.text, "{name}_count {count}\n{name}_sum {}", histogram.sum);
    }
}

//! `GET /metrics`: how recording goes, in the text format that Prometheus reads.

use std::fmt::Write as _;

use hyper::Response;
use metrics_core::Metrics;

use crate::response::{self, Body};

/// The figures of this process.
pub(crate) fn figures(metrics: &Metrics) -> Response<Body> {
    let figures = metrics.figures();
    let mut text = String::new();
    let away = u64::from(figures.away_since.is_some());
    for (name, kind, help, value) in [
        (
            "metrics_waiting_events",
            "gauge",
            "Events that are not durable yet.",
            figures.waiting as u64,
        ),
        ("metrics_store_away", "gauge", "Whether the store does not answer.", away),
        (
            "metrics_clamped_segments",
            "counter",
            "Segments that were cut to what fits between their timestamps.",
            figures.clamped,
        ),
    ] {
        let suffix = if kind == "counter" { "_total" } else { "" };
        // Writing into a text cannot fail.
        let _ =
            write!(text, "# TYPE {name} {kind}\n# HELP {name} {help}\n{name}{suffix} {value}\n");
    }
    text.push_str("# EOF\n");
    response::text("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}

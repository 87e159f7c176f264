//! Durations and failures of reports, per endpoint.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of durations in seconds, each 2 or 2.5 times the one before: from the report of a few sessions to the
/// timeout of a report.
pub(crate) const BOUNDS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// An endpoint that answers reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Plays,
    Engagement,
    Sources,
    Watching,
    Query,
    Videos,
    Fields,
    Dimensions,
    Export,
}

/// The reason why a report was not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The caller sent something invalid, or may not read it.
    Refused,
    /// The server had no turn, no memory or no store for it.
    Unavailable,
    /// The server is at fault.
    Failed,
}

/// The counters of all endpoints.
#[derive(Debug)]
pub(crate) struct Reports {
    endpoints: [Tally; Endpoint::ALL.len()],
}

#[derive(Debug, Default)]
struct Tally {
    buckets: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
    sum_us: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
}

/// The durations of the answered reports of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Durations {
    /// Number of reports per bound in [`BOUNDS`]; each counts in one.
    pub(crate) counts: [u64; BOUNDS.len()],
    /// Number of reports above the last bound.
    pub(crate) larger: u64,
    /// The sum in seconds.
    pub(crate) sum: f64,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 9] = [
        Self::Plays,
        Self::Engagement,
        Self::Sources,
        Self::Watching,
        Self::Query,
        Self::Videos,
        Self::Fields,
        Self::Dimensions,
        Self::Export,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plays => "plays",
            Self::Engagement => "engagement",
            Self::Sources => "sources",
            Self::Watching => "watching",
            Self::Query => "query",
            Self::Videos => "videos",
            Self::Fields => "fields",
            Self::Dimensions => "dimensions",
            Self::Export => "export",
        }
    }
}

impl Failure {
    pub(crate) const ALL: [Self; 3] = [Self::Refused, Self::Unavailable, Self::Failed];

    /// The failure behind a response with this status.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            429 | 503 => Self::Unavailable,
            400..500 => Self::Refused,
            _ => Self::Failed,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

impl Default for Reports {
    fn default() -> Self {
        Self { endpoints: array::from_fn(|_| Tally::default()) }
    }
}

impl Reports {
    /// Counts an answered report, and the time until its answer began.
    pub(crate) fn answer(&self, endpoint: Endpoint, took: Duration) {
        let tally = &self.endpoints[endpoint as usize];
        let index = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        tally.buckets.get(index).unwrap_or(&tally.longer).fetch_add(1, Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tally.sum_us.fetch_add(us, Relaxed);
    }

    /// Counts a report that was not answered.
    pub(crate) fn fail(&self, endpoint: Endpoint, failure: Failure) {
        self.endpoints[endpoint as usize].failures[failure as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn durations(&self, endpoint: Endpoint) -> Durations {
        let tally = &self.endpoints[endpoint as usize];
        Durations {
            counts: array::from_fn(|index| tally.buckets[index].load(Relaxed)),
            larger: tally.longer.load(Relaxed),
            sum: tally.sum_us.load(Relaxed) as f64 / 1e6,
        }
    }

    pub(crate) fn failures(&self, endpoint: Endpoint, failure: Failure) -> u64 {
        self.endpoints[endpoint as usize].failures[failure as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_at_its_endpoint_and_bound() {
        let reports = Reports::default();
        reports.answer(Endpoint::Query, Duration::from_millis(5));
        reports.answer(Endpoint::Query, Duration::from_millis(6));
        reports.answer(Endpoint::Query, Duration::from_secs(61));
        let durations = reports.durations(Endpoint::Query);
        assert_eq!((durations.counts[..3].to_vec(), durations.larger), (vec![1, 1, 0], 1));
        assert!((durations.sum - 61.011).abs() < 1e-9, "{durations:?}");
        assert_eq!(reports.durations(Endpoint::Plays).counts, [0; BOUNDS.len()]);
    }

    #[test]
    fn a_failure_counts_by_its_reason() {
        let reports = Reports::default();
        for status in [400, 404, 413, 429, 503, 500] {
            reports.fail(Endpoint::Export, Failure::of_status(status));
        }
        let counted = Failure::ALL.map(|failure| reports.failures(Endpoint::Export, failure));
        assert_eq!(counted, [3, 2, 1]);
    }

    #[test]
    fn endpoints_and_failures_are_numbered_in_their_order() {
        assert!(Endpoint::ALL.iter().enumerate().all(|(index, it)| index == *it as usize));
        assert!(Failure::ALL.iter().enumerate().all(|(index, it)| index == *it as usize));
    }
}

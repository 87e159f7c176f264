//! Sums of the sessions of a group, and the metrics computed from them.

use super::counts::Counts;
use crate::block::Quality;
use crate::engagement::{mean_share, share};
use crate::query::Metric;

/// The sums of a group. A sum that would overflow stays at the largest number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sums {
    pub(super) plays: u64,
    pub(super) view_ms: u64,
    pub(super) unique_ms: u64,
    // Of plays with a known duration: their number, the sum of durations, and the sum of the shares watched.
    known: u64,
    duration_ms: u64,
    shares: u128,
    completions: u64,
    // All sessions, and those with view time.
    pub(super) attempts: u64,
    pub(super) sessions: u64,
    startups: u64,
    startup_ms: u64,
    // Sessions that report rebuffering, and their view time.
    reported: u64,
    reported_view_ms: u64,
    rebuffered: u64,
    rebufferings: u64,
    rebuffering_ms: u64,
    failed: u64,
    exits: u64,
}

impl Sums {
    pub(super) fn add_duration(&mut self, duration_ms: u32, unique_ms: u64) {
        self.shares = self.shares.saturating_add(share(unique_ms, duration_ms));
        let duration_ms = u64::from(duration_ms);
        self.known += 1;
        self.duration_ms = self.duration_ms.saturating_add(duration_ms);
        // 95 % are 19 of 20 parts.
        self.completions += u64::from(19 * duration_ms <= unique_ms.saturating_mul(20));
    }

    pub(super) fn add_quality(&mut self, quality: &Quality, view_ms: u64) {
        let Quality { startup_ms, rebufferings, rebuffering_ms, failures } = *quality;
        self.failed += u64::from(0 < failures);
        self.exits += u64::from(view_ms == 0 && startup_ms.is_none() && failures == 0);
        if let Some(startup_ms) = startup_ms {
            self.startups += 1;
            self.startup_ms = self.startup_ms.saturating_add(startup_ms.into());
        }
        let has_rebuffered = 0 < rebufferings || 0 < rebuffering_ms;
        if startup_ms.is_some() || has_rebuffered {
            self.reported += 1;
            self.reported_view_ms = self.reported_view_ms.saturating_add(view_ms);
            self.rebuffered += u64::from(has_rebuffered);
            self.rebufferings = self.rebufferings.saturating_add(rebufferings.into());
            self.rebuffering_ms = self.rebuffering_ms.saturating_add(rebuffering_ms);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, other) in self.each().into_iter().zip(other.clone().each()) {
            *sum = sum.saturating_add(*other);
        }
        self.shares = self.shares.saturating_add(other.shares);
    }

    /// All sums but `shares`, which is wider.
    fn each(&mut self) -> [&mut u64; 17] {
        let Self { plays, view_ms, unique_ms, known, duration_ms, shares: _, completions, .. } =
            self;
        let Self { attempts, sessions, startups, startup_ms, reported, reported_view_ms, .. } =
            self;
        let Self { rebuffered, rebufferings, rebuffering_ms, failed, exits, .. } = self;
        [
            plays,
            view_ms,
            unique_ms,
            known,
            duration_ms,
            completions,
            attempts,
            sessions,
            startups,
            startup_ms,
            reported,
            reported_view_ms,
            rebuffered,
            rebufferings,
            rebuffering_ms,
            failed,
            exits,
        ]
    }

    pub(super) fn metric(&self, metric: Metric, startups: &Counts) -> Option<f64> {
        let number = |number: u64| Some(number as f64);
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        let percentile = |percent| startups.percentile(percent).map(|ms| seconds(ms.into()));
        match metric {
            Metric::Plays => number(self.plays),
            Metric::Sessions => number(self.sessions),
            Metric::ViewTime => Some(seconds(self.view_ms)),
            Metric::UniqueViewTime => Some(seconds(self.unique_ms)),
            Metric::AverageViewDuration => mean_s(self.view_ms, self.plays),
            Metric::AveragePercentageViewed => mean_share(self.shares, self.known),
            Metric::Completions => number(self.completions),
            Metric::CompletionRate => ratio(self.completions, self.known),
            Metric::RewatchRate => ratio(self.view_ms.saturating_sub(self.unique_ms), self.view_ms),
            Metric::AverageDuration => mean_s(self.duration_ms, self.known),
            Metric::StartupTimeP50 => percentile(50),
            Metric::StartupTimeP95 => percentile(95),
            Metric::StartupTimeAverage => mean_s(self.startup_ms, self.startups),
            Metric::RebufferingRatio => {
                let all_ms = self.rebuffering_ms.saturating_add(self.reported_view_ms);
                ratio(self.rebuffering_ms, all_ms)
            }
            Metric::RebufferingCount => number(self.rebufferings),
            Metric::RebufferedSessionRate => ratio(self.rebuffered, self.reported),
            Metric::Failures => number(self.failed),
            Metric::FailureRate => ratio(self.failed, self.attempts),
            Metric::ExitsBeforeStart => number(self.exits),
            Metric::ExitBeforeStartRate => ratio(self.exits, self.attempts),
            // Concurrency is no sum over sessions.
            Metric::PeakConcurrent | Metric::AverageConcurrent => None,
        }
    }
}

pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (0 < whole).then(|| part as f64 / whole as f64)
}

/// The mean in seconds, of a sum of milliseconds.
fn mean_s(sum_ms: u64, number: u64) -> Option<f64> {
    (0 < number).then(|| sum_ms as f64 / (1_000.0 * number as f64))
}

//! The sums that a query needs.

use super::filter::minimum_groups;
use crate::block::{Group, Groups};
use crate::query::{Metric, Minimum};

/// The sums that a query needs, so that nothing else is read or summed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Needs {
    /// Whether any metric counts sessions that started in the period.
    pub(super) starts: bool,
    /// Whether any metric counts minutes.
    pub(super) minutes: bool,
    /// Whether every metric is over plays only.
    pub(super) plays_only: bool,
    /// Whether any metric is over plays.
    pub(super) plays: bool,
    /// Whether any metric reads the durations of plays.
    pub(super) durations: bool,
    /// Whether any metric reads the view time of all sessions, plays or not.
    pub(super) view_of_sessions: bool,
    /// Whether any metric reads startup times, rebuffering or failures.
    pub(super) quality: bool,
    /// Whether any metric is a percentile, which needs all startup times.
    pub(super) percentiles: bool,
}

impl Needs {
    pub(super) fn of(metrics: &[Metric]) -> Self {
        let any = |wanted: &[Metric]| metrics.iter().any(|metric| wanted.contains(metric));
        Self {
            starts: metrics.iter().any(|metric| !metric.is_by_minute()),
            minutes: metrics.iter().any(|metric| metric.is_by_minute()),
            plays_only: metrics.iter().all(|metric| metric.is_over_plays()),
            plays: metrics.iter().any(|metric| metric.is_over_plays()),
            durations: any(&[
                Metric::AveragePercentageViewed,
                Metric::Completions,
                Metric::CompletionRate,
                Metric::AverageDuration,
            ]),
            view_of_sessions: any(&[
                Metric::Sessions,
                Metric::RebufferingRatio,
                Metric::ExitsBeforeStart,
                Metric::ExitBeforeStartRate,
            ]),
            quality: any(&[
                Metric::StartupTimeP50,
                Metric::StartupTimeP95,
                Metric::StartupTimeAverage,
                Metric::RebufferingRatio,
                Metric::RebufferingCount,
                Metric::RebufferedSessionRate,
                Metric::Failures,
                Metric::FailureRate,
                Metric::ExitsBeforeStart,
                Metric::ExitBeforeStartRate,
            ]),
            percentiles: any(&[Metric::StartupTimeP50, Metric::StartupTimeP95]),
        }
    }

    /// The groups of columns that must be read.
    pub(super) fn groups(&self, minimum: Minimum) -> Groups {
        let needed = [
            (self.plays || self.view_of_sessions, Group::Times),
            (self.durations, Group::Durations),
            (self.quality, Group::Quality),
            (self.minutes, Group::Minutes),
        ];
        let groups = if self.plays { minimum_groups(minimum) } else { Groups::default() };
        needed
            .into_iter()
            .filter(|(is_needed, _)| *is_needed)
            .map(|(_, group)| group)
            .fold(groups, Groups::with)
    }
}

//! Answers by plain loops over whole sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde_json::Value;

use super::draft::Watch;
use crate::containment::canonical;
use crate::interval::Segments;
use crate::query::{
    Comparison, Dimension, Filter, Metric, Minimum, Operator, Period, Query, SessionMetric, instant,
};
use crate::scan::DimensionValue;

/// All rows of a query, by the values of dimensions.
pub(super) fn answer(
    query: &Query,
    period: Period,
    watches: &[Watch],
) -> BTreeMap<Vec<DimensionValue>, Vec<Option<f64>>> {
    let mut groups: BTreeMap<Vec<DimensionValue>, Vec<&Watch>> = BTreeMap::new();
    if query.dimensions.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    if query.metrics.iter().any(|metric| !metric.is_by_minute()) {
        for watch in watches.iter().filter(|watch| counts(query, period, watch)) {
            let values = query.dimensions.iter().map(|dimension| value(query, dimension, watch));
            groups.entry(values.collect()).or_default().push(watch);
        }
    }
    let playing = Playing::of(query, period, watches);
    for values in playing.sessions.keys() {
        groups.entry(values.clone()).or_default();
    }
    let metrics = |values: &Vec<DimensionValue>, group: &Vec<&Watch>| {
        let metrics = query.metrics.iter().map(|metric| match metric {
            Metric::PeakConcurrent => Some(playing.peak(values)),
            Metric::AverageConcurrent => playing.average(query, values),
            other => measure(query.minimum, *other, group),
        });
        metrics.collect()
    };
    groups.iter().map(|(values, group)| (values.clone(), metrics(values, group))).collect()
}

/// Sessions that play at each minute.
#[derive(Default)]
struct Playing {
    sessions: BTreeMap<Vec<DimensionValue>, BTreeMap<i64, u64>>,
    // The number of minutes with these values of time dimensions.
    minutes: BTreeMap<Vec<DimensionValue>, u64>,
}

impl Playing {
    fn of(query: &Query, period: Period, watches: &[Watch]) -> Self {
        let mut playing = Self::default();
        if !query.metrics.iter().any(|metric| metric.is_by_minute()) {
            return playing;
        }
        let is_in = |at_ms: i64| period.from_ms <= at_ms && at_ms <= period.to_ms;
        for watch in watches.iter().filter(|it| holds(query, &query.selection.filter, it)) {
            for minute in watch.row.stored.minutes.iter(watch.row.stored.started_at_ms) {
                if is_in(minute * 60_000) {
                    let at = instant(minute * 60_000);
                    let values = query.dimensions.iter().map(|it| value_at(query, it, watch, at));
                    let group = playing.sessions.entry(values.collect()).or_default();
                    *group.entry(minute).or_default() += 1;
                }
            }
        }
        let times = query.dimensions.iter().filter(|it| it.is_time()).collect::<Vec<_>>();
        for minute in
            (period.from_ms / 60_000..=period.to_ms / 60_000).filter(|it| is_in(it * 60_000))
        {
            let at = instant(minute * 60_000);
            let values = times
                .iter()
                .map(|time| value_at(query, time, &Watch::at("2000-01-01T00:00:00Z"), at));
            *playing.minutes.entry(values.collect()).or_default() += 1;
        }
        playing
    }

    fn peak(&self, values: &[DimensionValue]) -> f64 {
        let minutes = self.sessions.get(values);
        minutes.and_then(|minutes| minutes.values().max()).map_or(0.0, |most| *most as f64)
    }

    fn average(&self, query: &Query, values: &[DimensionValue]) -> Option<f64> {
        let both = query.dimensions.iter().zip(values);
        let times: Vec<_> =
            both.filter(|(it, _)| it.is_time()).map(|(_, value)| value.clone()).collect();
        let sum = self.sessions.get(values).map_or(0, |minutes| minutes.values().sum());
        self.minutes.get(&times).map(|minutes| sum as f64 / *minutes as f64)
    }
}

/// Whether a session is in any row.
pub(super) fn counts(query: &Query, period: Period, watch: &Watch) -> bool {
    let start_ms = watch.row.stored.started_at_ms;
    let plays_only = query.metrics.iter().all(|metric| metric.is_over_plays());
    period.from_ms <= start_ms
        && start_ms <= period.to_ms
        && holds(query, &query.selection.filter, watch)
        && (!plays_only || is_play(query.minimum, watch))
}

fn is_play(minimum: Minimum, watch: &Watch) -> bool {
    let view_ms = watch.row.stored.view_ms;
    match minimum {
        Minimum::ViewMs(ms) => view_ms >= ms,
        Minimum::Millionths(millionths) => known_duration(watch).is_some_and(|duration_ms| {
            u128::from(view_ms) * 1_000_000 >= u128::from(millionths) * u128::from(duration_ms)
        }),
    }
}

fn known_duration(watch: &Watch) -> Option<u64> {
    watch.row.stored.duration_ms.map(u64::from).filter(|ms| *ms > 0)
}

fn holds(query: &Query, filter: &Filter, watch: &Watch) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().all(|filter| holds(query, filter, watch)),
        Filter::Or(filters) => filters.iter().any(|filter| holds(query, filter, watch)),
        Filter::Not(filter) => !holds(query, filter, watch),
        Filter::Dimension { dimension, operator, values } => {
            matches(dimension, *operator, values, &value(query, dimension, watch))
        }
        Filter::SessionMetric { session_metric, comparison, number } => {
            session_metric_of(*session_metric, watch).is_some_and(|value| match comparison {
                Comparison::Is => value == *number,
                Comparison::Less => value < *number,
                Comparison::AtMost => value <= *number,
                Comparison::More => value > *number,
                Comparison::AtLeast => value >= *number,
            })
        }
        Filter::Watched { from_ms, to_ms, is_negated } => {
            let segments = Segments::decode(&watch.row.stored.segments).unwrap();
            let watched = (*from_ms..*to_ms)
                .any(|ms| segments.iter().any(|it| it.start_ms() <= ms && ms < it.end_ms()));
            watched != *is_negated
        }
    }
}

fn matches(
    dimension: &Dimension,
    operator: Operator,
    values: &[Option<String>],
    value: &DimensionValue,
) -> bool {
    let text = match value {
        DimensionValue::Null => None,
        DimensionValue::Number(number) => Some(number.to_string()),
        DimensionValue::Time(start) => Some(start.to_rfc3339()),
        DimensionValue::Text(text) => Some(text.to_string()),
    };
    let is = || {
        values.iter().any(|wanted| match (wanted, &text) {
            (Some(wanted), Some(text)) if dimension.is_time() => {
                DateTime::parse_from_rfc3339(wanted) == DateTime::parse_from_rfc3339(text)
            }
            (wanted, text) => wanted == text,
        })
    };
    let any = |test: fn(&str, &str) -> bool| {
        text.as_deref().is_some_and(|text| values.iter().flatten().any(|it| test(text, it)))
    };
    match operator {
        Operator::Is => is(),
        Operator::IsNot => !is(),
        Operator::Contains => any(|text, part| text.contains(part)),
        Operator::ContainsNot => !any(|text, part| text.contains(part)),
        Operator::StartsWith => any(|text, part| text.starts_with(part)),
    }
}

fn session_metric_of(session_metric: SessionMetric, watch: &Watch) -> Option<f64> {
    let stored = &watch.row.stored;
    match session_metric {
        SessionMetric::ViewTime => Some(stored.view_ms as f64 / 1_000.0),
        SessionMetric::UniqueViewTime => Some(stored.unique_ms as f64 / 1_000.0),
        SessionMetric::PercentageViewed => {
            known_duration(watch).map(|duration_ms| stored.unique_ms as f64 / duration_ms as f64)
        }
        SessionMetric::StartupTime => stored.counters.startup_ms.map(|ms| f64::from(ms) / 1_000.0),
        SessionMetric::RebufferingCount => Some(stored.counters.rebufferings.into()),
        SessionMetric::Failures => Some(stored.counters.failures.into()),
    }
}

fn value(query: &Query, dimension: &Dimension, watch: &Watch) -> DimensionValue {
    value_at(query, dimension, watch, instant(watch.row.stored.started_at_ms))
}

/// Returns the value of a dimension at a time other than the start of the session.
fn value_at(
    query: &Query,
    dimension: &Dimension,
    watch: &Watch,
    at: DateTime<Utc>,
) -> DimensionValue {
    let local = at.with_timezone(&query.timezone.unwrap_or(chrono_tz::Tz::UTC));
    let row = &watch.row;
    let text = |text: Option<&str>| {
        text.map_or(DimensionValue::Null, |text| DimensionValue::Text(Arc::from(text)))
    };
    match dimension {
        Dimension::Time(width) => DimensionValue::Time(query.buckets(*width).start_of(at)),
        Dimension::HourOfDay => DimensionValue::Number(local.hour().into()),
        Dimension::DayOfWeek => DimensionValue::Number(local.weekday().number_from_monday().into()),
        Dimension::Key => text(Some(watch.key)),
        Dimension::Video => match (watch.video.identifier(), watch.video.metadata()) {
            (Some(identifier), _) => text(Some(identifier)),
            (None, metadata) => match field(metadata, &["title"]) {
                Some(Value::String(title)) => text(Some(&title)),
                _ => text(metadata),
            },
        },
        Dimension::VideoField(path) => field_value(watch.video.metadata(), path),
        Dimension::SessionField(path) => field_value(row.session_data.as_deref(), path),
        Dimension::Page => text(row.page.as_ref().map(|page| page.as_str())),
        Dimension::PageHost => text(row.page.as_ref().map(|page| page.host())),
        Dimension::Browser => text(Some(row.user_agent.browser.name())),
        Dimension::Platform => text(Some(row.user_agent.platform.name())),
        Dimension::Device => text(Some(row.user_agent.device.name())),
        Dimension::Language => text(row.stored.counters.details.language.as_deref()),
        Dimension::Arrival(part) => text(row.arrival.get(*part)),
    }
}

fn field(json: Option<&str>, path: &[&str]) -> Option<Value> {
    let value: Value = serde_json::from_str(json?).unwrap();
    path.iter().try_fold(value, |value, name| value.get(name).cloned())
}

fn field_value(json: Option<&str>, path: &str) -> DimensionValue {
    match field(json, &path.split('.').collect::<Vec<_>>()) {
        None | Some(Value::Null) => DimensionValue::Null,
        Some(Value::String(text)) => DimensionValue::Text(Arc::from(text)),
        Some(value) => DimensionValue::Text(Arc::from(canonical(&value))),
    }
}

/// How many sessions ended before the first frame.
fn exits(group: &[&Watch]) -> f64 {
    let has_exited = |watch: &&&Watch| {
        let counters = &watch.row.stored.counters;
        watch.row.stored.view_ms == 0 && counters.startup_ms.is_none() && counters.failures == 0
    };
    group.iter().filter(has_exited).count() as f64
}

/// The share of the video that a session watched, in billionths, rounded half up.
fn share(watch: &Watch) -> u128 {
    let duration_ms = u128::from(known_duration(watch).unwrap());
    let doubled = 2_000_000_000 * u128::from(watch.row.stored.unique_ms);
    (doubled + duration_ms) / (2 * duration_ms)
}

/// One metric of the sessions of a group.
fn measure(minimum: Minimum, metric: Metric, group: &[&Watch]) -> Option<f64> {
    let plays: Vec<_> = group.iter().filter(|watch| is_play(minimum, watch)).collect();
    let known: Vec<_> = plays.iter().filter(|watch| known_duration(watch).is_some()).collect();
    let counters = || group.iter().map(|watch| &watch.row.stored.counters);
    let view_s: f64 = plays.iter().map(|it| it.row.stored.view_ms as f64).sum::<f64>() / 1_000.0;
    let unique_s: f64 =
        plays.iter().map(|it| it.row.stored.unique_ms as f64).sum::<f64>() / 1_000.0;
    let completions = known
        .iter()
        .filter(|watch| watch.row.stored.unique_ms * 100 >= known_duration(watch).unwrap() * 95);
    let completions = completions.count() as f64;
    let has_rebuffered = |watch: &Watch| {
        let counters = &watch.row.stored.counters;
        counters.rebufferings > 0 || counters.rebuffering_ms > 0
    };
    let reported: Vec<_> = group
        .iter()
        .filter(|it| has_rebuffered(it) || it.row.stored.counters.startup_ms.is_some())
        .collect();
    let failed = counters().filter(|counters| counters.failures > 0).count() as f64;
    let mut startups: Vec<_> = counters().filter_map(|counters| counters.startup_ms).collect();
    startups.sort_unstable();
    let rank = |share: f64| {
        let rank = (share * startups.len() as f64).ceil() as usize;
        startups.get(rank.max(1) - 1).map(|ms| f64::from(*ms) / 1_000.0)
    };
    let over = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    match metric {
        Metric::Plays => Some(plays.len() as f64),
        Metric::Sessions => {
            Some(group.iter().filter(|watch| watch.row.stored.view_ms > 0).count() as f64)
        }
        Metric::ViewTime => Some(view_s),
        Metric::UniqueViewTime => Some(unique_s),
        Metric::AverageViewDuration => over(view_s, plays.len() as f64),
        Metric::AveragePercentageViewed => {
            let shares = known.iter().map(|watch| share(watch)).sum::<u128>();
            over(shares as f64, 1e9 * known.len() as f64)
        }
        Metric::Completions => Some(completions),
        Metric::CompletionRate => over(completions, known.len() as f64),
        Metric::RewatchRate => over(view_s - unique_s, view_s),
        Metric::AverageDuration => {
            let durations = known.iter().map(|watch| known_duration(watch).unwrap() as f64);
            over(durations.sum::<f64>() / 1_000.0, known.len() as f64)
        }
        Metric::StartupTimeP50 => rank(0.5),
        Metric::StartupTimeP95 => rank(0.95),
        Metric::StartupTimeAverage => {
            let sum: f64 = startups.iter().map(|ms| f64::from(*ms) / 1_000.0).sum();
            over(sum, startups.len() as f64)
        }
        Metric::RebufferingRatio => {
            let waited: f64 =
                reported.iter().map(|it| it.row.stored.counters.rebuffering_ms as f64).sum();
            let viewed: f64 = reported.iter().map(|it| it.row.stored.view_ms as f64).sum();
            over(waited, waited + viewed)
        }
        Metric::RebufferingCount => {
            Some(counters().map(|counters| f64::from(counters.rebufferings)).sum())
        }
        Metric::RebufferedSessionRate => {
            over(group.iter().filter(|it| has_rebuffered(it)).count() as f64, reported.len() as f64)
        }
        Metric::Failures => Some(failed),
        Metric::FailureRate => over(failed, group.len() as f64),
        Metric::ExitsBeforeStart => Some(exits(group)),
        Metric::ExitBeforeStartRate => over(exits(group), group.len() as f64),
        Metric::PeakConcurrent | Metric::AverageConcurrent => unreachable!("by the minute"),
    }
}

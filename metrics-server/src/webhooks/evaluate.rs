//! Evaluates a rule: one or two reports, and the messages that follow from them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use metrics_core::query::{Compare, Dimension, LIMIT_MAX, Metric, Query, instant};
use metrics_core::scan::{AnswerRow, DimensionValue, Numbers};
use metrics_core::{Reports, Timeframe};

use super::alert::{Alert, Verdict};
use super::message::{self, Message, Purpose};
use super::milestones::{Milestones, Reached};
use super::rules::{Kind, Rule, Threshold};
use super::state::RuleState;
use super::weekly::{Day, Entry, Figure, Summary, Weekly};
use crate::error::Error;

pub(super) const MINUTE_MS: i64 = 60_000;

/// The metrics from which the number of sessions follows, watched or not.
const SESSIONS: [Metric; 5] = [
    Metric::Sessions,
    Metric::Failures,
    Metric::FailureRate,
    Metric::ExitsBeforeStart,
    Metric::ExitBeforeStartRate,
];

/// Evaluates a rule at the beginning of a minute of Unix time, and returns its messages. `state` changes only if all
/// reports are answered.
///
/// # Errors
///
/// The error of a report.
pub(super) async fn evaluate(
    rule: &Rule,
    state: &mut RuleState,
    reports: Reports<'_>,
    minute: i64,
) -> Result<Vec<Message>, Error> {
    let at = instant(minute.saturating_mul(MINUTE_MS));
    match (&rule.kind, state) {
        (Kind::Milestone(milestones), RuleState::Milestone(reached)) => {
            milestone(rule, milestones, reached, (reports, at)).await
        }
        (Kind::Threshold(it), RuleState::Threshold(alert)) => {
            threshold(rule, *it, alert, (reports, minute)).await
        }
        (Kind::Silence { minutes }, RuleState::Silence(alert)) => {
            silence(rule, *minutes, alert, (reports, minute)).await
        }
        (Kind::Weekly(weekly), RuleState::Weekly(last)) => {
            week(rule, *weekly, last, (reports, at)).await
        }
        // The state is of another kind for as long as nobody calls `State::follow`.
        _ => Ok(Vec::new()),
    }
}

async fn milestone(
    rule: &Rule,
    milestones: &Milestones,
    reached: &mut Reached,
    (reports, at): (Reports<'_>, DateTime<Utc>),
) -> Result<Vec<Message>, Error> {
    let mut query = rule.query.clone().during(Timeframe::ALL).by(Dimension::Video);
    (query.metrics, query.limit) = (vec![Metric::Plays], LIMIT_MAX);
    let (answer, _) = reports.query(&query).await?;
    let plays = |row: AnswerRow| {
        let plays = row.numbers.metrics.first().copied().flatten()?.round() as u64;
        let is_enough = milestones.first() <= plays;
        Some((name_of(&row)?, plays)).filter(|_| is_enough)
    };
    let new = milestones.step(reached, answer.results.into_iter().filter_map(plays));
    let notify = |it| message::of_milestone(rule, at, Purpose::Notify, it);
    Ok(new.iter().map(notify).collect())
}

async fn threshold(
    rule: &Rule,
    threshold: Threshold,
    alert: &mut Alert,
    (reports, minute): (Reports<'_>, i64),
) -> Result<Vec<Message>, Error> {
    let mut metrics = SESSIONS.to_vec();
    if !metrics.contains(&threshold.metric) {
        metrics.push(threshold.metric);
    }
    let query = window(rule, metrics, threshold.minutes, minute);
    let numbers = numbers(reports, &query).await?;
    let value = numbers.get(&threshold.metric).copied().flatten();
    let enough = threshold.sessions_min <= sessions(&numbers);
    // An unknown value, as of no sessions, neither fires an alert nor resolves it.
    let Some(value) = value.filter(|_| enough) else { return Ok(Vec::new()) };
    let change = alert.step(threshold.bounds.judge(value), minute);
    let at = (reports.now(), Purpose::Notify);
    let notify = |change| message::of_threshold(rule, threshold, at, change, value);
    Ok(change.map(notify).into_iter().collect())
}

async fn silence(
    rule: &Rule,
    minutes: i64,
    alert: &mut Alert,
    (reports, minute): (Reports<'_>, i64),
) -> Result<Vec<Message>, Error> {
    // Sessions that began, and sessions that began before and went on.
    let metrics =
        vec![Metric::Sessions, Metric::Failures, Metric::ExitsBeforeStart, Metric::PeakConcurrent];
    let query = window(rule, metrics, minutes, minute);
    let numbers = numbers(reports, &query).await?;
    let is_silent = numbers.values().all(|value| value.unwrap_or(0.0) == 0.0);
    let verdict = if is_silent { Verdict::Fires } else { Verdict::Resolves };
    let change = alert.step(verdict, minute);
    let at = (reports.now(), Purpose::Notify);
    let notify = |change| message::of_silence(rule, minutes, at, change);
    Ok(change.map(notify).into_iter().collect())
}

async fn week(
    rule: &Rule,
    weekly: Weekly,
    last: &mut Option<Day>,
    (reports, at): (Reports<'_>, DateTime<Utc>),
) -> Result<Vec<Message>, Error> {
    let mut next = *last;
    let mut messages = Vec::new();
    if let Some(day) = weekly.step(&mut next, at) {
        let summary = summary(rule, weekly, day, reports).await?;
        messages.push(message::of_week(rule, at, Purpose::Notify, &summary));
    }
    *last = next;
    Ok(messages)
}

/// The summary of the week before a day.
async fn summary(
    rule: &Rule,
    weekly: Weekly,
    day: Day,
    reports: Reports<'_>,
) -> Result<Summary, Error> {
    let (Day(from), Day(to)) = day.week_before();
    let mut all = rule.query.clone().during(Timeframe::Dates(from, to)).in_timezone(weekly.zone);
    all.compare = Some(Compare::PreviousPeriod);
    all.metrics = vec![Metric::Plays, Metric::ViewTime, Metric::AveragePercentageViewed];
    let mut of_videos = all.clone().by(Dimension::Video);
    of_videos.metrics = vec![Metric::Plays, Metric::ViewTime];
    of_videos.limit = weekly.top;
    let (answer, _) = reports.query(&all).await?;
    let row = answer.results.first().map(|row| &row.numbers);
    let [plays, view_time, average_percentage_viewed] =
        [0, 1, 2].map(|index| row.map_or_else(Figure::default, |row| figure(row, index)));
    let (answer, _) = reports.query(&of_videos).await?;
    let videos = answer.results.iter().filter_map(|row| {
        let (plays, view_time) = (figure(&row.numbers, 0), figure(&row.numbers, 1));
        let video = message::cut(&name_of(row)?);
        plays.value.is_some_and(|plays| 0.0 < plays).then_some(Entry { video, plays, view_time })
    });
    let (videos, timezone) = (videos.collect(), weekly.zone.name());
    let (from, to) = (Day(from), Day(to));
    Ok(Summary { from, to, timezone, plays, view_time, average_percentage_viewed, videos })
}

fn figure(numbers: &Numbers, index: usize) -> Figure {
    let compared = numbers.comparison.as_ref();
    Figure {
        value: numbers.metrics.get(index).copied().flatten(),
        before: compared.and_then(|it| it.metrics.get(index).copied().flatten()),
        change: compared.and_then(|it| it.change.get(index).copied().flatten()),
    }
}

fn name_of(row: &AnswerRow) -> Option<String> {
    match row.dimensions.first()? {
        DimensionValue::Text(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The query of the minutes up to this one. Concurrency counts at the beginnings of minutes, and that of this one is the
/// last that is complete.
fn window(rule: &Rule, metrics: Vec<Metric>, minutes: i64, minute: i64) -> Query {
    let to_ms = minute.saturating_mul(MINUTE_MS);
    let from_ms = to_ms.saturating_sub(minutes.saturating_mul(MINUTE_MS));
    let timeframe = Timeframe::Between(instant(from_ms.saturating_add(1)), instant(to_ms));
    let mut query = rule.query.clone().during(timeframe);
    query.metrics = metrics;
    query
}

/// The metrics of a query without dimensions.
async fn numbers(
    reports: Reports<'_>,
    query: &Query,
) -> Result<BTreeMap<Metric, Option<f64>>, Error> {
    let (answer, _) = reports.query(query).await?;
    let values = answer.results.into_iter().next().map(|row| row.numbers.metrics);
    Ok(query.metrics.iter().copied().zip(values.unwrap_or_default()).collect())
}

/// The number of sessions, watched or not: no metric counts them, but rates are per session.
fn sessions(numbers: &BTreeMap<Metric, Option<f64>>) -> u64 {
    let of = |metric| numbers.get(&metric).copied().flatten().unwrap_or(0.0);
    let rates = [
        (Metric::Failures, Metric::FailureRate),
        (Metric::ExitsBeforeStart, Metric::ExitBeforeStartRate),
    ];
    let counted = rates.into_iter().find(|(_, rate)| 0.0 < of(*rate));
    let counted = counted.map_or(of(Metric::Sessions), |(count, rate)| of(count) / of(rate));
    counted.round() as u64
}

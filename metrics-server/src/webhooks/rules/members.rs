//! The members of a rule, which are taken one by one: the rest is unknown, and refused.

use chrono::{NaiveTime, Weekday};
use chrono_tz::Tz;
use metrics_core::query::{Metric, Query};
use metrics_core::time_bucket::Span;
use serde_json::{Map, Value};

use super::{Kind, Milestones, Threshold};
use crate::access::Grant;
use crate::api::params::Params;
use crate::error::Error;
use crate::selection::check_set;
use crate::text::is_plain;
use crate::webhooks::alert::Bounds;
use crate::webhooks::weekly::Weekly;

/// The most characters of a rule's name.
const NAME_CHARS_MAX: usize = 100;

/// The most milestones of a rule.
const MILESTONES_MAX: usize = 100;

/// The most videos of a summary: more would make a delivery of more than 64 KiB.
const TOP_MAX: u64 = 50;

/// The default window of a threshold, in minutes.
const WINDOW: i64 = 10;

/// The widest window of a threshold, in minutes: a day. A report of each minute reads all of it.
const WINDOW_MAX: i64 = 1_440;

/// The longest silence, in minutes: four weeks.
const SILENCE_MAX: i64 = 28 * 1_440;

/// By default, a rate of fewer sessions decides nothing: one failure of two sessions is no outage.
const SESSIONS_MIN: u64 = 20;

/// The part of a threshold at which an alert resolves by default: a fifth closer to normal.
const GAP: f64 = 0.2;

/// The members that `/api/v1/query` takes, and a rule as well.
const OF_QUERIES: [&str; 5] =
    ["identifier", "query", "filters", "timezone", "minimum_watch_seconds"];

pub(super) struct Members {
    members: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Members {
    pub(super) fn new(members: Map<String, Value>) -> Self {
        Self { members, known: Vec::new() }
    }

    /// Takes a member. `null` stands for a missing one.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Fails if a member is left: it would have no effect.
    pub(super) fn finish(self) -> Result<(), String> {
        let Some((name, _)) = self.members.iter().next() else { return Ok(()) };
        let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
        Err(format!("`{name}` is not a member here: use {}", known.join(", ")))
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` must be a text")),
        }
    }

    pub(super) fn required_text(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| format!("`{name}` is missing: it {expected}"))
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let texts = value.as_array().and_then(|all| {
            all.iter().map(|it| it.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.map(Some).ok_or_else(|| format!("`{name}` must be an array of texts"))
    }

    fn number(&mut self, name: &'static str) -> Result<Option<f64>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| (0.0..1e15).contains(number));
        number.map(Some).ok_or_else(|| format!("`{name}` must be a number, 0 or more"))
    }

    fn integer(
        &mut self,
        name: &'static str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        let expected = || format!("`{name}` must be a whole number from {least} to {most}");
        number.map(Some).ok_or_else(expected)
    }

    /// A time of whole minutes.
    fn minutes(&mut self, name: &'static str, most: i64) -> Result<Option<i64>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let ms = text.parse::<Span>().ok().and_then(Span::fixed_ms);
        let minutes = ms.filter(|ms| ms.is_multiple_of(60_000)).map(|ms| ms / 60_000);
        let minutes = minutes.and_then(|minutes| i64::try_from(minutes).ok());
        let minutes = minutes.filter(|minutes| (1..=most).contains(minutes));
        minutes.map(Some).ok_or_else(|| {
            format!(
                "`{name}` is {text:?}: it must be whole minutes like \"10 minutes\", at most {most}"
            )
        })
    }

    pub(super) fn name(&mut self) -> Result<String, String> {
        let name = self.required_text("name", "must be a text that no other rule has")?;
        let is_fine = name.chars().all(is_plain) && !name.trim().is_empty();
        if is_fine && name.chars().count() <= NAME_CHARS_MAX {
            Ok(name)
        } else {
            Err(format!(
                "`name` must have 1 to {NAME_CHARS_MAX} characters, and none that ends a line, controls a terminal or \
                 changes the direction of text"
            ))
        }
    }

    /// The selection of sessions, and the time zone.
    pub(super) fn query(&mut self) -> Result<(Query, Option<Tz>), String> {
        let mut parameters = Map::new();
        for name in OF_QUERIES {
            // A rule about all sessions is not what the author of a narrower one wants.
            if self.members.get(name).is_some_and(Value::is_null) {
                return Err(format!("`{name}` must not be null: leave it out"));
            }
            parameters.extend(self.take(name).map(|value| (name.to_owned(), value)));
        }
        parameters.get("query").map_or(Ok(()), check_set).map_err(|err| err.to_string())?;
        let query = Params::of(parameters, Grant::all()).query(Query::default());
        let query = query.map_err(|err: Error| err.to_string())?;
        let zone = query.timezone;
        Ok((query, zone))
    }

    pub(super) fn kind(&mut self, zone: Tz) -> Result<Kind, String> {
        let expected = "must be milestone, threshold, silence or weekly";
        match &*self.required_text("kind", expected)? {
            "milestone" => Ok(Kind::Milestone(self.milestones()?)),
            "threshold" => Ok(Kind::Threshold(self.threshold()?)),
            "silence" => {
                let minutes = self.minutes("after", SILENCE_MAX)?;
                let missing = "`after` is missing: it must be a time like \"30 minutes\"";
                Ok(Kind::Silence { minutes: minutes.ok_or(missing)? })
            }
            "weekly" => Ok(Kind::Weekly(self.weekly(zone)?)),
            other => Err(format!("`kind` is {other:?}: it {expected}")),
        }
    }

    fn milestones(&mut self) -> Result<Milestones, String> {
        let wrong = || {
            format!(
                "`plays` must be \"powers of ten\" or 1 to {MILESTONES_MAX} whole numbers, ascending"
            )
        };
        match self.take("plays") {
            None => Ok(Milestones::PowersOfTen),
            Some(Value::String(text)) if text == "powers of ten" => Ok(Milestones::PowersOfTen),
            Some(Value::Array(numbers)) => {
                let numbers: Option<Vec<u64>> = numbers.iter().map(Value::as_u64).collect();
                let numbers = numbers.filter(|all| {
                    (1..=MILESTONES_MAX).contains(&all.len())
                        && 1 <= all[0]
                        && all.windows(2).all(|two| two[0] < two[1])
                });
                numbers.map(Milestones::Listed).ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        }
    }

    fn threshold(&mut self) -> Result<Threshold, String> {
        let metric = self.required_text("metric", "must be a metric like failure_rate")?;
        let metric: Metric = metric.parse().map_err(|err| format!("`metric`: {err}"))?;
        let (above, below) = (self.number("above")?, self.number("below")?);
        let resolve = self.number("resolve")?;
        let bounds = match (above, below) {
            (Some(above), None) => {
                let resolve = resolve.unwrap_or(rounded(above * (1.0 - GAP)));
                if above < resolve {
                    return Err("`resolve` must be at most `above`".to_owned());
                }
                Bounds::Above(above, resolve)
            }
            (None, Some(below)) => {
                let resolve = resolve.unwrap_or(rounded(below * (1.0 + GAP)));
                if resolve < below {
                    return Err("`resolve` must be at least `below`".to_owned());
                }
                Bounds::Below(below, resolve)
            }
            _ => return Err("one of `above` and `below` must be a number".to_owned()),
        };
        let minutes = self.minutes("over", WINDOW_MAX)?.unwrap_or(WINDOW);
        let sessions_min = self.integer("minimum_sessions", 0, 1_000_000_000)?;
        let sessions_min =
            sessions_min.unwrap_or(if is_of_sessions(metric) { SESSIONS_MIN } else { 0 });
        Ok(Threshold { metric, bounds, minutes, sessions_min })
    }

    fn weekly(&mut self, zone: Tz) -> Result<Weekly, String> {
        let weekday = match self.text("weekday")? {
            None => Weekday::Mon,
            Some(text) => text
                .parse()
                .map_err(|_| format!("`weekday` is {text:?}: it must be a day like \"monday\""))?,
        };
        let at = self.text("at")?.unwrap_or_else(|| "08:00".to_owned());
        let at = NaiveTime::parse_from_str(&at, "%H:%M")
            .map_err(|_| format!("`at` is {at:?}: it must be a time of day like \"08:00\""))?;
        let top = self.integer("top", 1, TOP_MAX)?.unwrap_or(10) as u32;
        Ok(Weekly { weekday, at, zone, top })
    }
}

/// Without the error of a binary fraction: 0.04, not 0.04000000000000001.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

/// Whether a metric says something about single sessions, so that few of them say little. Sums say how many there were.
fn is_of_sessions(metric: Metric) -> bool {
    !matches!(
        metric,
        Metric::Plays
            | Metric::Sessions
            | Metric::ViewTime
            | Metric::UniqueViewTime
            | Metric::Completions
            | Metric::RebufferingCount
            | Metric::Failures
            | Metric::ExitsBeforeStart
            | Metric::PeakConcurrent
            | Metric::AverageConcurrent
    )
}

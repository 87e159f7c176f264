//! Messages: what a delivery says, as JSON and as text.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::alert::{Bounds, Change};
use super::milestones::Milestone;
use super::rules::{Kind, Rule, Threshold, minutes_of};
use super::sign::id_of;
use super::weekly::{Entry, Figure, Summary, count};
use crate::text::is_plain;

/// The most characters of a name in a message. With at most 50 of them, a delivery stays below 64 KiB.
const NAME_CHARS_MAX: usize = 200;

/// A delivery before it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// The same for all servers that notice the occurrence, and after a restart.
    pub(super) id: String,
    pub(super) body: String,
}

/// The JSON of a delivery.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    r#type: &'static str,
    timestamp: String,
    rule: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    test: bool,
    text: &'a str,
    data: Value,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Whether a delivery is only a test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Notify,
    Test,
}

/// An occurrence of a rule: the type of the delivery, the parts of its id, its text and its data.
struct Occurrence<'a> {
    r#type: &'static str,
    parts: &'a [&'a str],
    text: String,
    data: Value,
}

fn message(
    rule: &Rule,
    at: DateTime<Utc>,
    purpose: Purpose,
    occurrence: Occurrence<'_>,
) -> Message {
    let Occurrence { r#type, parts, mut text, data } = occurrence;
    let time = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let test = purpose == Purpose::Test;
    let mut parts = [&[&*rule.name, r#type], parts].concat();
    if test {
        text.insert_str(0, "Test: ");
        // Each test is another delivery.
        parts.extend(["test", &*time]);
    }
    let id = id_of(&parts);
    let body = if rule.is_text {
        text
    } else {
        let body = Body {
            id: &id,
            r#type,
            timestamp: time.clone(),
            rule: &rule.name,
            test,
            text: &text,
            data,
        };
        // Encoding into memory cannot fail: all keys of maps are texts.
        serde_json::to_string(&body).unwrap_or_default()
    };
    Message { id, body }
}

/// A video reached a milestone.
pub(super) fn of_milestone(
    rule: &Rule,
    at: DateTime<Utc>,
    purpose: Purpose,
    it: &Milestone,
) -> Message {
    let Milestone { video, plays, milestone } = it;
    let name = cut(video);
    let text = format!("{name} has reached {} plays ({}).", number(*milestone), number(*plays));
    let number = milestone.to_string();
    let occurrence = Occurrence {
        r#type: "milestone.reached",
        parts: &[video, &number],
        text,
        data: json!({"video": name, "milestone": milestone, "plays": plays}),
    };
    message(rule, at, purpose, occurrence)
}

/// A threshold was crossed. `value` is that of now.
pub(super) fn of_threshold(
    rule: &Rule,
    threshold: Threshold,
    (at, purpose): (DateTime<Utc>, Purpose),
    change: Change,
    value: f64,
) -> Message {
    let Threshold { metric, bounds, minutes, .. } = threshold;
    let (side, fires, resolves) = match bounds {
        Bounds::Above(fires, resolves) => ("above", fires, resolves),
        Bounds::Below(fires, resolves) => ("below", fires, resolves),
    };
    let span = minutes_of(minutes);
    let (r#type, fired_at, text) = match change {
        Change::Fired(at) => {
            let text = format!("{metric} is {value:.4}, {side} {fires}, over the last {span}.");
            ("threshold.fired", at, text)
        }
        Change::Resolved(at) => {
            let text = format!("Resolved: {metric} is {value:.4} over the last {span}.");
            ("threshold.resolved", at, text)
        }
    };
    let data = json!({
        "metric": metric.as_str(), "value": value, side: fires, "resolve": resolves, "minutes": minutes,
        "fired_at": time_of(fired_at),
    });
    let occurrence = Occurrence { r#type, parts: &[&fired_at.to_string()], text, data };
    message(rule, at, purpose, occurrence)
}

/// Nothing was played for a while, or something was again.
pub(super) fn of_silence(
    rule: &Rule,
    minutes: i64,
    (at, purpose): (DateTime<Utc>, Purpose),
    change: Change,
) -> Message {
    let (r#type, fired_at, text) = match change {
        Change::Fired(at) => {
            ("silence.fired", at, format!("Nothing was played for {}.", minutes_of(minutes)))
        }
        Change::Resolved(at) => {
            ("silence.resolved", at, "Resolved: videos are played again.".to_owned())
        }
    };
    let data = json!({"minutes": minutes, "fired_at": time_of(fired_at)});
    let occurrence = Occurrence { r#type, parts: &[&fired_at.to_string()], text, data };
    message(rule, at, purpose, occurrence)
}

/// The summary of a week.
pub(super) fn of_week(
    rule: &Rule,
    at: DateTime<Utc>,
    purpose: Purpose,
    summary: &Summary,
) -> Message {
    let from = String::from(summary.from);
    let data = serde_json::to_value(summary).unwrap_or_default();
    let text = summary.text();
    let occurrence = Occurrence { r#type: "summary.weekly", parts: &[&from], text, data };
    message(rule, at, purpose, occurrence)
}

/// A delivery that tries a rule: marked as a test, with values that are made up.
pub(super) fn of_test(rule: &Rule, at: DateTime<Utc>) -> Message {
    let minute = at.timestamp().div_euclid(60);
    let purpose = Purpose::Test;
    match &rule.kind {
        Kind::Milestone(milestones) => {
            let milestone = milestones.first();
            let it = Milestone { video: "an example".to_owned(), plays: milestone, milestone };
            of_milestone(rule, at, purpose, &it)
        }
        Kind::Threshold(threshold) => {
            let value = match threshold.bounds {
                Bounds::Above(fires, _) => fires * 1.1,
                Bounds::Below(fires, _) => fires * 0.9,
            };
            of_threshold(rule, *threshold, (at, purpose), Change::Fired(minute), value)
        }
        Kind::Silence { minutes } => {
            of_silence(rule, *minutes, (at, purpose), Change::Fired(minute))
        }
        Kind::Weekly(weekly) => {
            let (from, to) = weekly.due(at).week_before();
            let figure = |value, before| Figure {
                value: Some(value),
                before: Some(before),
                change: Some((value - before) / before),
            };
            let (plays, view_time) = (figure(1_200.0, 1_000.0), figure(54_000.0, 60_000.0));
            let average_percentage_viewed = figure(0.5, 0.4);
            let videos = vec![Entry { video: "an example".to_owned(), plays, view_time }];
            let timezone = weekly.zone.name();
            let summary =
                Summary { from, to, timezone, plays, view_time, average_percentage_viewed, videos };
            of_week(rule, at, purpose, &summary)
        }
    }
}

/// The first characters of a name, which a page may choose.
pub(super) fn cut(name: &str) -> String {
    let plain = name.chars().map(|c| if is_plain(c) { c } else { ' ' });
    let mut text: String = plain.take(NAME_CHARS_MAX).collect();
    if NAME_CHARS_MAX < name.chars().count() {
        text.push('…');
    }
    text
}

fn number(number: u64) -> String {
    count(Some(number as f64))
}

fn time_of(minute: i64) -> Option<String> {
    let at = DateTime::<Utc>::from_timestamp(minute.checked_mul(60)?, 0)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

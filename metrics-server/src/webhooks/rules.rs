//! Rules of webhooks: JSON in, checked member by member.

mod members;

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use chrono_tz::Tz;
use metrics_core::containment::is_too_deep;
use metrics_core::query::{Metric, Query};
use serde_json::Value;

use self::members::Members;
use super::alert::Bounds;
use super::milestones::Milestones;
use super::sign::Secret;
use super::target::Target;
use super::weekly::Weekly;

/// The most rules of a file: they are evaluated one after the other, every minute.
const RULES_MAX: usize = 50;

/// The most bytes of a file.
pub(super) const BYTES_MAX: u64 = 1 << 20;

/// Why rules of webhooks cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidWebhooks(pub(super) String);

/// The rules of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    pub(super) rules: Vec<Rule>,
    /// Certificates to trust instead of those of the system.
    pub(super) ca_file: Option<String>,
}

/// A condition, the sessions that it watches, and the receiver.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The selection of sessions; metrics and timeframe are those of the kind.
    pub(super) query: Query,
    pub(super) target: Target,
    pub(super) secret: Secret,
    /// Whether deliveries are plain text instead of JSON.
    pub(super) is_text: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Milestone(Milestones),
    Threshold(Threshold),
    /// Nothing was played for so many minutes.
    Silence {
        minutes: i64,
    },
    Weekly(Weekly),
}

/// A metric and its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    pub(super) metric: Metric,
    pub(super) bounds: Bounds,
    /// The width of the window.
    pub(super) minutes: i64,
    /// The fewest sessions that decide anything.
    pub(super) sessions_min: u64,
}

impl Rules {
    /// Reads the rules of a file.
    ///
    /// # Errors
    ///
    /// [`InvalidWebhooks`] names the rule, the member and the accepted values.
    pub(crate) fn read(text: &str) -> Result<Self, InvalidWebhooks> {
        let wrong = |text: &str| InvalidWebhooks(text.to_owned());
        if BYTES_MAX < text.len() as u64 {
            return Err(wrong("the rules have more than 1 MiB"));
        }
        if is_too_deep(text) {
            return Err(wrong("the rules must be at most 64 levels deep"));
        }
        let json: Value = serde_json::from_str(text).map_err(|err| {
            InvalidWebhooks(format!(
                "the rules must be JSON: line {}, column {}",
                err.line(),
                err.column()
            ))
        })?;
        let Value::Object(json) = json else {
            return Err(wrong("the rules must be an object with the member `rules`"));
        };
        let mut members = Members::new(json);
        let common = Common::take(&mut members).map_err(InvalidWebhooks)?;
        let ca_file = members.text("ca_file").map_err(InvalidWebhooks)?;
        let Some(Value::Array(rules)) = members.take("rules") else {
            return Err(wrong("`rules` must be an array of rules"));
        };
        members.finish().map_err(InvalidWebhooks)?;
        if rules.is_empty() || RULES_MAX < rules.len() {
            return Err(InvalidWebhooks(format!("`rules` must have 1 to {RULES_MAX} rules")));
        }
        let mut names = HashSet::new();
        let mut read = Vec::new();
        for (number, rule) in (1..).zip(rules) {
            let label = match rule.get("name").and_then(Value::as_str) {
                Some(name) => format!("rule {number} ({name:?})"),
                None => format!("rule {number}"),
            };
            let rule = rule_of(rule, &common);
            let rule = rule.map_err(|text| InvalidWebhooks(format!("{label}: {text}")))?;
            if !names.insert(rule.name.clone()) {
                let text =
                    format!("{label}: `name` is that of an earlier rule: choose another one");
                return Err(InvalidWebhooks(text));
            }
            read.push(rule);
        }
        Ok(Self { rules: read, ca_file })
    }

    /// The rule with this name.
    pub(super) fn find(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }
}

/// Members of the file that all rules share.
#[derive(Debug)]
struct Common {
    url: Option<Value>,
    secret: Option<Value>,
    timezone: Option<Value>,
    allowed: Vec<String>,
}

impl Common {
    fn take(members: &mut Members) -> Result<Self, String> {
        let allowed = members.texts("allow_http")?.unwrap_or_default();
        let allowed = allowed.iter().map(|host| host.to_ascii_lowercase()).collect();
        let [url, secret, timezone] = ["url", "secret", "timezone"].map(|name| members.take(name));
        Ok(Self { url, secret, timezone, allowed })
    }
}

/// A number of minutes in words.
pub(super) fn minutes_of(minutes: i64) -> String {
    format!("{minutes} minute{}", if minutes == 1 { "" } else { "s" })
}

/// Reads a rule.
fn rule_of(rule: Value, common: &Common) -> Result<Rule, String> {
    let Value::Object(mut rule) = rule else { return Err("must be an object".to_owned()) };
    let inherited =
        [("url", &common.url), ("secret", &common.secret), ("timezone", &common.timezone)];
    for (name, value) in inherited {
        if let (false, Some(value)) = (rule.contains_key(name), value) {
            rule.insert(name.to_owned(), value.clone());
        }
    }
    let mut members = Members::new(rule);
    let name = members.name()?;
    let url =
        members.required_text("url", "must be the URL of a receiver, here or beside `rules`")?;
    let target = Target::read(&url, &common.allowed).map_err(|text| format!("`url` {text}"))?;
    let secret = members.required_text("secret", "must be a text, here or beside `rules`")?;
    let secret = Secret::read(&secret).ok_or(
        "`secret` must have 16 to 256 bytes, or be `whsec_` and base64 of so many: openssl rand -hex 32 makes one",
    )?;
    let is_text = match members.text("format")?.as_deref() {
        None | Some("json") => false,
        Some("text") => true,
        Some(_) => return Err("`format` must be \"json\" or \"text\"".to_owned()),
    };
    let (query, zone) = members.query()?;
    let kind = members.kind(zone.unwrap_or(Tz::UTC))?;
    members.finish()?;
    Ok(Rule { name, kind, query, target, secret, is_text })
}

impl fmt::Display for Rule {
    /// A line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.kind)?;
        let selects = self.query.selection != Query::default().selection;
        let selection = if selects { ", of the selected sessions" } else { "" };
        let form = if self.is_text { " as text" } else { "" };
        write!(f, "{selection}, to {}{form}", self.target)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Milestone(Milestones::PowersOfTen) => {
                f.write_str("plays of a video reach a power of ten")
            }
            Self::Milestone(Milestones::Listed(numbers)) => {
                let mut listed = String::new();
                for number in numbers {
                    let before = if listed.is_empty() { "" } else { ", " };
                    write!(listed, "{before}{number}")?;
                }
                write!(f, "plays of a video reach {listed}")
            }
            Self::Threshold(Threshold { metric, bounds, minutes, .. }) => {
                let (side, threshold, resolve) = match bounds {
                    Bounds::Above(threshold, resolve) => ("above", threshold, resolve),
                    Bounds::Below(threshold, resolve) => ("below", threshold, resolve),
                };
                let span = minutes_of(*minutes);
                write!(f, "{metric} is {side} {threshold} over {span}, until {resolve}")
            }
            Self::Silence { minutes } => {
                write!(f, "nothing was played for {}", minutes_of(*minutes))
            }
            Self::Weekly(Weekly { weekday, at, zone, .. }) => {
                write!(f, "summary every {weekday} at {} ({zone})", at.format("%H:%M"))
            }
        }
    }
}

#[cfg(test)]
mod tests;

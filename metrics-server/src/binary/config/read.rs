//! Readers of settings: from a text to a value.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use metrics_core::arrival::ArrivalPart;
use metrics_core::limits::Limits;
use metrics_core::time_bucket::Span;
use tracing_subscriber::EnvFilter;

use super::setting::Unreadable;
use super::{Database, PostgresUrl};
use crate::access::Role;
use crate::cors::Cors;
use crate::geo::{Geo, InvalidGeo};
use crate::hosts::{self, Hosts};
use crate::networks::{InvalidNetwork, Networks};
use crate::page::Logo;
use crate::token::Tokens;
use crate::users::{InvalidUsers, Users};
use crate::webhooks::Webhooks;

/// A value that its type reads.
pub(super) fn parsed<T: FromStr>(text: &str) -> Result<T, Unreadable> {
    text.trim().parse().map_err(|_| Unreadable::NotAccepted)
}

/// A number within a range.
pub(super) fn within<T: FromStr + PartialOrd>(
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, Unreadable> {
    let number = parsed(text)?;
    if range.contains(&number) { Ok(number) } else { Err(Unreadable::NotAccepted) }
}

/// One of some words.
pub(super) fn chosen<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Unreadable> {
    let found = words.iter().find(|(word, _)| *word == text.trim());
    found.map(|(_, value)| *value).ok_or(Unreadable::NotAccepted)
}

/// A switch; an empty text stands for one that is off.
pub(super) fn switched(text: &str) -> Result<bool, Unreadable> {
    chosen(text, &[("true", true), ("1", true), ("false", false), ("0", false), ("", false)])
}

/// A value, or none for an empty text.
pub(super) fn optional<T>(
    text: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Unreadable> {
    match text.trim() {
        "" => Ok(None),
        text => read(text).map(Some).ok_or(Unreadable::NotAccepted),
    }
}

/// A text with its spaces, or none for an empty one.
pub(super) fn verbatim(text: &str) -> Result<Option<String>, Unreadable> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn read_database(url: &str) -> Result<Database, Unreadable> {
    let url = url.trim();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Database::Postgres(PostgresUrl(url.to_owned())));
    }
    let path = url.strip_prefix("sqlite:").ok_or(Unreadable::NotAccepted)?;
    // Both sqlite:path and sqlite://path are in use; the latter has a third slash if the path is absolute.
    match path.strip_prefix("//").unwrap_or(path) {
        "" => Err(Unreadable::NotAccepted),
        path => Ok(Database::Sqlite(path.into())),
    }
}

pub(super) fn read_retention(text: &str) -> Option<Span> {
    let (span, now): (Span, _) = (text.parse().ok()?, Utc::now());
    (span.before(now)? <= now - TimeDelta::days(1)).then_some(span)
}

/// Reads the limits of keys that set none.
pub(super) fn read_limits(text: &str) -> Result<Limits, Unreadable> {
    let mut limits = Limits::default();
    for limit in text.split(',').map(str::trim).filter(|limit| !limit.is_empty()) {
        let (name, value) = limit.split_once('=').unwrap_or((limit, ""));
        let set = limits.set(name.trim(), value);
        set.map_err(|err| Unreadable::Plain(err.to_string()))?;
    }
    Ok(limits)
}

/// Reads the file that names the networks.
pub(super) fn read_bot_networks(file: &str) -> Result<Arc<Networks>, Unreadable> {
    if file.is_empty() {
        return Ok(Arc::default());
    }
    let unreadable =
        |err: &dyn std::error::Error| Unreadable::Because(format!("cannot be read: {err}"));
    let text = std::fs::read_to_string(file).map_err(|err| unreadable(&err))?;
    let networks = text.parse().map_err(|err: InvalidNetwork| unreadable(&err))?;
    Ok(Arc::new(networks))
}

/// Reads the names of the parts of arrivals.
pub(super) fn read_dimensions(text: &str) -> Result<Vec<ArrivalPart>, Unreadable> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let parts = text.split(',').map(|name| ArrivalPart::from_name(name.trim()));
    parts.collect::<Option<_>>().ok_or(Unreadable::NotAccepted)
}

/// Reads the database of countries.
pub(super) fn read_geo(file: &str) -> Result<Option<Arc<Geo>>, Unreadable> {
    let because = |err: InvalidGeo| {
        Unreadable::Because(match err {
            InvalidGeo::Unreadable { source, .. } => format!("cannot be read: {source}"),
            InvalidGeo::Damaged { source, .. } => {
                format!(
                    "is no database in the MaxMind DB format, or is damaged: {source}; download it again"
                )
            }
        })
    };
    optional(file, |file| Some(Geo::open(file)))?
        .transpose()
        .map(|geo| geo.map(Arc::new))
        .map_err(because)
}

/// Reads the file that has the secret of tokens.
pub(super) fn read_token_secret(file: &str) -> Result<Option<Tokens>, Unreadable> {
    optional(file, |file| Some(std::fs::read_to_string(file)))?
        .transpose()
        .map_err(|err| Unreadable::Because(format!("cannot be read: {err}")))?
        .map(|secret| {
            let short = || Unreadable::Because("has a secret of fewer than 32 bytes".to_owned());
            Tokens::new(secret.trim()).ok_or_else(short)
        })
        .transpose()
}

/// Reads the file of users.
pub(super) fn read_users(file: &str) -> Result<Option<Users>, Unreadable> {
    match file {
        "" => Ok(None),
        file => match Users::open(file) {
            Ok(users) => Ok(Some(users)),
            Err(InvalidUsers::Unreadable { source, .. }) => {
                Err(Unreadable::Because(format!("cannot be read: {source}")))
            }
            Err(err) => Err(Unreadable::Because(format!("is no file of users: {err}"))),
        },
    }
}

/// Reads the roles of groups.
pub(super) fn read_group_roles(text: &str) -> Result<Vec<(String, Role)>, Unreadable> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (group, role) = pair.split_once('=').filter(|(group, _)| !group.trim().is_empty())?;
        Some((group.trim().to_owned(), Role::of(role.trim())?))
    });
    pairs.collect::<Option<_>>().ok_or(Unreadable::NotAccepted)
}

/// Reads the file that has the rules of webhooks.
pub(super) fn read_webhooks(file: &str) -> Result<Option<Webhooks>, Unreadable> {
    if file.is_empty() {
        return Ok(None);
    }
    let unusable = |err| Unreadable::Because(format!("cannot be used: {err}"));
    Webhooks::from_file(file).map(Some).map_err(unusable)
}

pub(super) fn read_hosts(text: &str) -> Result<Hosts, Unreadable> {
    match text.trim() {
        "" => Ok(Hosts::default()),
        "*" => Ok(Hosts::Any),
        text => {
            let names: Option<_> = text.split(',').map(hosts::read).collect();
            names.map(Hosts::Listed).ok_or(Unreadable::NotAccepted)
        }
    }
}

pub(super) fn read_cors(text: &str) -> Result<Cors, Unreadable> {
    let origins = match text.trim() {
        "" => return Ok(Cors::default()),
        "*" => return Ok(Cors::Any),
        text => text.split(','),
    };
    let origins = origins.map(|origin| {
        // Browsers send it in lower case.
        let origin = origin.trim().to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://")?;
        let is_origin =
            matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/');
        is_origin.then_some(origin)
    });
    origins.collect::<Option<_>>().map(Cors::Listed).ok_or(Unreadable::NotAccepted)
}

/// Reads the origins whose pages may embed the page.
pub(super) fn read_frames(text: &str) -> Result<Vec<String>, Unreadable> {
    let text = text.trim();
    match text {
        "" => return Ok(Vec::new()),
        "*" => return Ok(vec!["*".to_owned()]),
        _ => {}
    }
    let origins = text.split(',').map(|origin| {
        let origin = origin.trim().to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://")?;
        // Other characters would end the directive, or name a path, which frames do not have.
        let is_host = |c: u8| c.is_ascii_alphanumeric() || b".-:[]*".contains(&c);
        let is_origin =
            matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(is_host);
        is_origin.then_some(origin)
    });
    origins.collect::<Option<_>>().ok_or(Unreadable::NotAccepted)
}

/// Reads the file with the logo of the page.
pub(super) fn read_logo(file: &str) -> Result<Option<Logo>, Unreadable> {
    if file.is_empty() {
        return Ok(None);
    }
    let bytes =
        std::fs::read(file).map_err(|err| Unreadable::Because(format!("cannot be read: {err}")))?;
    Logo::new(bytes).map(Some).map_err(|err| Unreadable::Because(err.to_string()))
}

pub(super) fn read_log_filter(text: &str) -> Result<String, Unreadable> {
    let text = text.trim();
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|_| Unreadable::NotAccepted)
}

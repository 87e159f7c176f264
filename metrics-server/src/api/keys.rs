//! `/api/v1/keys`: creates, lists, changes and revokes API keys.

use chrono::{DateTime, SecondsFormat, Utc};
use hyper::{Response, StatusCode};
use metrics_core::key::{InvalidKeySettings, KeySettings, SettingsChange};
use metrics_core::store::{KeyChange, KeyRecord};
use metrics_core::{ApiKey, Metrics, Usage};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::access::Grant;
use crate::answer::{Nothing, Text};
use crate::code::Code;
use crate::error::Error;
use crate::response::{self, Body};
use crate::wire;

#[derive(Serialize)]
struct Key {
    created_at: String,
    disabled_at: Option<String>,
    key: String,
    settings: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Map<String, Value>>,
}

#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
}

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

/// The use of a limit.
#[derive(Serialize)]
struct Used {
    used: u64,
    // Null for no limit.
    allowed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per: Option<&'static str>,
}

impl Key {
    fn new(record: &KeyRecord, usage: Option<Vec<Usage>>) -> Self {
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let used = |it: Usage| {
            let Usage { limit, used, allowed, per, .. } = it;
            // Numbers and texts always have a JSON form.
            let used = serde_json::to_value(Used { used, allowed, per }).unwrap_or_default();
            (limit.to_owned(), used)
        };
        Self {
            created_at: text(record.created_at),
            disabled_at: record.disabled_at.map(text),
            key: record.key.as_str().to_owned(),
            settings: record.settings.to_json(),
            usage: usage.map(|usage| usage.into_iter().map(used).collect()),
        }
    }
}

impl From<InvalidKeySettings> for Error {
    fn from(err: InvalidKeySettings) -> Self {
        Self::body(err.to_string()).coded(Code::InvalidSetting)
    }
}

/// `GET /keys`: all keys that are granted, the oldest first.
pub(crate) async fn list(metrics: &Metrics, granted: &Grant) -> Result<Text, Error> {
    let mut records = metrics.keys().await?;
    records.retain(|record| granted.covers(&record.key));
    let usage = metrics.usage(&records).await?;
    // The memory of settings is at most twice the length of their JSON.
    let texts = records.iter().map(|it| {
        it.key.as_str().len() + 2 * Value::Object(it.settings.to_json()).to_string().len()
    });
    let bytes = size_of_val(&*records) + texts.sum::<usize>();
    let keys = records.into_iter().zip(usage);
    let keys = keys.map(|(record, usage)| Key::new(&record, Some(usage)));
    Ok(Text::list("keys", bytes, keys, Nothing {}))
}

/// `POST /keys`: creates a key, or adds the one in the body.
pub(crate) async fn create(
    metrics: &Metrics,
    granted: &Grant,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let mut members = Map::new();
    if !body.trim_ascii().is_empty() {
        members = object(body).ok_or_else(|| {
            Error::body("the body must be empty, or a JSON object with any of `key`, `name`, `hosts`, `pages`, `limits`")
        })?;
    }
    let key = match members.remove("key").filter(|key| !key.is_null()) {
        // A caller with certain keys would not be granted this one.
        None if granted.within().keys.is_some() => return Err(Error::Forbidden),
        None => ApiKey::generate(),
        Some(text) => {
            let key = text.as_str().and_then(|text| ApiKey::new(text).ok()).ok_or_else(|| {
                Error::parameter("key", "must be 1 to 128 visible ASCII characters")
            })?;
            if !granted.covers(&key) {
                return Err(Error::Forbidden);
            }
            key
        }
    };
    check_limits(granted, members.contains_key("limits"))?;
    let settings = KeySettings::from_json(&members)?;
    if !metrics.add_key(&key, settings).await? {
        return Err(Error::KeyExists);
    }
    Ok(response::json(StatusCode::CREATED, &Created { key: key.as_str() }))
}

/// `PATCH /keys/{id}`: replaces the settings in the body, and revokes or restores the key according to `revoked`.
pub(crate) async fn change(
    metrics: &Metrics,
    granted: &Grant,
    id: &str,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let mut members = object(body).ok_or_else(|| {
        Error::body("the body must be a JSON object with any of `name`, `hosts`, `pages`, `limits`, `revoked`")
    })?;
    let revoked = match members.remove("revoked") {
        None => None,
        Some(Value::Bool(revoked)) => Some(revoked),
        Some(_) => return Err(Error::parameter("revoked", "must be true or false")),
    };
    let records = metrics.keys().await?;
    let record = candidates(id).find_map(|key| {
        let is_it = |record: &&KeyRecord| record.key == key && granted.covers(&key);
        records.iter().find(is_it)
    });
    let record = record.ok_or(Error::NoSuchKey)?;
    let mut changes = Vec::new();
    if !members.is_empty() {
        let change = SettingsChange::from_json(members)?;
        check_limits(granted, change.has_limits())?;
        changes.push(KeyChange::Settings(change));
    }
    // The operator may have revoked it for a reason that its users do not know.
    if revoked == Some(false) && !granted.is_all() {
        return Err(Error::Forbidden);
    }
    changes.extend(revoked.map(|revoked| {
        if revoked { KeyChange::Revoke(metrics.now()) } else { KeyChange::Restore }
    }));
    for change in &changes {
        if !metrics.change_key(&record.key, change).await? {
            return Err(Error::NoSuchKey);
        }
    }
    let changed = metrics.keys().await?.into_iter().find(|it| it.key == record.key);
    let changed = changed.ok_or(Error::NoSuchKey)?;
    Ok(response::json(StatusCode::OK, &Key::new(&changed, None)))
}

/// Limits protect the server from callers with certain keys, so only a caller with all permissions sets them.
fn check_limits(granted: &Grant, has_limits: bool) -> Result<(), Error> {
    if has_limits && !granted.is_all() { Err(Error::Forbidden) } else { Ok(()) }
}

/// `DELETE /keys/{id}`: revokes the key, whose id is the key, raw or percent-encoded.
pub(crate) async fn revoke(
    metrics: &Metrics,
    granted: &Grant,
    id: &str,
) -> Result<Response<Body>, Error> {
    for key in candidates(id) {
        if granted.covers(&key) && metrics.revoke_key(&key).await? {
            return Ok(response::json(StatusCode::OK, &Message { message: "Key revoked" }));
        }
    }
    Err(Error::UnknownKey)
}

/// The keys that a path segment may mean. A key may hold a percent sign of its own, so the raw text is tried first.
fn candidates(id: &str) -> impl Iterator<Item = ApiKey> {
    let decoded = percent_decode_str(id).decode_utf8_lossy().into_owned();
    [id.to_owned(), decoded].into_iter().filter_map(|text| ApiKey::new(&text).ok())
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    std::str::from_utf8(body).ok().and_then(wire::object)
}

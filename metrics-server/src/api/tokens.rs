//! `/api/v1/tokens`: creates and revokes access tokens.

use std::fmt;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hyper::{Response, StatusCode};
use metrics_core::query::instant;
use metrics_core::store::RevokedToken;
use metrics_core::time_bucket::Span;
use metrics_core::{ApiKey, Metrics};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::access::{Confinement, Grant, Scopes};
use crate::error::Error;
use crate::prefix::Prefix;
use crate::response::{self, Body};
use crate::token::{Claims, DAYS_MAX, ID_BYTES_MAX, Tokens, UniqueMembers, read_scopes};
use crate::wire;

/// The life of a token without `expires_in`, in milliseconds: 30 days.
const LIFE_MS: i64 = 30 * 86_400_000;

/// A token that was created.
#[derive(Serialize)]
pub(crate) struct Created {
    pub(crate) token: String,
    id: String,
    expires_at: String,
    // A path: the server does not know its own host.
    link: String,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").field("id", &self.id).finish_non_exhaustive()
    }
}

/// `POST /tokens`: creates a token that permits no more than the caller's grant.
pub(crate) fn create(
    now: DateTime<Utc>,
    tokens: Option<&Tokens>,
    granted: &Grant,
    prefix: &Prefix,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let tokens = tokens.ok_or(Error::NotGranted(
        "tokens are not accepted: the operator sets METRICS_TOKEN_SECRET",
    ))?;
    let expected = "the body must be a JSON object with any of `scope`, `expires_in`, `key`, `identifier`, `query`, \
                    `filters`, `metrics`, each once";
    let members = match body.trim_ascii() {
        b"" => Map::new(),
        text => std::str::from_utf8(text)
            .ok()
            .and_then(wire::object)
            .map(|UniqueMembers(members)| members)
            .ok_or_else(|| Error::body(expected))?,
    };
    let created = created(now, tokens, granted, prefix, members)?;
    Ok(response::json(StatusCode::CREATED, &created))
}

/// Creates a token from the members of a request.
///
/// # Errors
///
/// [`Error::Parameter`] if a member is invalid, [`Error::NotGranted`] if it would permit more than the grant.
pub(crate) fn created(
    now: DateTime<Utc>,
    tokens: &Tokens,
    granted: &Grant,
    prefix: &Prefix,
    mut members: Map<String, Value>,
) -> Result<Created, Error> {
    let scopes = match members.remove("scope") {
        None => Scopes { read: true, live: true, write: false },
        Some(scope) => read_scopes(&scope).ok_or_else(|| {
            Error::parameter("scope", "must be an array of some of `read`, `live` and `write`")
        })?,
    };
    let expires_at = now + life(members.remove("expires_in"))?;
    let known = Confinement::MEMBERS;
    if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
        let name: String = name.chars().take(40).collect();
        let text = format!("`{name}` is none of scope, expires_in, {}", known.join(", "));
        return Err(Error::body(text));
    }
    let within = granted.within().intersect(Confinement::from_json(&members)?)?;
    let has_one_key = within.keys.as_ref().is_some_and(|keys| keys.len() == 1);
    if scopes.write && !(has_one_key && within.has_whole_keys()) {
        let expected = "with `write` requires one `key`, and nothing that narrows it";
        return Err(Error::parameter("scope", expected));
    }
    let id = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    let user = granted.user().map(str::to_owned);
    let (creator, subject) = if granted.is_listed() { (user, None) } else { (None, user) };
    let claims = Claims {
        expires_at: expires_at.timestamp(),
        id: Some(id.clone()),
        subject: subject.filter(|name| name.len() <= ID_BYTES_MAX),
        creator,
        scopes,
        within,
    };
    let token = tokens.sign(&claims);
    // It would be refused if it were too long for a URL, for example.
    tokens.verify(&token, now.timestamp()).map_err(|err| Error::body(err.to_string()))?;
    let link = format!("{}/?token={token}", prefix.as_str());
    let expires_at = instant(claims.expires_at.saturating_mul(1_000));
    let expires_at = expires_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Ok(Created { token, id, expires_at, link })
}

/// Reads the life of a token: a text like `30 days`, or a number of seconds.
fn life(value: Option<Value>) -> Result<TimeDelta, Error> {
    let ms = match value {
        None => Some(LIFE_MS),
        Some(Value::Number(seconds)) => seconds.as_i64().and_then(|it| it.checked_mul(1_000)),
        Some(Value::String(text)) => {
            let ms = text.parse::<Span>().ok().and_then(Span::fixed_ms);
            ms.and_then(|ms| i64::try_from(ms).ok())
        }
        Some(_) => None,
    };
    let ms = ms.filter(|ms| (1_000..=DAYS_MAX * 86_400_000).contains(ms));
    ms.map(TimeDelta::milliseconds).ok_or_else(|| {
        let expected = format!(
            "must be a number of seconds or a text like \"30 days\", up to {DAYS_MAX} days"
        );
        Error::parameter("expires_in", expected)
    })
}

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

/// `DELETE /tokens/{id}`: refuses the token with this id from now on, in every instance. A caller with certain keys revokes
/// tokens of these keys: two owners of keys may choose the same id.
pub(crate) async fn revoke(
    metrics: &Metrics,
    granted: &Grant,
    id: &str,
) -> Result<Response<Body>, Error> {
    let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
    // Other records of the same table have a line break.
    if ID_BYTES_MAX < id.len() || id.contains(char::is_control) {
        return Err(Error::parameter("id", "must be the `jti` of a token, at most 128 bytes"));
    }
    let now = metrics.now();
    let ids = match &granted.within().keys {
        None => vec![id],
        Some(keys) => keys.iter().map(|key| id_of_key(key, &id)).collect(),
    };
    for id in ids {
        metrics.store().revoke_token(&revoked(id, now), now).await?;
    }
    Ok(response::json(StatusCode::OK, &Message { message: "Token revoked" }))
}

/// The id under which a token of a key is revoked by an owner of the key. No key has a line break.
fn id_of_key(key: &ApiKey, id: &str) -> String {
    format!("{}\n{id}", key.as_str())
}

/// Whether the token with this id is revoked: by a caller with all keys, or else for each of its own keys.
pub(crate) async fn is_revoked(
    metrics: &Metrics,
    id: &str,
    keys: Option<&[ApiKey]>,
) -> Result<bool, Error> {
    let is_listed = async |id: &str| {
        let found = metrics.store().revoked_tokens(Some(id)).await?;
        Ok::<_, Error>(!found.is_empty())
    };
    if is_listed(id).await? {
        return Ok(true);
    }
    let Some(keys) = keys else { return Ok(false) };
    for key in keys {
        if !is_listed(&id_of_key(key, id)).await? {
            return Ok(false);
        }
    }
    Ok(!keys.is_empty())
}

/// The record of a token that is revoked now. Its expiry is unknown, but not later than that of any token.
pub(crate) fn revoked(id: String, now: DateTime<Utc>) -> RevokedToken {
    RevokedToken { id, until: now + TimeDelta::days(DAYS_MAX + 1) }
}

//! `/api/v1/keys`: makes, lists and revokes API keys.

use chrono::SecondsFormat;
use hyper::{Response, StatusCode};
use metrics_core::{ApiKey, Metrics};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::access::Granted;
use crate::answer::{Nothing, Text};
use crate::error::Error;
use crate::response::{self, Body};
use crate::wire;

#[derive(Serialize)]
struct Key {
    disabled_at: Option<String>,
    key: String,
}

#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
}

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Create {
    key: Option<String>,
}

/// `GET /keys`: all keys that are granted, the oldest first.
pub(crate) async fn list(metrics: &Metrics, granted: &Granted) -> Result<Text, Error> {
    let mut keys = metrics.keys().await?;
    keys.retain(|record| granted.covers(&record.key));
    let texts: usize = keys.iter().map(|record| record.key.as_str().len()).sum();
    let bytes = size_of_val(&*keys) + texts;
    let keys = keys.into_iter().map(|record| Key {
        disabled_at: record.disabled_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true)),
        key: record.key.as_str().to_owned(),
    });
    Ok(Text::list("keys", bytes, keys, Nothing {}))
}

/// `POST /keys`: a new key, or the one in the body.
pub(crate) async fn create(
    metrics: &Metrics,
    granted: &Granted,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let create = if body.trim_ascii().is_empty() {
        Create::default()
    } else {
        let object = std::str::from_utf8(body).ok().and_then(wire::object);
        object.ok_or_else(|| {
            Error::body("the body must be empty, or a JSON object with a text `key`")
        })?
    };
    let key = match create.key {
        // Whoever has some keys would not have this one.
        None if !granted.is_all() => return Err(Error::Forbidden),
        None => metrics.create_key().await?,
        Some(text) => {
            let key = ApiKey::new(&text).map_err(|_| {
                Error::parameter("key", "must be 1 to 128 visible ASCII characters")
            })?;
            if !granted.covers(&key) {
                return Err(Error::Forbidden);
            }
            if !metrics.import_key(&key).await? {
                return Err(Error::KeyExists);
            }
            key
        }
    };
    Ok(response::json(StatusCode::CREATED, &Created { key: key.as_str() }))
}

/// `DELETE /keys/{id}`: revokes the key, whose id is the key, raw or percent-encoded.
pub(crate) async fn revoke(
    metrics: &Metrics,
    granted: &Granted,
    id: &str,
) -> Result<Response<Body>, Error> {
    let decoded = percent_decode_str(id).decode_utf8_lossy();
    // A key may hold a percent sign of its own, so it is looked for as it stands first.
    for text in [id, &*decoded] {
        if let Ok(key) = ApiKey::new(text)
            && granted.covers(&key)
            && metrics.revoke_key(&key).await?
        {
            return Ok(response::json(StatusCode::OK, &Message { message: "Key revoked" }));
        }
    }
    Err(Error::UnknownKey)
}

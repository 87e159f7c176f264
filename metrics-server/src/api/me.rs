//! `GET /api/v1/me`: the rights of the caller, for the page and for other clients.

use chrono::SecondsFormat;
use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use metrics_core::query::instant;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::access::{Grant, Rights};
use crate::error::Error;
use crate::response::{self, Body};

/// The rights of a caller.
#[derive(Serialize)]
pub(crate) struct Me<'a> {
    user: Option<&'a str>,
    role: Option<&'static str>,
    scope: Option<Vec<&'static str>>,
    may: Vec<&'static str>,
    // Null for all.
    keys: Option<Vec<Key>>,
    within: Map<String, Value>,
    expires_at: Option<String>,
    sign_out: bool,
}

#[derive(Serialize)]
struct Key {
    key: String,
    name: Option<String>,
}

/// Answers with the rights of the caller.
pub(crate) async fn me(
    metrics: &Metrics,
    granted: &Grant,
    may: Vec<&'static str>,
) -> Result<Response<Body>, Error> {
    Ok(response::json(StatusCode::OK, &of(metrics, granted, may).await?))
}

/// The rights of the caller.
pub(crate) async fn of<'a>(
    metrics: &Metrics,
    granted: &'a Grant,
    may: Vec<&'static str>,
) -> Result<Me<'a>, Error> {
    let mut within = granted.within().to_json();
    within.remove("key");
    let mut keys = None;
    if granted.within().keys.is_some() {
        let records = metrics.keys().await?.into_iter();
        let granted = records.filter(|it| it.disabled_at.is_none() && granted.covers(&it.key));
        let key = granted.map(|record| Key {
            key: record.key.as_str().to_owned(),
            name: record.settings.name().map(str::to_owned),
        });
        keys = Some(key.collect());
    }
    let (role, scope) = match granted.rights() {
        Rights::Role(role) => (Some(role.as_str()), None),
        Rights::Token(scopes) => (None, Some(scopes.names())),
    };
    let time = |seconds: i64| {
        instant(seconds.saturating_mul(1_000)).to_rfc3339_opts(SecondsFormat::Secs, true)
    };
    Ok(Me {
        user: granted.user(),
        role,
        scope,
        may,
        keys,
        within,
        expires_at: granted.expires_at().map(time),
        sign_out: granted.session_until_ms().is_some(),
    })
}

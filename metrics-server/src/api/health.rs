//! `GET /health/live` and `GET /health/ready`: for whoever decides where viewers are sent.

use std::time::Duration;

use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use metrics_core::recorder::WAITING_MAX;
use serde::Serialize;
use tokio::time::timeout;

use crate::kept::Kept;
use crate::response::{self, Body};

/// How long the store may take to say that it is well.
const HEALTH_MAX: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The process runs.
pub(crate) fn live() -> Response<Body> {
    response::json(StatusCode::OK, &Health { status: "ok", reason: None })
}

/// Whether viewers may be sent here. A server whose store is away still takes their events, as long as it has room
/// for them: it is degraded, and no less ready than any other on the same store.
pub(crate) async fn ready(metrics: &Metrics, healthy: &Kept<bool>) -> Response<Body> {
    let figures = metrics.figures();
    let reason = match figures.away_since {
        _ if metrics.store().is_damaged() => {
            "the file is damaged: stop the server, which keeps what waits, put back a copy that is whole, and start it \
             again"
                .to_owned()
        }
        Some(since) => format!("the store is away since {}", since.format("%Y-%m-%dT%H:%M:%SZ")),
        None => match healthy.ask(|| is_well(metrics.clone())).await {
            Some(true) => return live(),
            _ => "the store cannot be reached".to_owned(),
        },
    };
    let waiting = figures.waiting;
    let (code, status, room) = if WAITING_MAX <= waiting {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no more are taken")
    } else if !metrics.knows_keys() {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the keys are not known yet")
    } else {
        (StatusCode::OK, "degraded", "more are taken")
    };
    let reason = format!("{reason}: {waiting} events wait in memory, and {room}");
    response::json(code, &Health { status, reason: Some(reason) })
}

/// Whether the store can be written.
async fn is_well(metrics: Metrics) -> bool {
    match timeout(HEALTH_MAX, metrics.store().check()).await {
        Ok(Ok(())) => true,
        Ok(Err(err)) => {
            tracing::warn!(error = &err as &dyn std::error::Error, "the store is not well");
            false
        }
        Err(_) => {
            tracing::warn!("the store did not say in {HEALTH_MAX:?} that it is well");
            false
        }
    }
}

//! `GET /health/live` and `GET /health/ready`: for load balancers and orchestrators.

use std::time::Duration;

use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use metrics_core::recorder::WAITING_MAX;
use serde::Serialize;
use tokio::time::timeout;

use crate::code::Code;
use crate::response::{self, Body};
use crate::single_flight::SingleFlight;

/// The timeout of a check of the store.
const HEALTH_MAX: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
}

/// The fault of the store, for everybody who may request it; `None` if the store is well.
type Fault = Option<&'static str>;

/// The latest results of checks of the store.
pub(crate) struct Examined {
    /// Checks while the recorder can write.
    available: SingleFlight<Fault>,
    /// Checks while it cannot. Separate, so that a result from an outage is not reported after it.
    unavailable: SingleFlight<Fault>,
}

impl Examined {
    /// Caches each result for `kept`.
    pub(crate) fn new(kept: Duration) -> Self {
        Self { available: SingleFlight::new(kept), unavailable: SingleFlight::new(kept) }
    }
}

const UNREACHABLE: &str = "the store cannot be reached";

/// The process runs.
pub(crate) fn live() -> Response<Body> {
    response::json(StatusCode::OK, &Health { status: "ok", reason: None, code: None })
}

/// Whether viewers may be sent here. A server whose store is unavailable still accepts events, as long as it has memory
/// for them: it is degraded, and no less ready than any other on the same store.
pub(crate) async fn ready(metrics: &Metrics, examined: &Examined) -> Response<Body> {
    let stats = metrics.stats();
    let reason = match stats.unavailable_since {
        _ if metrics.store().is_damaged() => {
            "the file is damaged: stop the server, which spills the waiting sessions to a file, restore a backup, \
             and start the server again"
                .to_owned()
        }
        Some(since) => {
            let since = since.format("%Y-%m-%dT%H:%M:%SZ");
            // Even if the store answers now, the recorder has not written since then.
            match examined.unavailable.get(|| examine(metrics.clone(), Log::Nothing)).await.flatten() {
                Some(advice) if advice != UNREACHABLE => {
                    format!("the store is unavailable since {since}: {advice}")
                }
                _ => format!("the store is unavailable since {since}"),
            }
        }
        None => match examined.available.get(|| examine(metrics.clone(), Log::Failures)).await {
            Some(None) => return live(),
            fault => fault.flatten().unwrap_or(UNREACHABLE).to_owned(),
        },
    };
    let waiting = stats.waiting;
    let (code, space) = if WAITING_MAX <= waiting {
        (Code::Overloaded, "further events are refused")
    } else if !metrics.has_keys() {
        (Code::Unavailable, "the keys are not loaded yet")
    } else {
        (Code::Degraded, "further events are accepted")
    };
    let (http, status) = match code {
        Code::Degraded => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let reason = format!("{reason}: {waiting} events wait in memory, and {space}");
    response::json(http, &Health { status, reason: Some(reason), code: Some(code) })
}

/// The failures that a check logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Log {
    Failures,
    /// No failures: while the recorder cannot write, it logs that itself.
    Nothing,
}

/// Checks whether the store can be written.
async fn examine(metrics: Metrics, log: Log) -> Fault {
    match timeout(HEALTH_MAX, metrics.store().check()).await {
        Ok(Ok(())) => None,
        Ok(Err(err)) => {
            if log == Log::Failures {
                tracing::warn!(
                    error = &err as &dyn std::error::Error,
                    "the check of the store failed"
                );
            }
            Some(err.advice().unwrap_or(UNREACHABLE))
        }
        Err(_) => {
            if log == Log::Failures {
                tracing::warn!("the store did not answer the health check within {HEALTH_MAX:?}");
            }
            Some(UNREACHABLE)
        }
    }
}

//! `/api/v1/watching`: how many sessions play at this moment.

use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use serde::Serialize;

use super::params::Params;
use crate::error::Error;
use crate::response::{self, Body};

#[derive(Serialize)]
struct Answer {
    watching: u64,
}

/// How many sessions play at this moment.
pub(crate) async fn watching(metrics: &Metrics, params: &Params) -> Result<Response<Body>, Error> {
    let watching = metrics.watching(&params.selection()?).await?;
    Ok(response::json(StatusCode::OK, &Answer { watching }))
}

//! `/api/v1/sources`: plays per time bucket and page.

use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use serde::Serialize;

use super::params::Params;
use crate::error::Error;
use crate::response::{self, Body};

#[derive(Serialize)]
struct Answer<'a> {
    sources: Vec<Source<'a>>,
}

#[derive(Serialize)]
struct Source<'a> {
    interval: String,
    path: &'a str,
    host: &'a str,
    pathname: &'a str,
    views: u64,
}

/// Plays per time bucket and page.
pub(crate) async fn sources(metrics: &Metrics, params: &Params) -> Result<Response<Body>, Error> {
    let query = params.bucket_query()?;
    let buckets = metrics.sources(&query).await?;
    let sources = buckets.iter().map(|bucket| Source {
        interval: query.buckets.label(bucket.start),
        path: bucket.source.as_str(),
        host: bucket.source.host(),
        pathname: bucket.source.pathname(),
        views: bucket.plays,
    });
    Ok(response::json(StatusCode::OK, &Answer { sources: sources.collect() }))
}

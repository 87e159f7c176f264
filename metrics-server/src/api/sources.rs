//! `/api/v1/sources`: plays per time bucket and page.

use hyper::{Response, StatusCode};
use metrics_core::{BucketQuery, Metrics, ReportError, Reports};
use serde::Serialize;

use super::params::Params;
use crate::error::Error;
use crate::export::row::{Kind, Line, Row};
use crate::response::{self, Body};

#[derive(Serialize)]
struct Answer {
    sources: Vec<Source>,
}

#[derive(Serialize)]
pub(crate) struct Source {
    interval: String,
    path: String,
    host: String,
    pathname: String,
    views: u64,
}

/// Plays per time bucket and page.
pub(crate) async fn sources(metrics: &Metrics, params: &Params) -> Result<Response<Body>, Error> {
    let sources = pages(metrics.reports(), &params.bucket_query()?).await?;
    Ok(response::json(StatusCode::OK, &Answer { sources }))
}

/// The plays of each bucket and page.
pub(crate) async fn pages(
    reports: Reports<'_>,
    query: &BucketQuery,
) -> Result<Vec<Source>, ReportError> {
    let buckets = reports.sources(query).await?;
    let sources = buckets.iter().map(|bucket| Source {
        interval: query.buckets.label(bucket.start),
        path: bucket.source.as_str().to_owned(),
        host: bucket.source.host().to_owned(),
        pathname: bucket.source.pathname().to_owned(),
        views: bucket.plays,
    });
    Ok(sources.collect())
}

impl Row for Source {
    fn columns(line: &mut Line<'_>) {
        line.columns(Kind::Time, &["interval"]);
        line.columns(Kind::Text, &["path", "host", "pathname"]);
        line.columns(Kind::Integer, &["views"]);
    }

    fn cells(&self, line: &mut Line<'_>) {
        for text in [&self.interval, &self.path, &self.host, &self.pathname] {
            line.text(text);
        }
        line.number(self.views);
    }
}

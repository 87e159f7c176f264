//! `/api/v1/engagement`: which parts of the videos are watched.

use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use serde::Serialize;

use super::params::{Engagement, Params};
use crate::error::Error;
use crate::response::{self, Body};

#[derive(Serialize)]
struct Answer<T> {
    engagement: Vec<T>,
}

#[derive(Serialize)]
struct Range {
    range: usize,
    range_time: RangeTime,
    viewers: u64,
}

#[derive(Serialize)]
struct RangeTime {
    from: f64,
    to: f64,
}

#[derive(Serialize)]
struct Bucket {
    interval: String,
    per_second: Vec<Second>,
}

#[derive(Serialize)]
struct Second {
    second: u32,
    views: u64,
    viewers: u64,
}

/// Viewers of equal parts, or views and viewers of every second.
pub(crate) async fn engagement(
    metrics: &Metrics,
    params: &Params,
) -> Result<Response<Body>, Error> {
    let query = params.engagement_query()?;
    match params.engagement()? {
        Engagement::Ranges(ranges) => {
            let parts = metrics.engagement(&query, ranges).await?;
            let engagement = parts.iter().enumerate().map(|(range, part)| Range {
                range,
                range_time: RangeTime { from: part.from, to: part.to },
                viewers: part.viewers,
            });
            Ok(response::json(StatusCode::OK, &Answer { engagement: engagement.collect() }))
        }
        Engagement::PerSecond(buckets) => {
            let answered = metrics.engagement_per_second(&query, buckets).await?;
            let engagement = answered.iter().map(|bucket| Bucket {
                interval: buckets.label(bucket.start),
                per_second: bucket
                    .seconds
                    .iter()
                    .map(|it| Second { second: it.second, views: it.views, viewers: it.viewers })
                    .collect(),
            });
            Ok(response::json(StatusCode::OK, &Answer { engagement: engagement.collect() }))
        }
    }
}

//! `/api/v1/engagement`: which parts of the videos are watched.

use hyper::{Response, StatusCode};
use metrics_core::engagement::Second as SecondCount;
use metrics_core::time_bucket::Buckets;
use metrics_core::{EngagementQuery, Metrics, ReportError, Reports};
use serde::Serialize;

use super::params::{Engagement, Params};
use crate::error::Error;
use crate::export::row::{Kind, Line, Row};
use crate::response::{self, Body};

#[derive(Serialize)]
struct Answer<T> {
    engagement: Vec<T>,
}

#[derive(Serialize)]
pub(crate) struct Range {
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

/// A second of a bucket, by itself.
#[derive(Serialize)]
pub(crate) struct BucketSecond {
    interval: String,
    #[serde(flatten)]
    second: Second,
}

/// Viewers of equal parts, or views and viewers of every second.
pub(crate) async fn engagement(
    metrics: &Metrics,
    params: &Params,
) -> Result<Response<Body>, Error> {
    let (reports, query) = (metrics.reports(), params.engagement_query()?);
    match params.engagement()? {
        Engagement::Ranges(count) => {
            let engagement = ranges(reports, &query, count).await?;
            Ok(response::json(StatusCode::OK, &Answer { engagement }))
        }
        Engagement::PerSecond(buckets) => {
            let answered = reports.engagement_per_second(&query, buckets).await?;
            let engagement = answered.iter().map(|bucket| Bucket {
                interval: buckets.label(bucket.start),
                per_second: bucket.seconds.iter().map(second_of).collect(),
            });
            Ok(response::json(StatusCode::OK, &Answer { engagement: engagement.collect() }))
        }
    }
}

/// The viewers of each of so many equal parts.
pub(crate) async fn ranges(
    reports: Reports<'_>,
    query: &EngagementQuery,
    count: u32,
) -> Result<Vec<Range>, ReportError> {
    let parts = reports.engagement(query, count).await?;
    let ranges = parts.iter().enumerate().map(|(range, part)| Range {
        range,
        range_time: RangeTime { from: part.from, to: part.to },
        viewers: part.viewers,
    });
    Ok(ranges.collect())
}

/// The views and viewers of every second of every bucket.
pub(crate) async fn seconds(
    reports: Reports<'_>,
    query: &EngagementQuery,
    buckets: Buckets,
) -> Result<Vec<BucketSecond>, ReportError> {
    let answered = reports.engagement_per_second(query, buckets).await?;
    let seconds = answered.iter().flat_map(|bucket| {
        let interval = buckets.label(bucket.start);
        bucket
            .seconds
            .iter()
            .map(move |it| BucketSecond { interval: interval.clone(), second: second_of(it) })
    });
    Ok(seconds.collect())
}

fn second_of(counted: &SecondCount) -> Second {
    Second { second: counted.second, views: counted.views, viewers: counted.viewers }
}

impl Row for Range {
    fn columns(line: &mut Line<'_>) {
        line.columns(Kind::Integer, &["range"]);
        line.columns(Kind::Double, &["from", "to"]);
        line.columns(Kind::Integer, &["viewers"]);
    }

    fn cells(&self, line: &mut Line<'_>) {
        line.number(self.range);
        line.number(self.range_time.from);
        line.number(self.range_time.to);
        line.number(self.viewers);
    }
}

impl Row for BucketSecond {
    fn columns(line: &mut Line<'_>) {
        line.columns(Kind::Time, &["interval"]);
        line.columns(Kind::Integer, &["second", "views", "viewers"]);
    }

    fn cells(&self, line: &mut Line<'_>) {
        line.text(&self.interval);
        line.number(self.second.second);
        line.number(self.second.views);
        line.number(self.second.viewers);
    }
}

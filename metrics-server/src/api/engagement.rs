//! `/api/v1/engagement`: which parts of the videos are watched.

use hyper::{Response, StatusCode};
use metrics_core::engagement::{Resolution, SecondsBucket};
use metrics_core::time_bucket::Buckets;
use metrics_core::{EngagementQuery, Metrics, ReportError, Reports};
use serde::{Serialize, Serializer};

use super::params::{Engagement, Params};
use super::query::number_or_null;
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
    sessions: u64,
    duration: Option<f64>,
    average_percentage_viewed: Option<f64>,
    #[serde(flatten)]
    seconds: Seconds,
}

/// The counts of a bucket, per second or per step.
#[derive(Serialize)]
enum Seconds {
    #[serde(rename = "per_second")]
    PerSecond(Vec<Second>),
    #[serde(rename = "per_step")]
    PerStep(Vec<Second>),
}

#[derive(Serialize)]
struct Second {
    #[serde(flatten)]
    from: Position,
    views: u64,
    viewers: u64,
    exits: u64,
    skips: u64,
    /// Viewers per session.
    retention: f64,
}

/// The start of a second or step.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Position {
    /// In seconds.
    Second(Whole),
    /// In percent of the duration.
    Percent(Whole),
}

/// A number that is written without a fraction if it has none.
#[derive(Clone, Copy)]
struct Whole(f64);

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number_or_null(&Some(self.0)).serialize(serializer)
    }
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
                sessions: bucket.sessions,
                duration: bucket.duration_ms.map(|ms| super::seconds(ms.into())),
                average_percentage_viewed: bucket.average_percentage_viewed,
                seconds: {
                    let counted = seconds_of(bucket, query.resolution).collect();
                    match query.resolution {
                        Resolution::Ms(_) => Seconds::PerSecond(counted),
                        Resolution::Steps(_) => Seconds::PerStep(counted),
                    }
                },
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
        seconds_of(bucket, query.resolution)
            .map(move |second| BucketSecond { interval: interval.clone(), second })
    });
    Ok(seconds.collect())
}

fn seconds_of(
    bucket: &SecondsBucket,
    resolution: Resolution,
) -> impl Iterator<Item = Second> + use<'_> {
    bucket.seconds.iter().map(move |counted| Second {
        from: match resolution {
            Resolution::Ms(ms) => {
                Position::Second(Whole(f64::from(counted.second) * f64::from(ms) / 1_000.0))
            }
            Resolution::Steps(steps) => {
                Position::Percent(Whole(f64::from(counted.second) * 100.0 / f64::from(steps)))
            }
        },
        views: counted.views,
        viewers: counted.viewers,
        exits: counted.exits,
        skips: counted.skips,
        retention: counted.viewers as f64 / bucket.sessions as f64,
    })
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
        line.columns(Kind::Double, &["second"]);
        line.columns(Kind::Integer, &["views", "viewers", "exits", "skips"]);
        line.columns(Kind::Double, &["retention", "percent"]);
    }

    fn cells(&self, line: &mut Line<'_>) {
        let Second { from, views, viewers, exits, skips, retention } = self.second;
        line.text(&self.interval);
        match from {
            Position::Second(Whole(second)) => line.number(second),
            Position::Percent(_) => line.nothing(),
        }
        [views, viewers, exits, skips].into_iter().for_each(|count| line.number(count));
        line.number(retention);
        match from {
            Position::Second(_) => line.nothing(),
            Position::Percent(Whole(percent)) => line.number(percent),
        }
    }
}

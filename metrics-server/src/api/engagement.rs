//! `/api/v1/engagement`: which parts of the videos are watched.

use std::iter;

use metrics_core::engagement::{Resolution, Second as Counted, SecondsBucket};
use metrics_core::time_bucket::Buckets;
use metrics_core::{EngagementQuery, ReportError, Reports};
use serde::{Serialize, Serializer};

use super::meta::Meta;
use super::params::{Engagement, OLDER, Params};
use super::query::number_or_null;
use crate::answer::{Text, append_json};
use crate::error::Error;
use crate::table::row::{Kind, Line, Row};

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

/// A bucket, without its seconds.
#[derive(Serialize)]
struct Bucket {
    interval: String,
    sessions: u64,
    duration: Option<f64>,
    average_percentage_viewed: Option<f64>,
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
    Second(Number),
    /// In percent of the duration.
    Percent(Number),
}

/// A number that is written without a fraction if it has none.
#[derive(Clone, Copy)]
struct Number(f64);

impl Serialize for Number {
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
pub(crate) async fn engagement(reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    params.check_names(&OLDER)?;
    let query = params.engagement_query()?;
    let meta = Meta::of_engagement(reports, &query);
    match params.engagement()? {
        Engagement::Ranges(count) => {
            let (bytes, rows) = ranges(reports, &query, count).await?;
            Ok(Text::list("engagement", bytes, rows, meta.about()))
        }
        Engagement::PerSecond(buckets) => {
            let found = reports.engagement_per_second(&query, buckets).await?;
            let (about, bytes) = (meta.per(buckets).about(), bytes_of(&found));
            let rows = found.into_iter().flat_map(move |bucket| {
                let head = head_of(&bucket, buckets, query.resolution);
                let seconds = seconds_of(bucket, query.resolution).map(Fragment::Second);
                iter::once(Fragment::Head(head)).chain(seconds).chain([Fragment::End])
            });
            Ok(Text::fragments("engagement", bytes, rows, Fragment::write, about))
        }
    }
}

/// A part of the JSON of buckets: a bucket may have a million seconds.
enum Fragment {
    /// The beginning of a bucket, up to its seconds.
    Head(Vec<u8>),
    Second(Second),
    /// The end of a bucket.
    End,
}

impl Fragment {
    /// Appends it, after the text so far.
    fn write(&self, out: &mut Vec<u8>, last: u8) {
        match self {
            Self::Head(head) => {
                if last == b'}' {
                    out.push(b',');
                }
                out.extend_from_slice(head);
            }
            Self::Second(second) => {
                if last == b'}' {
                    out.push(b',');
                }
                append_json(out, second);
            }
            Self::End => out.extend_from_slice(b"]}"),
        }
    }
}

/// Returns the JSON of a bucket, up to its seconds.
fn head_of(bucket: &SecondsBucket, buckets: Buckets, resolution: Resolution) -> Vec<u8> {
    let members = Bucket {
        interval: buckets.label(bucket.start),
        sessions: bucket.sessions,
        duration: bucket.duration_ms.map(|ms| super::seconds(ms.into())),
        average_percentage_viewed: bucket.average_percentage_viewed,
    };
    let mut head = Vec::new();
    append_json(&mut head, &members);
    // Without the brace at the end.
    head.pop();
    let name = match resolution {
        Resolution::Ms(_) => "per_second",
        Resolution::Steps(_) => "per_step",
    };
    head.extend_from_slice(format!(",\"{name}\":[").as_bytes());
    head
}

/// The viewers of each of so many equal parts, and how many bytes they hold.
pub(crate) async fn ranges(
    reports: Reports<'_>,
    query: &EngagementQuery,
    count: u32,
) -> Result<(usize, impl Iterator<Item = Range> + Send + 'static), ReportError> {
    let parts = reports.engagement(query, count).await?;
    let bytes = size_of_val(&*parts);
    let ranges = parts.into_iter().enumerate().map(|(range, part)| Range {
        range,
        range_time: RangeTime { from: part.from, to: part.to },
        viewers: part.viewers,
    });
    Ok((bytes, ranges))
}

/// The views and viewers of every second of every bucket, and how many bytes they hold.
pub(crate) async fn seconds(
    reports: Reports<'_>,
    query: &EngagementQuery,
    buckets: Buckets,
) -> Result<(usize, impl Iterator<Item = BucketSecond> + Send + 'static), ReportError> {
    let found = reports.engagement_per_second(query, buckets).await?;
    let (bytes, resolution) = (bytes_of(&found), query.resolution);
    let seconds = found.into_iter().flat_map(move |bucket| {
        let interval = buckets.label(bucket.start);
        seconds_of(bucket, resolution)
            .map(move |second| BucketSecond { interval: interval.clone(), second })
    });
    Ok((bytes, seconds))
}

fn bytes_of(buckets: &[SecondsBucket]) -> usize {
    let seconds: usize = buckets.iter().map(|bucket| bucket.seconds.capacity()).sum();
    size_of_val(buckets) + seconds * size_of::<Counted>()
}

fn seconds_of(
    bucket: SecondsBucket,
    resolution: Resolution,
) -> impl Iterator<Item = Second> + Send + 'static {
    let sessions = bucket.sessions;
    bucket.seconds.into_iter().map(move |counted| Second {
        from: match resolution {
            Resolution::Ms(ms) => {
                Position::Second(Number(f64::from(counted.second) * f64::from(ms) / 1_000.0))
            }
            Resolution::Steps(steps) => {
                Position::Percent(Number(f64::from(counted.second) * 100.0 / f64::from(steps)))
            }
        },
        views: counted.views,
        viewers: counted.viewers,
        exits: counted.exits,
        skips: counted.skips,
        retention: counted.viewers as f64 / sessions as f64,
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
            Position::Second(Number(second)) => line.number(second),
            Position::Percent(_) => line.nothing(),
        }
        [views, viewers, exits, skips].into_iter().for_each(|count| line.number(count));
        line.number(retention);
        match from {
            Position::Second(_) => line.nothing(),
            Position::Percent(Number(percent)) => line.number(percent),
        }
    }
}

//! `/api/v1/plays`, also called `/api/v1/views`: plays per time bucket.

use metrics_core::response::PlayTotals;
use metrics_core::user_agent::{Browser, Device, Platform};
use metrics_core::{BucketQuery, ReportError, Reports};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::meta::Meta;
use super::params::{OLDER, Params};
use super::seconds;
use crate::answer::Text;
use crate::error::Error;
use crate::table::row::{Kind, Line, Row};

/// The numbers that it shows, by the names in `metrics` of a token.
pub(crate) const SHOWS: [&str; 3] = ["plays", "view_time", "unique_view_time"];

#[derive(Serialize)]
pub(crate) struct Bucket {
    interval: String,
    views: u64,
    total_view_time: f64,
    unique_total_view_time: f64,
    browser: Classes,
    device: Classes,
    device_type: Classes,
    platform: Classes,
}

/// How many plays each class has. Every class is there, zero or not.
#[derive(Clone)]
struct Classes(Vec<(&'static str, u64)>);

impl Serialize for Classes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, plays) in &self.0 {
            map.serialize_entry(name, plays)?;
        }
        map.end()
    }
}

/// Plays per time bucket.
pub(crate) async fn plays(reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    params.check_names(&OLDER)?;
    let query = params.bucket_query(&SHOWS)?;
    let about = Meta::of_buckets(reports, &query).about();
    let (bytes, rows) = buckets(reports, &query).await?;
    Ok(Text::list("views", bytes, rows, about))
}

/// The plays of each bucket, and how many bytes they hold.
pub(crate) async fn buckets(
    reports: Reports<'_>,
    query: &BucketQuery,
) -> Result<(usize, impl Iterator<Item = Bucket> + Send + 'static), ReportError> {
    let found = reports.plays(query).await?;
    let (bytes, buckets) = (size_of_val(&*found), query.buckets);
    let rows = found.into_iter();
    Ok((bytes, rows.map(move |it| bucket_of(buckets.label(it.start), &it.totals))))
}

impl Row for Bucket {
    fn columns(line: &mut Line<'_>) {
        line.columns(Kind::Time, &["interval"]);
        line.columns(Kind::Integer, &["views"]);
        line.columns(Kind::Double, &["total_view_time", "unique_total_view_time"]);
        for class in Browser::ALL {
            line.columns(Kind::Integer, &[&format!("browser_{}", class.name())]);
        }
        for class in Device::ALL {
            line.columns(Kind::Integer, &[&format!("device_{}", class.name())]);
        }
        for class in Platform::ALL {
            line.columns(Kind::Integer, &[&format!("platform_{}", class.name())]);
        }
    }

    fn cells(&self, line: &mut Line<'_>) {
        line.text(&self.interval);
        line.number(self.views);
        line.number(self.total_view_time);
        line.number(self.unique_total_view_time);
        for Classes(classes) in [&self.browser, &self.device, &self.platform] {
            classes.iter().for_each(|(_, plays)| line.number(plays));
        }
    }
}

fn bucket_of(interval: String, totals: &PlayTotals) -> Bucket {
    let device = Classes(Device::ALL.map(|it| (it.name(), totals.device(it))).to_vec());
    Bucket {
        interval,
        views: totals.plays,
        total_view_time: seconds(totals.view_ms),
        unique_total_view_time: seconds(totals.unique_ms),
        browser: Classes(Browser::ALL.map(|it| (it.name(), totals.browser(it))).to_vec()),
        device: device.clone(),
        device_type: device,
        platform: Classes(Platform::ALL.map(|it| (it.name(), totals.platform(it))).to_vec()),
    }
}

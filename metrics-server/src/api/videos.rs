//! `/api/v1/videos`: lists videos with their metrics.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::{Response, StatusCode};
use metrics_core::{Metrics, ReportError, Reports, VideoEntry, VideosQuery};
use serde::Serialize;
use serde_json::Value;

use super::params::Params;
use super::query::{Measures, Report, measure_columns, write_table};
use super::seconds;
use crate::error::Error;
use crate::export::Format;
use crate::export::row::Kind;
use crate::response::{self, Body};

/// The columns of a video before those of its metrics.
const COLUMNS: [(&str, Kind); 7] = [
    ("name", Kind::Text),
    ("identifier", Kind::Text),
    ("title", Kind::Text),
    ("metadata", Kind::Text),
    ("duration", Kind::Double),
    ("first_played_at", Kind::Time),
    ("last_played_at", Kind::Time),
];

/// A video and its metrics.
#[derive(Serialize)]
pub(crate) struct Entry {
    name: String,
    identifier: Option<String>,
    title: Option<String>,
    metadata: Option<Value>,
    duration: Option<f64>,
    first_played_at: Option<String>,
    last_played_at: Option<String>,
    #[serde(flatten)]
    measures: Measures,
}

/// Lists videos.
pub(crate) async fn videos(metrics: &Metrics, params: &Params) -> Result<Response<Body>, Error> {
    let report = answer(metrics.reports(), &params.videos_query(VideosQuery::default())?).await?;
    Ok(response::json(StatusCode::OK, &report))
}

async fn answer(reports: Reports<'_>, query: &VideosQuery) -> Result<Report<Entry>, ReportError> {
    let (list, periods) = reports.videos(query).await?;
    let entries = list.videos.iter().map(Entry::of).collect();
    Ok(Report::new(entries, list.totals.as_ref(), list.rows, &query.query, periods))
}

/// Lists videos, as a file.
pub(crate) async fn table(
    reports: Reports<'_>,
    query: &VideosQuery,
    format: Format,
    is_whole: bool,
) -> Result<Bytes, ReportError> {
    let report = answer(reports, query).await?;
    report.check_rows(&query.query, is_whole)?;
    let columns = COLUMNS.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
    let columns: Vec<_> = columns.chain(measure_columns(&query.query)).collect();
    Ok(write_table(format, &columns, report.results.into_iter().map(Entry::cells))?)
}

impl Entry {
    fn of(video: &VideoEntry) -> Self {
        let time =
            |at: Option<DateTime<Utc>>| Some(at?.to_rfc3339_opts(SecondsFormat::Millis, true));
        let metadata = video.metadata.as_deref();
        Self {
            name: (*video.name).to_owned(),
            identifier: video.identifier.clone(),
            title: video.title.clone(),
            metadata: metadata.and_then(|metadata| serde_json::from_str(metadata).ok()),
            duration: video.duration_ms.map(|ms| seconds(ms.into())),
            first_played_at: time(video.first_played_at),
            last_played_at: time(video.last_played_at),
            measures: Measures::of(&video.numbers),
        }
    }

    /// Returns the cells, in the order of [`COLUMNS`] and [`measure_columns`].
    fn cells(self) -> Vec<Value> {
        let measures = self.measures.cells();
        let cells: [Value; COLUMNS.len()] = [
            self.name.into(),
            self.identifier.into(),
            self.title.into(),
            self.metadata.into(),
            self.duration.into(),
            self.first_played_at.into(),
            self.last_played_at.into(),
        ];
        cells.into_iter().chain(measures).collect()
    }
}

impl Params {
    /// Reads the parameters of a list of videos. `query` has the defaults.
    pub(crate) fn videos_query(&self, query: VideosQuery) -> Result<VideosQuery, Error> {
        let mut query = VideosQuery::from(self.metrics_query(query.query, &["search"])?);
        if let Some(search) = self.get("search") {
            let search = search.as_str();
            let search = search.ok_or_else(|| Error::parameter("search", "must be a text"))?;
            query = query.with_search(search);
        }
        query.check()?;
        Ok(query)
    }
}

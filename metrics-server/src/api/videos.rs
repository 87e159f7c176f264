//! `/api/v1/videos`: lists videos with their metrics.

use chrono::{DateTime, SecondsFormat, Utc};
use metrics_core::{ReportError, Reports, VideoEntry, VideosQuery};
use serde::Serialize;
use serde_json::Value;

use super::params::Params;
use super::query::{Measures, Rest, check_rows, measure_columns, numbers_bytes, write_table};
use super::seconds;
use crate::answer::Text;
use crate::error::Error;
use crate::table::Format;
use crate::table::row::Kind;

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
pub(crate) async fn videos(reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    let query = params.videos_query(VideosQuery::default())?;
    let (list, periods) = reports.videos(&query).await?;
    let rest = Rest::new(list.totals.as_ref(), list.rows, &query.query, periods);
    let bytes = bytes_of(&list.videos);
    let has_times = params.shows_times();
    let entries = list.videos.into_iter().map(move |video| Entry::of(&video, has_times));
    Ok(Text::list("results", bytes, entries, rest))
}

/// Lists videos, as a file. Without `has_times`, columns of times are empty.
pub(crate) async fn table(
    reports: Reports<'_>,
    query: &VideosQuery,
    format: Format,
    is_complete: bool,
    has_times: bool,
) -> Result<Text, ReportError> {
    let (list, _) = reports.videos(query).await?;
    check_rows(&query.query, (list.videos.len(), list.rows), is_complete)?;
    let columns = COLUMNS.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
    let columns: Vec<_> = columns.chain(measure_columns(&query.query)).collect();
    let bytes = bytes_of(&list.videos);
    let rows = list.videos.into_iter().map(move |video| Entry::of(&video, has_times).cells());
    Ok(write_table(format, columns, bytes, rows)?)
}

/// Returns how many bytes videos hold, about.
fn bytes_of(videos: &[VideoEntry]) -> usize {
    let bytes = videos.iter().map(|video| {
        let VideoEntry { name, identifier, metadata, title, numbers, .. } = video;
        let texts = [identifier, metadata, title].into_iter().flatten().map(String::len);
        size_of::<VideoEntry>() + name.len() + texts.sum::<usize>() + numbers_bytes(numbers)
    });
    bytes.sum()
}

impl Entry {
    /// With `has_times`, the duration of the video and the times of its plays are shown.
    fn of(video: &VideoEntry, has_times: bool) -> Self {
        let time = |at: Option<DateTime<Utc>>| {
            let at = at.filter(|_| has_times)?;
            Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        let metadata = video.metadata.as_deref();
        Self {
            name: (*video.name).to_owned(),
            identifier: video.identifier.clone(),
            title: video.title.clone(),
            metadata: metadata.and_then(|metadata| serde_json::from_str(metadata).ok()),
            duration: video.duration_ms.filter(|_| has_times).map(|ms| seconds(ms.into())),
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
    /// Whether the caller may read the durations of videos and the times of their plays: no name in a list of metrics
    /// stands for them.
    pub(crate) fn shows_times(&self) -> bool {
        self.granted().within().has_all_metrics()
    }

    /// Reads the parameters of a list of videos. `query` has the defaults.
    pub(crate) fn videos_query(&self, query: VideosQuery) -> Result<VideosQuery, Error> {
        let mut query = VideosQuery::from(self.metrics_query(query.query, &["search"])?);
        if let Some(search) = self.get("search") {
            let search = search.as_str();
            let search = search.ok_or_else(|| Error::parameter("search", "must be a text"))?;
            query = query.with_search(search);
        }
        if !self.granted().within().has_whole_videos() {
            query = query.only_selected();
        }
        query.check()?;
        Ok(query)
    }
}

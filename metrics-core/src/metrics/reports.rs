//! Methods for reports, as of the moment of the call: see [`Reports`].

use super::Metrics;
use crate::engagement::{Part, SecondsBucket};
use crate::query::{BucketQuery, EngagementQuery, Periods, Query, Selection};
use crate::report::{
    LiveQuery, LiveReader, LiveState, ReportError, Reports, VideoList, VideosQuery,
};
use crate::response::{PlaysBucket, SourceBucket};
use crate::scan::Answer;
use crate::time_bucket::Buckets;

impl Metrics {
    /// Reports as of this moment.
    #[must_use]
    pub fn reports(&self) -> Reports<'_> {
        Reports::new(self.store(), self.now())
    }

    /// Plays per time bucket.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if there would be too many buckets, or the store fails.
    pub async fn plays(&self, query: &BucketQuery) -> Result<Vec<PlaysBucket>, ReportError> {
        self.reports().plays(query).await
    }

    /// Plays per time bucket and page.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn sources(&self, query: &BucketQuery) -> Result<Vec<SourceBucket>, ReportError> {
        self.reports().sources(query).await
    }

    /// Distinct viewers in each of `parts` equal parts of the video, up to the furthest watched position.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn engagement(
        &self,
        query: &EngagementQuery,
        parts: u32,
    ) -> Result<Vec<Part>, ReportError> {
        self.reports().engagement(query, parts).await
    }

    /// Views and viewers per second, or per unit of the query's resolution, for each time bucket.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn engagement_per_second(
        &self,
        query: &EngagementQuery,
        buckets: Buckets,
    ) -> Result<Vec<SecondsBucket>, ReportError> {
        self.reports().engagement_per_second(query, buckets).await
    }

    /// Any metrics by any dimensions, and the periods that they cover.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// # use metrics_core::store::SqliteStore;
    /// use metrics_core::Metrics;
    /// use metrics_core::query::{Dimension, Metric, Query};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let metrics = Metrics::new(SqliteStore::open(directory.path().join("metrics.db")).await?);
    /// let top = Query::new([Metric::Plays, Metric::AveragePercentageViewed]).by(Dimension::Video);
    /// let (answer, _) = metrics.query(&top).await?;
    /// for row in answer.results {
    ///     println!("{:?}: {:?}", row.dimensions[0], row.numbers.metrics);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the query cannot be answered, or the store fails.
    pub async fn query(&self, query: &Query) -> Result<(Answer, Periods), ReportError> {
        self.reports().query(query).await
    }

    /// Lists the videos of a selection with their metrics, and returns the periods that the metrics cover.
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query).
    pub async fn videos(&self, query: &VideosQuery) -> Result<(VideoList, Periods), ReportError> {
        self.reports().videos(query).await
    }

    /// Number of sessions that play at this moment, over all instances.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn watching(&self, selection: &Selection) -> Result<u64, ReportError> {
        self.reports().watching(selection).await
    }

    /// Number of sessions that play at this moment, over all instances, which videos they play, and where in them; and
    /// the plays so far. A [`LiveReader`] reads the same again and again.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn live(&self, query: &LiveQuery) -> Result<LiveState, ReportError> {
        LiveReader::new(query.clone()).read(self.reports()).await
    }
}

//! Reports on the sessions of a store, at some moment.

mod live;
pub(crate) mod older;
mod query;
mod scanning;
mod videos;

use std::fmt;

use chrono::{DateTime, Utc};

use crate::budget::{Account, UsedUp};
use crate::engagement::{Part, SecondsBucket};
use crate::erasure::{Erasure, Selected};
use crate::export::Export;
use crate::query::{
    BucketQuery, EngagementQuery, Periods, Query, QueryError, Scan, Selection, Timeframe, instant,
};
use crate::read::computed;
use crate::response::{PlaysBucket, SourceBucket};
use crate::scan::{Answer, Fields, ScanError};
use crate::store::{Error, Store};
use crate::time_bucket::Buckets;

pub use self::live::{
    LIVE_PARTS_MAX, LIVE_VIDEOS_MAX, LiveQuery, LiveReader, LiveState, LiveVideo,
};
pub(crate) use self::scanning::count;
pub use self::videos::{SEARCH_BYTES_MAX, VideoEntry, VideoList, VideosQuery};

/// The most buckets of a report that includes empty ones: a year by the hour has 8,760.
pub const BUCKETS_MAX: usize = 10_000;

/// Answers reports from a store without recording into it, like [`Metrics`](crate::Metrics) from its own store.
#[derive(Clone, Copy)]
pub struct Reports<'a> {
    store: &'a dyn Store,
    now: DateTime<Utc>,
    account: &'a Account,
}

impl<'a> Reports<'a> {
    /// Reports on the sessions in `store` at the time `now`.
    #[must_use]
    pub fn new(store: &'a dyn Store, now: DateTime<Utc>) -> Self {
        Self { store, now, account: Account::UNLIMITED }
    }

    /// Accounts the memory of the report to `account`. The caller should hold the size of the answer in it afterwards.
    #[must_use]
    pub fn within(self, account: &'a Account) -> Self {
        Self { account, ..self }
    }

    /// Returns the time of the reports.
    #[must_use]
    pub fn now(self) -> DateTime<Utc> {
        self.now
    }

    /// Plays per time bucket.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if there would be too many buckets, or the store fails.
    pub async fn plays(self, query: &BucketQuery) -> Result<Vec<PlaysBucket>, ReportError> {
        let now = self.now;
        let scan = query.scan(now);
        let mut empty = Vec::new();
        if query.fill {
            let (scan, query) = (scan.clone(), query.clone());
            empty = computed(move || empty_buckets(&scan, &query, now)).await?;
        }
        older::plays(self.store, &scan, query.buckets, empty, self.account).await
    }

    /// Plays per time bucket and page.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn sources(self, query: &BucketQuery) -> Result<Vec<SourceBucket>, ReportError> {
        older::sources(self.store, &query.scan(self.now), query.buckets, self.account).await
    }

    /// Distinct viewers in each of `parts` equal parts of the video, up to the furthest watched position.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn engagement(
        self,
        query: &EngagementQuery,
        parts: u32,
    ) -> Result<Vec<Part>, ReportError> {
        older::parts(self.store, &query.scan(self.now), parts, self.account).await
    }

    /// Views and viewers per second, or per unit of the query's resolution, for each time bucket.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn engagement_per_second(
        self,
        query: &EngagementQuery,
        buckets: Buckets,
    ) -> Result<Vec<SecondsBucket>, ReportError> {
        let scan = query.scan(self.now);
        older::seconds(self.store, &scan, buckets, query.resolution, self.account).await
    }

    /// Any metrics by any dimensions, and the periods that they cover.
    ///
    /// # Errors
    ///
    /// [`ReportError::Query`] if the query cannot be answered as it is, [`ReportError::Scan`] if its answer would be
    /// too large, [`ReportError::Store`] if the store fails.
    pub async fn query(self, query: &Query) -> Result<(Answer, Periods), ReportError> {
        query::query(self.store, query, self.now, self.account).await
    }

    /// Lists the videos of a selection with their metrics, and returns the periods that the metrics cover.
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query).
    pub async fn videos(self, query: &VideosQuery) -> Result<(VideoList, Periods), ReportError> {
        videos::videos(self.store, query, self.now, self.account).await
    }

    /// Lists the fields of metadata and session data, the most frequent first.
    ///
    /// # Errors
    ///
    /// [`ReportError::Scan`] if there are too many fields, [`ReportError::Store`] if the store fails.
    pub async fn fields(self, query: &EngagementQuery) -> Result<Fields, ReportError> {
        older::fields(self.store, &query.scan(self.now), self.account).await
    }

    /// Number of sessions that play at this moment, over all instances.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails.
    pub async fn watching(self, selection: &Selection) -> Result<u64, ReportError> {
        older::watching(self.store, &selection.for_stores(), self.now, self.account).await
    }

    /// Counts the sessions that an erasure selects, at one moment.
    ///
    /// # Errors
    ///
    /// [`ReportError::UsedUp`] if the account has no memory left, [`ReportError::Store`] if the store fails.
    pub async fn selected(self, erasure: &Erasure) -> Result<Selected, ReportError> {
        scanning::count(self.store, erasure, self.account).await
    }

    /// The sessions that a query selects, one by one.
    #[must_use]
    pub fn sessions(self, query: &EngagementQuery) -> Export {
        Export::of(query.scan(self.now)).within(self.account)
    }
}

impl fmt::Debug for Reports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Reports");
        debug.field("store", &self.store).field("now", &self.now).finish_non_exhaustive()
    }
}

/// Why a report has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Empty buckets were requested, and there are too many.
    #[error("there are more than {BUCKETS_MAX} buckets in the timeframe")]
    TooManyBuckets,
    /// The query cannot be answered as it is.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The answer would be too large, or a block cannot be decoded.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The memory for answers is used up.
    #[error(transparent)]
    UsedUp(#[from] UsedUp),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

fn empty_buckets(
    scan: &Scan,
    query: &BucketQuery,
    now: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, ReportError> {
    // A timeframe without an end is filled up to now: the rest of time has no plays yet.
    let to = if matches!(query.timeframe, Timeframe::From(_)) { now } else { instant(scan.to_ms) };
    let starts = query.buckets.starts(instant(scan.from_ms), to);
    let starts: Vec<_> = starts.take(BUCKETS_MAX + 1).collect();
    if BUCKETS_MAX < starts.len() { Err(ReportError::TooManyBuckets) } else { Ok(starts) }
}

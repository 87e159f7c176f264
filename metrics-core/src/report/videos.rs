//! Lists videos: the metrics of each, with its newest metadata and duration.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ReportError;
use super::scanning::{RECORD_BYTES, Scanning, scoped};
use crate::block::{Columns, Group, Groups};
use crate::budget::Account;
use crate::query::{Dimension, Metric, Minimum, Period, Periods, Query, QueryError, instant};
use crate::read::{
    Fold, Reading, all_of, computed, info, list, read_open, read_summaries, read_videos, summaries,
};
use crate::scan::{
    DimensionValue, Numbers, ScanError, Scanner, Scans, SessionFilter, title, video_name,
};
use crate::store::{
    BlockSummary, OpenScan, Snapshot, Store, VideoId, VideoRecord, VideoScope, Videos,
};

/// The longest search text, in bytes.
pub const SEARCH_BYTES_MAX: usize = 1_024;

/// The largest number of blocks of a video read to find its duration.
const DURATION_BLOCKS_MAX: usize = 4;

/// The largest sum of identifiers and metadata of the listed videos, in bytes.
const LISTED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The period of all sessions.
const ALL_TIME: Period = Period { from_ms: i64::MIN, to_ms: i64::MAX };

/// A request for a list of videos with their metrics.
///
/// The list has every video of the selection that passes the filters on videos, also without sessions in the timeframe.
/// Videos with the same name count as one: see [`Dimension::Video`].
///
/// ```
/// use metrics_core::VideosQuery;
/// use metrics_core::query::{Metric, Query};
///
/// let query = VideosQuery::from(Query::new([Metric::Plays])).with_search("knots");
/// assert_eq!(query.search.as_deref(), Some("knots"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VideosQuery {
    /// Metrics, selection, timeframe, order, page and comparison. Its only dimension is [`Dimension::Video`].
    pub query: Query,
    /// Only videos with this text in their identifier or title, in any case; at most [`SEARCH_BYTES_MAX`] bytes.
    pub search: Option<String>,
    /// Only videos with a session of the selection, whenever it started. Their metadata, duration, first and last start
    /// are then those of these sessions: a caller who may see only some sessions of a video learns nothing from the
    /// others.
    pub only_selected: bool,
}

impl Default for VideosQuery {
    /// Requests plays, view time and average percentage viewed of all videos, in the last 30 days.
    fn default() -> Self {
        let metrics = [Metric::Plays, Metric::ViewTime, Metric::AveragePercentageViewed];
        Query::new(metrics).into()
    }
}

impl From<Query> for VideosQuery {
    /// Replaces the dimensions by [`Dimension::Video`].
    fn from(query: Query) -> Self {
        let query = Query { dimensions: vec![Dimension::Video], ..query };
        Self { query, search: None, only_selected: false }
    }
}

impl VideosQuery {
    /// Lists only videos with this text in their identifier or title.
    #[must_use]
    pub fn with_search(self, text: impl Into<String>) -> Self {
        Self { search: Some(text.into()), ..self }
    }

    /// Lists only videos with a session of the selection: see [the field](Self::only_selected).
    #[must_use]
    pub fn only_selected(self) -> Self {
        Self { only_selected: true, ..self }
    }

    /// Validates the query.
    ///
    /// # Errors
    ///
    /// [`QueryError`] names the first invalid parameter.
    pub fn check(&self) -> Result<(), QueryError> {
        let search = self.search.as_deref().unwrap_or_default();
        if SEARCH_BYTES_MAX < search.len() {
            let expected = format!("a text of at most {SEARCH_BYTES_MAX} bytes");
            return Err(QueryError::invalid("search", search, expected));
        }
        self.query.check()
    }
}

/// The response to a [`VideosQuery`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VideoList {
    /// The videos from `offset` on, at most `limit`, in the order of the query.
    pub videos: Vec<VideoEntry>,
    /// The number of all videos, regardless of `offset` and `limit`.
    pub rows: u64,
    /// The metrics of all videos together, if the query requests them.
    pub totals: Option<Numbers>,
}

/// A video and its metrics.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VideoEntry {
    /// The value of [`Dimension::Video`]: filters match it.
    pub name: Arc<str>,
    /// Its identifier.
    pub identifier: Option<String>,
    /// The metadata of the session that started last, as a canonical JSON object.
    pub metadata: Option<String>,
    /// The text `title` of that metadata.
    pub title: Option<String>,
    /// Its newest known duration, in milliseconds.
    pub duration_ms: Option<u32>,
    /// The start of its first session, in any timeframe and under any filter.
    pub first_played_at: Option<DateTime<Utc>>,
    /// The start of its last session, in any timeframe and under any filter.
    pub last_played_at: Option<DateTime<Utc>>,
    /// The metrics of its sessions in the timeframe.
    pub numbers: Numbers,
}

/// Lists videos with their metrics, and returns the periods that the metrics cover.
pub(crate) async fn videos(
    store: &dyn Store,
    query: &VideosQuery,
    now: DateTime<Utc>,
    account: &Account,
) -> Result<(VideoList, Periods), ReportError> {
    query.check()?;
    let periods = query.query.periods(now)?;
    let selection = query.query.selection.for_stores();
    let (scanned, videos_of) = scoped(&Query { selection, ..query.query.clone() });
    let mut snapshot = store.snapshot().await?;
    let scanner = Scanner::new(&scanned, periods.current)?.with_now(now);
    let search = query.search.as_deref();
    let mut listing = Listing::read(&mut *snapshot, &videos_of, scanner, account).await?;
    let mut visible = None;
    if query.only_selected {
        let filter = SessionFilter::new(&scanned.selection, ALL_TIME, Minimum::ViewMs(0));
        let filter = filter.in_timezone(scanned.timezone);
        visible = Some(listing.keep_selected(&mut *snapshot, filter).await?);
    }
    let listed = Listed::of(listing, search, &videos_of).await?;
    let Listed { scanner, names, mut records, videos, bytes } = listed;
    let mut compared = None;
    let mut further_bytes = bytes;
    if let Some(period) = periods.compared {
        let scanner = Scanner::new(&scanned, period)?.with_now(now);
        let reading = reading(&scanner, now);
        let fold = Scanning::of(scanner, records, account).with_further_bytes(further_bytes);
        let fold = read_videos(&mut *snapshot, &reading, &videos, fold).await?;
        further_bytes += fold.scanner.bytes();
        compared = Some(fold.scanner);
        records = fold.videos.unwrap_or_default();
    }
    let reading = reading(&scanner, now);
    let fold = Scanning::of(scanner, records, account).with_further_bytes(further_bytes);
    let fold = read_videos(&mut *snapshot, &reading, &videos, fold).await?;
    let (scanner, records) = (fold.scanner, fold.videos.unwrap_or_default());
    let answer = computed(|| Ok::<_, ReportError>(scanner.finish(compared)?)).await?;

    let mut page = Vec::with_capacity(answer.results.len());
    for row in answer.results {
        let [DimensionValue::Text(name)] = &row.dimensions[..] else { continue };
        let ids = names.get(name).cloned().unwrap_or_default();
        page.push(Row { name: Arc::clone(name), ids, numbers: row.numbers });
    }
    let facts = match visible {
        Some(facts) => facts,
        None => facts(&mut *snapshot, &page).await?,
    };
    let videos = computed(move || {
        let entries = page.into_iter().map(|row| row.entry(&records, &facts));
        Ok::<_, ReportError>(entries.collect::<Result<_, ScanError>>()?)
    })
    .await?;
    Ok((VideoList { videos, rows: answer.rows, totals: answer.totals }, periods))
}

/// The sessions that a scanner reads.
fn reading(scanner: &Scanner, now: DateTime<Utc>) -> Reading {
    let minutes_until = scanner.minutes_until(now);
    Reading { minutes_until, ..Reading::new(VideoScope::default(), true, scanner.frame()) }
}

/// The videos that are listed.
struct Listed {
    /// The row ids of each name.
    names: BTreeMap<Arc<str>, Vec<VideoId>>,
    records: HashMap<VideoId, VideoRecord>,
    videos: Videos,
    /// Has a row for each name.
    scanner: Scanner,
    /// The number of bytes of the records.
    bytes: usize,
}

/// The videos that a scanner wants, while they are listed.
struct Listing {
    scanner: Scanner,
    records: HashMap<VideoId, VideoRecord>,
    listed: usize,
    bytes: usize,
    account: Account,
}

impl Listing {
    async fn read(
        snapshot: &mut dyn Snapshot,
        scope: &VideoScope,
        scanner: Scanner,
        account: &Account,
    ) -> Result<Self, ReportError> {
        let account = account.clone();
        let listing = Self { scanner, records: HashMap::new(), listed: 0, bytes: 0, account };
        list(snapshot, scope, listing, Self::visit).await
    }

    /// Drops the videos without a session that the filter selects, and returns the facts of the others.
    async fn keep_selected(
        &mut self,
        snapshot: &mut dyn Snapshot,
        filter: SessionFilter,
    ) -> Result<HashMap<VideoId, Facts>, ReportError> {
        let records = std::mem::take(&mut self.records);
        let mut ids: Vec<_> = records.keys().copied().collect();
        ids.sort_unstable();
        let reading = Reading::new(VideoScope::default(), true, (i64::MIN, i64::MAX));
        let fold = SelectedFacts { filter, records, facts: FactsFold::default() };
        let fold = read_videos(snapshot, &reading, &Videos::These(ids), fold).await?;
        let SelectedFacts { records, facts: FactsFold { facts }, .. } = fold;
        self.records = records;
        self.records.retain(|id, _| facts.contains_key(id));
        Ok(facts)
    }

    fn visit(&mut self, record: VideoRecord) -> Result<(), ReportError> {
        self.listed += 1;
        if self.scanner.selects_video(&info(&record)) {
            self.bytes += record.video.bytes() + RECORD_BYTES;
            if LISTED_BYTES_MAX < self.bytes {
                return Err(ScanError::TooManyGroups.into());
            }
            self.account.hold(self.bytes)?;
            self.records.insert(record.id, record);
        }
        Ok(())
    }
}

impl Listed {
    async fn of(
        listing: Listing,
        search: Option<&str>,
        scope: &VideoScope,
    ) -> Result<Self, ReportError> {
        let (search, scope) = (search.map(str::to_lowercase), scope.clone());
        computed(move || Ok(Self::named(listing, search.as_deref(), &scope)?)).await
    }

    /// Returns the videos whose name or title contains the text, by their names.
    fn named(
        listing: Listing,
        search: Option<&str>,
        scope: &VideoScope,
    ) -> Result<Self, ScanError> {
        let Listing { mut scanner, mut records, listed, bytes, .. } = listing;
        let mut names: BTreeMap<Arc<str>, Vec<VideoId>> = BTreeMap::new();
        let mut found = HashSet::new();
        for record in records.values() {
            let name: Arc<str> = video_name(&record.video)?.into();
            if search.is_none_or(|search| is_found(record, &name, search)) {
                found.insert(Arc::clone(&name));
            }
            names.entry(name).or_default().push(record.id);
        }
        names.retain(|name, _| found.contains(name));
        let mut ids: Vec<_> = names.values().flatten().copied().collect();
        ids.sort_unstable();
        records.retain(|id, _| ids.binary_search(id).is_ok());
        let all = all_of(scope).filter(|_| ids.len() == listed);
        let videos = all.unwrap_or(Videos::These(ids));
        for name in names.keys() {
            scanner.make_row(&[DimensionValue::Text(Arc::clone(name))])?;
        }
        Ok(Self { names, records, videos, scanner, bytes })
    }
}

/// Returns whether the name or the title of a video contains `search`, which is in lower case.
fn is_found(record: &VideoRecord, name: &str, search: &str) -> bool {
    // Damaged metadata has no title. An error was returned already if the name needs the metadata.
    let title = || record.video.metadata().and_then(|metadata| title(metadata).ok().flatten());
    let has = |text: &str| text.to_lowercase().contains(search);
    has(name) || title().is_some_and(|title| has(&title))
}

/// A row of the response.
struct Row {
    name: Arc<str>,
    ids: Vec<VideoId>,
    numbers: Numbers,
}

impl Row {
    fn entry(
        self,
        records: &HashMap<VideoId, VideoRecord>,
        facts: &HashMap<VideoId, Facts>,
    ) -> Result<VideoEntry, ScanError> {
        let of = |id: &VideoId| facts.get(id).copied().unwrap_or_default();
        // Without sessions, the video with the newest row id is the newest.
        let newest = self.ids.iter().max_by_key(|id| (of(id).last_ms, **id));
        let video = newest.and_then(|id| records.get(id)).map(|record| &record.video);
        let metadata = video.and_then(|video| video.metadata());
        let all = self.ids.iter().map(of);
        let sum = all.fold(Facts::default(), Facts::merge);
        Ok(VideoEntry {
            name: self.name,
            identifier: video.and_then(|video| video.identifier()).map(str::to_owned),
            title: metadata.map(title).transpose()?.flatten(),
            metadata: metadata.map(str::to_owned),
            duration_ms: sum.duration.map(|(_, duration_ms)| duration_ms),
            first_played_at: sum.first_ms.map(instant),
            last_played_at: sum.last_ms.map(instant),
            numbers: self.numbers,
        })
    }
}

/// The first and last start of a video's sessions, and its duration.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    /// The last session with a known duration: its start, and the duration in milliseconds.
    duration: Option<(i64, u32)>,
}

impl Facts {
    fn merge(self, other: Self) -> Self {
        let first_ms = [self.first_ms, other.first_ms].into_iter().flatten().min();
        let last_ms = self.last_ms.max(other.last_ms);
        Self { first_ms, last_ms, duration: self.duration.max(other.duration) }
    }

    fn started(start_ms: i64, end_ms: i64) -> Self {
        Self { first_ms: Some(start_ms), last_ms: Some(end_ms), duration: None }
    }
}

/// Finds the facts of the listed videos: in open sessions, in the summaries of blocks, and in the newest blocks.
async fn facts(
    snapshot: &mut dyn Snapshot,
    page: &[Row],
) -> Result<HashMap<VideoId, Facts>, ReportError> {
    let mut ids: Vec<_> = page.iter().flat_map(|row| &row.ids).copied().collect();
    ids.sort_unstable();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let videos = Videos::These(ids);
    let open =
        OpenScan { videos: videos.clone(), from_ms: i64::MIN, to_ms: i64::MAX, watched_at: None };
    let mut fold = read_open(snapshot, &open, FactsFold::default()).await?;
    // The newest blocks of each video, the newest first.
    let mut newest: HashMap<VideoId, Vec<BlockSummary>> = HashMap::new();
    summaries(snapshot, &videos, |summary| {
        fold.note(summary.video, Facts::started(summary.first_start_ms, summary.last_start_ms));
        let summaries = newest.entry(summary.video).or_default();
        summaries.push(summary);
        summaries
            .sort_unstable_by_key(|summary| std::cmp::Reverse((summary.last_start_ms, summary.id)));
        summaries.truncate(DURATION_BLOCKS_MAX);
    })
    .await?;
    for round in 0..DURATION_BLOCKS_MAX {
        let mut selected: Vec<BlockSummary> = Vec::new();
        for (video, summaries) in &newest {
            let Some(summary) = summaries.get(round) else { continue };
            let known = fold.facts.get(video).and_then(|facts| facts.duration);
            let is_known =
                known.is_some_and(|(at_ms, _)| 0 < round || summary.last_start_ms <= at_ms);
            selected.extend((!is_known).then_some(*summary));
        }
        if selected.is_empty() {
            break;
        }
        fold = read_summaries(snapshot, &selected, fold).await?;
    }
    Ok(fold.facts)
}

/// Collects facts from the sessions that a filter selects.
struct SelectedFacts {
    filter: SessionFilter,
    records: HashMap<VideoId, VideoRecord>,
    facts: FactsFold,
}

impl Fold for SelectedFacts {
    type Error = ReportError;

    fn groups(&self) -> Groups {
        self.filter.groups().union(self.facts.groups())
    }

    fn selects(&mut self, video: &VideoRecord) -> Result<bool, ReportError> {
        Ok(self.records.contains_key(&video.id))
    }

    fn add(&mut self, video: VideoId, columns: &Columns) -> Result<(), ReportError> {
        let Some(record) = self.records.get(&video) else { return Ok(()) };
        let sessions = self.filter.sessions(&info(record), columns)?;
        let (Some(first), Some(last)) = (sessions.first(), sessions.last()) else { return Ok(()) };
        let start_ms = |session: usize| columns.starts.get_ms(session);
        let durations = columns.durations_ms.as_ref();
        let duration = sessions
            .iter()
            .rev()
            .find_map(|session| Some((start_ms(*session), (*durations?.get(*session))?)));
        let facts = Facts { duration, ..Facts::started(start_ms(*first), start_ms(*last)) };
        self.facts.note(video, facts);
        Ok(())
    }
}

/// Collects facts from the columns of sessions.
#[derive(Default)]
struct FactsFold {
    facts: HashMap<VideoId, Facts>,
}

impl FactsFold {
    fn note(&mut self, video: VideoId, facts: Facts) {
        let known = self.facts.entry(video).or_default();
        *known = known.merge(facts);
    }
}

impl Fold for FactsFold {
    type Error = ReportError;

    fn groups(&self) -> Groups {
        Groups::default().with(Group::Starts).with(Group::Durations)
    }

    fn selects(&mut self, _: &VideoRecord) -> Result<bool, ReportError> {
        Ok(true)
    }

    fn add(&mut self, video: VideoId, columns: &Columns) -> Result<(), ReportError> {
        let starts = &columns.starts;
        let Some(last) = starts.len().checked_sub(1) else { return Ok(()) };
        let durations = columns.durations_ms.as_ref();
        let duration = (0..starts.len())
            .rev()
            .find_map(|session| Some((starts.get_ms(session), (*durations?.get(session))?)));
        self.note(
            video,
            Facts { duration, ..Facts::started(starts.get_ms(0), starts.get_ms(last)) },
        );
        Ok(())
    }
}

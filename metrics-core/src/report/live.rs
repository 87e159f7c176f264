//! Viewers now: how many there are, which videos they watch, and where in them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::older::plays_in;
use super::scanning::RECORD_BYTES;
use super::{ReportError, Reports};
use crate::block::{Columns, Row};
use crate::compute::expect_aside;
use crate::query::{BucketQuery, Scan, Selection, Timeframe};
use crate::read::{OPEN_FIRST, Reading, all_of, computed, info, list, next_limit, picked};
use crate::scan::{SessionFilter, title, video_name};
use crate::store::{
    Error, OpenScan, OpenSession, Snapshot, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::time_bucket::{Buckets, Width};

/// The largest number of videos in a [`LiveState`].
pub const LIVE_VIDEOS_MAX: u32 = 100;

/// The largest number of parts of a video in a [`LiveState`].
pub const LIVE_PARTS_MAX: u32 = 200;

/// The largest number of videos that are read one by one. More are read as a list.
const LOOKUPS_MAX: usize = 64;

/// The least width of a part of a video without a known duration, in milliseconds.
const STEP_MS_MIN: u64 = 1_000;

/// Requests the viewers of a selection at this moment, and its plays so far.
///
/// ```
/// use metrics_core::{LiveQuery, Selection, Timeframe};
///
/// let query = LiveQuery::from(Selection::identifier("intro")).during(Timeframe::ThisWeek).with_parts(20);
/// # assert_eq!((query.videos_max, query.parts), (10, 20));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LiveQuery {
    /// The sessions.
    pub selection: Selection,
    /// The timeframe of the plays: today by default.
    pub timeframe: Timeframe,
    /// The time zone of the days of the timeframe: UTC by default.
    pub timezone: Option<Tz>,
    /// The least view time of a play: one second by default.
    pub minimum_view_ms: u64,
    /// The largest number of videos in the response, 1 to [`LIVE_VIDEOS_MAX`]: 10 by default.
    pub videos_max: u32,
    /// The number of parts of each video, 1 to [`LIVE_PARTS_MAX`]: 100 by default.
    pub parts: u32,
}

impl From<Selection> for LiveQuery {
    fn from(selection: Selection) -> Self {
        Self {
            selection,
            timeframe: Timeframe::Today,
            timezone: None,
            minimum_view_ms: 1_000,
            videos_max: 10,
            parts: 100,
        }
    }
}

impl LiveQuery {
    /// Counts plays that started in this timeframe.
    #[must_use]
    pub fn during(self, timeframe: Timeframe) -> Self {
        Self { timeframe, ..self }
    }

    /// Sets the time zone of the timeframe.
    #[must_use]
    pub fn in_timezone(self, timezone: Option<Tz>) -> Self {
        Self { timezone, ..self }
    }

    /// Counts plays with at least this much view time.
    #[must_use]
    pub fn with_minimum_view_ms(self, minimum_view_ms: u64) -> Self {
        Self { minimum_view_ms, ..self }
    }

    /// Lists at most this number of videos.
    #[must_use]
    pub fn with_videos_max(self, videos_max: u32) -> Self {
        Self { videos_max, ..self }
    }

    /// Divides each video into this number of parts.
    #[must_use]
    pub fn with_parts(self, parts: u32) -> Self {
        Self { parts, ..self }
    }

    /// The sessions of the plays, and buckets in which they are counted: few.
    fn plays(&self, now: DateTime<Utc>) -> (Scan, Buckets) {
        let buckets = Buckets::new(Width::YEAR);
        let buckets = self.timezone.map_or(buckets, |zone| buckets.in_timezone(zone));
        let query = BucketQuery::from(&self.selection).during(self.timeframe);
        let query = query.with_minimum_view_ms(self.minimum_view_ms).with_buckets(buckets);
        (query.scan(now), buckets)
    }
}

/// The viewers of a selection at some moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LiveState {
    /// Number of sessions that play now, over all instances.
    pub watching: u64,
    /// Number of plays in the timeframe of the query.
    pub plays: u64,
    /// The videos that are watched, those with the most viewers first, then by name: at most
    /// [`videos_max`](LiveQuery::videos_max).
    pub videos: Vec<LiveVideo>,
    /// Number of all videos that are watched.
    pub rows: u64,
}

/// A video and its viewers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LiveVideo {
    /// The value of [`Dimension::Video`](crate::query::Dimension::Video): filters match it.
    pub name: Arc<str>,
    /// Its identifier.
    pub identifier: Option<String>,
    /// The text `title` of its metadata.
    pub title: Option<String>,
    /// Its duration in milliseconds, if a player reported it.
    pub duration_ms: Option<u32>,
    /// Number of sessions that play it now.
    pub watching: u64,
    /// The end of the parts, in milliseconds of video: the duration or, without one, a position that no session has
    /// reached.
    pub end_ms: u64,
    /// Number of sessions whose playback is in each of [`parts`](LiveQuery::parts) equal parts of the video.
    pub positions: Vec<u32>,
}

/// Reads the viewers of a selection again and again, and keeps the names of their videos in between.
#[derive(Debug)]
pub struct LiveReader {
    query: LiveQuery,
    known: HashMap<VideoId, VideoRecord>,
}

impl LiveReader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(query: LiveQuery) -> Self {
        Self { query, known: HashMap::new() }
    }

    /// The query.
    #[must_use]
    pub fn query(&self) -> &LiveQuery {
        &self.query
    }

    /// The approximate number of bytes that it keeps between reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        bytes_of(&self.known)
    }

    /// Returns the state at the time of `reports`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the store fails, or the account has no memory left.
    pub async fn read(&mut self, reports: Reports<'_>) -> Result<LiveState, ReportError> {
        let Reports { store, now, account } = reports;
        let selection = self.query.selection.for_stores();
        let all = Scan { selection, from_ms: i64::MIN, to_ms: i64::MAX, minimum_view_ms: 0 };
        let (filter, Reading { scope, .. }) = picked(&all);
        let known = std::mem::take(&mut self.known);
        let now_ms = now.timestamp_millis();
        let mut viewers = Viewers { filter, now_ms, known, watched: BTreeMap::new() };
        let mut snapshot = store.snapshot().await?;
        let videos = match all_of(&scope) {
            Some(all) => all,
            None => {
                viewers = list(&mut *snapshot, &scope, viewers, Viewers::know).await?;
                let mut ids: Vec<_> = viewers.known.keys().copied().collect();
                ids.sort_unstable();
                Videos::These(ids)
            }
        };
        let open = OpenScan { videos, from_ms: i64::MIN, to_ms: i64::MAX, watched_at: Some(now) };
        let (mut after, mut limit) = (None, OPEN_FIRST);
        loop {
            let page = snapshot.open_sessions(&open, after, limit).await?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < limit as usize;
            limit = next_limit(&page);
            if !page.is_empty() {
                viewers = viewers.know_all(&mut *snapshot, &scope, &page).await?;
                viewers = computed(move || viewers.add(page)).await?;
                account.hold(viewers.bytes())?;
            }
            if is_last {
                break;
            }
        }
        let (scan, buckets) = self.query.plays(now);
        let plays = plays_in(&mut *snapshot, &scan, buckets, Vec::new(), account).await?;
        let plays = plays.iter().map(|bucket| bucket.totals.plays).sum();
        drop(snapshot);
        let (videos_max, parts) = (self.query.videos_max, self.query.parts);
        let (known, state) =
            computed(move || viewers.finish(plays, videos_max as usize, parts)).await?;
        self.known = known;
        Ok(state)
    }
}

/// The sessions that play now, by their videos.
struct Viewers {
    filter: SessionFilter,
    now_ms: i64,
    known: HashMap<VideoId, VideoRecord>,
    watched: BTreeMap<VideoId, Watched>,
}

/// The viewers of a video.
#[derive(Default)]
struct Watched {
    watching: u64,
    positions_ms: Vec<u32>,
    duration_ms: Option<u32>,
}

impl Viewers {
    fn know(&mut self, record: VideoRecord) -> Result<(), ReportError> {
        self.known.insert(record.id, record);
        Ok(())
    }

    /// Reads the videos of these sessions that are not known yet.
    async fn know_all(
        mut self,
        snapshot: &mut dyn Snapshot,
        scope: &VideoScope,
        page: &[OpenSession],
    ) -> Result<Self, ReportError> {
        let unknown = page.iter().map(|session| session.video);
        let unknown: BTreeSet<_> = unknown.filter(|id| !self.known.contains_key(id)).collect();
        if LOOKUPS_MAX < unknown.len() {
            let know = |(viewers, unknown): &mut (Self, BTreeSet<VideoId>), record: VideoRecord| {
                if unknown.contains(&record.id) { viewers.know(record) } else { Ok(()) }
            };
            return Ok(list(snapshot, scope, (self, unknown), know).await?.0);
        }
        for id in unknown {
            let before = VideoId(id.0.saturating_sub(1));
            for record in snapshot.videos(scope, Some(before), 1).await? {
                self.know(record)?;
            }
        }
        Ok(self)
    }

    fn add(mut self, page: Vec<OpenSession>) -> Result<Self, ReportError> {
        expect_aside();
        let mut by_video: BTreeMap<VideoId, Vec<Row>> = BTreeMap::new();
        for session in page {
            by_video.entry(session.video).or_default().push(session.row);
        }
        for (video, mut rows) in by_video {
            let Some(record) = self.known.get(&video) else { continue };
            rows.sort_by_key(Row::order);
            let picked = self.filter.sessions(&info(record), &Columns::of(&rows))?;
            if picked.is_empty() {
                continue;
            }
            let watched = self.watched.entry(video).or_default();
            for stored in picked.into_iter().map(|session| &rows[session].stored) {
                let position_ms = stored.position_ms(self.now_ms).map_err(Error::Damaged)?;
                watched.watching += 1;
                watched.positions_ms.extend(position_ms);
                watched.duration_ms = watched.duration_ms.max(stored.duration_ms);
            }
        }
        Ok(self)
    }

    /// The approximate number of bytes in memory.
    fn bytes(&self) -> usize {
        let watched = self.watched.values();
        let watched = watched.map(|it| 2 * size_of::<Self>() + 4 * it.positions_ms.capacity());
        bytes_of(&self.known) + watched.sum::<usize>()
    }

    /// Returns the state, and the videos that are watched.
    fn finish(
        self,
        plays: u64,
        videos_max: usize,
        parts: u32,
    ) -> Result<(HashMap<VideoId, VideoRecord>, LiveState), ReportError> {
        let Self { mut known, watched, .. } = self;
        known.retain(|id, _| watched.contains_key(id));
        let watching = watched.values().map(|it| it.watching).sum();
        // Videos with the same name count as one, with the title of the newest.
        let mut named: BTreeMap<Arc<str>, (VideoId, Watched)> = BTreeMap::new();
        for (id, one) in watched {
            let Some(record) = known.get(&id) else { continue };
            let name = video_name(&record.video)?.into();
            let (newest, all) = named.entry(name).or_insert_with(|| (id, Watched::default()));
            *newest = id;
            all.watching += one.watching;
            all.positions_ms.extend(one.positions_ms);
            all.duration_ms = all.duration_ms.max(one.duration_ms);
        }
        let rows = named.len() as u64;
        let mut named: Vec<_> = named.into_iter().collect();
        named.sort_by_key(|(_, (_, watched))| Reverse(watched.watching));
        named.truncate(videos_max);
        let videos = named.into_iter().map(|(name, (id, watched))| {
            let video = known.get(&id).map(|record| &record.video);
            let metadata = video.and_then(|video| video.metadata());
            let identifier = video.and_then(|video| video.identifier()).map(str::to_owned);
            let title = metadata.map(title).transpose()?.flatten();
            Ok::<_, ReportError>(watched.video(name, identifier, title, parts))
        });
        let videos = videos.collect::<Result<_, _>>()?;
        Ok((known, LiveState { watching, plays, videos, rows }))
    }
}

/// The approximate number of bytes of videos.
fn bytes_of(known: &HashMap<VideoId, VideoRecord>) -> usize {
    known.values().map(|record| record.video.bytes() + RECORD_BYTES).sum()
}

impl Watched {
    fn video(
        self,
        name: Arc<str>,
        identifier: Option<String>,
        title: Option<String>,
        parts: u32,
    ) -> LiveVideo {
        let Self { watching, positions_ms, duration_ms } = self;
        let parts = u64::from(parts.clamp(1, LIVE_PARTS_MAX));
        let furthest_ms = positions_ms.iter().copied().max().unwrap_or(0).into();
        let end_ms = duration_ms.map_or_else(|| end_after(furthest_ms, parts), u64::from).max(1);
        let mut positions = vec![0; parts as usize];
        for position_ms in positions_ms {
            let part = u64::from(position_ms) * parts / end_ms;
            positions[part.min(parts - 1) as usize] += 1;
        }
        LiveVideo { name, identifier, title, duration_ms, watching, end_ms, positions }
    }
}

/// The end of `parts` parts that reach beyond a position, in a video without a known duration. The width of a part
/// doubles, so that it seldom changes.
fn end_after(furthest_ms: u64, parts: u64) -> u64 {
    let mut step_ms = STEP_MS_MIN;
    while step_ms * parts <= furthest_ms {
        step_ms *= 2;
    }
    step_ms * parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(positions_ms: &[u32], duration_ms: Option<u32>, parts: u32) -> (u64, Vec<u32>) {
        let watched = Watched { watching: 1, positions_ms: positions_ms.to_vec(), duration_ms };
        let LiveVideo { end_ms, positions, .. } = watched.video("a".into(), None, None, parts);
        (end_ms, positions)
    }

    #[test]
    fn every_position_is_in_a_part() {
        let ends = [0, 2_499, 2_500, 9_999, 10_000, 12_000];
        assert_eq!(video(&ends, Some(10_000), 4), (10_000, vec![2, 1, 0, 3]));
        assert_eq!(video(&[7], Some(0), 1), (1, vec![1]));
        assert_eq!(video(&[], Some(10_000), 0), (10_000, vec![0]));
        assert_eq!(video(&[], None, u32::MAX).1.len(), LIVE_PARTS_MAX as usize);
    }

    #[test]
    fn parts_without_a_duration_reach_beyond_every_position() {
        assert_eq!(video(&[0, 3_999], None, 4), (4_000, vec![1, 0, 0, 1]));
        assert_eq!(video(&[0, 4_000], None, 4), (8_000, vec![1, 0, 1, 0]));
        assert_eq!(video(&[], None, 4), (4_000, vec![0; 4]));
    }
}

//! Reads the sessions of a report from a snapshot: videos, then open sessions, then blocks.
//!
//! A report folds decoded columns. Folds run in [`compute`], so that they never delay an acknowledgement; the next
//! blocks are read while one batch is folded. Memory is bounded by the fold and by two batches of blocks.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::block::{Block, Columns, Group, Groups, Row};
use crate::compute::{compute, expect_aside};
use crate::key::SessionId;
use crate::query::{Scan, Selection};
use crate::scan::{ScanError, SessionFilter, VideoInfo};
use crate::store::{
    BlockSummary, Error, OpenScan, OpenSession, Snapshot, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::varint::Damaged;

/// How many videos and open sessions are read at a time.
const VIDEOS: u32 = 10_000;
const OPEN: u32 = 2_000;

/// Number of open sessions read first. Their size determines the number of the next.
pub(crate) const OPEN_FIRST: u32 = 250;

/// Number of videos read first. Their size determines the number of the next.
const VIDEOS_FIRST: u32 = 250;

/// Approximate bytes of open sessions or of videos read at a time: pages choose the size of each.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// How many heads of blocks are read at a time.
pub(crate) const HEADS: u32 = 10_000;

/// The largest number of sessions in a batch of blocks, unless one block has more: a report reads a megabyte or two of
/// them.
const BATCH_SESSIONS: u32 = 131_072;

/// The largest number of blocks in a batch.
const BATCH_BLOCKS: usize = 256;

/// The starts of a block are read first if the timeframe fits this many times into the time that the block covers.
const FRAMES_MIN: i64 = 16;

const STARTS: Groups = Groups::NONE.with(Group::Starts);

/// Folds the columns of sessions. The result must not depend on the order of calls.
pub(crate) trait Fold: Send + 'static {
    /// Why sessions could not be added.
    type Error: From<Error> + Send;

    /// The groups to decode.
    fn groups(&self) -> Groups;

    /// Returns whether sessions of a video may count. Called once per video, if [`Reading::lists_videos`].
    fn selects(&mut self, video: &VideoRecord) -> Result<bool, Self::Error>;

    /// Adds the sessions of one video that count. Some may have started before or after the timeframe.
    fn add(&mut self, video: VideoId, columns: &Columns) -> Result<(), Self::Error>;
}

/// The sessions that a report reads.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) scope: VideoScope,
    /// Whether the fold needs to know the videos.
    pub(crate) lists_videos: bool,
    /// The starts of closed sessions: first and last Unix millisecond.
    pub(crate) closed: Option<(i64, i64)>,
    /// The starts of open sessions: first and last Unix millisecond.
    pub(crate) open: Option<(i64, i64)>,
    /// Only sessions that are watched at this moment, which are open.
    pub(crate) watched_at: Option<DateTime<Utc>>,
    /// The minutes of sessions that are watched at this moment go on until it: stores have them up to the last
    /// checkpoint.
    pub(crate) minutes_until: Option<DateTime<Utc>>,
}

impl Reading {
    /// Reads open and closed sessions that started in `frame`: first and last Unix millisecond.
    pub(crate) fn new(scope: VideoScope, lists_videos: bool, frame: (i64, i64)) -> Self {
        let (closed, open) = (Some(frame), Some(frame));
        Self { scope, lists_videos, closed, open, watched_at: None, minutes_until: None }
    }
}

/// Folds the sessions of a reading in `snapshot`.
pub(crate) async fn read_from<F: Fold>(
    snapshot: &mut dyn Snapshot,
    reading: &Reading,
    fold: F,
) -> Result<F, F::Error> {
    let (videos, fold) = videos(snapshot, reading, fold).await?;
    read_videos(snapshot, reading, &videos, fold).await
}

/// Folds the sessions of these videos.
pub(crate) async fn read_videos<F: Fold>(
    snapshot: &mut dyn Snapshot,
    reading: &Reading,
    videos: &Videos,
    mut fold: F,
) -> Result<F, F::Error> {
    if matches!(videos, Videos::These(these) if these.is_empty()) {
        return Ok(fold);
    }
    if let Some((from_ms, to_ms)) = reading.open {
        let videos = videos.clone();
        let scan = OpenScan { videos, from_ms, to_ms, watched_at: reading.watched_at };
        let mut watched = Watched::default();
        if let Some(now) = reading.minutes_until {
            watched = Watched::read(snapshot, &scan, now).await?;
        }
        fold = read_open_until(snapshot, &scan, Arc::new(watched), fold).await?;
    }
    match reading.closed {
        Some(frame) => read_blocks(snapshot, videos, frame, fold).await,
        None => Ok(fold),
    }
}

/// Returns the videos whose sessions are read.
async fn videos<F: Fold>(
    snapshot: &mut dyn Snapshot,
    reading: &Reading,
    fold: F,
) -> Result<(Videos, F), F::Error> {
    let all = all_of(&reading.scope);
    if let Some(all) = all.clone().filter(|_| !reading.lists_videos) {
        return Ok((all, fold));
    }
    let selected = SelectedVideos { fold, ids: Vec::new(), omits_some: false };
    let SelectedVideos { fold, ids, omits_some } =
        list(snapshot, &reading.scope, selected, |selected, video| selected.add(&video)).await?;
    Ok((all.filter(|_| !omits_some).unwrap_or(Videos::These(ids)), fold))
}

/// The videos that a fold wants.
struct SelectedVideos<F> {
    fold: F,
    ids: Vec<VideoId>,
    // Whether the fold does not want some videos.
    omits_some: bool,
}

impl<F: Fold> SelectedVideos<F> {
    fn add(&mut self, video: &VideoRecord) -> Result<(), F::Error> {
        if self.fold.selects(video)? {
            self.ids.push(video.id);
        } else {
            self.omits_some = true;
        }
        Ok(())
    }
}

/// Returns the videos of a scope without a list of their ids, if the scope names no identifiers.
pub(crate) fn all_of(scope: &VideoScope) -> Option<Videos> {
    match scope {
        VideoScope { identifiers: Some(_), .. } => None,
        VideoScope { key: Some(key), .. } => Some(Videos::OfKey(key.clone())),
        VideoScope { key: None, .. } => Some(Videos::All),
    }
}

/// Calls `take` with the videos of a scope, by their ids, and returns the result.
pub(crate) async fn list<T: Send + 'static, E: From<Error> + Send + 'static>(
    snapshot: &mut dyn Snapshot,
    scope: &VideoScope,
    mut taken: T,
    take: fn(&mut T, VideoRecord) -> Result<(), E>,
) -> Result<T, E> {
    let (mut after, mut limit) = (None, VIDEOS_FIRST);
    loop {
        let page = snapshot.videos(scope, after, limit).await?;
        after = page.last().map(|video| video.id);
        let is_last = page.len() < limit as usize;
        let bytes = page.iter().map(|it| size_of::<VideoRecord>() + it.video.bytes()).sum();
        limit = fitting(page.len(), bytes, VIDEOS_FIRST, VIDEOS);
        if !page.is_empty() {
            let looking = move || {
                page.into_iter().try_for_each(|video| take(&mut taken, video)).map(|()| taken)
            };
            taken = computed(looking).await?;
        }
        if is_last {
            return Ok(taken);
        }
    }
}

/// Sessions that are watched at a moment.
#[derive(Debug, Default)]
struct Watched {
    ids: HashSet<SessionId>,
    at_ms: i64,
}

impl Watched {
    /// Reads which of the sessions of `scan` are watched at `now`.
    async fn read(
        snapshot: &mut dyn Snapshot,
        scan: &OpenScan,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let scan = OpenScan { watched_at: Some(now), ..scan.clone() };
        let mut ids = HashSet::new();
        let (mut after, mut limit) = (None, OPEN_FIRST);
        loop {
            let page = snapshot.open_sessions(&scan, after, limit).await?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < limit as usize;
            limit = next_limit(&page);
            ids.extend(page.iter().map(|session| session.id));
            if is_last {
                return Ok(Self { ids, at_ms: now.timestamp_millis() });
            }
        }
    }

    /// Adds the minutes since the last write to the watched sessions among these.
    fn add_minutes(&self, sessions: &mut [OpenSession]) -> Result<(), Error> {
        let watched = sessions.iter_mut().filter(|session| self.ids.contains(&session.id));
        for session in watched {
            session.row.stored.add_minutes(self.at_ms).map_err(Error::Damaged)?;
        }
        Ok(())
    }
}

/// Folds open sessions.
pub(crate) async fn read_open<F: Fold>(
    snapshot: &mut dyn Snapshot,
    scan: &OpenScan,
    fold: F,
) -> Result<F, F::Error> {
    read_open_until(snapshot, scan, Arc::default(), fold).await
}

/// Folds open sessions. The minutes of those in `watched` go on until its moment.
async fn read_open_until<F: Fold>(
    snapshot: &mut dyn Snapshot,
    scan: &OpenScan,
    watched: Arc<Watched>,
    mut fold: F,
) -> Result<F, F::Error> {
    let (mut after, mut limit) = (None, OPEN_FIRST);
    loop {
        let mut page = snapshot.open_sessions(scan, after, limit).await?;
        after = page.last().map(|session| session.id);
        let is_last = page.len() < limit as usize;
        limit = next_limit(&page);
        if !page.is_empty() {
            let watched = Arc::clone(&watched);
            let adding = move |fold: &mut F| {
                watched.add_minutes(&mut page)?;
                add_open(fold, page)
            };
            fold = folded(fold, adding).await?;
        }
        if is_last {
            return Ok(fold);
        }
    }
}

/// Returns the number of open sessions of this size that fit into [`READ_BYTES`].
pub(crate) fn next_limit(page: &[OpenSession]) -> u32 {
    let bytes = page.iter().map(|session| session.row.bytes()).sum();
    fitting(page.len(), bytes, OPEN_FIRST, OPEN)
}

/// Returns the number of items that fit into [`READ_BYTES`], if `count` of them take `bytes`: from `least` to `most`.
fn fitting(count: usize, bytes: usize, least: u32, most: u32) -> u32 {
    let limit = READ_BYTES.saturating_mul(count) / bytes.max(1);
    u32::try_from(limit).unwrap_or(most).clamp(least, most)
}

fn add_open<F: Fold>(fold: &mut F, sessions: Vec<OpenSession>) -> Result<(), F::Error> {
    expect_aside();
    let mut by_video: BTreeMap<VideoId, Vec<Row>> = BTreeMap::new();
    for session in sessions {
        by_video.entry(session.video).or_default().push(session.row);
    }
    for (video, mut rows) in by_video {
        rows.sort_by_key(Row::order);
        fold.add(video, &Columns::of(&rows))?;
    }
    Ok(())
}

async fn read_blocks<F: Fold>(
    snapshot: &mut dyn Snapshot,
    videos: &Videos,
    frame: (i64, i64),
    mut fold: F,
) -> Result<F, F::Error> {
    let mut after = None;
    loop {
        let page = snapshot.blocks(videos, frame.0, frame.1, after, HEADS).await?;
        after = page.last().map(|summary| summary.id);
        let is_last = page.len() < HEADS as usize;
        let summaries = with_sessions_in(frame, snapshot, page).await?;
        fold = read_summaries(snapshot, &summaries, fold).await?;
        if is_last {
            return Ok(fold);
        }
    }
}

/// Removes blocks without a session in a timeframe. If the timeframe is a small part of a block's time, as at the ends
/// of a year, the starts of the block are read before its other columns.
async fn with_sessions_in(
    frame: (i64, i64),
    snapshot: &mut dyn Snapshot,
    summaries: Vec<BlockSummary>,
) -> Result<Vec<BlockSummary>, Error> {
    let frame_ms = frame.1.saturating_sub(frame.0);
    let is_long = |summary: &BlockSummary| {
        let block_ms = summary.last_start_ms.saturating_sub(summary.first_start_ms);
        frame_ms < block_ms / FRAMES_MIN
    };
    let (long, mut found): (Vec<_>, Vec<_>) = summaries.into_iter().partition(is_long);
    for summaries in batches(&long) {
        let ids: Vec<_> = summaries.iter().map(|summary| summary.id).collect();
        let blocks = snapshot.groups(&ids, STARTS).await?;
        let summaries = summaries.to_vec();
        let looking = move || {
            let has_any = |block: &Block| {
                Ok(!block.columns(STARTS)?.starts.between(frame.0, frame.1).is_empty())
            };
            let has_any = blocks.iter().map(has_any).collect::<Result<Vec<_>, _>>();
            let found = summaries.into_iter().zip(has_any.map_err(Error::Damaged)?);
            Ok::<_, Error>(found.filter(|(_, has_any)| *has_any).map(|(summary, _)| summary))
        };
        found.extend(computed(looking).await?);
    }
    found.sort_unstable_by_key(|summary| summary.id);
    Ok(found)
}

/// Lists the summaries of all blocks of these videos.
pub(crate) async fn summaries(
    snapshot: &mut dyn Snapshot,
    videos: &Videos,
    mut visit: impl FnMut(BlockSummary) + Send,
) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = snapshot.blocks(videos, i64::MIN, i64::MAX, after, HEADS).await?;
        after = page.last().map(|summary| summary.id);
        let is_last = page.len() < HEADS as usize;
        page.into_iter().for_each(&mut visit);
        if is_last {
            return Ok(());
        }
    }
}

/// Folds the sessions of these blocks.
pub(crate) async fn read_summaries<F: Fold>(
    snapshot: &mut dyn Snapshot,
    summaries: &[BlockSummary],
    mut fold: F,
) -> Result<F, F::Error> {
    // The batch that is read and not folded yet.
    let mut before: Option<Batch> = None;
    for summaries in batches(summaries) {
        let ids: Vec<_> = summaries.iter().map(|summary| summary.id).collect();
        let reading = snapshot.groups(&ids, fold.groups());
        let blocks = match before.take() {
            Some(before) => {
                let folding = folded(fold, |fold| before.add_to(fold));
                let (blocks, done) = tokio::join!(reading, folding);
                fold = done?;
                blocks?
            }
            None => reading.await?,
        };
        before = Some(Batch { summaries: summaries.to_vec(), blocks });
    }
    match before {
        Some(batch) => folded(fold, |fold| batch.add_to(fold)).await,
        None => Ok(fold),
    }
}

/// Blocks that are read together.
struct Batch {
    summaries: Vec<BlockSummary>,
    blocks: Vec<Block>,
}

impl Batch {
    fn add_to<F: Fold>(self, fold: &mut F) -> Result<(), F::Error> {
        expect_aside();
        let groups = fold.groups();
        for (summary, block) in self.summaries.iter().zip(self.blocks) {
            fold.add(summary.video, &block.columns(groups).map_err(Error::Damaged)?)?;
        }
        Ok(())
    }
}

/// Splits heads into batches.
pub(crate) fn batches(summaries: &[BlockSummary]) -> Vec<&[BlockSummary]> {
    let (mut batches, mut rest) = (Vec::new(), summaries);
    while !rest.is_empty() {
        let mut sessions = 0;
        let fitting = rest.iter().take(BATCH_BLOCKS).take_while(|summary| {
            sessions += summary.sessions;
            sessions <= BATCH_SESSIONS
        });
        let (batch, others) = rest.split_at(fitting.count().max(1));
        batches.push(batch);
        rest = others;
    }
    batches
}

/// Runs a part of a fold on a thread that may block.
async fn folded<F: Fold>(
    mut fold: F,
    task: impl FnOnce(&mut F) -> Result<(), F::Error> + Send + 'static,
) -> Result<F, F::Error> {
    computed(move || task(&mut fold).map(|()| fold)).await
}

/// Runs `task` on a thread that may block, as soon as a processor is free for it.
pub(crate) async fn computed<T: Send + 'static, E: From<Error> + Send + 'static>(
    task: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    compute(task).await.map_err(Error::from)?
}

/// A record as filters read it.
pub(crate) fn info(record: &VideoRecord) -> VideoInfo<'_> {
    VideoInfo { key: record.key.as_str(), video: &record.video }
}

/// The filter of a scan, and the sessions to read for it.
pub(crate) fn picked(scan: &Scan) -> (SessionFilter, Reading) {
    let frame = (scan.from_ms, scan.to_ms);
    let rest = Scan { selection: beyond_scope(&scan.selection), ..scan.clone() };
    let picked = SessionFilter::of_scan(&rest);
    let reading = Reading::new(scope(&scan.selection), picked.needs_videos(), frame);
    (picked, reading)
}

/// The part of a selection that a store applies.
pub(crate) fn scope(selection: &Selection) -> VideoScope {
    VideoScope { key: selection.key.clone(), identifiers: selection.identifiers.clone() }
}

/// The part of a selection that a store does not apply.
pub(crate) fn beyond_scope(selection: &Selection) -> Selection {
    Selection { key: None, identifiers: None, ..selection.clone() }
}

/// The error of a store whose rows cannot be filtered.
pub(crate) fn damaged(err: &ScanError) -> Error {
    Error::Damaged(match err {
        ScanError::Damaged(err) => *err,
        // Complete rows have every group, and are not grouped.
        _ => Damaged("a session cannot be filtered"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_read_as_fit() {
        assert_eq!(fitting(250, 0, 250, 10_000), 10_000);
        assert_eq!(fitting(250, 250 * 100, 250, 10_000), 10_000);
        assert_eq!(fitting(250, 250 * 4 * 1024, 250, 10_000), 1_024);
        assert_eq!(fitting(250, 250 * 32 * 1024, 250, 10_000), 250);
        assert_eq!(fitting(0, 0, 250, 10_000), 250);
    }
}

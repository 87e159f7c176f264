//! Adds closed sessions that were recorded elsewhere: from another store, another system, or a file.
//!
//! A session is identified by its key, its video, its start and its row id, or by all of its content. Importing it
//! again changes nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::mem;

use crate::block::{Groups, Row, RowId};
use crate::key::ApiKey;
use crate::read::computed;
use crate::record::{SessionRecord, content};
use crate::store::changes::{Totals, blocks, finalized};
use crate::store::{
    BlockId, BlockSummary, Error, KeyId, OpenScan, Outcome, Rewrite, Snapshot, Store, VideoId,
    Videos,
};
use crate::video::Video;

/// Number of summaries or open sessions read at a time.
const PAGE: u32 = 10_000;

/// The least number of records that [`Equals`] remembers, in 20 MB.
const RECORDS_CACHED: usize = 500_000;

/// A closed session that was recorded elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foreign {
    /// Its key, which the store must have.
    pub key: ApiKey,
    /// Its video.
    pub video: Video,
    /// The session. Its resume state is ignored.
    pub row: Row,
    /// The number of sessions before it in its file that differ only in the row id, if its content identifies it: the
    /// store has the session if it has more than this number of equal ones, under any row id. `None` if its row id
    /// identifies it.
    pub equal_before: Option<u32>,
}

/// Turns the records of one file into sessions, and distinguishes equal records: two viewers may have watched the same.
///
/// If more than half a million other records lie between two equal records, both count as the same session: this bounds
/// the memory. In an export, equal records follow each other.
#[derive(Clone, Debug, Default)]
pub struct Equals {
    // The number of records per content. `recent` replaces `older` when it is full.
    recent: HashMap<[u8; 16], u32>,
    older: HashMap<[u8; 16], u32>,
}

impl Equals {
    /// Turns the next record into a session.
    pub fn session(&mut self, record: SessionRecord) -> Foreign {
        if record.id.is_some() {
            let SessionRecord { key, video, row, .. } = record;
            return Foreign { key, video, row, equal_before: None };
        }
        let content = record.content();
        let before =
            self.recent.get(&content).or_else(|| self.older.get(&content)).copied().unwrap_or(0);
        if RECORDS_CACHED <= self.recent.len() {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(content, before.saturating_add(1));
        let row = Row { id: record.row_id(before), ..record.row };
        Foreign { key: record.key, video: record.video, row, equal_before: Some(before) }
    }
}

/// The outcome of an import.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Inserted {
    /// Number of sessions added.
    pub added: u64,
    /// Number of sessions that the store already had.
    pub already_there: u64,
    /// Sessions that the store has with other content. They stay unchanged.
    pub differing: Vec<RowId>,
    /// The videos that got blocks.
    pub videos: Vec<VideoId>,
}

/// Adds sessions that the store does not have. The missing sessions are added all at once, or none.
///
/// # Errors
///
/// [`Error::Rejected`] if a key is missing; else [`Error`] if the store fails.
pub async fn insert(store: &dyn Store, sessions: Vec<Foreign>) -> Result<Inserted, Error> {
    let named: Vec<(ApiKey, Video)> =
        sessions.iter().map(|it| (it.key.clone(), it.video.clone())).collect();
    let mut parents = store.add_videos(&named).await?;
    let mut by_video = ByVideo::new();
    let (mut twice, mut differing) = (0, Vec::new());
    for (parent, session) in parents.iter().copied().zip(sessions) {
        let row = finalized(session.row);
        let (order, candidate) =
            (row.order(), Candidate { row, equal_before: session.equal_before });
        // The first of two sessions is kept, as if the second came in a later import.
        match by_video.entry(parent).or_default().entry(order) {
            Entry::Vacant(entry) => {
                entry.insert(candidate);
            }
            Entry::Occupied(entry) if entry.get().row == candidate.row => twice += 1,
            Entry::Occupied(_) => differing.push(order.1),
        }
    }
    loop {
        let present = Present::read(&mut *store.snapshot().await?, &by_video).await?;
        let (rewrite, mut inserted) = present.missing(&by_video);
        inserted.already_there += twice;
        inserted.differing.extend_from_slice(&differing);
        if inserted.added == 0 || store.rewrite(rewrite).await? == Outcome::Written {
            return Ok(inserted);
        }
        // A video without sessions may have been deleted before it got these.
        let again = store.add_videos(&named).await?;
        by_video = moved(by_video, &parents, &again);
        parents = again;
    }
}

/// Replaces the row ids of videos in `from` by those in `to`.
fn moved(sessions: ByVideo, from: &[(KeyId, VideoId)], to: &[(KeyId, VideoId)]) -> ByVideo {
    let parents: HashMap<_, _> = from.iter().zip(to).collect();
    sessions
        .into_iter()
        .map(|(parent, rows)| (parents.get(&parent).map_or(parent, |it| **it), rows))
        .collect()
}

type ByVideo = BTreeMap<(KeyId, VideoId), BTreeMap<(i64, RowId), Candidate>>;

/// A session of an import.
struct Candidate {
    row: Row,
    equal_before: Option<u32>,
}

/// The sessions in a store with the videos and starts of an import.
#[derive(Default)]
struct Present {
    rows: HashMap<(VideoId, i64, RowId), Row>,
    // The number of sessions in the store per content.
    equal: HashMap<(VideoId, i64, [u8; 16]), u32>,
    // The last block of each video.
    last: HashMap<VideoId, BlockId>,
}

impl Present {
    async fn read(snapshot: &mut dyn Snapshot, sessions: &ByVideo) -> Result<Self, Error> {
        let mut present = Self::default();
        let by_id: ById<'_> = sessions.iter().map(|((_, video), rows)| (*video, rows)).collect();
        let mut ids: Vec<VideoId> = sessions.keys().map(|(_, video)| *video).collect();
        ids.sort_unstable();
        let starts = || sessions.values().flat_map(BTreeMap::keys).map(|(start_ms, _)| *start_ms);
        let (Some(from_ms), Some(to_ms)) = (starts().min(), starts().max()) else {
            return Ok(present);
        };
        let videos = Videos::These(ids);
        present.read_blocks(snapshot, &videos, &by_id).await?;
        let scan = OpenScan { videos, from_ms, to_ms, watched_at: None };
        let mut after = None;
        loop {
            let page = snapshot.open_sessions(&scan, after, PAGE).await?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < PAGE as usize;
            for session in page {
                present.add(&by_id, session.video, finalized(session.row));
            }
            if is_last {
                return Ok(present);
            }
        }
    }

    async fn read_blocks(
        &mut self,
        snapshot: &mut dyn Snapshot,
        videos: &Videos,
        by_id: &ById<'_>,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = snapshot.blocks(videos, i64::MIN, i64::MAX, after, PAGE).await?;
            after = page.last().map(|summary| summary.id);
            for summary in &page {
                self.last.insert(summary.video, summary.id);
                if has_candidate(
                    by_id,
                    summary.video,
                    summary.first_start_ms,
                    summary.last_start_ms,
                ) {
                    for row in rows(snapshot, summary).await? {
                        self.add(by_id, summary.video, row);
                    }
                }
            }
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    fn add(&mut self, by_id: &ById<'_>, video: VideoId, row: Row) {
        let (start_ms, id) = row.order();
        if has_candidate(by_id, video, start_ms, start_ms) {
            *self.equal.entry((video, start_ms, content(&row))).or_default() += 1;
            self.rows.insert((video, start_ms, id), row);
        }
    }

    fn has_equal(&self, video: VideoId, Candidate { row, equal_before }: &Candidate) -> bool {
        let equal = || self.equal.get(&(video, row.stored.started_at_ms, content(row)));
        equal_before.is_some_and(|before| equal().is_some_and(|equal| before < *equal))
    }

    /// The change that adds the missing sessions.
    fn missing(&self, sessions: &ByVideo) -> (Rewrite, Inserted) {
        let (mut rewrite, mut inserted) = (Rewrite::default(), Inserted::default());
        let mut totals = Totals::default();
        for ((key, video), rows) in sessions {
            let mut missing = Vec::new();
            for ((start_ms, id), candidate) in rows {
                match self.rows.get(&(*video, *start_ms, *id)) {
                    _ if self.has_equal(*video, candidate) => inserted.already_there += 1,
                    None => missing.push(candidate.row.clone()),
                    Some(there) if *there == candidate.row => inserted.already_there += 1,
                    Some(_) => inserted.differing.push(*id),
                }
            }
            if missing.is_empty() {
                continue;
            }
            missing.iter().for_each(|row| totals.add(*key, row, 1));
            inserted.added += missing.len() as u64;
            inserted.videos.push(*video);
            let last = self.last.get(video).copied().unwrap_or(BlockId(i64::MIN));
            rewrite.import_after.push((*video, last));
            rewrite.import.extend(missing.iter().map(|row| (*video, row.clone())));
            rewrite.add.extend(blocks(missing).map(|block| (*key, *video, block)));
        }
        rewrite.totals = totals.finish();
        (rewrite, inserted)
    }
}

type ById<'a> = HashMap<VideoId, &'a BTreeMap<(i64, RowId), Candidate>>;

/// Returns whether an import has a session of a video that started from `from_ms` to `to_ms`.
fn has_candidate(sessions: &ById<'_>, video: VideoId, from_ms: i64, to_ms: i64) -> bool {
    let frame = (from_ms, RowId(0))..=(to_ms, RowId(u64::MAX));
    sessions.get(&video).is_some_and(|rows| rows.range(frame).next().is_some())
}

/// The sessions of a block; none if it no longer exists.
pub(crate) async fn rows(
    snapshot: &mut dyn Snapshot,
    summary: &BlockSummary,
) -> Result<Vec<Row>, Error> {
    let block = snapshot.groups(&[summary.id], Groups::ALL).await?.pop();
    let Some(block) = block else { return Ok(Vec::new()) };
    computed(move || block.rows().map_err(Error::Damaged)).await
}

//! Adds closed sessions that were recorded elsewhere: from another store, another system, or a file.
//!
//! A session is known by its key, its video, its start and its row id: added again, it changes nothing.

use std::collections::{BTreeMap, HashMap};

use crate::block::{Groups, Row, RowId};
use crate::key::ApiKey;
use crate::store::{
    BlockHead, BlockId, Error, KeyId, OpenScan, Outcome, Rewrite, Snapshot, Store, VideoId, Videos,
};
use crate::upkeep::{Totals, blocks, settled};
use crate::video::Video;

/// How many heads or open sessions are read at a time.
const PAGE: u32 = 10_000;

/// A closed session that was recorded elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foreign {
    /// Its key, which the store has.
    pub key: ApiKey,
    /// Its video.
    pub video: Video,
    /// The session. Its resume state is ignored.
    pub row: Row,
}

/// The outcome of an import.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Inserted {
    /// How many sessions were added.
    pub added: u64,
    /// How many the store had already.
    pub already_there: u64,
    /// Those that the store has with other content. They stay as they are.
    pub differing: Vec<RowId>,
    /// The videos that got blocks.
    pub videos: Vec<VideoId>,
}

/// Adds sessions that the store does not have. All that are missing are added at once, or none.
///
/// # Errors
///
/// [`Error::Rejected`] if a key is not there; else [`Error`] if the store could not.
pub async fn insert(store: &dyn Store, sessions: Vec<Foreign>) -> Result<Inserted, Error> {
    let named: Vec<(ApiKey, Video)> =
        sessions.iter().map(|it| (it.key.clone(), it.video.clone())).collect();
    let mut by_video: BTreeMap<(KeyId, VideoId), BTreeMap<(i64, RowId), Row>> = BTreeMap::new();
    let mut twice = 0;
    for (place, session) in store.add_videos(&named).await?.into_iter().zip(sessions) {
        let row = settled(session.row);
        twice += u64::from(by_video.entry(place).or_default().insert(row.order(), row).is_some());
    }
    loop {
        let present = Present::read(&mut *store.snapshot().await?, &by_video).await?;
        let (rewrite, mut inserted) = present.missing(&by_video);
        inserted.already_there += twice;
        if inserted.added == 0 || store.rewrite(rewrite).await? == Outcome::Written {
            return Ok(inserted);
        }
    }
}

type ByVideo = BTreeMap<(KeyId, VideoId), BTreeMap<(i64, RowId), Row>>;

/// The sessions that a store has of the videos and the time of an import.
#[derive(Default)]
struct Present {
    rows: HashMap<(VideoId, i64, RowId), Row>,
    // The last block of each video.
    last: HashMap<VideoId, BlockId>,
}

impl Present {
    async fn read(snapshot: &mut dyn Snapshot, sessions: &ByVideo) -> Result<Self, Error> {
        let mut present = Self::default();
        let mut ids: Vec<VideoId> = sessions.keys().map(|(_, video)| *video).collect();
        ids.sort_unstable();
        let starts = || sessions.values().flat_map(BTreeMap::keys).map(|(start_ms, _)| *start_ms);
        let (Some(from_ms), Some(to_ms)) = (starts().min(), starts().max()) else {
            return Ok(present);
        };
        let videos = Videos::These(ids);
        present.read_blocks(snapshot, &videos, sessions).await?;
        let scan = OpenScan { videos, from_ms, to_ms, watched_at: None };
        let mut after = None;
        loop {
            let page = snapshot.open_sessions(&scan, after, PAGE).await?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < PAGE as usize;
            present.add(page.into_iter().map(|session| (session.video, settled(session.row))));
            if is_last {
                return Ok(present);
            }
        }
    }

    async fn read_blocks(
        &mut self,
        snapshot: &mut dyn Snapshot,
        videos: &Videos,
        sessions: &ByVideo,
    ) -> Result<(), Error> {
        let by_id: HashMap<VideoId, &BTreeMap<(i64, RowId), Row>> =
            sessions.iter().map(|((_, video), rows)| (*video, rows)).collect();
        let mut after = None;
        loop {
            let page = snapshot.blocks(videos, i64::MIN, i64::MAX, after, PAGE).await?;
            after = page.last().map(|head| head.id);
            for head in &page {
                self.last.insert(head.video, head.id);
                let may_have = |rows: &&BTreeMap<(i64, RowId), Row>| {
                    let frame =
                        (head.first_start_ms, RowId(0))..=(head.last_start_ms, RowId(u64::MAX));
                    rows.range(frame).next().is_some()
                };
                if by_id.get(&head.video).is_some_and(may_have) {
                    self.add(rows(snapshot, head).await?.into_iter().map(|row| (head.video, row)));
                }
            }
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    fn add(&mut self, rows: impl Iterator<Item = (VideoId, Row)>) {
        self.rows.extend(rows.map(|(video, row)| {
            let (start_ms, id) = row.order();
            ((video, start_ms, id), row)
        }));
    }

    /// The change that adds the sessions that are not there.
    fn missing(&self, sessions: &ByVideo) -> (Rewrite, Inserted) {
        let (mut rewrite, mut inserted) = (Rewrite::default(), Inserted::default());
        let mut totals = Totals::default();
        for ((key, video), rows) in sessions {
            let mut missing = Vec::new();
            for ((start_ms, id), row) in rows {
                match self.rows.get(&(*video, *start_ms, *id)) {
                    None => missing.push(row.clone()),
                    Some(there) if there == row => inserted.already_there += 1,
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

/// The sessions of a block; none if it is there no more.
pub(crate) async fn rows(snapshot: &mut dyn Snapshot, head: &BlockHead) -> Result<Vec<Row>, Error> {
    let block = snapshot.groups(&[head.id], Groups::ALL).await?.pop();
    block.map_or(Ok(Vec::new()), |block| block.rows()).map_err(Error::Damaged)
}

//! Merges small blocks of a video into larger ones, so that reports read few blocks.
//!
//! Blocks whose sizes are within a factor of [`FAN_IN`] form a class; as soon as a video has that many blocks of one
//! class, they become one, or more if [`SESSIONS_MAX`] requires it. So each session is written again at most once per
//! class, no merge handles more than some blocks, and a video has fewer than [`FAN_IN`] small blocks per class.

use std::collections::BTreeMap;

use super::computed;
use crate::block::{Block, Groups, SESSIONS_MAX};
use crate::read::HEADS;
use crate::store::changes::blocks;
use crate::store::{
    BlockId, BlockSummary, Error, Outcome, Rewrite, Snapshot, Store, VideoId, Videos,
};

/// Number of blocks of one class that are merged.
const FAN_IN: usize = 8;

/// The largest number of sessions in one merge: a fraction of a second of work, and some megabytes.
const MERGED_MAX: usize = 4 * SESSIONS_MAX;

/// The largest size of blocks in one merge, in bytes, except for the last block. Pages choose the size of session data,
/// and 65,536 sessions with 16 KiB each are a gigabyte.
const MERGED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest number of sessions in blocks that are read together, unless one block has more: few enough that blocks
/// with the most session data do not exceed [`MERGED_BYTES_MAX`] by much.
const READ_AT_ONCE: u32 = 512;

/// Blocks with at least this many sessions are not merged.
const LARGE: u32 = SESSIONS_MAX as u32 / 2;

/// Merges the small blocks of these videos once, and returns the number of replaced blocks.
///
/// Blocks that change meanwhile stay as they are.
///
/// # Errors
///
/// [`Error`] if the store fails.
pub async fn merge(store: &dyn Store, videos: Vec<VideoId>) -> Result<u64, Error> {
    let mut merged = 0;
    for summaries in summaries_of(store, videos).await?.into_values() {
        for some in candidates(summaries) {
            merged += merge_blocks(store, &some).await?;
        }
    }
    Ok(merged)
}

async fn summaries_of(
    store: &dyn Store,
    mut videos: Vec<VideoId>,
) -> Result<BTreeMap<VideoId, Vec<BlockSummary>>, Error> {
    videos.sort_unstable();
    videos.dedup();
    let videos = Videos::These(videos);
    let mut snapshot = store.snapshot().await?;
    let mut summaries: BTreeMap<VideoId, Vec<BlockSummary>> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = snapshot.blocks(&videos, i64::MIN, i64::MAX, after, HEADS).await?;
        after = page.last().map(|summary| summary.id);
        let is_last = page.len() < HEADS as usize;
        for summary in page.into_iter().filter(|summary| summary.sessions < LARGE) {
            summaries.entry(summary.video).or_default().push(summary);
        }
        if is_last {
            return Ok(summaries);
        }
    }
}

/// Returns the groups of blocks of one video to merge.
fn candidates(summaries: Vec<BlockSummary>) -> Vec<Vec<BlockSummary>> {
    let mut classes: BTreeMap<u32, Vec<BlockSummary>> = BTreeMap::new();
    for summary in summaries {
        classes.entry(summary.sessions.max(1).ilog(FAN_IN as u32)).or_default().push(summary);
    }
    let mut groups = Vec::new();
    for mut class in classes.into_values() {
        // Neighbours in time, so that merged blocks overlap little.
        class.sort_by_key(|summary| (summary.first_start_ms, summary.id));
        let mut group: Vec<BlockSummary> = Vec::new();
        let mut sessions = 0;
        for summary in class {
            if MERGED_MAX < sessions + summary.sessions as usize {
                groups.push(std::mem::take(&mut group));
                sessions = 0;
            }
            sessions += summary.sessions as usize;
            group.push(summary);
        }
        groups.push(group);
    }
    groups.retain(|group| FAN_IN <= group.len());
    groups
}

/// Reads the first of these blocks, at most [`MERGED_BYTES_MAX`] except for the blocks read last.
async fn read_some(
    snapshot: &mut dyn Snapshot,
    summaries: &[BlockSummary],
) -> Result<(Vec<BlockId>, Vec<Block>), Error> {
    let (mut ids, mut read, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut rest = summaries;
    while bytes < MERGED_BYTES_MAX && !rest.is_empty() {
        let mut sessions = 0;
        let fits = |summary: &&BlockSummary| {
            sessions += summary.sessions;
            sessions <= READ_AT_ONCE
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (some, others) = rest.split_at(count);
        let some: Vec<_> = some.iter().map(|summary| summary.id).collect();
        let blocks = snapshot.groups(&some, Groups::ALL).await?;
        bytes += blocks.iter().map(Block::bytes).sum::<usize>();
        ids.extend(some);
        read.extend(blocks);
        rest = others;
    }
    Ok((ids, read))
}

async fn merge_blocks(store: &dyn Store, summaries: &[BlockSummary]) -> Result<u64, Error> {
    let Some(first) = summaries.first() else { return Ok(0) };
    let (remove, small) = read_some(&mut *store.snapshot().await?, summaries).await?;
    if remove.len() < 2 {
        return Ok(0);
    }
    let (key, video) = (first.key, first.video);
    let add = computed(move || {
        let mut rows = Vec::new();
        for block in small {
            rows.extend(block.rows().map_err(Error::Damaged)?);
        }
        Ok(blocks(rows).map(|block| (key, video, block)).collect())
    });
    let add = add.await?;
    let replaced = remove.len() as u64;
    let rewrite = Rewrite { remove, add, ..Rewrite::default() };
    match store.rewrite(rewrite).await? {
        Outcome::Written => Ok(replaced),
        Outcome::Conflict => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::KeyId;

    fn summary(id: i64, sessions: u32) -> BlockSummary {
        BlockSummary {
            id: BlockId(id),
            key: KeyId(1),
            video: VideoId(1),
            sessions,
            first_start_ms: id,
            last_start_ms: id,
        }
    }

    #[test]
    fn blocks_of_one_class_are_merged_as_soon_as_there_are_enough() {
        let few = (0..7).map(|id| summary(id, 1)).collect();
        assert_eq!(candidates(few), Vec::<Vec<BlockSummary>>::new());
        let enough: Vec<_> = (0..8).map(|id| summary(id, 1 + id as u32 % 7)).collect();
        assert_eq!(candidates(enough.clone()), std::slice::from_ref(&enough));
        let mixed = enough.iter().copied().chain((8..15).map(|id| summary(id, 100))).collect();
        assert_eq!(candidates(mixed), [enough]);
    }

    #[test]
    fn a_merge_is_bounded() {
        let many: Vec<_> = (0..100).map(|id| summary(id, 5_000)).collect();
        let groups = candidates(many);
        for group in &groups {
            let sessions: u32 = group.iter().map(|summary| summary.sessions).sum();
            assert!(sessions as usize <= MERGED_MAX);
        }
        assert!(90 < groups.iter().map(Vec::len).sum::<usize>());
    }
}

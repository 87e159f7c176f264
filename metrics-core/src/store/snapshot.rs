//! The trait [`Snapshot`]: a consistent view of a store, which reports and exports read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::error::Error;
use super::id::{BlockId, KeyId, VideoId};
use super::session::{OpenSession, Resumable};
use super::video::{VideoRecord, VideoScope, Videos};
use crate::block::{Block, Groups};
use crate::key::{ApiKey, SessionId};
use crate::totals::StoredTotals;

/// A consistent view of a store: all calls return the state of the same moment.
///
/// Lists come in pages: a call returns at most `limit` (1 or more) items after the given one, in the order of their
/// ids. A page with fewer than `limit` items is the last.
///
/// # Errors
///
/// [`Error::TimedOut`] if a call takes too long; else those of [`Store`](super::Store).
#[async_trait]
pub trait Snapshot: Send {
    /// Videos, by their ids.
    async fn videos(
        &mut self,
        scope: &VideoScope,
        after: Option<VideoId>,
        limit: u32,
    ) -> Result<Vec<VideoRecord>, Error>;

    /// Open sessions, by their ids.
    async fn open_sessions(
        &mut self,
        scan: &OpenScan,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error>;

    /// The heads of blocks with sessions that may have started from `from_ms` to `to_ms` (Unix milliseconds, both
    /// included), by their ids.
    async fn blocks(
        &mut self,
        videos: &Videos,
        from_ms: i64,
        to_ms: i64,
        after: Option<BlockId>,
        limit: u32,
    ) -> Result<Vec<BlockSummary>, Error>;

    /// Reads groups of blocks, in the order of `blocks`. Blocks that do not exist are omitted.
    async fn groups(&mut self, blocks: &[BlockId], groups: Groups) -> Result<Vec<Block>, Error>;

    /// Closed sessions that can go on, by their ids.
    async fn resumable(
        &mut self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Resumable>, Error>;

    /// The totals of the days of a key, or of each key, from `first_day` to `last_day` (days since 1970-01-01 UTC, both
    /// included); none for days without closed sessions. With [`Detail::Days`], the hours are omitted.
    async fn totals(
        &mut self,
        key: Option<&ApiKey>,
        first_day: i64,
        last_day: i64,
        detail: Detail,
    ) -> Result<Vec<StoredTotals>, Error>;
}

/// The open sessions to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenScan {
    /// Their videos.
    pub videos: Videos,
    /// The first start, in Unix milliseconds.
    pub from_ms: i64,
    /// The last start, in Unix milliseconds.
    pub to_ms: i64,
    /// Only those with an open segment at an instance that is alive at this moment.
    pub watched_at: Option<DateTime<Utc>>,
}

/// A block without its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockSummary {
    /// Its row id.
    pub id: BlockId,
    /// The row id of its key.
    pub key: KeyId,
    /// The row id of its video.
    pub video: VideoId,
    /// Number of sessions.
    pub sessions: u32,
    /// The first start, in Unix milliseconds.
    pub first_start_ms: i64,
    /// The last start, in Unix milliseconds.
    pub last_start_ms: i64,
}

impl BlockSummary {
    /// The summary of `block`, which is stored under this id, key and video.
    #[must_use]
    pub fn new(id: BlockId, (key, video): (KeyId, VideoId), block: &Block) -> Self {
        let Block { sessions, first_start_ms, last_start_ms, .. } = *block;
        Self { id, key, video, sessions, first_start_ms, last_start_ms }
    }
}

/// The resolution of totals that are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Detail {
    /// Totals of whole days.
    Days,
    /// Totals of every hour as well.
    Hours,
}

//! Changes of blocks, of closed sessions and of totals, which a store makes in one transaction.

use super::id::{BlockId, KeyId, Version, VideoId};
use super::session::{OpenSession, Resumable};
use crate::block::{Block, Row, RowId};
use crate::key::SessionId;
use crate::totals::DayTotals;

/// A change of blocks: see [`Store::rewrite`](super::Store::rewrite).
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Blocks that are removed.
    pub remove: Vec<BlockId>,
    /// Blocks that are added.
    pub add: Vec<(KeyId, VideoId, Block)>,
    /// Open sessions that are closed: their rows are removed, and their resume state is kept with the version, the
    /// video, the start and the last event.
    pub close: Vec<(SessionId, Version)>,
    /// Closed sessions that are open again, in the version they were closed in: their resume state becomes that of
    /// their row.
    pub reopen: Vec<OpenSession>,
    /// Open sessions that are deleted.
    pub delete_open: Vec<(SessionId, Version)>,
    /// Closed sessions that are deleted from the blocks removed: their resume state is dropped, if there is any.
    pub delete_closed: Vec<(VideoId, i64, RowId)>,
    /// Sessions in `add` that come from another store or file, not from removed blocks or rows. A store that keeps
    /// closed sessions a second time, for SQL, adds them there.
    pub import: Vec<(VideoId, Row)>,
    /// Videos of `import`, each with the last block that was read of it, or `BlockId(i64::MIN)`: a later block is a
    /// conflict, so that two concurrent imports of one file add no session twice.
    pub import_after: Vec<(VideoId, BlockId)>,
    /// Resume state of closed sessions that come from another store.
    pub resumable: Vec<Resumable>,
    /// Changes of totals, per key and day since 1970-01-01 UTC.
    pub totals: Vec<(KeyId, i64, DayTotals)>,
}

/// Numbers of deleted videos and pages that no session named.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unused {
    /// Videos.
    pub videos: u64,
    /// Pages; 0 in a store that keeps them with their sessions.
    pub pages: u64,
}

//! The encoding of blocks, for benchmarks: applications and stores need none of it.

use crate::block::{Block, Groups, Row, SESSIONS_MAX};
use crate::varint::Damaged;

/// The largest number of sessions in a block.
pub const BLOCK_SESSIONS_MAX: usize = SESSIONS_MAX;

/// Encodes sessions as a block.
#[must_use]
pub fn encode(rows: Vec<Row>) -> Block {
    Block::encode(rows)
}

/// Decodes groups of columns of a block.
///
/// # Errors
///
/// [`Damaged`] if the bytes are no output of [`encode`].
pub fn decode_columns(block: &Block, groups: Groups) -> Result<impl Sized + use<>, Damaged> {
    block.columns(groups)
}

//! Blocks, as rows.
//!
//! Each group of a block has a row in `block_columns`; all groups of a small block have one together. Rows of 8 KB are
//! read at 1.5 GB/s (48 ms for 10,000), if a call reads some hundred: with all in one call, new memory costs more than
//! the file. A memory-mapped file would double the speed, but an error of its disk would end the process.

use std::collections::HashMap;
use std::time::Instant;

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary};
use diesel::sqlite::SqliteConnection;

use super::sql::{Bind, Sql};
use crate::block::{Block, Group, Groups};
use crate::store::common::STATEMENT_MAX;
use crate::store::failure::Failure;
use crate::store::row::column_as;
use crate::store::{BlockId, BlockSummary, KeyId, VideoId};
use crate::varint::{self, Damaged, Reader};

/// Blocks with fewer bytes are one row, which fits a page of the file: a row per group would mean one page to read for
/// each.
const SMALL: usize = 4_000;

/// The group number of a row that holds all groups.
const ALL_GROUPS: u32 = 15;

/// The row id of a group of a block.
fn row_id(group: u32, block: i64) -> i64 {
    i64::from(group) << 48 | block
}

/// The row ids of a block with these bits in `blocks.groups`.
fn rows_of(bits: i64, block: i64) -> impl Iterator<Item = i64> {
    (0..=ALL_GROUPS)
        .filter(move |group| bits >> group & 1 != 0)
        .map(move |group| row_id(group, block))
}

/// Encodes the groups of a block as one byte string: the number, the length and the bytes of each.
fn join(block: &Block) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(block.bytes() + 2 * Group::ALL.len());
    for group in Group::ALL {
        if let Some(columns) = block.group(group) {
            bytes.push(group as u8);
            varint::encode(&mut bytes, columns.len() as u64);
            bytes.extend_from_slice(columns);
        }
    }
    bytes
}

/// Decodes the output of [`join`], and puts those of `groups` into `block`.
fn split(bytes: &[u8], groups: Groups, block: &mut Block) -> Result<(), Damaged> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let number = usize::from(reader.byte()?);
        let len = reader.number_as()?;
        let columns = reader.take(len)?;
        let group = Group::ALL.get(number).ok_or(Damaged("a block has an unknown group"))?;
        if groups.has(*group) {
            block.groups[number] = Some(columns.to_vec());
        }
    }
    Ok(())
}

/// Adds a block.
pub(super) fn insert(
    connection: &mut SqliteConnection,
    key: KeyId,
    video: VideoId,
    block: &Block,
) -> QueryResult<()> {
    let is_small = block.bytes() < SMALL;
    let present = Group::ALL.into_iter().filter(|group| block.group(*group).is_some());
    let bits = present.fold(0, |bits, group| bits | 1 << group as u32);
    let summary = [
        key.0,
        video.0,
        block.sessions.into(),
        block.first_start_ms,
        block.last_start_ms,
        if is_small { 1 << ALL_GROUPS } else { bits },
    ];
    let id: i64 = Sql::<BigInt>::new(
        "insert into blocks (key_id, video_id, sessions, first_start_ms, last_start_ms, groups) \
         values (?, ?, ?, ?, ?, ?) returning id",
        summary.map(Bind::Number),
    )
    .get_result(connection)?;
    if is_small {
        return insert_columns(connection, row_id(ALL_GROUPS, id), &join(block));
    }
    for group in Group::ALL {
        if let Some(bytes) = block.group(group) {
            insert_columns(connection, row_id(group as u32, id), bytes)?;
        }
    }
    Ok(())
}

fn insert_columns(connection: &mut SqliteConnection, row_id: i64, bytes: &[u8]) -> QueryResult<()> {
    let insert = "insert into block_columns (row_id, bytes) values (?, ?)";
    Sql::<()>::new(insert, [row_id.into(), bytes.into()]).execute(connection).map(drop)
}

/// Returns the number of the given blocks that exist.
pub(super) fn count(connection: &mut SqliteConnection, blocks: &[BlockId]) -> QueryResult<usize> {
    if blocks.is_empty() {
        return Ok(0);
    }
    let count = "select count(*) from json_each(?) cross join blocks on blocks.id = value";
    let count: i64 = Sql::<BigInt>::new(count, [ids(blocks)]).get_result(connection)?;
    Ok(count.unsigned_abs() as usize)
}

/// Returns whether any of the videos has a later block than the one given.
pub(super) fn is_any_later(
    connection: &mut SqliteConnection,
    videos: &[(VideoId, BlockId)],
) -> QueryResult<bool> {
    for (video, block) in videos {
        let later = "select id from blocks where video_id = ? and id > ? limit 1";
        let later = Sql::<BigInt>::new(later, [video.0.into(), block.0.into()]);
        if later.get_result::<i64>(connection).optional()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes blocks.
pub(super) fn delete(connection: &mut SqliteConnection, blocks: &[BlockId]) -> QueryResult<()> {
    if blocks.is_empty() {
        return Ok(());
    }
    let deleted: Vec<(i64, i64)> = Sql::<(BigInt, BigInt)>::new(
        "delete from blocks where id in (select value from json_each(?)) returning id, groups",
        [ids(blocks)],
    )
    .load(connection)?;
    let rows: Vec<i64> = deleted.iter().flat_map(|(id, bits)| rows_of(*bits, *id)).collect();
    let delete = "delete from block_columns where row_id in (select value from json_each(?))";
    Sql::<()>::new(delete, [Bind::array(&rows)]).execute(connection).map(drop)
}

fn ids(blocks: &[BlockId]) -> Bind<'static> {
    let ids: Vec<i64> = blocks.iter().map(|block| block.0).collect();
    Bind::array(&ids)
}

/// The columns of a [`BlockSummary`].
pub(super) type SummaryRow = (BigInt, BigInt, BigInt, BigInt, BigInt, BigInt);

pub(super) fn summary(
    (id, key, video, sessions, first_start_ms, last_start_ms): (i64, i64, i64, i64, i64, i64),
) -> Result<BlockSummary, Damaged> {
    Ok(BlockSummary {
        id: BlockId(id),
        key: KeyId(key),
        video: VideoId(video),
        sessions: column_as(sessions)?,
        first_start_ms,
        last_start_ms,
    })
}

/// Reads groups of the given blocks that exist, in their order.
pub(super) fn groups(
    connection: &mut SqliteConnection,
    selected: &[BlockId],
    groups: Groups,
) -> Result<Vec<Block>, Failure> {
    let began = Instant::now();
    let summaries: Vec<(i64, i64, i64, i64, i64)> =
        Sql::<(BigInt, BigInt, BigInt, BigInt, BigInt)>::new(
            "select blocks.id, sessions, first_start_ms, last_start_ms, groups from json_each(?) cross join blocks on blocks.id = value",
            [ids(selected)],
        )
        .load_in_time(connection)?;
    let bits = groups.iter().fold(1 << ALL_GROUPS, |bits, group| bits | 1 << group as u32);
    let mut blocks = Vec::with_capacity(summaries.len());
    let (mut indices, mut rows) = (HashMap::with_capacity(summaries.len()), Vec::new());
    for (id, sessions, first_start_ms, last_start_ms, stored) in summaries {
        rows.extend(rows_of(stored & bits, id));
        indices.insert(id, blocks.len());
        let sessions = column_as(sessions)?;
        blocks.push(Block { sessions, first_start_ms, last_start_ms, ..Block::default() });
    }
    // In the order of the file.
    rows.sort_unstable();
    let columns = Sql::<(BigInt, Binary)>::new(
        "select row_id, bytes from json_each(?) cross join block_columns on row_id = value",
        [Bind::array(&rows)],
    );
    for row in columns.load_iter::<(i64, Vec<u8>), DefaultLoadingMode>(connection)? {
        let (row_id, bytes) = row?;
        let (group, id) = ((row_id >> 48) as usize, row_id & ((1 << 48) - 1));
        let index = indices.get(&id).ok_or(Damaged("columns are of no block"))?;
        let block: &mut Block = &mut blocks[*index];
        match block.groups.get_mut(group) {
            Some(columns) => *columns = Some(bytes),
            None => split(&bytes, groups, block)?,
        }
        if STATEMENT_MAX < began.elapsed() {
            return Err(Failure::TooLong);
        }
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_in_one_row_are_read_apart() {
        let mut block = Block::default();
        block.groups[Group::Starts as usize] = Some(vec![1; 300]);
        block.groups[Group::Pages as usize] = Some(Vec::new());
        block.groups[Group::RowIds as usize] = Some(vec![7]);
        let bytes = join(&block);
        let mut all = Block::default();
        split(&bytes, Groups::ALL, &mut all).unwrap();
        assert_eq!(all, block);

        let mut some = Block::default();
        split(&bytes, Groups::default().with(Group::RowIds), &mut some).unwrap();
        assert_eq!((some.group(Group::Starts), some.group(Group::RowIds)), (None, Some(&[7][..])));
    }

    #[test]
    fn bytes_that_are_no_groups_are_damage() {
        let mut block = Block::default();
        for bytes in [&[Group::ALL.len() as u8, 0][..], &[0], &[0, 2, 1]] {
            assert!(split(bytes, Groups::ALL, &mut block).is_err(), "{bytes:?}");
        }
    }
}

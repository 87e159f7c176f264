//! Writes blocks, and reads a few of their groups at a time.

use std::collections::HashMap;

use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::prepared::Prepared;
use crate::block::{Block, Group, Groups};
use crate::store::failure::Failure;
use crate::store::row::column_as;
use crate::store::{BlockId, BlockSummary, KeyId, VideoId, Videos};
use crate::varint::Damaged;

/// Deletes these blocks, and returns whether all of them existed.
pub(super) async fn remove(
    connection: &mut AsyncPgConnection,
    blocks: &[BlockId],
) -> Result<bool, Failure> {
    let mut ids: Vec<_> = blocks.iter().map(|block| block.0).collect();
    ids.sort_unstable();
    ids.dedup();
    // Locked in the order of ids, so that two instances do not deadlock.
    let removed = Prepared::new(
        "delete from blocks where id = any(array(
            select id from blocks where id = any($1) order by id for update))",
    )
    .bind::<Array<BigInt>, _>(&ids)
    .execute(connection)
    .await?;
    Ok(removed == ids.len())
}

pub(super) async fn add(
    connection: &mut AsyncPgConnection,
    blocks: &[(KeyId, VideoId, Block)],
) -> Result<(), Failure> {
    let groups = Group::ALL.map(Group::name).join(", ");
    let parameters = (1..=5 + Group::ALL.len()).map(|at| format!("${at}")).collect::<Vec<_>>();
    let summaries = || blocks.iter().map(|(.., block)| block);
    let mut query = Prepared::new(format!(
        "insert into blocks (key_id, video_id, sessions, first_start_ms, last_start_ms, {groups})
         select * from unnest({})",
        parameters.join(", ")
    ))
    .bind::<Array<BigInt>, _>(blocks.iter().map(|(key, ..)| key.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(blocks.iter().map(|(_, video, _)| video.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(summaries().map(|it| it.sessions.into()).collect::<Vec<i64>>())
    .bind::<Array<BigInt>, _>(summaries().map(|it| it.first_start_ms).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(summaries().map(|it| it.last_start_ms).collect::<Vec<_>>());
    for group in Group::ALL {
        let bytes = summaries().map(|block| block.group(group)).collect::<Vec<_>>();
        query = query.bind::<Array<Nullable<Binary>>, _>(bytes);
    }
    query.execute(connection).await?;
    Ok(())
}

type SummaryRow = (BigInt, BigInt, BigInt, Integer, BigInt, BigInt);

/// The heads of blocks that may have sessions of a timeframe, by their ids.
pub(super) async fn summaries(
    connection: &mut AsyncPgConnection,
    videos: &Videos,
    (from_ms, to_ms): (i64, i64),
    after: Option<BlockId>,
    limit: u32,
) -> Result<Vec<BlockSummary>, Failure> {
    let (key, ids) = parts(videos);
    // Planned for its values, so that a condition without a value costs nothing.
    let rows: Vec<(i64, i64, i64, i32, i64, i64)> = Prepared::<SummaryRow>::typed(
        "select id, key_id, video_id, sessions, first_start_ms, last_start_ms from blocks
         where ($1 is null or key_id = (select id from keys where key = $1))
            and ($2 is null or video_id = any($2))
            and ($3 is null or $3 < id) and first_start_ms <= $4 and $5 <= last_start_ms
         order by id limit $6",
    )
    .bind::<Nullable<Text>, _>(key)
    .bind::<Nullable<Array<BigInt>>, _>(ids)
    .bind::<Nullable<BigInt>, _>(after.map(|block| block.0))
    .bind::<BigInt, _>(to_ms)
    .bind::<BigInt, _>(from_ms)
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    let summary =
        |(id, key, video, sessions, first_start_ms, last_start_ms): (_, _, _, i32, _, _)| {
            Ok(BlockSummary {
                id: BlockId(id),
                key: KeyId(key),
                video: VideoId(video),
                sessions: column_as(sessions.into())?,
                first_start_ms,
                last_start_ms,
            })
        };
    Ok(rows.into_iter().map(summary).collect::<Result<_, Damaged>>()?)
}

/// The key and the row ids that restrict a list.
pub(super) fn parts(videos: &Videos) -> (Option<String>, Option<Vec<i64>>) {
    match videos {
        Videos::All => (None, None),
        Videos::OfKey(key) => (Some(key.as_str().to_owned()), None),
        Videos::These(videos) => (None, Some(videos.iter().map(|video| video.0).collect())),
    }
}

type Column = Nullable<Binary>;
type Bytes = Option<Vec<u8>>;

/// Id, number of sessions, first and last start, and the groups by their numbers.
#[rustfmt::skip]
type Content = (
    BigInt, Integer, BigInt, BigInt,
    Column, Column, Column, Column, Column, Column, Column, Column, Column, Column, Column, Column,
    Column,
);
#[rustfmt::skip]
type ContentRow = (
    i64, i32, i64, i64,
    Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes,
    Bytes,
);

/// Reads groups of blocks, in the order of `blocks`, without blocks that do not exist.
pub(super) async fn groups(
    connection: &mut AsyncPgConnection,
    blocks: &[BlockId],
    groups: Groups,
) -> Result<Vec<Block>, Failure> {
    let column = |group: Group| if groups.has(group) { group.name() } else { "null::bytea" };
    let rows: Vec<ContentRow> = Prepared::<Content>::typed(format!(
        "select id, sessions, first_start_ms, last_start_ms, {} from blocks where id = any($1)",
        Group::ALL.map(column).join(", ")
    ))
    .bind::<Array<BigInt>, _>(blocks.iter().map(|block| block.0).collect::<Vec<_>>())
    .load(connection)
    .await?;
    let found = rows.into_iter().map(|row| Ok((row.0, block(row)?)));
    let mut found: HashMap<i64, Block> = found.collect::<Result<_, Damaged>>()?;
    Ok(blocks.iter().filter_map(|id| found.remove(&id.0)).collect())
}

fn block(row: ContentRow) -> Result<Block, Damaged> {
    let (_, sessions, first_start_ms, last_start_ms, a, b, c, d, e, f, g, h, i, j, k, l, m) = row;
    let groups = [a, b, c, d, e, f, g, h, i, j, k, l, m];
    Ok(Block { sessions: column_as(sessions.into())?, first_start_ms, last_start_ms, groups })
}

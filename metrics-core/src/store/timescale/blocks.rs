//! Blocks: written as they are, and read a few groups at a time.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::prepared::Prepared;
use crate::block::{Block, Group, Groups};
use crate::store::failure::Failure;
use crate::store::row::narrow;
use crate::store::{BlockHead, BlockId, KeyId, VideoId, Videos};
use crate::varint::Damaged;

/// Deletes these blocks, and returns whether all of them were there.
pub(super) async fn remove(
    connection: &mut AsyncPgConnection,
    blocks: &[BlockId],
) -> Result<bool, Failure> {
    let mut ids: Vec<_> = blocks.iter().map(|block| block.0).collect();
    ids.sort_unstable();
    ids.dedup();
    // Locked in the order of ids, so that two instances do not lock each other out.
    let removed = Prepared::new(
        "with given as materialized (select id from blocks where id = any($1) order by id for update)
         delete from blocks using given where blocks.id = given.id",
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
    let heads = || blocks.iter().map(|(.., block)| block);
    let mut query = Prepared::new(format!(
        "insert into blocks (key_id, video_id, sessions, first_start_ms, last_start_ms, {groups})
         select * from unnest({})",
        parameters.join(", ")
    ))
    .bind::<Array<BigInt>, _>(blocks.iter().map(|(key, ..)| key.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(blocks.iter().map(|(_, video, _)| video.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(heads().map(|it| it.sessions.into()).collect::<Vec<i64>>())
    .bind::<Array<BigInt>, _>(heads().map(|it| it.first_start_ms).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(heads().map(|it| it.last_start_ms).collect::<Vec<_>>());
    for group in Group::ALL {
        let bytes = heads().map(|block| block.group(group)).collect::<Vec<_>>();
        query = query.bind::<Array<Nullable<Binary>>, _>(bytes);
    }
    query.execute(connection).await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Head {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    key_id: i64,
    #[diesel(sql_type = BigInt)]
    video_id: i64,
    #[diesel(sql_type = Integer)]
    sessions: i32,
    #[diesel(sql_type = BigInt)]
    first_start_ms: i64,
    #[diesel(sql_type = BigInt)]
    last_start_ms: i64,
}

/// The heads of blocks that may have sessions which started in a timeframe, by their ids.
pub(super) async fn heads(
    connection: &mut AsyncPgConnection,
    videos: &Videos,
    (from_ms, to_ms): (i64, i64),
    after: Option<BlockId>,
    limit: u32,
) -> Result<Vec<BlockHead>, Failure> {
    let (key, ids) = parts(videos);
    // Planned for its values, so that a part without a value costs nothing.
    let rows: Vec<Head> = Prepared::new(
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
    let head = |row: Head| {
        Ok(BlockHead {
            id: BlockId(row.id),
            key: KeyId(row.key_id),
            video: VideoId(row.video_id),
            sessions: narrow(row.sessions.into())?,
            first_start_ms: row.first_start_ms,
            last_start_ms: row.last_start_ms,
        })
    };
    Ok(rows.into_iter().map(head).collect::<Result<_, Damaged>>()?)
}

/// The key and the row ids that limit a list.
pub(super) fn parts(videos: &Videos) -> (Option<String>, Option<Vec<i64>>) {
    match videos {
        Videos::All => (None, None),
        Videos::OfKey(key) => (Some(key.as_str().to_owned()), None),
        Videos::These(videos) => (None, Some(videos.iter().map(|video| video.0).collect())),
    }
}

/// A block as far as it is read.
#[derive(QueryableByName)]
struct Content {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    sessions: i32,
    #[diesel(sql_type = BigInt)]
    first_start_ms: i64,
    #[diesel(sql_type = BigInt)]
    last_start_ms: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    starts: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    times: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    clients: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    durations: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    segments: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pages: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    session_data: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    quality: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    languages: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    details: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    row_ids: Option<Vec<u8>>,
}

impl Content {
    fn block(self) -> Result<Block, Damaged> {
        Ok(Block {
            sessions: narrow(self.sessions.into())?,
            first_start_ms: self.first_start_ms,
            last_start_ms: self.last_start_ms,
            // By the numbers of the groups.
            groups: [
                self.starts,
                self.times,
                self.clients,
                self.durations,
                self.segments,
                self.pages,
                self.session_data,
                self.quality,
                self.languages,
                self.details,
                self.row_ids,
            ],
        })
    }
}

/// Reads groups of blocks, in the order of `blocks`.
pub(super) async fn groups(
    connection: &mut AsyncPgConnection,
    blocks: &[BlockId],
    groups: Groups,
) -> Result<Vec<Block>, Failure> {
    let column = |group: Group| {
        let name = group.name();
        if groups.has(group) { name.to_owned() } else { format!("null::bytea as {name}") }
    };
    let rows: Vec<Content> = Prepared::new(format!(
        "select id, sessions, first_start_ms, last_start_ms, {} from blocks where id = any($1)",
        Group::ALL.map(column).join(", ")
    ))
    .bind::<Array<BigInt>, _>(blocks.iter().map(|block| block.0).collect::<Vec<_>>())
    .load(connection)
    .await?;
    let mut found: HashMap<i64, Content> = rows.into_iter().map(|row| (row.id, row)).collect();
    let block = |id: &BlockId| {
        found.remove(&id.0).ok_or(Damaged("a block is not there")).and_then(Content::block)
    };
    Ok(blocks.iter().map(block).collect::<Result<_, _>>()?)
}

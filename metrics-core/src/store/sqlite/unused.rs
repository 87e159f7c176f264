//! Videos without sessions, their deletion, and the largest id of a video so far.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel::sqlite::SqliteConnection;

use super::sql::{Bind, Sql};
use crate::store::failure::Failure;
use crate::store::{Outcome, VideoId};

/// Holds for videos that no session names. Resume state belongs to sessions in blocks.
const UNUSED: &str = "not exists (select 1 from open_sessions where video_id = videos.id) \
    and not exists (select 1 from blocks where video_id = videos.id)";

/// Videos without sessions, at most `limit`.
pub(super) fn find(connection: &mut SqliteConnection, limit: u32) -> Result<Vec<i64>, Failure> {
    let text = format!("select id from videos where {UNUSED} order by id limit ?");
    Sql::<BigInt>::new(text, [i64::from(limit).into()]).load_in_time(connection)
}

/// Deletes the given videos that still have no session, and records the largest id assigned so far. Always inside a
/// transaction, on a connection that does not enforce foreign keys: the check that `closed_sessions` names none of them
/// would read all of it for each video, because it has no index by video.
pub(super) fn delete(connection: &mut SqliteConnection, videos: &[i64]) -> QueryResult<u64> {
    Sql::<()>::new(
        "update upkeep set last_video_id = max(last_video_id, coalesce((select max(id) from videos), 0))",
        [],
    )
    .execute(connection)?;
    let text =
        format!("delete from videos where id in (select value from json_each(?)) and {UNUSED}");
    let deleted = Sql::<()>::new(text, [Bind::array(videos)]).execute(connection)?;
    Ok(deleted as u64)
}

/// Returns whether all of these videos exist.
pub(super) fn are_there(
    connection: &mut SqliteConnection,
    videos: impl Iterator<Item = VideoId>,
) -> QueryResult<bool> {
    for video in videos {
        let there = Sql::<BigInt>::new("select id from videos where id = ?", [video.0.into()]);
        if there.get_result::<i64>(connection).optional()?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn retention_clock(connection: &mut SqliteConnection) -> QueryResult<Option<i64>> {
    Sql::<Nullable<BigInt>>::new("select retention_clock from upkeep", []).get_result(connection)
}

pub(super) fn set_retention_clock(
    connection: &mut SqliteConnection,
    expected_ms: Option<i64>,
    at_ms: i64,
) -> QueryResult<Outcome> {
    if retention_clock(connection)? != expected_ms {
        return Ok(Outcome::Conflict);
    }
    Sql::<()>::new("update upkeep set retention_clock = ?", [at_ms.into()]).execute(connection)?;
    Ok(Outcome::Written)
}

/// A number that changes whenever another connection, of this process or another, has changed the file.
pub(super) fn data_version(connection: &mut SqliteConnection) -> QueryResult<i64> {
    Sql::<BigInt>::new("pragma data_version", []).get_result(connection)
}

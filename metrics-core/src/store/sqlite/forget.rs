//! Old sessions are deleted, wherever they are.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::rollup::{Keys, Row, row};
use super::schema::{loose_sessions, rolled_sessions, sessions, videos};
use super::sums;
use crate::rollup::Change;
use crate::store::failure::Failure;

/// How many sessions are deleted, and how many videos looked at, before others may write again.
const AT_ONCE: i64 = 1_000;

/// Deletes some of the sessions that started before, from a video on, and returns the video to go on with.
///
/// Video by video, as the tables lie: nothing is read but the videos and what is deleted.
pub(super) fn forget(
    connection: &mut SqliteConnection,
    before_ms: i64,
    from_video: i64,
) -> Result<Option<i64>, Failure> {
    let some = videos::table.filter(videos::id.ge(from_video)).order(videos::id);
    let some: Vec<i64> = some.limit(AT_ONCE).select(videos::id).load(connection)?;
    let (mut change, mut keys) = (Change::default(), Keys::default());
    let mut room = AT_ONCE;
    let mut next = some.last().filter(|_| some.len() as i64 == AT_ONCE).map(|last| last + 1);
    for video in some {
        room -= forget_loose(connection, video, before_ms, room)?;
        let rows = forget_rolled(connection, video, before_ms, room)?;
        room -= rows.len() as i64;
        if !rows.is_empty() {
            let key = keys.of(connection, video)?;
            for row in rows {
                row.see(key, |session| change.remove(session))?;
            }
        }
        if room == 0 {
            next = Some(video);
            break;
        }
    }
    sums::apply(connection, change)?;
    Ok(next)
}

/// Those of a video that are not rolled up, at most so many, and returns how many.
fn forget_loose(
    connection: &mut SqliteConnection,
    video: i64,
    before_ms: i64,
    at_most: i64,
) -> QueryResult<i64> {
    let old = loose_sessions::table
        .filter(loose_sessions::video_id.eq(video))
        .filter(loose_sessions::started_at.lt(before_ms))
        .limit(at_most)
        .select(loose_sessions::place);
    let old: Vec<i64> = old.load(connection)?;
    let these = loose_sessions::table.filter(loose_sessions::place.eq_any(&old));
    diesel::delete(these).execute(connection)?;
    Ok(old.len() as i64)
}

/// Those of a video that are, at most so many, and returns what the sums know of them.
fn forget_rolled(
    connection: &mut SqliteConnection,
    video: i64,
    before_ms: i64,
    at_most: i64,
) -> QueryResult<Vec<Row>> {
    let old = sessions::table
        .filter(sessions::video_id.eq(video))
        .filter(sessions::started_at.lt(before_ms))
        .order((sessions::started_at, sessions::id))
        .limit(at_most)
        .select((sessions::id, row!(sessions)));
    let old: Vec<(Vec<u8>, Row)> = old.load(connection)?;
    let (ids, rows): (Vec<_>, Vec<_>) = old.into_iter().unzip();
    if let (Some(last_id), Some(last)) = (ids.last(), rows.last()) {
        // An id may have come again.
        let live = rolled_sessions::table
            .filter(rolled_sessions::id.eq_any(&ids))
            .filter(rolled_sessions::video_id.eq(video))
            .filter(rolled_sessions::started_at.lt(before_ms));
        diesel::delete(live).execute(connection)?;
        // Those that were read are the first ones.
        let is_first = sessions::started_at.lt(last.started_at()).or(sessions::id.le(last_id));
        let these = sessions::table
            .filter(sessions::video_id.eq(video))
            .filter(sessions::started_at.le(last.started_at()))
            .filter(is_first);
        diesel::delete(these).execute(connection)?;
    }
    Ok(rows)
}

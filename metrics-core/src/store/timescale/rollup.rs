//! How sessions are rolled up once they are quiet, and taken out of the sums before they change. To roll up waits for
//! no session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, SmallInt, Timestamptz, Uuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::types::{Bits, timestamp, unix_ms};
use super::{plan_anew, sums};
use crate::interval::Segments;
use crate::rollup::{Change, Rolled};
use crate::store::failure::Failure;
use crate::store::row::{client, narrow};
use crate::varint::Damaged;

/// What sums are to know of a session.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = Uuid)]
    pub(super) id: Bits,
    #[diesel(sql_type = Integer)]
    pub(super) video_id: i32,
    #[diesel(sql_type = Timestamptz)]
    pub(super) started_at: PgTimestamp,
    #[diesel(sql_type = Nullable<Integer>)]
    pub(super) source_id: Option<i32>,
    #[diesel(sql_type = SmallInt)]
    pub(super) browser: i16,
    #[diesel(sql_type = SmallInt)]
    pub(super) platform: i16,
    #[diesel(sql_type = SmallInt)]
    pub(super) device: i16,
    #[diesel(sql_type = BigInt)]
    view_ms: i64,
    #[diesel(sql_type = Integer)]
    unique_ms: i32,
    #[diesel(sql_type = Binary)]
    segments: Vec<u8>,
}

/// Its columns.
pub(super) const COLUMNS: &str =
    "id, video_id, started_at, source_id, browser, platform, device, view_ms, unique_ms, segments";

impl Row {
    /// Calls `see` with the session.
    pub(super) fn see(
        &self,
        keys: &HashMap<i64, i64>,
        see: impl FnOnce(&Rolled<'_>),
    ) -> Result<(), Damaged> {
        let video = self.video_id.into();
        let key = *keys.get(&video).ok_or(Damaged("a video is not there"))?;
        see(&Rolled {
            video,
            key,
            source: self.source_id.map(i64::from),
            started_at_ms: unix_ms(self.started_at),
            client: client(self.browser.into(), self.platform.into(), self.device.into()),
            view_ms: narrow(self.view_ms)?,
            unique_ms: narrow(self.unique_ms.into())?,
            segments: &Segments::decode(&self.segments)?,
        });
        Ok(())
    }
}

/// Where the search for quiet sessions goes on: behind this video and start.
pub(super) type Reached = Option<(i32, PgTimestamp)>;

/// Rolls up some sessions that are loose and quiet, and returns how many. None are left if it is 0.
///
/// The search goes on where it ended the last time, so that sessions that are not quiet are not looked at each time.
pub(super) async fn roll_up(
    connection: &mut AsyncPgConnection,
    quiet_since_ms: i64,
    at_most: u32,
    reached: &Mutex<Reached>,
) -> Result<u64, Failure> {
    let quiet_since = timestamp(quiet_since_ms);
    let from = *reached.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, now_reached) = connection
        .transaction(async move |connection| {
            plan_anew(connection).await?;
            let from = from.unwrap_or((i32::MIN, timestamp(i64::MIN)));
            let mut rows = lock_quiet(connection, quiet_since, "<", from, at_most).await?;
            let missing = at_most.saturating_sub(rows.len() as u32);
            if 0 < missing {
                let mut first = lock_quiet(connection, quiet_since, ">=", from, missing).await?;
                rows.append(&mut first);
            }
            let Some(last) = rows.last() else { return Ok((0, None)) };
            let now_reached = Some((last.video_id, last.started_at));
            let keys = keys_of(connection, rows.iter()).await?;
            let mut change = Change::default();
            for row in &rows {
                row.see(&keys, |session| change.add(session))?;
            }
            sums::apply(connection, change).await?;
            put_away(connection, &rows).await?;
            Ok::<_, Failure>((rows.len() as u64, now_reached))
        })
        .await?;
    *reached.lock().unwrap_or_else(PoisonError::into_inner) = now_reached;
    Ok(done)
}

/// Locks some of those that are loose and quiet, that nobody is about to write, and that are on one side of a place.
async fn lock_quiet(
    connection: &mut AsyncPgConnection,
    quiet_since: PgTimestamp,
    side: &str,
    (video_id, started_at): (i32, PgTimestamp),
    at_most: u32,
) -> QueryResult<Vec<Row>> {
    // What is quiet started before.
    diesel::sql_query(format!(
        "select {COLUMNS} from live_sessions
         where not rolled and instance is null and started_at < $1 and last_event_at < $1
            and ($2, $3) {side} (video_id, started_at)
         order by video_id, started_at limit $4 for update skip locked"
    ))
    .bind::<Timestamptz, _>(quiet_since)
    .bind::<Integer, _>(video_id)
    .bind::<Timestamptz, _>(started_at)
    .bind::<BigInt, _>(i64::from(at_most))
    .load(connection)
    .await
}

/// Moves sessions that are locked to `sessions`, and keeps of their live rows what they need to go on. By video and
/// start, which fills the pages of the index on these two.
async fn put_away(connection: &mut AsyncPgConnection, rows: &[Row]) -> QueryResult<usize> {
    const COLUMNS: &str = "id, video_id, started_at, last_event_at, source_id, duration_ms, view_ms, unique_ms, segments, \
        startup_ms, rebufferings, rebuffering_ms, failures, browser, platform, device, details, session_data";
    diesel::sql_query(format!(
        "with emptied as (
            update live_sessions set rolled = true, source_id = null, duration_ms = null, view_ms = null,
                unique_ms = null, segments = null, startup_ms = null, rebufferings = null, rebuffering_ms = null,
                failures = null, browser = null, platform = null, device = null, details = null, session_data = null
            where id = any($1))
         insert into sessions ({COLUMNS})
         select {COLUMNS} from live_sessions where id = any($1) order by video_id, started_at"
    ))
    .bind::<Array<Uuid>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .execute(connection)
    .await
}

/// Takes sessions out of the sums, by those who have locked their live rows and deleted them from `sessions`.
pub(super) async fn withdraw(
    connection: &mut AsyncPgConnection,
    rows: impl Iterator<Item = &Row> + Clone,
) -> Result<(), Failure> {
    let keys = keys_of(connection, rows.clone()).await?;
    let mut change = Change::default();
    for row in rows {
        row.see(&keys, |session| change.remove(session))?;
    }
    sums::apply(connection, change).await
}

pub(super) async fn keys_of(
    connection: &mut AsyncPgConnection,
    rows: impl Iterator<Item = &Row>,
) -> Result<HashMap<i64, i64>, Failure> {
    #[derive(QueryableByName)]
    struct Video {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = BigInt)]
        key_id: i64,
    }
    let mut videos: Vec<i64> = rows.map(|row| row.video_id.into()).collect();
    videos.sort_unstable();
    videos.dedup();
    let rows: Vec<Video> = diesel::sql_query("select id, key_id from videos where id = any($1)")
        .bind::<Array<BigInt>, _>(videos)
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.key_id)).collect())
}

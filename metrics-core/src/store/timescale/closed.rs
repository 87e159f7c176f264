//! Resume state of closed sessions.

use chrono::{DateTime, Utc};
use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Timestamptz, Uuid};
use diesel_async::{
    AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _,
};

use super::connect::force_custom_plans;
use super::prepared::Prepared;
use super::types::{Bits, timestamp, unix_ms};
use crate::block::RowId;
use crate::key::SessionId;
use crate::store::failure::Failure;
use crate::store::row::column_as;
use crate::store::{Resumable, VideoId};
use crate::varint::Damaged;

#[derive(QueryableByName)]
struct ClosedRow {
    #[diesel(sql_type = Uuid)]
    id: Bits,
    #[diesel(sql_type = Timestamptz)]
    started_at: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    last_event_at: PgTimestamp,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Integer)]
    video_id: i32,
    #[diesel(sql_type = Binary)]
    resume: Vec<u8>,
}

/// Returns closed sessions that can go on, by their ids.
pub(super) async fn page(
    connection: &mut AsyncPgConnection,
    after: Option<SessionId>,
    limit: u32,
) -> Result<Vec<Resumable>, Failure> {
    let rows: Vec<ClosedRow> = Prepared::new(
        "select id, started_at, last_event_at, version, video_id, resume from closed_sessions
         where ($1 is null or $1 < id) order by id limit $2",
    )
    .bind::<Nullable<Uuid>, _>(after.map(|id| Bits(*id.as_bytes())))
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    let resumable = |row: ClosedRow| {
        Ok(Resumable {
            id: SessionId::from_bytes(row.id.0),
            version: column_as(row.version)?,
            video: VideoId(row.video_id.into()),
            started_at_ms: unix_ms(row.started_at),
            last_event_at_ms: unix_ms(row.last_event_at),
            resume: row.resume,
        })
    };
    Ok(rows.into_iter().map(resumable).collect::<Result<_, Damaged>>()?)
}

/// Adds resume state of closed sessions of another store. A session that exists keeps its own.
pub(super) async fn add(
    connection: &mut AsyncPgConnection,
    resumable: &[Resumable],
) -> Result<(), Failure> {
    let starts = resumable.iter().map(|it| timestamp(it.started_at_ms));
    let last_events = resumable.iter().map(|it| timestamp(it.last_event_at_ms));
    Prepared::new(
        "insert into closed_sessions (id, version, video_id, started_at, last_event_at, resume)
         select * from unnest($1, $2, $3, $4, $5, $6) as it (id, version, video_id, started_at, last_event_at, resume)
         where (select id from open_sessions where open_sessions.id = it.id) is null
         order by id on conflict (id) do nothing",
    )
    .bind::<Array<Uuid>, _>(resumable.iter().map(|it| Bits(*it.id.as_bytes())).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(resumable.iter().map(|it| it.version.into()).collect::<Vec<i64>>())
    .bind::<Array<BigInt>, _>(resumable.iter().map(|it| it.video.0).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(starts.collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(last_events.collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(resumable.iter().map(|it| &it.resume[..]).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the resume state of these sessions, if they have any. A row id is the beginning of a session's id.
pub(super) async fn delete(
    connection: &mut AsyncPgConnection,
    sessions: &[(VideoId, i64, RowId)],
) -> Result<(), Failure> {
    // In the order of ids, so that two instances do not deadlock.
    let mut sessions = sessions.to_vec();
    sessions.sort_unstable_by_key(|(.., row)| *row);
    let bound = |rest: u64| {
        let id = |row: u64| Bits(((u128::from(row) << 64) | u128::from(rest)).to_be_bytes());
        sessions.iter().map(|(.., row)| id(row.0)).collect::<Vec<_>>()
    };
    Prepared::new(
        "delete from closed_sessions where id = any(array(
            select closed.id from unnest($1, $2, $3, $4) as it (first, last, of_video, of_start), lateral (
                select id from closed_sessions
                where id between first and last and video_id = of_video and started_at = of_start
                order by id for update
            ) closed))",
    )
    .bind::<Array<Uuid>, _>(bound(0))
    .bind::<Array<Uuid>, _>(bound(u64::MAX))
    .bind::<Array<BigInt>, _>(sessions.iter().map(|(video, ..)| video.0).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(
        sessions.iter().map(|(_, start_ms, _)| timestamp(*start_ms)).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the resume state of at most `limit` sessions without an event since `silent_since`, and returns their
/// number.
pub(super) async fn finalize(
    connection: &mut AsyncPgConnection,
    silent_since: DateTime<Utc>,
    limit: u32,
) -> Result<u64, Failure> {
    let finalized = Prepared::new(
        "delete from closed_sessions where ctid = any(array(
            select ctid from closed_sessions where last_event_at < $1
            order by last_event_at limit $2 for update skip locked))",
    )
    .bind::<Timestamptz, _>(timestamp(silent_since.timestamp_millis()))
    .bind::<BigInt, _>(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(finalized as u64)
}

/// Drops the chunks before the first session, which deletion left empty, on TimescaleDB.
pub(super) async fn drop_empty_chunks(
    connection: &mut AsyncPgConnection,
    schema: &str,
) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct First {
        #[diesel(sql_type = Nullable<BigInt>)]
        start_ms: Option<i64>,
    }
    let drop = format!("select {schema}.drop_chunks('metrics.session_rows', older_than => $1)");
    connection
        .transaction(async |connection| {
            force_custom_plans(connection).await?;
            // The lock keeps older sessions from being added meanwhile, and its timeout keeps others from waiting for
            // long.
            let lock = "set local lock_timeout = '1s'; lock table session_rows in share row exclusive mode";
            connection.batch_execute(lock).await?;
            // Blocks have the same sessions in fewer rows.
            let first = "select min(first_start_ms) as start_ms from blocks";
            let first: First = diesel::sql_query(first).get_result(connection).await?;
            if let Some(start_ms) = first.start_ms {
                let at = timestamp(start_ms);
                diesel::sql_query(drop).bind::<Timestamptz, _>(at).execute(connection).await?;
            }
            Ok(())
        })
        .await
}

//! How sessions go: what they need to go on, and then all of them.

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Timestamptz, Uuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::read::Place;
use super::types::{timestamp, unix_ms};
use super::{plan_anew, rollup, sums};
use crate::rollup::day_of;
use crate::store::failure::Failure;

/// How many sessions are deleted before others may write again.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

/// Deletes some live rows of sessions that are rolled up and were silent since, and returns how many.
pub(super) async fn settle(
    connection: &mut AsyncPgConnection,
    silent_since_ms: i64,
    at_most: u32,
) -> Result<u64, Failure> {
    // Whoever was silent since then started before.
    let settled = diesel::sql_query(
        "delete from live_sessions where ctid = any(array(
            select ctid from live_sessions where rolled and started_at < $1 and last_event_at < $1
            order by started_at limit $2 for update skip locked))",
    )
    .bind::<Timestamptz, _>(timestamp(silent_since_ms))
    .bind::<BigInt, _>(i64::from(at_most));
    Ok(settled.execute(connection).await? as u64)
}

/// Deletes some of the sessions that started before, and returns whether there may be more of them.
pub(super) async fn forget_some(
    connection: &mut AsyncPgConnection,
    before_ms: i64,
) -> Result<bool, Failure> {
    let before = timestamp(before_ms);
    connection
        .transaction(async move |connection| {
            plan_anew(connection).await?;
            let old: Vec<Place> = diesel::sql_query(
                "(select id, video_id, started_at from sessions where started_at < $1 limit $2)
                 union all
                 (select id, video_id, started_at from live_sessions where not rolled and started_at < $1 limit $2)",
            )
            .bind::<Timestamptz, _>(before)
            .bind::<BigInt, _>(FORGOTTEN_AT_ONCE)
            .load(connection)
            .await?;
            if old.is_empty() {
                return Ok(false);
            }
            // First, and in the order in which writers lock them: who holds a live row may change the row in `sessions`.
            diesel::sql_query(
                "with old as materialized (
                    select id from live_sessions where id = any($1) and started_at < $2 order by id for update)
                 delete from live_sessions using old where live_sessions.id = old.id",
            )
            .bind::<Array<Uuid>, _>(old.iter().map(|place| place.id).collect::<Vec<_>>())
            .bind::<Timestamptz, _>(before)
            .execute(connection)
            .await?;
            // Others may do the same, and each session is in the sums once.
            sums::lock(connection).await?;
            let gone: Vec<rollup::Row> = diesel::sql_query(format!(
                "delete from sessions using unnest($1, $2, $3) as old (of_id, of_video, of_start)
                 where video_id = of_video and started_at = of_start and id = of_id returning {}",
                rollup::COLUMNS
            ))
            .bind::<Array<Uuid>, _>(old.iter().map(|place| place.id).collect::<Vec<_>>())
            .bind::<Array<Integer>, _>(old.iter().map(|place| place.video_id).collect::<Vec<_>>())
            .bind::<Array<Timestamptz>, _>(
                old.iter().map(|place| place.started_at).collect::<Vec<_>>(),
            )
            .load(connection)
            .await?;
            rollup::withdraw(connection, gone.iter()).await?;
            Ok(true)
        })
        .await
}

/// Drops the chunks of a hypertable all of whose sessions started before, up to one that ends with a day: sums are
/// of days. What is loose is in none.
pub(super) async fn drop_chunks(
    connection: &mut AsyncPgConnection,
    schema: &str,
    before_ms: i64,
) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct End {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        at: Option<PgTimestamp>,
    }
    let before = timestamp(before_ms);
    let drop = format!("select {schema}.drop_chunks('metrics.sessions', older_than => $1)");
    connection
        .transaction(async move |connection| {
            plan_anew(connection).await?;
            // Whatever is loose stays so, or is in a chunk by then.
            diesel::sql_query(
                "select from live_sessions where started_at < $1 order by id for update",
            )
            .bind::<Timestamptz, _>(before)
            .execute(connection)
            .await?;
            let end: End = diesel::sql_query(
                "select max(range_end) as at from timescaledb_information.chunks
                 where hypertable_schema = 'metrics' and hypertable_name = 'sessions' and range_end <= $1
                    and range_end = date_trunc('day', range_end, 'UTC')",
            )
            .bind::<Timestamptz, _>(before)
            .get_result(connection)
            .await?;
            let end = end.at.unwrap_or(timestamp(i64::MIN));
            // Before the sums, of which sessions are taken out by those who have locked their live rows.
            delete_live(connection, before, end).await?;
            if end == timestamp(i64::MIN) {
                return Ok(());
            }
            diesel::sql_query(drop).bind::<Timestamptz, _>(end).execute(connection).await?;
            // And those that were new, and rolled up meanwhile.
            delete_live(connection, before, end).await?;
            sums::forget_days(connection, day_of(unix_ms(end))).await
        })
        .await
}

/// Deletes the live rows of sessions that started before: loose ones, and those that were rolled up into a chunk that
/// ends then. They are locked in the order in which writers lock them.
async fn delete_live(
    connection: &mut AsyncPgConnection,
    before: PgTimestamp,
    end: PgTimestamp,
) -> QueryResult<usize> {
    diesel::sql_query(
        "with old as materialized (
            select id from live_sessions
            where (not rolled and started_at < $1) or (rolled and started_at < $2) order by id for update)
         delete from live_sessions using old where live_sessions.id = old.id",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<Timestamptz, _>(end)
    .execute(connection)
    .await
}

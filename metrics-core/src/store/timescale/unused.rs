//! Videos and pages without sessions, and what upkeep remembers.
//!
//! Whoever adds a session to a video or a page locks its row until the session is committed. So here rows are locked first,
//! and a second statement, which sees what was committed meanwhile, deletes those that still have no session.

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::plan_anew;
use super::prepared::Prepared;
use crate::store::Outcome;
use crate::store::failure::Failure;

/// How many pages are examined at a time. The rows of all closed sessions are read for that, once for all of them.
const PAGES_AT_ONCE: i64 = 50_000;

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

fn ids(rows: Vec<Id>) -> Vec<i64> {
    rows.into_iter().map(|row| row.id).collect()
}

/// Holds for videos that no session names.
const UNUSED: &str = "not exists (select from open_sessions where video_id = videos.id)
    and not exists (select from blocks where video_id = videos.id)";

/// Deletes videos without sessions, at most `limit`, and returns how many.
pub(super) async fn delete_videos(
    connection: &mut AsyncPgConnection,
    limit: u32,
) -> Result<u64, Failure> {
    connection
        .transaction(async move |connection| {
            plan_anew(connection).await?;
            let found = format!(
                "select id from videos where {UNUSED} order by id limit $1 for update skip locked"
            );
            let found: Vec<Id> =
                Prepared::new(found).bind::<BigInt, _>(i64::from(limit)).load(connection).await?;
            if found.is_empty() {
                return Ok(0);
            }
            let deleted =
                Prepared::new(format!("delete from videos where id = any($1) and {UNUSED}"))
                    .bind::<Array<BigInt>, _>(ids(found))
                    .execute(connection)
                    .await?;
            Ok(deleted as u64)
        })
        .await
}

/// Deletes pages without closed sessions, of those that may have none, and returns how many: 0 if none is left.
pub(super) async fn delete_pages(connection: &mut AsyncPgConnection) -> Result<u64, Failure> {
    loop {
        let (found, deleted) = delete_some_pages(connection).await?;
        if 0 < deleted || found < PAGES_AT_ONCE {
            return Ok(deleted);
        }
    }
}

/// Examines some pages, and returns how many, and how many of them were deleted.
async fn delete_some_pages(connection: &mut AsyncPgConnection) -> Result<(i64, u64), Failure> {
    connection
        .transaction(async move |connection| {
            plan_anew(connection).await?;
            let found: Vec<Id> = Prepared::new(
                "select id from pages where maybe_unused order by id limit $1 for update skip locked",
            )
            .bind::<BigInt, _>(PAGES_AT_ONCE)
            .load(connection)
            .await?;
            if found.is_empty() {
                return Ok((0, 0));
            }
            let found = ids(found);
            let used: Vec<Id> = Prepared::new(
                "select distinct page_id::bigint as id from session_rows where page_id = any($1)",
            )
            .bind::<Array<BigInt>, _>(&found)
            .load(connection)
            .await?;
            let used = ids(used);
            Prepared::new("update pages set maybe_unused = false where id = any($1)")
                .bind::<Array<BigInt>, _>(&used)
                .execute(connection)
                .await?;
            let deleted =
                Prepared::new("delete from pages where id = any($1) and not id = any($2)")
                    .bind::<Array<BigInt>, _>(&found)
                    .bind::<Array<BigInt>, _>(&used)
                    .execute(connection)
                    .await?;
            Ok((found.len() as i64, deleted as u64))
        })
        .await
}

/// Notes that sessions of these pages were deleted. Always inside the transaction that does so.
pub(super) async fn doubt(connection: &mut AsyncPgConnection, pages: &[i32]) -> QueryResult<()> {
    let pages = Prepared::new(doubting("id = any($1)")).bind::<Array<Integer>, _>(pages);
    pages.execute(connection).await.map(drop)
}

/// The same for the pages of open sessions.
pub(super) async fn doubt_urls(
    connection: &mut AsyncPgConnection,
    urls: &[String],
) -> QueryResult<()> {
    let pages = Prepared::new(doubting("url = any($1)")).bind::<Array<Text>, _>(urls);
    pages.execute(connection).await.map(drop)
}

/// In one order everywhere, so that two transactions do not lock each other out.
fn doubting(these: &str) -> String {
    format!(
        "with these as materialized (
            select id from pages where {these} and not maybe_unused order by id for no key update)
         update pages set maybe_unused = true from these where pages.id = these.id"
    )
}

#[derive(QueryableByName)]
struct RetentionClock {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    retention_clock: Option<PgTimestamp>,
}

pub(super) async fn retention_clock(
    connection: &mut AsyncPgConnection,
) -> Result<Option<PgTimestamp>, Failure> {
    let row: RetentionClock =
        Prepared::new("select retention_clock from upkeep").get_result(connection).await?;
    Ok(row.retention_clock)
}

pub(super) async fn set_retention_clock(
    connection: &mut AsyncPgConnection,
    expected: Option<PgTimestamp>,
    at: PgTimestamp,
) -> Result<Outcome, Failure> {
    let set = Prepared::new(
        "update upkeep set retention_clock = $1 where retention_clock is not distinct from $2",
    )
    .bind::<Timestamptz, _>(at)
    .bind::<Nullable<Timestamptz>, _>(expected)
    .execute(connection)
    .await?;
    Ok(if set == 1 { Outcome::Written } else { Outcome::Conflict })
}

//! Videos and pages without sessions, and their deletion.
//!
//! A transaction that adds a session to a video or a page locks its row until the commit. Unused rows are found without
//! locks; then only they are locked, and a further statement, which sees later commits, deletes those that still have
//! no session.
//!
//! Rows for SQL have no index by page, so finding unused pages reads all rows. It happens once, for all pages whose
//! sessions were deleted, and never under a lock.

use std::collections::HashSet;

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::blocks;
use super::connect::force_custom_plans;
use super::prepared::Prepared;
use crate::block::{Block, Group, Groups};
use crate::compute::compute;
use crate::store::failure::Failure;
use crate::store::{BlockId, Outcome};
use crate::varint::Damaged;

/// Number of pages examined at a time, in a few megabytes. Each examination reads the rows of all closed sessions.
const PAGES_AT_ONCE: i64 = 250_000;

/// Number of pages locked at a time.
const LOCKED_AT_ONCE: usize = 10_000;

/// Number of blocks read at a time to find the pages that they name.
const BLOCKS_AT_ONCE: usize = 256;

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

/// Videos without sessions, at most `limit`. On a connection for reports.
pub(super) async fn find_videos(
    connection: &mut AsyncPgConnection,
    limit: u32,
) -> Result<Vec<i64>, Failure> {
    let found = format!("select id from videos where {UNUSED} order by id limit $1");
    let found = Prepared::new(found).bind::<BigInt, _>(i64::from(limit));
    Ok(ids(found.load(connection).await?))
}

/// Deletes the given videos that still have no session, and returns their number.
pub(super) async fn delete_videos(
    connection: &mut AsyncPgConnection,
    videos: &[i64],
) -> Result<u64, Failure> {
    connection
        .transaction(async move |connection| {
            force_custom_plans(connection).await?;
            let lock =
                "select id from videos where id = any($1) order by id for update skip locked";
            let locked: Vec<Id> =
                Prepared::new(lock).bind::<Array<BigInt>, _>(videos).load(connection).await?;
            let deleted =
                Prepared::new(format!("delete from videos where id = any($1) and {UNUSED}"))
                    .bind::<Array<BigInt>, _>(ids(locked))
                    .execute(connection)
                    .await?;
            Ok(deleted as u64)
        })
        .await
}

/// A page, and the transaction that wrote its row: it differs if sessions of the page were deleted since.
#[derive(Clone, Copy, QueryableByName)]
pub(super) struct Marked {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    mark: i64,
}

/// The result of examining pages that may have no session.
pub(super) struct Examined {
    /// No transaction up to this one was running when the pages were examined.
    since: i64,
    used: Vec<Marked>,
    unused: Vec<i64>,
    /// The last page, if there may be more.
    pub(super) next: Option<i64>,
}

/// Examines pages that may have no session, from the one after `after` on. Takes no locks, and reads one column of all
/// closed sessions: on a connection of its own.
pub(super) async fn examine(
    connection: &mut AsyncPgConnection,
    after: i64,
) -> Result<Examined, Failure> {
    // Runs first, so that every transaction invisible to the other statements is later than this.
    let since = "select (pg_snapshot_xmin(pg_current_snapshot())::text::numeric % 4294967296)::bigint as id";
    let since: Id = Prepared::new(since).get_result(connection).await?;
    let marked: Vec<Marked> = Prepared::new(
        "select id, xmin::text::bigint as mark from pages where maybe_unused and $1 < id order by id limit $2",
    )
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(PAGES_AT_ONCE)
    .load(connection)
    .await?;
    let next = marked.last().map(|page| page.id).filter(|_| marked.len() as i64 == PAGES_AT_ONCE);
    let mut used = HashSet::new();
    if !marked.is_empty() {
        // The type of the column, or nothing is hashed; a page beyond the type has no row.
        let pages = marked.iter().filter_map(|page| i32::try_from(page.id).ok());
        let found =
            "select distinct page_id::bigint as id from session_rows where page_id = any($1)";
        let found: Vec<Id> = Prepared::new(found)
            .bind::<Array<Integer>, _>(pages.collect::<Vec<_>>())
            .load(connection)
            .await?;
        used.extend(ids(found));
    }
    let (used, unused): (Vec<_>, Vec<_>) =
        marked.into_iter().partition(|page| used.contains(&page.id));
    let unused = unused.into_iter().map(|page| page.id).collect();
    Ok(Examined { since: since.id, used, unused, next })
}

/// Deletes pages that were unused when examined and still are, and returns their number.
pub(super) async fn delete_pages(
    connection: &mut AsyncPgConnection,
    examined: &Examined,
) -> Result<u64, Failure> {
    for used in examined.used.chunks(LOCKED_AT_ONCE) {
        clear(connection, used).await?;
    }
    let mut deleted = 0;
    for unused in examined.unused.chunks(LOCKED_AT_ONCE) {
        deleted += delete_some_pages(connection, unused, examined.since).await?;
    }
    Ok(deleted)
}

/// Marks these pages as used, except those whose sessions were deleted since.
async fn clear(connection: &mut AsyncPgConnection, used: &[Marked]) -> Result<(), Failure> {
    Prepared::new(
        "update pages set maybe_unused = false where id = any(array(
            select locked.id from unnest($1, $2) as it (of_id, of_mark), lateral (
                select id from pages where id = of_id and xmin::text::bigint = of_mark
                for no key update skip locked
            ) locked))",
    )
    .bind::<Array<BigInt>, _>(used.iter().map(|page| page.id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(used.iter().map(|page| page.mark).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Page {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    url: String,
}

/// Deletes the given pages that no block written since their examination names.
async fn delete_some_pages(
    connection: &mut AsyncPgConnection,
    pages: &[i64],
    since: i64,
) -> Result<u64, Failure> {
    connection
        .transaction(async move |connection| {
            force_custom_plans(connection).await?;
            let lock =
                "select id, url from pages where id = any($1) order by id for update skip locked";
            let locked: Vec<Page> =
                Prepared::new(lock).bind::<Array<BigInt>, _>(pages).load(connection).await?;
            if locked.is_empty() {
                return Ok(0);
            }
            // A transaction that adds a session to a page also adds a block that names the page.
            let added =
                "select id from blocks where age(xmin) <= age($1::text::xid) and pages is not null";
            let added: Vec<Id> =
                Prepared::new(added).bind::<Text, _>(since.to_string()).load(connection).await?;
            let named = pages_of(connection, &ids(added)).await?;
            let unused = locked.into_iter().filter(|page| !named.contains(&page.url));
            let deleted = Prepared::new("delete from pages where id = any($1)")
                .bind::<Array<BigInt>, _>(unused.map(|page| page.id).collect::<Vec<_>>())
                .execute(connection)
                .await?;
            Ok(deleted as u64)
        })
        .await
}

/// The pages that these blocks name.
async fn pages_of(
    connection: &mut AsyncPgConnection,
    ids: &[i64],
) -> Result<HashSet<String>, Failure> {
    const PAGES: Groups = Groups::NONE.with(Group::Pages);
    let mut named = HashSet::new();
    for ids in ids.chunks(BLOCKS_AT_ONCE) {
        let ids: Vec<_> = ids.iter().copied().map(BlockId).collect();
        let blocks = blocks::groups(connection, &ids, PAGES).await?;
        let decoding = move || {
            let pages = |block: &Block| {
                let pages = block.columns(PAGES)?.pages;
                let pages = pages.iter().flat_map(|pages| pages.values()).flatten();
                Ok(pages.map(|page| page.as_str().to_owned()).collect::<Vec<_>>())
            };
            blocks.iter().map(pages).collect::<Result<Vec<_>, Damaged>>()
        };
        let decoded = compute(decoding).await.map_err(|_| Failure::TooLong)?;
        named.extend(decoded?.into_iter().flatten());
    }
    Ok(named)
}

/// Marks these pages as possibly unused, inside the transaction that deletes their sessions.
///
/// All of them are locked, in one order everywhere, so that two transactions do not deadlock: also pages that are
/// marked already, because another transaction may be about to mark the opposite. The second statement sees its
/// outcome, and writes each row, so that a transaction that examined the row before detects the change.
pub(super) async fn doubt(connection: &mut AsyncPgConnection, pages: &[i64]) -> QueryResult<()> {
    for statement in [
        "select from pages where id = any($1) order by id for no key update",
        "update pages set maybe_unused = true where id = any($1)",
    ] {
        Prepared::new(statement).bind::<Array<BigInt>, _>(pages).execute(connection).await?;
    }
    Ok(())
}

/// Marks the pages of open sessions in the same way.
pub(super) async fn doubt_urls(
    connection: &mut AsyncPgConnection,
    urls: &[String],
) -> QueryResult<()> {
    let pages: Vec<Id> = Prepared::new("select id from pages where url = any($1)")
        .bind::<Array<Text>, _>(urls)
        .load(connection)
        .await?;
    doubt(connection, &ids(pages)).await
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

//! Replaces blocks, and moves sessions between their tables, in one transaction.
//!
//! Every transaction locks videos first, then blocks, open sessions, resume state and totals, each in the order of
//! their ids, so that no two deadlock. A transaction rolls back as soon as a block or a version is missing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::columns::Arrays;
use super::connect::force_custom_plans;
use super::prepared::Prepared;
use super::types::{Bits, timestamp};
use super::{blocks, closed, totals, unused};
use crate::block::{Row, RowId};
use crate::key::SessionId;
use crate::store::failure::Failure;
use crate::store::{BlockId, OpenSession, Outcome, Rewrite, Version, VideoId};

/// Applies all of a rewrite, or nothing.
pub(super) async fn run(
    connection: &mut AsyncPgConnection,
    rewrite: &Rewrite,
) -> Result<Outcome, Failure> {
    add_pages(connection, rewrite).await?;
    let done = connection
        .transaction(async move |connection| {
            if steps(connection, rewrite).await? {
                Ok(())
            } else {
                Err(Failure::Diesel(DieselError::RollbackTransaction))
            }
        })
        .await;
    match done {
        Ok(()) => Ok(Outcome::Written),
        Err(Failure::Diesel(DieselError::RollbackTransaction)) => Ok(Outcome::Conflict),
        Err(err) => Err(err),
    }
}

/// Applies the steps of a rewrite. Returns false if a named row is missing or has another version.
pub(super) async fn steps(
    connection: &mut AsyncPgConnection,
    rewrite: &Rewrite,
) -> Result<bool, Failure> {
    let Rewrite {
        remove,
        add,
        close,
        reopen,
        delete_open,
        delete_closed,
        import,
        import_after,
        resumable,
        totals: changes,
    } = rewrite;
    if !import_after.is_empty() && !is_last(connection, import_after).await? {
        return Ok(false);
    }
    if !remove.is_empty() && !blocks::remove(connection, remove).await? {
        return Ok(false);
    }
    if !close.is_empty() && !close_sessions(connection, close).await? {
        return Ok(false);
    }
    if !delete_open.is_empty() && !delete_open_sessions(connection, delete_open).await? {
        return Ok(false);
    }
    if !reopen.is_empty() && !reopen_sessions(connection, reopen).await? {
        return Ok(false);
    }
    if !delete_closed.is_empty() {
        closed::delete(connection, delete_closed).await?;
    }
    if !resumable.is_empty() {
        closed::add(connection, resumable).await?;
    }
    if !add.is_empty() {
        blocks::add(connection, add).await?;
    }
    if !import.is_empty() && !add_rows(connection, import).await? {
        return Ok(false);
    }
    let reopened = reopen
        .iter()
        .map(|it| (it.video, it.row.stored.started_at_ms, it.row.id))
        .collect::<Vec<_>>();
    delete_rows(connection, reopened.iter().chain(delete_closed)).await?;
    totals::change(connection, changes).await?;
    Ok(true)
}

/// Locks videos against deletion and other imports, and returns whether all of them exist and none has a later block
/// than the one given.
async fn is_last(
    connection: &mut AsyncPgConnection,
    videos: &[(VideoId, BlockId)],
) -> Result<bool, Failure> {
    #[derive(QueryableByName)]
    struct Later {
        #[diesel(sql_type = Bool)]
        is_there: bool,
    }
    let ids: Vec<_> = videos.iter().map(|(video, _)| video.0).collect();
    let locked =
        Prepared::new("select from videos where id = any($1) order by id for no key update")
            .bind::<Array<BigInt>, _>(&ids)
            .execute(connection)
            .await?;
    if locked < ids.iter().collect::<HashSet<_>>().len() {
        // The video was deleted before it got its first session.
        return Ok(false);
    }
    // A separate statement, which sees the commits that the lock waited for.
    let later: Later = Prepared::new(
        "select exists (
            select from unnest($1, $2) as it (of_video, last),
                lateral (select from blocks where video_id = of_video and last < id limit 1) later
         ) as is_there",
    )
    .bind::<Array<BigInt>, _>(&ids)
    .bind::<Array<BigInt>, _>(videos.iter().map(|(_, block)| block.0).collect::<Vec<_>>())
    .get_result(connection)
    .await?;
    Ok(!later.is_there)
}

/// Adds new pages, outside of the transaction: nothing shows them before they have a session. If one is deleted before
/// that, the rewrite conflicts.
async fn add_pages(connection: &mut AsyncPgConnection, rewrite: &Rewrite) -> QueryResult<()> {
    let pages = rewrite.import.iter().filter_map(|(_, row)| row.page.as_ref());
    let pages: Vec<_> = pages.map(|page| page.as_str()).collect();
    if pages.is_empty() && rewrite.close.is_empty() {
        return Ok(());
    }
    // In order, so that two instances do not deadlock.
    Prepared::new(
        "insert into pages (url)
         select url from (
            select page as url from open_sessions where id = any($1) and page is not null
            union select unnest($2)
         ) each
         where (select id from pages where pages.url = each.url) is null
         order by url on conflict (url) do nothing",
    )
    .bind::<Array<Uuid>, _>(bits(rewrite.close.iter().map(|(id, _)| *id)))
    .bind::<Array<Text>, _>(pages)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ids and versions in the order of ids, in which rows are locked.
fn in_order(sessions: &[(SessionId, Version)]) -> (Vec<Bits>, Vec<i64>) {
    let mut sessions = sessions.to_vec();
    sessions.sort_unstable();
    sessions.iter().map(|(id, version)| (Bits(*id.as_bytes()), i64::from(*version))).unzip()
}

fn bits(ids: impl Iterator<Item = SessionId>) -> Vec<Bits> {
    ids.map(|id| Bits(*id.as_bytes())).collect()
}

/// The columns of a row for SQL that are the same in the row of an open session.
const ROW: &str = "started_at, last_event_at, video_id, view_ms, unique_ms, duration_ms, startup_ms, rebufferings, \
    rebuffering_ms, failures, browser, platform, device, segments, details";

/// Locks the pages of the given sessions, in the order of their ids, until the commit. A separate step finds them
/// first: otherwise a plan made for an empty table reads all pages in that order.
const HELD: &str = "found as materialized (
        select page_of.id as of_page from (select distinct page from given where page is not null) each,
            lateral (select id from pages where url = each.page offset 0) page_of),
     held as materialized (
        select locked.id as of_page from (select of_page from found order by of_page offset 0) each,
            lateral (select id from pages where id = each.of_page for key share) locked)";

/// Holds if all pages of the given sessions exist: none is deleted before the commit.
const ARE_HELD: &str = "(select count(*) from held) = (select count(distinct page) from given)";

/// The id of the page of a given session.
const PAGE_ID: &str = "(select id from pages where url = page)";

/// Moves open sessions to their rows for SQL, and keeps their resume state. Deletes only the locked rows, in the order
/// of ids: a row of another version would be locked out of order.
async fn close_sessions(
    connection: &mut AsyncPgConnection,
    sessions: &[(SessionId, Version)],
) -> Result<bool, Failure> {
    let (ids, versions) = in_order(sessions);
    let closed = Prepared::new(format!(
        "with given as materialized (
            select open.* from unnest($1, $2) as it (of_id, of_version),
                lateral (select * from open_sessions where id = of_id and version = of_version for update) open),
         {HELD},
         gone as (delete from open_sessions where id = any(array(select id from given))),
         kept as (
            insert into closed_sessions (id, version, video_id, started_at, last_event_at, resume)
            select id, version, video_id, started_at, last_event_at, resume from given)
         insert into session_rows ({ROW}, session_data, arrival, row_id, page_id)
         select {ROW}, session_data, arrival, row_id(given.id), {PAGE_ID} from given
         where {ARE_HELD}
         order by started_at"
    ))
    .bind::<Array<Uuid>, _>(ids)
    .bind::<Array<BigInt>, _>(versions)
    .execute(connection)
    .await?;
    Ok(closed == sessions.len())
}

async fn delete_open_sessions(
    connection: &mut AsyncPgConnection,
    sessions: &[(SessionId, Version)],
) -> Result<bool, Failure> {
    let (ids, versions) = in_order(sessions);
    let deleted: Vec<PageOf> = Prepared::new(
        "delete from open_sessions where id = any(array(
            select open.id from unnest($1, $2) as it (of_id, of_version),
                lateral (select id from open_sessions where id = of_id and version = of_version for update) open))
         returning page",
    )
    .bind::<Array<Uuid>, _>(ids)
    .bind::<Array<BigInt>, _>(versions)
    .load(connection)
    .await?;
    let is_complete = deleted.len() == sessions.len();
    let pages: BTreeSet<String> = deleted.into_iter().filter_map(|it| it.page).collect();
    if is_complete && !pages.is_empty() {
        unused::doubt_urls(connection, &pages.into_iter().collect::<Vec<_>>()).await?;
    }
    Ok(is_complete)
}

#[derive(QueryableByName)]
struct PageOf {
    #[diesel(sql_type = Nullable<Text>)]
    page: Option<String>,
}

#[derive(QueryableByName)]
struct PageIdOf {
    #[diesel(sql_type = Nullable<Integer>)]
    page_id: Option<i32>,
}

/// Adds rows of open sessions with their kept resume state. No transaction that holds locks waits for these rows: each
/// session is in only one block, which is locked.
async fn reopen_sessions(
    connection: &mut AsyncPgConnection,
    sessions: &[OpenSession],
) -> Result<bool, Failure> {
    let mut arrays = Arrays::default();
    sessions.iter().for_each(|session| arrays.push_row(&session.row));
    let query = Prepared::new(format!(
        "with given as materialized (
            select * from unnest({}, $19, $20, $21) as it ({names}, of_id, of_version, video_id)),
         gone as (
            delete from closed_sessions where id = any($19) returning id, version, resume)
         insert into open_sessions ({names}, id, version, video_id, resume)
         select started_at, last_event_at, duration_ms, view_ms, unique_ms, segments, rebufferings, rebuffering_ms,
            failures, startup_ms, details, browser, platform, device, page, session_data::jsonb, minutes, arrival::jsonb, id,
            version, video_id, resume
         from given join gone on id = of_id and version = of_version",
        Arrays::PARAMETERS,
        names = Arrays::NAMES,
    ));
    let reopened = arrays
        .bind(query)
        .bind::<Array<Uuid>, _>(bits(sessions.iter().map(|session| session.id)))
        .bind::<Array<BigInt>, _>(sessions.iter().map(|it| it.version.into()).collect::<Vec<i64>>())
        .bind::<Array<BigInt>, _>(sessions.iter().map(|it| it.video.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(reopened == sessions.len())
}

/// Adds rows for SQL of imported sessions, and returns whether their pages exist.
async fn add_rows(
    connection: &mut AsyncPgConnection,
    sessions: &[(VideoId, Row)],
) -> Result<bool, Failure> {
    let mut arrays = Arrays::default();
    sessions.iter().for_each(|(_, row)| arrays.push_row(row));
    let query = Prepared::new(format!(
        "with given as materialized (select * from unnest({}, $19, $20) as it ({}, video_id, row_id)),
         {HELD}
         insert into session_rows ({ROW}, session_data, arrival, row_id, page_id)
         select {ROW}, session_data::jsonb, arrival::jsonb, row_id, {PAGE_ID} from given
         where {ARE_HELD}
         order by started_at",
        Arrays::PARAMETERS,
        Arrays::NAMES,
    ));
    let added = arrays
        .bind(query)
        .bind::<Array<BigInt>, _>(sessions.iter().map(|(video, _)| video.0).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(
            sessions.iter().map(|(_, row)| row.id.0.cast_signed()).collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
    Ok(added == sessions.len())
}

/// Deletes the rows for SQL of these sessions, one video at a time: TimescaleDB decompresses everything that a
/// statement may touch, and uses a single video and bounds of the start to exclude data without decompressing it.
async fn delete_rows(
    connection: &mut AsyncPgConnection,
    sessions: impl Iterator<Item = &(VideoId, i64, RowId)>,
) -> Result<(), Failure> {
    let mut videos: BTreeMap<VideoId, Vec<(i64, RowId)>> = BTreeMap::new();
    for (video, start_ms, row) in sessions {
        videos.entry(*video).or_default().push((*start_ms, *row));
    }
    if !videos.is_empty() {
        force_custom_plans(connection).await?;
    }
    let mut pages = BTreeSet::new();
    for (video, rows) in videos {
        let starts = || rows.iter().map(|(start_ms, _)| timestamp(*start_ms));
        let deleted: Vec<PageIdOf> = Prepared::new(
            "delete from session_rows using unnest($1, $2) as it (of_start, of_row)
             where video_id = $3 and started_at between $4 and $5 and started_at = of_start and row_id = of_row
             returning page_id",
        )
        .bind::<Array<Timestamptz>, _>(starts().collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(
            rows.iter().map(|(_, row)| row.0.cast_signed()).collect::<Vec<_>>(),
        )
        .bind::<BigInt, _>(video.0)
        .bind::<Nullable<Timestamptz>, _>(starts().min())
        .bind::<Nullable<Timestamptz>, _>(starts().max())
        .load(connection)
        .await?;
        pages.extend(deleted.into_iter().filter_map(|it| it.page_id));
    }
    if !pages.is_empty() {
        unused::doubt(connection, &pages.into_iter().map(i64::from).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

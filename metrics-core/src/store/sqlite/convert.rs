//! Converts the sessions of the version before, which had a row per session and sums per day.
//!
//! Its tables are renamed, so that migrations create all tables as in a new file. Sessions are converted in steps, each
//! a transaction that deletes the rows it has put into blocks: after a crash, the next start continues, and the file
//! does not grow. At the end, the sessions are counted and the tables dropped. Their minutes were not recorded: each
//! session is assumed to have played from its start on for the length of its view time.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel::sqlite::SqliteConnection;

use super::fault::{cannot_open, unusable};
use super::read::{OpenColumns, OpenRow};
use super::sql::Sql;
use super::transaction::transaction;
use super::{blocks, rewrite};
use crate::block::{Block, Row, SESSIONS_MAX};
use crate::store::changes::{Totals, blocks as blocks_of, finalized};
use crate::store::common::BEFORE;
use crate::store::failure::Failure;
use crate::store::{Error, KeyId, OpenSession, VideoId};
use crate::varint::Damaged;

/// Number of sessions converted in one step: half a second of work.
const STEP: usize = SESSIONS_MAX;

/// The period of logging progress.
const LOGGED: Duration = Duration::from_secs(5);

/// Returns whether the file has unchanged tables of the version before.
pub(super) fn is_before(connection: &mut SqliteConnection) -> QueryResult<bool> {
    is_table(connection, "loose_sessions")
}

/// Returns whether sessions of the version before remain to be converted.
pub(super) fn is_renamed(connection: &mut SqliteConnection) -> QueryResult<bool> {
    is_table(connection, "before_sessions")
}

fn is_table(connection: &mut SqliteConnection, name: &'static str) -> QueryResult<bool> {
    let select = "select exists (select 1 from sqlite_schema where type = 'table' and name = ?)";
    Sql::<Bool>::new(select, [name.into()]).get_result(connection)
}

/// Renames the tables of the version before, in a transaction that also runs the migrations and [`begin`].
pub(super) fn rename(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let select = "select exists (select 1 from __diesel_schema_migrations where version = ?)";
    let is_last: bool = Sql::<Bool>::new(select, [BEFORE.into()]).get_result(connection)?;
    if !is_last {
        return Err(Damaged(
            "its tables are older than those of the version before: start that version once",
        )
        .into());
    }
    Ok(connection.batch_execute(include_str!("convert/rename.sql"))?)
}

/// Converts everything but the closed sessions.
pub(super) fn begin(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(
        "create table conversion (sessions integer not null) strict;
        insert into conversion select count(*) from before_sessions;
        insert into keys (id, key, created_at, disabled_at) select id, key, created_at, disabled_at from before_keys;
        insert into videos (id, key_id, digest, identifier, metadata)
            select id, key_id, digest, identifier, metadata from before_videos;
        insert into open_sessions (id, version, key_id, video_id, started_at, last_event_at, page, browser, platform,
                device, duration_ms, view_ms, unique_ms, segments, minutes, rebufferings, rebuffering_ms, failures, startup_ms,
                details, session_data, resume)
            select it.id, version, key_id, video_id, started_at, last_event_at, url, browser, platform, device,
                duration_ms, view_ms, unique_ms, segments, x'', rebufferings, rebuffering_ms, failures, startup_ms, details,
                session_data, resume
            from before_loose_sessions it join videos on videos.id = video_id
            left join before_sources on before_sources.id = source_id order by place;
        insert into closed_sessions (last_event_at, id, version, video_id, started_at, resume)
            select last_event_at, id, version, video_id, started_at, resume from before_rolled_sessions
            order by last_event_at, id;
        drop table before_loose_sessions;
        drop table before_rolled_sessions;",
    )
}

/// Converts all sessions that are not converted yet.
pub(super) fn run(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut logged = None;
    loop {
        // Another process may run the same conversion.
        let left = transaction(connection, "begin immediate", |connection| {
            if !is_renamed(connection)? {
                return Ok(None);
            }
            match step(connection, STEP)? {
                0 => finish(connection).map(|()| None),
                _ => Ok(Some(progress(connection)?)),
            }
        });
        let Some((sessions, total)) = left.map_err(failed)? else { return Ok(()) };
        if logged.is_none_or(|logged: Instant| LOGGED <= logged.elapsed()) {
            logged = Some(Instant::now());
            tracing::info!(sessions, total, "converting sessions");
        }
    }
}

pub(super) fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Diesel(err) => cannot_open(&err),
        other => unusable(&format!("its sessions cannot be converted: {other}")),
    }
}

/// Returns the number of sessions in blocks, and the number before the conversion.
fn progress(connection: &mut SqliteConnection) -> QueryResult<(i64, i64)> {
    let select = "select (select coalesce(sum(sessions), 0) from blocks), sessions from conversion";
    Sql::<(BigInt, BigInt)>::new(select, []).get_result(connection)
}

/// Moves the next sessions into blocks, by video and start, and returns their number. Stops at the end of a block,
/// after at least `enough` sessions.
fn step(connection: &mut SqliteConnection, enough: usize) -> Result<usize, Failure> {
    let (mut moved, mut totals) = (0, Totals::default());
    while moved < enough {
        let next = "select id, key_id from before_videos where id = (select min(video_id) from before_sessions)";
        let next: Option<(i64, i64)> =
            Sql::<(BigInt, BigInt)>::new(next, []).get_result(connection).optional()?;
        let Some((video, key)) = next else { break };
        let sessions = delete_first(connection, key, video)?;
        moved += sessions.len();
        let rows: Vec<Row> = sessions.into_iter().map(|session| finalized(session.row)).collect();
        rows.iter().for_each(|row| totals.add(KeyId(key), row, 1));
        let made: Vec<Block> = blocks_of(rows.clone()).collect();
        check(rows, &made)?;
        for block in made {
            blocks::insert(connection, KeyId(key), VideoId(video), &block)?;
        }
    }
    for (key, day, change) in totals.finish() {
        rewrite::add_totals(connection, key, day, &change)?;
    }
    Ok(moved)
}

/// Deletes the first sessions of a video and returns them.
fn delete_first(
    connection: &mut SqliteConnection,
    key: i64,
    video: i64,
) -> Result<Vec<OpenSession>, Failure> {
    let select = "select it.id, 1, ?, video_id, url, browser, platform, device, session_data, started_at, \
        last_event_at, duration_ms, view_ms, unique_ms, segments, x'', rebufferings, rebuffering_ms, failures, startup_ms, \
        details, x'', null from before_sessions it left join before_sources on before_sources.id = source_id \
        where video_id = ? order by started_at, it.id limit ?";
    let binds = [key.into(), video.into(), (SESSIONS_MAX as i64).into()];
    let rows: Vec<OpenRow> = Sql::<OpenColumns>::new(select, binds).load(connection)?;
    let sessions =
        rows.into_iter().map(OpenRow::session).collect::<Result<Vec<OpenSession>, Damaged>>()?;
    if let Some(last) = sessions.last() {
        let delete =
            "delete from before_sessions where video_id = ? and (started_at, id) <= (?, ?)";
        let (start, id) = (last.row.stored.started_at_ms, last.id.as_bytes().as_slice());
        Sql::<()>::new(delete, [video.into(), start.into(), id.into()]).execute(connection)?;
    }
    Ok(sessions)
}

/// Checks that the blocks have exactly these sessions.
fn check(mut rows: Vec<Row>, blocks: &[Block]) -> Result<(), Damaged> {
    rows.sort_by_key(Row::order);
    let decoded = blocks.iter().map(Block::rows).collect::<Result<Vec<_>, _>>()?.concat();
    if decoded == rows {
        Ok(())
    } else {
        Err(Damaged("a block has other sessions than it was made of"))
    }
}

/// Compares the number of sessions before and after, and drops the tables.
fn finish(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let (sessions, total) = progress(connection)?;
    if sessions != total {
        return Err(Damaged("blocks have more or fewer sessions than there were").into());
    }
    connection.batch_execute(
        "drop table before_sessions; drop table before_videos; drop table before_keys; drop table before_sources; \
        drop table conversion;",
    )?;
    tracing::info!(sessions, "converted all sessions");
    Ok(())
}

#[cfg(test)]
mod tests;

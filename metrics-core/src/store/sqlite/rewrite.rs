//! Changes of blocks, and of the rows that depend on them, always inside a transaction.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary};
use diesel::sqlite::SqliteConnection;

use super::sql::{Bind, Sql};
use super::{blocks, unused, write};
use crate::block::RowId;
use crate::key::SessionId;
use crate::store::failure::Failure;
use crate::store::{KeyId, OpenSession, Outcome, Resumable, Rewrite, Version, VideoId};
use crate::totals::{DayTotals, StoredTotals};
use crate::varint::Damaged;

/// The number of days of a key before and from 1970 on: some 367,000 years.
const DAYS: i64 = 1 << 27;

/// Applies all of a rewrite, or nothing.
pub(super) fn rewrite(
    connection: &mut SqliteConnection,
    rewrite: &Rewrite,
) -> Result<Outcome, Failure> {
    let Rewrite { remove, add, close, reopen, delete_open, delete_closed, .. } = rewrite;
    let closing = rows_of(connection, close)?;
    let deleting = rows_of(connection, delete_open)?;
    if closing.len() < close.len()
        || deleting.len() < delete_open.len()
        || blocks::count(connection, remove)? < remove.len()
        || !are_closed(connection, reopen)?
        || blocks::is_any_later(connection, &rewrite.import_after)?
        || !unused::are_there(connection, rewrite.import_after.iter().map(|(video, _)| *video))?
    {
        return Ok(Outcome::Conflict);
    }
    // Nothing was changed before here, and no other transaction writes until the end.
    blocks::delete(connection, remove)?;
    for (key, video, block) in add {
        blocks::insert(connection, *key, *video, block)?;
    }
    keep_resume_states(connection, &closing)?;
    delete_open_rows(connection, &closing)?;
    delete_open_rows(connection, &deleting)?;
    for session in reopen {
        delete_closed_row(connection, session.id)?;
        if !write::reopen(connection, session)? {
            return Err(Damaged("a session is open and closed").into());
        }
    }
    for (video, started_at_ms, id) in delete_closed {
        delete_resume_state(connection, *video, *started_at_ms, *id)?;
    }
    for session in &rewrite.resumable {
        insert_resumable(connection, session)?;
    }
    for (key, day, change) in &rewrite.totals {
        add_totals(connection, *key, *day, change)?;
    }
    Ok(Outcome::Written)
}

/// Returns the rows of the given open sessions that exist in these versions.
fn rows_of(
    connection: &mut SqliteConnection,
    sessions: &[(SessionId, Version)],
) -> QueryResult<Vec<i64>> {
    if sessions.is_empty() {
        return Ok(Vec::new());
    }
    // The debug form of an id is its bytes in hexadecimal.
    let sessions: Vec<_> =
        sessions.iter().map(|(id, version)| (format!("{id:?}"), version)).collect();
    Sql::<BigInt>::new(
        "select row_id from json_each(?) cross join open_sessions on open_sessions.id = unhex(value ->> 0) where version = value ->> 1",
        [Bind::array(&sessions)],
    )
    .load(connection)
}

fn are_closed(connection: &mut SqliteConnection, sessions: &[OpenSession]) -> QueryResult<bool> {
    for session in sessions {
        let closed = "select version from closed_sessions where id = ?";
        let id = session.id.as_bytes().as_slice();
        let version: Option<i64> =
            Sql::<BigInt>::new(closed, [id.into()]).get_result(connection).optional()?;
        if version != Some(session.version.into()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn keep_resume_states(connection: &mut SqliteConnection, rows: &[i64]) -> QueryResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    Sql::<()>::new(
        "insert into closed_sessions (last_event_at, id, version, video_id, started_at, resume) \
         select last_event_at, open_sessions.id, version, video_id, started_at, resume \
         from json_each(?) cross join open_sessions on row_id = value",
        [Bind::array(rows)],
    )
    .execute(connection)
    .map(drop)
}

fn delete_open_rows(connection: &mut SqliteConnection, rows: &[i64]) -> QueryResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let delete = "delete from open_sessions where row_id in (select value from json_each(?))";
    Sql::<()>::new(delete, [Bind::array(rows)]).execute(connection).map(drop)
}

fn delete_closed_row(connection: &mut SqliteConnection, id: SessionId) -> QueryResult<()> {
    let delete = "delete from closed_sessions where id = ?";
    Sql::<()>::new(delete, [id.as_bytes().as_slice().into()]).execute(connection).map(drop)
}

/// Deletes the resume state of a session by the first half of its id.
fn delete_resume_state(
    connection: &mut SqliteConnection,
    video: VideoId,
    started_at_ms: i64,
    RowId(id): RowId,
) -> QueryResult<()> {
    let id = id.to_be_bytes();
    let [first, last] = [0x00, 0xff].map(|byte| [id, [byte; 8]].concat());
    Sql::<()>::new(
        "delete from closed_sessions where id between ? and ? and video_id = ? and started_at = ?",
        [first.as_slice().into(), last.as_slice().into(), video.0.into(), started_at_ms.into()],
    )
    .execute(connection)
    .map(drop)
}

/// Adds the resume state of a session of another store, unless an open or closed session has its id.
fn insert_resumable(connection: &mut SqliteConnection, session: &Resumable) -> QueryResult<()> {
    let id = session.id.as_bytes().as_slice();
    Sql::<()>::new(
        "insert into closed_sessions (last_event_at, id, version, video_id, started_at, resume) \
         select ?, ?, ?, ?, ?, ? where not exists (select 1 from open_sessions where id = ?) on conflict do nothing",
        [
            session.last_event_at_ms.into(),
            id.into(),
            i64::from(session.version).into(),
            session.video.0.into(),
            session.started_at_ms.into(),
            session.resume.as_slice().into(),
            id.into(),
        ],
    )
    .execute(connection)
    .map(drop)
}

/// The row of a key's day in `totals`. Days beyond any calendar become the first or the last.
pub(super) fn totals_row_id(KeyId(key): KeyId, day: i64) -> i64 {
    (key << 28) + day.clamp(-DAYS, DAYS - 1)
}

/// Adds a change to the totals of a key's day.
pub(super) fn add_totals(
    connection: &mut SqliteConnection,
    key: KeyId,
    day: i64,
    change: &DayTotals,
) -> Result<(), Failure> {
    let row_id = totals_row_id(key, day);
    let select = "select day_totals, hour_totals from totals where row_id = ?";
    let stored: Option<(Vec<u8>, Vec<u8>)> =
        Sql::<(Binary, Binary)>::new(select, [row_id.into()]).get_result(connection).optional()?;
    let stored = stored.map(|(sums, hours)| StoredTotals { day, sums, hours: Some(hours) });
    match change.add_to(day, stored.as_ref())? {
        Some(StoredTotals { sums, hours: Some(hours), .. }) => {
            let replace = "replace into totals (row_id, day_totals, hour_totals) values (?, ?, ?)";
            let binds = [row_id.into(), sums.as_slice().into(), hours.as_slice().into()];
            Sql::<()>::new(replace, binds).execute(connection)?;
        }
        _ => {
            Sql::<()>::new("delete from totals where row_id = ?", [row_id.into()])
                .execute(connection)?;
        }
    }
    Ok(())
}

/// Deletes the resume state of at most `limit` sessions whose last event is before `silent_since_ms`, and returns their
/// number.
pub(super) fn finalize(
    connection: &mut SqliteConnection,
    silent_since_ms: i64,
    limit: u32,
) -> QueryResult<u64> {
    // The order of the table.
    Sql::<()>::new(
        "delete from closed_sessions where (last_event_at, id) in \
         (select last_event_at, id from closed_sessions where last_event_at < ? order by last_event_at, id limit ?)",
        [silent_since_ms.into(), i64::from(limit).into()],
    )
    .execute(connection)
    .map(|rows| rows as u64)
}

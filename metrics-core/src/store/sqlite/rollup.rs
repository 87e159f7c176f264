//! How sessions are rolled up once they are quiet, come back if they go on after all, and settle.

use std::collections::HashMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Bool, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use super::read::LOST;
use super::schema::{loose_sessions, rolled_sessions, sessions, videos};
use super::sums;
use crate::interval::Segments;
use crate::rollup::{Change, Rolled};
use crate::store::failure::Failure;
use crate::store::row::{client, narrow};
use crate::varint::Damaged;

/// A session that was quiet when it was looked at, in this version.
#[derive(Queryable)]
pub(super) struct Quiet {
    place: i64,
    id: Vec<u8>,
    version: i64,
    row: Row,
}

/// What sums are to know of a session.
#[derive(Queryable)]
pub(super) struct Row {
    video_id: i64,
    started_at: i64,
    source_id: Option<i64>,
    browser: i32,
    platform: i32,
    device: i32,
    view_ms: i64,
    unique_ms: i64,
    segments: Vec<u8>,
}

/// The columns of a table from which a [`Row`] is read.
macro_rules! row {
    ($table:ident) => {
        (
            $table::video_id,
            $table::started_at,
            $table::source_id,
            $table::browser,
            $table::platform,
            $table::device,
            $table::view_ms,
            $table::unique_ms,
            $table::segments,
        )
    };
}
pub(super) use row;

impl Row {
    pub(super) fn started_at(&self) -> i64 {
        self.started_at
    }

    /// Calls `see` with the session, which is of a video of the key `key`.
    pub(super) fn see(&self, key: i64, see: impl FnOnce(&Rolled<'_>)) -> Result<(), Damaged> {
        see(&Rolled {
            video: self.video_id,
            key,
            source: self.source_id,
            started_at_ms: self.started_at,
            client: client(self.browser, self.platform, self.device),
            view_ms: narrow(self.view_ms)?,
            unique_ms: narrow(self.unique_ms)?,
            segments: &Segments::decode(&self.segments)?,
        });
        Ok(())
    }
}

/// The keys of videos, looked up once each.
#[derive(Default)]
pub(super) struct Keys(HashMap<i64, i64>);

impl Keys {
    pub(super) fn of(&mut self, connection: &mut SqliteConnection, video: i64) -> QueryResult<i64> {
        if let Some(key) = self.0.get(&video) {
            return Ok(*key);
        }
        let key = videos::table.find(video).select(videos::key_id).get_result(connection)?;
        self.0.insert(video, key);
        Ok(key)
    }
}

/// A video and a start: where to look for quiet sessions.
pub(super) type From = (i64, i64);

/// Loose sessions that are quiet, by video and start, so that they are of few days of few videos; and where to look
/// for more, because those at the beginning may be there for long.
pub(super) fn quiet(
    connection: &mut SqliteConnection,
    quiet_since_ms: i64,
    at_most: u32,
    from: From,
) -> Result<Vec<Quiet>, Failure> {
    let mut quiet = quiet_where(connection, quiet_since_ms, at_most, (">=", from))?;
    if quiet.len() < at_most as usize {
        let room = at_most - quiet.len() as u32;
        quiet.extend(quiet_where(connection, quiet_since_ms, room, ("<", from))?);
    }
    Ok(quiet)
}

fn quiet_where(
    connection: &mut SqliteConnection,
    quiet_since_ms: i64,
    at_most: u32,
    (compares, (video, start)): (&str, From),
) -> QueryResult<Vec<Quiet>> {
    let place = sql::<Bool>(&format!("(video_id, started_at) {compares} ("))
        .bind::<BigInt, _>(video)
        .sql(", ")
        .bind::<BigInt, _>(start)
        .sql(")");
    loose_sessions::table
        .filter(place)
        // Nobody is heard of before starting, and that is in the index.
        .filter(loose_sessions::started_at.lt(quiet_since_ms))
        .filter(loose_sessions::last_event_at.lt(quiet_since_ms))
        .filter(loose_sessions::instance.is_null())
        .order((loose_sessions::video_id, loose_sessions::started_at))
        .limit(at_most.into())
        .select((
            loose_sessions::place,
            loose_sessions::id,
            loose_sessions::version,
            row!(loose_sessions),
        ))
        .load(connection)
}

/// Where to go on after these.
pub(super) fn after(quiet: &[Quiet]) -> Option<From> {
    quiet.last().map(|last| (last.row.video_id, last.row.started_at))
}

/// What is common to the sessions as they are kept, loose or not.
const COLUMNS: &str = "video_id, started_at, id, last_event_at, source_id, browser, platform, device, duration_ms, \
    view_ms, unique_ms, segments, rebufferings, rebuffering_ms, failures, startup_ms, details, session_data";

/// The places of loose sessions, as a JSON array.
macro_rules! of_places {
    ($(#[$doc:meta] $name:ident: $before:expr, $after:expr;)+) => {
        $(
            #[$doc]
            #[derive(QueryId)]
            struct $name(String);

            impl QueryFragment<Sqlite> for $name {
                fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
                    $before.iter().for_each(|part| out.push_sql(part));
                    out.push_bind_param::<Text, _>(&self.0)?;
                    out.push_sql($after);
                    Ok(())
                }
            }

            impl RunQueryDsl<SqliteConnection> for $name {}
        )+
    };
}

const CHOSEN: &str = " from (select value as chosen from json_each(";

const AND_CHOSEN: &str = ")) cross join loose_sessions on place = chosen";

of_places! {
    /// What is there of them still.
    Still: ["select place, id, version", CHOSEN], AND_CHOSEN;
    /// Writes them as they stay.
    Keep: ["insert into sessions (", COLUMNS, ") select ", COLUMNS, CHOSEN], AND_CHOSEN;
    /// Writes what they need to go on after all.
    Remember: [
        "insert into rolled_sessions (last_event_at, id, version, video_id, started_at, resume) \
         select last_event_at, id, version, video_id, started_at, resume",
        CHOSEN,
    ], AND_CHOSEN;
    /// Deletes them where they were.
    Leave: ["delete from loose_sessions where place in (select value from json_each("], "))";
}

impl Query for Still {
    type SqlType = (BigInt, Binary, BigInt);
}

/// Rolls up those of these sessions that have not changed, and returns how many.
pub(super) fn roll_up(
    connection: &mut SqliteConnection,
    mut quiet: Vec<Quiet>,
) -> Result<u64, Failure> {
    let json = |quiet: &[Quiet]| {
        let places: Vec<_> = quiet.iter().map(|it| it.place).collect();
        serde_json::to_string(&places).unwrap_or_default()
    };
    let still: Vec<(i64, Vec<u8>, i64)> = Still(json(&quiet)).load(connection)?;
    let still: HashMap<i64, (Vec<u8>, i64)> =
        still.into_iter().map(|(place, id, version)| (place, (id, version))).collect();
    quiet.retain(|it| {
        still.get(&it.place).is_some_and(|(id, version)| (id, *version) == (&it.id, it.version))
    });
    // As the table lies, so that each page is come to once.
    quiet.sort_unstable_by_key(|it| (it.row.video_id, it.row.started_at));
    let places = json(&quiet);
    Keep(places.clone()).execute(connection)?;
    Remember(places.clone()).execute(connection)?;
    Leave(places).execute(connection)?;
    let (mut change, mut keys) = (Change::default(), Keys::default());
    for one in &quiet {
        let key = keys.of(connection, one.row.video_id)?;
        one.row.see(key, |session| change.add(session))?;
    }
    sums::apply(connection, change)?;
    Ok(quiet.len() as u64)
}

/// Takes a session that is rolled up and of this version out of those that can go on, and answers its place.
struct Wake<'a> {
    id: &'a [u8],
    version: i64,
}

impl QueryFragment<Sqlite> for Wake<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("delete from rolled_sessions where id = ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        out.push_sql(" and version = ");
        out.push_bind_param::<BigInt, _>(&self.version)?;
        out.push_sql(" returning video_id, started_at");
        Ok(())
    }
}

impl QueryId for Wake<'_> {
    type QueryId = Wake<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Wake<'_> {
    type SqlType = (BigInt, BigInt);
}

impl RunQueryDsl<SqliteConnection> for Wake<'_> {}

/// Writes a session that is rolled up as a loose one, for the next write to say how it goes on.
struct Loosen<'a> {
    version: i64,
    video: i64,
    start: i64,
    id: &'a [u8],
}

impl QueryFragment<Sqlite> for Loosen<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("insert into loose_sessions (version, resume, ");
        out.push_sql(COLUMNS);
        out.push_sql(") select ");
        out.push_bind_param::<BigInt, _>(&self.version)?;
        out.push_sql(", x'', ");
        out.push_sql(COLUMNS);
        out.push_sql(" from sessions where video_id = ");
        out.push_bind_param::<BigInt, _>(&self.video)?;
        out.push_sql(" and started_at = ");
        out.push_bind_param::<BigInt, _>(&self.start)?;
        out.push_sql(" and id = ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        Ok(())
    }
}

impl QueryId for Loosen<'_> {
    type QueryId = Loosen<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for Loosen<'_> {}

/// Makes a session loose, if it is rolled up and of this version, and notes that it leaves the sums. Returns whether it
/// does. To be written at once: what it needs to go on is lost.
pub(super) fn withdraw(
    connection: &mut SqliteConnection,
    id: &[u8],
    version: i64,
    change: &mut Change,
) -> Result<bool, Failure> {
    let place: Option<From> = Wake { id, version }.get_result(connection).optional()?;
    let Some((video, start)) = place else { return Ok(false) };
    let this = sessions::table.find((video, start, id));
    let row: Option<Row> = this.select(row!(sessions)).get_result(connection).optional()?;
    let row = row.ok_or(LOST)?;
    let key = Keys::default().of(connection, video)?;
    row.see(key, |session| change.remove(session))?;
    Loosen { version, video, start, id }.execute(connection)?;
    diesel::delete(this).execute(connection)?;
    Ok(true)
}

/// Deletes what sessions need to go on that were last heard of before, of at most so many, and returns how many.
pub(super) fn settle(
    connection: &mut SqliteConnection,
    silent_since_ms: i64,
    at_most: u32,
) -> Result<u64, Failure> {
    // They lie in this order.
    let silent = sql::<Bool>(
        "(last_event_at, id) in (select last_event_at, id from rolled_sessions where last_event_at < ",
    )
    .bind::<BigInt, _>(silent_since_ms)
    .sql(" order by last_event_at, id limit ")
    .bind::<BigInt, _>(i64::from(at_most))
    .sql(")");
    Ok(diesel::delete(rolled_sessions::table.filter(silent)).execute(connection)? as u64)
}

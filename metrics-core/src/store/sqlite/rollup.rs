//! How sums are kept: sessions are added to them once they are quiet, and taken out before they change.

use std::collections::HashMap;

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable};
use diesel::sqlite::{Sqlite, SqliteConnection};

use super::put::{put_places, put_plays, put_sources};
use super::schema::{keys, rollup_places, rollup_plays, rollup_sources, sessions, videos};
use crate::interval::Segments;
use crate::rollup::{
    Change, DayPlays, DaySources, Places, Rolled, Scope, StoredDay, StoredPlaces, StoredPlays,
    day_of, start_of,
};
use crate::store::failure::Failure;
use crate::store::row::{client, narrow};
use crate::varint::Damaged;

/// A session that was quiet when it was looked at, in this version.
#[derive(Queryable)]
pub(super) struct Quiet {
    id: Vec<u8>,
    version: i64,
    row: Row,
}

/// What sums are to know of a session.
#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions)]
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

impl Row {
    /// Calls `see` with the session, which is of a video of the key `key`.
    fn see(&self, key: i64, see: impl FnOnce(&Rolled<'_>)) -> Result<(), Damaged> {
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

/// Marks a loose session as rolled up, if it has not changed since it was looked at.
struct Mark<'a>(&'a Quiet);

impl QueryFragment<Sqlite> for Mark<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let Quiet { id, version, row } = self.0;
        out.push_sql("update sessions set rolled = 1 where video_id = ");
        out.push_bind_param::<BigInt, _>(&row.video_id)?;
        out.push_sql(" and started_at = ");
        out.push_bind_param::<BigInt, _>(&row.started_at)?;
        out.push_sql(" and id = ");
        out.push_bind_param::<Binary, _>(id)?;
        out.push_sql(" and version = ");
        out.push_bind_param::<BigInt, _>(version)?;
        out.push_sql(" and rolled = 0");
        Ok(())
    }
}

impl QueryId for Mark<'_> {
    type QueryId = Mark<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for Mark<'_> {}

/// Makes a session loose that is rolled up and of this version, and answers it.
struct Loosen<'a> {
    id: &'a [u8],
    version: i64,
}

impl QueryFragment<Sqlite> for Loosen<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("update sessions set rolled = 0 where id = ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        out.push_sql(" and version = ");
        out.push_bind_param::<BigInt, _>(&self.version)?;
        out.push_sql(
            " and rolled = 1 returning \
             video_id, started_at, source_id, browser, platform, device, view_ms, unique_ms, segments",
        );
        Ok(())
    }
}

impl QueryId for Loosen<'_> {
    type QueryId = Loosen<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Loosen<'_> {
    type SqlType =
        (BigInt, BigInt, Nullable<BigInt>, Integer, Integer, Integer, BigInt, BigInt, Binary);
}

impl RunQueryDsl<SqliteConnection> for Loosen<'_> {}

/// The keys of videos, looked up once each.
#[derive(Default)]
pub(super) struct Keys(HashMap<i64, i64>);

impl Keys {
    fn of(&mut self, connection: &mut SqliteConnection, video: i64) -> QueryResult<i64> {
        if let Some(key) = self.0.get(&video) {
            return Ok(*key);
        }
        let key = videos::table.find(video).select(videos::key_id).get_result(connection)?;
        self.0.insert(video, key);
        Ok(key)
    }
}

/// Loose sessions that are quiet, the oldest first.
pub(super) fn quiet(
    connection: &mut SqliteConnection,
    quiet_since_ms: i64,
    at_most: u32,
) -> Result<Vec<Quiet>, Failure> {
    // Nobody is heard of before starting, so that the index need not be read any further.
    let quiet = sessions::table
        .filter(sql::<Bool>("rolled = 0"))
        .filter(sessions::started_at.lt(quiet_since_ms))
        .filter(sessions::last_event_at.lt(quiet_since_ms))
        .filter(sessions::instance.is_null())
        .order((sessions::started_at, sessions::video_id))
        .limit(at_most.into())
        .select((sessions::id, sessions::version, Row::as_select()));
    Ok(quiet.load(connection)?)
}

/// Rolls up those of these sessions that have not changed, and returns how many.
pub(super) fn roll_up(
    connection: &mut SqliteConnection,
    mut quiet: Vec<Quiet>,
) -> Result<u64, Failure> {
    // As the table lies, so that each page is come to once.
    quiet.sort_unstable_by_key(|it| (it.row.video_id, it.row.started_at));
    let (mut change, mut keys) = (Change::default(), Keys::default());
    let mut rolled_up = 0;
    for one in &quiet {
        if Mark(one).execute(connection)? == 1 {
            let key = keys.of(connection, one.row.video_id)?;
            one.row.see(key, |session| change.add(session))?;
            rolled_up += 1;
        }
    }
    apply(connection, change)?;
    Ok(rolled_up)
}

/// Makes a session loose, if it is in the sums and of this version, and notes that it leaves them. Returns whether it
/// does.
pub(super) fn withdraw(
    connection: &mut SqliteConnection,
    id: &[u8],
    version: i64,
    change: &mut Change,
) -> Result<bool, Failure> {
    let row: Option<Row> = Loosen { id, version }.get_result(connection).optional()?;
    let Some(row) = row else { return Ok(false) };
    let key = Keys::default().of(connection, row.video_id)?;
    row.see(key, |session| change.remove(session))?;
    Ok(true)
}

/// Adds to the sums, and takes from them.
pub(super) fn apply(connection: &mut SqliteConnection, mut change: Change) -> Result<(), Failure> {
    change.tidy();
    for ((scope, day), mut sums) in change.plays {
        let at = rollup_plays::table.find((scope.code(), day));
        let hours: Option<Vec<u8>> =
            at.select(rollup_plays::hours).get_result(connection).optional()?;
        if let Some(hours) = hours {
            sums.merge(DayPlays::load(&hours)?);
        }
        put_plays(connection, scope.code(), day, sums.store())?;
    }
    for ((scope, day), mut sums) in change.sources {
        let at = rollup_sources::table.find((scope.code(), day));
        let stored: Option<Vec<u8>> =
            at.select(rollup_sources::sources).get_result(connection).optional()?;
        if let Some(stored) = stored {
            sums.merge(DaySources::load(&stored)?);
        }
        put_sources(connection, scope.code(), day, sums.store())?;
    }
    for ((video, day), mut sums) in change.places {
        let at = rollup_places::table.find((video, day));
        let stored: Option<Vec<u8>> =
            at.select(rollup_places::places).get_result(connection).optional()?;
        if let Some(stored) = stored {
            sums.merge(Places::load(&stored)?);
        }
        put_places(connection, video, day, sums.store())?;
    }
    Ok(())
}

/// Takes those of these sessions out of the sums that are in them.
pub(super) fn remove_all(
    connection: &mut SqliteConnection,
    ids: &[Vec<u8>],
) -> Result<(), Failure> {
    let rows = sessions::table
        .filter(sessions::id.eq_any(ids))
        .filter(sessions::rolled.eq(1))
        .select(Row::as_select());
    let rows: Vec<Row> = rows.load(connection)?;
    let (mut change, mut keys) = (Change::default(), Keys::default());
    for row in rows {
        row.see(keys.of(connection, row.video_id)?, |session| change.remove(session))?;
    }
    apply(connection, change)
}

/// The first and the last day that there are sessions or sums of.
pub(super) fn days(connection: &mut SqliteConnection) -> Result<Option<(i64, i64)>, Failure> {
    type Ends = (Option<i64>, Option<i64>);
    let loose = sessions::table.filter(sql::<Bool>("rolled = 0"));
    let (first, last): Ends = loose
        .select((diesel::dsl::min(sessions::started_at), diesel::dsl::max(sessions::started_at)))
        .first(connection)?;
    let mut ends: Vec<i64> = [first, last].into_iter().flatten().map(day_of).collect();
    let (first, last): Ends = rollup_plays::table
        .select((diesel::dsl::min(rollup_plays::day), diesel::dsl::max(rollup_plays::day)))
        .first(connection)?;
    ends.extend([first, last].into_iter().flatten());
    Ok(ends.iter().min().copied().zip(ends.iter().max().copied()))
}

/// What is stored of a day.
fn stored(connection: &mut SqliteConnection, day: i64) -> Result<StoredDay, Failure> {
    // Scope by scope, as the tables lie.
    let videos: Vec<i64> = videos::table.select(videos::id).load(connection)?;
    let keys: Vec<i64> = keys::table.select(keys::id).load(connection)?;
    let mut stored = StoredDay::default();
    for scope in keys.into_iter().map(|id| Scope::Key(id).code()).chain(videos) {
        let plays = rollup_plays::table.find((scope, day));
        let plays = plays.select((rollup_plays::whole, rollup_plays::hours));
        let plays: Option<(Option<Vec<u8>>, Vec<u8>)> = plays.get_result(connection).optional()?;
        stored.plays.extend(plays.map(|(whole, hours)| (scope, StoredPlays { hours, whole })));
        let sources = rollup_sources::table.find((scope, day)).select(rollup_sources::sources);
        stored.sources.extend(sources.get_result(connection).optional()?.map(|it| (scope, it)));
        let places = rollup_places::table.find((scope, day)).select((
            rollup_places::end_ms,
            rollup_places::seconds,
            rollup_places::places,
        ));
        let places: Option<(i64, Option<Vec<u8>>, Vec<u8>)> =
            places.get_result(connection).optional()?;
        if let Some((end_ms, seconds, places)) = places {
            let places = StoredPlaces { end_ms: narrow(end_ms)?, places, seconds };
            stored.places.insert(scope, places);
        }
    }
    Ok(stored)
}

/// What must be stored of a day, by its sessions that are rolled up.
fn summed(connection: &mut SqliteConnection, day: i64) -> Result<StoredDay, Failure> {
    let mut change = Change::default();
    let ids: Vec<(i64, i64)> =
        videos::table.select((videos::id, videos::key_id)).load(connection)?;
    for (video, key) in ids {
        let rows = sessions::table
            .filter(sessions::video_id.eq(video))
            .filter(sessions::started_at.ge(start_of(day, 0)))
            .filter(sessions::started_at.lt(start_of(day + 1, 0)))
            .filter(sessions::rolled.eq(1))
            .select(Row::as_select());
        for row in rows.load_iter::<Row, DefaultLoadingMode>(connection)? {
            row?.see(key, |session| change.add(session))?;
        }
    }
    Ok(change.into_day())
}

/// Whether what is stored of a day is right; if not, it can be mended.
pub(super) fn check(
    connection: &mut SqliteConnection,
    day: i64,
    mend: bool,
) -> Result<bool, Failure> {
    let (stored, summed) = (stored(connection, day)?, summed(connection, day)?);
    if stored == summed {
        return Ok(true);
    }
    if mend {
        // What there must be nothing of is taken away.
        for scope in stored.plays.into_keys() {
            put_plays(connection, scope, day, None)?;
        }
        for scope in stored.sources.into_keys() {
            put_sources(connection, scope, day, None)?;
        }
        for video in stored.places.into_keys() {
            put_places(connection, video, day, None)?;
        }
        for (scope, plays) in summed.plays {
            put_plays(connection, scope, day, Some(plays))?;
        }
        for (scope, sources) in summed.sources {
            put_sources(connection, scope, day, Some(sources))?;
        }
        for (video, places) in summed.places {
            put_places(connection, video, day, Some(places))?;
        }
    }
    Ok(false)
}

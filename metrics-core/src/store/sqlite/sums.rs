//! Sums as they are stored: added to, taken from, and checked.

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::put::{put_places, put_plays, put_sources};
use super::rollup::{Row, row};
use super::schema::{
    keys, loose_sessions, rollup_places, rollup_plays, rollup_sources, sessions, videos,
};
use crate::rollup::{
    Change, DaySources, Places, Scope, StoredDay, StoredPlaces, StoredPlays, StoredWhole, day_of,
    start_of,
};
use crate::store::failure::Failure;
use crate::store::row::narrow;

/// How many days a scope or a video has room for, half of them before 1970: more than there are dates.
const DAYS: i64 = 1 << 28;

/// Where the sums of a scope or a video are, on a day. SQLite finds them without a look at their bytes.
pub(super) fn at(scope: i64, day: i64) -> i64 {
    scope.saturating_mul(DAYS).saturating_add(day)
}

/// The first and the last day that there are sums of plays of.
pub(super) fn ends(
    connection: &mut SqliteConnection,
    scope: i64,
) -> QueryResult<Option<(i64, i64)>> {
    let all = rollup_plays::at.between(at(scope, -DAYS / 2), at(scope, DAYS / 2 - 1));
    let all = rollup_plays::table.filter(all).select(rollup_plays::day);
    let first: Option<i64> = all.order(rollup_plays::at).first(connection).optional()?;
    let last: Option<i64> = all.order(rollup_plays::at.desc()).first(connection).optional()?;
    Ok(first.zip(last))
}

/// Adds to the sums, and takes from them.
pub(super) fn apply(connection: &mut SqliteConnection, mut change: Change) -> Result<(), Failure> {
    change.tidy();
    for ((scope, day), sums) in change.plays {
        let sums = match stored_plays(connection, scope.code(), day)? {
            Some(stored) => sums.add_to(&stored)?,
            None => sums.store(),
        };
        put_plays(connection, scope.code(), day, sums)?;
    }
    for ((scope, day), mut sums) in change.sources {
        let sources = rollup_sources::table.find(at(scope.code(), day));
        let stored: Option<Vec<u8>> =
            sources.select(rollup_sources::sources).get_result(connection).optional()?;
        if let Some(stored) = stored {
            sums.merge(DaySources::load(&stored)?);
        }
        put_sources(connection, scope.code(), day, sums.store())?;
    }
    for ((video, day), mut sums) in change.places {
        let places = rollup_places::table.find(at(video, day));
        let stored: Option<Vec<u8>> =
            places.select(rollup_places::places).get_result(connection).optional()?;
        if let Some(stored) = stored {
            sums.merge(Places::load(&stored)?);
        }
        put_places(connection, video, day, sums.store())?;
    }
    Ok(())
}

fn stored_plays(
    connection: &mut SqliteConnection,
    scope: i64,
    day: i64,
) -> QueryResult<Option<StoredPlays>> {
    type Columns = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>);
    let stored: Option<Columns> = rollup_plays::table
        .find(at(scope, day))
        .select((rollup_plays::head, rollup_plays::tail, rollup_plays::hours))
        .get_result(connection)
        .optional()?;
    Ok(stored.map(|(head, tail, hours)| {
        let whole = head.zip(tail).map(|(head, tail)| StoredWhole { head, tail });
        StoredPlays { hours, whole }
    }))
}

/// The first and the last day that there are sessions or sums of.
pub(super) fn days(connection: &mut SqliteConnection) -> Result<Option<(i64, i64)>, Failure> {
    type Ends = (Option<i64>, Option<i64>);
    let started_at = loose_sessions::started_at;
    let (first, last): Ends = loose_sessions::table
        .select((diesel::dsl::min(started_at), diesel::dsl::max(started_at)))
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
        stored.plays.extend(stored_plays(connection, scope, day)?.map(|it| (scope, it)));
        let sources = rollup_sources::table.find(at(scope, day)).select(rollup_sources::sources);
        stored.sources.extend(sources.get_result(connection).optional()?.map(|it| (scope, it)));
        let places = rollup_places::table.find(at(scope, day)).select((
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

/// What must be stored of a day, by its sessions.
fn summed(connection: &mut SqliteConnection, day: i64) -> Result<StoredDay, Failure> {
    let mut change = Change::default();
    let ids: Vec<(i64, i64)> =
        videos::table.select((videos::id, videos::key_id)).load(connection)?;
    for (video, key) in ids {
        let rows = sessions::table
            .filter(sessions::video_id.eq(video))
            .filter(sessions::started_at.ge(start_of(day, 0)))
            .filter(sessions::started_at.lt(start_of(day + 1, 0)))
            .select(row!(sessions));
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

//! Sums as they are stored: added to, taken from, and checked.
//!
//! Whoever changes sums holds a lock to the end of the transaction, and takes it after the locks of live rows, which
//! others hold while they wait for it.

use std::collections::HashMap;

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Timestamptz};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::plan_anew;
use super::rollup::{COLUMNS, Row, keys_of};
use super::types::{timestamp, unix_ms};
use crate::rollup::{
    Change, DayPlays, DaySources, Places, Scope, StoredDay, StoredPlaces, StoredPlays, StoredWhole,
    day_of, start_of,
};
use crate::store::failure::Failure;
use crate::store::row::narrow;

/// The number of the lock of those who change sums: any, as long as it is always the same.
const LOCK: i64 = 0x6d65_7472_6963_7302;

/// A scope or a video, and a day.
type At = (i64, i64);

/// Adds to the sums, and takes from them.
pub(super) async fn apply(
    connection: &mut AsyncPgConnection,
    mut change: Change,
) -> Result<(), Failure> {
    if change == Change::default() {
        return Ok(());
    }
    lock(connection).await?;
    change.tidy();
    let at = |(scope, day): &(Scope, i64)| (scope.code(), *day);
    let more: HashMap<At, DayPlays> =
        change.plays.into_iter().map(|(it, sums)| (at(&it), sums)).collect();
    let mut sources: HashMap<At, DaySources> =
        change.sources.into_iter().map(|(it, sums)| (at(&it), sums)).collect();
    let mut places: HashMap<At, Places> = change.places.into_iter().collect();
    let stored_plays = stored_plays(connection, more.keys()).await?;
    let plays = more.into_iter().map(|(at, more)| {
        let sums = stored_plays.get(&at).map_or_else(|| Ok(more.store()), |it| more.add_to(it));
        sums.map(|sums| (at, sums))
    });
    put_plays(connection, plays.collect::<Result<_, _>>()?).await?;
    for (at, bytes) in
        stored(connection, "sources", "rollup_sources", "scope", sources.keys()).await?
    {
        sources.entry(at).or_default().merge(DaySources::load(&bytes)?);
    }
    for (at, bytes) in
        stored(connection, "places", "rollup_places", "video_id", places.keys()).await?
    {
        places.entry(at).or_default().merge(Places::load(&bytes)?);
    }
    put_sources(connection, sources.iter().map(|(at, sums)| (*at, sums.store())).collect()).await?;
    put_places(connection, places.iter().map(|(at, sums)| (*at, sums.store())).collect()).await
}

pub(super) async fn lock(connection: &mut AsyncPgConnection) -> QueryResult<usize> {
    diesel::sql_query(format!("select pg_advisory_xact_lock({LOCK})")).execute(connection).await
}

/// The plays of a day.
#[derive(QueryableByName)]
struct PlaysRow {
    #[diesel(sql_type = BigInt)]
    scope: i64,
    #[diesel(sql_type = BigInt)]
    day: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    head: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    tail: Option<Vec<u8>>,
    #[diesel(sql_type = Binary)]
    hours: Vec<u8>,
}

impl PlaysRow {
    fn sums(self) -> StoredPlays {
        let whole = self.head.zip(self.tail).map(|(head, tail)| StoredWhole { head, tail });
        StoredPlays { hours: self.hours, whole }
    }
}

/// What is stored of plays there.
async fn stored_plays(
    connection: &mut AsyncPgConnection,
    at: impl Iterator<Item = &At>,
) -> Result<HashMap<At, StoredPlays>, Failure> {
    let (scopes, days): (Vec<i64>, Vec<i64>) = at.copied().unzip();
    let rows: Vec<PlaysRow> = diesel::sql_query(
        "select scope, day, head, tail, hours from unnest($1, $2) as it (scope, day)
         join rollup_plays using (scope, day)",
    )
    .bind::<Array<BigInt>, _>(scopes)
    .bind::<Array<BigInt>, _>(days)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.scope, row.day), row.sums())).collect())
}

/// What is stored there.
async fn stored(
    connection: &mut AsyncPgConnection,
    column: &str,
    table: &str,
    scope: &str,
    at: impl Iterator<Item = &At>,
) -> Result<Vec<(At, Vec<u8>)>, Failure> {
    #[derive(QueryableByName)]
    struct Stored {
        #[diesel(sql_type = BigInt)]
        scope: i64,
        #[diesel(sql_type = BigInt)]
        day: i64,
        #[diesel(sql_type = Binary)]
        sums: Vec<u8>,
    }
    let (scopes, days): (Vec<i64>, Vec<i64>) = at.copied().unzip();
    let rows: Vec<Stored> = diesel::sql_query(format!(
        "select it.scope, it.day, {column} as sums from unnest($1, $2) as it (scope, day)
         join {table} on {table}.{scope} = it.scope and {table}.day = it.day"
    ))
    .bind::<Array<BigInt>, _>(scopes)
    .bind::<Array<BigInt>, _>(days)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.scope, row.day), row.sums)).collect())
}

/// Removes what is nothing any more, and returns the rest.
async fn sift<T>(
    connection: &mut AsyncPgConnection,
    table: &str,
    scope: &str,
    sums: Vec<(At, Option<T>)>,
) -> Result<Vec<(At, T)>, Failure> {
    let gone = sums.iter().filter(|(_, sums)| sums.is_none()).map(|(at, _)| *at);
    let (scopes, days): (Vec<i64>, Vec<i64>) = gone.unzip();
    if !scopes.is_empty() {
        diesel::sql_query(format!(
            "delete from {table} using unnest($1, $2) as it (scope, day)
             where {table}.{scope} = it.scope and {table}.day = it.day"
        ))
        .bind::<Array<BigInt>, _>(scopes)
        .bind::<Array<BigInt>, _>(days)
        .execute(connection)
        .await?;
    }
    Ok(sums.into_iter().filter_map(|(at, sums)| Some((at, sums?))).collect())
}

async fn put_plays(
    connection: &mut AsyncPgConnection,
    sums: Vec<(At, Option<StoredPlays>)>,
) -> Result<(), Failure> {
    let sums = sift(connection, "rollup_plays", "scope", sums).await?;
    let whole: Vec<_> = sums.iter().map(|(_, it)| it.whole.as_ref()).collect();
    diesel::sql_query(
        "insert into rollup_plays (scope, day, head, tail, hours) select * from unnest($1, $2, $3, $4, $5)
         on conflict (scope, day) do update
            set head = excluded.head, tail = excluded.tail, hours = excluded.hours",
    )
    .bind::<Array<BigInt>, _>(sums.iter().map(|(at, _)| at.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(sums.iter().map(|(at, _)| at.1).collect::<Vec<_>>())
    .bind::<Array<Nullable<Binary>>, _>(whole.iter().map(|it| it.map(|it| &it.head[..])).collect::<Vec<_>>())
    .bind::<Array<Nullable<Binary>>, _>(whole.iter().map(|it| it.map(|it| &it.tail[..])).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(sums.iter().map(|(_, it)| &it.hours[..]).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_sources(
    connection: &mut AsyncPgConnection,
    sums: Vec<(At, Option<Vec<u8>>)>,
) -> Result<(), Failure> {
    let sums = sift(connection, "rollup_sources", "scope", sums).await?;
    diesel::sql_query(
        "insert into rollup_sources (scope, day, sources) select * from unnest($1, $2, $3)
         on conflict (scope, day) do update set sources = excluded.sources",
    )
    .bind::<Array<BigInt>, _>(sums.iter().map(|(at, _)| at.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(sums.iter().map(|(at, _)| at.1).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(sums.iter().map(|(_, it)| &it[..]).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_places(
    connection: &mut AsyncPgConnection,
    sums: Vec<(At, Option<StoredPlaces>)>,
) -> Result<(), Failure> {
    let sums = sift(connection, "rollup_places", "video_id", sums).await?;
    diesel::sql_query(
        "insert into rollup_places (video_id, day, end_ms, seconds, places)
         select * from unnest($1, $2, $3, $4, $5)
         on conflict (video_id, day) do update
            set end_ms = excluded.end_ms, seconds = excluded.seconds, places = excluded.places",
    )
    .bind::<Array<BigInt>, _>(sums.iter().map(|(at, _)| at.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(sums.iter().map(|(at, _)| at.1).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(sums.iter().map(|(_, it)| it.end_ms.into()).collect::<Vec<i64>>())
    .bind::<Array<Nullable<Binary>>, _>(
        sums.iter().map(|(_, it)| it.seconds.as_deref()).collect::<Vec<_>>(),
    )
    .bind::<Array<Binary>, _>(sums.iter().map(|(_, it)| &it.places[..]).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the days away that ended before this one began, after their sessions.
pub(super) async fn forget_days(
    connection: &mut AsyncPgConnection,
    before: i64,
) -> Result<(), Failure> {
    lock(connection).await?;
    for table in ["rollup_plays", "rollup_sources", "rollup_places"] {
        diesel::sql_query(format!("delete from {table} where day < $1"))
            .bind::<BigInt, _>(before)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The first and the last day that there are sessions or sums of.
pub(super) async fn days(
    connection: &mut AsyncPgConnection,
) -> Result<Option<(i64, i64)>, Failure> {
    #[derive(QueryableByName)]
    struct Ends {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        first_at: Option<PgTimestamp>,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        last_at: Option<PgTimestamp>,
        #[diesel(sql_type = Nullable<BigInt>)]
        first_day: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last_day: Option<i64>,
    }
    let ends: Ends = diesel::sql_query(
        "select * from
            (select min(started_at) as first_at, max(started_at) as last_at
             from live_sessions where not rolled) loose,
            (select min(day) as first_day, max(day) as last_day from rollup_plays) sums",
    )
    .get_result(connection)
    .await?;
    let loose = [ends.first_at, ends.last_at].map(|at| at.map(|at| day_of(unix_ms(at))));
    let days = [loose[0], loose[1], ends.first_day, ends.last_day];
    let days = || days.iter().flatten().copied();
    Ok(days().min().zip(days().max()))
}

/// Whether what is stored of a day is right; if not, it can be mended.
pub(super) async fn check(
    connection: &mut AsyncPgConnection,
    day: i64,
    mend: bool,
) -> Result<bool, Failure> {
    connection
        .transaction(async move |connection| {
            plan_anew(connection).await?;
            lock(connection).await?;
            let (was, must_be) =
                (stored_day(connection, day).await?, summed(connection, day).await?);
            if was == must_be || !mend {
                return Ok(was == must_be);
            }
            // What there must be nothing of is taken away.
            let plays = was.plays.into_keys().map(|scope| (scope, None));
            let mut plays: HashMap<i64, _> = plays.collect();
            plays.extend(must_be.plays.into_iter().map(|(scope, it)| (scope, Some(it))));
            let plays = plays.into_iter().map(|(scope, it)| ((scope, day), it));
            put_plays(connection, plays.collect()).await?;
            let sources = was.sources.into_keys().map(|scope| (scope, None));
            let mut sources: HashMap<i64, _> = sources.collect();
            sources.extend(must_be.sources.into_iter().map(|(scope, it)| (scope, Some(it))));
            let sources = sources.into_iter().map(|(scope, it)| ((scope, day), it));
            put_sources(connection, sources.collect()).await?;
            let places = was.places.into_keys().map(|video| (video, None));
            let mut places: HashMap<i64, _> = places.collect();
            places.extend(must_be.places.into_iter().map(|(video, it)| (video, Some(it))));
            let places = places.into_iter().map(|(video, it)| ((video, day), it));
            put_places(connection, places.collect()).await?;
            Ok(false)
        })
        .await
}

async fn stored_day(connection: &mut AsyncPgConnection, day: i64) -> Result<StoredDay, Failure> {
    #[derive(QueryableByName)]
    struct SourcesRow {
        #[diesel(sql_type = BigInt)]
        scope: i64,
        #[diesel(sql_type = Binary)]
        sources: Vec<u8>,
    }
    #[derive(QueryableByName)]
    struct PlacesRow {
        #[diesel(sql_type = BigInt)]
        video_id: i64,
        #[diesel(sql_type = BigInt)]
        end_ms: i64,
        #[diesel(sql_type = Nullable<Binary>)]
        seconds: Option<Vec<u8>>,
        #[diesel(sql_type = Binary)]
        places: Vec<u8>,
    }
    // Scope by scope, as the tables lie.
    const PLAYS: &str =
        "select scope, day, head, tail, hours from rollup_plays where day = $1 and scope = any(
        array(select id from videos union all select -id from keys))";
    const SOURCES: &str =
        "select scope, sources from rollup_sources where day = $1 and scope = any(
        array(select id from videos union all select -id from keys))";
    const PLACES: &str = "select video_id, end_ms, seconds, places from rollup_places
        where day = $1 and video_id = any(array(select id from videos))";
    let mut stored = StoredDay::default();
    let plays: Vec<PlaysRow> =
        diesel::sql_query(PLAYS).bind::<BigInt, _>(day).load(connection).await?;
    for row in plays {
        stored.plays.insert(row.scope, row.sums());
    }
    let sources: Vec<SourcesRow> =
        diesel::sql_query(SOURCES).bind::<BigInt, _>(day).load(connection).await?;
    stored.sources.extend(sources.into_iter().map(|row| (row.scope, row.sources)));
    let places: Vec<PlacesRow> =
        diesel::sql_query(PLACES).bind::<BigInt, _>(day).load(connection).await?;
    for row in places {
        let PlacesRow { video_id, end_ms, seconds, places } = row;
        stored.places.insert(video_id, StoredPlaces { end_ms: narrow(end_ms)?, places, seconds });
    }
    Ok(stored)
}

/// What must be stored of a day, by its sessions that are rolled up.
async fn summed(connection: &mut AsyncPgConnection, day: i64) -> Result<StoredDay, Failure> {
    let rows: Vec<Row> = diesel::sql_query(format!(
        "select {COLUMNS} from sessions where started_at >= $1 and started_at < $2"
    ))
    .bind::<Timestamptz, _>(timestamp(start_of(day, 0)))
    .bind::<Timestamptz, _>(timestamp(start_of(day + 1, 0)))
    .load(connection)
    .await?;
    let keys = keys_of(connection, rows.iter()).await?;
    let mut change = Change::default();
    for row in &rows {
        row.see(&keys, |session| change.add(session))?;
    }
    Ok(change.into_day())
}

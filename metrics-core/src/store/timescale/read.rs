//! How reports and sessions are read: SQL filters and sums, the pure code folds.
//!
//! The videos of a selection are looked up first. With their ids as constants the planner knows how many sessions to
//! expect, and which parts of a compressed chunk to unpack.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::data_types::{PgInterval, PgTimestamp};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{
    Array, BigInt, Binary, Interval, Nullable, SmallInt, Text, Timestamptz, Uuid,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;
use serde_json::{Map, Value};

use super::types::{Bits, timestamp, unix_ms};
use super::write::packed_apart;
use crate::engagement::{Parts, Seconds};
use crate::interval::Segments;
use crate::key::SessionId;
use crate::query::{Scan, Selection};
use crate::report::{PlayCell, PlayFigures, SourceCell};
use crate::store::failure::Failure;
use crate::store::row::{Columns, client, narrow, page};
use crate::store::{INSTANCE_SILENCE_MAX, Loaded};
use crate::time_bucket::Buckets;
use crate::varint::Damaged;

/// The videos of a selection: all, or those with these ids.
type Videos = Option<Vec<i64>>;

async fn videos(
    connection: &mut AsyncPgConnection,
    selection: &Selection,
) -> Result<Videos, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let Selection { identifiers, video, session: _, key } = selection;
    if identifiers.is_none() && video.is_none() && key.is_none() {
        return Ok(None);
    }
    let rows: Vec<Row> = diesel::sql_query(
        "select id from videos
         where ($1 is null or identifier = any($1))
           and ($2::jsonb is null or metadata @> $2::jsonb)
           and ($3 is null or key_id = (select id from keys where key = $3))",
    )
    .bind::<Nullable<Array<Text>>, _>(identifiers.as_ref())
    .bind::<Nullable<Text>, _>(json(video.as_ref()))
    .bind::<Nullable<Text>, _>(key.as_ref().map(|key| key.as_str()))
    .load(connection)
    .await?;
    Ok(Some(rows.into_iter().map(|row| row.id).collect()))
}

fn json(object: Option<&Map<String, Value>>) -> Option<String> {
    object.map(|object| Value::Object(object.clone()).to_string())
}

/// `select` over the sessions that a scan asks for; `$1` to `$5` say which.
fn scanning<'a>(
    select: &str,
    scan: &Scan,
    videos: Videos,
    rest: &str,
) -> BoxedSqlQuery<'a, Pg, SqlQuery> {
    let sql = format!(
        "select {select} from sessions
         where ($1 is null or video_id = any($1)) and started_at between $2 and $3 and $4 <= view_ms
           and ($5::jsonb is null or session_data @> $5::jsonb) {rest}"
    );
    diesel::sql_query(sql)
        .into_boxed()
        .bind::<Nullable<Array<BigInt>>, _>(videos)
        .bind::<Timestamptz, _>(timestamp(scan.from_ms))
        .bind::<Timestamptz, _>(timestamp(scan.to_ms))
        .bind::<BigInt, _>(i64::try_from(scan.minimum_view_ms).unwrap_or(i64::MAX))
        .bind::<Nullable<Text>, _>(json(scan.selection.session.as_ref()))
}

/// The start of the cell that a session is in; `$6` says how wide a cell is.
const CELL: &str = "date_bin($6, started_at, timestamptz '1970-01-01 00:00+00')";

fn width(grain: TimeDelta) -> PgInterval {
    PgInterval::from_microseconds(grain.num_microseconds().unwrap_or(i64::MAX).max(1))
}

pub(super) async fn plays(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<PlayCell>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        cell: PgTimestamp,
        #[diesel(sql_type = SmallInt)]
        browser: i16,
        #[diesel(sql_type = SmallInt)]
        platform: i16,
        #[diesel(sql_type = SmallInt)]
        device: i16,
        #[diesel(sql_type = BigInt)]
        plays: i64,
        #[diesel(sql_type = BigInt)]
        view_ms: i64,
        #[diesel(sql_type = BigInt)]
        unique_ms: i64,
    }
    let videos = videos(connection, &scan.selection).await?;
    let select = format!(
        "{CELL} as cell, browser, platform, device, count(*) as plays,
         sum(view_ms)::bigint as view_ms, sum(unique_ms)::bigint as unique_ms"
    );
    let query = scanning(&select, scan, videos, "group by 1, 2, 3, 4");
    let rows: Vec<Row> =
        query.bind::<Interval, _>(width(scan.grain(&buckets))).load(connection).await?;
    let mut cells: HashMap<i64, PlayFigures> = HashMap::new();
    for row in rows {
        let client = client(row.browser.into(), row.platform.into(), row.device.into());
        let cell = cells.entry(unix_ms(row.cell)).or_default();
        let (view_ms, unique_ms) = (narrow(row.view_ms)?, narrow(row.unique_ms)?);
        cell.add_plays(row.plays.unsigned_abs(), view_ms, unique_ms, client);
    }
    Ok(cells.into_iter().map(|(at_ms, figures)| PlayCell { at_ms, figures }).collect())
}

pub(super) async fn sources(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<SourceCell>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        cell: PgTimestamp,
        #[diesel(sql_type = Text)]
        url: String,
        #[diesel(sql_type = BigInt)]
        plays: i64,
    }
    let videos = videos(connection, &scan.selection).await?;
    let select = format!("{CELL} as cell, source_id, count(*) as plays");
    // Summed first: there are far fewer pages than sessions.
    let sums = "and source_id is not null group by 1, 2";
    let query = scanning(&format!("cell, url, plays from (select {select}"), scan, videos, sums)
        .sql(") as sums join sources on sources.id = source_id");
    let rows: Vec<Row> =
        query.bind::<Interval, _>(width(scan.grain(&buckets))).load(connection).await?;
    let cells = rows.into_iter().map(|row| {
        let (at_ms, plays) = (unix_ms(row.cell), row.plays.unsigned_abs());
        Ok(SourceCell { at_ms, source: page(&row.url)?, plays })
    });
    Ok(cells.collect::<Result<_, Damaged>>()?)
}

pub(super) async fn parts(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    parts: u32,
) -> Result<Parts, Failure> {
    // One snapshot: a session that watches on meanwhile must not go past the end.
    connection
        .build_transaction()
        .repeatable_read()
        .read_only()
        .run(async |connection| {
            let videos = videos(connection, &scan.selection).await?;
            let mut end_ms = 0;
            each_viewing(connection, scan, videos.clone(), |_, segments| {
                end_ms = end_ms.max(segments.union().end_ms());
                Ok(())
            })
            .await?;
            let mut counted = Parts::new(end_ms, parts);
            each_viewing(connection, scan, videos, |_, segments| {
                counted.add(segments);
                Ok(())
            })
            .await?;
            Ok(counted)
        })
        .await
}

pub(super) async fn seconds(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Seconds, Failure> {
    let videos = videos(connection, &scan.selection).await?;
    let mut counted = Seconds::new(buckets);
    each_viewing(connection, scan, videos, |started_at_ms, segments| {
        Ok(counted.add(started_at_ms, segments)?)
    })
    .await?;
    Ok(counted)
}

/// Calls `view` with the start and the segments of each session that counts, as they come.
async fn each_viewing(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    videos: Videos,
    mut view: impl FnMut(i64, &Segments) -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        started_at: PgTimestamp,
        #[diesel(sql_type = Binary)]
        segments: Vec<u8>,
    }
    let query = scanning("started_at, segments", scan, videos, "");
    let mut rows = query.load_stream::<Row>(connection).await?;
    while let Some(row) = rows.try_next().await? {
        view(unix_ms(row.started_at), &Segments::decode(&row.segments)?)?;
    }
    Ok(())
}

/// Where a session lies.
#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = Uuid)]
    id: Bits,
    #[diesel(sql_type = BigInt)]
    video_id: i64,
    #[diesel(sql_type = Timestamptz)]
    started_at: PgTimestamp,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// The sessions at these places, by bounds that say which chunks to look into; `$1` to `$5` say which.
const AT_PLACES: &str = "unnest($1, $2, $3) as place (id, video_id, started_at)
    join sessions on sessions.video_id = place.video_id and sessions.started_at = place.started_at
        and sessions.id = place.id
    where sessions.video_id = any($2) and sessions.started_at between $4 and $5";

fn at_places<'a>(select: &str, places: &[Place], rest: &str) -> BoxedSqlQuery<'a, Pg, SqlQuery> {
    let starts = || places.iter().map(|place| place.started_at);
    let never = timestamp(0);
    diesel::sql_query(format!("select {select} from {AT_PLACES} {rest}"))
        .into_boxed()
        .bind::<Array<Uuid>, _>(places.iter().map(|place| place.id).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(places.iter().map(|place| place.video_id).collect::<Vec<_>>())
        .bind::<Array<Timestamptz>, _>(starts().collect::<Vec<_>>())
        .bind::<Timestamptz, _>(starts().min().unwrap_or(never))
        .bind::<Timestamptz, _>(starts().max().unwrap_or(never))
}

pub(super) async fn watching(
    connection: &mut AsyncPgConnection,
    selection: &Selection,
    now: DateTime<Utc>,
) -> Result<u64, Failure> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        watching: i64,
    }
    const OPEN: &str = "from session_heads join instances on instances.id = instance
        where instance is not null and $1 <= seen_at and ($2 is null or video_id = any($2))";
    let videos = videos(connection, selection).await?;
    let heard = timestamp((now - INSTANCE_SILENCE_MAX).timestamp_millis());
    let open = |select| {
        diesel::sql_query(format!("select {select} {OPEN}"))
            .bind::<Timestamptz, _>(heard)
            .bind::<Nullable<Array<BigInt>>, _>(videos)
    };
    let count: Count = match json(selection.session.as_ref()) {
        None => open("count(*) as watching").get_result(connection).await?,
        Some(data) => {
            let places: Vec<Place> =
                open("session_heads.id, video_id, started_at, version").load(connection).await?;
            at_places("count(*) as watching", &places, "and session_data @> $6::jsonb")
                .bind::<Text, _>(data)
                .get_result(connection)
                .await?
        }
    };
    Ok(count.watching.unsigned_abs())
}

/// What is kept of a session.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = Uuid)]
    pub(super) id: Bits,
    #[diesel(sql_type = BigInt)]
    pub(super) video_id: i64,
    #[diesel(sql_type = Timestamptz)]
    pub(super) started_at: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    last_event_at: PgTimestamp,
    #[diesel(sql_type = Nullable<BigInt>)]
    duration_ms: Option<i64>,
    #[diesel(sql_type = BigInt)]
    view_ms: i64,
    #[diesel(sql_type = BigInt)]
    unique_ms: i64,
    #[diesel(sql_type = Binary)]
    segments: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    rebufferings: i64,
    #[diesel(sql_type = BigInt)]
    rebuffering_ms: i64,
    #[diesel(sql_type = BigInt)]
    failures: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    startup_ms: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    details: Option<String>,
    #[diesel(sql_type = Binary)]
    resume: Vec<u8>,
}

impl Row {
    pub(super) fn loaded(self, version: i64) -> Result<Loaded, Damaged> {
        let columns = Columns {
            version,
            started_at_ms: unix_ms(self.started_at),
            last_event_at_ms: unix_ms(self.last_event_at),
            duration_ms: self.duration_ms,
            view_ms: self.view_ms,
            unique_ms: self.unique_ms,
            segments: self.segments,
            rebufferings: self.rebufferings,
            rebuffering_ms: self.rebuffering_ms,
            failures: self.failures,
            startup_ms: self.startup_ms,
            details: self.details,
            resume: self.resume,
        };
        columns.loaded()
    }
}

/// Loads sessions; `compressed` says that old chunks may be. A row may be newer than the version that comes with it, if it is written meanwhile: then the next
/// write finds a conflict.
pub(super) async fn load(
    connection: &mut AsyncPgConnection,
    ids: &[SessionId],
    compressed: bool,
) -> Result<Vec<Option<Loaded>>, Failure> {
    let bits: Vec<_> = ids.iter().map(|id| Bits(*id.as_bytes())).collect();
    let mut places: Vec<Place> = diesel::sql_query(
        "select id, video_id, started_at, version from session_heads where id = any($1)",
    )
    .bind::<Array<Uuid>, _>(&bits)
    .load(connection)
    .await?;
    let mut loaded = HashMap::new();
    for places in packed_apart(&mut places, compressed, |place| place.started_at) {
        let versions: HashMap<_, _> =
            places.iter().map(|place| (place.id, place.version)).collect();
        let rows: Vec<Row> = at_places("sessions.*", places, "").load(connection).await?;
        for row in rows {
            let (id, version) = (row.id, versions.get(&row.id).copied().unwrap_or_default());
            loaded.insert(id, row.loaded(version)?);
        }
    }
    Ok(bits.iter().map(|id| loaded.get(id).cloned()).collect())
}

//! How sessions are read, and which videos and sessions a selection means.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::data_types::PgTimestamp;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::{Map, Value};

use super::types::{Bits, timestamp, unix_ms};
use super::write::packed_apart;
use crate::key::SessionId;
use crate::query::Selection;
use crate::store::failure::Failure;
use crate::store::row::Columns;
use crate::store::{INSTANCE_SILENCE_MAX, Loaded};
use crate::varint::Damaged;

/// The videos of a selection: all, or those with these ids.
pub(super) type Videos = Option<Vec<i64>>;

pub(super) async fn videos(
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

pub(super) fn json(object: Option<&Map<String, Value>>) -> Option<String> {
    object.map(|object| Value::Object(object.clone()).to_string())
}

/// Where a session lies.
#[derive(Clone, Copy, QueryableByName)]
pub(super) struct Place {
    #[diesel(sql_type = Uuid)]
    pub(super) id: Bits,
    #[diesel(sql_type = BigInt)]
    pub(super) video_id: i64,
    #[diesel(sql_type = Timestamptz)]
    pub(super) started_at: PgTimestamp,
    #[diesel(sql_type = BigInt)]
    pub(super) version: i64,
}

/// The sessions at these places, by bounds that say which chunks to look into; `$1` to `$5` say which.
const AT_PLACES: &str = "unnest($1, $2, $3) as place (id, video_id, started_at)
    join sessions on sessions.video_id = place.video_id and sessions.started_at = place.started_at
        and sessions.id = place.id
    where sessions.video_id = any($2) and sessions.started_at between $4 and $5";

pub(super) fn at_places<'a>(
    select: &str,
    places: &[Place],
    rest: &str,
) -> BoxedSqlQuery<'a, Pg, SqlQuery> {
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

//! How sessions are read, and which videos and sessions a selection means.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use chrono::{DateTime, Utc};
use diesel::data_types::PgTimestamp;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::{Map, Value};

use super::ids::known_videos;
use super::plan_anew;
use super::prepared::Prepared;
use super::types::{Bits, timestamp, unix_ms};
use crate::key::SessionId;
use crate::query::Selection;
use crate::session::Stored;
use crate::store::failure::Failure;
use crate::store::row::{Columns, narrow};
use crate::store::{INSTANCE_SILENCE_MAX, Loaded, Lookup};
use crate::varint::Damaged;

/// The videos of a selection: all, or those with these ids.
pub(super) type Videos = Option<Vec<i32>>;

pub(super) async fn videos(
    connection: &AsyncPgConnection,
    selection: &Selection,
) -> Result<Videos, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Integer)]
        id: i32,
    }
    if !limits_videos(selection) {
        return Ok(None);
    }
    let rows = of_videos("id::integer as id", selection).load::<Row>(&mut &*connection);
    Ok(Some(rows.await?.into_iter().map(|row| row.id).collect()))
}

/// Whether a selection means some videos only.
pub(super) fn limits_videos(selection: &Selection) -> bool {
    let Selection { identifiers, video, session: _, key } = selection;
    identifiers.is_some() || video.is_some() || key.is_some()
}

/// `select` of the videos of a selection.
pub(super) fn of_videos<'a>(select: &str, selection: &'a Selection) -> Prepared<'a> {
    let Selection { identifiers, video, session: _, key } = selection;
    Prepared::new(format!(
        "select {select} from videos
         where ($1 is null or identifier = any($1))
           and ($2::jsonb is null or metadata @> $2::jsonb)
           and ($3 is null or key_id = (select id from keys where key = $3))"
    ))
    .bind::<Nullable<Array<Text>>, _>(identifiers.as_ref())
    .bind::<Nullable<Text>, _>(json(video.as_ref()))
    .bind::<Nullable<Text>, _>(key.as_ref().map(|key| key.as_str()))
}

pub(super) fn json(object: Option<&Map<String, Value>>) -> Option<String> {
    object.map(|object| Value::Object(object.clone()).to_string())
}

/// Where a session lies once it is rolled up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, QueryableByName)]
pub(super) struct Place {
    #[diesel(sql_type = Uuid)]
    pub(super) id: Bits,
    #[diesel(sql_type = Integer)]
    pub(super) video_id: i32,
    #[diesel(sql_type = Timestamptz)]
    pub(super) started_at: PgTimestamp,
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.id, self.started_at.0).hash(state);
    }
}

/// `select` of the sessions at these places that are rolled up, by bounds that say which chunks to look into.
pub(super) fn at_places<'a>(select: &str, places: &[Place]) -> BoxedSqlQuery<'a, Pg, SqlQuery> {
    let starts = || places.iter().map(|place| place.started_at);
    let never = timestamp(0);
    diesel::sql_query(format!(
        "select {select} from unnest($1, $2, $3) as place (of_id, of_video, of_start)
         join sessions on video_id = of_video and started_at = of_start and id = of_id
         where video_id = any($2) and started_at between $4 and $5"
    ))
    .into_boxed()
    .bind::<Array<Uuid>, _>(places.iter().map(|place| place.id).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(places.iter().map(|place| place.video_id).collect::<Vec<_>>())
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
    let videos = videos(connection, selection).await?;
    let count: Count = Prepared::new(
        "select count(*) as watching from live_sessions join instances on instances.id = instance
         where not rolled and instance is not null and $1 <= seen_at
            and ($2 is null or video_id = any($2)) and ($3::jsonb is null or session_data @> $3::jsonb)",
    )
    .bind::<Timestamptz, _>(timestamp((now - INSTANCE_SILENCE_MAX).timestamp_millis()))
    .bind::<Nullable<Array<Integer>>, _>(videos)
    .bind::<Nullable<Text>, _>(json(selection.session.as_ref()))
    .get_result(connection)
    .await?;
    Ok(count.watching.unsigned_abs())
}

/// What is kept of a session that is loose or rolled up.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(embed)]
    pub(super) place: Place,
    #[diesel(sql_type = Timestamptz)]
    last_event_at: PgTimestamp,
    #[diesel(sql_type = Nullable<Integer>)]
    duration_ms: Option<i32>,
    #[diesel(sql_type = BigInt)]
    view_ms: i64,
    #[diesel(sql_type = Integer)]
    unique_ms: i32,
    #[diesel(sql_type = Binary)]
    segments: Vec<u8>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rebufferings: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rebuffering_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    failures: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    startup_ms: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    details: Option<String>,
}

/// Its columns.
pub(super) const COLUMNS: &str = "id, video_id, started_at, last_event_at, duration_ms, view_ms, unique_ms, \
    segments, rebufferings, rebuffering_ms, failures, startup_ms, details";

impl Row {
    /// The session, with what it needs to go on, if it can.
    pub(super) fn stored(self, resume: Option<Vec<u8>>) -> Result<Stored, Damaged> {
        let is_settled = resume.is_none();
        let columns = Columns {
            started_at_ms: unix_ms(self.place.started_at),
            last_event_at_ms: unix_ms(self.last_event_at),
            duration_ms: self.duration_ms.map(i64::from),
            view_ms: self.view_ms,
            unique_ms: self.unique_ms.into(),
            segments: self.segments,
            rebufferings: self.rebufferings.unwrap_or(0),
            rebuffering_ms: self.rebuffering_ms.unwrap_or(0),
            failures: self.failures.unwrap_or(0),
            startup_ms: self.startup_ms,
            details: self.details,
            resume: resume.unwrap_or_default(),
        };
        let stored = columns.stored()?;
        Ok(if is_settled { stored.settled() } else { stored })
    }
}

/// A session that can go on.
#[derive(QueryableByName)]
struct Live {
    // Of one that is rolled up, only the place.
    #[diesel(embed)]
    session: Row,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Bool)]
    rolled: bool,
    #[diesel(sql_type = Binary)]
    resume: Vec<u8>,
    // Of its video.
    #[diesel(sql_type = Uuid)]
    digest: Bits,
    #[diesel(sql_type = Nullable<Text>)]
    identifier: Option<String>,
}

async fn live(
    connection: &mut AsyncPgConnection,
    ids: &[Bits],
) -> Result<HashMap<Bits, Live>, Failure> {
    let rows: Vec<Live> = diesel::sql_query(
        "select live_sessions.id, video_id, started_at, last_event_at, duration_ms, coalesce(view_ms, 0) as view_ms,
            coalesce(unique_ms, 0) as unique_ms, coalesce(segments, '') as segments, rebufferings, rebuffering_ms,
            failures, startup_ms, details, version, rolled, resume, digest, identifier
         from live_sessions join videos on videos.id = video_id where live_sessions.id = any($1)",
    )
    .bind::<Array<Uuid>, _>(ids)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|live| (live.session.place.id, live)).collect())
}

/// The rows of those at these places that are rolled up.
async fn rolled(
    connection: &mut AsyncPgConnection,
    places: &[Place],
) -> Result<HashMap<Place, Row>, Failure> {
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Row> = at_places(COLUMNS, places).load(connection).await?;
    Ok(rows.into_iter().map(|row| (row.place, row)).collect())
}

pub(super) async fn load(
    connection: &mut AsyncPgConnection,
    ids: &[SessionId],
) -> Result<Vec<Option<Loaded>>, Failure> {
    let ids: Vec<_> = ids.iter().map(|id| Bits(*id.as_bytes())).collect();
    let mut found = live(connection, &ids).await?;
    let mut rows = HashMap::new();
    if found.values().any(|live| live.rolled) {
        // Both rows of a session, as they were at one moment.
        let mut snapshot = connection.build_transaction().repeatable_read().read_only();
        (found, rows) = snapshot
            .run(async |connection| {
                plan_anew(connection).await?;
                let found = live(connection, &ids).await?;
                let places =
                    found.values().filter(|live| live.rolled).map(|live| live.session.place);
                let rows = rolled(connection, &places.collect::<Vec<_>>()).await?;
                Ok::<_, Failure>((found, rows))
            })
            .await?;
    }
    let mut loaded = HashMap::new();
    for (id, live) in found {
        let row = if live.rolled { rows.remove(&live.session.place) } else { Some(live.session) };
        let row = row.ok_or(Damaged("a session is rolled up, but has no row"))?;
        let (version, stored) = (narrow(live.version)?, row.stored(Some(live.resume))?);
        let (video, identifier) = (live.digest.0, live.identifier);
        loaded.insert(id, Loaded { version, video, identifier, stored });
    }
    Ok(ids.iter().map(|id| loaded.get(id).cloned()).collect())
}

/// What is stored of these sessions, of any age.
pub(super) async fn find(
    connection: &mut AsyncPgConnection,
    lookups: &[Lookup],
) -> Result<Vec<Option<Stored>>, Failure> {
    let digests: Vec<_> = lookups.iter().map(|it| Bits(it.video.digest(&it.key))).collect();
    let videos: HashMap<_, _> = known_videos(connection, &digests).await?.into_iter().collect();
    let place = |(lookup, digest): (&Lookup, &Bits)| {
        let video = videos.get(digest).map(|video| narrow(*video)).transpose()?;
        Ok(video.map(|video_id| Place {
            id: Bits(*lookup.id.as_bytes()),
            video_id,
            started_at: timestamp(lookup.started_at_ms),
        }))
    };
    let places = lookups.iter().zip(&digests).map(place);
    let places: Vec<Option<Place>> = places.collect::<Result<_, Damaged>>()?;
    let known: Vec<Place> = places.iter().flatten().copied().collect();
    let ids: Vec<_> = known.iter().map(|place| place.id).collect();
    let mut snapshot = connection.build_transaction().repeatable_read().read_only();
    let (mut live, mut rows) = snapshot
        .run(async |connection| {
            plan_anew(connection).await?;
            let live = live(connection, &ids).await?;
            Ok::<_, Failure>((live, rolled(connection, &known).await?))
        })
        .await?;
    let mut found = HashMap::new();
    for place in known {
        let live = live.remove(&place.id).filter(|live| live.session.place == place);
        let stored = match (live, rows.remove(&place)) {
            (Some(live), Some(row)) => row.stored(Some(live.resume))?,
            (Some(live), None) => live.session.stored(Some(live.resume))?,
            (None, Some(row)) => row.stored(None)?,
            (None, None) => continue,
        };
        found.insert(place, stored);
    }
    Ok(places.iter().map(|place| found.get(place.as_ref()?).cloned()).collect())
}

//! How sessions are written: a batch in a few statements, whatever its size.
//!
//! A row of `session_heads` says which version of a session is stored. It is locked and counted up first, in the order
//! of ids, so that two writers of the same sessions wait for each other instead of locking each other out; whose
//! version is not as expected is left out of what follows. Columns travel as arrays, and the statements never change,
//! so that each connection prepares them once.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::data_types::PgTimestamp;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, SmallInt, Text, Timestamptz, Uuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use quick_cache::unsync::Cache;

use super::open::COMPRESS_DAYS;
use super::read::Place;
use super::rollup;
use super::schema::{keys, sources, videos};
use super::types::{Bits, timestamp, unix_ms};
use crate::key::ApiKey;
use crate::rollup::day_of;
use crate::source::Source;
use crate::store::failure::Failure;
use crate::store::{Instance, KnownVideo, Outcome, SessionWrite, Version};
use crate::video::Video;

/// How many ids of videos and of sources are remembered: the ones that are watched at the moment.
const IDS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How long a dead instance is remembered. It left the count long before.
const INSTANCE_KEPT: TimeDelta = TimeDelta::hours(1);

/// Ids of rows that are known to be there.
pub(super) struct Ids {
    known: Mutex<Known>,
}

struct Known {
    videos: Cache<Bits, i64>,
    sources: Cache<Source, i64>,
}

impl Default for Ids {
    fn default() -> Self {
        let (videos, sources) = (Cache::new(IDS_MAX.get()), Cache::new(IDS_MAX.get()));
        Self { known: Mutex::new(Known { videos, sources }) }
    }
}

impl Ids {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all: after an error nobody knows what is there.
    pub(super) fn clear(&self) {
        let mut known = self.lock();
        known.videos.clear();
        known.sources.clear();
    }
}

/// Writes sessions, each unless its version is another than expected. `compressed` says that old chunks may be.
pub(super) async fn sessions(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    compressed: bool,
    writes: &[SessionWrite],
) -> Result<Vec<Outcome>, Failure> {
    // Rows that need not be undone when the rest is: nothing shows them before there is a session.
    let new: Vec<_> = writes.iter().filter(|write| write.expected == 0).collect();
    let videos = video_ids(connection, ids, &new).await?;
    let sources = source_ids(connection, ids, &new).await?;
    let mut order: Vec<_> = writes.iter().collect();
    order.sort_unstable_by_key(|write| write.id);

    let heads = Heads::new(&order, &videos);
    let written = connection
        .transaction(async move |connection| {
            let heads: Vec<Head> = heads.load(connection).await?;
            let heads: HashMap<Bits, Head> = heads.into_iter().map(|head| (head.0, head)).collect();
            let (mut new, mut old) = (Vec::new(), Vec::new());
            for write in order {
                match heads.get(&Bits(*write.id.as_bytes())) {
                    Some(head) if write.expected == 0 => new.push((write, *head)),
                    Some(head) => old.push((write, *head)),
                    None => {}
                }
            }
            if !new.is_empty() {
                Insert::new(&new, &sources).execute(connection).await?;
            }
            // Hardly ever does a session change that was quiet for long.
            let summed = old.iter().filter(|(_, head)| head.3);
            let mut summed: Vec<_> =
                summed.map(|(write, head)| head.place(write.expected)).collect();
            rollup::withdraw(connection, &mut summed, compressed).await?;
            for some in packed_apart(&mut old, compressed, |(_, head)| head.2) {
                Update::new(some).execute(connection).await?;
            }
            Ok::<_, Failure>(heads)
        })
        .await?;
    let outcome = |write: &SessionWrite| {
        let is_written = written.contains_key(&Bits(*write.id.as_bytes()));
        if is_written { Outcome::Written } else { Outcome::Conflict }
    };
    Ok(writes.iter().map(outcome).collect())
}

/// Takes sessions whose chunk may be compressed one at a time, and the others together: of a compressed chunk,
/// everything is unpacked that a statement as a whole may be about.
pub(super) fn packed_apart<T>(
    items: &mut [T],
    compressed: bool,
    started_at: impl Fn(&T) -> PgTimestamp,
) -> impl Iterator<Item = &[T]> {
    let packed = timestamp((Utc::now() - TimeDelta::days(COMPRESS_DAYS)).timestamp_millis());
    let is_loose = move |item: &T| !compressed || packed < started_at(item);
    items.sort_by_key(|item| is_loose(item));
    items.chunk_by(move |one, other| is_loose(one) && is_loose(other))
}

/// The ids of the videos of these sessions. Those that are new are added.
async fn video_ids(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    writes: &[&SessionWrite],
) -> Result<HashMap<Bits, i64>, Failure> {
    let mut found = HashMap::new();
    let mut missing = HashMap::new();
    {
        let known = ids.lock();
        for write in writes {
            let subject = &*write.subject;
            let digest = Bits(subject.video.digest(&subject.key));
            match known.videos.get(&digest) {
                Some(id) => drop(found.insert(digest, *id)),
                None => drop(missing.insert(digest, subject)),
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    // In one order everywhere, so that nobody locks anybody out.
    let mut digests: Vec<_> = missing.keys().copied().collect();
    digests.sort_unstable();
    let mut looked_up = known_videos(connection, &digests).await?;
    if looked_up.len() < digests.len() {
        let there: std::collections::HashSet<_> =
            looked_up.iter().map(|(digest, _)| *digest).collect();
        let new: Vec<_> =
            digests.iter().filter(|digest| !there.contains(digest)).copied().collect();
        let keys = key_ids(connection, new.iter().map(|digest| &missing[digest].key)).await?;
        let video = |digest: &Bits| &missing[digest].video;
        diesel::sql_query(
            "insert into videos (key_id, digest, identifier, metadata)
             select key_id, digest, identifier, metadata::jsonb
             from unnest($1, $2, $3, $4) as it (key_id, digest, identifier, metadata)
             on conflict (digest) do nothing",
        )
        .bind::<Array<BigInt>, _>(
            new.iter().map(|digest| keys[&missing[digest].key]).collect::<Vec<_>>(),
        )
        .bind::<Array<Uuid>, _>(&new)
        .bind::<Array<Nullable<Text>>, _>(
            new.iter().map(|it| video(it).identifier()).collect::<Vec<_>>(),
        )
        .bind::<Array<Nullable<Text>>, _>(
            new.iter().map(|it| video(it).metadata()).collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
        looked_up = known_videos(connection, &digests).await?;
    }
    let mut known = ids.lock();
    for (digest, id) in looked_up {
        known.videos.insert(digest, id);
        found.insert(digest, id);
    }
    Ok(found)
}

async fn known_videos(
    connection: &mut AsyncPgConnection,
    digests: &[Bits],
) -> QueryResult<Vec<(Bits, i64)>> {
    let rows = videos::table.filter(videos::digest.eq_any(digests));
    rows.select((videos::digest, videos::id)).load(connection).await
}

/// Which videos are there, and how many their keys have.
pub(super) async fn look_up_videos(
    connection: &mut AsyncPgConnection,
    asked: &[(ApiKey, Video)],
) -> Result<Vec<KnownVideo>, Failure> {
    let digests: Vec<_> = asked.iter().map(|(key, video)| Bits(video.digest(key))).collect();
    let there: HashMap<Bits, i64> = known_videos(connection, &digests).await?.into_iter().collect();
    let texts: std::collections::HashSet<_> = asked.iter().map(|(key, _)| key.as_str()).collect();
    let counts: Vec<(String, i64)> = keys::table
        .inner_join(videos::table.on(videos::key_id.eq(keys::id)))
        .filter(keys::key.eq_any(texts.into_iter().collect::<Vec<_>>()))
        .group_by(keys::key)
        .select((keys::key, diesel::dsl::count_star()))
        .load(connection)
        .await?;
    let counts: HashMap<String, i64> = counts.into_iter().collect();
    let known = asked.iter().zip(&digests).map(|((key, _), digest)| KnownVideo {
        is_there: there.contains_key(digest),
        videos_of_key: counts.get(key.as_str()).map_or(0, |count| count.unsigned_abs()),
    });
    Ok(known.collect())
}

async fn key_ids(
    connection: &mut AsyncPgConnection,
    of: impl Iterator<Item = &ApiKey>,
) -> Result<HashMap<ApiKey, i64>, Failure> {
    let wanted: std::collections::HashSet<&ApiKey> = of.collect();
    let texts: Vec<_> = wanted.iter().map(|key| key.as_str()).collect();
    let rows: Vec<(String, i64)> = keys::table
        .filter(keys::key.eq_any(texts))
        .select((keys::key, keys::id))
        .load(connection)
        .await?;
    let mut found = HashMap::new();
    for key in wanted {
        let row = rows.iter().find(|(text, _)| text == key.as_str()).ok_or(Failure::NoKey)?;
        found.insert(key.clone(), row.1);
    }
    Ok(found)
}

/// The ids of the pages of these sessions. Those that are new are added.
async fn source_ids(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    writes: &[&SessionWrite],
) -> Result<HashMap<Source, i64>, Failure> {
    let mut found = HashMap::new();
    let mut missing = Vec::new();
    {
        let known = ids.lock();
        for source in writes.iter().filter_map(|write| write.subject.source.as_ref()) {
            match known.sources.get(source) {
                Some(id) => drop(found.insert(source.clone(), *id)),
                None => missing.push(source.clone()),
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    missing.sort_unstable();
    missing.dedup();
    let urls: Vec<_> = missing.iter().map(Source::as_str).collect();
    let mut looked_up = known_sources(connection, &urls).await?;
    if looked_up.len() < missing.len() {
        diesel::sql_query(
            "insert into sources (url) select unnest($1) on conflict (url) do nothing",
        )
        .bind::<Array<Text>, _>(missing.iter().map(Source::as_str).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        looked_up = known_sources(connection, &urls).await?;
    }
    let looked_up: HashMap<String, i64> = looked_up.into_iter().collect();
    let mut known = ids.lock();
    for source in missing {
        if let Some(id) = looked_up.get(source.as_str()) {
            known.sources.insert(source.clone(), *id);
            found.insert(source, *id);
        }
    }
    Ok(found)
}

async fn known_sources(
    connection: &mut AsyncPgConnection,
    urls: &[&str],
) -> QueryResult<Vec<(String, i64)>> {
    let rows = sources::table.filter(sources::url.eq_any(urls));
    rows.select((sources::url, sources::id)).load(connection).await
}

/// Which session, of which video, started when, and whether it was in the sums.
#[derive(Clone, Copy, Queryable)]
struct Head(Bits, i64, PgTimestamp, bool);

impl Head {
    fn place(self, version: Version) -> Place {
        Place { id: self.0, video_id: self.1, started_at: self.2, version: version.into() }
    }
}

/// Counts the versions up that are as expected, makes the heads of sessions that are new, and answers those.
#[derive(Debug, Default)]
struct Heads {
    ids: Vec<Bits>,
    videos: Vec<Option<i64>>,
    starts: Vec<PgTimestamp>,
    expected: Vec<i64>,
    instances: Vec<Option<i64>>,
}

impl Heads {
    fn new(writes: &[&SessionWrite], videos: &HashMap<Bits, i64>) -> Self {
        let mut heads = Self::default();
        for write in writes {
            let subject = &*write.subject;
            let new = write.expected == 0;
            let video = new.then(|| videos.get(&Bits(subject.video.digest(&subject.key))).copied());
            heads.ids.push(Bits(*write.id.as_bytes()));
            heads.videos.push(video.flatten());
            heads.starts.push(timestamp(write.stored.started_at_ms));
            heads.expected.push(write.expected.into());
            heads.instances.push(write.watched_at.map(|instance| instance.0.into()));
        }
        heads
    }
}

impl QueryFragment<Pg> for Heads {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("with given as (select * from unnest(");
        out.push_bind_param::<Array<Uuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.videos)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.starts)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.expected)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.instances)?;
        out.push_sql(
            ") as it (id, video_id, started_at, expected, instance)),
            added as (
                insert into session_heads (id, video_id, started_at, version, instance)
                select id, video_id, started_at, 1, instance from given where expected = 0 order by id
                on conflict (id) do nothing
                returning id, video_id, started_at, rolled),
            locked as (
                select head.id, head.rolled from session_heads head join given on given.id = head.id
                where 0 < expected order by head.id for update of head),
            changed as (
                update session_heads head
                set version = head.version + 1, instance = given.instance, rolled = false
                from given join locked on locked.id = given.id
                where head.id = given.id and head.version = given.expected
                returning head.id, head.video_id, head.started_at, locked.rolled)
            select * from added union all select * from changed",
        );
        Ok(())
    }
}

impl QueryId for Heads {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Heads {
    type SqlType = (Uuid, BigInt, Timestamptz, Bool);
}

/// What changes while a session lasts, a column at a time.
#[derive(Debug, Default)]
struct Changing<'a> {
    ids: Vec<Bits>,
    videos: Vec<i64>,
    starts: Vec<PgTimestamp>,
    last_events: Vec<PgTimestamp>,
    durations: Vec<Option<i64>>,
    views: Vec<i64>,
    uniques: Vec<i64>,
    segments: Vec<&'a [u8]>,
    rebufferings: Vec<i64>,
    rebuffering_ms: Vec<i64>,
    failures: Vec<i64>,
    startups: Vec<Option<i64>>,
    details: Vec<Option<String>>,
    resumes: Vec<&'a [u8]>,
}

impl<'a> Changing<'a> {
    /// The columns, as `unnest` makes them of the arrays.
    const COLUMNS: &'static str = "id, video_id, started_at, last_event_at, duration_ms, view_ms, unique_ms, \
        segments, rebufferings, rebuffering_ms, failures, startup_ms, details, resume";

    fn new(writes: &[(&'a SessionWrite, Head)]) -> Self {
        let mut it = Self::default();
        for (write, Head(id, video, started_at, _)) in writes {
            let (stored, counters) = (&write.stored, &write.stored.counters);
            it.ids.push(*id);
            it.videos.push(*video);
            it.starts.push(*started_at);
            it.last_events.push(timestamp(stored.last_event_at_ms));
            it.durations.push(stored.duration_ms.map(i64::from));
            it.views.push(stored.view_ms as i64);
            it.uniques.push(stored.unique_ms as i64);
            it.segments.push(&stored.segments);
            it.rebufferings.push(counters.rebufferings.into());
            it.rebuffering_ms.push(counters.rebuffering_ms as i64);
            it.failures.push(counters.failures.into());
            it.startups.push(counters.startup_ms.map(i64::from));
            it.details.push(counters.details.encode());
            it.resumes.push(&stored.resume);
        }
        it
    }

    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Array<Uuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.videos)?;
        for times in [&self.starts, &self.last_events] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Timestamptz>, _>(times)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.durations)?;
        for numbers in [&self.views, &self.uniques] {
            out.push_sql(", ");
            out.push_bind_param::<Array<BigInt>, _>(numbers)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.segments)?;
        for numbers in [&self.rebufferings, &self.rebuffering_ms, &self.failures] {
            out.push_sql(", ");
            out.push_bind_param::<Array<BigInt>, _>(numbers)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.startups)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.details)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.resumes)
    }
}

/// Adds the rows of new sessions.
#[derive(Debug)]
struct Insert<'a> {
    changing: Changing<'a>,
    sources: Vec<Option<i64>>,
    classes: [Vec<i16>; 3],
    session_data: Vec<Option<&'a str>>,
}

impl<'a> Insert<'a> {
    fn new(writes: &[(&'a SessionWrite, Head)], sources: &HashMap<Source, i64>) -> Self {
        let subjects = || writes.iter().map(|(write, _)| &*write.subject);
        let source = |source: &Option<Source>| sources.get(source.as_ref()?).copied();
        Self {
            changing: Changing::new(writes),
            sources: subjects().map(|subject| source(&subject.source)).collect(),
            classes: [
                subjects().map(|subject| subject.client.browser.code().into()).collect(),
                subjects().map(|subject| subject.client.platform.code().into()).collect(),
                subjects().map(|subject| subject.client.device.code().into()).collect(),
            ],
            session_data: subjects().map(|subject| subject.session_data.as_deref()).collect(),
        }
    }
}

impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        const MORE: &str = ", source_id, browser, platform, device, session_data";
        out.push_sql("insert into sessions (");
        out.push_sql(Changing::COLUMNS);
        out.push_sql(MORE);
        out.push_sql(") select ");
        out.push_sql(Changing::COLUMNS);
        out.push_sql(MORE);
        out.push_sql("::jsonb from unnest(");
        self.changing.push(&mut out)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.sources)?;
        for classes in &self.classes {
            out.push_sql(", ");
            out.push_bind_param::<Array<SmallInt>, _>(classes)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.session_data)?;
        out.push_sql(") as it (");
        out.push_sql(Changing::COLUMNS);
        out.push_sql(MORE);
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for Insert<'_> {
    type QueryId = Insert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

/// Changes the rows of sessions that are there.
#[derive(Debug)]
struct Update<'a> {
    changing: Changing<'a>,
    first: PgTimestamp,
    last: PgTimestamp,
}

impl<'a> Update<'a> {
    fn new(writes: &[(&'a SessionWrite, Head)]) -> Self {
        let changing = Changing::new(writes);
        let starts = || changing.starts.iter().copied();
        let (first, last) = (starts().min(), starts().max());
        let never = timestamp(0);
        Self { first: first.unwrap_or(never), last: last.unwrap_or(never), changing }
    }
}

impl QueryFragment<Pg> for Update<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "update sessions set last_event_at = it.last_event_at, duration_ms = it.duration_ms,
            view_ms = it.view_ms, unique_ms = it.unique_ms, segments = it.segments,
            rebufferings = it.rebufferings, rebuffering_ms = it.rebuffering_ms, failures = it.failures,
            startup_ms = it.startup_ms, details = it.details, resume = it.resume
            from unnest(",
        );
        self.changing.push(&mut out)?;
        out.push_sql(") as it (");
        out.push_sql(Changing::COLUMNS);
        // What is said twice here is what tells which chunks it is about, and which parts of a compressed one.
        out.push_sql(
            ") where sessions.video_id = it.video_id and sessions.started_at = it.started_at
            and sessions.id = it.id and sessions.video_id = any(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.changing.videos)?;
        out.push_sql(") and sessions.started_at between ");
        out.push_bind_param::<Timestamptz, _>(&self.first)?;
        out.push_sql(" and ");
        out.push_bind_param::<Timestamptz, _>(&self.last)
    }
}

impl QueryId for Update<'_> {
    type QueryId = Update<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

/// Notes that an instance is alive, and forgets those that died long ago.
pub(super) async fn beat(
    connection: &mut AsyncPgConnection,
    instance: Instance,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    diesel::sql_query(
        "insert into instances values ($1, $2) on conflict (id) do update set seen_at = excluded.seen_at",
    )
    .bind::<BigInt, _>(i64::from(instance.0))
    .bind::<Timestamptz, _>(timestamp(now.timestamp_millis()))
    .execute(connection)
    .await?;
    let forgotten = diesel::sql_query("delete from instances where seen_at < $1")
        .bind::<Timestamptz, _>(timestamp((now - INSTANCE_KEPT).timestamp_millis()))
        .execute(connection)
        .await?;
    if 0 < forgotten {
        diesel::sql_query(
            "update session_heads set instance = null where instance is not null
             and not exists (select from instances where instances.id = session_heads.instance)",
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// How many sessions are deleted before others may write again.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

/// Deletes some of the sessions that started before, and returns whether there may be more of them.
pub(super) async fn forget_some(
    connection: &mut AsyncPgConnection,
    compressed: bool,
    before_ms: i64,
) -> Result<bool, Failure> {
    #[derive(QueryableByName)]
    struct Old {
        #[diesel(embed)]
        place: Place,
        #[diesel(sql_type = Bool)]
        rolled: bool,
    }
    connection
        .transaction(async move |connection| {
            let old: Vec<Old> = diesel::sql_query(
                "delete from session_heads where id in (
                    select id from session_heads where started_at < $1 order by id limit $2 for update)
                 returning id, video_id, started_at, version, rolled",
            )
            .bind::<Timestamptz, _>(timestamp(before_ms))
            .bind::<BigInt, _>(FORGOTTEN_AT_ONCE)
            .load(connection)
            .await?;
            let summed = old.iter().filter(|old| old.rolled);
            let mut summed: Vec<_> = summed.map(|old| old.place).collect();
            rollup::withdraw(connection, &mut summed, compressed).await?;
            let places = || old.iter().map(|old| &old.place);
            diesel::sql_query(
                "delete from sessions using unnest($1, $2, $3) as old (id, video_id, started_at)
                 where sessions.video_id = old.video_id and sessions.started_at = old.started_at
                    and sessions.id = old.id",
            )
            .bind::<Array<Uuid>, _>(places().map(|it| it.id).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(places().map(|it| it.video_id).collect::<Vec<_>>())
            .bind::<Array<Timestamptz>, _>(places().map(|it| it.started_at).collect::<Vec<_>>())
            .execute(connection)
            .await?;
            Ok(!old.is_empty())
        })
        .await
}

/// Drops the chunks of a hypertable all of whose sessions started before, up to one that ends with a day: sums are
/// of days.
pub(super) async fn drop_chunks(
    connection: &mut AsyncPgConnection,
    schema: &str,
    before_ms: i64,
) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct End {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        at: Option<PgTimestamp>,
    }
    let before = timestamp(before_ms);
    let drop = format!("select {schema}.drop_chunks('metrics.sessions', older_than => $1)");
    connection
        .transaction(async move |connection| {
            let end: End = diesel::sql_query(
                "select max(range_end) as at from timescaledb_information.chunks
                 where hypertable_schema = 'metrics' and hypertable_name = 'sessions' and range_end <= $1
                    and range_end = date_trunc('day', range_end, 'UTC')",
            )
            .bind::<Timestamptz, _>(before)
            .get_result(connection)
            .await?;
            let Some(end) = end.at else { return Ok(()) };
            // Before the sums, of which sessions are taken out by those who have their heads.
            diesel::sql_query("delete from session_heads where started_at < $1")
                .bind::<Timestamptz, _>(end)
                .execute(connection)
                .await?;
            diesel::sql_query(drop).bind::<Timestamptz, _>(end).execute(connection).await?;
            rollup::forget_days(connection, day_of(unix_ms(end))).await
        })
        .await
}

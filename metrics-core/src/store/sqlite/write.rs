//! What the writing connection does, always inside a transaction.
//!
//! What it does for every session is a statement whose text never changes, so that it is prepared once. Diesel prepares
//! an `update` each time, and SQLite itself does it again whenever a bound value could change the plan: that of a
//! `limit`, which `first` has, or one that is compared with the condition of a partial index.

use std::num::NonZeroUsize;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use quick_cache::unsync::Cache;

use super::rollup;
use super::schema::{instances, keys, loose_sessions, sessions, sources, videos};
use crate::key::ApiKey;
use crate::rollup::Change;
use crate::session::Stored;
use crate::source::Source;
use crate::store::failure::Failure;
use crate::store::{Instance, LIVE, Outcome, SessionWrite};
use crate::video::Video;

/// How many ids of videos and of sources are remembered: the ones that are watched at the moment.
const IDS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How long a dead instance is remembered. It left the count long before.
const INSTANCE_KEPT: TimeDelta = TimeDelta::hours(1);

/// Ids of rows that are known to be there.
pub(super) struct Ids {
    keys: Cache<ApiKey, i64>,
    videos: Cache<[u8; 16], i64>,
    sources: Cache<Source, i64>,
}

impl Default for Ids {
    fn default() -> Self {
        let cache_of = || IDS_MAX.get();
        Self {
            keys: Cache::new(cache_of()),
            videos: Cache::new(cache_of()),
            sources: Cache::new(cache_of()),
        }
    }
}

impl Ids {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn key(&mut self, connection: &mut SqliteConnection, key: &ApiKey) -> Result<i64, Failure> {
        if let Some(id) = self.keys.get(key) {
            return Ok(*id);
        }
        let row = keys::table.filter(keys::key.eq(key.as_str())).select(keys::id);
        let id = row.get_result(connection).optional()?.ok_or(Failure::NoKey)?;
        self.keys.insert(key.clone(), id);
        Ok(id)
    }

    fn video(
        &mut self,
        connection: &mut SqliteConnection,
        key: &ApiKey,
        video: &Video,
    ) -> Result<i64, Failure> {
        let digest = video.digest(key);
        if let Some(id) = self.videos.get(&digest) {
            return Ok(*id);
        }
        let key_id = self.key(connection, key)?;
        diesel::insert_into(videos::table)
            .values((
                videos::key_id.eq(key_id),
                videos::digest.eq(digest.as_slice()),
                videos::identifier.eq(video.identifier()),
                videos::metadata.eq(video.metadata()),
            ))
            .on_conflict(videos::digest)
            .do_nothing()
            .execute(connection)?;
        let row = videos::table.filter(videos::digest.eq(digest.as_slice())).select(videos::id);
        let id = row.get_result(connection)?;
        self.videos.insert(digest, id);
        Ok(id)
    }

    fn source(
        &mut self,
        connection: &mut SqliteConnection,
        source: &Source,
    ) -> Result<i64, Failure> {
        if let Some(id) = self.sources.get(source) {
            return Ok(*id);
        }
        diesel::insert_into(sources::table)
            .values(sources::url.eq(source.as_str()))
            .on_conflict(sources::url)
            .do_nothing()
            .execute(connection)?;
        let row = sources::table.filter(sources::url.eq(source.as_str())).select(sources::id);
        let id = row.get_result(connection)?;
        self.sources.insert(source.clone(), id);
        Ok(id)
    }
}

/// The columns of a session that change while it lasts.
struct Changing<'a> {
    numbers: [i64; 7],
    optional_numbers: [Option<i64>; 3],
    segments: &'a [u8],
    resume: &'a [u8],
    details: Option<String>,
}

impl<'a> Changing<'a> {
    /// Their names, in the order in which they are pushed.
    const COLUMNS: &'static str = "version, last_event_at, view_ms, unique_ms, rebufferings, rebuffering_ms, \
        failures, duration_ms, startup_ms, instance, segments, resume, details";

    fn new(write: &'a SessionWrite) -> Self {
        let stored: &Stored = &write.stored;
        let counters = &stored.counters;
        Self {
            numbers: [
                i64::from(write.expected) + 1,
                stored.last_event_at_ms,
                stored.view_ms as i64,
                stored.unique_ms as i64,
                i64::from(counters.rebufferings),
                counters.rebuffering_ms as i64,
                i64::from(counters.failures),
            ],
            optional_numbers: [
                stored.duration_ms.map(i64::from),
                counters.startup_ms.map(i64::from),
                write.watched_at.map(|instance| i64::from(instance.0)),
            ],
            segments: &stored.segments,
            resume: &stored.resume,
            details: counters.details.encode(),
        }
    }

    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        for number in &self.numbers {
            out.push_bind_param::<BigInt, _>(number)?;
            out.push_sql(", ");
        }
        for number in &self.optional_numbers {
            out.push_bind_param::<Nullable<BigInt>, _>(number)?;
            out.push_sql(", ");
        }
        for bytes in [&self.segments, &self.resume] {
            out.push_bind_param::<Binary, _>(bytes)?;
            out.push_sql(", ");
        }
        out.push_bind_param::<Nullable<Text>, _>(&self.details)
    }
}

/// Adds the row of a new session, unless one with its id can go on.
struct Insert<'a> {
    id: &'a [u8],
    // Its video and its start.
    place: [i64; 2],
    source: Option<i64>,
    classes: [i32; 3],
    session_data: Option<&'a str>,
    changing: Changing<'a>,
}

impl QueryFragment<Sqlite> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "insert into loose_sessions \
             (id, video_id, started_at, source_id, browser, platform, device, session_data, ",
        );
        out.push_sql(Changing::COLUMNS);
        out.push_sql(") select ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        for number in &self.place {
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(number)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.source)?;
        for class in &self.classes {
            out.push_sql(", ");
            out.push_bind_param::<Integer, _>(class)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.session_data)?;
        out.push_sql(", ");
        self.changing.push(&mut out)?;
        out.push_sql(" where not exists (select 1 from rolled_sessions where id = ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        out.push_sql(") on conflict (id) do nothing");
        Ok(())
    }
}

impl QueryId for Insert<'_> {
    type QueryId = Insert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for Insert<'_> {}

/// Changes the row of a loose session, if it is of this version.
struct Update<'a> {
    id: &'a [u8],
    version: i64,
    changing: Changing<'a>,
}

impl QueryFragment<Sqlite> for Update<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("update loose_sessions set (");
        out.push_sql(Changing::COLUMNS);
        out.push_sql(") = (");
        self.changing.push(&mut out)?;
        out.push_sql(") where id = ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        out.push_sql(" and version = ");
        out.push_bind_param::<BigInt, _>(&self.version)
    }
}

impl QueryId for Update<'_> {
    type QueryId = Update<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for &Update<'_> {}

/// What the sessions of a batch have in common.
pub(super) struct Batch<'a> {
    pub(super) ids: &'a mut Ids,
    /// What becomes of the sums.
    pub(super) change: Change,
    /// Those that started before may be settled, and are then found by their start alone.
    pub(super) live_from_ms: i64,
}

impl<'a> Batch<'a> {
    pub(super) fn new(ids: &'a mut Ids) -> Self {
        let live_from_ms = (Utc::now() - LIVE).timestamp_millis();
        Self { ids, change: Change::default(), live_from_ms }
    }

    /// Writes one session, unless the version is another than expected.
    pub(super) fn write(
        &mut self,
        connection: &mut SqliteConnection,
        write: &SessionWrite,
    ) -> Result<Outcome, Failure> {
        let written = if write.expected == 0 {
            self.begin(connection, write)?
        } else {
            let id = write.id.as_bytes().as_slice();
            let version = i64::from(write.expected);
            let update = Update { id, version, changing: Changing::new(write) };
            // Hardly ever does a session change that was quiet for long.
            update.execute(connection)? == 1
                || rollup::withdraw(connection, id, version, &mut self.change)?
                    && update.execute(connection)? == 1
        };
        Ok(if written { Outcome::Written } else { Outcome::Conflict })
    }

    fn begin(
        &mut self,
        connection: &mut SqliteConnection,
        write: &SessionWrite,
    ) -> Result<bool, Failure> {
        let subject = &*write.subject;
        let id = write.id.as_bytes().as_slice();
        let started_at = write.stored.started_at_ms;
        let video_id = self.ids.video(connection, &subject.key, &subject.video)?;
        if started_at < self.live_from_ms {
            let this = sessions::table.find((video_id, started_at, id));
            if diesel::select(diesel::dsl::exists(this)).get_result(connection)? {
                return Ok(false);
            }
        }
        let source = subject.source.as_ref();
        let source = source.map(|source| self.ids.source(connection, source)).transpose()?;
        let insert = Insert {
            id,
            place: [video_id, started_at],
            source,
            classes: [
                subject.client.browser.code().into(),
                subject.client.platform.code().into(),
                subject.client.device.code().into(),
            ],
            session_data: subject.session_data.as_deref(),
            changing: Changing::new(write),
        };
        Ok(insert.execute(connection)? == 1)
    }
}

/// Notes that an instance is alive, and forgets those that died long ago.
pub(super) fn beat(
    connection: &mut SqliteConnection,
    instance: Instance,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let seen_at = instances::seen_at.eq(now.timestamp_millis());
    diesel::insert_into(instances::table)
        .values((instances::id.eq(i64::from(instance.0)), seen_at))
        .on_conflict(instances::id)
        .do_update()
        .set(seen_at)
        .execute(connection)?;
    let dead_ms = (now - INSTANCE_KEPT).timestamp_millis();
    let forgotten = diesel::delete(instances::table.filter(instances::seen_at.lt(dead_ms)))
        .execute(connection)?;
    if 0 < forgotten {
        let known = instances::table.select(instances::id.nullable());
        diesel::update(loose_sessions::table.filter(loose_sessions::instance.ne_all(known)))
            .set(loose_sessions::instance.eq(None::<i64>))
            .execute(connection)?;
    }
    Ok(())
}

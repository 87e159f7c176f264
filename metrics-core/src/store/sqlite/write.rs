//! Rows of keys, videos, instances and open sessions, written always inside a transaction.
//!
//! The statements for every session have texts that never change, so that each is prepared once. Diesel prepares an
//! `update` each time, and SQLite itself prepares a statement again whenever a bound value could change the plan: that
//! of a `limit`, which `first` has, or one that is compared with the condition of a partial index.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use quick_cache::unsync::Cache;

use super::schema::{instances, keys, videos};
use super::sql::Sql;
use crate::arrival::Arrival;
use crate::key::{ApiKey, SessionId};
use crate::session::Stored;
use crate::source::Source;
use crate::store::common::{IDS_MAX, INSTANCE_KEPT};
use crate::store::failure::Failure;
use crate::store::{Instance, KeyId, OpenSession, Outcome, SessionWrite, Version, VideoId};
use crate::user_agent::UserAgentClass;
use crate::video::Video;

/// Ids of rows that are known to exist.
pub(super) struct Ids {
    keys: Cache<ApiKey, KeyId>,
    videos: Cache<[u8; 16], (KeyId, VideoId)>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { keys: Cache::new(IDS_MAX.get()), videos: Cache::new(IDS_MAX.get()) }
    }
}

impl Ids {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn key(&mut self, connection: &mut SqliteConnection, key: &ApiKey) -> Result<KeyId, Failure> {
        if let Some(id) = self.keys.get(key) {
            return Ok(*id);
        }
        let row = keys::table.filter(keys::key.eq(key.as_str())).select(keys::id);
        let id = row.get_result(connection).optional()?.map(KeyId).ok_or(Failure::NoKey)?;
        self.keys.insert(key.clone(), id);
        Ok(id)
    }

    /// Returns the ids of a video and its key, and adds the video if it is new.
    pub(super) fn video(
        &mut self,
        connection: &mut SqliteConnection,
        key: &ApiKey,
        video: &Video,
    ) -> Result<(KeyId, VideoId), Failure> {
        let digest = video.digest(key);
        if let Some(ids) = self.videos.get(&digest) {
            return Ok(*ids);
        }
        let key_id = self.key(connection, key)?;
        let texts = [video.identifier(), video.metadata()];
        InsertVideo { key_id: key_id.0, digest: &digest, texts }.execute(connection)?;
        let row = videos::table.filter(videos::digest.eq(digest.as_slice())).select(videos::id);
        let ids = (key_id, VideoId(row.get_result(connection)?));
        self.videos.insert(digest, ids);
        Ok(ids)
    }
}

/// Adds a video, unless it exists. Never reuses the id of a deleted video, as SQLite itself would: a cached id would
/// then mean another video.
struct InsertVideo<'a> {
    key_id: i64,
    digest: &'a [u8],
    // Identifier and metadata.
    texts: [Option<&'a str>; 2],
}

impl QueryFragment<Sqlite> for InsertVideo<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "insert into videos (id, key_id, digest, identifier, metadata) \
             select 1 + max(last_video_id, coalesce((select max(id) from videos), 0)), ",
        );
        out.push_bind_param::<BigInt, _>(&self.key_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.digest)?;
        for text in &self.texts {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<Text>, _>(text)?;
        }
        out.push_sql(" from upkeep where true on conflict (digest) do nothing");
        Ok(())
    }
}

impl QueryId for InsertVideo<'_> {
    type QueryId = InsertVideo<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for InsertVideo<'_> {}

/// The columns of a session that change while it is open.
struct Changing<'a> {
    numbers: [i64; 7],
    optional_numbers: [Option<i64>; 3],
    segments: &'a [u8],
    minutes: Vec<u8>,
    resume: &'a [u8],
    details: Option<String>,
}

impl<'a> Changing<'a> {
    /// Their names, in the order in which values are pushed.
    const COLUMNS: &'static str = "version, last_event_at, view_ms, unique_ms, rebufferings, rebuffering_ms, \
        failures, duration_ms, startup_ms, instance, segments, minutes, resume, details";

    fn new(version: Version, stored: &'a Stored, instance: Option<Instance>) -> Self {
        let counters = &stored.counters;
        Self {
            numbers: [
                version.into(),
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
                instance.map(|instance| i64::from(instance.0)),
            ],
            segments: &stored.segments,
            minutes: stored.minutes.encode(),
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
        out.push_bind_param::<Binary, _>(&self.segments)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.minutes)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.resume)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.details)
    }
}

/// Adds the row of a session, unless one has its id.
struct Insert<'a> {
    id: &'a [u8],
    // Its key, its video and its start.
    numbers: [i64; 3],
    page: Option<&'a str>,
    classes: [i32; 3],
    session_data: Option<&'a str>,
    arrival: Option<String>,
    changing: Changing<'a>,
}

impl<'a> Insert<'a> {
    fn new(
        id: &'a SessionId,
        (key, video): (KeyId, VideoId),
        page: Option<&'a Source>,
        user_agent: UserAgentClass,
        (session_data, arrival): (Option<&'a str>, &Arrival),
        (started_at_ms, changing): (i64, Changing<'a>),
    ) -> Self {
        let UserAgentClass { browser, platform, device } = user_agent;
        Self {
            id: id.as_bytes(),
            numbers: [key.0, video.0, started_at_ms],
            page: page.map(Source::as_str),
            classes: [browser.code().into(), platform.code().into(), device.code().into()],
            session_data,
            arrival: arrival.to_json(),
            changing,
        }
    }
}

impl QueryFragment<Sqlite> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "insert into open_sessions \
             (id, key_id, video_id, started_at, page, browser, platform, device, session_data, arrival, ",
        );
        out.push_sql(Changing::COLUMNS);
        out.push_sql(") select ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        for number in &self.numbers {
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(number)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.page)?;
        for class in &self.classes {
            out.push_sql(", ");
            out.push_bind_param::<Integer, _>(class)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.session_data)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.arrival)?;
        out.push_sql(", ");
        self.changing.push(&mut out)?;
        out.push_sql(" where not exists (select 1 from closed_sessions where id = ");
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

/// Updates the row of an open session, if it has this version.
struct Update<'a> {
    id: &'a [u8],
    version: i64,
    started_at_ms: i64,
    changing: Changing<'a>,
}

impl QueryFragment<Sqlite> for Update<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("update open_sessions set (");
        out.push_sql(Changing::COLUMNS);
        out.push_sql(") = (");
        self.changing.push(&mut out)?;
        out.push_sql(") where id = ");
        out.push_bind_param::<Binary, _>(&self.id)?;
        out.push_sql(" and version = ");
        out.push_bind_param::<BigInt, _>(&self.version)?;
        out.push_sql(" and started_at = ");
        out.push_bind_param::<BigInt, _>(&self.started_at_ms)
    }
}

impl QueryId for Update<'_> {
    type QueryId = Update<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for Update<'_> {}

/// Writes the row of one session, unless its version is not the expected one.
pub(super) fn write(
    connection: &mut SqliteConnection,
    ids: &mut Ids,
    write: &SessionWrite,
) -> Result<Outcome, Failure> {
    let SessionWrite { id, subject, expected, stored, watched_at } = write;
    let changing = Changing::new(expected.wrapping_add(1), stored, *watched_at);
    let rows = if *expected == 0 {
        let ids = ids.video(connection, &subject.key, &subject.video)?;
        let page = subject.source.as_ref();
        let data = (subject.session_data.as_deref(), &subject.arrival);
        let changing = (stored.started_at_ms, changing);
        Insert::new(id, ids, page, subject.user_agent, data, changing).execute(connection)?
    } else {
        let (version, started_at_ms) = (i64::from(*expected), stored.started_at_ms);
        Update { id: id.as_bytes(), version, started_at_ms, changing }.execute(connection)?
    };
    Ok(if rows == 1 { Outcome::Written } else { Outcome::Conflict })
}

/// Adds the row of a closed session that goes on. Returns false if an open or closed session has its id.
pub(super) fn reopen(
    connection: &mut SqliteConnection,
    session: &OpenSession,
) -> QueryResult<bool> {
    let OpenSession { id, version, key, video, row } = session;
    let changing = (row.stored.started_at_ms, Changing::new(*version, &row.stored, None));
    let (page, data) = (row.page.as_ref(), (row.session_data.as_deref(), &row.arrival));
    let insert = Insert::new(id, (*key, *video), page, row.user_agent, data, changing);
    Ok(insert.execute(connection)? == 1)
}

/// Records that an instance is alive, and deletes the rows of instances that died long ago.
pub(super) fn heartbeat(
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
    let deleted = diesel::delete(instances::table.filter(instances::seen_at.lt(dead_ms)))
        .execute(connection)?;
    if 0 < deleted {
        let clear = "update open_sessions set instance = null \
                      where instance is not null and instance not in (select id from instances)";
        Sql::<()>::new(clear, []).execute(connection)?;
    }
    Ok(())
}

//! What the writing connection does, always inside a transaction.

use std::num::NonZeroUsize;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use quick_cache::unsync::Cache;

use super::rollup;
use super::schema::{instances, keys, sessions, sources, videos};
use crate::key::ApiKey;
use crate::rollup::Change;
use crate::session::Stored;
use crate::source::Source;
use crate::store::failure::Failure;
use crate::store::{Instance, Outcome, SessionWrite};
use crate::video::Video;

/// How many ids of videos and of sources are remembered: the ones that are watched at the moment.
const IDS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How long a dead instance is remembered. It left the count long before.
const INSTANCE_KEPT: TimeDelta = TimeDelta::hours(1);

/// How many sessions are deleted, and how many videos looked at, before others may write again.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

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
        let id = row.first(connection).optional()?.ok_or(Failure::NoKey)?;
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
        let id = row.first(connection)?;
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
        let id = row.first(connection)?;
        self.sources.insert(source.clone(), id);
        Ok(id)
    }
}

/// The columns of a session that change while it lasts.
#[derive(AsChangeset, Insertable)]
#[diesel(table_name = sessions, treat_none_as_null = true)]
struct Changing<'a> {
    version: i64,
    last_event_at: i64,
    duration_ms: Option<i64>,
    view_ms: i64,
    unique_ms: i64,
    segments: &'a [u8],
    rebufferings: i64,
    rebuffering_ms: i64,
    failures: i64,
    startup_ms: Option<i64>,
    details: Option<String>,
    resume: &'a [u8],
    instance: Option<i64>,
}

impl<'a> Changing<'a> {
    fn new(write: &'a SessionWrite) -> Self {
        let stored: &Stored = &write.stored;
        let counters = &stored.counters;
        Self {
            version: i64::from(write.expected) + 1,
            last_event_at: stored.last_event_at_ms,
            duration_ms: stored.duration_ms.map(i64::from),
            view_ms: stored.view_ms as i64,
            unique_ms: stored.unique_ms as i64,
            segments: &stored.segments,
            rebufferings: i64::from(counters.rebufferings),
            rebuffering_ms: counters.rebuffering_ms as i64,
            failures: i64::from(counters.failures),
            startup_ms: counters.startup_ms.map(i64::from),
            details: counters.details.encode(),
            resume: &stored.resume,
            instance: write.watched_at.map(|instance| i64::from(instance.0)),
        }
    }
}

/// Writes one session, unless the version is another than expected.
pub(super) fn session(
    connection: &mut SqliteConnection,
    ids: &mut Ids,
    write: &SessionWrite,
    change: &mut Change,
) -> Result<Outcome, Failure> {
    let changing = Changing::new(write);
    let id = write.id.as_bytes().as_slice();
    let rows = if write.expected == 0 {
        let subject = &*write.subject;
        let video_id = ids.video(connection, &subject.key, &subject.video)?;
        let source = subject.source.as_ref();
        let source_id = source.map(|source| ids.source(connection, source)).transpose()?;
        diesel::insert_into(sessions::table)
            .values((
                sessions::id.eq(id),
                sessions::video_id.eq(video_id),
                sessions::started_at.eq(write.stored.started_at_ms),
                sessions::source_id.eq(source_id),
                sessions::browser.eq(i32::from(subject.client.browser.code())),
                sessions::platform.eq(i32::from(subject.client.platform.code())),
                sessions::device.eq(i32::from(subject.client.device.code())),
                sessions::session_data.eq(subject.session_data.as_deref()),
                changing,
            ))
            .on_conflict(sessions::id)
            .do_nothing()
            .execute(connection)?
    } else {
        let version = i64::from(write.expected);
        let this =
            sessions::table.filter(sessions::id.eq(id)).filter(sessions::version.eq(version));
        let loose = diesel::update(this.filter(sessions::rolled.eq(0))).set(&changing);
        let rows = loose.execute(connection)?;
        // Hardly ever does a session change that was quiet for long.
        if rows == 0 && rollup::withdraw(connection, id, version, change)? {
            diesel::update(this).set((changing, sessions::rolled.eq(0))).execute(connection)?
        } else {
            rows
        }
    };
    Ok(if rows == 1 { Outcome::Written } else { Outcome::Conflict })
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
        diesel::update(sessions::table.filter(sessions::instance.ne_all(known)))
            .set(sessions::instance.eq(None::<i64>))
            .execute(connection)?;
    }
    Ok(())
}

/// Deletes some of the sessions that started before, from a video on, and returns the video to go on with.
///
/// Video by video, as the table lies: nothing is read but the videos and what is deleted.
pub(super) fn forget(
    connection: &mut SqliteConnection,
    before_ms: i64,
    from_video: i64,
) -> Result<Option<i64>, Failure> {
    let some = videos::table.filter(videos::id.ge(from_video)).order(videos::id);
    let some: Vec<i64> = some.limit(FORGOTTEN_AT_ONCE).select(videos::id).load(connection)?;
    let mut room = FORGOTTEN_AT_ONCE;
    for video in &some {
        let old = sessions::table
            .filter(sessions::video_id.eq(video))
            .filter(sessions::started_at.lt(before_ms))
            .order(sessions::started_at)
            .limit(room)
            .select(sessions::id);
        let old: Vec<Vec<u8>> = old.load(connection)?;
        room -= old.len() as i64;
        if !old.is_empty() {
            rollup::remove_all(connection, &old)?;
            diesel::delete(sessions::table.filter(sessions::id.eq_any(old))).execute(connection)?;
        }
        if room == 0 {
            return Ok(Some(*video));
        }
    }
    let full = some.len() as i64 == FORGOTTEN_AT_ONCE;
    Ok(some.last().filter(|_| full).map(|last| last + 1))
}

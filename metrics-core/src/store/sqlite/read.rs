//! What the reading connections do beside reports, and which videos and sessions a selection means.

use std::collections::HashMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use serde_json::{Map, Value};

use super::STATEMENT_MAX;
use super::schema::{instances, keys, loose_sessions, rolled_sessions, sessions, videos};
use crate::containment::contains;
use crate::key::{ApiKey, SessionId};
use crate::query::Selection;
use crate::session::{Stored, over};
use crate::store::failure::Failure;
use crate::store::row::{Columns, narrow, object};
use crate::store::{INSTANCE_SILENCE_MAX, KnownVideo, Loaded, Lookup};
use crate::varint::Damaged;
use crate::video::Video;

/// After how many rows the clock is asked whether the report takes too long.
const ROWS_PER_LOOK: u32 = 4_096;

/// The columns of a table from which a [`Row`] is read.
macro_rules! row {
    ($table:ident) => {
        (
            $table::started_at,
            $table::last_event_at,
            $table::duration_ms,
            $table::view_ms,
            $table::unique_ms,
            $table::segments,
            $table::rebufferings,
            $table::rebuffering_ms,
            $table::failures,
            $table::startup_ms,
            $table::details,
        )
    };
}
pub(super) use row;

/// What is told of a session, be it loose or not.
#[derive(Queryable)]
pub(super) struct Row {
    started_at: i64,
    last_event_at: i64,
    duration_ms: Option<i64>,
    view_ms: i64,
    unique_ms: i64,
    segments: Vec<u8>,
    rebufferings: i64,
    rebuffering_ms: i64,
    failures: i64,
    startup_ms: Option<i64>,
    details: Option<String>,
}

impl Row {
    fn columns(self, resume: Vec<u8>) -> Columns {
        Columns {
            started_at_ms: self.started_at,
            last_event_at_ms: self.last_event_at,
            duration_ms: self.duration_ms,
            view_ms: self.view_ms,
            unique_ms: self.unique_ms,
            segments: self.segments,
            rebufferings: self.rebufferings,
            rebuffering_ms: self.rebuffering_ms,
            failures: self.failures,
            startup_ms: self.startup_ms,
            details: self.details,
            resume,
        }
    }

    /// The session, and what it needs to go on, if it can.
    pub(super) fn stored(self, resume: Option<Vec<u8>>) -> Result<Stored, Damaged> {
        self.columns(resume.unwrap_or_else(over)).stored()
    }
}

pub(super) fn load(
    connection: &mut SqliteConnection,
    id: SessionId,
) -> Result<Option<Loaded>, Failure> {
    let id = id.as_bytes().as_slice();
    let loose = loose_sessions::table
        .inner_join(videos::table.on(videos::id.eq(loose_sessions::video_id)))
        .filter(loose_sessions::id.eq(id))
        .select((
            (videos::digest, videos::identifier),
            loose_sessions::version,
            loose_sessions::resume,
            row!(loose_sessions),
        ));
    let loose: Option<(OfVideo, i64, Vec<u8>, Row)> = loose.get_result(connection).optional()?;
    if let Some(((video, identifier), version, resume, row)) = loose {
        let video = video.try_into().map_err(|_| DIGEST)?;
        let (version, stored) = (narrow(version)?, row.columns(resume).stored()?);
        return Ok(Some(Loaded { version, video, identifier, stored }));
    }
    let rolled = rolled_sessions::table
        .inner_join(videos::table.on(videos::id.eq(rolled_sessions::video_id)))
        .left_join(sessions::table.on(of_session()))
        .filter(rolled_sessions::id.eq(id))
        .select((
            (videos::digest, videos::identifier),
            rolled_sessions::version,
            rolled_sessions::resume,
            row!(sessions).nullable(),
        ));
    let rolled: Option<(OfVideo, i64, Vec<u8>, Option<Row>)> =
        rolled.get_result(connection).optional()?;
    let Some(((video, identifier), version, resume, row)) = rolled else { return Ok(None) };
    let video = video.try_into().map_err(|_| DIGEST)?;
    let (version, stored) = (narrow(version)?, row.ok_or(LOST)?.columns(resume).stored()?);
    Ok(Some(Loaded { version, video, identifier, stored }))
}

/// The digest of a session's video, and its identifier.
type OfVideo = (Vec<u8>, Option<String>);

const DIGEST: Damaged = Damaged("the digest of a video has no 16 bytes");

/// A session that is said to be rolled up, and is not there.
pub(super) const LOST: Damaged = Damaged("a session is not where it was rolled up");

/// What is stored of a session, also of one that cannot go on.
pub(super) fn find(
    connection: &mut SqliteConnection,
    lookup: &Lookup,
) -> Result<Option<Stored>, Failure> {
    let digest = lookup.video.digest(&lookup.key);
    let video = videos::table.filter(videos::digest.eq(&digest[..])).select(videos::id);
    let video: Option<i64> = video.get_result(connection).optional()?;
    let Some(video) = video else { return Ok(None) };
    let id = lookup.id.as_bytes().as_slice();
    let loose = loose_sessions::table
        .filter(loose_sessions::id.eq(id))
        .filter(loose_sessions::video_id.eq(video))
        .filter(loose_sessions::started_at.eq(lookup.started_at_ms))
        .select((row!(loose_sessions), loose_sessions::resume.nullable()));
    let found: Option<(Row, Option<Vec<u8>>)> = loose.get_result(connection).optional()?;
    let found = match found {
        Some(found) => Some(found),
        None => {
            let rolled = sessions::table
                .left_join(rolled_sessions::table.on(of_session()))
                .filter(sessions::video_id.eq(video))
                .filter(sessions::started_at.eq(lookup.started_at_ms))
                .filter(sessions::id.eq(id))
                .select((row!(sessions), rolled_sessions::resume.nullable()));
            rolled.get_result(connection).optional()?
        }
    };
    Ok(found.map(|(row, resume)| row.stored(resume)).transpose()?)
}

/// Which row says how a session goes on: an id may have come again.
#[diesel::dsl::auto_type]
pub(super) fn of_session() -> _ {
    rolled_sessions::id
        .eq(sessions::id)
        .and(rolled_sessions::video_id.eq(sessions::video_id))
        .and(rolled_sessions::started_at.eq(sessions::started_at))
}

/// Which videos are there, and how many their keys have.
pub(super) fn known_videos(
    connection: &mut SqliteConnection,
    asked: &[(ApiKey, Video)],
) -> Result<Vec<KnownVideo>, Failure> {
    let mut counts: HashMap<&ApiKey, u64> = HashMap::new();
    let mut known = Vec::with_capacity(asked.len());
    for (key, video) in asked {
        let digest = video.digest(key);
        let this = videos::table.filter(videos::digest.eq(&digest[..]));
        let is_there = diesel::select(diesel::dsl::exists(this)).get_result(connection)?;
        let videos_of_key = match counts.get(key) {
            Some(count) => *count,
            None => {
                let ids = keys::table.filter(keys::key.eq(key.as_str())).select(keys::id);
                let all = videos::table.filter(videos::key_id.eq_any(ids));
                let count: i64 = all.count().get_result(connection)?;
                *counts.entry(key).or_insert(count.unsigned_abs())
            }
        };
        known.push(KnownVideo { is_there, videos_of_key });
    }
    Ok(known)
}

/// Counts the sessions.
pub(super) fn count(connection: &mut SqliteConnection) -> Result<u64, Failure> {
    let rolled: i64 = sessions::table.count().get_result(connection)?;
    let loose: i64 = loose_sessions::table.count().get_result(connection)?;
    Ok(rolled.unsigned_abs() + loose.unsigned_abs())
}

pub(super) fn watching(
    connection: &mut SqliteConnection,
    selection: &Selection,
    now: DateTime<Utc>,
) -> Result<u64, Failure> {
    let mut filter = Filter::new(selection);
    let videos: std::collections::HashSet<i64> = filter.videos(connection)?.into_iter().collect();
    let heard_ms = (now - INSTANCE_SILENCE_MAX).timestamp_millis();
    let alive =
        instances::table.filter(instances::seen_at.ge(heard_ms)).select(instances::id.nullable());
    let open = loose_sessions::table
        .filter(loose_sessions::instance.eq_any(alive))
        .select((loose_sessions::video_id, loose_sessions::session_data));
    let mut watching = 0;
    for row in open.load_iter::<(i64, Option<String>), DefaultLoadingMode>(connection)? {
        let (video, data) = row?;
        watching += u64::from(videos.contains(&video) && filter.takes(data)?);
    }
    Ok(watching)
}

/// Which rows of a scan count, as far as SQL does not say it.
pub(super) struct Filter<'a> {
    pub(super) selection: &'a Selection,
    // Session data seen before: most sessions share theirs with many.
    judged: HashMap<String, bool>,
    rows: u32,
    began: Instant,
}

/// How many identifiers are asked for in one statement. SQLite takes 32,766 variables.
const IDENTIFIERS_MAX: usize = 10_000;

/// How many different session data are judged only once.
const JUDGED_MAX: usize = 10_000;

impl<'a> Filter<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        Self { selection, judged: HashMap::new(), rows: 0, began: Instant::now() }
    }

    /// The videos that are selected.
    pub(super) fn videos(&self, connection: &mut SqliteConnection) -> Result<Vec<i64>, Failure> {
        let Some(identifiers) = &self.selection.identifiers else {
            return self.videos_among(connection, None);
        };
        let mut identifiers: Vec<&str> = identifiers.iter().map(String::as_str).collect();
        identifiers.sort_unstable();
        identifiers.dedup();
        let mut selected = Vec::new();
        for some in identifiers.chunks(IDENTIFIERS_MAX) {
            selected.extend(self.videos_among(connection, Some(some))?);
        }
        Ok(selected)
    }

    fn videos_among(
        &self,
        connection: &mut SqliteConnection,
        identifiers: Option<&[&str]>,
    ) -> Result<Vec<i64>, Failure> {
        let mut rows = videos::table.select((videos::id, videos::metadata)).into_boxed();
        if let Some(identifiers) = identifiers {
            rows = rows.filter(videos::identifier.eq_any(identifiers));
        }
        if let Some(key) = &self.selection.key {
            let key = keys::table.filter(keys::key.eq(key.as_str())).select(keys::id);
            rows = rows.filter(videos::key_id.eq_any(key));
        }
        let mut selected = Vec::new();
        for row in rows.load_iter::<(i64, Option<String>), DefaultLoadingMode>(connection)? {
            let (id, metadata) = row?;
            if STATEMENT_MAX < self.began.elapsed() {
                return Err(Failure::TooLong);
            }
            if includes(self.selection.video.as_ref(), metadata.as_deref())? {
                selected.push(id);
            }
        }
        Ok(selected)
    }

    /// Whether a session with this data counts. Also looks at the clock now and then.
    pub(super) fn takes(&mut self, data: Option<String>) -> Result<bool, Failure> {
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_PER_LOOK) && STATEMENT_MAX < self.began.elapsed() {
            return Err(Failure::TooLong);
        }
        let Some(part) = &self.selection.session else { return Ok(true) };
        let Some(data) = data else { return Ok(false) };
        if let Some(judged) = self.judged.get(&data) {
            return Ok(*judged);
        }
        let judged = includes(Some(part), Some(&data))?;
        if self.judged.len() < JUDGED_MAX {
            self.judged.insert(data, judged);
        }
        Ok(judged)
    }
}

/// Whether the JSON text `whole` contains `part`, if that is asked for.
fn includes(part: Option<&Map<String, Value>>, whole: Option<&str>) -> Result<bool, Damaged> {
    let Some(part) = part else { return Ok(true) };
    let Some(whole) = whole else { return Ok(false) };
    Ok(contains(&Value::Object(object(whole)?), &Value::Object(part.clone())))
}

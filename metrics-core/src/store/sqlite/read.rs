//! Queries on reading connections outside of snapshots, and rows of open sessions.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::schema::{keys, videos};
use super::sql::Sql;
use crate::block::Row;
use crate::key::{ApiKey, SessionId};
use crate::store::failure::Failure;
use crate::store::row::{Columns, arrival, column_as, page, user_agent};
use crate::store::{Found, KeyId, KnownVideo, Location, OpenSession, Version, VideoId};
use crate::varint::Damaged;
use crate::video::Video;

/// The columns of an [`OpenRow`].
pub(super) const OPEN_COLUMNS: &str = "open_sessions.id, version, open_sessions.key_id, video_id, page, browser, platform, device, \
    session_data, started_at, last_event_at, duration_ms, view_ms, unique_ms, segments, minutes, rebufferings, rebuffering_ms, \
    failures, startup_ms, details, resume, arrival";

/// Their types.
pub(super) type OpenColumns = (
    Binary,
    BigInt,
    BigInt,
    BigInt,
    Nullable<Text>,
    Integer,
    Integer,
    Integer,
    Nullable<Text>,
    BigInt,
    BigInt,
    Nullable<BigInt>,
    BigInt,
    BigInt,
    Binary,
    Binary,
    BigInt,
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<Text>,
    Binary,
    Nullable<Text>,
);

/// The row of an open session.
#[derive(Queryable)]
pub(super) struct OpenRow {
    id: Vec<u8>,
    version: i64,
    key_id: i64,
    video_id: i64,
    page: Option<String>,
    browser: i32,
    platform: i32,
    device: i32,
    session_data: Option<String>,
    started_at: i64,
    last_event_at: i64,
    duration_ms: Option<i64>,
    view_ms: i64,
    unique_ms: i64,
    segments: Vec<u8>,
    minutes: Vec<u8>,
    rebufferings: i64,
    rebuffering_ms: i64,
    failures: i64,
    startup_ms: Option<i64>,
    details: Option<String>,
    resume: Vec<u8>,
    arrival: Option<String>,
}

impl OpenRow {
    pub(super) fn session(self) -> Result<OpenSession, Damaged> {
        let id = session_id(self.id)?;
        let stored = Columns {
            started_at_ms: self.started_at,
            last_event_at_ms: self.last_event_at,
            duration_ms: self.duration_ms,
            view_ms: self.view_ms,
            unique_ms: self.unique_ms,
            segments: self.segments,
            minutes: self.minutes,
            rebufferings: self.rebufferings,
            rebuffering_ms: self.rebuffering_ms,
            failures: self.failures,
            startup_ms: self.startup_ms,
            details: self.details,
            resume: self.resume,
        };
        Ok(OpenSession {
            id,
            version: column_as(self.version)?,
            key: KeyId(self.key_id),
            video: VideoId(self.video_id),
            row: Row {
                id: id.into(),
                page: self.page.map(|url| page(&url)).transpose()?,
                user_agent: user_agent(self.browser, self.platform, self.device),
                session_data: self.session_data.map(Into::into),
                arrival: arrival(self.arrival.as_deref())?,
                stored: stored.stored()?,
            },
        })
    }
}

pub(super) fn session_id(bytes: Vec<u8>) -> Result<SessionId, Damaged> {
    let bytes = bytes.try_into().map_err(|_| Damaged("the id of a session has no 16 bytes"))?;
    Ok(SessionId::from_bytes(bytes))
}

/// A video and a start.
pub(super) type QuietFrom = (i64, i64);

/// Returns open sessions that are quiet, by video and start, so that they become few blocks; and the start of the next
/// call, because quiet sessions may come after many others.
pub(super) fn quiet(
    connection: &mut SqliteConnection,
    quiet_since_ms: i64,
    limit: u32,
    from: QuietFrom,
) -> Result<(Vec<OpenSession>, QuietFrom), Failure> {
    let mut quiet = quiet_where(connection, quiet_since_ms, limit, (">=", from))?;
    if quiet.len() < limit as usize {
        let rest = limit - quiet.len() as u32;
        quiet.extend(quiet_where(connection, quiet_since_ms, rest, ("<", from))?);
    }
    let next = quiet.last().map_or(from, |last| (last.video_id, last.started_at));
    let quiet = quiet.into_iter().map(OpenRow::session).collect::<Result<_, _>>()?;
    Ok((quiet, next))
}

fn quiet_where(
    connection: &mut SqliteConnection,
    quiet_since_ms: i64,
    limit: u32,
    (comparison, (video, start)): (&str, QuietFrom),
) -> Result<Vec<OpenRow>, Failure> {
    // Every event comes after the start, and the start is in the index.
    let text = format!(
        "select {OPEN_COLUMNS} from open_sessions where (video_id, started_at) {comparison} (?, ?) \
         and started_at < ? and last_event_at < ? and instance is null order by video_id, started_at limit ?"
    );
    let numbers = [video, start, quiet_since_ms, quiet_since_ms, limit.into()];
    Sql::<OpenColumns>::new(text, numbers.map(Into::into)).load_in_time(connection)
}

/// Loads a session that can go on.
pub(super) fn load(
    connection: &mut SqliteConnection,
    id: SessionId,
) -> Result<Option<Found>, Failure> {
    let bytes = id.as_bytes().as_slice();
    let text = format!(
        "select {OPEN_COLUMNS}, digest, identifier from open_sessions join videos on videos.id = video_id \
         where open_sessions.id = ?"
    );
    let open: Option<(OpenRow, OfVideo)> =
        Sql::<(OpenColumns, (Binary, Nullable<Text>))>::new(text, [bytes.into()])
            .get_result(connection)
            .optional()?;
    if let Some((row, video)) = open {
        let OpenSession { version, row, .. } = row.session()?;
        return Ok(Some(found(version, video, Location::Open(row.stored))?));
    }
    type Closed = (BigInt, BigInt, BigInt, BigInt, Binary, (Binary, Nullable<Text>));
    let closed: Option<(i64, i64, i64, i64, Vec<u8>, OfVideo)> = Sql::<Closed>::new(
        "select version, key_id, video_id, started_at, resume, digest, identifier \
         from closed_sessions join videos on videos.id = video_id where closed_sessions.id = ?",
        [bytes.into()],
    )
    .get_result(connection)
    .optional()?;
    let Some((version, key, video, started_at_ms, resume, of)) = closed else { return Ok(None) };
    let location =
        Location::Closed { key: KeyId(key), video: VideoId(video), started_at_ms, resume };
    Ok(Some(found(column_as(version)?, of, location)?))
}

/// The digest of a session's video, and its identifier.
type OfVideo = (Vec<u8>, Option<String>);

fn found(
    version: Version,
    (video, identifier): OfVideo,
    location: Location,
) -> Result<Found, Damaged> {
    let video = video.try_into().map_err(|_| Damaged("the digest of a video has no 16 bytes"))?;
    Ok(Found { version, video, identifier, location })
}

/// Returns which videos exist, and the number of videos of their keys.
pub(super) fn known_videos(
    connection: &mut SqliteConnection,
    requested: &[(ApiKey, Video)],
) -> Result<Vec<KnownVideo>, Failure> {
    let mut counts: HashMap<&ApiKey, u64> = HashMap::new();
    let mut known = Vec::with_capacity(requested.len());
    for (key, video) in requested {
        let digest = video.digest(key);
        let this = videos::table.filter(videos::digest.eq(&digest[..]));
        let is_there = diesel::select(diesel::dsl::exists(this)).get_result(connection)?;
        let videos_of_key = match counts.get(key) {
            Some(count) => *count,
            None => *counts.entry(key).or_insert(count_videos(connection, key)?),
        };
        known.push(KnownVideo { is_there, videos_of_key });
    }
    Ok(known)
}

/// Counts the videos of a key.
pub(super) fn count_videos(connection: &mut SqliteConnection, key: &ApiKey) -> QueryResult<u64> {
    let ids = keys::table.filter(keys::key.eq(key.as_str())).select(keys::id);
    let all = videos::table.filter(videos::key_id.eq_any(ids));
    let count: i64 = all.count().get_result(connection)?;
    Ok(count.unsigned_abs())
}

/// Counts the sessions, open and closed.
pub(super) fn count(connection: &mut SqliteConnection) -> Result<u64, Failure> {
    let count = "select (select count(*) from open_sessions) + (select coalesce(sum(sessions), 0) from blocks)";
    let count: i64 = Sql::<BigInt>::new(count, []).get_result(connection)?;
    Ok(count.unsigned_abs())
}

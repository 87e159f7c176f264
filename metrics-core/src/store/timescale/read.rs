//! Loads sessions that can go on, and finds quiet ones.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::columns::{OpenRow, StoredRow, select_open};
use super::prepared::Prepared;
use super::types::{Bits, timestamp};
use crate::key::SessionId;
use crate::store::failure::Failure;
use crate::store::row::column_as;
use crate::store::{Found, KeyId, Location, OpenSession, VideoId};
use crate::varint::Damaged;

#[derive(QueryableByName)]
struct FoundRow {
    #[diesel(sql_type = Uuid)]
    id: Bits,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Bool)]
    is_closed: bool,
    #[diesel(sql_type = Integer)]
    video_id: i32,
    // Of a closed session, only the start, the last event and the resume state.
    #[diesel(embed)]
    stored: StoredRow,
    #[diesel(sql_type = BigInt)]
    key_id: i64,
    #[diesel(sql_type = Uuid)]
    digest: Bits,
    #[diesel(sql_type = Nullable<Text>)]
    identifier: Option<String>,
}

/// Loads the sessions with these ids that can go on, in their order. One statement, because a session may move between
/// the two tables at any moment.
pub(super) async fn load(
    connection: &mut AsyncPgConnection,
    ids: &[SessionId],
) -> Result<Vec<Option<Found>>, Failure> {
    let ids: Vec<_> = ids.iter().map(|id| Bits(*id.as_bytes())).collect();
    let rows: Vec<FoundRow> = Prepared::new(
        "select each.*, key_id, digest, identifier
         from (
            select id, version, false as is_closed, video_id, started_at, last_event_at, duration_ms, view_ms, unique_ms,
                segments, minutes, rebufferings, rebuffering_ms, failures, startup_ms, details, resume
            from open_sessions where id = any($1)
            union all
            select id, version, true, video_id, started_at, last_event_at, null, 0, 0, '', '', null, null, null, null, null,
                resume
            from closed_sessions where id = any($1)
         ) each, lateral (
            select key_id, digest, identifier from videos where videos.id = video_id offset 0
         ) of_video",
    )
    .bind::<Array<Uuid>, _>(&ids)
    .load(connection)
    .await?;
    let found = rows.into_iter().map(|row| Ok((row.id, row.found()?)));
    let mut found: HashMap<Bits, Found> = found.collect::<Result<_, Damaged>>()?;
    Ok(ids.iter().map(|id| found.remove(id)).collect())
}

impl FoundRow {
    fn found(self) -> Result<Found, Damaged> {
        let location = if self.is_closed {
            Location::Closed {
                key: KeyId(self.key_id),
                video: VideoId(self.video_id.into()),
                started_at_ms: self.stored.started_at_ms(),
                resume: self.stored.into_resume(),
            }
        } else {
            Location::Open(self.stored.stored()?)
        };
        Ok(Found {
            version: column_as(self.version)?,
            video: self.digest.0,
            identifier: self.identifier,
            location,
        })
    }
}

/// Returns open sessions without an open segment that are quiet, in the order of their starts. No session stays in the
/// list for ever: it is closed, or goes on and leaves the list.
pub(super) async fn quiet(
    connection: &mut AsyncPgConnection,
    quiet_since: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<OpenSession>, Failure> {
    // A quiet session started before that.
    let of =
        "started_at < $1 and last_event_at < $1 and instance is null order by started_at limit $2";
    let rows: Vec<OpenRow> = Prepared::new(select_open(of))
        .bind::<Timestamptz, _>(timestamp(quiet_since.timestamp_millis()))
        .bind::<BigInt, _>(i64::from(limit))
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(OpenRow::open_session).collect::<Result<_, _>>()?)
}

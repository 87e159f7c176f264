//! How sessions are read whole, page by page.

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::read::Row;
use super::types::Bits;
use crate::key::SessionId;
use crate::store::failure::Failure;
use crate::store::row::{Links, canonical, client};
use crate::store::{Cursor, Page, Record};
use crate::varint::Damaged;

#[derive(QueryableByName)]
struct Exported {
    #[diesel(embed)]
    session: Row,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Nullable<Text>)]
    identifier: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    metadata: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    url: Option<String>,
    #[diesel(sql_type = Integer)]
    browser: i32,
    #[diesel(sql_type = Integer)]
    platform: i32,
    #[diesel(sql_type = Integer)]
    device: i32,
    #[diesel(sql_type = Nullable<Text>)]
    session_data: Option<String>,
}

/// A session of `sessions`, and what it is linked to.
const SELECT: &str =
    "select sessions.id, video_id, started_at, last_event_at, duration_ms, view_ms, unique_ms,
    segments, rebufferings, rebuffering_ms, failures, startup_ms, details, resume, key, identifier,
    metadata::text as metadata, url, browser::int as browser, platform::int as platform,
    device::int as device, session_data::text as session_data from";

const LINKS: &str = "sessions join videos on videos.id = video_id join keys on keys.id = key_id
    left join sources on sources.id = source_id";

/// The page after the one that ended at `cursor`.
pub(super) async fn page(
    connection: &mut AsyncPgConnection,
    cursor: Option<&Cursor>,
    limit: u32,
) -> Result<Page, Failure> {
    let place = cursor.map(|cursor| read_cursor(cursor).ok_or(Failure::NoCursor)).transpose()?;
    let limit = i64::from(limit);
    let mut rows = match place {
        Some(place) => rest_of_video(connection, place, limit).await?,
        None => Vec::new(),
    };
    let missing = limit - rows.len() as i64;
    if 0 < missing {
        let video_id = place.map_or(i64::MIN, |(video_id, ..)| video_id);
        rows.append(&mut next_videos(connection, video_id, missing).await?);
    }
    let full = rows.len() as i64 == limit;
    let next = rows.last().filter(|_| full).map(|last| write_cursor(&last.session));
    let records = rows.into_iter().map(Exported::record);
    Ok(Page { records: records.collect::<Result<_, Damaged>>()?, next })
}

/// The sessions of the same video behind this place. In this form TimescaleDB reads one chunk after the other, and
/// none that the page has no room for.
async fn rest_of_video(
    connection: &mut AsyncPgConnection,
    (video_id, started_at, id): Place,
    limit: i64,
) -> QueryResult<Vec<Exported>> {
    let query = diesel::sql_query(format!(
        "{SELECT} (
            select * from sessions
            where video_id = $1 and $2 <= started_at and (started_at, id) > ($2, $3)
            order by started_at, id limit $4) {LINKS}
         order by started_at, sessions.id"
    ));
    query
        .bind::<BigInt, _>(video_id)
        .bind::<Timestamptz, _>(started_at)
        .bind::<Uuid, _>(id)
        .bind::<BigInt, _>(limit)
        .load(connection)
        .await
}

/// The first sessions of the videos that come after this one.
async fn next_videos(
    connection: &mut AsyncPgConnection,
    video_id: i64,
    limit: i64,
) -> QueryResult<Vec<Exported>> {
    let query = diesel::sql_query(format!(
        "{SELECT} {LINKS} where $1 < video_id order by video_id, started_at, sessions.id limit $2"
    ));
    query.bind::<BigInt, _>(video_id).bind::<BigInt, _>(limit).load(connection).await
}

impl Exported {
    fn record(self) -> Result<Record, Damaged> {
        let client = client(self.browser, self.platform, self.device);
        let Self { session, key, identifier, metadata, url, session_data, .. } = self;
        // The database has an order and a form of its own for objects.
        let session_data = session_data.as_deref().map(canonical).transpose()?;
        let links = Links { key, identifier, metadata, url, client, session_data };
        let id = SessionId::from_bytes(session.id.0);
        Ok(Record { id, subject: links.subject()?, stored: session.loaded(1)?.stored })
    }
}

/// The video, the start and the id of the last session on a page.
type Place = (i64, PgTimestamp, Bits);

fn write_cursor(row: &Row) -> Cursor {
    let (video_id, started_at) = (row.video_id.to_be_bytes(), row.started_at.0.to_be_bytes());
    Cursor([&video_id[..], &started_at, &row.id.0].concat())
}

fn read_cursor(cursor: &Cursor) -> Option<Place> {
    let (video_id, rest) = cursor.0.split_first_chunk()?;
    let (started_at, id) = rest.split_first_chunk()?;
    let started_at = PgTimestamp(i64::from_be_bytes(*started_at));
    Some((i64::from_be_bytes(*video_id), started_at, Bits(id.try_into().ok()?)))
}

//! How sessions are read whole, page by page.

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::read::{COLUMNS, Place, Row};
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
    // What it needs to go on, if it can.
    #[diesel(sql_type = Nullable<Binary>)]
    resume: Option<Vec<u8>>,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Nullable<Text>)]
    identifier: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    metadata: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    url: Option<String>,
    #[diesel(sql_type = SmallInt)]
    browser: i16,
    #[diesel(sql_type = SmallInt)]
    platform: i16,
    #[diesel(sql_type = SmallInt)]
    device: i16,
    #[diesel(sql_type = Nullable<Text>)]
    session_data: Option<String>,
}

/// What of a session lies in its own row, beside [`COLUMNS`].
const MORE: &str = "source_id, browser, platform, device, session_data";

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
        let video_id = place.map_or(i32::MIN, |place| place.video_id);
        rows.append(&mut next_videos(connection, video_id, missing).await?);
    }
    let full = rows.len() as i64 == limit;
    let next = rows.last().filter(|_| full).map(|last| write_cursor(last.session.place));
    let records = rows.into_iter().map(Exported::record);
    Ok(Page { records: records.collect::<Result<_, Damaged>>()?, next })
}

/// The sessions of the same video behind this place. In this form TimescaleDB reads one chunk after the other, and
/// none that the page has no room for.
async fn rest_of_video(
    connection: &mut AsyncPgConnection,
    Place { id, video_id, started_at }: Place,
    limit: i64,
) -> QueryResult<Vec<Exported>> {
    let of = "video_id = $1 and $2 <= started_at and (started_at, id) > ($2, $3)";
    diesel::sql_query(select(of, "$4"))
        .bind::<Integer, _>(video_id)
        .bind::<Timestamptz, _>(started_at)
        .bind::<Uuid, _>(id)
        .bind::<BigInt, _>(limit)
        .load(connection)
        .await
}

/// The first sessions of the videos that come after this one.
async fn next_videos(
    connection: &mut AsyncPgConnection,
    video_id: i32,
    limit: i64,
) -> QueryResult<Vec<Exported>> {
    let query = diesel::sql_query(select("$1 < video_id", "$2"));
    query.bind::<Integer, _>(video_id).bind::<BigInt, _>(limit).load(connection).await
}

/// The first sessions of which `of` is so, by video, start and id, and what they are linked to: those that are rolled
/// up and those that are loose, at one moment.
fn select(of: &str, limit: &str) -> String {
    let order = "order by video_id, started_at, id";
    format!(
        "select page.*, key, identifier, metadata::text as metadata, url
         from (
            select {COLUMNS}, source_id, browser, platform, device, session_data::text as session_data,
                coalesce(loose_resume, (
                    select resume from live_sessions live
                    where live.id = each.id and live.video_id = each.video_id and live.started_at = each.started_at
                        and rolled)) as resume
            from (
                (select {COLUMNS}, {MORE}, null::bytea as loose_resume from sessions where {of} {order} limit {limit})
                union all
                (select {COLUMNS}, {MORE}, resume from live_sessions where not rolled and {of} {order} limit {limit})
            ) each {order} limit {limit}
         ) page
         join videos on videos.id = video_id join keys on keys.id = key_id left join sources on sources.id = source_id
         order by video_id, started_at, page.id"
    )
}

impl Exported {
    fn record(self) -> Result<Record, Damaged> {
        let client = client(self.browser.into(), self.platform.into(), self.device.into());
        let Self { session, resume, key, identifier, metadata, url, session_data, .. } = self;
        // The database has an order and a form of its own for objects.
        let session_data = session_data.as_deref().map(canonical).transpose()?;
        let links = Links { key, identifier, metadata, url, client, session_data };
        let id = SessionId::from_bytes(session.place.id.0);
        Ok(Record { id, subject: links.subject()?, stored: session.stored(resume)? })
    }
}

fn write_cursor(Place { id, video_id, started_at }: Place) -> Cursor {
    Cursor([&video_id.to_be_bytes()[..], &started_at.0.to_be_bytes(), &id.0].concat())
}

fn read_cursor(cursor: &Cursor) -> Option<Place> {
    let (video_id, rest) = cursor.0.split_first_chunk()?;
    let (started_at, id) = rest.split_first_chunk()?;
    let started_at = PgTimestamp(i64::from_be_bytes(*started_at));
    let video_id = i32::from_be_bytes(*video_id);
    Some(Place { id: Bits(id.try_into().ok()?), video_id, started_at })
}

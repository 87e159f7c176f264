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

/// The page after the one that ended at `cursor`.
pub(super) async fn page(
    connection: &mut AsyncPgConnection,
    cursor: Option<&Cursor>,
    limit: u32,
) -> Result<Page, Failure> {
    let (video_id, started_at, id) = match cursor {
        Some(cursor) => read_cursor(cursor).ok_or(Failure::NoCursor)?,
        None => (i64::MIN, PgTimestamp(i64::MIN), Bits([0; 16])),
    };
    let rows: Vec<Exported> = diesel::sql_query(
        "select sessions.id, video_id, started_at, last_event_at, duration_ms, view_ms, unique_ms, segments,
            rebufferings, rebuffering_ms, failures, startup_ms, details, resume, key, identifier,
            metadata::text as metadata, url, browser::int as browser, platform::int as platform,
            device::int as device, session_data::text as session_data
         from sessions join videos on videos.id = video_id join keys on keys.id = key_id
            left join sources on sources.id = source_id
         where (video_id, started_at, sessions.id) > ($1, $2, $3)
         order by video_id, started_at, sessions.id limit $4",
    )
    .bind::<BigInt, _>(video_id)
    .bind::<Timestamptz, _>(started_at)
    .bind::<Uuid, _>(id)
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    let full = rows.len() as u64 == u64::from(limit);
    let next = rows.last().filter(|_| full).map(|last| write_cursor(&last.session));
    let records = rows.into_iter().map(|it| {
        let client = client(it.browser, it.platform, it.device);
        let Exported { session, key, identifier, metadata, url, session_data, .. } = it;
        // The database has an order and a form of its own for objects.
        let session_data = session_data.as_deref().map(canonical).transpose()?;
        let links = Links { key, identifier, metadata, url, client, session_data };
        let id = SessionId::from_bytes(session.id.0);
        Ok(Record { id, subject: links.subject()?, stored: session.loaded(1)?.stored })
    });
    Ok(Page { records: records.collect::<Result<_, Damaged>>()?, next })
}

fn write_cursor(row: &Row) -> Cursor {
    let (video_id, started_at) = (row.video_id.to_be_bytes(), row.started_at.0.to_be_bytes());
    Cursor([&video_id[..], &started_at, &row.id.0].concat())
}

fn read_cursor(cursor: &Cursor) -> Option<(i64, PgTimestamp, Bits)> {
    let (video_id, rest) = cursor.0.split_first_chunk()?;
    let (started_at, id) = rest.split_first_chunk()?;
    let started_at = PgTimestamp(i64::from_be_bytes(*started_at));
    Some((i64::from_be_bytes(*video_id), started_at, Bits(id.try_into().ok()?)))
}

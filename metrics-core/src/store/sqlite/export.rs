//! Sessions whole, page by page, in the order in which they lie in the file.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool};
use diesel::sqlite::SqliteConnection;

use super::read::Row;
use super::schema::{keys, sessions, sources, videos};
use crate::key::SessionId;
use crate::store::failure::Failure;
use crate::store::row::{Links, client};
use crate::store::{Cursor, Page, Record};
use crate::varint::Damaged;

#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions)]
struct Place {
    video_id: i64,
    started_at: i64,
    id: Vec<u8>,
}

impl Place {
    fn cursor(&self) -> Cursor {
        let (video_id, started_at) = (self.video_id.to_be_bytes(), self.started_at.to_be_bytes());
        Cursor([&video_id[..], &started_at, &self.id].concat())
    }

    fn read(cursor: &Cursor) -> Option<Self> {
        let (video_id, rest) = cursor.0.split_first_chunk()?;
        let (started_at, id) = rest.split_first_chunk()?;
        let id: [u8; 16] = id.try_into().ok()?;
        Some(Self {
            video_id: i64::from_be_bytes(*video_id),
            started_at: i64::from_be_bytes(*started_at),
            id: id.to_vec(),
        })
    }
}

type Line = (Place, Row, (i32, i32, i32), Option<String>, Linked);

/// What a session is linked to: its page, its key, and its video's identifier and metadata.
type Linked = (Option<String>, String, Option<String>, Option<String>);

pub(super) fn page(
    connection: &mut SqliteConnection,
    cursor: Option<&Cursor>,
    limit: u32,
) -> Result<Page, Failure> {
    let mut query = sessions::table
        .inner_join(videos::table.on(videos::id.eq(sessions::video_id)))
        .inner_join(keys::table.on(keys::id.eq(videos::key_id)))
        .left_join(sources::table.on(sources::id.nullable().eq(sessions::source_id)))
        .order((sessions::video_id, sessions::started_at, sessions::id))
        .limit(limit.into())
        .select((
            Place::as_select(),
            Row::as_select(),
            (sessions::browser, sessions::platform, sessions::device),
            sessions::session_data,
            (sources::url.nullable(), keys::key, videos::identifier, videos::metadata),
        ))
        .into_boxed();
    if let Some(cursor) = cursor {
        let place = Place::read(cursor).ok_or(Failure::NoCursor)?;
        // A comparison of rows, which diesel does not know, is what makes this one step in the index.
        let after = diesel::dsl::sql::<Bool>("(video_id, started_at, sessions.id) > (")
            .bind::<BigInt, _>(place.video_id)
            .sql(", ")
            .bind::<BigInt, _>(place.started_at)
            .sql(", ")
            .bind::<Binary, _>(place.id)
            .sql(")");
        query = query.filter(after);
    }
    let rows: Vec<Line> = query.load(connection)?;
    let full = rows.len() as u64 == u64::from(limit);
    let next = rows.last().filter(|_| full).map(|(place, ..)| place.cursor());
    let records = rows.into_iter().map(|(place, row, classes, session_data, links)| {
        let (browser, platform, device) = classes;
        let (url, key, identifier, metadata) = links;
        let client = client(browser, platform, device);
        let subject = Links { key, identifier, metadata, url, client, session_data }.subject()?;
        let id = place.id.try_into().map_err(|_| Damaged("an id is too short"))?;
        Ok(Record { id: SessionId::from_bytes(id), subject, stored: row.loaded()?.stored })
    });
    Ok(Page { records: records.collect::<Result<_, Damaged>>()?, next })
}

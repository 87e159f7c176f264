//! Sessions whole, page by page, in the order in which those lie in the file that are rolled up.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool};
use diesel::sqlite::SqliteConnection;

use super::read::{Row, of_session, row};
use super::schema::{keys, loose_sessions, rolled_sessions, sessions, sources, videos};
use crate::key::SessionId;
use crate::store::failure::Failure;
use crate::store::row::{Links, client};
use crate::store::{Cursor, Page, Record};
use crate::varint::Damaged;

/// Where a session lies.
#[derive(Eq, Ord, PartialEq, PartialOrd, Queryable)]
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

type Line = (Place, Row, Option<Vec<u8>>, (i32, i32, i32), Option<String>, Linked);

/// What a session is linked to: its page, its key, and its video's identifier and metadata.
type Linked = (Option<String>, String, Option<String>, Option<String>);

/// The first lines of a table, or the first after a place.
macro_rules! lines {
    ($table:ident, $all:expr, $resume:expr, $after:expr, $limit:expr) => {{
        let mut query = $all
            .inner_join(videos::table.on(videos::id.eq($table::video_id)))
            .inner_join(keys::table.on(keys::id.eq(videos::key_id)))
            .left_join(sources::table.on(sources::id.nullable().eq($table::source_id)))
            .order(($table::video_id, $table::started_at, $table::id))
            .limit($limit.into())
            .select((
                ($table::video_id, $table::started_at, $table::id),
                row!($table),
                $resume,
                ($table::browser, $table::platform, $table::device),
                $table::session_data,
                (sources::url.nullable(), keys::key, videos::identifier, videos::metadata),
            ))
            .into_boxed();
        if let Some(place) = $after {
            let name = stringify!($table);
            // A comparison of rows, which diesel does not know, is what makes this one step in the index.
            let after = format!("({name}.video_id, {name}.started_at, {name}.id) > (");
            let after = diesel::dsl::sql::<Bool>(&after)
                .bind::<BigInt, _>(place.video_id)
                .sql(", ")
                .bind::<BigInt, _>(place.started_at)
                .sql(", ")
                .bind::<Binary, _>(&place.id)
                .sql(")");
            query = query.filter(after);
        }
        query
    }};
}

/// Loose sessions and those that are rolled up, in one order: one that goes from here to there stays at its place.
pub(super) fn page(
    connection: &mut SqliteConnection,
    cursor: Option<&Cursor>,
    limit: u32,
) -> Result<Page, Failure> {
    let after = cursor.map(|cursor| Place::read(cursor).ok_or(Failure::NoCursor)).transpose()?;
    let after = after.as_ref();
    let rolled = sessions::table.left_join(rolled_sessions::table.on(of_session()));
    let resume = rolled_sessions::resume.nullable();
    let mut lines: Vec<Line> = lines!(sessions, rolled, resume, after, limit).load(connection)?;
    let (loose, resume) = (loose_sessions::table, loose_sessions::resume.nullable());
    let loose: Vec<Line> = lines!(loose_sessions, loose, resume, after, limit).load(connection)?;
    lines.extend(loose);
    lines.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
    lines.truncate(limit as usize);
    let full = lines.len() == limit as usize;
    let next = lines.last().filter(|_| full).map(|(place, ..)| place.cursor());
    let records = lines.into_iter().map(record).collect::<Result<_, Damaged>>()?;
    Ok(Page { records, next })
}

fn record((place, row, resume, classes, session_data, links): Line) -> Result<Record, Damaged> {
    let (browser, platform, device) = classes;
    let (url, key, identifier, metadata) = links;
    let client = client(browser, platform, device);
    let subject = Links { key, identifier, metadata, url, client, session_data }.subject()?;
    let id = place.id.try_into().map_err(|_| Damaged("an id is too short"))?;
    Ok(Record { id: SessionId::from_bytes(id), subject, stored: row.stored(resume)? })
}

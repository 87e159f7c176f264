//! The columns of sessions: as arrays, which carry many sessions to the database at once, and as rows, in which the
//! database returns them.

use std::sync::Arc;

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Binary, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid,
};

use super::prepared::Prepared;
use super::types::{Bits, timestamp, unix_ms};
use crate::arrival::Arrival;
use crate::block::{Row, RowId};
use crate::key::SessionId;
use crate::session::Stored;
use crate::source::Source;
use crate::store::row::{Columns, arrival, canonical, column_as, page, user_agent};
use crate::store::{KeyId, OpenSession, VideoId};
use crate::user_agent::UserAgentClass;
use crate::varint::Damaged;

/// Sessions, column by column.
#[derive(Debug, Default)]
pub(super) struct Arrays<'a> {
    starts: Vec<PgTimestamp>,
    last_events: Vec<PgTimestamp>,
    durations: Vec<Option<i64>>,
    views: Vec<i64>,
    uniques: Vec<i64>,
    segments: Vec<&'a [u8]>,
    minutes: Vec<Vec<u8>>,
    rebufferings: Vec<Option<i64>>,
    rebuffering_ms: Vec<Option<i64>>,
    failures: Vec<Option<i64>>,
    startups: Vec<Option<i64>>,
    details: Vec<Option<String>>,
    browsers: Vec<i16>,
    platforms: Vec<i16>,
    devices: Vec<i16>,
    pages: Vec<Option<&'a str>>,
    session_data: Vec<Option<&'a str>>,
    arrivals: Vec<Option<String>>,
}

impl<'a> Arrays<'a> {
    /// The names of the columns.
    pub(super) const NAMES: &'static str = "started_at, last_event_at, duration_ms, view_ms, unique_ms, segments, \
        rebufferings, rebuffering_ms, failures, startup_ms, details, browser, platform, device, page, session_data, minutes, arrival";

    /// The parameters to which [`bind`](Self::bind) binds values, if they are the first of the statement.
    pub(super) const PARAMETERS: &'static str =
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18";

    pub(super) fn push(&mut self, stored: &'a Stored, user_agent: UserAgentClass) {
        let some = |number: i64| (number != 0).then_some(number);
        let counters = &stored.counters;
        self.starts.push(timestamp(stored.started_at_ms));
        self.last_events.push(timestamp(stored.last_event_at_ms));
        self.durations.push(stored.duration_ms.map(i64::from));
        self.views.push(stored.view_ms.cast_signed());
        self.uniques.push(stored.unique_ms.cast_signed());
        self.segments.push(&stored.segments);
        self.minutes.push(stored.minutes.encode());
        self.rebufferings.push(some(counters.rebufferings.into()));
        self.rebuffering_ms.push(some(counters.rebuffering_ms.cast_signed()));
        self.failures.push(some(counters.failures.into()));
        self.startups.push(counters.startup_ms.map(i64::from));
        self.details.push(counters.details.encode());
        self.browsers.push(user_agent.browser.code().into());
        self.platforms.push(user_agent.platform.code().into());
        self.devices.push(user_agent.device.code().into());
    }

    /// Adds page, session data and arrival to the session pushed last.
    pub(super) fn push_page(
        &mut self,
        page: Option<&'a Source>,
        session_data: Option<&'a str>,
        arrival: Option<&'a Arrival>,
    ) {
        self.pages.push(page.map(Source::as_str));
        self.session_data.push(session_data);
        self.arrivals.push(arrival.and_then(Arrival::to_json));
    }

    pub(super) fn push_row(&mut self, row: &'a Row) {
        self.push(&row.stored, row.user_agent);
        self.push_page(row.page.as_ref(), row.session_data.as_deref(), Some(&row.arrival));
    }

    pub(super) fn bind(self, query: Prepared<'a>) -> Prepared<'a> {
        query
            .bind::<Array<Timestamptz>, _>(self.starts)
            .bind::<Array<Timestamptz>, _>(self.last_events)
            .bind::<Array<Nullable<BigInt>>, _>(self.durations)
            .bind::<Array<BigInt>, _>(self.views)
            .bind::<Array<BigInt>, _>(self.uniques)
            .bind::<Array<Binary>, _>(self.segments)
            .bind::<Array<Nullable<BigInt>>, _>(self.rebufferings)
            .bind::<Array<Nullable<BigInt>>, _>(self.rebuffering_ms)
            .bind::<Array<Nullable<BigInt>>, _>(self.failures)
            .bind::<Array<Nullable<BigInt>>, _>(self.startups)
            .bind::<Array<Nullable<Text>>, _>(self.details)
            .bind::<Array<SmallInt>, _>(self.browsers)
            .bind::<Array<SmallInt>, _>(self.platforms)
            .bind::<Array<SmallInt>, _>(self.devices)
            .bind::<Array<Nullable<Text>>, _>(self.pages)
            .bind::<Array<Nullable<Text>>, _>(self.session_data)
            .bind::<Array<Binary>, _>(self.minutes)
            .bind::<Array<Nullable<Text>>, _>(self.arrivals)
    }
}

/// The columns of a session that change while it is open.
#[derive(QueryableByName)]
pub(super) struct StoredRow {
    #[diesel(sql_type = Timestamptz)]
    started_at: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    last_event_at: PgTimestamp,
    #[diesel(sql_type = Nullable<Integer>)]
    duration_ms: Option<i32>,
    #[diesel(sql_type = BigInt)]
    view_ms: i64,
    #[diesel(sql_type = Integer)]
    unique_ms: i32,
    #[diesel(sql_type = Binary)]
    segments: Vec<u8>,
    #[diesel(sql_type = Binary)]
    minutes: Vec<u8>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rebufferings: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rebuffering_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    failures: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    startup_ms: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    details: Option<String>,
    #[diesel(sql_type = Binary)]
    resume: Vec<u8>,
}

/// Its columns.
pub(super) const STORED: &str = "started_at, last_event_at, duration_ms, view_ms, unique_ms, segments, minutes, rebufferings, \
    rebuffering_ms, failures, startup_ms, details, resume";

impl StoredRow {
    pub(super) fn started_at_ms(&self) -> i64 {
        unix_ms(self.started_at)
    }

    pub(super) fn into_resume(self) -> Vec<u8> {
        self.resume
    }

    pub(super) fn stored(self) -> Result<Stored, Damaged> {
        let columns = Columns {
            started_at_ms: unix_ms(self.started_at),
            last_event_at_ms: unix_ms(self.last_event_at),
            duration_ms: self.duration_ms.map(i64::from),
            view_ms: self.view_ms,
            unique_ms: self.unique_ms.into(),
            segments: self.segments,
            minutes: self.minutes,
            rebufferings: self.rebufferings.unwrap_or(0),
            rebuffering_ms: self.rebuffering_ms.unwrap_or(0),
            failures: self.failures.unwrap_or(0),
            startup_ms: self.startup_ms,
            details: self.details,
            resume: self.resume,
        };
        columns.stored()
    }
}

/// The columns of a session's user agent and page.
#[derive(QueryableByName)]
pub(super) struct SubjectRow {
    #[diesel(sql_type = SmallInt)]
    browser: i16,
    #[diesel(sql_type = SmallInt)]
    platform: i16,
    #[diesel(sql_type = SmallInt)]
    device: i16,
    #[diesel(sql_type = Nullable<Text>)]
    page: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    session_data: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    arrival: Option<String>,
}

/// Its columns.
pub(super) const SUBJECT: &str =
    "browser, platform, device, page, session_data::text as session_data, arrival::text as arrival";

impl SubjectRow {
    pub(super) fn row(self, id: RowId, stored: Stored) -> Result<Row, Damaged> {
        // The database orders and formats objects in its own way.
        let session_data = self.session_data.as_deref().map(canonical).transpose()?;
        Ok(Row {
            id,
            page: self.page.as_deref().map(page).transpose()?,
            user_agent: user_agent(self.browser.into(), self.platform.into(), self.device.into()),
            session_data: session_data.map(Arc::from),
            arrival: arrival(self.arrival.as_deref())?,
            stored,
        })
    }
}

/// A row of `open_sessions`, with the key of its video.
#[derive(QueryableByName)]
pub(super) struct OpenRow {
    #[diesel(sql_type = Uuid)]
    id: Bits,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = BigInt)]
    key_id: i64,
    #[diesel(sql_type = Integer)]
    video_id: i32,
    #[diesel(embed)]
    stored: StoredRow,
    #[diesel(embed)]
    subject: SubjectRow,
}

/// Selects the open sessions `of` that meet a condition.
pub(super) fn select_open(of: &str) -> String {
    format!(
        "select open.id, version, key_id, video_id, {STORED}, {SUBJECT}
         from open_sessions open join videos on videos.id = video_id where {of}"
    )
}

impl OpenRow {
    pub(super) fn video_id(&self) -> i32 {
        self.video_id
    }

    pub(super) fn cursor(&self) -> (PgTimestamp, Bits) {
        (self.stored.started_at, self.id)
    }

    pub(super) fn open_session(self) -> Result<OpenSession, Damaged> {
        let id = SessionId::from_bytes(self.id.0);
        Ok(OpenSession {
            id,
            version: column_as(self.version)?,
            key: KeyId(self.key_id),
            video: VideoId(self.video_id.into()),
            row: self.subject.row(id.into(), self.stored.stored()?)?,
        })
    }
}

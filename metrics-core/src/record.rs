//! Parses sessions from JSON objects, one per line: exports of sessions, and the history of other systems.
//!
//! A record needs a key, a video, a start, and segments or a view time; everything else is optional:
//!
//! ```
//! use chrono::Utc;
//! use metrics_core::record::SessionRecord;
//!
//! let line = br#"{"key": "k", "identifier": "intro", "started_at": "2024-02-29T12:00:00Z", "segments": [[0, 12.5]]}"#;
//! let record = SessionRecord::parse(line, None, Utc::now())?;
//! assert_eq!(record.row.stored.unique_ms, 12_500);
//!
//! let line = br#"{"key": "k", "identifier": "intro", "started_at": "2024-02-29T12:00:00Z", "view_tme": 12.5}"#;
//! let refused = SessionRecord::parse(line, None, Utc::now()).unwrap_err();
//! assert!(refused.to_string().starts_with("`view_tme` is unknown, did you mean `view_time`?"));
//! # Ok::<(), metrics_core::record::RecordError>(())
//! ```

mod members;

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use self::members::Members;
use crate::arrival::{Arrival, ArrivalPart};
use crate::block::{Row, RowId};
use crate::containment::{DEPTH_MAX, canonical, has_nul, is_too_deep};
use crate::event::{DURATION_MS_MAX, LABEL_BYTES_MAX, Rendition};
use crate::interval::{Interval, Segments};
use crate::key::{ApiKey, KEY_BYTES_MAX, SessionId, digest};
use crate::session::{Counters, Details, Minutes, SEGMENTS_MAX, Stored, WINDOW};
use crate::source::{SOURCE_BYTES_MAX, Source};
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::{IDENTIFIER_BYTES_MAX, METADATA_BYTES_MAX, Video};

/// The longest line, in bytes. The longest line of an export, with 10,000 segments and the largest metadata, has 300
/// KB.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The furthest position: the longest duration, and one minute by which players may overrun it.
const POSITION_MS_MAX: u64 = DURATION_MS_MAX as u64 + 60_000;

/// The longest time span in a record, in milliseconds: 10 years. Sums of millions of them fit their columns.
const SPAN_MS_MAX: u64 = 10 * 366 * 24 * 3_600 * 1_000;

/// The longest id of another system, in bytes.
const ID_BYTES_MAX: usize = 1_024;

/// The largest tolerated difference between the clocks of two machines.
const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// A session parsed from a line.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// Its key.
    pub key: ApiKey,
    /// Its video.
    pub video: Video,
    /// The id that another system gave the session, unique under its key. Records of an export have none.
    pub id: Option<String>,
    /// The session. Its row id is that of the first record with this content.
    pub row: Row,
}

/// The reason for rejecting a line. Every variant names the member. Keys are not repeated, since they are secrets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The line has more than [`LINE_BYTES_MAX`] bytes.
    #[error("the line has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// The line is no JSON object, or names a member twice.
    #[error("expected a JSON object without repeated members: {reason}")]
    NotAnObject {
        /// The reason, with the column.
        reason: String,
    },
    /// A member has a name that no record has.
    #[error(
        "`{name}` is unknown, did you mean `{nearest}`? Leave it out, or move it into `session_data`"
    )]
    Unknown {
        /// The name, cut after 64 characters.
        name: String,
        /// The most similar name of a member.
        nearest: &'static str,
    },
    /// A member is missing.
    #[error("`{member}` is missing: {remedy}")]
    Missing {
        /// The member.
        member: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// A member has a value that does not fit.
    #[error("`{member}` is {value}, expected {expected}")]
    Invalid {
        /// The member.
        member: &'static str,
        /// The value as JSON, cut after 64 characters.
        value: String,
        /// The values that fit.
        expected: String,
    },
}

impl SessionRecord {
    /// Parses a line, with or without its line ending. `key` is the key of a line without one. Rejects sessions that
    /// start more than a day after `now`.
    ///
    /// If there are segments, the members that an export derives from them (`view_time` and `unique_view_time`) must
    /// agree with them.
    ///
    /// # Errors
    ///
    /// [`RecordError`] names the first invalid member and the values that it may have.
    pub fn parse(
        line: &[u8],
        key: Option<&ApiKey>,
        now: DateTime<Utc>,
    ) -> Result<Self, RecordError> {
        if LINE_BYTES_MAX < line.len() {
            return Err(RecordError::TooLong);
        }
        let mut members = Members::parse(line)?;
        let key = read_key(&mut members, key)?;
        let video = read_video(&mut members)?;
        let id = members.text("id", ID_BYTES_MAX)?;
        let row = Row {
            id: RowId(0),
            page: read_page(&mut members)?,
            user_agent: read_user_agent(&mut members)?,
            session_data: read_object(&mut members, "session_data")?
                .map(|data| canonical(&Value::Object(data)).into()),
            arrival: read_arrival(&mut members)?,
            stored: read_stored(&mut members, now)?,
        };
        let mut record = Self { key, video, id, row };
        record.row.id = record.row_id(0);
        Ok(record)
    }

    /// Derives the row id of a record after `equal_before` equal ones. Every version derives the same id from the same
    /// content.
    #[must_use]
    pub fn row_id(&self, equal_before: u32) -> RowId {
        let name = match &self.id {
            Some(id) => format!("import:{id}"),
            None => {
                let content = u128::from_be_bytes(self.content());
                format!("import/content:{content:032x}:{equal_before}")
            }
        };
        SessionId::new(&self.key, &name).into()
    }

    /// Returns a 128-bit hash of the record's content.
    pub(crate) fn content(&self) -> [u8; 16] {
        let video = u128::from_be_bytes(self.video.digest(&self.key));
        let row = u128::from_be_bytes(content(&self.row));
        digest(&[Some(&format!("{video:032x}")), Some(&format!("{row:032x}"))])
    }
}

/// Returns a 128-bit hash of a session's content. Equal sessions of a video have the same hash.
///
/// Row ids are derived from the hash, so it must never change: a new counter is included only if it is not 0, an
/// arrival only if a part is known.
pub(crate) fn content(row: &Row) -> [u8; 16] {
    let Row { page, user_agent, session_data, arrival, stored, .. } = row;
    let Stored { started_at_ms, last_event_at_ms, duration_ms, view_ms, unique_ms, .. } = stored;
    let Counters { rebufferings, rebuffering_ms, failures, startup_ms, details } = &stored.counters;
    // An export does not distinguish an unknown rendition from none.
    let rendition = details.rendition.clone().filter(|it| *it != Rendition::default());
    let details = Details { rendition, ..details.clone() };
    // Encoding a map of numbers and texts cannot fail.
    let details = serde_json::to_string(&details).unwrap_or_default();
    let mut text = format!(
        "{started_at_ms} {last_event_at_ms} {duration_ms:?} {view_ms} {unique_ms} {} {} {} {rebufferings} \
         {rebuffering_ms} {failures} {startup_ms:?} {details}",
        user_agent.browser, user_agent.platform, user_agent.device
    );
    for byte in &stored.segments {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    if let Some(arrival) = arrival.to_json() {
        text.push_str(&arrival);
    }
    let page = page.as_ref().map(Source::as_str);
    digest(&[page, session_data.as_deref(), Some(&text)])
}

fn read_key(members: &mut Members, default: Option<&ApiKey>) -> Result<ApiKey, RecordError> {
    let invalid = || RecordError::Invalid {
        member: "key",
        value: "not a key".to_owned(),
        expected: format!("1 to {KEY_BYTES_MAX} visible ASCII characters"),
    };
    match members.take("key") {
        Some(Value::String(key)) => ApiKey::new(&key).map_err(|_| invalid()),
        Some(_) => Err(invalid()),
        None => default.cloned().ok_or(RecordError::Missing {
            member: "key",
            remedy: "name the key of the session, or one for all lines with `--key`",
        }),
    }
}

fn read_video(members: &mut Members) -> Result<Video, RecordError> {
    let identifier = members.text("identifier", IDENTIFIER_BYTES_MAX)?;
    let metadata = read_object(members, "metadata")?;
    Video::new(identifier, metadata).ok_or(RecordError::Missing {
        member: "identifier",
        remedy: "name the video, or describe it with `metadata`",
    })
}

/// Takes an object that a store accepts.
fn read_object(
    members: &mut Members,
    member: &'static str,
) -> Result<Option<Map<String, Value>>, RecordError> {
    let Some(value) = members.take(member) else { return Ok(None) };
    let json = canonical(&value);
    let fits = json.len() <= METADATA_BYTES_MAX && !is_too_deep(&json) && !has_nul(&json);
    match value {
        Value::Object(object) if fits => Ok(Some(object)),
        value => {
            let expected = format!(
                "an object of at most {METADATA_BYTES_MAX} bytes, nested at most {DEPTH_MAX} deep, without U+0000"
            );
            Err(members::invalid(member, &value, expected))
        }
    }
}

fn read_page(members: &mut Members) -> Result<Option<Source>, RecordError> {
    let Some(value) = members.take("source") else { return Ok(None) };
    let source = value.as_str().and_then(Source::parse);
    let expected = || format!("the URL of a page, of at most {SOURCE_BYTES_MAX} bytes");
    source.map(Some).ok_or_else(|| members::invalid("source", &value, expected()))
}

fn read_arrival(members: &mut Members) -> Result<Arrival, RecordError> {
    let mut arrival = Arrival::default();
    for part in ArrivalPart::ALL {
        let Some(value) = members.take(part.name()) else { continue };
        let expected = match part {
            ArrivalPart::Referrer => "a host name, or a URL with one",
            ArrivalPart::Country => "two letters of ISO 3166-1",
            _ => "a text that is no e-mail address",
        };
        let text = value.as_str().and_then(|text| part.reduce(text));
        let text =
            text.ok_or_else(|| members::invalid(part.name(), &value, expected.to_owned()))?;
        arrival = arrival.with(part, &text);
    }
    Ok(arrival)
}

fn read_user_agent(members: &mut Members) -> Result<UserAgentClass, RecordError> {
    Ok(UserAgentClass {
        browser: members.class("browser", Browser::from_name, &Browser::ALL)?,
        platform: members.class("platform", Platform::from_name, &Platform::ALL)?,
        device: members.class("device", Device::from_name, &Device::ALL)?,
    })
}

fn read_stored(members: &mut Members, now: DateTime<Utc>) -> Result<Stored, RecordError> {
    let last = now.checked_add_signed(AHEAD_MAX).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let started_at_ms = members.time("started_at", 0, last.timestamp_millis())?;
    let started_at_ms = started_at_ms.ok_or(RecordError::Missing {
        member: "started_at",
        remedy: "give the start of the session, like \"2024-02-29T12:00:00Z\"",
    })?;
    let duration_ms = members.duration_ms("duration", DURATION_MS_MAX)?;
    let counters = read_counters(members)?;
    let segments = read_segments(members)?;
    let (view_ms, unique_ms) =
        read_view_times(members, segments.as_ref(), duration_ms, &counters.details)?;
    let latest_ms = started_at_ms.saturating_add_unsigned(SPAN_MS_MAX);
    let last_event_at_ms = members.time("last_event_at", started_at_ms, latest_ms)?;
    let segments = segments.unwrap_or_default();
    let ended_at_ms = started_at_ms.saturating_add_unsigned(view_ms);
    let last_event_at_ms = last_event_at_ms.unwrap_or(ended_at_ms);
    let stored = Stored::finished(started_at_ms, last_event_at_ms, duration_ms, &segments);
    let minutes = Minutes::of_view(started_at_ms, view_ms);
    Ok(Stored { view_ms, unique_ms, minutes, counters, ..stored })
}

fn read_segments(members: &mut Members) -> Result<Option<Segments>, RecordError> {
    // The limit includes the segments that a session keeps apart for late events.
    let segments_max = SEGMENTS_MAX + WINDOW;
    let expected = || {
        let last = POSITION_MS_MAX / 1_000;
        format!("at most {segments_max} pairs [from, to] of seconds, each 0 <= from < to <= {last}")
    };
    let Some(value) = members.take("segments") else { return Ok(None) };
    let Some(pairs) = value.as_array().filter(|pairs| pairs.len() <= segments_max) else {
        return Err(members::invalid("segments", &value, expected()));
    };
    let read = |pair: &Value| {
        let [from, to] = pair.as_array()?.as_slice() else { return None };
        let position = |value| u32::try_from(members::milliseconds(value, POSITION_MS_MAX)?).ok();
        Interval::new(position(from)?, position(to)?)
    };
    let mut segments = Vec::with_capacity(pairs.len());
    for pair in pairs {
        segments.push(read(pair).ok_or_else(|| members::invalid("segments", pair, expected()))?);
    }
    Ok(Some(segments.into_iter().collect()))
}

/// Returns the view time and the unique view time: those of the segments, or the record's own if it has no segments.
fn read_view_times(
    members: &mut Members,
    segments: Option<&Segments>,
    duration_ms: Option<u32>,
    details: &Details,
) -> Result<(u64, u64), RecordError> {
    let outside_ms = details.outside_ms();
    let view_ms = members.span_ms("view_time", SPAN_MS_MAX)?;
    let unique_ms = members.span_ms("unique_view_time", SPAN_MS_MAX)?;
    let Some(segments) = segments.filter(|it| !it.is_empty() || view_ms.is_none()) else {
        let view_ms = view_ms.ok_or(RecordError::Missing {
            member: "segments",
            remedy: "list the watched segments, like [[0, 12.5]], or give their length as `view_time`",
        })?;
        let watched_ms = view_ms.checked_sub(outside_ms).ok_or_else(|| {
            let because = match details.unplaced_ms {
                0 => "`scrubbed_time`",
                _ => "the sum of `scrubbed_time` and `unplaced_time`",
            };
            members::differs("view_time", view_ms, "at least", outside_ms, because)
        })?;
        // Each second of a video counts once.
        let longest_ms = duration_ms.map_or(POSITION_MS_MAX, u64::from);
        let once_ms = watched_ms.min(longest_ms);
        let unique_ms = unique_ms.unwrap_or(once_ms);
        if view_ms < unique_ms {
            let wrong =
                members::differs("unique_view_time", unique_ms, "at most", view_ms, "`view_time`");
            return Err(wrong);
        }
        if longest_ms < unique_ms {
            let because = "the duration, or 7 days without one";
            let wrong =
                members::differs("unique_view_time", unique_ms, "at most", longest_ms, because);
            return Err(wrong);
        }
        return Ok((view_ms, unique_ms));
    };
    let derived_ms = (segments.len_ms() + outside_ms, segments.union().len_ms());
    let because = "the sum of `segments`: leave it out";
    if let Some(view_ms) = view_ms.filter(|it| *it != derived_ms.0) {
        return Err(members::differs("view_time", view_ms, "", derived_ms.0, because));
    }
    if let Some(unique_ms) = unique_ms.filter(|it| *it != derived_ms.1) {
        return Err(members::differs("unique_view_time", unique_ms, "", derived_ms.1, because));
    }
    if SPAN_MS_MAX < derived_ms.0 {
        return Err(members::differs("segments", derived_ms.0, "at most", SPAN_MS_MAX, "10 years"));
    }
    Ok(derived_ms)
}

fn read_counters(members: &mut Members) -> Result<Counters, RecordError> {
    let rendition = Rendition {
        width: members.count("width")?,
        height: members.count("height")?,
        bitrate: members.count("bitrate")?,
        codec: members.text("codec", LABEL_BYTES_MAX)?,
    };
    let details = Details {
        seeks: members.count("seeks")?.unwrap_or(0),
        fullscreens: members.count("fullscreens")?.unwrap_or(0),
        tracks: members.count("tracks")?.unwrap_or(0),
        language: members.text("language", LABEL_BYTES_MAX)?,
        renditions: members.count("renditions")?.unwrap_or(0),
        rendition: Some(rendition).filter(|it| *it != Rendition::default()),
        clamped: members.count("clamped")?.unwrap_or(0),
        seek_waits: members.count("seek_waits")?.unwrap_or(0),
        seek_wait_ms: members.span_ms("seek_wait_time", SPAN_MS_MAX)?.unwrap_or(0),
        scrubbed_ms: members.span_ms("scrubbed_time", SPAN_MS_MAX)?.unwrap_or(0),
        unplaced_ms: members.span_ms("unplaced_time", SPAN_MS_MAX)?.unwrap_or(0),
        others: members.count("others")?.unwrap_or(0),
    };
    Ok(Counters {
        rebufferings: members.count("rebufferings")?.unwrap_or(0),
        rebuffering_ms: members.span_ms("rebuffering_time", SPAN_MS_MAX)?.unwrap_or(0),
        failures: members.count("failures")?.unwrap_or(0),
        startup_ms: members.span_ms("startup_time", u32::MAX.into())?.map(|ms| ms as u32),
        details,
    })
}

#[cfg(test)]
mod tests;

//! Converts an old session to a session for the store. Pure.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::left_out::{Reason, Tally};
use super::read::{OldSession, OldVideo, SessionLines};
use super::watched::{Line, Watched, instant_ms};
use crate::arrival::Arrival;
use crate::block::Row;
use crate::containment::{canonical, has_nul, is_too_deep};
use crate::import::Foreign;
use crate::interval::Segments;
use crate::key::{ApiKey, SessionId};
use crate::session::Stored;
use crate::source::Source;
use crate::store::Subject;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::{IDENTIFIER_BYTES_MAX, METADATA_BYTES_MAX, Video};

/// A video, with the key and the page that the old database stores with it.
pub(super) struct Described {
    key_id: Option<i64>,
    video: Option<Video>,
    // Whether its identifier or its metadata is invalid.
    is_invalid: bool,
    page: Page,
}

/// The page of a session.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Page {
    Unknown,
    Known(Source),
    // The value is no URL.
    Invalid,
}

impl Described {
    pub(super) fn new(old: OldVideo) -> Self {
        let identifier = old.identifier.filter(|identifier| !identifier.is_empty());
        let (identifier, long) = match identifier {
            Some(identifier) if IDENTIFIER_BYTES_MAX < identifier.len() => (None, true),
            identifier => (identifier, false),
        };
        let (metadata, is_invalid) = match object(old.metadata.as_deref()) {
            Ok(metadata) => (metadata, false),
            Err(InvalidJson) => (None, true),
        };
        let video = Video::new(identifier, metadata);
        let page = page_of_uri(old.source_uri.as_deref());
        Self { key_id: old.key_id, video, is_invalid: long || is_invalid, page }
    }
}

/// JSON that is no object, or that exceeds a limit of stores.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct InvalidJson;

/// Parses a JSON object within the limits of stores; `None` for null or no text.
pub(super) fn object(text: Option<&str>) -> Result<Option<Map<String, Value>>, InvalidJson> {
    let value = match text.map(serde_json::from_str) {
        None | Some(Ok(Value::Null)) => return Ok(None),
        Some(value) => value.map_err(|_| InvalidJson)?,
    };
    let json = canonical(&value);
    if METADATA_BYTES_MAX < json.len() || is_too_deep(&json) || has_nul(&json) {
        return Err(InvalidJson);
    }
    match value {
        Value::Object(members) => Ok(Some(members)),
        _ => Err(InvalidJson),
    }
}

/// Converts a session, or counts in `left_out` why it cannot be imported.
pub(super) fn session(
    old: &OldSession,
    lines: &SessionLines,
    videos: &HashMap<i64, Described>,
    keys: &HashMap<i64, ApiKey>,
    left_out: &mut Tally,
) -> Option<Foreign> {
    let subject = match subject(old, videos, keys, left_out) {
        Ok(subject) => subject,
        Err((reason, id)) => {
            left_out.one(reason, id);
            return None;
        }
    };
    let watched = Watched::of(&lines.plays, &lines.events, &lines.durations);
    left_out.many(Reason::InvalidSegment, watched.invalid_segments, old.id);
    left_out.many(Reason::TooManySegments, watched.too_many, old.id);
    if !watched.played {
        left_out.one(Reason::NeverPlayed, old.id);
        return None;
    }
    let Some((started_at_ms, last_event_at_ms)) = times(old, lines) else {
        left_out.one(Reason::NoTime, old.id);
        return None;
    };
    // A duration of the old server may be a view time, so the duration of the video is unknown.
    let segments = Segments::from_iter(watched.segments);
    let id = session_id(&subject.key, old.id).into();
    let Subject { key, video, source: page, user_agent, session_data, arrival } = subject;
    let session_data = session_data.map(Arc::from);
    let stored = Stored::finished(started_at_ms, last_event_at_ms, None, &segments);
    let row = Row { id, page, user_agent, session_data, arrival, stored };
    Some(Foreign { key, video, row, equal_before: None })
}

/// The id of an old session. It must never change, or a repeated import would add the session again.
pub(super) fn session_id(key: &ApiKey, old: i64) -> SessionId {
    SessionId::new(key, &format!("mave:{old}"))
}

fn subject(
    old: &OldSession,
    videos: &HashMap<i64, Described>,
    keys: &HashMap<i64, ApiKey>,
    left_out: &mut Tally,
) -> Result<Subject, (Reason, i64)> {
    let described = old.video_id.and_then(|id| videos.get(&id).map(|described| (id, described)));
    let key_id = old.key_id.or(described.and_then(|(_, described)| described.key_id));
    let (video_id, described) = described.ok_or((Reason::NoVideo, old.id))?;
    let key = key_id.and_then(|id| keys.get(&id)).ok_or((Reason::NoKey, old.id))?;
    if described.is_invalid {
        left_out.one(Reason::InvalidVideo, video_id);
    }
    let video = described.video.clone().ok_or((Reason::UnnamedVideo, video_id))?;
    let page = page(old);
    let source = match if page == Page::Unknown { &described.page } else { &page } {
        Page::Unknown => None,
        Page::Known(source) => Some(source.clone()),
        Page::Invalid => {
            left_out.one(Reason::InvalidPage, old.id);
            None
        }
    };
    let session_data = object(old.metadata.as_deref()).unwrap_or_else(|InvalidJson| {
        left_out.one(Reason::InvalidSessionData, old.id);
        None
    });
    Ok(Subject {
        key: key.clone(),
        video,
        source,
        user_agent: user_agent(old),
        session_data: session_data.map(|data| canonical(&Value::Object(data))),
        arrival: Arrival::default(),
    })
}

/// The times of a session's start and last event. It starts with its first `play`, if the time of that is known.
fn times(old: &OldSession, lines: &SessionLines) -> Option<(i64, i64)> {
    let first_play = lines.events.iter().find(|line| line.is_play() && line.start_ms().is_some());
    let all = || {
        let lines = [&lines.plays, &lines.events, &lines.durations];
        lines.into_iter().flatten().filter_map(Line::instant_ms)
    };
    let started_at_ms = first_play
        .and_then(Line::instant_ms)
        .or_else(|| instant_ms(old.at_ms))
        .or_else(|| all().min())?;
    Some((started_at_ms, all().fold(started_at_ms, i64::max)))
}

fn user_agent(old: &OldSession) -> UserAgentClass {
    fn class<T: Default>(name: Option<&String>, find: impl Fn(&str) -> Option<T>) -> T {
        name.and_then(|name| find(&name.trim().to_ascii_lowercase())).unwrap_or_default()
    }
    UserAgentClass {
        browser: class(old.browser.as_ref(), Browser::from_name),
        platform: class(old.platform.as_ref(), Platform::from_name),
        device: class(old.device.as_ref(), Device::from_name),
    }
}

/// The page in a row of `sessions`, which has no scheme.
fn page(old: &OldSession) -> Page {
    match old.uri_host.as_deref() {
        None | Some("") => Page::Unknown,
        Some(host) => parse("https", host, "", old.uri_path.as_deref().unwrap_or_default()),
    }
}

/// The page in a row of `videos`: the parts of a URL as JSON. Parts that may identify viewers are not read.
pub(super) fn page_of_uri(uri: Option<&str>) -> Page {
    let uri: Map<String, Value> = match uri.map(serde_json::from_str) {
        None | Some(Ok(Value::Null)) => return Page::Unknown,
        Some(Ok(Value::Object(uri))) => uri,
        Some(_) => return Page::Invalid,
    };
    let text = |part| uri.get(part).and_then(Value::as_str).unwrap_or_default();
    let port = match uri.get("port") {
        Some(Value::Number(port)) => format!(":{port}"),
        Some(Value::String(port)) if !port.is_empty() => format!(":{port}"),
        _ => String::new(),
    };
    let scheme = Some(text("scheme")).filter(|scheme| !scheme.is_empty()).unwrap_or("https");
    match text("host") {
        "" => Page::Unknown,
        host => parse(scheme, host, &port, text("path")),
    }
}

fn parse(scheme: &str, host: &str, port: &str, path: &str) -> Page {
    let is_bare = host.parse::<Ipv6Addr>().is_ok();
    let (open, close) = if is_bare { ("[", "]") } else { ("", "") };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let address = format!("{scheme}://{open}{host}{close}{port}{slash}{path}");
    Source::parse(&address).map_or(Page::Invalid, Page::Known)
}

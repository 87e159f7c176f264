//! `POST /cmcd`: records of players by CMCD, each an event of a session.
//!
//! Players send a record again after 429 and 5xx, and report nothing more for a session after 410. So records that will
//! never count, such as those under a revoked key, are answered with 410.

use std::collections::HashMap;

use hyper::header::{HeaderMap, REFERER};
use hyper::{Response, StatusCode};
use metrics_core::arrival::Arrival;
use metrics_core::cmcd::{self, Format, InvalidBody, Kind, Record};
use metrics_core::recorder::AnotherVideo;
use metrics_core::{ApiKey, Metrics, Video};

use super::events::{self, Group, Names, Rejected, Sorted};
use crate::channel::ConnectionInfo;
use crate::code::Code;
use crate::error::Error;
use crate::response::{self, Body};
use crate::wire::Refusal;

/// The facts that a request tells about its records, beside the key.
#[derive(Debug)]
pub(crate) struct About {
    /// The video of records without `cid`.
    video: Option<String>,
    /// The page.
    page: Option<String>,
}

impl About {
    /// Reads the argument `video` of the URL, and the page: browsers send its origin at least.
    pub(crate) fn of(query: Option<&str>, headers: &HeaderMap) -> Self {
        let mut arguments = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let video = arguments.find(|(name, _)| name == "video");
        let video = video.map(|(_, video)| video.into_owned()).filter(|video| !video.is_empty());
        let page = headers.get(REFERER).and_then(|page| page.to_str().ok()).map(str::to_owned);
        Self { video, page }
    }
}

/// Records the records of a body under `key`, and answers when they are durable: with 204, or with those that are
/// refused. With `only`, records of another key are refused.
pub(crate) async fn record(
    metrics: &Metrics,
    (key, only): (&ApiKey, Option<&ApiKey>),
    about: &About,
    info: &ConnectionInfo,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let sorted = sort(body, key, about)?;
    let recorded = events::record_sorted(metrics, only, info, sorted, Names::Cmcd).await;
    let answer = match recorded {
        Err(Error::InvalidKey) => {
            return Err(Error::Gone { text: "invalid key".into(), code: Code::InvalidKey });
        }
        recorded => recorded?,
    };
    let never = |code: Code| matches!(code, Code::OptedOut | Code::Bot | Code::OriginNotAllowed);
    let refused = |rejected: &Rejected| (rejected.reason.clone(), rejected.code);
    if let Some(rejected) = answer.rejected.iter().find(|rejected| never(rejected.code)) {
        let (text, code) = refused(rejected);
        return Err(Error::Gone { text, code });
    }
    match answer.rejected.first() {
        None => Ok(response::empty(StatusCode::NO_CONTENT)),
        Some(_) if 0 < answer.accepted => Ok(response::json(StatusCode::OK, &answer)),
        Some(rejected) => {
            let (text, code) = refused(rejected);
            Err(Error::body(text).coded(code))
        }
    }
}

/// Reads a body: each record that makes an event is in the group of its session.
fn sort(body: &[u8], key: &ApiKey, about: &About) -> Result<Sorted, Error> {
    let records = cmcd::records(body, format_of(body)).map_err(|err| {
        let code = match err {
            InvalidBody::TooManyRecords => Code::TooManyEvents,
            _ => Code::InvalidBody,
        };
        Error::body(err.to_string()).coded(code)
    })?;
    if records.is_empty() {
        return Err(Error::body("the body must have a record"));
    }
    let mut sorted = Sorted { count: records.len(), ..Sorted::default() };
    for (index, record) in records.into_iter().enumerate() {
        let added = record
            .map_err(|err| Refusal::new(Code::InvalidEvent, err.to_string()))
            .and_then(|record| add(&mut sorted.groups, index, record, key, about));
        if let Err(refusal) = added {
            sorted.answer.reject(index, refusal);
        }
    }
    Ok(sorted)
}

/// Whether a body is JSON: no line of the other format begins with a bracket. Media types are not compared, because
/// drafts and players differ in them.
fn format_of(body: &[u8]) -> Format {
    match body.trim_ascii_start().first() {
        Some(b'{' | b'[') => Format::Json,
        _ => Format::Lines,
    }
}

/// Adds a record to the group of its session, if it makes an event.
fn add(
    groups: &mut HashMap<(ApiKey, String), Group>,
    index: usize,
    record: Record,
    key: &ApiKey,
    about: &About,
) -> Result<(), Refusal> {
    let Some(event) = record.event() else { return Ok(()) };
    let video = record.content.or_else(|| about.video.clone());
    let video =
        video.and_then(|identifier| Video::new(Some(identifier), None)).ok_or_else(|| {
            let reason =
                "`cid` is missing: set the `contentId` of the player, or send ?video=IDENTIFIER";
            Refusal::new(Code::InvalidVideo, reason)
        })?;
    let event = event.check(key.salt(&record.session)).map_err(|err| {
        // A report has no field that can be invalid.
        Refusal::new(Code::InvalidEvent, err.to_string())
    })?;
    let group = groups.entry((key.clone(), record.session)).or_insert_with(|| Group {
        video: video.clone(),
        session_data: None,
        page: about.page.clone(),
        arrival: Arrival::default(),
        sends_heartbeats: false,
        events: Vec::new(),
    });
    AnotherVideo::check(&group.video, &video)
        .map_err(|another| events::another_video(another, Names::Cmcd))?;
    group.sends_heartbeats |= record.kind == Kind::Interval;
    group.events.push((index, event));
    Ok(())
}

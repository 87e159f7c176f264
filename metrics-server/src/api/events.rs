//! `POST /v1/events`: events in batches, for clients without a websocket.
//!
//! A batch is answered when it is durable. Clients send it again, whole, when the answer is not 2xx, so an event that
//! comes twice counts once; and one bad event never loses the others.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use hyper::{Response, StatusCode};
use metrics_core::arrival::Arrival;
use metrics_core::event::CheckedEvent;
use metrics_core::recorder::{Acknowledgement, AnotherVideo, NotStored};
use metrics_core::{ApiKey, EventError, Join, JoinError, Metrics, Video};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::attempts::Secret;
use crate::channel::ConnectionInfo;
use crate::code::Code;
use crate::error::Error;
use crate::response::{self, Body};
use crate::wire::{self, Event, Positions, Refusal, Scalar};

/// How many events a batch may have: as many as a session remembers, so that a batch that is sent again counts once.
/// Clients send at most 50.
const EVENTS_MAX: usize = 256;

/// How long a batch waits for a store that is away. Clients send it again when that is over.
const DURABLE_MAX: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// Whose event it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address<'a> {
    #[serde(borrow)]
    session_id: Scalar<'a>,
    embed_id: Scalar<'a>,
    // Read only where they are there: most clients have none.
    metadata: Option<&'a RawValue>,
    session_data: Option<&'a RawValue>,
    key: Scalar<'a>,
    source_url: Scalar<'a>,
    referrer: Scalar<'a>,
    utm_source: Scalar<'a>,
    utm_medium: Scalar<'a>,
    utm_campaign: Scalar<'a>,
    // Seconds between two signs of life, of a client that gives some.
    heartbeat: Scalar<'a>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) accepted: usize,
    pub(crate) rejected: Vec<Rejected>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Rejected {
    pub(crate) index: usize,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) code: Code,
}

/// The events of one session, with their places in the batch.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) video: Video,
    pub(crate) session_data: Option<Map<String, Value>>,
    pub(crate) page: Option<String>,
    pub(crate) arrival: Arrival,
    pub(crate) sends_heartbeats: bool,
    pub(crate) events: Vec<(usize, CheckedEvent)>,
}

/// The names that fields of a join have in a protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Names {
    /// `session_id` and `embed_id`.
    Batch,
    /// `sid` and `cid`.
    Cmcd,
}

/// A batch that was read: each of its events is in a group, or rejected.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) count: usize,
    // By key and id of the session.
    pub(crate) groups: HashMap<(ApiKey, String), Group>,
    pub(crate) answer: Answer,
}

/// Records a batch, and answers when it is durable.
///
/// `key` is for events that name none. With `only`, events of other keys are rejected.
pub(crate) async fn record(
    metrics: &Metrics,
    key: Option<&ApiKey>,
    only: Option<&ApiKey>,
    info: &ConnectionInfo,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let answer = record_sorted(metrics, only, info, sort(body, key)?, Names::Batch).await?;
    Ok(response::json(StatusCode::OK, &answer))
}

/// Records a batch that was read, and returns when it is durable. With `only`, events of other keys are rejected.
pub(crate) async fn record_sorted(
    metrics: &Metrics,
    only: Option<&ApiKey>,
    info: &ConnectionInfo,
    sorted: Sorted,
    names: Names,
) -> Result<Answer, Error> {
    let Sorted { count, mut groups, mut answer } = sorted;
    if let Some(only) = only {
        let others = groups.extract_if(|(key, _), _| key != only);
        let refusal = Refusal::new(Code::Forbidden, "the token is of another key");
        others.for_each(|(_, group)| answer.reject_all(&group, &refusal));
    }
    if info.opted_out {
        for (_, group) in groups.drain() {
            info.counters.opt_out();
            answer.reject_all(&group, &Refusal::new(Code::OptedOut, "opted out"));
        }
    }
    record_groups(metrics, info, groups, names, &mut answer).await?;
    answer.rejected.sort_by_key(|rejected| rejected.index);
    answer.accepted = count - answer.rejected.len();
    Ok(answer)
}

/// Reads a batch. `key` is for events that name none.
pub(crate) fn sort(body: &[u8], key: Option<&ApiKey>) -> Result<Sorted, Error> {
    let batch: Batch<'_> = str::from_utf8(body)
        .ok()
        .and_then(wire::object)
        .ok_or(Error::body("the body must be a JSON object with an array `events`"))?;
    if EVENTS_MAX < batch.events.len() {
        let err = Error::body("`events` must have at most 256 elements");
        return Err(err.coded(Code::TooManyEvents));
    }
    let count = batch.events.len();
    let (mut groups, mut answer) = (HashMap::<_, Group>::new(), Answer::default());
    let mut keyless = 0;
    for (index, event) in batch.events.iter().enumerate() {
        match read(event, key) {
            Ok((address, group, event)) => {
                let (video, sends_heartbeats) = (group.video.clone(), group.sends_heartbeats);
                let group = groups.entry(address).or_insert(group);
                group.sends_heartbeats |= sends_heartbeats;
                match AnotherVideo::check(&group.video, &video) {
                    Ok(()) => group.events.push((index, event)),
                    Err(another) => answer.reject(index, another_video(another, Names::Batch)),
                }
            }
            Err(Unread::Keyless) => {
                keyless += 1;
                answer.reject(index, Refusal::new(Code::MissingKey, "`key` is missing"));
            }
            Err(Unread::Refused(refusal)) => answer.reject(index, refusal),
        }
    }
    if 0 < keyless && groups.is_empty() {
        return Err(Error::NoKey);
    }
    Ok(Sorted { count, groups, answer })
}

/// Records all groups, and returns when they are durable.
async fn record_groups(
    metrics: &Metrics,
    info: &ConnectionInfo,
    groups: HashMap<(ApiKey, String), Group>,
    names: Names,
    answer: &mut Answer,
) -> Result<(), Error> {
    let (mut invalid, all) = (0, groups.len());
    let mut too_many = None;
    let mut acknowledgements = Vec::new();
    for ((key, session), mut group) in groups {
        let attempt = match info.caller.attempt(Secret::Key(&key)) {
            Ok(attempt) => attempt,
            Err(err) => {
                invalid += 1;
                info.counters.hold_up();
                answer.reject_all(&group, &Refusal::new(Code::TooManyAttempts, err.to_string()));
                too_many = Some(err);
                continue;
            }
        };
        let join = Join::new(key, session, group.video.clone());
        let mut join = join.arrival(std::mem::take(&mut group.arrival));
        if let Some(data) = group.session_data.take() {
            join = join.session_data(data);
        }
        if group.sends_heartbeats {
            join = join.heartbeats();
        }
        let visited = metrics.visit(info.introduce(join, group.page.as_deref())).await;
        attempt.record_join(&visited);
        let viewing = match visited {
            Ok(viewing) => viewing,
            Err(JoinError::Store(err)) => return Err(err.into()),
            // What was recorded of the batch counts once when it comes again.
            Err(JoinError::TooMany(exceeded)) => return Err(exceeded.into()),
            Err(JoinError::Memory) => return Err(Error::Memory),
            Err(err) => {
                invalid += usize::from(matches!(err, JoinError::InvalidKey));
                answer.reject_all(&group, &refusal(err, names));
                continue;
            }
        };
        // Batches are filled by time, but a page may fill two at once.
        if group.events.iter().all(|(_, event)| event.timestamp_ms().is_some()) {
            group.events.sort_by_key(|(_, event)| event.timestamp_ms());
        }
        for (index, event) in group.events {
            match viewing.submit_checked(event) {
                Ok(acknowledgement) => acknowledgements.push((index, acknowledgement)),
                Err(EventError::NotStored(_)) => return Err(Error::NotStored),
                Err(EventError::TooMany(exceeded)) => return Err(exceeded.into()),
                Err(EventError::Memory) => return Err(Error::Memory),
                Err(err) => answer.reject(index, Refusal::of_event(&err, Positions::VideoTime)),
            }
        }
    }
    let durable = durable(acknowledgements, names, answer);
    // The events are recorded all the same, and count once when the batch comes again.
    timeout(DURABLE_MAX, durable).await.unwrap_or(Err(Error::NotStored))?;
    match too_many {
        _ if all == 0 || invalid < all => Ok(()),
        Some(too_many) => Err(too_many.into()),
        None => Err(Error::InvalidKey),
    }
}

/// Waits until all events are durable, by their places in the batch.
async fn durable(
    acknowledgements: Vec<(usize, Acknowledgement)>,
    names: Names,
    answer: &mut Answer,
) -> Result<(), Error> {
    for (index, mut acknowledgement) in acknowledgements {
        match acknowledgement.durable().await {
            Ok(()) => {}
            // To send it again would not help.
            Err(err @ (NotStored::TooManyVideos { .. } | NotStored::TooManyNewVideos(_))) => {
                answer.reject(index, Refusal::new(Code::from(&err), err.to_string()));
            }
            Err(NotStored::AnotherVideo(another)) => {
                answer.reject(index, another_video(another, names));
            }
            Err(NotStored::Refused) => return Err(Error::NotStored),
        }
    }
    Ok(())
}

/// Why a session was refused, with the names that its fields have in the protocol.
fn refusal(mut err: JoinError, names: Names) -> Refusal {
    if let JoinError::TooLong { field, .. }
    | JoinError::Nul { field }
    | JoinError::AnotherVideo(AnotherVideo { field }) = &mut err
    {
        *field = match (*field, names) {
            ("session", Names::Batch) => "session_id",
            ("identifier", Names::Batch) => "embed_id",
            ("session", Names::Cmcd) => "sid",
            ("identifier", Names::Cmcd) => "cid",
            (other, _) => other,
        };
    }
    Refusal::new(Code::from(&err), err.to_string())
}

/// Why an event is none of the session's video, with the name that its identifier has in the protocol.
pub(super) fn another_video(another: AnotherVideo, names: Names) -> Refusal {
    refusal(another.into(), names)
}

enum Unread {
    Keyless,
    Refused(Refusal),
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn read(
    event: &RawValue,
    key: Option<&ApiKey>,
) -> Result<((ApiKey, String), Group, CheckedEvent), Unread> {
    let refused = |code, reason: &'static str| Unread::Refused(Refusal::new(code, reason));
    let malformed = || refused(Code::InvalidEvent, "an event must be an object");
    let address: Address<'_> = wire::object(event.get()).ok_or_else(malformed)?;
    let event: Event<'_> = wire::object(event.get()).ok_or_else(malformed)?;
    let key = match &address.key {
        Scalar::Absent => key.cloned().ok_or(Unread::Keyless)?,
        Scalar::Text(text) => {
            ApiKey::new(text).map_err(|_| refused(Code::InvalidKey, "invalid key"))?
        }
        _ => return Err(refused(Code::InvalidKey, "`key` must be a string")),
    };
    let text = |scalar: &Scalar<'_>| scalar.text().filter(|text| !text.is_empty());
    let no_session =
        || refused(Code::InvalidSession, "`session_id` must be a string that is not empty");
    let session = text(&address.session_id).ok_or_else(no_session)?;
    let metadata = object("metadata", address.metadata)?;
    let no_video = || refused(Code::InvalidVideo, "`embed_id` must be a string that is not empty");
    let identifier = match &address.embed_id {
        Scalar::Absent if metadata.is_some() => None,
        embed_id => Some(text(embed_id).ok_or_else(no_video)?),
    };
    let video = Video::new(identifier, metadata).ok_or_else(no_video)?;
    let session_data = object("session_data", address.session_data)?;
    let page = address.source_url.text();
    let Address { referrer, utm_source, utm_medium, utm_campaign, .. } = &address;
    let arrival = [referrer, utm_source, utm_medium, utm_campaign].map(Scalar::as_str);
    let arrival = wire::arrival(arrival);
    let event = event.read(Positions::VideoTime)?;
    // Checked before the viewer joins: a session without a good event is not joined.
    let event = event
        .check(key.salt(&session))
        .map_err(|err| Refusal::of_event(&err.into(), Positions::VideoTime))?;
    let sends_heartbeats = address.heartbeat != Scalar::Absent;
    let events = Vec::new();
    let group = Group { video, session_data, page, arrival, sends_heartbeats, events };
    Ok(((key, session), group, event))
}

/// The object that a member is, if it is there and not null.
fn object(name: &str, json: Option<&RawValue>) -> Result<Option<Map<String, Value>>, Unread> {
    let Some(json) = json.filter(|json| json.get() != "null") else { return Ok(None) };
    let object = wire::object(json.get());
    let refusal = || Refusal::new(Code::InvalidMetadata, format!("`{name}` must be an object"));
    object.map(Some).ok_or_else(|| refusal().into())
}

impl Answer {
    pub(super) fn reject(&mut self, index: usize, Refusal { reason, code }: Refusal) {
        self.rejected.push(Rejected { index, reason, code });
    }

    fn reject_all(&mut self, group: &Group, refusal: &Refusal) {
        for (index, _) in &group.events {
            self.reject(*index, refusal.clone());
        }
    }
}

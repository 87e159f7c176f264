//! The session channel: which topics of a socket are joined, and the effect of each message. No I/O.
//!
//! A topic `session:<id>` is one session. The channel appends its replies to a list; some are sent at once and some
//! once an event is durable; see [`Reply`].

use std::collections::HashSet;
use std::sync::Arc;

use metrics_core::arrival::Arrival;
use metrics_core::recorder::{Acknowledgement, NotStored};
use metrics_core::session::Moment;
use metrics_core::user_agent::Classification;
use metrics_core::{ApiKey, Join, JoinError, KeyChanges, Metrics, Source, Video, Viewing};
use serde::Deserialize;
use serde_json::Value;

use crate::attempts::{Caller, Secret};
use crate::code::Code;
use crate::counters::Counters;
use crate::parameters::{join_parameters, parameter};
use crate::phoenix::{Answer, BinaryPush, Message, Outgoing, PHOENIX_TOPIC, Ref, Version};
use crate::wire::{self, Event, Positions, Refusal};

/// How many topics a socket may have joined: one per video on a page.
pub(crate) const CHANNELS_MAX: usize = 64;

/// The most bytes of join payloads about videos per socket: they are kept as long as the socket is open, and with the
/// largest payload on all channels they would be two megabytes. 4 KiB a channel are more than pages send.
const ABOUT_BYTES_MAX: usize = 256 * 1024;

/// The most topics whose leave is remembered: far more than can wait for their closing message.
const LEFT_MAX: usize = 1_024;

const TOPIC_PREFIX: &str = "session:";

/// The facts about a connection from its upgrade request.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionInfo {
    /// The classification of the user-agent headers: the headers themselves are not kept.
    pub(crate) classification: Classification,
    /// The header `Origin`, for keys that are restricted to sites.
    pub(crate) origin: Option<Box<str>>,
    /// The country of the caller, if it is known.
    pub(crate) country: Option<Box<str>>,
    /// The parameter `source_url`, for joins that have none.
    pub(crate) page: Option<String>,
    /// The parameters of the connection, for joins that lack them: a JSON object, if there are any.
    pub(crate) join_parameters: Option<Box<str>>,
    /// Whether the viewer opted out, and the operator heeds that.
    pub(crate) opted_out: bool,
    /// The caller, for the rate limit of guessed keys.
    pub(crate) caller: Caller,
    /// The counters of refusals.
    pub(crate) counters: Counters,
}

impl ConnectionInfo {
    /// Adds the parameters of this query string.
    pub(crate) fn with_query(self, query: &str) -> Self {
        let page = parameter(query, "source_url").and_then(|page| Source::parse(&page));
        let page = page.map(|page| page.as_str().to_owned());
        Self { page, join_parameters: join_parameters(query), ..self }
    }

    /// The memory of the texts, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let Self { origin, country, page, join_parameters, .. } = self;
        let texts =
            [origin.as_deref(), country.as_deref(), page.as_deref(), join_parameters.as_deref()];
        texts.into_iter().flatten().map(str::len).sum()
    }

    /// Adds the known facts about the viewer to a join.
    pub(crate) fn introduce(&self, join: Join, page: Option<&str>) -> Join {
        let mut join = join.classification(self.classification);
        if let Some(origin) = &self.origin {
            join = join.origin(&**origin);
        }
        if let Some(country) = &self.country {
            join = join.country(country);
        }
        if let Some(address) = self.caller.address() {
            join = join.address(address);
        }
        match page.or(self.page.as_deref()) {
            Some(page) => join.page(page),
            None => join,
        }
    }
}

/// A message to the client.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Sent at once.
    Now(String),
    /// Sent once an event is durable.
    Durable(Pending),
    /// The answer to a ping.
    Pong(Vec<u8>),
}

/// An answer that waits for an event to be durable.
#[derive(Debug)]
pub(crate) struct Pending {
    // Resolves when the event is durable. `None`: the answer waits only for earlier answers.
    acknowledgement: Option<Acknowledgement>,
    message_ref: Ref<'static>,
    channel: Arc<Channel>,
    // Whether the channel ends with this answer.
    closes: bool,
}

impl Pending {
    /// Waits until the event is durable. Cancel safe.
    pub(crate) async fn durable(&mut self) -> Result<(), NotStored> {
        match &mut self.acknowledgement {
            Some(acknowledgement) => acknowledgement.durable().await,
            None => Ok(()),
        }
    }

    /// The outcome of the event, if it is known by now.
    pub(crate) fn resolved(&self) -> Option<Result<(), NotStored>> {
        match &self.acknowledgement {
            Some(acknowledgement) => acknowledgement.resolved(),
            None => Some(Ok(())),
        }
    }

    /// Passes the answer to `send`, and the close of the channel if this answer ends it. `stored` is the outcome of the
    /// event.
    pub(crate) fn answer(&self, stored: Result<(), NotStored>, mut send: impl FnMut(Outgoing<'_>)) {
        let refusal = stored.map_err(not_stored).err();
        let answer = refusal.as_ref().map_or(Answer::Ok, error);
        let Self { message_ref, channel, .. } = self;
        let Channel { join_ref, topic } = &**channel;
        send(Outgoing::Reply { join_ref, message_ref, topic, answer });
        if self.closes {
            send(Outgoing::Close { join_ref, topic });
        }
    }
}

/// The topics that one socket has joined.
#[derive(Debug)]
pub(crate) struct Channels {
    metrics: Metrics,
    version: Version,
    info: Arc<ConnectionInfo>,
    // Hardly ever more than one or two.
    joined: Vec<Joined>,
    // Topics that were left, and whose closing message may still wait for an event to be durable.
    left: HashSet<Arc<str>>,
}

/// The members that all answers of a channel share.
#[derive(Debug)]
struct Channel {
    join_ref: Ref<'static>,
    topic: Arc<str>,
}

#[derive(Debug)]
struct Joined {
    channel: Arc<Channel>,
    viewing: Viewing,
    // The bytes of the join payload about the video.
    about_bytes: usize,
}

/// The payload of a join.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JoinPayload {
    key: Value,
    identifier: Value,
    metadata: Value,
    session_data: Value,
    source_url: Value,
    referrer: Value,
    utm_source: Value,
    utm_medium: Value,
    utm_campaign: Value,
}

impl JoinPayload {
    /// Takes missing members from the parameters of the connection.
    fn or(self, parameters: Option<&str>) -> Self {
        let Some(given) = parameters.and_then(wire::object::<Self>) else { return self };
        let or = |own: Value, given: Value| if own.is_null() { given } else { own };
        Self {
            key: or(self.key, given.key),
            identifier: or(self.identifier, given.identifier),
            metadata: or(self.metadata, given.metadata),
            session_data: or(self.session_data, given.session_data),
            ..self
        }
    }

    /// Where the viewer comes from, reduced. A member that is no text counts as missing.
    fn arrival(&self) -> Arrival {
        let Self { referrer, utm_source, utm_medium, utm_campaign, .. } = self;
        wire::arrival([referrer, utm_source, utm_medium, utm_campaign].map(Value::as_str))
    }
}

fn not_stored(err: NotStored) -> Refusal {
    let code = Code::from(&err);
    match err {
        NotStored::TooManyVideos { .. }
        | NotStored::TooManyNewVideos(_)
        | NotStored::AnotherVideo(_) => Refusal::new(code, err.to_string()),
        NotStored::Refused => Refusal::new(code, "not stored"),
    }
}

fn error(refusal: &Refusal) -> Answer<'_> {
    Answer::Error(refusal.code, &refusal.reason)
}

/// The text that older clients expect for every fault of a join.
const MISSING: &str = "missing parameters and/or invalid host";

const UNMATCHED_TOPIC: Answer<'_> = Answer::Error(Code::UnmatchedTopic, "unmatched topic");
const UNMATCHED_EVENT: Answer<'_> = Answer::Error(Code::UnmatchedEvent, "unmatched event");

impl Channels {
    pub(crate) fn new(metrics: Metrics, version: Version, info: Arc<ConnectionInfo>) -> Self {
        Self { metrics, version, info, joined: Vec::new(), left: HashSet::new() }
    }

    /// The serializer that the client speaks.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Whether no topic is joined.
    pub(crate) fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    /// Acts on a message, and appends the replies.
    pub(crate) async fn handle(&mut self, message: &Message<'_>, replies: &mut Vec<Reply>) {
        match (&*message.topic, &*message.event) {
            (PHOENIX_TOPIC, "heartbeat") => self.answer(message, &Ref::NULL, Answer::Ok, replies),
            // Boxed: otherwise every socket would hold the memory of a join all the time.
            _ if message.is_join() => Box::pin(self.join(message, replies)).await,
            (topic, event) => match (self.find(topic), event) {
                (Some(_), "phx_leave") => self.leave(message, replies),
                (None, "phx_leave") => {
                    self.answer(message, &message.join_ref, Answer::Ok, replies);
                }
                (Some(joined), "event") => match submit(joined, message) {
                    Ok(acknowledgement) => {
                        let channel = Arc::clone(&joined.channel);
                        replies.push(Reply::Durable(pending(
                            Some(acknowledgement),
                            channel,
                            message,
                        )));
                    }
                    Err(refusal) => {
                        let join_ref = &joined.channel.join_ref;
                        self.answer(message, join_ref, error(&refusal), replies);
                    }
                },
                (Some(joined), _) => {
                    self.answer(message, &joined.channel.join_ref, UNMATCHED_EVENT, replies);
                }
                (None, _) => {
                    self.answer(message, &Ref::NULL, UNMATCHED_TOPIC, replies);
                }
            },
        }
    }

    /// Answers a push with a binary payload: no event here has one.
    pub(crate) fn refuse(&self, push: &BinaryPush<'_>, replies: &mut Vec<Reply>) {
        let (join_ref, answer) = match self.find(push.topic) {
            Some(joined) => (&joined.channel.join_ref, UNMATCHED_EVENT),
            None => (&Ref::NULL, UNMATCHED_TOPIC),
        };
        let (message_ref, topic) = (&push.message_ref, push.topic);
        let reply = Outgoing::Reply { join_ref, message_ref, topic, answer };
        replies.push(Reply::Now(text(self.version, reply)));
    }

    /// Closes the channels whose key is no longer valid.
    pub(crate) fn revoke(&mut self, keys: &KeyChanges, replies: &mut Vec<Reply>) {
        let version = self.version;
        self.joined.retain(|joined| {
            let valid = keys.accepts(joined.viewing.key());
            if !valid {
                let Channel { join_ref, topic } = &*joined.channel;
                let close = Outgoing::Close { join_ref, topic };
                replies.push(Reply::Now(text(version, close)));
            }
            valid
        });
    }

    /// Ends all sessions of a lost socket. `last_received` is the time of the last message from the client.
    pub(crate) fn lose(&mut self, last_received: Moment) -> Vec<Acknowledgement> {
        self.joined.drain(..).map(|joined| joined.viewing.lose(last_received)).collect()
    }

    fn find(&self, topic: &str) -> Option<&Joined> {
        self.joined.iter().find(|joined| &*joined.channel.topic == topic)
    }

    /// Removes a topic from those that are joined.
    fn part(&mut self, topic: &str) -> Option<Joined> {
        let at = self.joined.iter().position(|joined| &*joined.channel.topic == topic)?;
        Some(self.joined.swap_remove(at))
    }

    async fn join(&mut self, message: &Message<'_>, replies: &mut Vec<Reply>) {
        // V1 joins have no ref of their own: that of the message is the join's.
        let join_ref =
            if message.join_ref.is_null() { &message.message_ref } else { &message.join_ref };
        let old = self.part(&message.topic);
        match self.admit(message).await {
            Ok(viewing) => {
                let topic: Arc<str> = (&*message.topic).into();
                let join_ref = join_ref.clone().into_owned();
                let channel = Arc::new(Channel { join_ref, topic: Arc::clone(&topic) });
                if self.left.remove(&topic) {
                    // After the closing message: a V1 client takes any `phx_close` for that of its newest join.
                    replies.push(Reply::Durable(pending(None, Arc::clone(&channel), message)));
                } else {
                    self.answer(message, &channel.join_ref, Answer::Ok, replies);
                }
                let about_bytes = self.about_bytes(message);
                // Capacity grows by one: most sockets join one topic in their lifetime.
                self.joined.reserve_exact(1);
                self.joined.push(Joined { channel, viewing, about_bytes });
            }
            Err(refusal) => {
                let unmatched = refusal.code == Code::UnmatchedTopic;
                let join_ref = if unmatched { &Ref::NULL } else { join_ref };
                self.answer(message, join_ref, error(&refusal), replies);
            }
        }
        if let Some(old) = old {
            let join_ref = &old.channel.join_ref;
            let close = Outgoing::Close { join_ref, topic: &message.topic };
            replies.push(Reply::Now(text(self.version, close)));
        }
    }

    /// Joins a viewer, or returns the reason for the refusal.
    async fn admit(&self, message: &Message<'_>) -> Result<Viewing, Refusal> {
        let session = message.topic.strip_prefix(TOPIC_PREFIX);
        let session = session.ok_or(Refusal::new(Code::UnmatchedTopic, "unmatched topic"))?;
        self.check_limits(message)?;
        if self.info.opted_out {
            self.info.counters.opt_out();
            return Err(Refusal::new(Code::OptedOut, "opted out"));
        }
        let payload: JoinPayload = wire::object(message.payload.get()).ok_or_else(missing)?;
        let payload = payload.or(self.info.join_parameters.as_deref());
        let arrival = payload.arrival();
        let key = payload.key.as_str().ok_or_else(missing)?;
        let key = ApiKey::new(key).map_err(|_| not_joined(JoinError::InvalidKey))?;
        let identifier = optional(payload.identifier, |value| match value {
            Value::String(text) => Some(Some(text).filter(|text| !text.is_empty())),
            // The 0.1.x client, made with a selector and metadata only, sends the metadata here as well.
            Value::Object(_) => Some(None),
            _ => None,
        })?;
        let identifier = identifier.flatten();
        let metadata = optional(payload.metadata, object)?;
        let session_data = optional(payload.session_data, object)?;
        let page = optional(payload.source_url, |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })?;
        let video = Video::new(identifier, metadata).ok_or_else(missing)?;
        let attempt = self.info.caller.attempt(Secret::Key(&key));
        let attempt = attempt.map_err(|too_many| {
            self.info.counters.hold_up();
            Refusal::new(Code::TooManyAttempts, too_many.to_string())
        })?;
        let join = Join::new(key, session, video).arrival(arrival);
        let mut join = self.info.introduce(join, page.as_deref());
        if let Some(data) = session_data {
            join = join.session_data(data);
        }
        let joined = self.metrics.join(join).await;
        attempt.record_join(&joined);
        joined.map_err(not_joined)
    }

    /// Fails if the socket has the most channels allowed, or the most bytes of join payloads.
    fn check_limits(&self, message: &Message<'_>) -> Result<(), Refusal> {
        let too_many = |reason: String| Err(Refusal::new(Code::TooManyChannels, reason));
        if CHANNELS_MAX <= self.joined.len() {
            return too_many(format!("a socket has at most {CHANNELS_MAX} channels"));
        }
        let about_bytes: usize = self.joined.iter().map(|joined| joined.about_bytes).sum();
        if ABOUT_BYTES_MAX < about_bytes + self.about_bytes(message) {
            return too_many(format!(
                "the channels of a socket may have at most {ABOUT_BYTES_MAX} bytes of metadata"
            ));
        }
        Ok(())
    }

    /// The bytes of a join payload about its video.
    fn about_bytes(&self, message: &Message<'_>) -> usize {
        let parameters = self.info.join_parameters.as_deref().unwrap_or_default();
        message.payload.get().len() + parameters.len()
    }

    fn leave(&mut self, message: &Message<'_>, replies: &mut Vec<Reply>) {
        if let Some(Joined { channel, viewing, .. }) = self.part(&message.topic) {
            if LEFT_MAX <= self.left.len() {
                self.left.clear();
            }
            self.left.insert(Arc::clone(&channel.topic));
            let pending = pending(Some(viewing.leave()), channel, message);
            replies.push(Reply::Durable(Pending { closes: true, ..pending }));
        }
    }

    fn answer(
        &self,
        message: &Message<'_>,
        join_ref: &Ref<'_>,
        answer: Answer<'_>,
        replies: &mut Vec<Reply>,
    ) {
        let (message_ref, topic) = (&message.message_ref, &*message.topic);
        let reply = Outgoing::Reply { join_ref, message_ref, topic, answer };
        replies.push(Reply::Now(text(self.version, reply)));
    }
}

fn submit(joined: &Joined, message: &Message<'_>) -> Result<Acknowledgement, Refusal> {
    let event: Event<'_> = wire::object(message.payload.get()).ok_or(Refusal::new(
        Code::InvalidEvent,
        "the payload must be an object that describes an event",
    ))?;
    let event = event.read(Positions::FromTo)?;
    joined.viewing.submit(&event).map_err(|err| Refusal::of_event(&err, Positions::FromTo))
}

fn pending(
    acknowledgement: Option<Acknowledgement>,
    channel: Arc<Channel>,
    message: &Message<'_>,
) -> Pending {
    let message_ref = message.message_ref.clone().into_owned();
    Pending { acknowledgement, message_ref, channel, closes: false }
}

/// The value of an optional member: it may be missing or null, but not invalid.
fn optional<T>(value: Value, read: impl FnOnce(Value) -> Option<T>) -> Result<Option<T>, Refusal> {
    if value.is_null() { Ok(None) } else { read(value).map(Some).ok_or_else(missing) }
}

fn missing() -> Refusal {
    Refusal::new(Code::InvalidJoin, MISSING)
}

/// The refusal that the client receives for a failed join.
fn not_joined(err: JoinError) -> Refusal {
    let code = Code::from(&err);
    match err {
        JoinError::NoSession => Refusal::new(code, MISSING),
        JoinError::Store(err) => {
            tracing::warn!(error = &err as &dyn std::error::Error, "could not check a key");
            Refusal::new(code, "unavailable")
        }
        other => Refusal::new(code, other.to_string()),
    }
}

fn object(value: Value) -> Option<serde_json::Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

fn text(version: Version, outgoing: Outgoing<'_>) -> String {
    let mut text = String::new();
    outgoing.encode(version, &mut text);
    text
}

//! The codes of refusals: a stable name beside each English text, for programs.
//!
//! A text may be reworded; a code keeps its name and its meaning. `docs/refusals.md` says of each code when it comes and
//! whether the same request may be sent again. A test compares that table and the `OpenAPI` document with [`Code`].

use metrics_core::budget::UsedUp;
use metrics_core::query::QueryError;
use metrics_core::recorder::NotStored;
use metrics_core::{EventError, JoinError};
use serde::{Serialize, Serializer};

/// Defines [`Code`] with its names, so that no code lacks one and [`Code::ALL`] lacks no code.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident = $name:literal,)+) => {
        /// Why a request, an event or a message is refused: the member `code` beside the text.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $code,)+
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// The name of the code in JSON: snake case, and the same in every version.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }
        }
    };
}

codes! {
    /// A parameter has a value that is not accepted.
    InvalidParameter = "invalid_parameter",
    /// A parameter does not exist.
    UnknownParameter = "unknown_parameter",
    /// A parameter is missing.
    MissingParameter = "missing_parameter",
    /// Two parameters exclude each other.
    ConflictingParameters = "conflicting_parameters",
    /// A metric, a dimension, an operator or another name in a query does not exist.
    UnknownName = "unknown_name",
    /// The time zone is unknown.
    UnknownTimezone = "unknown_timezone",
    /// JSON is nested too deeply.
    TooDeep = "too_deep",
    /// The timeframe has too many buckets of this interval.
    TooManyBuckets = "too_many_buckets",
    /// A setting of a key has a value that is not accepted.
    InvalidSetting = "invalid_setting",
    /// The body is not the JSON that the route expects.
    InvalidBody = "invalid_body",
    /// The body ended early.
    BodyIncomplete = "body_incomplete",
    /// The body took too long to arrive.
    BodyTimeout = "body_timeout",
    /// The batch has too many events.
    TooManyEvents = "too_many_events",
    /// Two parties may disagree about the end of the request.
    AmbiguousLength = "ambiguous_length",
    /// The request has no `Host`, or several.
    InvalidHost = "invalid_host",
    /// The route of websockets received a plain request.
    ExpectedWebsocket = "expected_websocket",
    /// User and password are missing or wrong, or an application does not know the caller.
    Unauthorized = "unauthorized",
    /// No event of the batch has a key.
    MissingKey = "missing_key",
    /// The key is unknown or revoked.
    InvalidKey = "invalid_key",
    /// The caller may not have this.
    Forbidden = "forbidden",
    /// The access token is expired, revoked or not signed by this server.
    InvalidToken = "invalid_token",
    /// A page of another origin makes the request.
    CrossOrigin = "cross_origin",
    /// The version of the channel's serializer is unknown.
    UnknownVersion = "unknown_version",
    /// The path leads nowhere.
    NotFound = "not_found",
    /// The key in the path does not exist.
    UnknownKey = "unknown_key",
    /// The path has other methods.
    MethodNotAllowed = "method_not_allowed",
    /// The key to create exists.
    KeyExists = "key_exists",
    /// More sessions are selected than `expect` allows.
    UnexpectedSessions = "unexpected_sessions",
    /// The body is too large.
    PayloadTooLarge = "payload_too_large",
    /// The answer would be too large.
    AnswerTooLarge = "answer_too_large",
    /// The body must be declared as JSON.
    UnsupportedMediaType = "unsupported_media_type",
    /// The range begins after the end of the file.
    RangeNotSatisfiable = "range_not_satisfiable",
    /// A server without authentication is called by an unknown name.
    MisdirectedHost = "misdirected_host",
    /// The websocket is not of version 13.
    UpgradeRequired = "upgrade_required",
    /// Too many wrong keys or passwords came from this network.
    TooManyAttempts = "too_many_attempts",
    /// A rate limit of the key or of the address is used up.
    RateLimited = "rate_limited",
    /// The server failed; its log says why.
    InternalError = "internal_error",
    /// The database is damaged.
    DatabaseDamaged = "database_damaged",
    /// The events could not be stored.
    NotStored = "not_stored",
    /// Another request of the same kind runs.
    Busy = "busy",
    /// Too many reports or events wait.
    Overloaded = "overloaded",
    /// The memory budget is used up.
    OutOfMemory = "out_of_memory",
    /// There are too many connections, in all or from this address.
    TooManyConnections = "too_many_connections",
    /// The report takes too long.
    ReportTimeout = "report_timeout",
    /// The store does not answer, or the keys are not known yet.
    Unavailable = "unavailable",
    /// The store does not answer, and the server records without it.
    Degraded = "degraded",
    /// The user-agent or the network is that of a bot.
    Bot = "bot",
    /// The viewer opted out of being measured.
    OptedOut = "opted_out",
    /// The key does not list the page.
    OriginNotAllowed = "origin_not_allowed",
    /// The payload of a join lacks a member, or one has another type.
    InvalidJoin = "invalid_join",
    /// A batch's event has no session id.
    InvalidSession = "invalid_session",
    /// A batch's event names no video.
    InvalidVideo = "invalid_video",
    /// `metadata` or `session_data` is not an object.
    InvalidMetadata = "invalid_metadata",
    /// A text holds U+0000.
    InvalidCharacter = "invalid_character",
    /// A field of a join or of a batch is too long.
    TooLong = "too_long",
    /// The session has another video.
    AnotherVideo = "another_video",
    /// The event is not an object.
    InvalidEvent = "invalid_event",
    /// The name of the event is not a text.
    InvalidName = "invalid_name",
    /// A position is missing, or is not a number of seconds.
    InvalidPosition = "invalid_position",
    /// The duration is not a number of seconds.
    InvalidDuration = "invalid_duration",
    /// The timestamp is not a number of milliseconds.
    InvalidTimestamp = "invalid_timestamp",
    /// The session has as many segments as it may have.
    TooManySegments = "too_many_segments",
    /// The key has as many videos as it may have.
    TooManyVideos = "too_many_videos",
    /// The connection has as many channels as it may have.
    TooManyChannels = "too_many_channels",
    /// The topic is neither joined nor one to join.
    UnmatchedTopic = "unmatched_topic",
    /// A channel has no such event.
    UnmatchedEvent = "unmatched_event",
    /// A message is not one of the channel protocol.
    InvalidMessage = "invalid_message",
    /// A message of the channel protocol is too large.
    MessageTooLarge = "message_too_large",
    /// There are too many long-polling sessions, in all or from this address.
    TooManySessions = "too_many_sessions",
    /// The long-polling session is over.
    SessionOver = "session_over",
    /// The server stops.
    Stopping = "stopping",
}

impl Code {
    /// Whether the same may be sent again later, and then succeed without a change.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::BodyIncomplete
                | Self::BodyTimeout
                | Self::TooManyAttempts
                | Self::RateLimited
                | Self::NotStored
                | Self::Busy
                | Self::Overloaded
                | Self::OutOfMemory
                | Self::TooManyConnections
                | Self::ReportTimeout
                | Self::Unavailable
                | Self::Degraded
                | Self::TooManySessions
                | Self::SessionOver
                | Self::Stopping
        )
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

// The matches below name every variant: an error that is new does not compile before it has a code.

impl From<&JoinError> for Code {
    fn from(err: &JoinError) -> Self {
        match err {
            JoinError::InvalidKey => Self::InvalidKey,
            JoinError::Bot => Self::Bot,
            JoinError::Origin => Self::OriginNotAllowed,
            JoinError::TooMany(_) => Self::RateLimited,
            JoinError::NoSession => Self::InvalidSession,
            JoinError::TooLong { .. } => Self::TooLong,
            JoinError::Nul { .. } => Self::InvalidCharacter,
            JoinError::TooDeep { .. } => Self::TooDeep,
            JoinError::AnotherVideo(_) => Self::AnotherVideo,
            JoinError::Memory => Self::OutOfMemory,
            JoinError::Store(_) => Self::Unavailable,
        }
    }
}

impl From<&EventError> for Code {
    fn from(err: &EventError) -> Self {
        match err {
            EventError::Invalid(invalid) if invalid.field == "duration" => Self::InvalidDuration,
            EventError::Invalid(_) => Self::InvalidPosition,
            EventError::Full => Self::TooManySegments,
            EventError::TooMany(_) => Self::RateLimited,
            EventError::Memory => Self::OutOfMemory,
            EventError::NotStored(err) => err.into(),
        }
    }
}

impl From<&NotStored> for Code {
    fn from(err: &NotStored) -> Self {
        match err {
            NotStored::Refused => Self::NotStored,
            NotStored::AnotherVideo(_) => Self::AnotherVideo,
            NotStored::TooManyVideos { .. } => Self::TooManyVideos,
            NotStored::TooManyNewVideos(_) => Self::RateLimited,
        }
    }
}

impl From<&QueryError> for Code {
    fn from(err: &QueryError) -> Self {
        match err {
            QueryError::Unknown { parameter: "parameter", .. } => Self::UnknownParameter,
            QueryError::Unknown { .. } => Self::UnknownName,
            QueryError::Invalid { .. } | QueryError::Count { .. } => Self::InvalidParameter,
            QueryError::TooDeep { .. } => Self::TooDeep,
        }
    }
}

impl From<&UsedUp> for Code {
    fn from(err: &UsedUp) -> Self {
        match err {
            UsedUp::ByAll => Self::OutOfMemory,
            UsedUp::ByOne => Self::AnswerTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_a_name_of_its_own_in_snake_case() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let mut expected = String::new();
            for (at, letter) in format!("{code:?}").char_indices() {
                if letter.is_uppercase() && 0 < at {
                    expected.push('_');
                }
                expected.push(letter.to_ascii_lowercase());
            }
            assert_eq!(code.as_str(), expected);
            assert_eq!(serde_json::to_value(code).unwrap(), expected);
        }
    }

    #[test]
    fn a_session_that_is_full_has_its_code() {
        assert_eq!(Code::from(&EventError::Full), Code::TooManySegments);
    }
}

//! A viewer who joins, and the errors of joins.

use serde_json::{Map, Value};

use crate::arrival::{Arrival, ArrivalPart};
use crate::containment::DEPTH_MAX;
use crate::key::ApiKey;
use crate::quota::RateExceeded;
use crate::recorder::{AnotherVideo, NotJoined};
use crate::store::Error;
use crate::user_agent::Classification;
use crate::video::Video;

/// The longest id that a client may give a session, in bytes. A UUID has 36.
pub const SESSION_BYTES_MAX: usize = 256;

/// A viewer who joins a session.
#[derive(Clone, Debug)]
pub struct Join {
    pub(super) key: ApiKey,
    pub(super) session: String,
    pub(super) video: Video,
    pub(super) user_agent: Option<String>,
    pub(super) brands: Option<String>,
    pub(super) classification: Option<Classification>,
    pub(super) page: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) address: Option<u64>,
    pub(super) session_data: Option<Map<String, Value>>,
    pub(super) arrival: Arrival,
    pub(super) sends_heartbeats: bool,
}

impl Join {
    /// Joins the session with the id `session`, a random text that the page creates for every viewing.
    #[must_use]
    pub fn new(key: ApiKey, session: impl Into<String>, video: Video) -> Self {
        Self {
            key,
            session: session.into(),
            video,
            user_agent: None,
            brands: None,
            classification: None,
            page: None,
            origin: None,
            address: None,
            session_data: None,
            arrival: Arrival::default(),
            sends_heartbeats: false,
        }
    }

    /// The viewer's header `User-Agent`. It determines the user-agent classes, and is not kept.
    #[must_use]
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: Some(user_agent.into()), ..self }
    }

    /// The viewer's header `Sec-CH-UA`. It distinguishes Brave from Chrome, and is not kept.
    #[must_use]
    pub fn brands(self, brands: impl Into<String>) -> Self {
        Self { brands: Some(brands.into()), ..self }
    }

    /// The result of [`Metrics::classify`](super::Metrics::classify), for viewers who join more than once: the headers have no effect then.
    #[must_use]
    pub fn classification(self, classification: Classification) -> Self {
        Self { classification: Some(classification), ..self }
    }

    /// The URL of the page that holds the video. Only scheme, host, port and path are kept.
    #[must_use]
    pub fn page(self, url: impl Into<String>) -> Self {
        Self { page: Some(url.into()), ..self }
    }

    /// The viewer's header `Origin`. It is compared with the hosts of the key, and is not kept.
    #[must_use]
    pub fn origin(self, origin: impl Into<String>) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// A hash of the viewer's IP address, for [limits](crate::limits::Rates) per address. It is kept in memory only.
    /// Without a hash, limits per address do not apply.
    #[must_use]
    pub fn address(self, hash: u64) -> Self {
        Self { address: Some(hash), ..self }
    }

    /// Data that the page attaches to this viewing.
    #[must_use]
    pub fn session_data(self, data: Map<String, Value>) -> Self {
        Self { session_data: Some(data), ..self }
    }

    /// Where the viewer comes from. A referrer is not kept if it is the host of the page.
    #[must_use]
    pub fn arrival(self, arrival: Arrival) -> Self {
        Self { arrival, ..self }
    }

    /// The country of the viewer, two letters of ISO 3166-1, beside the other parts of [`arrival`](Self::arrival), which
    /// replaces it. Other texts have no effect.
    #[must_use]
    pub fn country(self, code: &str) -> Self {
        Self { arrival: self.arrival.with(ArrivalPart::Country, code), ..self }
    }

    /// The page sends an event at least every 15 s while its video plays.
    ///
    /// For [`Metrics::visit`](super::Metrics::visit): such a viewer counts as watching until 60 s after the last event, any other viewer until
    /// the video must have ended, an hour at most.
    #[must_use]
    pub fn heartbeats(self) -> Self {
        Self { sends_heartbeats: true, ..self }
    }
}

/// Why a viewer may not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The key is unknown, or was revoked.
    #[error("invalid key")]
    InvalidKey,
    /// The User-Agent is a known bot's.
    #[error("bot")]
    Bot,
    /// The page or the origin is not on a host of the key: see [`KeySettings::allows`](crate::key::KeySettings::allows).
    #[error("origin not allowed")]
    Origin,
    /// A rate limit of joins is used up.
    #[error(transparent)]
    TooMany(#[from] RateExceeded),
    /// The session has no id.
    #[error("`session` must not be empty")]
    NoSession,
    /// A field is too long.
    #[error("`{field}` has more than {bytes_max} bytes")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The longest allowed value, in bytes.
        bytes_max: usize,
    },
    /// A field holds U+0000, which some stores cannot keep.
    #[error("`{field}` must not hold the character U+0000")]
    Nul {
        /// The field.
        field: &'static str,
    },
    /// A field is nested deeper than [`DEPTH_MAX`].
    #[error("`{field}` is nested more than {DEPTH_MAX} deep")]
    TooDeep {
        /// The field.
        field: &'static str,
    },
    /// The session belongs to another video.
    #[error(transparent)]
    AnotherVideo(#[from] AnotherVideo),
    /// The [memory budget](super::Builder::memory) is used up, and the session is not in memory yet.
    #[error("no memory is left for another session; try again later")]
    Memory,
    /// The keys are not known, because the store was never reached.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<NotJoined> for JoinError {
    fn from(not_joined: NotJoined) -> Self {
        match not_joined {
            NotJoined::AnotherVideo(another) => another.into(),
            NotJoined::Memory => Self::Memory,
        }
    }
}

//! Sessions: the writes of recording and their outcomes, open sessions, and closed sessions that can go on.

use std::sync::Arc;

use super::id::{Instance, KeyId, Version, VideoId};
use crate::arrival::Arrival;
use crate::block::Row;
use crate::key::{ApiKey, SessionId};
use crate::session::Stored;
use crate::source::Source;
use crate::user_agent::UserAgentClass;
use crate::video::Video;

/// The properties of a session that never change: those of its first write stay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The key of the session.
    pub key: ApiKey,
    /// The video.
    pub video: Video,
    /// The page, if it is known.
    pub source: Option<Source>,
    /// The classes of browser, platform and device.
    pub user_agent: UserAgentClass,
    /// Data that the page attaches to this viewing: canonical JSON of an object.
    pub session_data: Option<String>,
    /// Where the viewer comes from: referrer, campaign and country.
    pub arrival: Arrival,
}

/// A session to be written.
#[derive(Clone, Debug)]
pub struct SessionWrite {
    /// Its id.
    pub id: SessionId,
    /// Its key, video, page, user-agent classes, session data and arrival.
    pub subject: Arc<Subject>,
    /// The version that the store must have; 0 if the session must not exist.
    pub expected: Version,
    /// The session.
    pub stored: Stored,
    /// The instance at which a segment is open now.
    pub watched_at: Option<Instance>,
}

impl SessionWrite {
    /// The row of a session that begins with this write.
    #[must_use]
    pub fn row(&self) -> Row {
        Row {
            id: self.id.into(),
            page: self.subject.source.clone(),
            user_agent: self.subject.user_agent,
            session_data: self.subject.session_data.as_deref().map(Arc::from),
            arrival: self.subject.arrival.clone(),
            stored: self.stored.clone(),
        }
    }
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is stored; the version of a session is the expected one plus one.
    Written,
    /// The store has another version: the session must be loaded again.
    Conflict,
}

/// An open session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// The version of its row.
    pub version: Version,
    /// The row id of its key.
    pub key: KeyId,
    /// The row id of its video.
    pub video: VideoId,
    /// The session, with its resume state.
    pub row: Row,
}

/// The stored state of a session that can go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Its version, which the next write must expect.
    pub version: Version,
    /// The digest of its video, as returned by [`Video::digest`]: a session has one video.
    pub video: [u8; 16],
    /// The identifier of that video.
    pub identifier: Option<String>,
    /// The form in which it is stored.
    pub location: Location,
}

/// The form in which a session is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most that are loaded are open, and few are loaded at once"
)]
pub enum Location {
    /// As a row of its own.
    Open(Stored),
    /// In a block.
    Closed {
        /// The row id of its key.
        key: KeyId,
        /// The row id of its video.
        video: VideoId,
        /// When it started, in Unix milliseconds.
        started_at_ms: i64,
        /// Its resume state.
        resume: Vec<u8>,
    },
}

/// A closed session that can go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resumable {
    /// Its id.
    pub id: SessionId,
    /// Its version, to be expected by the next write.
    pub version: Version,
    /// The row id of its video.
    pub video: VideoId,
    /// When it started, in Unix milliseconds.
    pub started_at_ms: i64,
    /// Its last event, in Unix milliseconds.
    pub last_event_at_ms: i64,
    /// Its resume state.
    pub resume: Vec<u8>,
}

impl From<OpenSession> for Resumable {
    /// Keeps the fields that a closed session needs beside its block.
    fn from(session: OpenSession) -> Self {
        let OpenSession { id, version, video, row: Row { stored, .. }, .. } = session;
        let Stored { started_at_ms, last_event_at_ms, resume, .. } = stored;
        Self { id, version, video, started_at_ms, last_event_at_ms, resume }
    }
}

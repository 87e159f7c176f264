//! Errors of events, and of viewers who join.

use crate::event::InvalidEvent;
use crate::quota::RateExceeded;
use crate::session::SEGMENTS_MAX;
use crate::video::Video;

/// Why an event is not stored and never will be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotStored {
    /// The store refused it, or the recorder stopped before it was written.
    #[error("the event could not be stored")]
    Refused,
    /// The session belongs to another video.
    #[error(transparent)]
    AnotherVideo(#[from] AnotherVideo),
    /// It would begin the first session of a video, and its key has reached its limit of videos.
    #[error("the key has {videos_max} videos, its limit: sessions of further videos are refused")]
    TooManyVideos {
        /// The limit.
        videos_max: u32,
    },
    /// It would begin the first session of a video, and a rate limit of new videos is used up.
    #[error(transparent)]
    TooManyNewVideos(#[from] RateExceeded),
}

/// An event, or a viewer who joins, names another video than that of the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the session has another video: `{field}` differs")]
pub struct AnotherVideo {
    /// The field that differs: `identifier` or `metadata`.
    pub field: &'static str,
}

impl AnotherVideo {
    /// Compares the video of a session with the video of an event or a join.
    ///
    /// # Errors
    ///
    /// The field that differs.
    pub fn check(session: &Video, named: &Video) -> Result<(), Self> {
        if session == named { Ok(()) } else { Err(Self::of(session.identifier(), named)) }
    }

    /// The error for a session of the video with `identifier`, given `named`, a different video.
    pub(super) fn of(identifier: Option<&str>, named: &Video) -> Self {
        let is_same = identifier == named.identifier();
        Self { field: if is_same { "metadata" } else { "identifier" } }
    }
}

/// Why an event was not recorded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EventError {
    /// A field of the event has an impossible value; nothing was changed.
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
    /// The session has reached its limit of segments; nothing was changed.
    #[error("a session has at most {SEGMENTS_MAX} segments")]
    Full,
    /// A rate limit of events is used up; nothing was changed.
    #[error(transparent)]
    TooMany(#[from] RateExceeded),
    /// The memory budget is used up; nothing was changed.
    #[error("no memory is left for another event; send it again later")]
    Memory,
    /// The store refused it.
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

/// Why a viewer cannot join a session.
#[derive(Debug)]
pub(crate) enum NotJoined {
    AnotherVideo(AnotherVideo),
    /// No memory is left for another session.
    Memory,
}

impl From<AnotherVideo> for NotJoined {
    fn from(another: AnotherVideo) -> Self {
        Self::AnotherVideo(another)
    }
}

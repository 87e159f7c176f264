//! An event that affects the playhead.

use crate::session::Moment;

/// An event that affects the playhead, and its time.
#[derive(Clone, Debug)]
pub(in crate::session) struct Mark {
    pub(in crate::session) what: What,
    // The duration at that time, if the player reports it.
    pub(in crate::session) duration_ms: Option<u32>,
    pub(in crate::session) at: Moment,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::session) enum What {
    Play {
        from_ms: u32,
        /// Whether the play arrived when it happened, from a client that writes positions as text.
        is_live: bool,
    },
    Pause {
        to_ms: u32,
    },
    Jump {
        from_ms: u32,
    },
    Stalled {
        from_ms: Option<u32>,
    },
    Flowing,
    Rate {
        rate_milli: u32,
    },
    /// Only a duration.
    Duration,
    Lost,
    Resumed,
    Left,
}

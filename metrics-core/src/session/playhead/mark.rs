//! An event that affects the playhead.

use crate::event::CheckedReport;
use crate::session::Moment;

/// An event that affects the playhead, and its time.
#[derive(Clone, Debug)]
pub(in crate::session) struct Mark {
    pub(in crate::session) kind: MarkKind,
    // The duration at that time, if the player reports it.
    pub(in crate::session) duration_ms: Option<u32>,
    pub(in crate::session) at: Moment,
}

/// The effect of an event on the playhead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::session) enum MarkKind {
    Play {
        from_ms: u32,
        /// Whether the play arrived when it happened, from a client that writes positions as text.
        is_live: bool,
    },
    Pause {
        to_ms: u32,
    },
    /// A pause with a bare number, from a client that writes positions as text.
    Jump {
        from_ms: u32,
    },
    /// A wait for data begins.
    Stalled {
        from_ms: Option<u32>,
    },
    /// The wait for data ended.
    Flowing,
    Rate {
        rate_milli: u32,
    },
    /// The player reports its state.
    Report(CheckedReport),
    /// Only a duration.
    Duration,
    /// The connection was lost.
    Lost,
    /// The viewer is back.
    Resumed,
    /// The viewer left.
    Left,
}

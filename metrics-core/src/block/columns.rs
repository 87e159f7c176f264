//! Decoded columns: the part of a block, or of open sessions, that a report reads.

use std::sync::Arc;

use super::arrivals::Arrivals;
use super::coded::Coded;
use super::numbers::{Numbers, Starts};
use super::quality::Qualities;
use crate::session::minutes::{MinuteRun, runs_from};
use crate::source::Source;
use crate::user_agent::UserAgentClass;

/// The columns of sessions of one video, each with one entry per session. A group that was not read has empty columns.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Columns {
    /// Number of sessions.
    pub(crate) sessions: usize,
    /// The starts of the sessions, in order.
    pub(crate) starts: Starts,
    /// View times in milliseconds.
    pub(crate) view_ms: Numbers,
    pub(super) rewatched_ms: Numbers,
    /// Browser, platform and device.
    pub(crate) user_agents: Option<Coded<UserAgentClass>>,
    /// The duration of the video in milliseconds, if it is known.
    pub(crate) durations_ms: Option<Coded<Option<u32>>>,
    /// The page that embeds the video, if it is known.
    pub(crate) pages: Option<Coded<Option<Source>>>,
    /// Canonical JSON of an object, if the page gave session data.
    pub(crate) session_data: Option<Coded<Option<Arc<str>>>>,
    /// The language of the track chosen last, if one was chosen.
    pub(crate) languages: Option<Coded<Option<Arc<str>>>>,
    /// Referrer, campaign and country, as far as they are known.
    pub(crate) arrivals: Option<Arrivals>,
    /// Startup time, rebuffering and failures.
    pub(crate) qualities: Option<Qualities>,
    pub(super) segments: Vec<u8>,
    // The end of each session's segments.
    pub(super) segment_ends: Vec<u32>,
    pub(super) details: Vec<super::detail::Detail>,
    pub(super) row_ids: Vec<super::RowId>,
    pub(super) minute_runs: Vec<MinuteRun>,
    // The end of each session's runs.
    pub(super) minute_ends: Vec<u32>,
}

impl Columns {
    /// Returns the unique view time of a session, in milliseconds.
    #[inline]
    #[must_use]
    pub(crate) fn unique_ms(&self, session: usize) -> u64 {
        self.view_ms.get(session).wrapping_sub(self.rewatched_ms.get(session))
    }

    /// The segments of a session, in the encoding of [`Segments::encode`](crate::interval::Segments::encode).
    #[must_use]
    pub(crate) fn segments(&self, session: usize) -> &[u8] {
        let start = session.checked_sub(1).map_or(0, |before| self.segment_ends[before]);
        &self.segments[start as usize..self.segment_ends[session] as usize]
    }

    /// The runs of minutes at which a session played.
    pub(super) fn minute_runs(&self, session: usize) -> &[MinuteRun] {
        let start = session.checked_sub(1).map_or(0, |before| self.minute_ends[before]);
        &self.minute_runs[start as usize..self.minute_ends[session] as usize]
    }

    /// Returns the minutes at which a session played, as runs `[first, end)` of minutes since 1970. The starts must be
    /// decoded.
    pub(crate) fn minutes(&self, session: usize) -> impl Iterator<Item = (i64, i64)> + '_ {
        runs_from(self.starts.get_ms(session), self.minute_runs(session))
    }

    /// Returns the row id of a session, if row ids are decoded.
    pub(crate) fn row_id(&self, session: usize) -> Option<super::RowId> {
        self.row_ids.get(session).copied()
    }

    /// Returns whether the minutes are decoded.
    pub(crate) fn has_minutes(&self) -> bool {
        self.minute_ends.len() == self.sessions
    }

    /// Returns whether the segments were read.
    pub(crate) fn has_segments(&self) -> bool {
        self.segment_ends.len() == self.sessions
    }
}

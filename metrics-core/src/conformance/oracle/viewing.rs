//! One session of the oracle, and its view time by brute force.

use std::collections::BTreeSet;

use crate::user_agent::UserAgentClass;

/// One session, with the fields that the definitions use.
#[derive(Clone, Debug)]
pub(super) struct Viewing {
    /// The number of the session. Its id derives from the number.
    pub(super) number: usize,
    /// Index of one of the two keys.
    pub(super) key: usize,
    /// Index of the video.
    pub(super) video: usize,
    /// The plan in the session data, if any.
    pub(super) plan: Option<&'static str>,
    pub(super) page: Option<&'static str>,
    pub(super) user_agent: UserAgentClass,
    pub(super) started_at_ms: i64,
    pub(super) segments: Vec<(u32, u32)>,
    /// Computed once, because it is slow.
    pub(super) unique_ms: u64,
}

/// The view time: the length of all segments together.
pub(super) fn view_ms(viewing: &Viewing) -> u64 {
    viewing.segments.iter().map(|(from, to)| u64::from(to - from)).sum()
}

/// The unique view time: how many milliseconds of the video are in some segment.
pub(super) fn unique_ms(viewing: &Viewing) -> u64 {
    let watched: BTreeSet<u32> = viewing.segments.iter().flat_map(|&(from, to)| from..to).collect();
    watched.len() as u64
}

//! One session of the oracle, and its view time by brute force.

use std::collections::BTreeSet;

use crate::client::Client;

/// One session, as the definitions see it.
#[derive(Clone, Debug)]
pub(super) struct Viewing {
    /// Its own, of which its id is made.
    pub(super) number: usize,
    /// Which of the two keys.
    pub(super) key: usize,
    /// Which of the videos.
    pub(super) video: usize,
    /// Which of the plans the session data names, if any.
    pub(super) plan: Option<&'static str>,
    pub(super) page: Option<&'static str>,
    pub(super) client: Client,
    pub(super) started_at_ms: i64,
    pub(super) segments: Vec<(u32, u32)>,
    /// Worked out once: it takes long.
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

//! Reports of a player's state, from clients that report states instead of plays and pauses.

use super::fnv1a;

/// A report of a player about itself at one moment.
///
/// Reports need not be complete: a report that a state goes on changes nothing, and after a lost one the next one counts.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The number of the report by the player's count. It orders reports of one millisecond, and two reports are the same
    /// only if it is equal.
    pub sequence: u32,
    /// The state of the player.
    pub state: Option<PlayerState>,
    /// The position in milliseconds of video, if the player reports it. Without positions, the time that passes in state
    /// [`Playing`](PlayerState::Playing) is view time without a place.
    pub position_ms: Option<u32>,
    /// Seconds of video per second, from now on.
    pub rate: Option<f64>,
    /// From the intent to play to the first frame, in milliseconds. It counts only if the states do not tell it.
    pub startup_ms: Option<u32>,
    /// The rendition was switched to this one, in bits per second.
    pub bitrate: Option<u32>,
    /// Whether an error occurred. Errors until the player plays again count as one failure.
    pub is_failure: bool,
    /// Whether the video fills the screen from now on.
    pub is_expansion: bool,
    /// Whether advertisements begin or end. What plays between is no part of the video.
    pub ads: Option<Ads>,
}

/// The state of a player.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[non_exhaustive]
pub enum PlayerState {
    /// It shall play, and has no frame yet.
    Starting,
    /// It plays.
    Playing,
    /// It waits for data.
    Waiting,
    /// It jumps to another position.
    Seeking,
    /// It is paused, or the video is over.
    Stopped,
    /// It cannot go on.
    Failed,
}

/// The begin or the end of advertisements.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub enum Ads {
    /// Advertisements play from now on.
    Begin,
    /// The video goes on.
    End,
}

/// A [`Report`] after the check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(crate) struct CheckedReport {
    pub(crate) sequence: u32,
    pub(crate) state: Option<PlayerState>,
    pub(crate) position_ms: Option<u32>,
    pub(crate) rate_milli: Option<u32>,
    pub(crate) startup_ms: Option<u32>,
    pub(crate) bitrate: Option<u32>,
    pub(crate) is_failure: bool,
    pub(crate) is_expansion: bool,
    pub(crate) ads: Option<Ads>,
}

impl CheckedReport {
    pub(super) fn of(report: &Report) -> Self {
        Self {
            sequence: report.sequence,
            state: report.state,
            position_ms: report.position_ms,
            rate_milli: report.rate.and_then(super::rate_milli),
            startup_ms: report.startup_ms,
            bitrate: report.bitrate,
            is_failure: report.is_failure,
            is_expansion: report.is_expansion,
            ads: report.ads,
        }
    }

    /// A hash of all members: reports of one millisecond may differ in any of them. It is stored, so it must never change.
    pub(super) fn print(&self) -> u32 {
        let state = match self.state {
            None => 0_u8,
            Some(PlayerState::Starting) => 1,
            Some(PlayerState::Playing) => 2,
            Some(PlayerState::Waiting) => 3,
            Some(PlayerState::Seeking) => 4,
            Some(PlayerState::Stopped) => 5,
            Some(PlayerState::Failed) => 6,
        };
        let ads = match self.ads {
            None => 0,
            Some(Ads::Begin) => 1,
            Some(Ads::End) => 2,
        };
        let codes = [state, ads, self.is_failure.into(), self.is_expansion.into()];
        let numbers = [self.position_ms, self.rate_milli, self.startup_ms, self.bitrate];
        let numbers = numbers.map(|number| number.map_or(0, |it| it.wrapping_add(1)));
        let numbers = [self.sequence].into_iter().chain(numbers).flat_map(u32::to_le_bytes);
        fnv1a(codes.into_iter().chain(numbers))
    }

    /// Whether a session begins with the report.
    pub(crate) fn begins(&self) -> bool {
        matches!(self.state, Some(PlayerState::Starting | PlayerState::Playing))
    }
}

//! The counters of a session.

use crate::event::Rendition;

/// The counters of a session.
///
/// A store keeps all of them: another member changes the contract of stores. Most new counters belong in `details`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Number of waits for data.
    pub rebufferings: u32,
    /// The length of the waits that have ended, in milliseconds.
    pub rebuffering_ms: u64,
    /// Number of failures to play the video.
    pub failures: u32,
    /// From the first `play` to the first moving frame, in milliseconds.
    pub startup_ms: Option<u32>,
    /// Counters that are seldom queried.
    pub details: Details,
}

/// The counters that most sessions do not have.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Details {
    /// Jumps to another position.
    #[serde(skip_serializing_if = "is_zero")]
    pub seeks: u32,
    /// Number of switches to fullscreen.
    #[serde(skip_serializing_if = "is_zero")]
    pub fullscreens: u32,
    /// Number of track choices.
    #[serde(skip_serializing_if = "is_zero")]
    pub tracks: u32,
    /// The language of the track chosen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Number of switches to another rendition.
    #[serde(skip_serializing_if = "is_zero")]
    pub renditions: u32,
    /// The rendition of the last switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rendition: Option<Rendition>,
    /// Segments that were longer than the time between their timestamps, or than the session by the server's clock, and
    /// were cut to that.
    #[serde(skip_serializing_if = "is_zero")]
    pub clamped: u32,
    /// Waits for data that a jump caused: the latency of seeks, which is no rebuffering.
    #[serde(skip_serializing_if = "is_zero")]
    pub seek_waits: u32,
    /// The length of those waits, in milliseconds.
    #[serde(skip_serializing_if = "is_zero_ms")]
    pub seek_wait_ms: u64,
    /// Milliseconds of video that were played between the jumps of a drag: view time that does not count as watched.
    #[serde(skip_serializing_if = "is_zero_ms")]
    pub scrubbed_ms: u64,
    /// Milliseconds of video that were played at unknown positions: view time that counts in no second of the video.
    #[serde(skip_serializing_if = "is_zero_ms")]
    pub unplaced_ms: u64,
    /// Events of any other kind.
    #[serde(skip_serializing_if = "is_zero")]
    pub others: u32,
}

impl Details {
    /// The view time that is no segment, in milliseconds.
    #[must_use]
    pub fn outside_ms(&self) -> u64 {
        self.scrubbed_ms.saturating_add(self.unplaced_ms)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero_ms(number: &u64) -> bool {
    *number == 0
}

//! Finds out whether a session needs a checkpoint, an end or its eviction.

use super::EntryState;
use crate::session::Moment;

/// How long a session without a connection is kept in memory after its last input, in milliseconds: batches arrive
/// every few seconds, and a page that lost its connection is back within a minute or not at all.
const DISCONNECTED_MS_MAX: i64 = 60_000;

/// How long a segment that a batch opened counts as open without another batch, in milliseconds, if the video is not
/// known to end before. A page sends no events while its viewer watches without a stop.
const OPEN_WITHOUT_BATCH_MS_MAX: i64 = 3_600_000;

/// How long a viewer whose page sends heartbeats counts as watching after the last one, in milliseconds: four
/// heartbeats of `metrics.js`, and the longest silence of a websocket.
const HEARTBEAT_SILENCE_MS_MAX: i64 = 60_000;

/// Whether idle sessions can stay in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::recorder) enum Memory {
    Enough,
    /// Idle sessions are evicted.
    Full,
}

/// The action that a session needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::recorder) enum Care {
    Nothing,
    Checkpoint,
    /// The last contact was at this moment, too long ago.
    Lose(Moment),
    Evict,
}

impl EntryState {
    /// Returns the action that the session needs now; called periodically. If memory is full, idle sessions do not wait
    /// for their viewers to come back.
    pub(in crate::recorder) fn check(&self, now: Moment, memory: Memory) -> Care {
        let now_ms = now.received_ms;
        let open = self.session.as_ref().filter(|session| session.viewing());
        // Heartbeats of a page whose video must have ended are no viewing.
        let ended = open.filter(|_| self.owner.is_some()).and_then(|session| session.ended(now));
        if let Some(ended) = ended {
            return Care::Lose(ended);
        }
        match (open, self.owner) {
            // A session that waits to be written is written as far as it has run anyway.
            (Some(_), Some(_)) if !self.inputs.is_empty() => Care::Nothing,
            (Some(_), Some(_)) => Care::Checkpoint,
            (Some(session), None) => {
                let last_event_ms = session.last_event_at_ms();
                let ends_ms = match session.duration_ms() {
                    _ if self.sends_heartbeats => HEARTBEAT_SILENCE_MS_MAX,
                    Some(duration_ms) => OPEN_WITHOUT_BATCH_MS_MAX.min(duration_ms.into()),
                    None => OPEN_WITHOUT_BATCH_MS_MAX,
                };
                let ended = last_event_ms.saturating_add(ends_ms) < now_ms;
                if ended || (memory == Memory::Full && self.is_idle()) {
                    Care::Lose(Moment::received(last_event_ms))
                } else {
                    Care::Nothing
                }
            }
            (None, _) => {
                // A session without a play and without early events need not be kept.
                let is_something = self.session.is_some() || !self.early.is_empty();
                let is_recent =
                    is_something && now_ms < self.touched_ms.saturating_add(DISCONNECTED_MS_MAX);
                let stays = is_recent && memory == Memory::Enough;
                if !self.is_idle() || stays { Care::Nothing } else { Care::Evict }
            }
        }
    }
}

//! Distinguishes equal events of one viewer in the same millisecond.

use crate::event::CheckedEvent;

/// The most equal events of one millisecond that are distinguished: as many as a batch may have.
const REPEATS_MAX: usize = 256;

/// Distinguishes equal events of one join or batch. They happen in the same millisecond, so only those of the last
/// millisecond are kept.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    timestamp_ms: i64,
    fingerprints: Vec<u32>,
}

impl Repeats {
    /// The event, distinguished from equal ones before it.
    pub(super) fn distinguish(&mut self, event: CheckedEvent, salt: u64) -> CheckedEvent {
        let (Some(timestamp_ms), Some(fingerprint)) = (event.timestamp_ms, event.fingerprint)
        else {
            return event;
        };
        if self.timestamp_ms != timestamp_ms {
            *self = Self { timestamp_ms, fingerprints: Vec::new() };
        }
        let repeats = self.fingerprints.iter().filter(|known| **known == fingerprint).count();
        if self.fingerprints.len() < REPEATS_MAX {
            self.fingerprints.push(fingerprint);
        }
        match u32::try_from(repeats).unwrap_or(u32::MAX) {
            0 => event,
            repeats => event.repeated(repeats, salt),
        }
    }
}

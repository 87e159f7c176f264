//! Fingerprints of a session's events, so that a batch that is sent again counts once.

use crate::event::CheckedEvent;
use crate::varint::{Damaged, Reader};

/// Number of events kept: five of the largest batches that clients send.
const SEEN_MAX: usize = 256;

/// Fingerprints of the newest events with a timestamp.
///
/// A fingerprint has 32 bits: among 256 events, one in 16 million is mistaken for another. The timestamp itself is not
/// kept, because the error of a machine's clock would identify its sessions. It cannot be found by brute force either,
/// because the hash is salted with the client's own id of the session, which is not stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    // Oldest first.
    fingerprints: Vec<u32>,
}

impl Seen {
    /// Adds an event, and returns false if it was seen before. An event without a timestamp is always new.
    pub(super) fn insert(&mut self, event: &CheckedEvent) -> bool {
        let Some(fingerprint) = event.fingerprint else { return true };
        if self.fingerprints.contains(&fingerprint) {
            return false;
        }
        if self.fingerprints.len() == SEEN_MAX {
            self.fingerprints.remove(0);
        }
        self.fingerprints.push(fingerprint);
        true
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.fingerprints
            .iter()
            .for_each(|fingerprint| out.extend_from_slice(&fingerprint.to_le_bytes()));
    }

    /// Decodes the output of [`encode`](Self::encode), to the end. If there are more events than [`SEEN_MAX`], keeps the
    /// newest.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut fingerprints = Vec::new();
        while !reader.is_empty() {
            fingerprints.push(reader.u32_le()?);
        }
        fingerprints.drain(..fingerprints.len().saturating_sub(SEEN_MAX));
        Ok(Self { fingerprints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PlayerEvent;

    #[test]
    fn an_event_is_new_once() {
        let mut seen = Seen::default();
        let event = PlayerEvent::play(1.5).with_timestamp(7).check(0).unwrap();
        assert!(seen.insert(&event));
        assert!(!seen.insert(&event));
        assert!(seen.insert(&PlayerEvent::pause(1.5).with_timestamp(7).check(0).unwrap()));
        assert!(seen.insert(&PlayerEvent::play(1.5).with_timestamp(8).check(0).unwrap()));
        assert!(seen.insert(&PlayerEvent::play(2.0).with_timestamp(7).check(0).unwrap()));
    }

    #[test]
    fn an_event_without_a_timestamp_is_always_new() {
        let mut seen = Seen::default();
        let event = PlayerEvent::play(0.0).check(0).unwrap();
        assert!(seen.insert(&event) && seen.insert(&event));
    }

    #[test]
    fn a_row_cannot_exceed_the_limit_of_events() {
        let row: Vec<u8> = (0..1_000_u32).flat_map(u32::to_le_bytes).collect();
        let seen = Seen::decode(&mut Reader::new(&row)).unwrap();
        let expected: Vec<_> = (1_000 - SEEN_MAX as u32..1_000).collect();
        assert_eq!(seen.fingerprints, expected);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::default();
        for timestamp_ms in 0..1_000 {
            assert!(
                seen.insert(&PlayerEvent::play(0.0).with_timestamp(timestamp_ms).check(0).unwrap())
            );
        }
        assert_eq!(seen.fingerprints.len(), SEEN_MAX);
    }
}

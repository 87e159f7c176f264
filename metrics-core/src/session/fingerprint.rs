//! Fingerprints of a session's events, so that a batch that is sent again counts once.

use sha2::{Digest as _, Sha256};

use crate::event::{CheckedEvent, Step, fnv1a};
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
    prints: Vec<u32>,
}

impl Seen {
    /// Adds an event, and returns false if it was seen before. An event without a timestamp is always new.
    pub(super) fn insert(&mut self, event: &CheckedEvent) -> bool {
        let Some(print) = event.print() else { return true };
        if self.prints.contains(&print) {
            return false;
        }
        if self.prints.len() == SEEN_MAX {
            self.prints.remove(0);
        }
        self.prints.push(print);
        true
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.prints.iter().for_each(|print| out.extend_from_slice(&print.to_le_bytes()));
    }

    /// Decodes the output of [`put`](Self::put), to the end. If there are more events than [`SEEN_MAX`], keeps the
    /// newest.
    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut prints = Vec::new();
        while !reader.is_empty() {
            prints.push(reader.word()?);
        }
        prints.drain(..prints.len().saturating_sub(SEEN_MAX));
        Ok(Self { prints })
    }
}

/// A salted hash of name, timestamp, position and the number of equal events before. The value is stored, so it must
/// never change.
pub(crate) fn fingerprint(step: &Step, timestamp_ms: i64, salt: u64, repeats: u32) -> u32 {
    let (name, position_ms) = match step {
        Step::Play { from_ms } => (0_u8, *from_ms),
        Step::Pause { to_ms } => (1, *to_ms),
        Step::Playing => (2, 0),
        Step::RebufferingStart { .. } => (3, 0),
        Step::RebufferingEnd => (4, 0),
        Step::PlaybackFailure => (5, 0),
        Step::Seeked => (6, 0),
        Step::FullscreenEnter => (7, 0),
        Step::FullscreenExit => (8, 0),
        Step::TrackSet { .. } => (9, 0),
        Step::SourceSet(_) => (10, 0),
        // Several kinds of events share this code, so their name counts as well.
        Step::Other { name_print } => (11, *name_print),
        Step::RateChange { .. } => (11, fnv1a(*b"ratechange")),
    };
    let mut hash = Sha256::new();
    hash.update(salt.to_le_bytes());
    hash.update([name]);
    hash.update(timestamp_ms.to_le_bytes());
    hash.update(position_ms.to_le_bytes());
    if 0 < repeats {
        hash.update(repeats.to_le_bytes());
    }
    let hash: [u8; 32] = hash.finalize().into();
    u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PlayerEvent;

    #[test]
    fn fingerprints_never_change() {
        let play = Step::Play { from_ms: 1_500 };
        assert_eq!(fingerprint(&play, 1_718_000_000_000, 7, 0), 1_036_394_070);
        assert_ne!(fingerprint(&play, 1_718_000_000_000, 8, 0), 1_036_394_070);
        assert_ne!(fingerprint(&play, 1_718_000_000_000, 7, 1), 1_036_394_070);
    }

    #[test]
    fn an_event_is_new_once() {
        let mut seen = Seen::default();
        let event = PlayerEvent::play(1.5).with_timestamp(7).check().unwrap();
        assert!(seen.insert(&event));
        assert!(!seen.insert(&event));
        assert!(seen.insert(&PlayerEvent::pause(1.5).with_timestamp(7).check().unwrap()));
        assert!(seen.insert(&PlayerEvent::play(1.5).with_timestamp(8).check().unwrap()));
        assert!(seen.insert(&PlayerEvent::play(2.0).with_timestamp(7).check().unwrap()));
    }

    #[test]
    fn an_event_without_a_timestamp_is_always_new() {
        let mut seen = Seen::default();
        let event = PlayerEvent::play(0.0).check().unwrap();
        assert!(seen.insert(&event) && seen.insert(&event));
    }

    #[test]
    fn a_row_cannot_make_it_remember_more() {
        let row: Vec<u8> = (0..1_000_u32).flat_map(u32::to_le_bytes).collect();
        let seen = Seen::take(&mut Reader::new(&row)).unwrap();
        let expected: Vec<_> = (1_000 - SEEN_MAX as u32..1_000).collect();
        assert_eq!(seen.prints, expected);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::default();
        for timestamp_ms in 0..1_000 {
            assert!(
                seen.insert(&PlayerEvent::play(0.0).with_timestamp(timestamp_ms).check().unwrap())
            );
        }
        assert_eq!(seen.prints.len(), SEEN_MAX);
    }
}

//! The fingerprint of an event, by which a session recognizes an event that arrives twice.

use sha2::{Digest as _, Sha256};

use super::{Step, fnv1a};

/// A salted hash of name, timestamp, position and the number of equal events before. The value is stored, so it must
/// never change.
pub(super) fn fingerprint(step: &Step, timestamp_ms: i64, salt: u64, repeats: u32) -> u32 {
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
        // Several kinds of event end up here, so its name counts as well.
        Step::Other { name_print } => (11, *name_print),
        Step::RateChange { .. } => (11, fnv1a(*b"ratechange")),
        Step::Report(report) => (12, report.print()),
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

    #[test]
    fn fingerprints_never_change() {
        let play = Step::Play { from_ms: 1_500 };
        assert_eq!(fingerprint(&play, 1_718_000_000_000, 7, 0), 1_036_394_070);
        assert_ne!(fingerprint(&play, 1_718_000_000_000, 8, 0), 1_036_394_070);
        assert_ne!(fingerprint(&play, 1_718_000_000_000, 7, 1), 1_036_394_070);
    }
}

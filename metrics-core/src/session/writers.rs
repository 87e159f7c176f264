//! How many inputs each recorder has put into a session. A recorder keeps the counts beside the session.

use crate::varint::{self, Damaged, Reader};

/// How many writers of one session are remembered: those that wrote last. A write of unknown outcome may count
/// twice if four other instances write the same session before it is found out.
const WRITERS_MAX: usize = 4;

/// How many inputs each recorder has put into a session.
///
/// After a write whose outcome is unknown, or that another recorder overtook, this says which inputs are in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Writers {
    // The one that wrote last comes last.
    counts: Vec<(u32, u32)>,
}

impl Writers {
    /// Counts one more input of the recorder `writer`.
    pub fn count_input(&mut self, writer: u32) {
        let known = self.counts.iter().position(|(known, _)| *known == writer);
        if known.is_none() && self.counts.len() == WRITERS_MAX {
            self.counts.remove(0);
        }
        let count = known.map_or(0, |at| self.counts.remove(at).1);
        self.counts.push((writer, count.saturating_add(1)));
    }

    /// Returns how many inputs of the recorder `writer` are in the session.
    #[must_use]
    pub fn inputs_of(&self, writer: u32) -> u32 {
        let count = self.counts.iter().find(|(known, _)| *known == writer);
        count.map_or(0, |(_, count)| *count)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(out, self.counts.len() as u64);
        for (writer, count) in &self.counts {
            out.extend_from_slice(&writer.to_le_bytes());
            varint::encode(out, u64::from(*count));
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let len: usize = reader.number_as()?;
        let counts = (0..len).map(|_| Ok((reader.u32_le()?, reader.number_as()?)));
        let mut counts = counts.collect::<Result<Vec<_>, Damaged>>()?;
        counts.drain(..counts.len().saturating_sub(WRITERS_MAX));
        Ok(Self { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlayerEvent;
    use crate::interval::Segments;
    use crate::key::ApiKey;
    use crate::session::{Counters, Details, Minutes, Moment, Reach, Session, Stored};

    const START_MS: i64 = 1_700_000_000_000;

    /// Stores a session with the inputs of these writers, and loads them again.
    fn loaded(writers: &[u32]) -> Writers {
        let play = PlayerEvent::play(0.0).check(0).unwrap();
        let session = Session::begin(&play, Moment::received(START_MS)).unwrap();
        let mut counted = Writers::default();
        writers.iter().for_each(|writer| counted.count_input(*writer));
        let stored = session.store_with(Reach::LastEvent, &counted);
        let (_, loaded) = Session::load_with(&stored).unwrap();
        assert_eq!(loaded, counted);
        loaded
    }

    #[test]
    fn inputs_are_counted_per_writer() {
        let loaded = loaded(&[7, 7, 9]);
        assert_eq!([7, 9, 1].map(|writer| loaded.inputs_of(writer)), [2, 1, 0]);
    }

    #[test]
    fn the_writers_that_wrote_last_are_kept() {
        let loaded = loaded(&[1, 2, 1, 3, 4, 5, 1]);
        assert_eq!([1, 2, 3, 4, 5].map(|writer| loaded.inputs_of(writer)), [3, 0, 1, 1, 1]);
    }

    #[test]
    fn a_row_cannot_exceed_the_limit_of_writers() {
        let stored = Stored::finished(START_MS, START_MS, None, &Segments::default());
        let writers = (1..=9_u8).flat_map(|writer| [writer, 0, 0, 0, 1]);
        let resume = [1, 0, 9].into_iter().chain(writers).collect();
        let (session, loaded) = Session::load_with(&Stored { resume, ..stored }).unwrap();
        assert_eq!([1, 5, 6, 9].map(|writer| loaded.inputs_of(writer)), [0, 0, 1, 1]);
        assert_eq!(session.store_with(Reach::LastEvent, &loaded).resume.len(), 3 + 4 * 5);
    }

    /// A row that two servers wrote one after the other, when a session still counted its inputs itself.
    #[test]
    fn the_layout_of_stored_inputs_never_changes() {
        const RESUME: [u8; 55] = [
            2, 3, 3, 0xa0, 0x9c, 1, 0, 0xfc, 1, 0xe8, 0x84, 0xb6, 0x95, 0xd3, 0x88, 1, 3, 0xdc,
            0x0b, 0xa0, 0x9c, 1, 0xa0, 0x9c, 1, 0x90, 0x4e, 0, 2, 0x63, 0xdf, 0x77, 0x9a, 3, 0xd9,
            5, 0x84, 0x80, 1, 0x62, 0x4e, 0xdf, 0x89, 0xad, 0x79, 0x0c, 0xfa, 0x78, 0x5c, 0xbb,
            0xcb, 0xd0, 0x3d, 0xd7, 0x8e,
        ];
        let stored = Stored {
            started_at_ms: 1_796_024_832_499,
            last_event_at_ms: 1_796_024_832_625,
            duration_ms: Some(60_100),
            view_ms: 10_000,
            unique_ms: 10_000,
            segments: vec![0xdc, 0x0b, 0x90, 0x4e],
            minutes: Minutes::decode(&[0]).unwrap(),
            counters: Counters {
                details: Details { others: 1, ..Details::default() },
                ..Counters::default()
            },
            resume: RESUME.to_vec(),
        };
        let (mut session, writers) = Session::load_with(&stored).unwrap();
        assert_eq!([0x9a77_df63, 0x8084_05d9].map(|writer| writers.inputs_of(writer)), [3, 1]);
        assert_eq!(session.store_with(Reach::LastEvent, &writers), stored);

        let salt = ApiKey::new("fixture").unwrap().salt("fixture");
        let at = Moment::received(stored.last_event_at_ms);
        let play = PlayerEvent::play(1.5).with_timestamp(1_718_000_000_000);
        assert!(!session.apply(&play.check(salt).unwrap(), at), "it was seen before");
    }
}

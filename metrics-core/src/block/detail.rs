//! The details of a session, as a block keeps them.

use super::coded::{decode_text, encode_text};
use crate::event::Rendition;
use crate::session::{Details, Stored};
use crate::varint::{self, Damaged, Reader, unzigzag, zigzag};

/// The columns of [`Group::Details`](super::Group::Details).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Detail {
    /// From the start to the last event.
    pub(super) after_ms: i64,
    /// Without the language, which has a group of its own.
    pub(super) details: Details,
}

impl Detail {
    pub(super) fn of(stored: &Stored) -> Self {
        Self {
            after_ms: stored.last_event_at_ms.wrapping_sub(stored.started_at_ms),
            details: Details { language: None, ..stored.counters.details.clone() },
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(out, zigzag(self.after_ms));
        let Details { rendition, .. } = &self.details;
        let numbers = numbers(&self.details);
        let flags =
            numbers.iter().rev().fold(0, |flags, number| flags << 1 | u64::from(*number != 0));
        varint::encode(out, flags << 1 | u64::from(rendition.is_some()));
        numbers
            .iter()
            .filter(|number| **number != 0)
            .for_each(|number| varint::encode(out, *number));
        if let Some(Rendition { width, height, bitrate, codec }) = rendition {
            for number in [width, height, bitrate] {
                varint::encode(out, number.map_or(0, |number| u64::from(number) + 1));
            }
            encode_text(codec.as_deref(), out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let after_ms = unzigzag(reader.number()?);
        let flags = reader.number()?;
        let mut details = Details::default();
        let mut next = |at: u32| if flags >> (at + 1) & 1 == 0 { Ok(0) } else { reader.number() };
        let narrow = |number: Result<u64, Damaged>| {
            number?.try_into().map_err(|_| Damaged("a counter is too large"))
        };
        details.seeks = narrow(next(0))?;
        details.fullscreens = narrow(next(1))?;
        details.tracks = narrow(next(2))?;
        details.renditions = narrow(next(3))?;
        details.clamped = narrow(next(4))?;
        details.seek_waits = narrow(next(5))?;
        details.seek_wait_ms = next(6)?;
        details.scrubbed_ms = next(7)?;
        details.others = narrow(next(8))?;
        details.unplaced_ms = next(9)?;
        if flags & 1 != 0 {
            let mut number = || reader.number_as().map(|number: u64| number.checked_sub(1));
            let (width, height, bitrate) = (number()?, number()?, number()?);
            let narrow = |number: Option<u64>| {
                let number = number.map(u32::try_from).transpose();
                number.map_err(|_| Damaged("a rendition is too large"))
            };
            details.rendition = Some(Rendition {
                width: narrow(width)?,
                height: narrow(height)?,
                bitrate: narrow(bitrate)?,
                codec: decode_text(reader)?.map(str::to_owned),
            });
        }
        Ok(Self { after_ms, details })
    }
}

/// The counters of details in the order of their flags. New counters are appended.
fn numbers(details: &Details) -> [u64; 10] {
    let Details { seeks, fullscreens, tracks, renditions, clamped, .. } = *details;
    let Details { seek_waits, seek_wait_ms, scrubbed_ms, others, unplaced_ms, .. } = *details;
    [
        seeks.into(),
        fullscreens.into(),
        tracks.into(),
        renditions.into(),
        clamped.into(),
        seek_waits.into(),
        seek_wait_ms,
        scrubbed_ms,
        others.into(),
        unplaced_ms,
    ]
}

//! The state of playback of a stored session.

use super::segments::{
    decode_closed, decode_moment, decode_open, decode_rate, encode_closed, encode_open, flag,
};
use crate::session::Moment;
use crate::session::open::{Open, RATE_MILLI};
use crate::session::playhead::{Playhead, State};
use crate::varint::{self, Damaged, Reader};

// Flags in the first byte of a playhead, for the fields that follow.
const OPEN: u8 = 1;
const LAST: u8 = 1 << 1;
const DISPROVED: u8 = 1 << 2;
const RATE: u8 = 1 << 3;
// No field: the client writes exact positions as text.
const TEXT: u8 = 1 << 4;

/// Encodes the playhead. An open segment ends where it has run when `reached`.
pub(super) fn encode_playhead(
    out: &mut Vec<u8>,
    playhead: &Playhead,
    writes_text: bool,
    reached: Moment,
    started_at_ms: i64,
) {
    let open = playhead.open_until(reached);
    let rate_milli = Some(playhead.rate_milli).filter(|milli| *milli != RATE_MILLI);
    out.push(
        flag(OPEN, open.is_some())
            | flag(LAST, playhead.last.is_some())
            | flag(DISPROVED, playhead.disproved_ms.is_some())
            | flag(RATE, rate_milli.is_some())
            | flag(TEXT, writes_text),
    );
    if let Some((open, until)) = open {
        let waiting_ms = playhead.waiting_ms(&open, until);
        encode_open(out, &open, waiting_ms, until, started_at_ms);
    }
    if let Some(last) = playhead.last {
        encode_closed(out, &last, started_at_ms);
    }
    for number in [playhead.disproved_ms, rate_milli].into_iter().flatten() {
        varint::encode(out, number.into());
    }
}

/// Decodes the fields after the layout, and returns whether the client writes positions as text.
pub(super) fn decode_playhead(
    reader: &mut Reader<'_>,
    playhead: &mut Playhead,
    started_at_ms: i64,
) -> Result<bool, Damaged> {
    let flags = reader.byte()?;
    if flags & OPEN != 0 {
        playhead.state = decode_open(reader, started_at_ms)?;
    }
    if flags & LAST != 0 {
        playhead.last = Some(decode_closed(reader, started_at_ms)?);
    }
    if flags & DISPROVED != 0 {
        playhead.disproved_ms = Some(reader.number_as()?);
    }
    if flags & RATE != 0 {
        playhead.rate_milli = decode_rate(reader)?;
    }
    Ok(flags & TEXT != 0)
}

pub(super) fn decode_run(reader: &mut Reader<'_>, started_at_ms: i64) -> Result<State, Damaged> {
    if reader.byte()? == 0 {
        return Ok(State::Paused);
    }
    let (from_ms, ran_ms): (_, u32) = (reader.number_as()?, reader.number_as()?);
    let until = decode_moment(reader, started_at_ms)?;
    let open = Open::new(from_ms, until.earlier(ran_ms.into()), RATE_MILLI);
    Ok(State::Lost(Open { counted_ms: until.received_ms, ..open }, until))
}

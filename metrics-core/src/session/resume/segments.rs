//! The open segment of a stored session, and the segment closed last.

use crate::event::RATE_MAX;
use crate::interval::Interval;
use crate::session::Moment;
use crate::session::open::{Closed, Open, RATE_MILLI};
use crate::session::playhead::State;
use crate::varint::{self, Damaged, Reader, unzigzag, zigzag};

// Flags in the first byte of an open segment.
const STAMPED: u8 = 1;
const JUMPED: u8 = 1 << 1;
const ECHOED: u8 = 1 << 2;
const RESUMED: u8 = 1 << 3;
const KNOWN: u8 = 1 << 4;
const RATES: u8 = 1 << 5;
const LIVE: u8 = 1 << 6;
const UNPLACED: u8 = 1 << 7;

/// Encodes the moments of an open segment as distances by the best clock, and the end by the time of day; and the play
/// by the player's clock, so that its pause gives the exact length of the segment, however late it arrives.
pub(super) fn encode_open(
    out: &mut Vec<u8>,
    open: &Open,
    waiting_ms: u64,
    until: Moment,
    started_at_ms: i64,
) {
    let (known, ran_ms) = (open.known, open.at.until_ms(until));
    let idle_ms = known.idle_ms.saturating_add(waiting_ms);
    let known = [
        known.position_ms.into(),
        known.at.until_ms(until),
        idle_ms,
        known.waits.into(),
        known.waited_ms,
    ];
    let is_known = known != [open.from_ms.into(), ran_ms, 0, 0, 0];
    let has_rates = [open.rate_milli, open.rate_milli_max] != [RATE_MILLI; 2];
    out.push(
        flag(STAMPED, open.is_stamped())
            | flag(JUMPED, open.has_jumped)
            | flag(ECHOED, open.is_echoed)
            | flag(RESUMED, open.resumed_ms.is_some())
            | flag(LIVE, open.is_live)
            | flag(UNPLACED, open.is_unplaced)
            | flag(KNOWN, is_known)
            | flag(RATES, has_rates),
    );
    varint::encode(out, open.from_ms.into());
    varint::encode(out, ran_ms);
    encode_moment(out, until, started_at_ms);
    if let Some(timestamp_ms) = open.at.timestamp_ms {
        varint::encode(out, zigzag(timestamp_ms));
    }
    if let Some(resumed_ms) = open.resumed_ms {
        varint::encode(out, resumed_ms.into());
    }
    if is_known {
        known.into_iter().for_each(|number| varint::encode(out, number));
    }
    if has_rates {
        varint::encode(out, open.rate_milli.into());
        varint::encode(out, open.rate_milli_max.into());
    }
}

/// Decodes an open segment, which counts as cut off.
pub(super) fn decode_open(reader: &mut Reader<'_>, started_at_ms: i64) -> Result<State, Damaged> {
    let flags = reader.byte()?;
    let (from_ms, ran_ms) = (reader.number_as()?, reader.number()?);
    let until = decode_moment(reader, started_at_ms)?;
    let mut open = Open::new(from_ms, until.earlier(ran_ms), RATE_MILLI);
    // The stored minutes include those until `until`.
    open.counted_ms = until.received_ms;
    if flags & STAMPED != 0 {
        open.at.timestamp_ms = Some(unzigzag(reader.number()?));
        open.known.at = open.at;
    }
    open.has_jumped = flags & JUMPED != 0;
    open.is_echoed = flags & ECHOED != 0;
    open.is_live = flags & LIVE != 0;
    open.is_unplaced = flags & UNPLACED != 0;
    if flags & RESUMED != 0 {
        open.resumed_ms = Some(reader.number_as()?);
    }
    if flags & KNOWN != 0 {
        open.known.position_ms = reader.number_as()?;
        let since_ms = reader.number()?;
        let passed_ms = i64::try_from(ran_ms.saturating_sub(since_ms)).unwrap_or(i64::MAX);
        let timestamp_ms = open.at.timestamp_ms.map(|ms| ms.saturating_add(passed_ms));
        open.known.at = Moment { timestamp_ms, ..until.earlier(since_ms) };
        open.known.idle_ms = reader.number()?;
        open.known.waits = reader.number_as()?;
        open.known.waited_ms = reader.number()?;
    }
    if flags & RATES != 0 {
        open.rate_milli = decode_rate(reader)?;
        open.rate_milli_max = decode_rate(reader)?;
    }
    Ok(State::Lost(open, until))
}

// Flags in the first byte of a closed segment.
const SEGMENT: u8 = 1;
const TIMED: u8 = 1 << 1;
const ESTIMATED: u8 = 1 << 2;
const CLOSED_JUMPED: u8 = 1 << 3;
const CLOSED_LIVE: u8 = 1 << 4;

pub(super) fn encode_closed(out: &mut Vec<u8>, last: &Closed, started_at_ms: i64) {
    // A segment that was cut is not revised later.
    let is_complete =
        last.segment.is_some() && last.segment == Interval::new(last.from_ms, last.to_ms);
    out.push(
        flag(SEGMENT, is_complete)
            | flag(TIMED, last.is_timed)
            | flag(ESTIMATED, last.is_estimate)
            | flag(CLOSED_LIVE, last.is_live)
            | flag(CLOSED_JUMPED, last.has_jumped),
    );
    varint::encode(out, last.from_ms.into());
    for position_ms in [last.to_ms, last.estimate_ms] {
        varint::encode(out, zigzag(i64::from(position_ms) - i64::from(last.from_ms)));
    }
    varint::encode(out, last.opened.until_ms(last.closed));
    encode_moment(out, last.closed, started_at_ms);
}

pub(super) fn decode_closed(
    reader: &mut Reader<'_>,
    started_at_ms: i64,
) -> Result<Closed, Damaged> {
    let flags = reader.byte()?;
    let from_ms: u32 = reader.number_as()?;
    let mut position_ms = || {
        let position_ms = i64::from(from_ms).checked_add(unzigzag(reader.number()?));
        let position_ms = position_ms.and_then(|position_ms| u32::try_from(position_ms).ok());
        position_ms.ok_or(Damaged("a position is too far"))
    };
    let (to_ms, estimate_ms) = (position_ms()?, position_ms()?);
    let ran_ms = reader.number()?;
    let closed = decode_moment(reader, started_at_ms)?;
    let segment = Interval::new(from_ms, to_ms).filter(|_| flags & SEGMENT != 0);
    Ok(Closed {
        from_ms,
        to_ms,
        estimate_ms,
        segment,
        opened: closed.earlier(ran_ms),
        closed,
        ended_ms: closed.received_ms,
        is_timed: flags & TIMED != 0,
        is_estimate: flags & ESTIMATED != 0,
        is_live: flags & CLOSED_LIVE != 0,
        has_jumped: flags & CLOSED_JUMPED != 0,
    })
}

pub(super) fn flag(bit: u8, is_set: bool) -> u8 {
    if is_set { bit } else { 0 }
}

fn encode_moment(out: &mut Vec<u8>, at: Moment, started_at_ms: i64) {
    varint::encode(out, zigzag(at.received_ms.saturating_sub(started_at_ms)));
}

pub(super) fn decode_moment(
    reader: &mut Reader<'_>,
    started_at_ms: i64,
) -> Result<Moment, Damaged> {
    let after_ms = unzigzag(reader.number()?);
    Ok(Moment::received(started_at_ms.saturating_add(after_ms)))
}

/// Decodes a rate. The code divides by rates, so a rate outside the range of events is refused.
pub(super) fn decode_rate(reader: &mut Reader<'_>) -> Result<u32, Damaged> {
    let rate_milli = reader.number_as()?;
    let most_milli = (RATE_MAX * 1_000.0) as u32;
    let is_rate = (1..=most_milli).contains(&rate_milli);
    is_rate.then_some(rate_milli).ok_or(Damaged("a playback rate is invalid"))
}

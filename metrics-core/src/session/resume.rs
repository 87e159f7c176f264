//! Encodes a session for a store, and decodes it.
//!
//! Data of reports has columns of its own; the resume state (an open segment, the events seen) is one opaque column,
//! `resume`. It also holds the [`Writers`] that a recorder keeps beside the session.

use super::latest::LatestReports;
use super::open::{Closed, Open, RATE_MILLI};
use super::playhead::{Playhead, State};
use super::seen::Seen;
use super::writers::Writers;
use super::{Counters, Minutes, Moment, Reach, Session, Sums};
use crate::event::RATE_MAX;
use crate::interval::{Interval, Segments};
use crate::varint::{self, Damaged, Reader, unzigzag, zigzag};

/// The layout of `resume`. Older layouts are supported for ever; a newer one is refused.
const LAYOUT: u8 = 2;

/// The first layout, which contains no more of the playhead than an open segment: its start, how long it ran, and until
/// when.
const LAYOUT_RUN: u8 = 1;

/// A session as a store keeps it, without its key, video, page and user-agent classes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// When the first `play` arrived, in Unix milliseconds.
    pub started_at_ms: i64,
    /// When the last event arrived, in Unix milliseconds.
    pub last_event_at_ms: i64,
    /// The duration of the video, in milliseconds.
    pub duration_ms: Option<u32>,
    /// The view time, in milliseconds.
    pub view_ms: u64,
    /// The unique view time, in milliseconds.
    pub unique_ms: u64,
    /// All segments, as [`Segments::encode`] writes them. An open segment ends where it is known to have run.
    /// [Scrubbed](super::Details::scrubbed_ms) video is view time, and no segment.
    pub segments: Vec<u8>,
    /// The minutes at which the session played. An open segment counts as far as it is known to have run.
    pub minutes: Minutes,
    /// The counters.
    pub counters: Counters,
    /// The resume state, opaque to stores.
    pub resume: Vec<u8>,
}

impl Stored {
    /// A finished session that was recorded elsewhere: it has no open segment and has seen no events.
    ///
    /// It has no counters, its view times are those of `segments`, and it is assumed to have played from its start on
    /// for the length of its view time. Times are Unix milliseconds, the duration is milliseconds of video.
    ///
    /// ```
    /// use metrics_core::interval::{Interval, Segments};
    /// use metrics_core::session::{Session, Stored};
    ///
    /// let segments: Segments = Interval::new(0, 12_500).into_iter().collect();
    /// let stored = Stored::finished(1_700_000_000_000, 1_700_000_013_000, None, &segments);
    /// assert_eq!((stored.view_ms, stored.unique_ms), (12_500, 12_500));
    /// assert!(!Session::load(&stored)?.viewing());
    /// # Ok::<(), metrics_core::Damaged>(())
    /// ```
    #[must_use]
    pub fn finished(
        started_at_ms: i64,
        last_event_at_ms: i64,
        duration_ms: Option<u32>,
        segments: &Segments,
    ) -> Self {
        Self {
            started_at_ms,
            last_event_at_ms,
            duration_ms,
            view_ms: segments.len_ms(),
            unique_ms: segments.union().len_ms(),
            segments: segments.encode(),
            minutes: Minutes::of_view(started_at_ms, segments.len_ms()),
            counters: Counters::default(),
            resume: over(),
        }
    }

    /// Makes the session final: drops its resume state.
    #[must_use]
    pub fn finalized(mut self) -> Self {
        self.resume = over();
        self
    }
}

/// The `resume` of a finished session, without an open segment and without seen events.
pub(crate) fn over() -> Vec<u8> {
    let mut resume = vec![LAYOUT, 0];
    Writers::default().put(&mut resume);
    Seen::default().put(&mut resume);
    resume
}

impl Session {
    /// Encodes the session for a store. `reach` is how far an open segment has run.
    ///
    /// The result counts no inputs: a recorder uses [`store_with`](Self::store_with).
    #[must_use]
    pub fn snapshot(&self, reach: Reach) -> Stored {
        self.store_with(reach, &Writers::default())
    }

    /// Like [`snapshot`](Self::snapshot), with the number of inputs of each recorder.
    #[must_use]
    pub fn store_with(&self, reach: Reach, writers: &Writers) -> Stored {
        let reached = self.reached(reach);
        let (playhead, Sums { segments, minutes, counters }) = self.folded(reached);
        let mut resume = vec![LAYOUT];
        put_playhead(&mut resume, &playhead, self.writes_text, reached, self.started_at_ms);
        writers.put(&mut resume);
        self.seen.put(&mut resume);
        Stored {
            started_at_ms: self.started_at_ms,
            last_event_at_ms: self.last_event_at_ms,
            duration_ms: playhead.duration_ms,
            view_ms: segments.len_ms() + counters.details.scrubbed_ms,
            unique_ms: segments.union().len_ms(),
            segments: segments.encode(),
            minutes,
            counters,
            resume,
        }
    }

    /// Decodes a stored session. An open segment counts as cut off until [`resume`](Self::resume) reports that its
    /// viewer is back.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if `stored` was not made by [`snapshot`](Self::snapshot) or [`store_with`](Self::store_with).
    pub fn load(stored: &Stored) -> Result<Self, Damaged> {
        Ok(Self::load_with(stored)?.0)
    }

    /// Like [`load`](Self::load), with the number of inputs of each recorder.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if `stored` was not made by [`store_with`](Self::store_with).
    pub fn load_with(stored: &Stored) -> Result<(Self, Writers), Damaged> {
        let mut segments = Segments::decode(&stored.segments)?;
        let mut reader = Reader::new(&stored.resume);
        let mut playhead = Playhead::new(stored.started_at_ms);
        playhead.duration_ms = stored.duration_ms;
        let mut writes_text = false;
        match reader.byte()? {
            LAYOUT => {
                writes_text = take_playhead(&mut reader, &mut playhead, stored.started_at_ms)?;
            }
            LAYOUT_RUN => playhead.state = take_run(&mut reader, stored.started_at_ms)?,
            _ => return Err(Damaged("it was written by a newer version")),
        }
        let running = playhead.running(Moment::received(stored.last_event_at_ms));
        if running.is_some_and(|running| !segments.remove(running)) {
            return Err(Damaged("the open segment is not among the segments"));
        }
        let view_ms = segments.len_ms().saturating_add(stored.counters.details.scrubbed_ms);
        let writers = Writers::take(&mut reader)?;
        let session = Self {
            started_at_ms: stored.started_at_ms,
            last_event_at_ms: stored.last_event_at_ms,
            heard: None,
            joined: None,
            writes_text,
            segments,
            minutes: stored.minutes.clone(),
            counters: stored.counters.clone(),
            playhead: playhead.watched(view_ms),
            recent: Vec::new(),
            startup: None,
            latest: LatestReports::default(),
            seen: Seen::take(&mut reader)?,
        };
        Ok((session, writers))
    }

    /// When the viewer's connection was lost by the server's clock in Unix milliseconds, if a segment was open then.
    #[must_use]
    pub fn lost_at_ms(&self) -> Option<i64> {
        self.standing().lost_at_ms()
    }
}

// Flags in the first byte of a playhead, for the fields that follow.
const OPEN: u8 = 1;
const LAST: u8 = 1 << 1;
const DISPROVED: u8 = 1 << 2;
const RATE: u8 = 1 << 3;
// No field: the client writes exact positions as text.
const TEXT: u8 = 1 << 4;

/// Encodes the playhead. An open segment ends where it has run when `reached`.
fn put_playhead(
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
        put_open(out, &open, waiting_ms, until, started_at_ms);
    }
    if let Some(last) = playhead.last {
        put_closed(out, &last, started_at_ms);
    }
    for number in [playhead.disproved_ms, rate_milli].into_iter().flatten() {
        varint::put(out, number.into());
    }
}

/// Decodes the fields after the layout, and returns whether the client writes positions as text.
fn take_playhead(
    reader: &mut Reader<'_>,
    playhead: &mut Playhead,
    started_at_ms: i64,
) -> Result<bool, Damaged> {
    let flags = reader.byte()?;
    if flags & OPEN != 0 {
        playhead.state = take_open(reader, started_at_ms)?;
    }
    if flags & LAST != 0 {
        playhead.last = Some(take_closed(reader, started_at_ms)?);
    }
    if flags & DISPROVED != 0 {
        playhead.disproved_ms = Some(reader.number_as()?);
    }
    if flags & RATE != 0 {
        playhead.rate_milli = take_rate(reader)?;
    }
    Ok(flags & TEXT != 0)
}

fn take_run(reader: &mut Reader<'_>, started_at_ms: i64) -> Result<State, Damaged> {
    if reader.byte()? == 0 {
        return Ok(State::Paused);
    }
    let (from_ms, ran_ms): (_, u32) = (reader.number_as()?, reader.number_as()?);
    let until = take_moment(reader, started_at_ms)?;
    let open = Open::new(from_ms, until.earlier(ran_ms.into()), RATE_MILLI);
    Ok(State::Lost(Open { counted_ms: until.received_ms, ..open }, until))
}

const STAMPED: u8 = 1;
const JUMPED: u8 = 1 << 1;
const ECHOED: u8 = 1 << 2;
const RESUMED: u8 = 1 << 3;
const KNOWN: u8 = 1 << 4;
const RATES: u8 = 1 << 5;
const LIVE: u8 = 1 << 6;

/// Encodes the moments of an open segment as distances by the best clock, and the end by the time of day; and the play
/// by the player's clock, so that its pause gives the exact length of the segment, however late it arrives.
fn put_open(out: &mut Vec<u8>, open: &Open, waiting_ms: u64, until: Moment, started_at_ms: i64) {
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
            | flag(KNOWN, is_known)
            | flag(RATES, has_rates),
    );
    varint::put(out, open.from_ms.into());
    varint::put(out, ran_ms);
    put_moment(out, until, started_at_ms);
    if let Some(timestamp_ms) = open.at.timestamp_ms {
        varint::put(out, zigzag(timestamp_ms));
    }
    if let Some(resumed_ms) = open.resumed_ms {
        varint::put(out, resumed_ms.into());
    }
    if is_known {
        known.into_iter().for_each(|number| varint::put(out, number));
    }
    if has_rates {
        varint::put(out, open.rate_milli.into());
        varint::put(out, open.rate_milli_max.into());
    }
}

/// Decodes an open segment, which counts as cut off.
fn take_open(reader: &mut Reader<'_>, started_at_ms: i64) -> Result<State, Damaged> {
    let flags = reader.byte()?;
    let (from_ms, ran_ms) = (reader.number_as()?, reader.number()?);
    let until = take_moment(reader, started_at_ms)?;
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
        open.rate_milli = take_rate(reader)?;
        open.rate_milli_max = take_rate(reader)?;
    }
    Ok(State::Lost(open, until))
}

const SEGMENT: u8 = 1;
const TIMED: u8 = 1 << 1;
const GUESSED: u8 = 1 << 2;
const CLOSED_JUMPED: u8 = 1 << 3;
const CLOSED_LIVE: u8 = 1 << 4;

fn put_closed(out: &mut Vec<u8>, last: &Closed, started_at_ms: i64) {
    // A segment that was cut is not revised later.
    let is_whole =
        last.segment.is_some() && last.segment == Interval::new(last.from_ms, last.to_ms);
    out.push(
        flag(SEGMENT, is_whole)
            | flag(TIMED, last.is_timed)
            | flag(GUESSED, last.is_guessed)
            | flag(CLOSED_LIVE, last.is_live)
            | flag(CLOSED_JUMPED, last.has_jumped),
    );
    varint::put(out, last.from_ms.into());
    for position_ms in [last.to_ms, last.estimate_ms] {
        varint::put(out, zigzag(i64::from(position_ms) - i64::from(last.from_ms)));
    }
    varint::put(out, last.opened.until_ms(last.closed));
    put_moment(out, last.closed, started_at_ms);
}

fn take_closed(reader: &mut Reader<'_>, started_at_ms: i64) -> Result<Closed, Damaged> {
    let flags = reader.byte()?;
    let from_ms: u32 = reader.number_as()?;
    let mut position_ms = || {
        let position_ms = i64::from(from_ms).checked_add(unzigzag(reader.number()?));
        let position_ms = position_ms.and_then(|position_ms| u32::try_from(position_ms).ok());
        position_ms.ok_or(Damaged("a position is too far"))
    };
    let (to_ms, estimate_ms) = (position_ms()?, position_ms()?);
    let ran_ms = reader.number()?;
    let closed = take_moment(reader, started_at_ms)?;
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
        is_guessed: flags & GUESSED != 0,
        is_live: flags & CLOSED_LIVE != 0,
        has_jumped: flags & CLOSED_JUMPED != 0,
    })
}

fn flag(bit: u8, is_set: bool) -> u8 {
    if is_set { bit } else { 0 }
}

fn put_moment(out: &mut Vec<u8>, at: Moment, started_at_ms: i64) {
    varint::put(out, zigzag(at.received_ms.saturating_sub(started_at_ms)));
}

fn take_moment(reader: &mut Reader<'_>, started_at_ms: i64) -> Result<Moment, Damaged> {
    let after_ms = unzigzag(reader.number()?);
    Ok(Moment::received(started_at_ms.saturating_add(after_ms)))
}

/// Decodes a rate. The code divides by rates, so a rate outside the range of events is refused.
fn take_rate(reader: &mut Reader<'_>) -> Result<u32, Damaged> {
    let rate_milli = reader.number_as()?;
    let most_milli = (RATE_MAX * 1_000.0) as u32;
    let is_rate = (1..=most_milli).contains(&rate_milli);
    is_rate.then_some(rate_milli).ok_or(Damaged("a playback rate is invalid"))
}

//! Encodes a session for a store, and decodes it.
//!
//! Data of reports has columns of its own; the resume state (an open segment, the events seen) is one opaque column,
//! `resume`. It also holds the [`Writers`] that a recorder keeps beside the session.

mod playhead;
mod segments;

use self::playhead::{decode_playhead, decode_run, encode_playhead};
use super::latest::LatestReports;
use super::playhead::Playhead;
use super::seen::Seen;
use super::viewed::Sums;
use super::writers::Writers;
use super::{Counters, Minutes, Moment, Reach, Session};
use crate::interval::Segments;
use crate::varint::{Damaged, Reader};

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
    /// [Scrubbed](super::Details::scrubbed_ms) and [unplaced](super::Details::unplaced_ms) video is view time, and no
    /// segment.
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

    /// Decodes the state of playback, the first part of the resume state, and whether the client writes positions as
    /// text. An open segment counts as cut off.
    pub(super) fn playhead(&self, reader: &mut Reader<'_>) -> Result<(Playhead, bool), Damaged> {
        let mut playhead = Playhead::new(self.started_at_ms);
        playhead.duration_ms = self.duration_ms;
        let mut writes_text = false;
        match reader.byte()? {
            LAYOUT => {
                writes_text = decode_playhead(reader, &mut playhead, self.started_at_ms)?;
            }
            LAYOUT_RUN => playhead.state = decode_run(reader, self.started_at_ms)?,
            _ => return Err(Damaged("it was written by a newer version")),
        }
        Ok((playhead, writes_text))
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
    Writers::default().encode(&mut resume);
    Seen::default().encode(&mut resume);
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
        encode_playhead(&mut resume, &playhead, self.writes_text, reached, self.started_at_ms);
        writers.encode(&mut resume);
        self.seen.encode(&mut resume);
        Stored {
            started_at_ms: self.started_at_ms,
            last_event_at_ms: self.last_event_at_ms,
            duration_ms: playhead.duration_ms,
            view_ms: segments.len_ms() + counters.details.outside_ms(),
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
        let (playhead, writes_text) = stored.playhead(&mut reader)?;
        let reached = Moment::received(stored.last_event_at_ms);
        let running = playhead.running(reached);
        if running.is_some_and(|running| !segments.remove(running)) {
            return Err(Damaged("the open segment is not among the segments"));
        }
        let mut counters = stored.counters.clone();
        let unplaced_ms = &mut counters.details.unplaced_ms;
        *unplaced_ms = unplaced_ms
            .checked_sub(playhead.running_unplaced_ms(reached))
            .ok_or(Damaged("the open segment is not in the view time without a place"))?;
        let view_ms = segments.len_ms().saturating_add(counters.details.outside_ms());
        let writers = Writers::decode(&mut reader)?;
        let session = Self {
            started_at_ms: stored.started_at_ms,
            last_event_at_ms: stored.last_event_at_ms,
            latest_event: None,
            joined: None,
            writes_text,
            segments,
            minutes: stored.minutes.clone(),
            counters,
            playhead: playhead.watched(view_ms),
            recent: Vec::new(),
            startup: None,
            latest: LatestReports::default(),
            seen: Seen::decode(&mut reader)?,
        };
        Ok((session, writers))
    }

    /// When the viewer's connection was lost by the server's clock in Unix milliseconds, if a segment was open then.
    #[must_use]
    pub fn lost_at_ms(&self) -> Option<i64> {
        self.standing().lost_at_ms()
    }
}

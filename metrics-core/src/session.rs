//! One viewing of one video: computes watched segments from player events.
//!
//! A [`Session`] begins with its first `play`; earlier events are not part of it. Events are kept as long as a late
//! event could still precede them (`WINDOW`, the youngest few), so that their order of arrival does not matter, and are
//! then folded into [`Segments`] and [`Counters`].
//!
//! This module reads no clock: every event comes with its [`Moment`].
//!
//! ```
//! use metrics_core::session::{Moment, Reach, Session};
//! use metrics_core::{ApiKey, PlayerEvent};
//!
//! let at = |second: i64| Moment::received(1_700_000_000_000 + 1_000 * second);
//! let salt = ApiKey::new("site")?.salt("the client's random id of the session");
//! let play = PlayerEvent::play(0.0).check(salt)?;
//! let mut session = Session::begin(&play, at(0)).expect("a play begins a session");
//! session.apply(&PlayerEvent::pause(12.5).check(salt)?, at(13));
//! session.apply(&PlayerEvent::play(0.0).check(salt)?, at(20)); // From the start again.
//! session.lose(at(24)); // The page is closed.
//!
//! let viewed = session.viewed(Reach::LastEvent);
//! assert_eq!(viewed.segments.len_ms(), 16_500);
//! assert_eq!(viewed.segments.union().len_ms(), 12_500);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod count;
mod counters;
mod latest;
pub(crate) mod minutes;
mod moment;
#[cfg(feature = "recorder")]
mod ongoing;
mod open;
mod playhead;
mod resume;
mod seen;
mod viewed;
mod writers;

use crate::event::{CheckedEvent, Step};
use crate::interval::Segments;
use count::Counted;
use latest::{LatestReports, Startup};
use playhead::{Mark, MarkKind, Playhead, Tally};
use seen::Seen;

pub use counters::{Counters, Details};
pub use minutes::{MINUTE_MS, Minutes, RUNS_MAX, SPAN_MINUTES};
pub use moment::{Moment, Reach};
pub use resume::Stored;
#[cfg(feature = "recorder")]
pub(crate) use resume::over;
pub use viewed::Viewed;
pub use writers::Writers;

/// The number of youngest events that are kept unfolded, so that a late event is inserted at its position among them.
///
/// A client sends at most 50 events in a batch, most of them with the duration, and only one batch is on its way at a
/// time.
pub(crate) const WINDOW: usize = 64;

/// How long after a join the events arrive that a client kept while its connection was lost, in milliseconds.
const BURST_MS: u64 = 300;

/// The most segments that a session may have. A five second video in a loop for 14 hours has 10,000; a session with
/// more is no viewing, and must not grow its row without end.
pub const SEGMENTS_MAX: usize = 10_000;

/// One viewing of one video, from its first `play` on.
#[derive(Clone, Debug)]
pub struct Session {
    started_at_ms: i64,
    last_event_at_ms: i64,
    // The latest event by the player's clock.
    latest_event: Option<Moment>,
    // When the viewer joined last; not stored.
    joined: Option<Moment>,
    // Whether its client writes exact positions as text.
    writes_text: bool,
    // The events before `recent`, folded, and the state of playback after them.
    segments: Segments,
    minutes: Minutes,
    counters: Counters,
    playhead: Playhead,
    // Invariant: in the order of their times, as far as the clocks can compare them; at most `WINDOW`.
    recent: Vec<Mark>,
    // Unknown after a load.
    startup: Option<Startup>,
    latest: LatestReports,
    seen: Seen,
}

impl Session {
    /// The session that `event` begins at `at`, or `None` if it is no `play`, and no report that the player starts or
    /// plays.
    #[must_use]
    pub fn begin(event: &CheckedEvent, at: Moment) -> Option<Self> {
        let startup = match &event.step {
            Step::Play { .. } => Startup::new(at),
            Step::Report(report) if report.begins() => Startup::default(),
            _ => return None,
        };
        let mut session = Self {
            started_at_ms: at.received_ms,
            last_event_at_ms: at.received_ms,
            latest_event: None,
            joined: Some(at),
            writes_text: false,
            segments: Segments::default(),
            minutes: Minutes::default(),
            counters: Counters::default(),
            playhead: Playhead::new(at.received_ms),
            recent: Vec::new(),
            startup: Some(startup),
            latest: LatestReports::default(),
            seen: Seen::default(),
        };
        session.apply(event, at);
        Some(session)
    }

    /// Applies an event that happened at `at`, and returns whether it changed anything.
    ///
    /// An event with a timestamp that was applied before changes nothing (see [`repeated`](CheckedEvent::repeated)). A
    /// `pause` without a `play` before it changes nothing either; but with a timestamp it is remembered, in case it
    /// arrives again.
    pub fn apply(&mut self, event: &CheckedEvent, at: Moment) -> bool {
        if !self.seen.insert(event) {
            return false;
        }
        let at = Moment { sequence: event.step.sequence(), ..at };
        self.last_event_at_ms = self.last_event_at_ms.max(at.received_ms);
        let is_later = |latest_event: Moment| latest_event.timestamp_ms <= at.timestamp_ms;
        if at.timestamp_ms.is_some() && self.latest_event.is_none_or(is_later) {
            self.latest_event = Some(at);
        }
        self.writes_text |= event.has_text_position;
        let writes_text = self.writes_text && at.timestamp_ms.is_none();
        let mark = |kind| Mark { kind, duration_ms: event.duration_ms, at };
        match self.count(&event.step, at) {
            Counted::Mark(MarkKind::Play { from_ms, .. }) if writes_text => {
                let is_live = !self.is_late(at);
                self.mark(mark(MarkKind::Play { from_ms, is_live }))
            }
            Counted::Mark(MarkKind::Pause { to_ms: from_ms })
                if writes_text && !event.has_text_position =>
            {
                self.mark(mark(MarkKind::Jump { from_ms }))
            }
            Counted::Mark(kind) => self.mark(mark(kind)),
            Counted::Changed(changed) => {
                (event.duration_ms.is_some() && self.mark(mark(MarkKind::Duration))) || changed
            }
        }
    }

    /// The viewer's connection was lost at `at`: the open segment is closed at the estimated position of playback. A
    /// `pause` that arrives later corrects the position, and [`resume`](Self::resume) opens the segment again.
    pub fn lose(&mut self, at: Moment) -> bool {
        self.viewing() && self.mark(Mark { kind: MarkKind::Lost, duration_ms: None, at })
    }

    /// The viewer is back: a segment that [`lose`](Self::lose) closed continues.
    pub fn resume(&mut self, at: Moment) -> bool {
        self.joined = Some(at);
        self.standing().is_lost()
            && self.mark(Mark { kind: MarkKind::Resumed, duration_ms: None, at })
    }

    /// The viewer left: the open segment is closed for good.
    pub fn leave(&mut self, at: Moment) -> bool {
        let standing = self.standing();
        let mark = Mark { kind: MarkKind::Left, duration_ms: None, at };
        standing.open().is_some() && self.mark(mark)
    }

    /// When the first `play` arrived, in Unix milliseconds.
    #[must_use]
    pub fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    /// When the last event arrived, in Unix milliseconds.
    #[must_use]
    pub fn last_event_at_ms(&self) -> i64 {
        self.last_event_at_ms
    }

    /// The duration of the video in milliseconds, if the player reported it and playback has not exceeded it.
    #[must_use]
    pub fn duration_ms(&self) -> Option<u32> {
        self.standing().duration_ms
    }

    /// Whether a segment is open: the video plays.
    #[must_use]
    pub fn viewing(&self) -> bool {
        self.standing().is_playing()
    }

    /// When the video must have ended, if that is so long ago that the session no longer counts as watched.
    #[must_use]
    pub fn ended(&self, now: Moment) -> Option<Moment> {
        self.standing().ended(now)
    }

    /// Estimated heap memory of the session, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.segments.len() * size_of::<crate::interval::Interval>()
            + self.recent.capacity() * size_of::<Mark>()
            + self.minutes.heap_bytes()
    }

    /// Whether the session has reached its limit of segments: further plays are refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        SEGMENTS_MAX <= self.segments.len()
    }

    /// Whether an event may have waited for a join, and so have happened long before.
    fn is_late(&self, at: Moment) -> bool {
        self.joined.is_none_or(|joined| joined.until_ms(at) <= BURST_MS)
    }

    /// Inserts a mark in the order of time, and returns whether it has an effect, or may have one later.
    fn mark(&mut self, mark: Mark) -> bool {
        if self.recent.is_empty() && mark.at.timestamp_ms.is_none() {
            // No kept mark could follow this one in time, so it is folded at once.
            return self.flush(&mark);
        }
        let mut position = self.recent.len();
        for (index, earlier) in self.recent.iter().enumerate().rev() {
            match mark.at.precedes(earlier.at) {
                Some(true) => position = index,
                Some(false) => break,
                // A mark without a timestamp cannot be compared with a mark that has one, but perhaps with earlier
                // ones.
                None => {}
            }
        }
        let idle = position == self.recent.len() && !self.standing().is_changed_by(&mark);
        // A mark without an effect is kept if it has a timestamp: its `play` may be late.
        if idle && mark.at.timestamp_ms.is_none() {
            return false;
        }
        self.recent.insert(position, mark);
        if WINDOW < self.recent.len() {
            let oldest = self.recent.remove(0);
            self.flush(&oldest);
        }
        true
    }

    /// Folds a mark for good, and returns whether it had an effect.
    fn flush(&mut self, mark: &Mark) -> bool {
        let is_changed = self.playhead.is_changed_by(mark);
        let (segments, minutes) = (&mut self.segments, &mut self.minutes);
        let counters = &mut self.counters;
        self.playhead.step(mark, &mut Tally { segments, minutes, counters });
        is_changed
    }
}

#[cfg(test)]
mod tests;

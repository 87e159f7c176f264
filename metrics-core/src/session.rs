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

mod latest;
pub(crate) mod minutes;
mod open;
mod playhead;
mod resume;
mod seen;
mod writers;

use crate::event::{CheckedEvent, Rendition, Step};
use crate::interval::Segments;
use latest::{LatestReports, Startup};
use playhead::{Mark, Playhead, Tally, What};
use seen::Seen;

pub use minutes::{MINUTE_MS, Minutes, RUNS_MAX, SPAN_MINUTES};
pub use resume::Stored;
#[cfg(feature = "recorder")]
pub(crate) use resume::over;
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

/// The time of an event, by up to three clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// The arrival by the server's time of day, in Unix milliseconds: the trusted time.
    pub received_ms: i64,
    /// The arrival by the server's monotonic clock, in milliseconds since an arbitrary start: for distances between
    /// arrivals at one server, also if its time of day was set in between. It is not stored.
    pub steady_ms: Option<i64>,
    /// The event's time by the player's clock, in milliseconds: for order and distances only.
    ///
    /// The timestamp of an open segment is stored with the session. The error of a machine's clock would identify its
    /// sessions among all others, so a recorder shifts it: see
    /// [`ApiKey::clock_shift_ms`](crate::ApiKey::clock_shift_ms).
    pub timestamp_ms: Option<i64>,
}

impl Moment {
    /// A moment known by the server's time of day alone.
    #[must_use]
    pub const fn received(received_ms: i64) -> Self {
        Self { received_ms, steady_ms: None, timestamp_ms: None }
    }

    /// Milliseconds from this moment to `later`, by the player's clock if both have it; 0 if `later` is not later.
    fn until_ms(self, later: Self) -> u64 {
        let elapsed_ms = match (self.timestamp_ms, later.timestamp_ms) {
            (Some(from), Some(to)) => to.saturating_sub(from),
            _ => later.arrival_ms(self).saturating_sub(self.arrival_ms(later)),
        };
        elapsed_ms.max(0).unsigned_abs()
    }

    /// The moment `ms` before this one by the server's clocks, without the player's clock.
    fn earlier(self, ms: u64) -> Self {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        Self {
            received_ms: self.received_ms.saturating_sub(ms),
            steady_ms: self.steady_ms.map(|steady_ms| steady_ms.saturating_sub(ms)),
            timestamp_ms: None,
        }
    }

    /// Whether this moment precedes `other`, or `None` if they have no common clock.
    fn precedes(self, other: Self) -> Option<bool> {
        match (self.timestamp_ms, other.timestamp_ms) {
            (Some(this), Some(other)) => Some(this < other),
            (None, None) => Some(self.arrival_ms(other) < other.arrival_ms(self)),
            _ => None,
        }
    }

    /// When it arrived, by the best clock that `other` has as well.
    fn arrival_ms(self, other: Self) -> i64 {
        match (self.steady_ms, other.steady_ms) {
            (Some(steady_ms), Some(_)) => steady_ms,
            _ => self.received_ms,
        }
    }
}

/// How far an open segment is known to have run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Until this moment, because the viewer is connected.
    Until(Moment),
    /// Until the last event: nothing is known after it.
    LastEvent,
}

/// The counters of a session.
///
/// A store keeps all of them: another member changes the contract of stores. Most new counters belong in `details`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Number of waits for data.
    pub rebufferings: u32,
    /// The length of the waits that have ended, in milliseconds.
    pub rebuffering_ms: u64,
    /// Number of failures to play the video.
    pub failures: u32,
    /// From the first `play` to the first moving frame, in milliseconds.
    pub startup_ms: Option<u32>,
    /// Counters that are seldom queried.
    pub details: Details,
}

/// The counters that most sessions do not have.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Details {
    /// Jumps to another position.
    #[serde(skip_serializing_if = "is_zero")]
    pub seeks: u32,
    /// Number of switches to fullscreen.
    #[serde(skip_serializing_if = "is_zero")]
    pub fullscreens: u32,
    /// Number of track choices.
    #[serde(skip_serializing_if = "is_zero")]
    pub tracks: u32,
    /// The language of the track chosen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Number of switches to another rendition.
    #[serde(skip_serializing_if = "is_zero")]
    pub renditions: u32,
    /// The rendition of the last switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rendition: Option<Rendition>,
    /// Segments that were longer than the time between their timestamps, or than the session by the server's clock, and
    /// were cut to that.
    #[serde(skip_serializing_if = "is_zero")]
    pub clamped: u32,
    /// Waits for data that a jump caused: the latency of seeks, which is no rebuffering.
    #[serde(skip_serializing_if = "is_zero")]
    pub seek_waits: u32,
    /// The length of those waits, in milliseconds.
    #[serde(skip_serializing_if = "is_zero_ms")]
    pub seek_wait_ms: u64,
    /// Milliseconds of video that were played between the jumps of a drag: view time that does not count as watched.
    #[serde(skip_serializing_if = "is_zero_ms")]
    pub scrubbed_ms: u64,
    /// Events of any other kind.
    #[serde(skip_serializing_if = "is_zero")]
    pub others: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero_ms(number: &u64) -> bool {
    *number == 0
}

/// The result of a session at some moment.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Viewed {
    /// All segments, the open one as far as it is known to have run.
    pub segments: Segments,
    /// The duration of the video in milliseconds, if it is known.
    pub duration_ms: Option<u32>,
    /// The counters.
    pub counters: Counters,
    /// The minutes at which the session played.
    pub minutes: Minutes,
    /// Whether a segment is open: the video plays.
    pub playing: bool,
}

impl Viewed {
    /// The view time in milliseconds: the segments and [scrubbing](Details::scrubbed_ms).
    #[must_use]
    pub fn view_ms(&self) -> u64 {
        self.segments.len_ms() + self.counters.details.scrubbed_ms
    }
}

/// One viewing of one video, from its first `play` on.
#[derive(Clone, Debug)]
pub struct Session {
    started_at_ms: i64,
    last_event_at_ms: i64,
    // The latest event by the player's clock.
    heard: Option<Moment>,
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
    /// The session that `event` begins at `at`, or `None` if it is no `play`.
    #[must_use]
    pub fn begin(event: &CheckedEvent, at: Moment) -> Option<Self> {
        let Step::Play { .. } = event.step else { return None };
        let mut session = Self {
            started_at_ms: at.received_ms,
            last_event_at_ms: at.received_ms,
            heard: None,
            joined: Some(at),
            writes_text: false,
            segments: Segments::default(),
            minutes: Minutes::default(),
            counters: Counters::default(),
            playhead: Playhead::new(at.received_ms),
            recent: Vec::new(),
            startup: Some(Startup::new(at)),
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
        self.last_event_at_ms = self.last_event_at_ms.max(at.received_ms);
        let is_later = |heard: Moment| heard.timestamp_ms <= at.timestamp_ms;
        if at.timestamp_ms.is_some() && self.heard.is_none_or(is_later) {
            self.heard = Some(at);
        }
        self.writes_text |= event.has_text_position;
        let writes_text = self.writes_text && at.timestamp_ms.is_none();
        let mark = |what| Mark { what, duration_ms: event.duration_ms, at };
        match self.count(&event.step, at) {
            Counted::Mark(What::Play { from_ms, .. }) if writes_text => {
                let is_live = !self.is_late(at);
                self.mark(mark(What::Play { from_ms, is_live }))
            }
            Counted::Mark(What::Pause { to_ms: from_ms })
                if writes_text && !event.has_text_position =>
            {
                self.mark(mark(What::Jump { from_ms }))
            }
            Counted::Mark(what) => self.mark(mark(what)),
            Counted::Changed(changed) => {
                (event.duration_ms.is_some() && self.mark(mark(What::Duration))) || changed
            }
        }
    }

    /// The viewer's connection was lost at `at`: the open segment is closed at the estimated position of playback. A
    /// `pause` that arrives later corrects the position, and [`resume`](Self::resume) opens the segment again.
    pub fn lose(&mut self, at: Moment) -> bool {
        self.viewing() && self.mark(Mark { what: What::Lost, duration_ms: None, at })
    }

    /// The viewer is back: a segment that [`lose`](Self::lose) closed continues.
    pub fn resume(&mut self, at: Moment) -> bool {
        self.joined = Some(at);
        self.standing().is_lost() && self.mark(Mark { what: What::Resumed, duration_ms: None, at })
    }

    /// The viewer left: the open segment is closed for good.
    pub fn leave(&mut self, at: Moment) -> bool {
        let standing = self.standing();
        let mark = Mark { what: What::Left, duration_ms: None, at };
        standing.open().is_some() && self.mark(mark)
    }

    /// Returns the result of the session. `reach` is how far an open segment has run.
    #[must_use]
    pub fn viewed(&self, reach: Reach) -> Viewed {
        let (playhead, sums) = self.folded(self.reached(reach));
        let Sums { segments, minutes, counters } = sums;
        let (duration_ms, playing) = (playhead.duration_ms, playhead.is_playing());
        Viewed { segments, duration_ms, counters, minutes, playing }
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

    /// Counts an event, or returns its effect on the playhead.
    fn count(&mut self, step: &Step, at: Moment) -> Counted {
        let details = &mut self.counters.details;
        match *step {
            Step::Play { from_ms } => {
                self.starts_up(|startup| startup.play(at));
                return Counted::Mark(What::Play { from_ms, is_live: false });
            }
            Step::Pause { to_ms } => return Counted::Mark(What::Pause { to_ms }),
            Step::RebufferingStart { from_ms } => {
                return Counted::Mark(What::Stalled { from_ms });
            }
            Step::RebufferingEnd => return Counted::Mark(What::Flowing),
            Step::RateChange { rate_milli: Some(rate_milli) } => {
                details.others += 1;
                return Counted::Mark(What::Rate { rate_milli });
            }
            Step::Playing => {
                return Counted::Changed(self.starts_up(|startup| startup.playing(at)));
            }
            Step::PlaybackFailure => self.counters.failures += 1,
            Step::Seeked => details.seeks += 1,
            Step::FullscreenEnter => details.fullscreens += 1,
            Step::FullscreenExit => return Counted::Changed(false),
            Step::TrackSet { ref language } => {
                details.tracks += 1;
                if self.latest.track.is_latest(at) {
                    details.language.clone_from(language);
                }
            }
            Step::SourceSet(ref rendition) => {
                details.renditions += 1;
                if self.latest.rendition.is_latest(at) {
                    details.rendition = Some(rendition.clone());
                }
            }
            Step::RateChange { rate_milli: None } | Step::Other { .. } => details.others += 1,
        }
        Counted::Changed(true)
    }

    /// Applies a step of the startup, and returns whether that changed the startup time.
    fn starts_up(&mut self, step: impl FnOnce(&mut Startup)) -> bool {
        let Some(startup) = &mut self.startup else { return false };
        step(startup);
        let before_ms = self.counters.startup_ms;
        self.counters.startup_ms = startup.ms();
        self.counters.startup_ms != before_ms
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
        let idle = position == self.recent.len() && !self.standing().heeds(&mark);
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

    fn flush(&mut self, mark: &Mark) -> bool {
        let heeded = self.playhead.heeds(mark);
        let (segments, minutes) = (&mut self.segments, &mut self.minutes);
        let counters = &mut self.counters;
        self.playhead.step(mark, &mut Tally { segments, minutes, counters });
        heeded
    }

    /// The state of playback after all events.
    fn standing(&self) -> Playhead {
        self.replay(&mut Sums::default())
    }

    fn replay(&self, sums: &mut Sums) -> Playhead {
        let mut playhead = self.playhead.clone();
        let Sums { segments, minutes, counters } = sums;
        let mut tally = Tally { segments, minutes, counters };
        for mark in &self.recent {
            playhead.step(mark, &mut tally);
        }
        playhead
    }

    /// Returns the state of playback and the totals of the session. An open segment counts as far as it ran until
    /// `reached`.
    fn folded(&self, reached: Moment) -> (Playhead, Sums) {
        let mut sums = Sums {
            segments: self.segments.clone(),
            minutes: self.minutes.clone(),
            counters: self.counters.clone(),
        };
        let playhead = self.replay(&mut sums);
        sums.segments.extend(playhead.running(reached));
        playhead.run_until(reached, &mut sums.minutes);
        (playhead, sums)
    }

    fn reached(&self, reach: Reach) -> Moment {
        match reach {
            Reach::Until(now) => now,
            Reach::LastEvent => self.heard.unwrap_or(Moment::received(self.last_event_at_ms)),
        }
    }
}

/// The data that is derived from the events of a session.
#[derive(Default)]
struct Sums {
    segments: Segments,
    minutes: Minutes,
    counters: Counters,
}

/// The kind of an event.
enum Counted {
    /// It moves the playhead.
    Mark(What),
    /// It does not move the playhead. True if it changed anything.
    Changed(bool),
}

#[cfg(test)]
mod tests;

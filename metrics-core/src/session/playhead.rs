//! Where playback stands, and how each thing that happens moves it.

use super::{Counters, Moment};
use crate::event::POSITION_MS_MAX;
use crate::interval::{Interval, Segments};

/// How long a connection may be gone with the video believed to play on, in milliseconds.
///
/// A page that reconnects within a minute had a bad network, and its buffer. After a longer time the machine
/// slept, and nobody watched.
pub(super) const GAP_MS_MAX: u64 = 60_000;

/// By how much a position may exceed the duration before it is cut to it, in milliseconds: players round both.
const OVERRUN_MS_MAX: u32 = 1_000;

/// The fastest that players play: no more of a video than this fits between two of a player's timestamps.
const RATE_MAX: u64 = 16;

/// By how much a segment may exceed what fits, in milliseconds: players round positions, and call the first second 0.
const SLACK_MS: u64 = 2_000;

/// Something that moves the playhead, and when.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) what: What,
    pub(super) at: Moment,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum What {
    Play { from_ms: u32 },
    Pause { to_ms: u32 },
    Stalled,
    Flowing,
    Lost,
    Resumed,
    Left,
}

/// Where playback stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Playhead {
    state: State,
    // Since when playback waits for data.
    stalled: Option<Moment>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Paused,
    Playing(Open),
    /// It played when the connection was lost.
    Lost(Open, Moment),
}

/// An open segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Open {
    from_ms: u32,
    at: Moment,
    // How long it stood still since: waits for data, and connections that were gone for long.
    idle_ms: u64,
}

impl Open {
    /// The segment that a `pause` closes, cut to what the video has, and to what fits between the timestamps of both
    /// ends. Without them nobody knows how long it took: a page that was offline sends both at once.
    fn watched(
        self,
        to_ms: u32,
        at: Moment,
        duration_ms: Option<u32>,
        counters: &mut Counters,
    ) -> Option<Interval> {
        let cut = |position_ms: u32| match duration_ms {
            Some(duration_ms) if duration_ms.saturating_add(OVERRUN_MS_MAX) < position_ms => {
                duration_ms
            }
            Some(_) => position_ms,
            None => position_ms.min(POSITION_MS_MAX),
        };
        let (from_ms, to_ms) = (cut(self.from_ms), cut(to_ms));
        if self.at.timestamp_ms.is_none() || at.timestamp_ms.is_none() {
            return Interval::new(from_ms, to_ms);
        }
        let fits_ms = self.at.until_ms(at).saturating_mul(RATE_MAX).saturating_add(SLACK_MS);
        let last_ms = from_ms.saturating_add(saturate(fits_ms));
        counters.details.clamped += u32::from(last_ms < to_ms);
        Interval::new(from_ms, to_ms.min(last_ms))
    }
}

/// How long an open segment has run, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Run {
    pub(super) from_ms: u32,
    // Without the time it stood still.
    pub(super) ran_ms: u32,
    // The server's clock then.
    pub(super) until_ms: i64,
}

impl Playhead {
    /// Moves on by one mark. Segments that it closes go to `segments`.
    pub(super) fn step(
        &mut self,
        mark: &Mark,
        duration_ms: Option<u32>,
        segments: &mut Segments,
        counters: &mut Counters,
    ) {
        let at = mark.at;
        match mark.what {
            What::Play { from_ms } if self.is_behind(at) => {
                // Too late to find its place, but not too late to count: what is open now closed it.
                let open = Open { from_ms, at, idle_ms: 0 };
                let late = Self { state: State::Playing(open), stalled: None };
                segments.extend(self.since().and_then(|since| late.running(since, duration_ms)));
            }
            _ if self.is_behind(at) => {}
            What::Play { from_ms } => {
                segments.extend(self.running(at, duration_ms));
                self.state = State::Playing(Open { from_ms, at, idle_ms: 0 });
            }
            What::Pause { to_ms } => {
                if let State::Playing(open) | State::Lost(open, _) = self.state {
                    segments.extend(open.watched(to_ms, at, duration_ms, counters));
                    self.state = State::Paused;
                }
            }
            What::Stalled => {
                counters.rebufferings += u32::from(self.stalled.is_none());
                self.stalled.get_or_insert(at);
            }
            What::Flowing => {
                let waited_ms = self.stalled.map_or(0, |since| since.until_ms(at));
                counters.rebuffering_ms += u64::from(saturate(waited_ms));
                self.stand_still(at);
                self.stalled = None;
            }
            What::Lost => {
                if let State::Playing(open) = self.state {
                    self.state = State::Lost(open, at);
                }
            }
            What::Resumed => {
                if let State::Lost(mut open, lost) = self.state {
                    let gap_ms = lost.until_ms(at);
                    if GAP_MS_MAX < gap_ms {
                        // A wait for data that goes on is booked when it ends.
                        let waited_ms = self.stalled.map_or(0, |since| since.until_ms(at));
                        let idle_ms = gap_ms.saturating_sub(waited_ms);
                        open.idle_ms = open.idle_ms.saturating_add(idle_ms);
                    }
                    self.state = State::Playing(open);
                }
            }
            What::Left => {
                segments.extend(self.running(at, duration_ms));
                self.state = State::Paused;
            }
        }
    }

    /// The open segment, as far as playback must have got at `now`.
    pub(super) fn running(&self, now: Moment, duration_ms: Option<u32>) -> Option<Interval> {
        let run = self.run(now)?;
        let end_ms = duration_ms.unwrap_or(POSITION_MS_MAX);
        Interval::new(run.from_ms, run.from_ms.saturating_add(run.ran_ms).min(end_ms))
    }

    /// How long the open segment has run at `now`.
    pub(super) fn run(&self, now: Moment) -> Option<Run> {
        let (open, now) = match self.state {
            State::Paused => return None,
            State::Playing(open) => (open, now),
            State::Lost(open, lost) => (open, lost),
        };
        let still_ms = open.idle_ms.saturating_add(self.waited_ms(open, now));
        let ran_ms = saturate(open.at.until_ms(now).saturating_sub(still_ms));
        Some(Run { from_ms: open.from_ms, ran_ms, until_ms: now.received_ms })
    }

    /// The playhead of a viewer who was last heard of at the end of `run`.
    pub(super) fn after(run: Run) -> Self {
        let at = Moment::received(run.until_ms.saturating_sub(i64::from(run.ran_ms)));
        let open = Open { from_ms: run.from_ms, at, idle_ms: 0 };
        Self { state: State::Lost(open, Moment::received(run.until_ms)), stalled: None }
    }

    /// Returns false if the mark would change nothing.
    pub(super) fn heeds(&self, what: &What) -> bool {
        match what {
            What::Play { .. } | What::Lost | What::Resumed | What::Left => true,
            What::Pause { .. } => self.state != State::Paused,
            What::Stalled => self.stalled.is_none(),
            What::Flowing => self.stalled.is_some(),
        }
    }

    pub(super) fn is_playing(&self) -> bool {
        matches!(self.state, State::Playing(_))
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost(..))
    }

    #[cfg(feature = "recorder")]
    pub(super) fn lost_at_ms(&self) -> Option<i64> {
        if let State::Lost(_, lost) = self.state { Some(lost.received_ms) } else { None }
    }

    /// When what is open was opened.
    fn since(&self) -> Option<Moment> {
        match self.state {
            State::Playing(open) | State::Lost(open, _) => Some(open.at),
            State::Paused => None,
        }
    }

    /// Whether something that happened at `at` comes too late to concern what is open.
    fn is_behind(&self, at: Moment) -> bool {
        self.since().is_some_and(|since| at.precedes(since) == Some(true))
    }

    /// Books the wait for data that ends at `at` on the open segment.
    fn stand_still(&mut self, at: Moment) {
        if let State::Playing(open) | State::Lost(open, _) = self.state {
            let idle_ms = open.idle_ms.saturating_add(self.waited_ms(open, at));
            let open = Open { idle_ms, ..open };
            self.state = match self.state {
                State::Lost(_, lost) => State::Lost(open, lost),
                _ => State::Playing(open),
            };
        }
    }

    /// How much of the wait for data that lasts until `now` lies in the open segment.
    fn waited_ms(&self, open: Open, now: Moment) -> u64 {
        let Some(since) = self.stalled else { return 0 };
        since.until_ms(now).min(open.at.until_ms(now))
    }
}

/// As many milliseconds as fit: 49 days, far past every position.
pub(super) fn saturate(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

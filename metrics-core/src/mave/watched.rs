//! Computes the segments of an old session from the three tables that may contain them. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::event::{CheckedEvent, POSITION_MS_MAX, Step, position_ms};
use crate::interval::{Interval, Segments};
use crate::session::{Moment, Reach, SEGMENTS_MAX, Session};

/// A row of `plays`, `events` or `durations`.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// The time of the row, in Unix milliseconds.
    pub(super) at_ms: Option<f64>,
    /// Orders rows of equal time; always 0 if the table has no id.
    pub(super) order_id: i64,
    /// The name of an event, or the `uniqueness` of a duration.
    pub(super) kind: Option<String>,
    /// The start of a segment, or the position of an event: seconds of video, as text.
    pub(super) from: Option<String>,
    /// The end of a segment.
    pub(super) to: Option<String>,
}

impl Line {
    pub(super) fn is_play(&self) -> bool {
        self.kind.as_deref() == Some("play")
    }

    /// The time of the row, in whole Unix milliseconds.
    pub(super) fn instant_ms(&self) -> Option<i64> {
        instant_ms(self.at_ms)
    }

    /// The start of the segment or the position of the event, in milliseconds of video, if it is valid.
    pub(super) fn start_ms(&self) -> Option<u32> {
        milliseconds(self.from.as_deref())
    }

    /// Whether a segment may begin here.
    pub(super) fn begins_segment(&self) -> bool {
        self.kind.as_deref() != Some("pause")
    }

    fn end_ms(&self) -> Option<u32> {
        milliseconds(self.to.as_deref())
    }
}

/// Whole Unix milliseconds, if the time is finite: PostgreSQL also has `infinity`.
pub(super) fn instant_ms(at_ms: Option<f64>) -> Option<i64> {
    at_ms.filter(|ms| ms.is_finite()).map(|ms| ms.round() as i64)
}

fn milliseconds(seconds: Option<&str>) -> Option<u32> {
    position_ms("position", seconds?.trim().parse().ok()?).ok()
}

/// The segments of a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Watched {
    /// The segments; [`SEGMENTS_MAX`] at most.
    pub(super) segments: Vec<Interval>,
    /// Whether anything was played, even for 0 ms.
    pub(super) played: bool,
    /// The number of invalid segments.
    pub(super) invalid_segments: u64,
    /// The number of segments beyond the maximum of a session.
    pub(super) too_many: u64,
    // Whether a play was never closed.
    unclosed: bool,
}

impl Watched {
    /// Computes the segments from the rows of a session, per table and ordered by time.
    ///
    /// One table is used: `plays`, else `events`, else `durations`, which has only whole seconds. If `events` has a
    /// play that was never closed, and `durations` has more segments, `durations` is used instead of `events`.
    pub(super) fn of(plays: &[Line], events: &[Line], durations: &[Line]) -> Self {
        let tables =
            [Self::of_plays(plays), Self::of_events(events), Self::of_durations(durations)];
        let played = tables.iter().any(|table| table.played);
        let invalid_segments = tables.iter().map(|table| table.invalid_segments).sum();
        let [plays, events, durations] = tables;
        let better = events.unclosed && events.segments.len() < durations.segments.len();
        let order = if better { [plays, durations, events] } else { [plays, events, durations] };
        match order.into_iter().find(|table| !table.segments.is_empty()) {
            Some(table) => Self { played, ..table },
            None => Self { played, invalid_segments, ..Self::default() },
        }
    }

    fn of_plays(lines: &[Line]) -> Self {
        let mut watched = Self::default();
        for line in lines {
            let from_ms = line.start_ms();
            watched.played |= from_ms.is_some();
            match (from_ms, line.end_ms()) {
                (Some(from_ms), Some(to_ms)) => watched.add(from_ms, to_ms),
                // Never closed.
                (Some(_), None) if line.to.is_none() => {}
                _ => watched.invalid_segments += 1,
            }
        }
        watched
    }

    /// Applies the events to a [`Session`], for the same result as if they were received now.
    fn of_events(lines: &[Line]) -> Self {
        let mut watched = Self::default();
        let mut session: Option<Session> = None;
        // The start of the open segment.
        let mut open_ms: Option<u32> = None;
        let mut at_ms = 0;
        for together in lines.chunk_by(|a, b| (a.at_ms, a.order_id) == (b.at_ms, b.order_id)) {
            let (mut plays, mut pauses): (VecDeque<_>, VecDeque<_>) =
                together.iter().partition(|line| line.is_play());
            loop {
                // The order of events at one time is unknown, but a player's plays and pauses alternate.
                let (first, second) = match open_ms {
                    Some(_) => (&mut pauses, &mut plays),
                    None => (&mut plays, &mut pauses),
                };
                let Some(line) = first.pop_front().or_else(|| second.pop_front()) else { break };
                let Some(position_ms) = line.start_ms() else {
                    watched.invalid_segments += 1;
                    continue;
                };
                at_ms = line.instant_ms().unwrap_or(at_ms);
                if line.is_play() {
                    if session.as_ref().is_some_and(Session::is_full) {
                        watched.too_many += 1;
                        continue;
                    }
                    watched.played = true;
                    open_ms = Some(position_ms);
                } else if open_ms.take().is_some_and(|from_ms| position_ms < from_ms) {
                    watched.invalid_segments += 1;
                }
                let (from_ms, to_ms) = (position_ms, position_ms);
                let step =
                    if line.is_play() { Step::Play { from_ms } } else { Step::Pause { to_ms } };
                apply(&mut session, step, at_ms);
            }
        }
        watched.unclosed = session.as_ref().is_some_and(Session::viewing);
        let viewed = session.map(|session| session.viewed(Reach::LastEvent).segments);
        watched.segments = viewed.unwrap_or_default().iter().collect();
        watched
    }

    /// If the rows of each kind (`uniqueness`) cover the same seconds, each kind describes the whole session, and the
    /// longest one, which has the replays, is used. Otherwise the rows of all kinds together are the segments.
    fn of_durations(lines: &[Line]) -> Self {
        let mut kinds: BTreeMap<_, Vec<&Line>> = BTreeMap::new();
        for line in lines {
            kinds.entry(line.kind.as_deref()).or_default().push(line);
        }
        let accounts: Vec<_> = kinds.into_values().map(Self::of_ranges).collect();
        let sums: Vec<_> =
            accounts.iter().map(|it| Segments::from_iter(it.segments.iter().copied())).collect();
        let same = sums.windows(2).all(|pair| pair[0].union() == pair[1].union());
        let longest = accounts.into_iter().zip(sums).max_by_key(|(_, sum)| sum.len_ms());
        match longest {
            Some((account, _)) if same && !account.segments.is_empty() => account,
            _ => Self::of_ranges(lines),
        }
    }

    fn of_ranges<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Self {
        let mut watched = Self::default();
        for line in lines {
            match (line.start_ms(), line.end_ms()) {
                (Some(from_ms), Some(to_ms)) => {
                    watched.played = true;
                    watched.add(from_ms, to_ms);
                }
                // An empty range.
                _ if line.from.is_none() && line.to.is_none() => watched.played = true,
                _ => watched.invalid_segments += 1,
            }
        }
        watched
    }

    fn add(&mut self, from_ms: u32, to_ms: u32) {
        if to_ms < from_ms || POSITION_MS_MAX <= from_ms {
            self.invalid_segments += 1;
        } else if let Some(segment) = Interval::new(from_ms, to_ms.min(POSITION_MS_MAX)) {
            if self.segments.len() < SEGMENTS_MAX {
                self.segments.push(segment);
            } else {
                self.too_many += 1;
            }
        }
    }
}

fn apply(session: &mut Option<Session>, step: Step, at_ms: i64) {
    let event = CheckedEvent {
        step,
        duration_ms: None,
        timestamp_ms: None,
        fingerprint: None,
        has_text_position: false,
    };
    let at = Moment::received(at_ms);
    match session {
        Some(session) => _ = session.apply(&event, at),
        None => *session = Session::begin(&event, at),
    }
}

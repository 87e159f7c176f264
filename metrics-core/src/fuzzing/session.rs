//! A viewing as a text: its segments and counters are plausible for all events in all orders.
//!
//! A line is an event, and up to four words with its details, in any order:
//!
//! ```text
//! play 0 +0 @1000 /60     at second 0 of a video of 60 seconds, when the player's clock said 1000 ms
//! seeked +250             a quarter of a second later by the server's clock
//! lose +90000
//! ```
//!
//! `reload` stores the session and loads it again, like a server that was restarted in between. Other lines are
//! ignored.

use crate::event::{
    Action, Ads, CheckedEvent, DURATION_MS_MAX, POSITION_MS_MAX, PlayerEvent, PlayerState,
    RATE_MAX, Rendition, Report,
};
use crate::interval::Segments;
use crate::session::{MINUTE_MS, Minutes, Moment, Reach, SPAN_MINUTES, Session, Writers};

/// The largest excess of a position over the duration, in milliseconds.
const OVERRUN_MS: u32 = 1_000;

/// More events than the 256 whose fingerprints a session keeps, and few enough to be quick.
const LINES_MAX: usize = 600;

/// The recorder under which inputs are counted.
const WRITER: u32 = 7;

/// A line of a viewing.
#[derive(Clone, Debug)]
struct Line {
    content: LineContent,
    /// The delay after the line before by the server's clock, in milliseconds.
    after_ms: i32,
}

/// The content of a line.
#[derive(Clone, Debug)]
enum LineContent {
    Event(PlayerEvent),
    Lose,
    Resume,
    Leave,
    Reload,
}

/// A viewing that has begun.
struct Run {
    session: Session,
    writers: Writers,
    now_ms: i64,
    // Number of plays, and of pauses, whose plays may be unheard.
    ends: usize,
    inputs: u32,
    // The furthest position that any duration so far allows.
    end_ms: u32,
    // Whether an event had a timestamp: then minutes follow the player's clock.
    has_timestamps: bool,
}

/// Checks a viewing.
pub fn session(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let lines: Vec<_> = text.lines().filter_map(read).take(LINES_MAX).collect();
    check(&lines);
}

/// Applies all lines to a session, and checks the result.
fn check(lines: &[Line]) {
    let mut run: Option<Run> = None;
    let mut now_ms = 1_700_000_000_000;
    for line in lines {
        now_ms += i64::from(line.after_ms);
        match (&mut run, &line.content) {
            (Some(run), content) => run.apply(content, now_ms),
            (None, LineContent::Event(event)) => run = Run::begin(event, now_ms),
            (None, _) => {}
        }
    }
    if let Some(run) = run {
        run.check(Reach::LastEvent);
        run.check(Reach::Until(Moment::received(run.now_ms)));
    }
}

impl Run {
    fn begin(event: &PlayerEvent, now_ms: i64) -> Option<Self> {
        let checked = event.check(0).ok()?;
        let session = Session::begin(&checked, moment(event, now_ms))?;
        let has_timestamps = event.timestamp_ms.is_some();
        let mut run = Self {
            session,
            writers: Writers::default(),
            now_ms,
            ends: 1,
            inputs: 0,
            end_ms: 0,
            has_timestamps,
        };
        run.count();
        run.allow(&checked);
        run.comes_twice(&checked, event);
        Some(run)
    }

    fn apply(&mut self, content: &LineContent, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
        let at = Moment::received(now_ms);
        match content {
            LineContent::Event(event) => {
                let Ok(checked) = event.check(0) else { return };
                self.session.apply(&checked, moment(event, now_ms));
                self.allow(&checked);
                self.has_timestamps |= event.timestamp_ms.is_some();
                // The session may insert it before the first event with a duration.
                if event.timestamp_ms.is_some() {
                    self.end_ms = self.end_ms.max(POSITION_MS_MAX);
                }
                let is_end = matches!(
                    event.action,
                    Action::Play { .. } | Action::Pause { .. } | Action::Report(_)
                );
                self.ends += usize::from(is_end);
                self.comes_twice(&checked, event);
            }
            LineContent::Lose => _ = self.session.lose(at),
            LineContent::Resume => _ = self.session.resume(at),
            LineContent::Leave => _ = self.session.leave(at),
            LineContent::Reload => {
                self.check(Reach::Until(Moment::received(self.now_ms)));
                let reach = Reach::Until(Moment::received(self.now_ms));
                let stored = self.session.store_with(reach, &self.writers);
                (self.session, self.writers) =
                    Session::load_with(&stored).expect("it was just stored");
            }
        }
        self.count();
    }

    /// Counts one more input.
    fn count(&mut self) {
        self.writers.count_input(WRITER);
        self.inputs += 1;
        let duration_ms = self.session.duration_ms();
        assert!(duration_ms.is_none_or(|ms| (1..=DURATION_MS_MAX).contains(&ms)));
        let end_ms = duration_ms.map_or(POSITION_MS_MAX, |ms| ms + OVERRUN_MS);
        self.end_ms = self.end_ms.max(end_ms);
    }

    /// Extends the allowed positions to the duration of an event, even if the session uses it for a while only: a late
    /// event is replayed before events with another duration.
    fn allow(&mut self, checked: &CheckedEvent) {
        let end_ms = checked.duration_ms.map_or(0, |ms| ms + OVERRUN_MS);
        self.end_ms = self.end_ms.max(end_ms);
    }

    /// Checks that an event with a timestamp changes nothing when it arrives again.
    fn comes_twice(&mut self, checked: &CheckedEvent, event: &PlayerEvent) {
        if event.timestamp_ms.is_some() {
            let before = self.session.snapshot(Reach::LastEvent);
            assert!(!self.session.apply(checked, moment(event, self.now_ms + 1_000)));
            assert_eq!(
                self.session.snapshot(Reach::LastEvent),
                before,
                "it came twice and counts twice"
            );
        }
    }

    /// Checks that the result of the session is plausible, and the same after a load.
    fn check(&self, reach: Reach) {
        let viewed = self.session.viewed(reach);
        let segments: Vec<_> = viewed.segments.iter().collect();
        assert!(segments.is_sorted());
        assert!(segments.iter().all(|it| it.end_ms() <= self.end_ms), "{:?}", segments.last());
        assert!(
            segments.len() <= self.ends,
            "{} of {} plays and pauses",
            segments.len(),
            self.ends
        );
        assert_eq!(viewed.playing, self.session.viewing());
        assert!(self.session.started_at_ms() <= self.session.last_event_at_ms());

        let stored = self.session.store_with(reach, &self.writers);
        assert_eq!(Segments::decode(&stored.segments).as_ref(), Ok(&viewed.segments));
        assert_eq!(stored.view_ms, viewed.view_ms());
        assert_eq!(stored.duration_ms, viewed.duration_ms);
        assert!(stored.unique_ms <= stored.view_ms);
        assert!(stored.unique_ms <= u64::from(self.end_ms));
        assert_eq!(stored.counters, viewed.counters);
        assert_eq!(stored.minutes, viewed.minutes);
        self.check_minutes(&viewed.minutes, reach);

        let (loaded, writers) = Session::load_with(&stored).expect("it was just stored");
        assert!(!loaded.viewing());
        assert_eq!(loaded.viewed(Reach::LastEvent).segments, viewed.segments);
        assert_eq!(loaded.viewed(Reach::LastEvent).minutes, viewed.minutes);
        let again = loaded.store_with(Reach::LastEvent, &writers);
        assert_eq!(again, stored, "what is loaded is stored as it was");
        assert_eq!(writers.inputs_of(WRITER), self.inputs);

        let later = self.session.viewed(Reach::Until(Moment::received(self.now_ms + 10_000)));
        let now = self.session.viewed(Reach::Until(Moment::received(self.now_ms)));
        let (earlier_ms, later_ms) = (now.segments.len_ms(), later.segments.len_ms());
        let passed_ms = if viewed.playing { 10_000 * RATE_MAX as u64 } else { 0 };
        assert!((earlier_ms..=earlier_ms + passed_ms).contains(&later_ms));
    }

    /// Checks that minutes lie between the start and now, or the last event.
    fn check_minutes(&self, minutes: &Minutes, reach: Reach) {
        let start_ms = self.session.started_at_ms();
        let until_ms = match reach {
            Reach::Until(at) => at.received_ms,
            Reach::LastEvent => self.now_ms,
        };
        for minute in minutes.iter(start_ms) {
            let at_ms = minute * MINUTE_MS;
            assert!(start_ms <= at_ms);
            assert!(at_ms < start_ms + i64::from(SPAN_MINUTES) * MINUTE_MS);
            assert!(self.has_timestamps || at_ms < until_ms);
        }
        assert_eq!(Minutes::decode(&minutes.encode()).as_ref(), Ok(minutes));
    }
}

fn moment(event: &PlayerEvent, received_ms: i64) -> Moment {
    Moment { timestamp_ms: event.timestamp_ms, ..Moment::received(received_ms) }
}

fn read(line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?;
    let (mut position, mut after_ms) = (0.0, 0);
    let (mut timestamp_ms, mut duration) = (None, None);
    for word in words {
        match word.split_at_checked(1)? {
            ("+", ms) => after_ms = ms.parse().ok()?,
            ("@", ms) => timestamp_ms = Some(ms.parse().ok()?),
            ("/", seconds) => duration = Some(seconds.parse().ok()?),
            _ => position = word.parse().ok()?,
        }
    }
    let action = match name {
        "play" => Action::Play { from: position },
        "pause" | "text" => Action::Pause { to: position },
        "playing" => Action::Playing,
        "stall" => Action::RebufferingStart { from: (0.0 < position).then_some(position) },
        "rate" => Action::RateChange { rate: Some(position) },
        "flow" => Action::RebufferingEnd,
        "fail" => Action::PlaybackFailure,
        "seeked" => Action::Seeked,
        "fullscreen" => Action::FullscreenEnter,
        "window" => Action::FullscreenExit,
        "track" => Action::TrackSet { language: Some(line.to_owned()) },
        "source" => {
            Action::SourceSet(Rendition { codec: Some(line.to_owned()), ..Rendition::default() })
        }
        "starts" => state(PlayerState::Starting, position),
        "plays" => state(PlayerState::Playing, position),
        "waits" => state(PlayerState::Waiting, position),
        "seeks" => state(PlayerState::Seeking, position),
        "stops" => state(PlayerState::Stopped, position),
        "errs" => state(PlayerState::Failed, position),
        "ads" => Action::Report(Report { ads: Some(Ads::Begin), ..Report::default() }),
        "content" => Action::Report(Report { ads: Some(Ads::End), ..Report::default() }),
        "lose" => return Some(Line { content: LineContent::Lose, after_ms }),
        "resume" => return Some(Line { content: LineContent::Resume, after_ms }),
        "leave" => return Some(Line { content: LineContent::Leave, after_ms }),
        "reload" => return Some(Line { content: LineContent::Reload, after_ms }),
        other => Action::Other { name: other.to_owned() },
    };
    let mut event = PlayerEvent { duration, timestamp_ms, ..PlayerEvent::new(action) };
    event.has_text_position = name == "text";
    Some(Line { content: LineContent::Event(event), after_ms })
}

/// A report of a state, at a position unless it is 0.
fn state(state: PlayerState, position: f64) -> Action {
    let position_ms = (0.0 < position).then_some((position * 1_000.0) as u32);
    let rate = position_ms.map(|ms| f64::from(1 + ms % 3));
    Action::Report(Report { state: Some(state), position_ms, rate, ..Report::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line() -> impl Strategy<Value = String> {
        let names = "play|pause|text|playing|stall|flow|rate|seeked|track|lose|resume|leave|reload|\
                     starts|plays|waits|seeks|stops|errs|ads|content";
        let names: Vec<_> = names.split('|').collect();
        let position = prop_oneof![2 => Just(0.0), 8 => 0.0..90.0, 1 => Just(1e11)];
        // Some at the same time, and some after a gap that is too long to be playback.
        let after_ms = prop_oneof![1 => Just(0), 6 => 0..20_000, 1 => 50_000..90_000];
        let timestamp_ms = prop::option::of(prop_oneof![6 => 0_i64..200_000, 1 => any::<i64>()]);
        let duration = prop::option::weighted(0.2, 1.0..100.0);
        let name = prop::sample::select(names);
        (name, position, after_ms, timestamp_ms, duration).prop_map(
            |(name, position, after_ms, timestamp_ms, duration)| {
                let mut line = format!("{name} {position} +{after_ms}");
                if let Some(timestamp_ms) = timestamp_ms {
                    line += &format!(" @{timestamp_ms}");
                }
                if let Some(duration) = duration {
                    line += &format!(" /{duration}");
                }
                line
            },
        )
    }

    proptest! {
        #[test]
        fn the_numbers_are_plausible_for_any_actions(lines in prop::collection::vec(line(), 0..100)) {
            session(lines.join("\n").as_bytes());
        }
    }

    #[test]
    fn a_line_is_read() {
        let Line { content: LineContent::Event(event), after_ms } =
            read("pause 12.5 @-7 +250 /60").unwrap()
        else {
            panic!("no event");
        };
        assert_eq!(event, PlayerEvent::pause(12.5).with_timestamp(-7).with_duration(60.0));
        assert_eq!(after_ms, 250);
        for line in ["", "play x", "play @", "play +1.5", "lose \u{e9}"] {
            assert!(read(line).is_none(), "{line}");
        }
    }
}

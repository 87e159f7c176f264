//! Events of players: a [`PlayerEvent`], and the check that converts it for a session.
//!
//! Positions and durations arrive as seconds of video, the unit of players. They are checked once, here, and are whole
//! milliseconds from then on.

mod fingerprint;
mod report;

use self::fingerprint::fingerprint;
pub(crate) use self::report::CheckedReport;
pub use self::report::{Ads, PlayerState, Report};

/// The longest duration that is accepted as that of a video: 7 days.
///
/// Players of live streams report anything from infinity to 2^32 seconds; such a video has no duration.
pub const DURATION_MS_MAX: u32 = 7 * 24 * 3_600 * 1_000;

/// The furthest position in a video whose duration is not known: 24 hours.
pub const POSITION_MS_MAX: u32 = 24 * 3_600 * 1_000;

/// The slowest and the fastest accepted rate, in seconds of video per second: browsers play from 1/16 to 16.
pub const RATE_MIN: f64 = 0.0625;
/// See [`RATE_MIN`].
pub const RATE_MAX: f64 = 16.0;

/// The longest language or codec that is kept, in bytes. Real ones (`zh-Hant-TW`, `avc1.640028,mp4a.40.2`) are
/// far shorter.
pub const LABEL_BYTES_MAX: usize = 64;

/// The kind of an event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Playback starts or goes on.
    Play {
        /// The position, in seconds of video.
        from: f64,
    },
    /// Playback stops.
    Pause {
        /// The position, in seconds of video.
        to: f64,
    },
    /// Frames move for the first time, or again.
    Playing,
    /// Playback waits for data.
    RebufferingStart {
        /// The position, in seconds of video, if the player reports it. Everything before it was played.
        from: Option<f64>,
    },
    /// The data is there.
    RebufferingEnd,
    /// The video cannot be played.
    PlaybackFailure,
    /// The viewer jumped to another position.
    Seeked,
    /// The video fills the screen.
    FullscreenEnter,
    /// The video is back in its page.
    FullscreenExit,
    /// A text or audio track was chosen.
    TrackSet {
        /// Its language, as the player names it.
        language: Option<String>,
    },
    /// The player switched to another rendition of the video.
    SourceSet(Rendition),
    /// The speed of playback changed.
    RateChange {
        /// Seconds of video per second, if the player reports it.
        rate: Option<f64>,
    },
    /// A client that reports states instead of plays and pauses reports one.
    Report(Report),
    /// Any other event that players report: it is only counted.
    Other {
        /// The name that the player gives it.
        name: String,
    },
}

/// One encoding of a video that the player chose among several.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Rendition {
    /// Width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u32>,
    /// The codec, as the player names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
}

/// One event of a player.
///
/// ```
/// use metrics_core::{ApiKey, PlayerEvent};
///
/// let salt = ApiKey::new("site")?.salt("the client's random id of the session");
/// let event = PlayerEvent::pause(12.5).with_duration(60.0);
/// assert!(event.check(salt).is_ok());
/// assert!(PlayerEvent::play(f64::NAN).check(salt).is_err());
/// # Ok::<(), metrics_core::key::InvalidKey>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlayerEvent {
    /// The kind of the event.
    pub action: Action,
    /// The duration of the video in seconds, as far as the player reports it. Values that are infinite, not a number, 0
    /// or negative mean that it is unknown: SDKs of advertisements report -0.001.
    pub duration: Option<f64>,
    /// The clock of the player in Unix milliseconds. It orders events and measures between them; it never serves as the
    /// time of day.
    pub timestamp_ms: Option<i64>,
    /// Whether the client wrote the position as text, as in `"to": "2.51"`.
    ///
    /// `@maveio/metrics` 0.1.3 to 0.1.5 do so, and report by a pause with a bare number, as in `"to": 2.5071`, that
    /// playback jumped from there and goes on elsewhere. For all other clients, the flag has no effect.
    pub has_text_position: bool,
}

impl PlayerEvent {
    /// An event without a duration and a timestamp.
    #[must_use]
    pub const fn new(action: Action) -> Self {
        Self { action, duration: None, timestamp_ms: None, has_text_position: false }
    }

    /// Playback starts or goes on at `from` seconds.
    #[must_use]
    pub const fn play(from: f64) -> Self {
        Self::new(Action::Play { from })
    }

    /// Playback stops at `to` seconds.
    #[must_use]
    pub const fn pause(to: f64) -> Self {
        Self::new(Action::Pause { to })
    }

    /// Adds the duration of the video, in seconds.
    #[must_use]
    pub const fn with_duration(mut self, seconds: f64) -> Self {
        self.duration = Some(seconds);
        self
    }

    /// Adds the time of the event by the player's own clock, in Unix milliseconds.
    #[must_use]
    pub const fn with_timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Checks every field, and computes the fingerprint of an event with a timestamp.
    ///
    /// `salt` is a number that belongs to the session and is never stored: [`ApiKey::salt`](crate::ApiKey::salt). A
    /// session stores fingerprints, and a timestamp cannot be computed from one without the salt.
    ///
    /// # Errors
    ///
    /// [`InvalidEvent`] if the position of a play or a pause is negative or not a finite number.
    pub fn check(&self, salt: u64) -> Result<CheckedEvent, InvalidEvent> {
        let step = match &self.action {
            Action::Play { from } => Step::Play { from_ms: position_ms("from", *from)? },
            Action::Pause { to } => Step::Pause { to_ms: position_ms("to", *to)? },
            Action::Playing => Step::Playing,
            Action::RebufferingStart { from } => {
                // An invalid position does not invalidate the wait.
                let from_ms = from.and_then(|from| position_ms("from", from).ok());
                Step::RebufferingStart { from_ms }
            }
            Action::RebufferingEnd => Step::RebufferingEnd,
            Action::PlaybackFailure => Step::PlaybackFailure,
            Action::Seeked => Step::Seeked,
            Action::FullscreenEnter => Step::FullscreenEnter,
            Action::FullscreenExit => Step::FullscreenExit,
            Action::TrackSet { language } => {
                Step::TrackSet { language: language.as_deref().map(label) }
            }
            Action::SourceSet(rendition) => Step::SourceSet(Rendition {
                codec: rendition.codec.as_deref().map(label),
                ..rendition.clone()
            }),
            Action::RateChange { rate } => {
                Step::RateChange { rate_milli: rate.and_then(rate_milli) }
            }
            Action::Report(report) => Step::Report(CheckedReport::of(report)),
            Action::Other { name } => Step::Other { name_print: fnv1a(name.bytes()) },
        };
        let fingerprint = self.timestamp_ms.map(|ms| fingerprint(&step, ms, salt, 0));
        Ok(CheckedEvent {
            step,
            duration_ms: self.duration.and_then(duration_ms),
            timestamp_ms: self.timestamp_ms,
            fingerprint,
            has_text_position: self.has_text_position,
        })
    }
}

/// A field of an event with a value that is invalid for all players.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{field}` must be a number of seconds, 0 or more")]
pub struct InvalidEvent {
    /// The field, as clients name it: `from` or `to`.
    pub field: &'static str,
}

/// A [`PlayerEvent`] whose fields were checked: positions are whole milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedEvent {
    pub(crate) step: Step,
    pub(crate) duration_ms: Option<u32>,
    pub(crate) timestamp_ms: Option<i64>,
    // The fingerprint, by which the event counts once; None without a timestamp.
    pub(crate) fingerprint: Option<u32>,
    pub(crate) has_text_position: bool,
}

impl CheckedEvent {
    /// Distinguishes the event from `repeats` equal ones that came before it on the same join, or in the same batch.
    /// `salt` is the same as in [`check`](PlayerEvent::check).
    ///
    /// On one join or in one batch, an equal event is a different event. On another join or in another batch it is the
    /// same event, sent again: the first equals the first, and the second the second.
    ///
    /// A report with the same number is the same report.
    #[must_use]
    pub fn repeated(self, repeats: u32, salt: u64) -> Self {
        if matches!(self.step, Step::Report(_)) {
            return self;
        }
        let fingerprint = self.timestamp_ms.map(|ms| fingerprint(&self.step, ms, salt, repeats));
        Self { fingerprint, ..self }
    }

    /// The player's clock in Unix milliseconds: see [`PlayerEvent::timestamp_ms`].
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms
    }
}

/// An [`Action`] after the check.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(crate) enum Step {
    Play { from_ms: u32 },
    Pause { to_ms: u32 },
    Playing,
    RebufferingStart { from_ms: Option<u32> },
    RebufferingEnd,
    PlaybackFailure,
    Seeked,
    FullscreenEnter,
    FullscreenExit,
    TrackSet { language: Option<String> },
    SourceSet(Rendition),
    // In thousandths.
    RateChange { rate_milli: Option<u32> },
    Report(CheckedReport),
    Other { name_print: u32 },
}

impl Step {
    /// The number of a report, which orders it among those of its millisecond.
    pub(crate) fn sequence(&self) -> u32 {
        if let Self::Report(report) = self { report.sequence } else { 0 }
    }
}

pub(crate) fn position_ms(field: &'static str, seconds: f64) -> Result<u32, InvalidEvent> {
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(InvalidEvent { field });
    }
    // The cast saturates. No video is longer than `u32::MAX` milliseconds.
    Ok((seconds * 1_000.0).round() as u32)
}

fn duration_ms(seconds: f64) -> Option<u32> {
    let duration_ms = (seconds * 1_000.0).round();
    let known = 1.0 <= duration_ms && duration_ms <= f64::from(DURATION_MS_MAX);
    known.then_some(duration_ms as u32)
}

/// A rate in thousandths, limited to the rates of browsers; `None` for a rate of 0, a negative one, or one that is not
/// finite.
fn rate_milli(rate: f64) -> Option<u32> {
    let is_rate = 0.0 < rate && rate.is_finite();
    is_rate.then(|| (rate.clamp(RATE_MIN, RATE_MAX) * 1_000.0).round() as u32)
}

/// FNV-1a, folded to 32 bits: it distinguishes events, and keeps nothing secret.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let hash = bytes.into_iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as u32
}

/// A label as it is stored: cut at a character, and without U+0000, which some stores cannot keep.
fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars().filter(|c| *c != '\0') {
        if LABEL_BYTES_MAX < label.len() + c.len_utf8() {
            break;
        }
        label.push(c);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_position(seconds: f64, expected: Option<u32>) {
        let checked = PlayerEvent::play(seconds).check(0).ok();
        assert_eq!(checked.map(|event| event.step), expected.map(|from_ms| Step::Play { from_ms }));
    }

    #[test]
    fn positions_are_rounded_to_milliseconds() {
        check_position(0.0, Some(0));
        check_position(-0.0, Some(0));
        check_position(12.3456, Some(12_346));
        check_position(1e11, Some(u32::MAX));
    }

    #[test]
    fn positions_that_cannot_be_are_refused() {
        for seconds in [-0.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            check_position(seconds, None);
        }
        let err = PlayerEvent::pause(-1.0).check(0).unwrap_err();
        assert_eq!(err.to_string(), "`to` must be a number of seconds, 0 or more");
    }

    #[track_caller]
    fn check_duration(seconds: f64, expected: Option<u32>) {
        let checked = PlayerEvent::play(0.0).with_duration(seconds).check(0).unwrap();
        assert_eq!(checked.duration_ms, expected);
    }

    #[test]
    fn a_duration_that_no_video_has_is_unknown() {
        check_duration(60.1, Some(60_100));
        for seconds in [0.0, -0.001, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e11] {
            check_duration(seconds, None);
        }
    }

    #[track_caller]
    fn check_rate(rate: f64, expected: Option<u32>) {
        let checked = PlayerEvent::new(Action::RateChange { rate: Some(rate) }).check(0).unwrap();
        assert_eq!(checked.step, Step::RateChange { rate_milli: expected });
    }

    #[test]
    fn a_rate_that_no_player_has_is_unknown_or_the_nearest() {
        check_rate(1.5, Some(1_500));
        check_rate(0.001, Some(63));
        check_rate(1e9, Some(16_000));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            check_rate(rate, None);
        }
    }

    #[track_caller]
    fn check_label(text: &str, expected: &str) {
        let track = Action::TrackSet { language: Some(text.to_owned()) };
        let rendition = Rendition { codec: Some(text.to_owned()), ..Rendition::default() };
        for action in [track, Action::SourceSet(rendition)] {
            let kept = match PlayerEvent::new(action).check(0).unwrap().step {
                Step::TrackSet { language } => language,
                Step::SourceSet(rendition) => rendition.codec,
                step => panic!("{step:?}"),
            };
            assert_eq!(kept.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_long_label_is_cut_at_a_character() {
        check_label("zh-Hant-TW", "zh-Hant-TW");
        check_label(&"\u{e9}".repeat(60), &"\u{e9}".repeat(32));
        check_label(&format!("a{}", "\u{e9}".repeat(60)), &format!("a{}", "\u{e9}".repeat(31)));
    }

    #[test]
    fn a_label_holds_nothing_that_a_store_cannot_keep() {
        check_label("\0n\0l\0", "nl");
        check_label("\0", "");
    }
}

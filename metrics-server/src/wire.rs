//! Converts the JSON of events, in all variants that clients send, into [`PlayerEvent`]s.
//!
//! Times are seconds, as numbers or as decimal text (`toFixed(2)` makes text). The same events come over the websocket,
//! where a position is called `from` or `to`, and in batches, where it is called `video_time`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use metrics_core::arrival::{Arrival, ArrivalPart};
use metrics_core::event::Rendition;
use metrics_core::{Action, EventError, PlayerEvent};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::code::Code;

/// The members of an event that are read. All others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Event<'a> {
    /// The name of the event, which decides the meaning of the other members.
    #[serde(borrow)]
    pub(crate) name: Scalar<'a>,
    from: Scalar<'a>,
    to: Scalar<'a>,
    video_time: Scalar<'a>,
    duration: Scalar<'a>,
    timestamp: Scalar<'a>,
    language: Scalar<'a>,
    width: Scalar<'a>,
    height: Scalar<'a>,
    bitrate: Scalar<'a>,
    codec: Scalar<'a>,
    rate: Scalar<'a>,
}

/// Reads a JSON object. The implementations that serde derives would also accept an array, with the members in their
/// order.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    let is_object = json.trim_ascii_start().starts_with('{');
    is_object.then(|| serde_json::from_str(json).ok()).flatten()
}

/// Where a viewer comes from: `referrer`, `utm_source`, `utm_medium` and `utm_campaign`, reduced.
pub(crate) fn arrival(texts: [Option<&str>; 4]) -> Arrival {
    let known = ArrivalPart::ALL.into_iter().zip(texts);
    let known = known.filter_map(|(part, text)| Some((part, text?)));
    known.fold(Arrival::default(), |arrival, (part, text)| arrival.with(part, text))
}

/// The name of a position on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Positions {
    /// `from` of a play and `to` of a pause.
    FromTo,
    /// `video_time` of both.
    VideoTime,
}

/// Why an event or a join was refused: a text for people, and a code for programs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    fn seconds(code: Code, field: &str) -> Self {
        Self::new(code, format!("`{field}` must be a number of seconds, 0 or more"))
    }

    /// The reason why a session did not take an event, with the name that its position has on the wire.
    pub(crate) fn of_event(err: &EventError, positions: Positions) -> Self {
        let code = Code::from(err);
        match (code, positions) {
            (Code::InvalidPosition, Positions::VideoTime) => Self::seconds(code, "video_time"),
            _ => Self::new(code, err.to_string()),
        }
    }
}

impl Event<'_> {
    /// Converts to a [`PlayerEvent`].
    ///
    /// # Errors
    ///
    /// [`Refusal`] names the first member that cannot be read.
    pub(crate) fn read(&self, positions: Positions) -> Result<PlayerEvent, Refusal> {
        let Scalar::Text(name) = &self.name else {
            return Err(Refusal::new(Code::InvalidName, "`name` must be a string"));
        };
        let (from, to) = match positions {
            Positions::FromTo => (("from", &self.from), ("to", &self.to)),
            Positions::VideoTime => {
                (("video_time", &self.video_time), ("video_time", &self.video_time))
            }
        };
        let action = match name.as_ref() {
            "play" => Action::Play { from: position(from)? },
            "pause" => Action::Pause { to: position(to)? },
            "playing" => Action::Playing,
            "rebuffering_start" => {
                Action::RebufferingStart { from: from.1.number().ok().flatten() }
            }
            "rebuffering_end" => Action::RebufferingEnd,
            "playback_failure" => Action::PlaybackFailure,
            "seeked" => Action::Seeked,
            "fullscreen_enter" => Action::FullscreenEnter,
            "fullscreen_exit" => Action::FullscreenExit,
            "track_set" => Action::TrackSet { language: self.language.text() },
            "source_set" => {
                let mut rendition = Rendition::default();
                rendition.width = self.width.integer();
                rendition.height = self.height.integer();
                rendition.bitrate = self.bitrate.integer();
                rendition.codec = self.codec.text();
                Action::SourceSet(rendition)
            }
            "ratechange" => Action::RateChange { rate: self.rate.number().ok().flatten() },
            other => Action::Other { name: other.to_owned() },
        };
        let mut event = PlayerEvent::new(action);
        let duration = self.duration.number();
        event.duration =
            duration.map_err(|_| Refusal::seconds(Code::InvalidDuration, "duration"))?;
        let timestamp = self.timestamp.number().ok().filter(|ms| ms.is_none_or(f64::is_finite));
        let timestamp = timestamp.ok_or(Refusal::new(
            Code::InvalidTimestamp,
            "`timestamp` must be a number of Unix milliseconds",
        ))?;
        event.timestamp_ms = timestamp.map(unix_ms);
        let is_text = |position: &Scalar<'_>| matches!(position, Scalar::Text(_));
        event.has_text_position = match event.action {
            Action::Play { .. } => is_text(from.1),
            Action::Pause { .. } => is_text(to.1),
            _ => false,
        };
        Ok(event)
    }
}

/// The years 2017 to 2052 in Unix seconds. As milliseconds they are days in January 1970, which no clock shows that was
/// ever set.
const PLAIN_SECONDS: Range<f64> = 1.5e9..2.6e9;

/// A timestamp in Unix milliseconds, also if a client plainly counts seconds or microseconds.
fn unix_ms(timestamp: f64) -> i64 {
    let ms = if PLAIN_SECONDS.contains(&timestamp) {
        timestamp * 1_000.0
    } else if PLAIN_SECONDS.contains(&(timestamp / 1_000_000.0)) {
        timestamp / 1_000.0
    } else {
        timestamp
    };
    // The cast saturates: a timestamp that far off orders nothing, but harms nothing either.
    ms.round() as i64
}

fn position((field, scalar): (&str, &Scalar<'_>)) -> Result<f64, Refusal> {
    let number = scalar.number().ok().flatten();
    number.ok_or_else(|| Refusal::seconds(Code::InvalidPosition, field))
}

/// A JSON value that is read as a text or a number only.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// Missing, or null.
    #[default]
    Absent,
    /// A number.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// Anything else.
    Other,
}

/// A value that is neither a number nor the text of one.
#[derive(Debug)]
struct NoNumber;

impl Scalar<'_> {
    /// The number, if there is one.
    fn number(&self) -> Result<Option<f64>, NoNumber> {
        match self {
            Self::Absent => Ok(None),
            Self::Number(number) => Ok(Some(*number)),
            Self::Text(text) => text.parse().map(Some).map_err(|_| NoNumber),
            Self::Other => Err(NoNumber),
        }
    }

    /// The whole number, if the value is one.
    fn integer(&self) -> Option<u32> {
        let number = self.number().ok().flatten()?;
        (0.0..=f64::from(u32::MAX)).contains(&number).then(|| number.round() as u32)
    }

    /// The text, if the value is one.
    pub(crate) fn text(&self) -> Option<String> {
        self.as_str().map(str::to_owned)
    }

    /// The borrowed text, if the value is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<PlayerEvent, &str>) {
        let event: Event<'_> = serde_json::from_str(json).unwrap();
        let read = event.read(Positions::FromTo);
        assert_eq!(read.map_err(|refusal| refusal.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn positions_are_numbers_or_decimal_text() {
        for (json, seconds) in [
            ("12.34", 12.34),
            ("\"12.34\"", 12.34),
            ("\"12\"", 12.0),
            ("\"0\"", 0.0),
            ("\"5.\"", 5.0),
            ("\"1e1\"", 10.0),
            ("0", 0.0),
        ] {
            let is_text = json.starts_with('"');
            let written = |mut event: PlayerEvent| {
                event.has_text_position = is_text;
                Ok(event)
            };
            let play = format!(r#"{{"name":"play","from":{json}}}"#);
            check(&play, written(PlayerEvent::play(seconds)));
            let pause = format!(r#"{{"name":"pause","to":{json}}}"#);
            check(&pause, written(PlayerEvent::pause(seconds)));
        }
    }

    #[test]
    fn an_invalid_position_is_named() {
        for json in ["\"\"", "\"12,5\"", "\"abc\"", "true", "[1]", "{\"a\":1}", "null"] {
            let from = format!(r#"{{"name":"play","from":{json}}}"#);
            check(&from, Err("`from` must be a number of seconds, 0 or more"));
            let to = format!(r#"{{"name":"pause","to":{json}}}"#);
            check(&to, Err("`to` must be a number of seconds, 0 or more"));
        }
        check(r#"{"name":"play"}"#, Err("`from` must be a number of seconds, 0 or more"));
    }

    #[test]
    fn an_event_has_a_name() {
        for json in ["{}", r#"{"name":null}"#, r#"{"name":1}"#, r#"{"name":["play"]}"#] {
            check(json, Err("`name` must be a string"));
        }
    }

    #[test]
    fn durations_may_be_unknown() {
        let event = PlayerEvent::play(0.0);
        check(r#"{"name":"play","from":0,"duration":null}"#, Ok(event.clone()));
        check(r#"{"name":"play","from":0,"duration":"60.10"}"#, Ok(event.with_duration(60.1)));
        check(
            r#"{"name":"play","from":0,"duration":"long"}"#,
            Err("`duration` must be a number of seconds, 0 or more"),
        );
    }

    #[test]
    fn timestamps_are_milliseconds() {
        let event = PlayerEvent::play(0.0).with_timestamp(1_718_000_000_000);
        check(r#"{"name":"play","from":0,"timestamp":1718000000000}"#, Ok(event.clone()));
        check(r#"{"name":"play","from":0,"timestamp":"1718000000000"}"#, Ok(event));
        check(
            r#"{"name":"play","from":0,"timestamp":"noon"}"#,
            Err("`timestamp` must be a number of Unix milliseconds"),
        );
    }

    #[test]
    fn timestamps_of_other_units_are_converted_to_milliseconds() {
        for (json, timestamp_ms) in [
            ("1718000000", 1_718_000_000_000),
            ("1718000000.25", 1_718_000_000_250),
            ("1718000000000000", 1_718_000_000_000),
            ("1000", 1_000),
            ("-5", -5),
            ("1e23", i64::MAX),
        ] {
            let event = PlayerEvent::play(0.0).with_timestamp(timestamp_ms);
            check(&format!(r#"{{"name":"play","from":0,"timestamp":{json}}}"#), Ok(event));
        }
    }

    #[test]
    fn rates_and_positions_of_waits_are_read_as_far_as_they_make_sense() {
        for (json, rate) in [("1.5", Some(1.5)), ("\"2\"", Some(2.0)), ("\"fast\"", None)] {
            let event = PlayerEvent::new(Action::RateChange { rate });
            check(&format!(r#"{{"name":"ratechange","rate":{json}}}"#), Ok(event));
        }
        for (json, from) in [("2.5", Some(2.5)), ("null", None), ("[]", None)] {
            let event = PlayerEvent::new(Action::RebufferingStart { from });
            check(&format!(r#"{{"name":"rebuffering_start","from":{json}}}"#), Ok(event));
        }
    }

    #[test]
    fn unknown_names_are_events_too() {
        let name = "volumechange".to_owned();
        let json = r#"{"name":"volumechange","volume":{"left":1}}"#;
        check(json, Ok(PlayerEvent::new(Action::Other { name })));
    }

    #[test]
    fn renditions_are_read_as_far_as_they_make_sense() {
        let mut rendition = Rendition::default();
        rendition.width = Some(1280);
        rendition.bitrate = Some(2_500_000);
        rendition.codec = Some("avc1".to_owned());
        check(
            r#"{"name":"source_set","width":1280,"height":-1,"bitrate":"2500000","codec":"avc1"}"#,
            Ok(PlayerEvent::new(Action::SourceSet(rendition))),
        );
    }

    #[test]
    fn batches_call_positions_video_time() {
        let json = r#"{"name":"pause","video_time":2.5,"from":9}"#;
        let event: Event<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(event.read(Positions::VideoTime), Ok(PlayerEvent::pause(2.5)));
        let event: Event<'_> = serde_json::from_str(r#"{"name":"play","from":9}"#).unwrap();
        let refusal = event.read(Positions::VideoTime).unwrap_err();
        assert_eq!(refusal.to_string(), "`video_time` must be a number of seconds, 0 or more");
    }
}

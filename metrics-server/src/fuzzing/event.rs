//! Events as JSON, against the rules of the wire format: numbers may be decimal text, and a position has two names.

use metrics_core::event::Rendition;
use metrics_core::{Action, PlayerEvent};
use serde_json::{Map, Value};

use super::members::Members;
use crate::wire::{self, Event, Positions, Refusal};

/// The members that the server reads.
const NAMES: [&str; 12] = [
    "name",
    "from",
    "to",
    "video_time",
    "duration",
    "timestamp",
    "language",
    "width",
    "height",
    "bitrate",
    "codec",
    "rate",
];

/// The numeric members.
const NUMBERS: [&str; 9] =
    ["from", "to", "video_time", "duration", "timestamp", "width", "height", "bitrate", "rate"];

/// Checks the payload of an event, or an element of a batch.
pub fn event(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let event: Option<Event<'_>> = wire::object(text);
    let Some(event) = event else {
        // A repeated member is ambiguous.
        let members = Members::read(text);
        assert!(members.is_none_or(|it| it.repeats(&NAMES) || is_unreadable(&it)), "{text}");
        return;
    };
    // Unused names and texts may hold JSON that no value can represent.
    let Ok(Value::Object(members)) = serde_json::from_str(text) else { return };
    for positions in [Positions::FromTo, Positions::VideoTime] {
        let read = event.read(positions);
        match &read {
            Ok(event) => agrees(event, &members, positions),
            Err(refusal) => names_the_fault(refusal, &members, positions),
        }
        let as_number = |mut event: PlayerEvent| {
            event.has_text_position = false;
            event
        };
        assert_eq!(
            debug_text(&reread(&as_text(&members), positions).map(as_number)),
            debug_text(&read.clone().map(as_number)),
            "numbers are also text"
        );
    }
    let renamed = |from: &str, to: &str| {
        let mut members = members.clone();
        members.remove(to);
        if let Some(value) = members.remove(from) {
            members.insert(to.to_owned(), value);
        }
        members
    };
    if let Some(name @ ("play" | "pause")) = members.get("name").and_then(Value::as_str) {
        let position = if name == "play" { "from" } else { "to" };
        let read = event.read(Positions::FromTo).ok();
        let video_time = reread(&renamed(position, "video_time"), Positions::VideoTime).ok();
        assert_eq!(debug_text(&video_time), debug_text(&read), "a position has two names");
    }
}

/// Whether a member that the server reads has JSON that no value can represent: half a character, or a number out of
/// range.
fn is_unreadable(members: &Members) -> bool {
    let examined = members.0.iter().filter(|(name, _)| NAMES.contains(&name.as_str()));
    examined.into_iter().any(|(_, json)| serde_json::from_str::<Value>(json.get()).is_err())
}

fn reread(members: &Map<String, Value>, positions: Positions) -> Result<PlayerEvent, Refusal> {
    let text = Value::Object(members.clone()).to_string();
    wire::object::<Event<'_>>(&text).expect("an object").read(positions)
}

/// As a text, because a position that is not a number does not equal itself.
fn debug_text<T: std::fmt::Debug>(event: &T) -> String {
    format!("{event:?}")
}

/// The same event with each number in quotes.
fn as_text(members: &Map<String, Value>) -> Map<String, Value> {
    let mut members = members.clone();
    for (_, value) in members.iter_mut().filter(|(name, _)| NUMBERS.contains(&name.as_str())) {
        if value.is_number() {
            *value = value.to_string().into();
        }
    }
    members
}

/// Returns a value as a number, if it is one.
fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(str::to_owned)
}

fn agrees(event: &PlayerEvent, members: &Map<String, Value>, positions: Positions) {
    let get = |name: &str| members.get(name);
    let position = |name| match positions {
        Positions::FromTo => number(get(name)),
        Positions::VideoTime => number(get("video_time")),
    };
    let whole = |name| number(get(name)).filter(|it| (0.0..=4_294_967_295.0).contains(it));
    let whole = |name| whole(name).map(|it| it.round() as u32);
    let name = text(get("name")).expect("it has a name");
    let action = match name.as_str() {
        "play" => Action::Play { from: position("from").expect("a number") },
        "pause" => Action::Pause { to: position("to").expect("a number") },
        "playing" => Action::Playing,
        "rebuffering_start" => Action::RebufferingStart { from: position("from") },
        "ratechange" => Action::RateChange { rate: number(get("rate")) },
        "rebuffering_end" => Action::RebufferingEnd,
        "playback_failure" => Action::PlaybackFailure,
        "seeked" => Action::Seeked,
        "fullscreen_enter" => Action::FullscreenEnter,
        "fullscreen_exit" => Action::FullscreenExit,
        "track_set" => Action::TrackSet { language: text(get("language")) },
        "source_set" => {
            let mut rendition = Rendition::default();
            (rendition.width, rendition.height) = (whole("width"), whole("height"));
            (rendition.bitrate, rendition.codec) = (whole("bitrate"), text(get("codec")));
            Action::SourceSet(rendition)
        }
        _ => Action::Other { name },
    };
    let duration = number(get("duration"));
    let timestamp_ms = number(get("timestamp")).map(|timestamp| {
        let (year_2017, year_2052) = (1.5e9, 2.6e9);
        let is_plain = |seconds: f64| (year_2017..year_2052).contains(&seconds);
        let ms = match timestamp {
            seconds if is_plain(seconds) => seconds * 1_000.0,
            microseconds if is_plain(microseconds / 1_000_000.0) => microseconds / 1_000.0,
            ms => ms,
        };
        ms.round() as i64
    });
    let position_name = match (&action, positions) {
        (Action::Play { .. }, Positions::FromTo) => Some("from"),
        (Action::Pause { .. }, Positions::FromTo) => Some("to"),
        (Action::Play { .. } | Action::Pause { .. }, Positions::VideoTime) => Some("video_time"),
        _ => None,
    };
    let mut expected = PlayerEvent::new(action);
    expected.has_text_position = position_name.and_then(get).is_some_and(Value::is_string);
    (expected.duration, expected.timestamp_ms) = (duration, timestamp_ms);
    assert_eq!(debug_text(event), debug_text(&expected));
}

fn names_the_fault(refusal: &Refusal, members: &Map<String, Value>, positions: Positions) {
    let text = refusal.to_string();
    let name = text.split('`').nth(1).expect("it names a member");
    let value = members.get(name);
    match name {
        "name" => assert!(!value.is_some_and(Value::is_string)),
        "from" | "to" => {
            assert_eq!(positions, Positions::FromTo);
            assert!(number(value).is_none());
        }
        "video_time" => {
            assert_eq!(positions, Positions::VideoTime);
            assert!(number(value).is_none());
        }
        "duration" => assert!(!value.is_none_or(Value::is_null) && number(value).is_none()),
        "timestamp" => {
            let is_finite = number(value).is_some_and(f64::is_finite);
            assert!(!value.is_none_or(Value::is_null) && !is_finite);
        }
        other => panic!("nobody asked for {other}"),
    }
}

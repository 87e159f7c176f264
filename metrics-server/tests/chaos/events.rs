//! Events of a page, as messages and as entries of the ledger.

use std::time::Instant;

use serde_json::{Value, json};

use super::ledger::Sheet;

/// An event of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventKind {
    Play(usize),
    Pause(usize),
    Seek,
    Failure,
}

impl EventKind {
    fn name(self) -> &'static str {
        match self {
            Self::Play(_) => "play",
            Self::Pause(_) => "pause",
            Self::Seek => "seeked",
            Self::Failure => "playback_failure",
        }
    }
}

/// The treatment of unacknowledged events by a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RetryPolicy {
    /// The client drops them; its events have no timestamps: 0.1.x.
    Plain,
    /// The client drops them; its events have timestamps: 0.0.x.
    Stamped,
    /// The client sends them again, with the same timestamps.
    Repeats,
}

/// Records an event in the ledger, and returns its message.
pub(crate) fn event(
    sheet: &mut Sheet,
    kind: EventKind,
    positions: [&str; 2],
    stamp: Option<i64>,
) -> Value {
    let mut event = json!({ "name": kind.name() });
    let sent = Some(Instant::now());
    match kind {
        EventKind::Play(pair) => {
            sheet.pairs[pair].play.sent = sent;
            event[positions[0]] = json!(f64::from(sheet.pairs[pair].from_ms) / 1_000.0);
        }
        EventKind::Pause(pair) => {
            sheet.pairs[pair].pause.sent = sent;
            event[positions[1]] = json!(f64::from(sheet.pairs[pair].to_ms) / 1_000.0);
        }
        EventKind::Seek => sheet.seeks.sent += 1,
        EventKind::Failure => sheet.failures.sent += 1,
    }
    if let Some(stamp) = stamp {
        event["timestamp"] = json!(stamp);
    }
    event
}

/// Records the acknowledgement of an event.
pub(crate) fn acknowledge(sheet: &mut Sheet, kind: EventKind) {
    let acknowledged = Some(Instant::now());
    // Events before the first play that arrives are not part of the session.
    let begun = u32::from(sheet.pairs.iter().any(|pair| pair.play.acknowledged.is_some()));
    match kind {
        EventKind::Play(pair) => sheet.pairs[pair].play.acknowledged = acknowledged,
        EventKind::Pause(pair) => {
            assert!(
                sheet.pairs[pair].play.acknowledged.is_some(),
                "a pause before its play: {sheet:?}"
            );
            sheet.pairs[pair].pause.acknowledged = acknowledged;
        }
        EventKind::Seek => sheet.seeks.acknowledged += begun,
        EventKind::Failure => sheet.failures.acknowledged += begun,
    }
}

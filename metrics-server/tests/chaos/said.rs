//! Events of a page, as messages and as entries of the ledger.

use std::time::Instant;

use serde_json::{Value, json};

use super::ledger::Sheet;

/// An event of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Play(usize),
    Pause(usize),
    Seek,
    Failure,
}

impl What {
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
pub(crate) enum Manners {
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
    what: What,
    positions: [&str; 2],
    stamp: Option<i64>,
) -> Value {
    let mut event = json!({ "name": what.name() });
    let said = Some(Instant::now());
    match what {
        What::Play(pair) => {
            sheet.pairs[pair].play.said = said;
            event[positions[0]] = json!(f64::from(sheet.pairs[pair].from_ms) / 1_000.0);
        }
        What::Pause(pair) => {
            sheet.pairs[pair].pause.said = said;
            event[positions[1]] = json!(f64::from(sheet.pairs[pair].to_ms) / 1_000.0);
        }
        What::Seek => sheet.seeks.said += 1,
        What::Failure => sheet.failures.said += 1,
    }
    if let Some(stamp) = stamp {
        event["timestamp"] = json!(stamp);
    }
    event
}

/// Records the acknowledgement of an event.
pub(crate) fn acknowledge(sheet: &mut Sheet, what: What) {
    let told = Some(Instant::now());
    // Events before the first play that arrives are not part of the session.
    let begun = u32::from(sheet.pairs.iter().any(|pair| pair.play.told.is_some()));
    match what {
        What::Play(pair) => sheet.pairs[pair].play.told = told,
        What::Pause(pair) => {
            assert!(sheet.pairs[pair].play.told.is_some(), "a pause before its play: {sheet:?}");
            sheet.pairs[pair].pause.told = told;
        }
        What::Seek => sheet.seeks.told += begun,
        What::Failure => sheet.failures.told += begun,
    }
}

//! Reports from a log of player events: no server, no store, no runtime, only the pure part of the core.
//!
//! Run it with `cargo run -p examples --example offline -- examples/offline.ndjson`, or pass a log on the standard
//! input. Each line is an event: the time of its arrival in Unix milliseconds, the random id of its session, its name,
//! and its position in the video in seconds.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::collections::BTreeMap;
use std::error::Error;
use std::{env, fs, io};

use metrics_core::engagement::Parts;
use metrics_core::interval::Segments;
use metrics_core::response::{PlayTotals, PlaysAt, fold_plays};
use metrics_core::session::{Moment, Reach, Session};
use metrics_core::time_bucket::Buckets;
use metrics_core::user_agent::UserAgentClass;
use metrics_core::{ApiKey, PlayerEvent};
use serde::Deserialize;

/// The least view time that makes a session a play, in milliseconds.
const PLAY_MS_MIN: u64 = 1_000;

#[derive(Deserialize)]
struct Line {
    received_ms: i64,
    session: String,
    #[serde(flatten)]
    kind: LineKind,
}

#[derive(Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
enum LineKind {
    Play {
        from: f64,
    },
    Pause {
        to: f64,
    },
    /// The page was closed, or its connection broke.
    Gone,
}

fn main() -> Result<(), Box<dyn Error>> {
    let log = match env::args().nth(1) {
        Some(path) => fs::read_to_string(path)?,
        None => io::read_to_string(io::stdin())?,
    };
    let mut sessions = BTreeMap::new();
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        apply(&mut sessions, serde_json::from_str(line)?)?;
    }
    let plays: Vec<(i64, Segments)> = sessions
        .values()
        .map(|session| (session.started_at_ms(), session.viewed(Reach::LastEvent).segments))
        .filter(|(_, segments)| PLAY_MS_MIN <= segments.len_ms())
        .collect();
    show(&plays)
}

/// Applies an event to its session. The first play begins a session; earlier events are not part of it.
fn apply(sessions: &mut BTreeMap<String, Session>, line: Line) -> Result<(), Box<dyn Error>> {
    let at = Moment::received(line.received_ms);
    let event = match line.kind {
        LineKind::Play { from } => PlayerEvent::play(from),
        LineKind::Pause { to } => PlayerEvent::pause(to),
        LineKind::Gone => {
            if let Some(session) = sessions.get_mut(&line.session) {
                session.lose(at);
            }
            return Ok(());
        }
    };
    let salt = ApiKey::new("offline")?.salt(&line.session);
    let event = event.check(salt)?;
    if let Some(session) = sessions.get_mut(&line.session) {
        session.apply(&event, at);
    } else if let Some(session) = Session::begin(&event, at) {
        sessions.insert(line.session, session);
    }
    Ok(())
}

/// Prints the reports that a server returns, from the same functions.
fn show(plays: &[(i64, Segments)]) -> Result<(), Box<dyn Error>> {
    let mut plays_at = Vec::new();
    for (at_ms, segments) in plays {
        let mut totals = PlayTotals::default();
        let unique_ms = segments.union().len_ms();
        totals.add_plays(1, segments.len_ms(), unique_ms, UserAgentClass::default());
        plays_at.push(PlaysAt { at_ms: *at_ms, totals });
    }
    let buckets = Buckets::new("1 day".parse()?);
    for bucket in fold_plays(plays_at, &buckets, Vec::new()) {
        let PlayTotals { plays, view_ms, unique_ms, .. } = bucket.totals;
        let day = bucket.start.date_naive();
        println!("{day}: {plays} plays, {view_ms} ms watched, {unique_ms} ms of them once");
    }
    let end_ms = plays.iter().map(|(_, segments)| segments.union().end_ms()).max().unwrap_or(0);
    let mut parts = Parts::new(end_ms, 4);
    plays.iter().for_each(|(_, segments)| parts.add(segments));
    for part in parts.finish() {
        println!("{} to {} s: {} viewers", part.from, part.to, part.viewers);
    }
    Ok(())
}

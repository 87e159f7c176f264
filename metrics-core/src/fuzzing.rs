//! Properties that hold for any bytes: one function for each fuzz target, which panics if its property does not hold.
//!
//! The targets in `fuzz/` call these functions with the inputs of libFuzzer, and the tests with those committed in
//! `fuzz/corpus`. No other build contains this module.

#![expect(clippy::missing_panics_doc, reason = "to panic is how they say what does not hold")]

mod session;

use std::net::IpAddr;

use serde_json::Value;

use crate::arrival::{Arrival, ArrivalPart, CAMPAIGN_BYTES_MAX};
use crate::block::{Block, Group, Groups, Row};
use crate::cmcd::{
    Dictionary, Format, RECORD_BYTES_MAX, RECORDS_MAX, Record, SESSION_CHARS_MAX, records,
};
use crate::containment::{canonical, contains, has_nul, is_too_deep};
use crate::engagement::Parts;
use crate::event::PlayerEvent;
use crate::interval::{IntervalSet, Segments};
use crate::query::instant;
use crate::record::SessionRecord;
use crate::session::{Counters, Minutes, Moment, Reach, Session, Stored};
use crate::source::SOURCE_BYTES_MAX;
use crate::totals::{DayTotals, StoredTotals};
use crate::user_agent::{
    Browser, Classification, Classifier, Device, Headers, Platform, UserAgentClass,
};
use crate::varint::{self, Reader};
use crate::{Source, Video};

pub use session::session;

/// The longest `resume` that [`Session::store_with`] writes: layout, open segment, 4 writers, 256 events.
const RESUME_BYTES_MAX: usize = 1 + (1 + 5 + 5 + 10) + (1 + 4 * (4 + 5)) + 256 * 4;

/// The headers of a request: a `User-Agent`, and a `Sec-CH-UA` in the second line, if there is one.
pub fn client(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (user_agent, brands) = match text.split_once('\n') {
        Some((user_agent, brands)) => (user_agent, Some(brands)),
        None => (text, None),
    };
    let classifier = Classifier::new();
    let classify = |user_agent: &str, brands| {
        classifier.classify(Headers { user_agent: Some(user_agent), brands })
    };
    let found = classify(user_agent, brands);
    assert_eq!(classify(user_agent, brands), found, "the cache changes nothing");
    assert_eq!(classify(&format!("Googlebot/2.1 {user_agent}"), brands), Classification::Bot);

    let head: String = user_agent
        .char_indices()
        .filter(|(at, c)| at + c.len_utf8() <= 1_024)
        .map(|it| it.1)
        .collect();
    assert_eq!(classify(&head, brands), found, "only so much is looked at");

    let plain = classify(user_agent, None);
    match (plain, found) {
        (Classification::Viewer(plain), Classification::Viewer(found)) => {
            let UserAgentClass { browser, platform, device } = found;
            assert_eq!((platform, device), (plain.platform, plain.device));
            let is_brave = (plain.browser, browser) == (Browser::Chrome, Browser::Brave);
            assert!(
                browser == plain.browser || is_brave,
                "brands tell Brave from Chrome, and no more"
            );
            assert_eq!(Browser::from_code(browser.code()), browser);
            assert_eq!(Platform::from_code(platform.code()), platform);
            assert_eq!(Device::from_code(device.code()), device);
        }
        (Classification::Viewer(_), Classification::Bot) => {
            let is_headless = brands.is_some_and(|brands| brands.contains("\"Headless"));
            assert!(is_headless, "other brands make nobody a bot");
        }
        (plain, found) => assert_eq!(plain, found, "brands make no bot a viewer"),
    }
}

/// The URL of a page.
pub fn source(bytes: &[u8]) {
    let Ok(address) = str::from_utf8(bytes) else { return };
    let Some(source) = Source::parse(address) else { return };
    let text = source.as_str();
    assert!(text.len() <= SOURCE_BYTES_MAX);
    assert!(!text.contains(['?', '#', '\0']), "{text}");
    let (_, rest) = text.split_once("://").expect("it has a host");
    let authority = rest.split('/').next().unwrap_or_default();
    assert!(!authority.contains('@'), "{text}");
    assert!(authority.starts_with(source.host()) && !source.host().is_empty());
    assert!(source.pathname().starts_with('/'));
    assert_eq!(Source::parse(text), Some(source), "what is kept is kept as it is");
}

/// A text of where a viewer comes from: a referrer, a parameter of a campaign, or a country.
pub fn arrival(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for part in ArrivalPart::ALL {
        let arrival = Arrival::default().with(part, text);
        let Some(value) = arrival.get(part) else { continue };
        assert_eq!(part.reduce(value).as_deref(), Some(value), "what is kept is kept as it is");
        assert!(!value.is_empty() && value.len() <= 253 && !value.contains(char::is_control));
        match part {
            ArrivalPart::Referrer => {
                assert!(!value.contains(['/', '?', '#', '@', ':', ' ']), "{value}");
                assert!(value.parse::<IpAddr>().is_err(), "{value}");
            }
            ArrivalPart::Country => assert_eq!(value.len(), 2),
            _ => assert!(value.len() <= CAMPAIGN_BYTES_MAX),
        }
        let json = arrival.to_json().expect("it has a part");
        assert_eq!(Arrival::from_json(&json), Some(arrival));
    }
}

/// Metadata of a video, as JSON.
pub fn metadata(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let kept = canonical(&value);
    assert_eq!(has_nul(&kept), holds_nul(&value), "{kept}");
    // If a member is repeated, the last one is kept, and may be nested less deep.
    let deep = is_too_deep(&kept);
    assert!(!deep || is_too_deep(text));
    let again: Value = serde_json::from_str(&kept).expect("it is JSON");
    assert_eq!(canonical(&again), kept, "what is kept is kept as it is");
    assert_eq!(Video::described(&value), Video::described(&again));
    if !deep {
        assert!(contains(&value, &again) && contains(&again, &value), "{kept}");
    }
}

/// Whether a text in `value` holds U+0000.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(holds_nul),
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.contains('\0') || holds_nul(value))
        }
        _ => false,
    }
}

/// A body of CMCD records: lines, or JSON.
pub fn cmcd(bytes: &[u8]) {
    for format in [Format::Lines, Format::Json] {
        let Ok(records) = records(bytes, format) else { continue };
        assert!(records.len() <= RECORDS_MAX);
        for record in records.into_iter().flatten() {
            assert!(!record.session.is_empty());
            assert!(record.session.chars().count() <= SESSION_CHARS_MAX);
            assert!(record.rate.is_none_or(|rate| rate.is_finite() && 0.0 < rate));
        }
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(read) = Dictionary::parse(text) {
        // Decimals may be longer in this form.
        let written = read.to_string();
        if written.len() <= RECORD_BYTES_MAX {
            assert_eq!(Dictionary::parse(&written), Ok(read), "{written}");
        }
    }
    let _ = Dictionary::of_query(text).map(|keys| keys.map(|keys| Record::of(&keys)));
    let _ = Dictionary::of_headers([("CMCD-Session", text), ("CMCD-Status", text)]);
}

/// A column of segments.
pub fn segments(bytes: &[u8]) {
    numbers(bytes);
    let Ok(segments) = Segments::decode(bytes) else { return };
    let encoded = segments.encode();
    assert!(encoded.len() <= bytes.len(), "no encoding is shorter");
    assert_eq!(Segments::decode(&encoded).as_ref(), Ok(&segments));

    let all: Vec<_> = segments.iter().collect();
    assert!(all.is_sorted());
    assert!(all.iter().all(|it| it.start_ms() < it.end_ms()));
    let mut inserted = Segments::default();
    all.iter().rev().for_each(|it| inserted.insert(*it));
    assert_eq!(inserted, segments);
    assert!(all.iter().all(|it| inserted.remove(*it)) && inserted.is_empty());

    let union = segments.union();
    assert_eq!(union, all.iter().copied().collect::<IntervalSet>());
    assert!(union.len_ms() <= segments.len_ms());
    parts(&segments, 1 + bytes.len() as u32 % 20);
}

/// A session counts as one viewer in each part of the video of which it watched a piece.
fn parts(segments: &Segments, parts: u32) {
    let union = segments.union();
    let mut counted = Parts::new(union.end_ms(), parts);
    counted.add(segments);
    let counted = counted.finish();
    assert_eq!(counted.len(), if union.is_empty() { 0 } else { parts as usize });
    // In units of 1/parts milliseconds, so that every boundary is an integer.
    let (unit, end) = (u64::from(parts), u64::from(union.end_ms()));
    for (part, counted) in (0..).zip(counted) {
        let (from, to) = (part * end, (part + 1) * end);
        let watched =
            |start: u32, end: u32| u64::from(start) * unit < to && from < u64::from(end) * unit;
        let viewers = union.iter().any(|it| watched(it.start_ms(), it.end_ms()));
        assert_eq!(counted.viewers, u64::from(viewers), "part {part} of {parts}");
    }
}

/// Variable-length integers.
fn numbers(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let (mut read, mut written) = (Vec::new(), Vec::new());
    while let Ok(number) = reader.number() {
        read.push(number);
        varint::encode(&mut written, number);
    }
    assert!(written.len() <= bytes.len(), "no encoding is shorter");
    let mut reader = Reader::new(&written);
    assert!(read.into_iter().all(|number| reader.number() == Ok(number)) && reader.is_empty());
}

/// A row of a session: start and last event (8 bytes each), duration (4, 0 for none), number of bytes of segments (1),
/// the segments, and the resume state up to the end.
pub fn resume(bytes: &[u8]) {
    let Some(stored) = row(bytes) else { return };
    let Ok((session, writers)) = Session::load_with(&stored) else { return };
    assert!(!session.viewing(), "nobody is there yet");
    let again = session.store_with(Reach::LastEvent, &writers);
    assert_eq!(
        session.store_with(Reach::Until(Moment::received(i64::MAX)), &writers),
        again,
        "nobody is there yet"
    );
    assert!(again.resume.len() <= RESUME_BYTES_MAX, "{} bytes", again.resume.len());
    assert_eq!(again.counters, stored.counters);
    let segments = Segments::decode(&again.segments).expect("they were just encoded");
    assert_eq!((again.view_ms, again.unique_ms), (segments.len_ms(), segments.union().len_ms()));
    assert_eq!(session.viewed(Reach::LastEvent).segments, segments);

    let (mut session, writers) = Session::load_with(&again).expect("it was just stored");
    let loaded = session.store_with(Reach::LastEvent, &writers);
    assert_eq!(loaded, again, "what is loaded is stored as it was");

    // The session can go on, regardless of its content.
    let now = Moment::received(i64::MAX);
    session.resume(now);
    // It may have seen any event with a timestamp.
    for event in [PlayerEvent::pause(1.0).with_timestamp(7), PlayerEvent::play(2.0)] {
        session.apply(&event.check(0).expect("valid"), now);
    }
    assert!(session.viewing());
    session.leave(now);
    let left = session.store_with(Reach::LastEvent, &writers);
    assert!(left.resume.len() <= RESUME_BYTES_MAX, "{} bytes", left.resume.len());
    assert!(Session::load(&left).is_ok());
}

fn row(bytes: &[u8]) -> Option<Stored> {
    let (started_at_ms, bytes) = bytes.split_first_chunk()?;
    let (last_event_at_ms, bytes) = bytes.split_first_chunk()?;
    let (duration_ms, bytes) = bytes.split_first_chunk()?;
    let (segments_len, bytes) = bytes.split_first()?;
    let (segments, resume) = bytes.split_at_checked(usize::from(*segments_len))?;
    let duration_ms = u32::from_le_bytes(*duration_ms);
    Some(Stored {
        started_at_ms: i64::from_le_bytes(*started_at_ms),
        last_event_at_ms: i64::from_le_bytes(*last_event_at_ms),
        duration_ms: (duration_ms != 0).then_some(duration_ms),
        view_ms: 0,
        unique_ms: 0,
        segments: segments.to_vec(),
        minutes: Minutes::default(),
        counters: Counters::default(),
        resume: resume.to_vec(),
    })
}

/// The groups of a block in order: the number of sessions, then the length and the bytes of each group.
///
/// If the bytes can be decoded as sessions, blocks of these sessions decode to the same sessions.
pub fn block(bytes: &[u8]) {
    let Some((sessions, mut rest)) = bytes.split_first() else { return };
    let mut block = Block { sessions: u32::from(*sessions), ..Block::default() };
    for group in &mut block.groups {
        let Some((len, more)) = rest.split_first() else { break };
        let (content, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        *group = (!content.is_empty()).then(|| content.to_vec());
    }
    for group in Group::ALL {
        let _ = block.columns(Groups::default().with(group));
    }
    if let Ok(mut rows) = block.rows() {
        rows.sort_by_key(Row::order);
        assert_eq!(Block::encode(rows.clone()).rows(), Ok(rows));
    }
}

/// Encoded totals, one hour after the other.
///
/// Decoded totals stay the same when nothing is added.
pub fn totals(bytes: &[u8]) {
    let stored = StoredTotals { day: 0, sums: bytes.to_vec(), hours: Some(bytes.to_vec()) };
    let _ = stored.plays(0);
    if let Ok(totals) = DayTotals::decode(&stored)
        && let Some(encoded) = totals.encode(0)
    {
        assert_eq!(DayTotals::default().add_to(0, Some(&encoded)), Ok(Some(encoded)));
    }
}

/// Parses a line of an NDJSON import. An accepted session can be encoded in a block and counted in totals.
pub fn record(bytes: &[u8]) {
    let now = instant(1_800_000_000_000);
    let Ok(record) = SessionRecord::parse(bytes, None, now) else { return };
    let Row { id, stored, .. } = &record.row;
    assert!(stored.unique_ms <= stored.view_ms && stored.started_at_ms <= stored.last_event_at_ms);
    let segments = Segments::decode(&stored.segments).expect("they were just encoded");
    assert!(segments.is_empty() || segments.union().len_ms() == stored.unique_ms);
    assert_eq!(*id, record.row_id(0));
    assert!(Session::load(stored).is_ok());
    assert_eq!(Block::encode(vec![record.row.clone()]).rows(), Ok(vec![record.row.clone()]));
    let mut spaced = bytes.to_vec();
    spaced.extend_from_slice(b"\r\n");
    let again = SessionRecord::parse(&spaced, None, now);
    assert!(again.is_err() || again == Ok(record), "the end of a line changes nothing");
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn replay(target: &str, check: fn(&[u8])) {
        metrics_testing::replay_corpus(env!("CARGO_MANIFEST_DIR"), target, check);
    }

    #[test]
    fn clients_are_as_they_must_be() {
        replay("client", super::client);
    }

    #[test]
    fn reports_of_players_are_as_they_must_be() {
        replay("cmcd", super::cmcd);
    }

    #[test]
    fn metadata_is_as_it_must_be() {
        replay("metadata", super::metadata);
    }

    #[test]
    fn pages_are_as_they_must_be() {
        replay("source", super::source);
    }

    #[test]
    fn arrivals_are_reduced_as_they_must_be() {
        replay("arrival", super::arrival);
    }

    #[test]
    fn segments_are_as_they_must_be() {
        replay("segments", super::segments);
    }

    #[test]
    fn rows_are_as_they_must_be() {
        replay("resume", super::resume);
    }

    #[test]
    fn blocks_are_as_they_must_be() {
        replay("block", super::block);
    }

    #[test]
    fn totals_are_as_they_must_be() {
        replay("totals", super::totals);
    }

    #[test]
    fn records_are_as_they_must_be() {
        replay("record", super::record);
    }

    #[test]
    fn viewings_are_as_they_must_be() {
        replay("session", super::session);
    }
}

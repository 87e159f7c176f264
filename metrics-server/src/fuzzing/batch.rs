//! Batches of events: each event is accepted or refused, once, for its own content.

use std::collections::BTreeMap;

use metrics_core::ApiKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::events::{Sorted, sort};

/// The most events that a batch may have.
const EVENTS_MAX: usize = 256;

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// The outcome of an event: its key, session, video and content, or the reason of the refusal.
type Outcome = Result<[String; 4], String>;

/// The body of a batch.
pub fn batch(bytes: &[u8]) {
    for key in [None, ApiKey::new("default").ok()] {
        match sort(bytes, key.as_ref()) {
            Ok(sorted) => taken(bytes, key.as_ref(), &sorted),
            Err(err) => refused(bytes, key.as_ref(), &err.to_string()),
        }
    }
}

fn taken(body: &[u8], key: Option<&ApiKey>, sorted: &Sorted) {
    let text = str::from_utf8(body).expect("it was read");
    let batch: Batch<'_> = serde_json::from_str(text).expect("it was read");
    assert_eq!(sorted.count, batch.events.len());
    assert!(sorted.count <= EVENTS_MAX);
    let outcomes = outcomes(sorted);
    assert!(outcomes.keys().copied().eq(0..sorted.count), "each event has a fate");

    // One bad event never loses the others, nor does a good one help: each event has the same outcome alone, unless the
    // session already has another video.
    for (index, outcome) in &outcomes {
        let alone = format!(r#"{{"events":[{}]}}"#, batch.events[*index]);
        match (sort(alone.as_bytes(), key), outcome) {
            (Ok(alone), Err(reason)) if reason.starts_with("the session has another video") => {
                let (mine, theirs) = alone.groups.iter().next().expect("it is good by itself");
                assert_ne!(sorted.groups[mine].video, theirs.video);
            }
            (Ok(alone), outcome) => assert_eq!(&self::outcomes(&alone)[&0], outcome),
            // Without a key, no event can be recorded.
            (Err(err), outcome) => {
                assert!(key.is_none() && err.to_string().starts_with("`key` is missing"));
                assert_eq!(outcome, &Err("`key` is missing".to_owned()));
            }
        }
    }
}

/// The outcome of each event.
fn outcomes(sorted: &Sorted) -> BTreeMap<usize, Outcome> {
    let mut outcomes = BTreeMap::new();
    for rejected in &sorted.answer.rejected {
        assert!(!rejected.reason.is_empty());
        let outcome = Err(rejected.reason.clone().into_owned());
        assert!(outcomes.insert(rejected.index, outcome).is_none(), "refused twice");
    }
    for ((key, session), group) in &sorted.groups {
        assert!(!session.is_empty() && !group.events.is_empty());
        assert_ne!(group.video.identifier(), Some(""));
        assert!(group.events.is_sorted_by_key(|(index, _)| *index));
        for (index, event) in &group.events {
            let (video, debug_text) = (format!("{:?}", group.video), format!("{event:?}"));
            let outcome = Ok([key.as_str().to_owned(), session.clone(), video, debug_text]);
            assert!(outcomes.insert(*index, outcome).is_none(), "both taken and refused");
        }
    }
    outcomes
}

fn refused(body: &[u8], key: Option<&ApiKey>, reason: &str) {
    let batch = str::from_utf8(body).ok().filter(|text| text.trim_ascii_start().starts_with('{'));
    let batch = batch.and_then(|text| serde_json::from_str::<Batch<'_>>(text).ok());
    match batch {
        None => assert!(reason.starts_with("the body must be"), "{reason}"),
        Some(batch) if EVENTS_MAX < batch.events.len() => {
            assert!(reason.starts_with("`events` must have at most"), "{reason}");
        }
        Some(_) => assert!(key.is_none() && reason.starts_with("`key` is missing"), "{reason}"),
    }
}

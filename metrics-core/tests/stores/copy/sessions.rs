//! Sessions to copy, with as many edge cases as possible.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use metrics_core::event::Rendition;
use metrics_core::export::{Export, Record};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::session::{Counters, Details, Minutes, Stored};
use metrics_core::store::{KeyRecord, Outcome, SessionWrite, Store, Subject, Version};
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_core::{ApiKey, Source, Video, containment, upkeep};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::fixture::arrival;

pub(crate) const START_MS: i64 = 1_700_000_000_000;

pub(crate) const DAY_MS: i64 = 86_400_000;

/// Creates keys of different ages, one of them revoked.
pub(crate) async fn fill_keys(store: &dyn Store) -> Vec<ApiKey> {
    let mut keys = Vec::new();
    for (number, text) in ["one", "two", "three", "four"].into_iter().enumerate() {
        let key = ApiKey::new(text).unwrap();
        let age_ms = [7, 3 * DAY_MS, 3 * DAY_MS, 900 * DAY_MS][number];
        assert!(store.create_key(&key, instant(START_MS - age_ms)).await.unwrap());
        keys.push(key);
    }
    assert!(store.revoke_key(&keys[1], instant(START_MS - 5)).await.unwrap());
    keys
}

/// Fills a store with keys and `count` sessions, the first half of them closed.
pub(crate) async fn fill(store: &dyn Store, count: usize) -> Vec<SessionWrite> {
    let keys = fill_keys(store).await;
    let mut random = StdRng::seed_from_u64(count as u64);
    let writes: Vec<_> = (0..count).map(|number| session(&mut random, &keys, number)).collect();
    let (closed, open) = writes.split_at(count / 2);
    for (sessions, is_closed) in [(closed, true), (open, false)] {
        for some in sessions.chunks(300) {
            commit(store, some).await;
            let quiet_since = if is_closed { DateTime::<Utc>::MAX_UTC } else { instant(0) };
            upkeep::close(store, quiet_since, 1_000).await.unwrap();
        }
    }
    writes
}

pub(crate) async fn commit(store: &dyn Store, writes: &[SessionWrite]) {
    let outcomes = store.commit(writes.into()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Written));
}

/// The resume state of a closed session.
type State = (SessionId, Version, i64, i64, Vec<u8>);

/// All contents of a store.
#[derive(Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) keys: Vec<KeyRecord>,
    pub(crate) records: Vec<Record>,
    pub(crate) states: Vec<State>,
}

pub(crate) async fn contents(store: &dyn Store) -> Contents {
    let (mut records, mut export) = (Vec::new(), Export::all());
    while let Some(some) = export.next(store).await.unwrap() {
        records.extend(some);
    }
    records.sort_by_key(|record| record.id);
    let mut snapshot = store.snapshot().await.unwrap();
    let states = snapshot.resumable(None, 100_000).await.unwrap().into_iter();
    let states = states
        .map(|it| (it.id, it.version, it.started_at_ms, it.last_event_at_ms, it.resume))
        .collect();
    Contents { keys: store.keys().await.unwrap(), records, states }
}

fn metadata(number: u32) -> Value {
    json!({
        "id": number, "ratio": f64::from(number) / 7.0, "tags": [null, true, "\u{e9} \"x\" \\", []],
        "course": {"title": format!("Knots {number}"), "large": u64::MAX - u64::from(number)},
    })
}

fn video(number: u32) -> Video {
    let object = metadata(number / 3).as_object().unwrap().clone();
    match number % 3 {
        0 => Video::labelled(format!("video {number}")),
        1 => Video::new(None, Some(object)).unwrap(),
        _ => Video::new(Some("the same label".to_owned()), Some(object)).unwrap(),
    }
}

/// The start of a session that can still go on.
pub(crate) fn young_ms() -> i64 {
    Utc::now().timestamp_millis() - 2 * DAY_MS
}

/// Starts on boundaries of days and of periods that are compared at once, a few days ago, and anywhere.
fn start_ms(random: &mut StdRng) -> i64 {
    let day = START_MS / DAY_MS * DAY_MS + DAY_MS * random.random_range(-400..400);
    match random.random_range(0..20) {
        0 => day,
        1 => day - 1,
        2 => day / (32 * DAY_MS) * 32 * DAY_MS,
        3 => 0,
        4 => young_ms(),
        _ => day + random.random_range(0..DAY_MS),
    }
}

fn counters(random: &mut StdRng) -> Counters {
    let mut wide = Rendition::default();
    wide.width = Some(1_920);
    let mut details = Details::default();
    details.seeks = random.random_range(0..3);
    details.language = random.random_bool(0.2).then(|| "zh-Hant-TW".to_owned());
    details.rendition = random.random_bool(0.2).then_some(wide);
    details.others = random.random_range(0..2);
    Counters {
        rebufferings: random.random_range(0..4),
        rebuffering_ms: random.random_range(0..10_000),
        failures: random.random_range(0..2),
        startup_ms: random.random_bool(0.5).then(|| random.random_range(0..5_000)),
        details,
    }
}

fn session(random: &mut StdRng, keys: &[ApiKey], number: usize) -> SessionWrite {
    let key = keys.choose(random).unwrap();
    let segments: Segments = (0..random.random_range(0..6))
        .filter_map(|_| {
            let start_ms = random.random_range(0..60_000);
            Interval::new(start_ms, start_ms + random.random_range(0..30_000))
        })
        .collect();
    let started_at_ms = start_ms(random);
    let page = format!("http://{}.example/{}", number % 3, number % 17);
    let subject = Subject {
        key: key.clone(),
        video: video(random.random_range(0..60)),
        source: random.random_bool(0.8).then(|| Source::parse(&page).unwrap()),
        user_agent: UserAgentClass {
            browser: *Browser::ALL.choose(random).unwrap(),
            platform: *Platform::ALL.choose(random).unwrap(),
            device: *Device::ALL.choose(random).unwrap(),
        },
        session_data: random.random_bool(0.3).then(|| containment::canonical(&metadata(5))),
        arrival: arrival(random.random_range(0..9)),
    };
    let stored = Stored {
        started_at_ms,
        last_event_at_ms: started_at_ms + random.random_range(0..DAY_MS),
        duration_ms: random.random_bool(0.5).then_some(60_100),
        view_ms: segments.len_ms(),
        unique_ms: segments.union().len_ms(),
        segments: segments.encode(),
        minutes: Minutes::of_view(started_at_ms, segments.len_ms()),
        counters: counters(random),
        resume: (0..random.random_range(0..30)).map(|_| random.random()).collect(),
    };
    SessionWrite {
        id: SessionId::new(key, &number.to_string()),
        subject: Arc::new(subject),
        expected: 0,
        stored,
        watched_at: None,
    }
}

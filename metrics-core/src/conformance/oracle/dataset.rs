//! The generated sessions, and the requests that are checked against them.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::viewing::{Viewing, unique_ms, view_ms};
use crate::block::RowId;
use crate::conformance::draft::{Draft, commit, fill, key, object};
use crate::key::{ApiKey, SessionId};
use crate::query::{Scan, Selection};
use crate::store::{Outcome, Store};
use crate::time_bucket::Buckets;
use crate::upkeep::Erasure;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::Video;

/// The number of sessions: enough for several in any bucket.
const VIEWINGS: usize = 400;

/// The number of sessions per write.
const BATCH: usize = 64;

/// Instants at which a bucket begins in one of the time zones, and clock changes.
const BOUNDARIES: [&str; 14] = [
    "2023-01-01T00:00:00Z",
    "2023-01-31T23:00:00Z",
    "2023-03-26T00:00:00Z",
    "2023-03-26T01:00:00Z",
    "2023-03-26T22:00:00Z",
    "2023-10-29T00:30:00Z",
    "2023-10-29T01:00:00Z",
    "2023-10-29T02:00:00Z",
    "2023-10-30T00:00:00Z",
    "2023-10-31T23:00:00Z",
    "2023-12-31T18:15:00Z",
    "2023-12-31T23:00:00Z",
    "2024-01-01T00:00:00Z",
    "2024-02-29T12:45:00Z",
];

/// Buckets: width and time zone.
const BUCKETS: [(&str, Option<&str>); 16] = [
    ("1 day", None),
    ("1 hour", None),
    ("15 minutes", None),
    ("7 minutes", None),
    ("1 week", None),
    ("1 month", None),
    ("1 year", None),
    ("100 years", None),
    ("1 day", Some("Europe/Amsterdam")),
    ("1 hour", Some("Europe/Amsterdam")),
    ("15 minutes", Some("Europe/Amsterdam")),
    ("3 months", Some("Europe/Amsterdam")),
    ("1 day", Some("Asia/Kathmandu")),
    ("1 month", Some("Asia/Kathmandu")),
    ("1 week", Some("America/St_Johns")),
    ("1 hour", Some("Australia/Lord_Howe")),
];

const PAGES: [&str; 4] =
    ["http://a.example/", "http://a.example/b", "https://a.example/", "http://b.example:8080/"];

/// The identifier and the metadata of each video. Some videos are under two keys.
fn videos() -> Vec<(Option<&'static str>, Option<Value>)> {
    vec![
        (Some("intro"), None),
        (Some("outro"), None),
        (None, Some(json!({"course": {"id": 1}, "tags": ["x"]}))),
        (None, Some(json!({"course": {"id": 1, "part": 2}, "tags": ["x", "y"]}))),
        (Some("intro"), Some(json!({"course": {"id": 2}}))),
    ]
}

/// A selection, and a predicate for the same sessions.
struct Choice {
    selection: Selection,
    takes: fn(&Viewing) -> bool,
}

/// One request for a report.
pub(super) struct Case {
    pub(super) scan: Scan,
    pub(super) buckets: Buckets,
    takes: fn(&Viewing) -> bool,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("scan", &self.scan).field("buckets", &self.buckets).finish()
    }
}

pub(super) struct Dataset {
    viewings: Vec<Viewing>,
    choices: Vec<Choice>,
    keys: [ApiKey; 2],
}

/// Sessions to erase: those of a request, narrowed by page or session.
#[derive(Debug)]
pub(super) struct Erasing {
    case: Case,
    page_prefix: Option<&'static str>,
    // The number of a session.
    session: Option<usize>,
}

impl Dataset {
    /// Generates the sessions and writes them to the store, some in several versions.
    pub(super) async fn fill(store: &dyn Store) -> Self {
        let keys = [key(store).await, key(store).await];
        let mut random = StdRng::seed_from_u64(2_023);
        let viewings: Vec<_> = (0..VIEWINGS).map(|number| viewing(&mut random, number)).collect();
        let drafts: Vec<_> = viewings.iter().map(|it| draft(it, &keys)).collect();

        // Half of the sessions are first written with some of their segments, like sessions that go on.
        let (whole, growing) = drafts.split_at(VIEWINGS / 2);
        for batch in whole.chunks(BATCH) {
            fill(store, batch).await;
        }
        for (draft, viewing) in growing.iter().zip(&viewings[VIEWINGS / 2..]) {
            let versions = random.random_range(0..4);
            for version in 0..versions {
                let seen = viewing.segments.len() * version as usize / versions as usize;
                let part = draft.clone().played(&viewing.segments[..seen]).expecting(version);
                fill(store, &[part]).await;
            }
            let last = draft.clone().expecting(versions);
            fill(store, std::slice::from_ref(&last)).await;
            // A late write changes nothing.
            let late = last.played(&[(0, 999_999)]);
            assert_eq!(commit(store, &[late]).await, [Outcome::Conflict]);
        }
        Self { viewings, choices: choices(&keys), keys }
    }

    /// Sessions to erase. Selections alternate with `number`; the rest is random.
    pub(super) fn erasing(&self, random: &mut StdRng, number: usize) -> Erasing {
        let prefixes = ["http://a.example/", "http://a.example/b", "https", "http://b.example"];
        let page_prefix = prefixes.choose(random).copied().filter(|_| random.random_bool(0.3));
        let session = self.viewings.choose(random).map(|it| it.number);
        let session = session.filter(|_| random.random_bool(0.3));
        Erasing { case: self.case(random, number), page_prefix, session }
    }

    /// The same erasure as a request to a store.
    pub(super) fn erasure(&self, erasing: &Erasing) -> Erasure {
        let Erasing { case, page_prefix, session } = erasing;
        let erasure =
            Erasure { scan: case.scan.clone(), ..Erasure::of(case.scan.selection.clone()) };
        let erasure = page_prefix.iter().fold(erasure, |erasure, page| erasure.on_page(*page));
        // The id is always under the first key, so it may be of no session.
        let id = |number: &usize| SessionId::new(&self.keys[0], &number.to_string());
        session.iter().map(id).fold(erasure, Erasure::of_session)
    }

    /// Removes these sessions, and returns their number and the first start.
    pub(super) fn erase(&mut self, erasing: &Erasing) -> (u64, Option<i64>) {
        let Erasing { case, page_prefix, session } = erasing;
        let has_page = |it: &Viewing| {
            page_prefix.is_none_or(|prefix| it.page.is_some_and(|page| page.starts_with(prefix)))
        };
        let is_meant =
            |it: &Viewing| session.is_none_or(|number| it.number == number && it.key == 0);
        let counted = self.counted(case).into_iter();
        let gone: Vec<(usize, i64)> = counted
            .filter(|it| has_page(it) && is_meant(it))
            .map(|it| (it.number, it.started_at_ms))
            .collect();
        self.viewings.retain(|it| gone.iter().all(|(number, _)| it.number != *number));
        (gone.len() as u64, gone.iter().map(|(_, start_ms)| *start_ms).min())
    }

    /// The ids of all sessions, sorted.
    pub(super) fn ids(&self) -> Vec<RowId> {
        let id = |it: &Viewing| SessionId::new(&self.keys[it.key], &it.number.to_string()).into();
        let mut ids: Vec<RowId> = self.viewings.iter().map(id).collect();
        ids.sort_unstable();
        ids
    }

    /// The videos of all sessions, as indexes of key and video.
    pub(super) fn used(&self) -> BTreeSet<(usize, usize)> {
        self.viewings.iter().map(|it| (it.key, it.video)).collect()
    }

    /// A request. Selections and bucket widths alternate with `number`; the rest is random.
    pub(super) fn case(&self, random: &mut StdRng, number: usize) -> Case {
        let choice = &self.choices[number % self.choices.len()];
        let (width, zone) = BUCKETS[number % BUCKETS.len()];
        let mut buckets = Buckets::new(width.parse().expect("a width"));
        if let Some(zone) = zone {
            buckets = buckets.in_timezone(zone.parse().expect("a zone"));
        }
        let (from_ms, to_ms) = self.timeframe(random);
        let minimum_view_ms = self.threshold(random);
        let selection = choice.selection.clone();
        let scan = Scan { selection, from_ms, to_ms, minimum_view_ms };
        Case { scan, buckets, takes: choice.takes }
    }

    /// The sessions that a request counts.
    pub(super) fn counted(&self, case: &Case) -> Vec<&Viewing> {
        let Case { scan, takes, .. } = case;
        self.viewings
            .iter()
            .filter(|it| takes(it))
            .filter(|it| scan.from_ms <= it.started_at_ms && it.started_at_ms <= scan.to_ms)
            .filter(|it| scan.minimum_view_ms <= view_ms(it))
            .collect()
    }

    fn timeframe(&self, random: &mut StdRng) -> (i64, i64) {
        let (first, last) = (ms("2020-01-01T00:00:00Z"), ms("2026-01-01T00:00:00Z"));
        // The edge cases: on the start of a session, or a millisecond beside it.
        let mut boundary = || {
            let start_ms = self.viewings.choose(random).map_or(first, |it| it.started_at_ms);
            start_ms + random.random_range(-1..=1)
        };
        let (one, two) = (boundary(), boundary());
        match random.random_range(0..6) {
            0 | 1 => (first, last),
            2 => (one, last),
            3 => (first, one),
            _ => (one.min(two), one.max(two)),
        }
    }

    fn threshold(&self, random: &mut StdRng) -> u64 {
        let view_ms = self.viewings.choose(random).map_or(0, view_ms);
        match random.random_range(0..5) {
            0 | 1 => 0,
            2 => *[1, 999, 1_000, 1_001, 3_000, 60_000].choose(random).expect("some"),
            _ => view_ms + random.random_range(0..=1),
        }
    }
}

fn ms(text: &str) -> i64 {
    text.parse::<DateTime<Utc>>().expect("an instant").timestamp_millis()
}

fn viewing(random: &mut StdRng, number: usize) -> Viewing {
    let segments: Vec<_> = (0..random.random_range(0..7)).map(|_| segment(random)).collect();
    let user_agent = UserAgentClass {
        browser: *Browser::ALL.choose(random).expect("some"),
        platform: *Platform::ALL.choose(random).expect("some"),
        device: *Device::ALL.choose(random).expect("some"),
    };
    let mut viewing = Viewing {
        number,
        key: random.random_range(0..2),
        video: random.random_range(0..videos().len()),
        plan: *[None, Some("free"), Some("paid")].choose(random).expect("some"),
        page: PAGES.get(random.random_range(0..PAGES.len() + 2)).copied(),
        user_agent,
        started_at_ms: started_at_ms(random),
        segments,
        unique_ms: 0,
    };
    viewing.unique_ms = unique_ms(&viewing);
    viewing
}

/// A start mostly close to a boundary, otherwise anywhere in more than a year.
fn started_at_ms(random: &mut StdRng) -> i64 {
    let boundary = ms(BOUNDARIES.choose(random).expect("some"));
    match random.random_range(0..4) {
        0 => boundary + random.random_range(-1..=1),
        1 => boundary + 60_000 * random.random_range(-90..90) + random.random_range(-1..=1),
        2 => boundary + random.random_range(-3_600_000..3_600_000),
        _ => random.random_range(ms("2022-12-01T00:00:00Z")..ms("2024-03-01T00:00:00Z")),
    }
}

/// A segment of a video of half a minute, often from or to a whole second.
fn segment(random: &mut StdRng) -> (u32, u32) {
    let mut position = || match random.random_range(0..3) {
        0 => 1_000 * random.random_range(0..30),
        1 => 1_000 * random.random_range(1..30) + 1 - 2 * random.random_range(0..2),
        _ => random.random_range(0..30_000),
    };
    let (one, two) = (position(), position());
    (one.min(two), one.max(two).max(one.min(two) + 1))
}

fn draft(viewing: &Viewing, keys: &[ApiKey; 2]) -> Draft {
    let number = viewing.number;
    let (identifier, metadata) = &videos()[viewing.video];
    let metadata = metadata.as_ref().map(object);
    let video = Video::new(identifier.map(str::to_owned), metadata).expect("a video");
    let draft = Draft::new(&keys[viewing.key], &number.to_string(), video)
        .at(viewing.started_at_ms)
        .with(viewing.user_agent)
        .played(&viewing.segments);
    let draft = viewing.page.into_iter().fold(draft, Draft::on);
    let data = viewing.plan.map(|plan| json!({"user": {"plan": plan}, "n": number % 3}));
    data.iter().fold(draft, Draft::with_session_data)
}

fn choices(keys: &[ApiKey; 2]) -> Vec<Choice> {
    let all = Selection::default;
    let [one, two] = [0, 1].map(|number: usize| keys[number].clone());
    let part = |part: Value| object(&part);
    let both = vec!["outro".to_owned(), "intro".to_owned()];
    vec![
        Choice { selection: all(), takes: |_| true },
        Choice { selection: Selection::key(one.clone()), takes: |it| it.key == 0 },
        Choice { selection: Selection::key(two.clone()), takes: |it| it.key == 1 },
        Choice {
            selection: Selection::identifier("intro"),
            takes: |it| it.video == 0 || it.video == 4,
        },
        Choice {
            selection: Selection { identifiers: Some(both), ..all() },
            takes: |it| [0, 1, 4].contains(&it.video),
        },
        Choice {
            selection: Selection { key: Some(two), ..Selection::identifier("outro") },
            takes: |it| it.video == 1 && it.key == 1,
        },
        Choice {
            selection: all().with_video(part(json!({"course": {"id": 1.0}}))),
            takes: |it| it.video == 2 || it.video == 3,
        },
        Choice {
            selection: all().with_video(part(json!({"tags": ["y"]}))),
            takes: |it| it.video == 3,
        },
        Choice {
            selection: all().with_session(part(json!({"user": {"plan": "free"}}))),
            takes: |it| it.plan == Some("free"),
        },
        Choice {
            selection: Selection { key: Some(one), ..Selection::identifier("intro") }
                .with_video(part(json!({"course": {}})))
                .with_session(part(json!({"user": {}}))),
            takes: |it| it.key == 0 && it.video == 4 && it.plan.is_some(),
        },
        Choice { selection: Selection::identifier("unknown"), takes: |_| false },
    ]
}

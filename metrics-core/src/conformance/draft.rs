//! Builds the sessions that cases write, and reads them back.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::older;
use crate::arrival::Arrival;
use crate::export::{self, Record};
use crate::interval::{Interval, Segments};
use crate::key::{ApiKey, SessionId};
use crate::query::{Scan, Selection, instant};
use crate::response::PlayTotals;
use crate::session::{Counters, Minutes, Stored};
use crate::source::Source;
use crate::store::{
    BlockSummary, Instance, Location, OpenScan, OpenSession, Outcome, SessionWrite, Store, Subject,
    Version, Videos,
};
use crate::time_bucket::{Buckets, Width};
use crate::upkeep::{self, Loaded, WrongTotals};
use crate::user_agent::UserAgentClass;
use crate::video::Video;

/// The default start of sessions: an instant on no boundary of a bucket.
pub(super) const START_MS: i64 = 1_700_000_000_123;

/// A session to write.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) id: SessionId,
    pub(super) subject: Subject,
    pub(super) expected: Version,
    pub(super) stored: Stored,
    pub(super) watched_at: Option<Instance>,
}

impl Draft {
    /// A first write of a session with ten seconds of view time and no other data.
    pub(super) fn new(key: &ApiKey, name: &str, video: Video) -> Self {
        let stored = Stored {
            started_at_ms: START_MS,
            last_event_at_ms: START_MS,
            duration_ms: None,
            view_ms: 0,
            unique_ms: 0,
            segments: Vec::new(),
            minutes: Minutes::default(),
            counters: Counters::default(),
            resume: vec![1, 0, 0],
        };
        let subject = Subject {
            key: key.clone(),
            video,
            source: None,
            user_agent: UserAgentClass::default(),
            session_data: None,
            arrival: Arrival::default(),
        };
        let id = SessionId::new(key, name);
        Self { id, subject, expected: 0, stored, watched_at: None }.played(&[(0, 10_000)])
    }

    pub(super) fn at(mut self, started_at_ms: i64) -> Self {
        self.stored.started_at_ms = started_at_ms;
        self
    }

    pub(super) fn played(mut self, stretches: &[(u32, u32)]) -> Self {
        let segments: Segments = stretches
            .iter()
            .map(|&(from, to)| Interval::new(from, to).expect("not empty"))
            .collect();
        self.stored.view_ms = segments.len_ms();
        self.stored.unique_ms = segments.union().len_ms();
        self.stored.segments = segments.encode();
        self
    }

    pub(super) fn on(mut self, page: &str) -> Self {
        self.subject.source = Some(Source::parse(page).expect("an address"));
        self
    }

    pub(super) fn with(mut self, user_agent: UserAgentClass) -> Self {
        self.subject.user_agent = user_agent;
        self
    }

    pub(super) fn with_session_data(mut self, data: &Value) -> Self {
        self.subject.session_data = Some(crate::containment::canonical(data));
        self
    }

    pub(super) fn from(mut self, arrival: &str) -> Self {
        self.subject.arrival = Arrival::from_json(arrival).expect("an arrival");
        self
    }

    pub(super) fn expecting(mut self, version: Version) -> Self {
        self.expected = version;
        self
    }

    pub(super) fn open_at(mut self, instance: Instance) -> Self {
        self.watched_at = Some(instance);
        self
    }

    pub(super) fn write(&self) -> SessionWrite {
        SessionWrite {
            id: self.id,
            subject: Arc::new(self.subject.clone()),
            expected: self.expected,
            stored: self.stored.clone(),
            watched_at: self.watched_at,
        }
    }

    /// The session as a store loads it after the write.
    pub(super) fn loaded(&self, version: Version) -> Loaded {
        let Subject { key, video, .. } = &self.subject;
        let identifier = video.identifier().map(str::to_owned);
        Loaded { version, video: video.digest(key), identifier, stored: self.stored.clone() }
    }

    /// The session as an export has it, without the resume state that open sessions have.
    pub(super) fn record(&self) -> Record {
        let stored = self.stored.clone().finalized();
        Record { id: self.id.into(), subject: self.subject.clone(), stored }
    }
}

pub(super) fn id(key: &ApiKey, name: &str) -> SessionId {
    SessionId::new(key, name)
}

pub(super) fn start() -> DateTime<Utc> {
    instant(START_MS)
}

pub(super) fn later(ms: i64) -> DateTime<Utc> {
    start() + TimeDelta::milliseconds(ms)
}

pub(super) fn object(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

pub(super) fn described(metadata: &Value) -> Video {
    Video::described(metadata).expect("an object")
}

/// Creates a key in the store.
pub(super) async fn key(store: &dyn Store) -> ApiKey {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, start()).await.expect("stored"));
    key
}

/// The maximum number of attempts of a write while concurrent upkeep closes its session.
const TRIES: usize = 1_000;

/// Writes a batch, and returns the outcome of each write. Opens closed sessions that go on and writes them again, as
/// the recorder does.
pub(super) async fn commit(store: &dyn Store, drafts: &[Draft]) -> Vec<Outcome> {
    let write = async |numbers: &[usize]| {
        let writes = numbers.iter().map(|number| drafts[*number].write()).collect();
        store.commit(writes).await.expect("stored")
    };
    let mut left: Vec<usize> = (0..drafts.len()).collect();
    let mut outcomes = write(&left).await;
    for _ in 0..TRIES {
        let is_conflict = |number: &usize| outcomes[*number] == Outcome::Conflict;
        left.retain(|number| is_conflict(number) && drafts[*number].expected != 0);
        let ids: Vec<_> = left.iter().map(|number| drafts[*number].id).collect();
        let mut found = upkeep::load(store, &ids).await.expect("loaded").into_iter();
        left.retain(|number| {
            let version = found.next().flatten().map(|loaded| loaded.version);
            version == Some(drafts[*number].expected)
        });
        if left.is_empty() {
            break;
        }
        for (number, outcome) in left.iter().zip(write(&left).await) {
            outcomes[*number] = outcome;
        }
    }
    outcomes
}

/// Writes a batch, and checks that all of it is written.
pub(super) async fn fill(store: &dyn Store, drafts: &[Draft]) {
    let outcomes = commit(store, drafts).await;
    assert_eq!(outcomes, vec![Outcome::Written; drafts.len()]);
}

/// Loads a session, and opens it if it is closed.
pub(super) async fn load(store: &dyn Store, id: SessionId) -> Option<Loaded> {
    let mut loaded = upkeep::load(store, &[id]).await.expect("loaded");
    assert_eq!(loaded.len(), 1);
    loaded.remove(0)
}

/// Returns the state of a session (open or closed) without opening it.
pub(super) async fn location(store: &dyn Store, id: SessionId) -> Option<Location> {
    let mut found = store.load(&[id]).await.expect("loaded");
    assert_eq!(found.len(), 1);
    found.remove(0).map(|found| found.location)
}

/// Closes all sessions without an open segment, and returns how many.
pub(super) async fn close(store: &dyn Store) -> u64 {
    let mut all = 0;
    loop {
        let some = upkeep::close(store, DateTime::<Utc>::MAX_UTC, 1_000).await;
        let (_, closed) = some.expect("closed");
        if closed == 0 {
            return all;
        }
        all += closed;
    }
}

/// Merges the blocks of all videos until no more can be merged.
pub(super) async fn merge(store: &dyn Store) {
    loop {
        let videos =
            summaries(store, &Videos::All).await.iter().map(|summary| summary.video).collect();
        if upkeep::merge(store, videos).await.expect("merged") == 0 {
            return;
        }
    }
}

/// Checks that the stored totals equal the sums over the blocks.
pub(super) async fn check_totals(store: &dyn Store) {
    assert_eq!(verify(store, false).await, []);
}

/// Returns the totals that are wrong, and corrects them if `repair` is set.
pub(super) async fn verify(store: &dyn Store, repair: bool) -> Vec<WrongTotals> {
    let verified = if repair {
        upkeep::rebuild(store, |_| {}).await
    } else {
        upkeep::verify(store, |_| {}).await
    };
    let verified = verified.expect("read");
    let closed: u32 =
        summaries(store, &Videos::All).await.iter().map(|summary| summary.sessions).sum();
    assert_eq!(verified.sessions, u64::from(closed));
    verified.wrong
}

/// The heads of all blocks of some videos.
pub(super) async fn summaries(store: &dyn Store, videos: &Videos) -> Vec<BlockSummary> {
    let mut snapshot = store.snapshot().await.expect("opened");
    snapshot.blocks(videos, i64::MIN, i64::MAX, None, 100_000).await.expect("read")
}

/// A scan of all open sessions of some videos.
pub(super) fn every(videos: Videos) -> OpenScan {
    OpenScan { videos, from_ms: i64::MIN, to_ms: i64::MAX, watched_at: None }
}

/// All open sessions.
pub(super) async fn open(store: &dyn Store) -> Vec<OpenSession> {
    let mut snapshot = store.snapshot().await.expect("opened");
    snapshot.open_sessions(&every(Videos::All), None, 100_000).await.expect("read")
}

/// Exports all sessions of a store in pages of `limit`, without resume states, and sorts them by id.
pub(super) async fn exported(store: &dyn Store, limit: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let mut cursor = None;
    for page in 0.. {
        assert!(page <= 10_000, "the pages have no end");
        let page = export::page(store, None, cursor, limit).await.expect("read");
        assert!(page.records.len() <= limit, "{limit} were asked for");
        let finalized = |record: Record| Record { stored: record.stored.finalized(), ..record };
        records.extend(page.records.into_iter().map(finalized));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    records.sort_by_key(|record| record.id);
    records
}

/// A scan of all selected sessions, of any start and view time.
pub(super) fn all(selection: Selection) -> Scan {
    Scan { selection, from_ms: 0, to_ms: 10 * START_MS, minimum_view_ms: 0 }
}

pub(super) async fn play_totals(store: &dyn Store, scan: &Scan) -> PlayTotals {
    let mut sum = PlayTotals::default();
    for bucket in older::plays(store, scan, days(), Vec::new()).await.expect("summed") {
        sum.add(&bucket.totals);
    }
    sum
}

/// Buckets of one day.
pub(super) fn days() -> Buckets {
    Buckets::new(Width::DAY)
}

/// Gives each session twice the view time of the one before, so that a total identifies its sessions.
pub(super) fn numbered(drafts: impl IntoIterator<Item = Draft>) -> Vec<Draft> {
    drafts
        .into_iter()
        .enumerate()
        .map(|(number, draft)| draft.played(&[(0, 1 << number)]))
        .collect()
}

/// The numbers of the sessions in a total.
#[track_caller]
pub(super) fn numbers(totals: &PlayTotals) -> Vec<u32> {
    let numbers: Vec<_> =
        (0..u64::BITS).filter(|number| totals.view_ms & (1 << number) != 0).collect();
    assert_eq!(totals.plays, numbers.len() as u64, "a session counts once");
    numbers
}

pub(super) async fn selected(store: &dyn Store, selection: Selection) -> Vec<u32> {
    numbers(&play_totals(store, &all(selection)).await)
}

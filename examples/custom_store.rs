//! A store of your own: sessions in memory, gone with the process. It passes the suite that every store passes.
//!
//! Run it with `cargo run -p examples --example custom_store`, and the suite with
//! `cargo test -p examples --test conforms`, for which `conforms.rs` is all that is needed. A store for production
//! differs in one promise alone: what it has acknowledged is on a disk.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use metrics_core::containment::contains;
use metrics_core::engagement::{Parts, Seconds};
use metrics_core::interval::Segments;
use metrics_core::key::SessionId;
use metrics_core::query::{Scan, Selection};
use metrics_core::report::{PlayCell, PlayFigures, SourceCell};
use metrics_core::session::Stored;
use metrics_core::store::{
    Cursor, Error, INSTANCE_SILENCE_MAX, Instance, KeyRecord, KnownVideo, Loaded, Outcome, Page,
    Record, SessionWrite, Store, Subject, Version,
};
use metrics_core::time_bucket::Buckets;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video};
use serde_json::{Map, Value};

/// How the store is called in errors.
const NAME: &str = "memory";

/// Everything is behind one lock, so that every call is atomic.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    // The oldest first.
    keys: Vec<KeyRecord>,
    sessions: BTreeMap<SessionId, Row>,
    // When each instance was last heard of.
    beats: HashMap<Instance, DateTime<Utc>>,
}

#[derive(Debug)]
struct Row {
    subject: Arc<Subject>,
    version: Version,
    stored: Stored,
    watched_at: Option<Instance>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked had changed all of a session or nothing of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The sessions that a report is about.
    fn scan<'a>(&'a self, scan: &'a Scan) -> impl Iterator<Item = &'a Row> {
        self.sessions.values().filter(|row| {
            let started =
                scan.from_ms <= row.stored.started_at_ms && row.stored.started_at_ms <= scan.to_ms;
            started
                && scan.minimum_view_ms <= row.stored.view_ms
                && selects(&scan.selection, &row.subject)
        })
    }

    /// The videos of a key that have a session.
    fn videos<'a>(&'a self, key: &'a ApiKey) -> impl Iterator<Item = &'a Video> {
        let rows = self.sessions.values().filter(move |row| row.subject.key == *key);
        rows.map(|row| &row.subject.video)
    }
}

fn selects(selection: &Selection, subject: &Subject) -> bool {
    let Selection { identifiers, video, session, key } = selection;
    let identified = identifiers.as_ref().is_none_or(|identifiers| {
        subject.video.identifier().is_some_and(|it| identifiers.iter().any(|other| other == it))
    });
    identified
        && key.as_ref().is_none_or(|key| *key == subject.key)
        && has(subject.video.metadata(), video.as_ref())
        && has(subject.session_data.as_deref(), session.as_ref())
}

/// Whether JSON contains `part`, if there is a part to contain.
fn has(json: Option<&str>, part: Option<&Map<String, Value>>) -> bool {
    let Some(part) = part else { return true };
    let whole = json.and_then(|json| serde_json::from_str::<Value>(json).ok());
    whole.is_some_and(|whole| contains(&whole, &Value::Object(part.clone())))
}

fn rejected(operation: &'static str, reason: impl Into<metrics_core::store::Cause>) -> Error {
    Error::Rejected { store: NAME, operation, source: reason.into() }
}

fn segments(row: &Row) -> Result<Segments, Error> {
    Segments::decode(&row.stored.segments).map_err(|err| rejected("read a session", err))
}

#[async_trait]
impl Store for MemoryStore {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        Ok(self.state().keys.clone())
    }

    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let keys = &mut self.state().keys;
        let is_new = keys.iter().all(|record| record.key != *key);
        if is_new {
            keys.push(KeyRecord { key: key.clone(), created_at: now, disabled_at: None });
            keys.sort_by_key(|record| record.created_at);
        }
        Ok(is_new)
    }

    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let keys = &mut self.state().keys;
        let record = keys.iter_mut().find(|record| record.key == *key);
        Ok(record.map(|record| record.disabled_at.get_or_insert(now)).is_some())
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Loaded>>, Error> {
        let state = self.state();
        let load = |id| {
            let row: &Row = state.sessions.get(id)?;
            let Subject { key, video, .. } = &*row.subject;
            Some(Loaded {
                version: row.version,
                video: video.digest(key),
                identifier: video.identifier().map(str::to_owned),
                stored: row.stored.clone(),
            })
        };
        Ok(ids.iter().map(load).collect())
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        let State { keys, sessions, .. } = &mut *self.state();
        // First of all: a batch is stored whole or not at all.
        if !writes.iter().all(|write| keys.iter().any(|it| it.key == write.subject.key)) {
            return Err(rejected("commit sessions", "a key is not there"));
        }
        let commit = |write: &SessionWrite| {
            let there = sessions.get(&write.id);
            let (version, subject) =
                there.map_or((0, &write.subject), |row| (row.version, &row.subject));
            if version != write.expected {
                return Outcome::Conflict;
            }
            let row = Row {
                // What the first write says of it stays.
                subject: Arc::clone(subject),
                version: version + 1,
                stored: write.stored.clone(),
                watched_at: write.watched_at,
            };
            sessions.insert(write.id, row);
            Outcome::Written
        };
        Ok(writes.iter().map(commit).collect())
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        let state = self.state();
        // Each key once: a batch may ask for many of its videos.
        let mut known: HashMap<&ApiKey, HashSet<[u8; 16]>> = HashMap::new();
        for (key, _) in videos {
            known
                .entry(key)
                .or_insert_with(|| state.videos(key).map(|video| video.digest(key)).collect());
        }
        let answer = videos.iter().map(|(key, video)| KnownVideo {
            is_there: known[key].contains(&video.digest(key)),
            videos_of_key: known[key].len() as u64,
        });
        Ok(answer.collect())
    }

    async fn plays(&self, scan: &Scan, _: Buckets) -> Result<Vec<PlayCell>, Error> {
        // A cell each: what folds them into buckets does not mind how many there are.
        Ok(self.state().scan(scan).map(play).collect())
    }

    async fn sources(&self, scan: &Scan, _: Buckets) -> Result<Vec<SourceCell>, Error> {
        let cell = |row: &Row| {
            let source = row.subject.source.clone()?;
            Some(SourceCell { at_ms: row.stored.started_at_ms, source, plays: 1 })
        };
        Ok(self.state().scan(scan).filter_map(cell).collect())
    }

    async fn parts(&self, scan: &Scan, parts: u32) -> Result<Parts, Error> {
        let state = self.state();
        let watched: Vec<Segments> = state.scan(scan).map(segments).collect::<Result<_, _>>()?;
        let end_ms = watched.iter().map(|segments| segments.union().end_ms()).max().unwrap_or(0);
        let mut counted = Parts::new(end_ms, parts);
        watched.iter().for_each(|segments| counted.add(segments));
        Ok(counted)
    }

    async fn seconds(&self, scan: &Scan, buckets: Buckets) -> Result<Seconds, Error> {
        let mut counted = Seconds::new(buckets);
        for row in self.state().scan(scan) {
            counted.add(row.stored.started_at_ms, &segments(row)?)?;
        }
        Ok(counted)
    }

    async fn watching(&self, selection: &Selection, now: DateTime<Utc>) -> Result<u64, Error> {
        let state = self.state();
        let lives =
            |at| state.beats.get(&at).is_some_and(|beat| now - INSTANCE_SILENCE_MAX <= *beat);
        let watched = state.sessions.values().filter(|row| row.watched_at.is_some_and(lives));
        Ok(watched.filter(|row| selects(selection, &row.subject)).count() as u64)
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.state().beats.insert(instance, now);
        Ok(())
    }

    async fn export(&self, cursor: Option<&Cursor>, limit: u32) -> Result<Page, Error> {
        let after = match cursor {
            None => Unbounded,
            Some(Cursor(bytes)) => {
                let id = bytes.as_slice().try_into();
                let id = id.map_err(|_| rejected("export", "the cursor is another store's"))?;
                Excluded(SessionId::from_bytes(id))
            }
        };
        let state = self.state();
        let records: Vec<Record> = state
            .sessions
            .range((after, Unbounded))
            .take(limit as usize)
            .map(|(id, Row { subject, stored, .. })| Record {
                id: *id,
                subject: Subject::clone(subject),
                stored: stored.clone(),
            })
            .collect();
        let full = records.len() == limit as usize;
        let last = records.last().filter(|_| full);
        let next = last.map(|record| Cursor(record.id.as_bytes().to_vec()));
        Ok(Page { records, next })
    }

    async fn forget(&self, start: DateTime<Utc>) -> Result<(), Error> {
        let start_ms = start.timestamp_millis();
        self.state().sessions.retain(|_, row| start_ms <= row.stored.started_at_ms);
        Ok(())
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        Ok(self.state().sessions.len() as u64)
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A session as a cell of its own.
fn play(row: &Row) -> PlayCell {
    let Stored { started_at_ms, view_ms, unique_ms, .. } = row.stored;
    let mut figures = PlayFigures::default();
    figures.add_plays(1, view_ms, unique_ms, row.subject.client);
    PlayCell { at_ms: started_at_ms, figures }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Metrics::new(MemoryStore::default());
    let key = metrics.create_key().await?;
    for (session, seconds) in [("one", 10.0), ("two", 30.0)] {
        let join = Join::new(key.clone(), session, Video::labelled("intro"));
        let viewing = metrics.join(join).await?;
        viewing.apply(PlayerEvent::play(0.0)).await?;
        viewing.apply(PlayerEvent::pause(seconds)).await?;
    }
    let query = Selection::identifier("intro").into();
    for bucket in metrics.plays(&query).await? {
        let seconds = bucket.figures.view_ms as f64 / 1_000.0;
        println!("{} plays, {seconds} s watched", bucket.figures.plays);
    }
    let selection = Selection::key(key);
    for part in metrics.engagement(&selection.into(), 3).await? {
        println!("{} to {} s: {} viewers", part.from, part.to, part.viewers);
    }
    metrics.stop().await;
    Ok(())
}

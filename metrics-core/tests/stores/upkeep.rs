//! Sessions are written, closed, merged, opened, deleted, made final and imported, in any order: every report equals
//! that of a plain list of sessions.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use metrics_core::engagement::{Parts, Seconds};
use metrics_core::export;
use metrics_core::import::{Foreign, insert};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::response::{PlayTotals, PlaysAt, SourceAt, fold_plays, fold_sources};
use metrics_core::session::Stored;
use metrics_core::store::{Instance, Location, Outcome, Row, RowId, SessionWrite, Store, Subject};
use metrics_core::time_bucket::Buckets;
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_core::{
    ApiKey, BucketQuery, EngagementQuery, Reports, Selection, Source, Timeframe, Video, upkeep,
};
use proptest::prelude::*;

#[path = "../../../examples/custom_store.rs"]
#[expect(dead_code, reason = "the program is run by another test")]
mod custom_store;

use custom_store::MemoryStore;

use crate::fixture::arrival;

const START_MS: i64 = 1_700_000_000_000;

/// The numbers of recorded and of imported sessions.
const SESSIONS: u8 = 40;
const FOREIGN: u8 = 12;

/// A step of a run. Times are in hours.
#[derive(Clone, Debug)]
enum Step {
    /// A session begins or goes on, and plays this segment, in seconds.
    Write {
        session: u8,
        range: (u8, u8),
        is_watched: bool,
    },
    Close {
        quiet: u8,
        limit: u32,
    },
    Merge,
    Load {
        session: u8,
    },
    Finalize {
        silent: u8,
        limit: u32,
    },
    Delete {
        age: u8,
    },
    /// Sessions are imported; some of them may exist.
    Import {
        first: u8,
        count: u8,
    },
    Pass {
        hours: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..SESSIONS, (0..40_u8, 1..30_u8), prop::bool::weighted(0.1));
    prop_oneof![
        12 => write.prop_map(|(session, range, is_watched)| {
            Step::Write { session, range, is_watched }
        }),
        8 => (0..3_u8, 1..4_u32).prop_map(|(quiet, limit)| Step::Close { quiet, limit }),
        3 => Just(Step::Merge),
        3 => (0..SESSIONS).prop_map(|session| Step::Load { session }),
        1 => (0..80_u8, 1..9_u32).prop_map(|(silent, limit)| Step::Finalize { silent, limit }),
        1 => (0..200_u8).prop_map(|age| Step::Delete { age }),
        1 => (0..FOREIGN, 1..FOREIGN).prop_map(|(first, count)| Step::Import { first, count }),
        3 => (0..9_u8).prop_map(|hours| Step::Pass { hours }),
    ]
}

/// The state of a session in the model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open { is_watched: bool },
    Closed,
    Final,
}

#[derive(Clone, Debug)]
struct Viewed {
    id: SessionId,
    subject: Subject,
    stored: Stored,
    state: State,
}

struct World {
    store: MemoryStore,
    keys: [ApiKey; 2],
    now: DateTime<Utc>,
    // Final sessions stay when a session with their id begins.
    sessions: Vec<Viewed>,
}

impl World {
    async fn new() -> Self {
        let store = MemoryStore::default();
        let keys = ["one", "two"].map(|text| ApiKey::new(text).unwrap());
        for key in &keys {
            assert!(store.create_key(key, instant(0)).await.unwrap());
        }
        Self { store, keys, now: instant(START_MS), sessions: Vec::new() }
    }

    fn id(&self, session: u8) -> SessionId {
        SessionId::new(&self.keys[usize::from(session % 2)], &session.to_string())
    }

    /// The subject of a session, always the same.
    fn subject(&self, session: u8) -> Subject {
        let number = usize::from(session);
        let page = |number: usize| Source::parse(&format!("http://a.example/{number}")).unwrap();
        Subject {
            key: self.keys[number % 2].clone(),
            video: Video::labelled(format!("video {}", number % 3)),
            source: (!number.is_multiple_of(5)).then(|| page(number % 7)),
            user_agent: UserAgentClass {
                browser: Browser::ALL[number % Browser::ALL.len()],
                platform: Platform::ALL[number % Platform::ALL.len()],
                device: Device::ALL[number % Device::ALL.len()],
            },
            session_data: (number.is_multiple_of(4)).then(|| format!(r#"{{"n":{session}}}"#)),
            arrival: arrival(number % 9),
        }
    }

    fn hours_ago(&self, hours: u8) -> DateTime<Utc> {
        self.now - TimeDelta::hours(hours.into())
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { session, range, is_watched } => {
                self.write(session, range, is_watched).await;
            }
            Step::Close { quiet, limit } => self.close(self.hours_ago(quiet), limit).await,
            Step::Merge => self.merge().await,
            Step::Load { session } => self.load(session).await,
            Step::Finalize { silent, limit } => self.finalize(self.hours_ago(silent), limit).await,
            Step::Delete { age } => self.delete(self.hours_ago(age)).await,
            Step::Import { first, count } => self.import(first, count).await,
            Step::Pass { hours } => self.now += TimeDelta::hours(hours.into()),
        }
        // No two sessions start at the same time, so that their order is defined.
        self.now += TimeDelta::seconds(7);
    }

    /// The session with this id that can go on.
    fn live(&mut self, id: SessionId) -> Option<&mut Viewed> {
        self.sessions.iter_mut().find(|it| it.id == id && it.state != State::Final)
    }

    async fn write(&mut self, session: u8, (from, len): (u8, u8), is_watched: bool) {
        let (id, subject, now_ms) =
            (self.id(session), self.subject(session), self.now.timestamp_millis());
        let loaded = upkeep::load(&self.store, &[id]).await.unwrap().remove(0);
        let live = self.live(id);
        assert_eq!(loaded.as_ref().map(|it| &it.stored), live.as_ref().map(|it| &it.stored));
        let mut segments = Segments::default();
        if let Some(live) = &live {
            segments = Segments::decode(&live.stored.segments).unwrap();
        }
        let from_ms = 1_000 * u32::from(from);
        segments.extend(Interval::new(from_ms, from_ms + 1_000 * u32::from(len)));
        let start_ms = live.as_ref().map_or(now_ms, |live| live.stored.started_at_ms);
        let mut stored = Stored::finished(start_ms, now_ms, Some(60_000), &segments);
        stored.counters.failures = u32::from(session);
        stored.resume = now_ms.to_le_bytes().to_vec();
        let state = State::Open { is_watched };
        match live {
            Some(live) => (live.stored, live.state) = (stored.clone(), state),
            None => {
                let (subject, stored) = (subject.clone(), stored.clone());
                self.sessions.push(Viewed { id, subject, stored, state });
            }
        }
        let expected = loaded.map_or(0, |loaded| loaded.version);
        let watched_at = is_watched.then_some(Instance(1));
        let write = SessionWrite { id, subject: subject.into(), expected, stored, watched_at };
        assert_eq!(self.store.commit([write].into()).await.unwrap(), [Outcome::Written]);
    }

    /// Updates which sessions are open, closed or final, and checks that each could become that.
    async fn update(&mut self, may_become: impl Fn(&Viewed, State) -> bool) -> u64 {
        let mut changed = 0;
        for it in self.sessions.iter_mut().filter(|it| it.state != State::Final) {
            let found = self.store.load(&[it.id]).await.unwrap().remove(0);
            let state = match found.map(|found| found.location) {
                Some(Location::Open(_)) if matches!(it.state, State::Open { .. }) => continue,
                Some(Location::Open(_)) => State::Open { is_watched: false },
                Some(Location::Closed { .. }) => State::Closed,
                None => State::Final,
            };
            if state != it.state {
                assert!(may_become(it, state), "{it:?} is {state:?}");
                it.state = state;
                changed += 1;
            }
        }
        changed
    }

    fn count(&self, which: impl Fn(&Viewed) -> bool) -> u64 {
        self.sessions.iter().filter(|it| which(it)).count() as u64
    }

    async fn close(&mut self, quiet_since: DateTime<Utc>, limit: u32) {
        let is_quiet = |it: &Viewed| {
            it.state == State::Open { is_watched: false }
                && it.stored.last_event_at_ms < quiet_since.timestamp_millis()
        };
        let quiet = self.count(is_quiet);
        let (videos, closed) = upkeep::close(&self.store, quiet_since, limit).await.unwrap();
        assert_eq!(closed, quiet.min(limit.into()));
        assert_eq!(videos.is_empty(), closed == 0);
        let seen = self.update(|it, state| is_quiet(it) && state == State::Closed).await;
        assert_eq!(seen, closed);
    }

    async fn merge(&mut self) {
        let videos = self.summaries().await.into_iter().map(|summary| summary.video).collect();
        let before = self.summaries().await.len() as u64;
        let merged = upkeep::merge(&self.store, videos).await.unwrap();
        let after = self.summaries().await.len() as u64;
        assert!(merged == 0 && after == before || merged != 0 && after < before);
        self.update(|_, _| false).await;
    }

    async fn summaries(&self) -> Vec<metrics_core::store::BlockSummary> {
        let mut snapshot = self.store.snapshot().await.unwrap();
        let all = metrics_core::store::Videos::All;
        snapshot.blocks(&all, i64::MIN, i64::MAX, None, 10_000).await.unwrap()
    }

    async fn load(&mut self, session: u8) {
        let id = self.id(session);
        let loaded = upkeep::load(&self.store, &[id]).await.unwrap().remove(0);
        let live = self.live(id);
        assert_eq!(loaded.map(|it| it.stored), live.map(|it| it.stored.clone()));
        let opened = |it: &Viewed, state| it.id == id && state == State::Open { is_watched: false };
        self.update(opened).await;
    }

    async fn finalize(&mut self, silent_since: DateTime<Utc>, limit: u32) {
        let is_silent = |it: &Viewed| {
            it.state == State::Closed
                && it.stored.last_event_at_ms < silent_since.timestamp_millis()
        };
        let silent = self.count(is_silent);
        let finalized = self.store.finalize(silent_since, limit).await.unwrap();
        assert_eq!(finalized, silent.min(limit.into()));
        let seen = self.update(|it, state| is_silent(it) && state == State::Final).await;
        assert_eq!(seen, finalized);
    }

    async fn delete(&mut self, start: DateTime<Utc>) {
        let start_ms = start.timestamp_millis();
        let old = self.count(|it| it.stored.started_at_ms < start_ms);
        assert_eq!(upkeep::delete_before(&self.store, start_ms).await.unwrap(), old);
        self.sessions.retain(|it| start_ms <= it.stored.started_at_ms);
        self.update(|_, _| false).await;
    }

    async fn import(&mut self, first: u8, count: u8) {
        let (mut file, mut missing) = (Vec::new(), 0);
        for number in first..(first + count).min(FOREIGN) {
            let session = SESSIONS + number;
            // They overlap in time with the recorded sessions.
            let at_ms = START_MS + 5_000_000 * i64::from(number) + 1;
            let segments: Segments =
                Interval::new(0, 1_000 * u32::from(number)).into_iter().collect();
            let stored = Stored::finished(at_ms, at_ms, None, &segments);
            let (id, subject) = (self.id(session), self.subject(session));
            let row = Row {
                id: RowId::from(id),
                page: subject.source.clone(),
                user_agent: subject.user_agent,
                session_data: subject.session_data.as_deref().map(Into::into),
                arrival: subject.arrival.clone(),
                stored: stored.clone(),
            };
            let (key, video) = (subject.key.clone(), subject.video.clone());
            file.push(Foreign { key, video, row, equal_before: None });
            if self.sessions.iter().all(|it| it.id != id) {
                missing += 1;
                self.sessions.push(Viewed { id, subject, stored, state: State::Final });
            }
        }
        let sessions = file.len() as u64;
        let inserted = insert(&self.store, file).await.unwrap();
        assert_eq!((inserted.added, inserted.already_there), (missing, sessions - missing));
        self.update(|_, _| false).await;
    }

    /// Compares every report with that of the list.
    async fn check(&self, number: usize) {
        let store = &self.store;
        assert_eq!(store.count_sessions().await.unwrap(), self.sessions.len() as u64);
        let verified = upkeep::verify(store, |_| {}).await.unwrap();
        assert_eq!(verified.wrong, []);
        assert_eq!(verified.sessions, self.count(|it| !matches!(it.state, State::Open { .. })));
        self.check_export(1 + number % 17).await;
        let selections = [
            Selection::default(),
            Selection::key(self.keys[0].clone()),
            Selection::identifier("video 1"),
            Selection { key: Some(self.keys[1].clone()), ..Selection::identifier("video 2") },
        ];
        let selection = &selections[number % selections.len()];
        let (first, last) = (self.sessions.first(), self.sessions.last());
        let at = |it: Option<&Viewed>| instant(it.map_or(0, |it| it.stored.started_at_ms));
        let timeframes = [
            Timeframe::From(instant(0)),
            Timeframe::Between(at(first), at(last)),
            Timeframe::Between(self.hours_ago(30), self.hours_ago(3)),
        ];
        let timeframe = timeframes[number % timeframes.len()];
        let minimum_view_ms = [0, 10_000, 12_345][number / 3 % 3];
        self.check_plays(selection, timeframe, minimum_view_ms).await;
        self.check_engagement(selection, timeframe, minimum_view_ms).await;
    }

    async fn check_export(&self, limit: usize) {
        let (mut exported, mut cursor) = (BTreeMap::new(), None);
        loop {
            let page = export::page(&self.store, None, cursor, limit).await.unwrap();
            for record in page.records {
                let at = (record.id, record.stored.started_at_ms);
                let of_session = (record.subject, record.stored.finalized());
                assert_eq!(exported.insert(at, of_session), None, "{at:?} is there twice");
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let expected: BTreeMap<_, _> = self
            .sessions
            .iter()
            .map(|it| {
                let at = (RowId::from(it.id), it.stored.started_at_ms);
                (at, (it.subject.clone(), it.stored.clone().finalized()))
            })
            .collect();
        assert_eq!(exported, expected);
    }

    /// The sessions that a query counts.
    fn counted(
        &self,
        selection: &Selection,
        (from_ms, to_ms): (i64, i64),
        minimum_view_ms: u64,
    ) -> Vec<&Viewed> {
        let Selection { key, identifiers, .. } = selection;
        let counts = |it: &&Viewed| {
            let identifier = it.subject.video.identifier().unwrap_or_default();
            key.as_ref().is_none_or(|key| *key == it.subject.key)
                && identifiers.as_ref().is_none_or(|all| all.iter().any(|one| one == identifier))
                && (from_ms..=to_ms).contains(&it.stored.started_at_ms)
                && minimum_view_ms <= it.stored.view_ms
        };
        self.sessions.iter().filter(counts).collect()
    }

    async fn check_plays(&self, selection: &Selection, timeframe: Timeframe, minimum_view_ms: u64) {
        for (width, zone) in [("1 hour", None), ("1 day", None), ("1 day", Some("Asia/Kolkata"))] {
            let mut buckets = Buckets::new(width.parse().unwrap());
            if let Some(zone) = zone {
                buckets = buckets.in_timezone(zone.parse().unwrap());
            }
            let query = BucketQuery::from(selection).during(timeframe).with_buckets(buckets);
            let query = query.with_minimum_view_ms(minimum_view_ms);
            let scan = query.scan(self.now);
            let counted = self.counted(selection, (scan.from_ms, scan.to_ms), minimum_view_ms);
            let play = |it: &&Viewed| {
                let Stored { started_at_ms, view_ms, unique_ms, .. } = it.stored;
                let mut totals = PlayTotals::default();
                totals.add_plays(1, view_ms, unique_ms, it.subject.user_agent);
                PlaysAt { at_ms: started_at_ms, totals }
            };
            let source = |it: &&Viewed| {
                let source = it.subject.source.clone()?;
                Some(SourceAt { at_ms: it.stored.started_at_ms, source, plays: 1 })
            };
            let reports = Reports::new(&self.store, self.now);
            let plays = fold_plays(counted.iter().map(play), &buckets, []);
            assert_eq!(reports.plays(&query).await.unwrap(), plays, "{query:?}");
            let sources = fold_sources(counted.iter().filter_map(source), &buckets);
            assert_eq!(reports.sources(&query).await.unwrap(), sources, "{query:?}");
        }
    }

    async fn check_engagement(
        &self,
        selection: &Selection,
        timeframe: Timeframe,
        minimum_view_ms: u64,
    ) {
        let query = EngagementQuery::from(selection).during(timeframe);
        let query = query.with_minimum_view_ms(minimum_view_ms);
        let scan = query.scan(self.now);
        let counted = self.counted(selection, (scan.from_ms, scan.to_ms), minimum_view_ms);
        let segments = |it: &Viewed| Segments::decode(&it.stored.segments).unwrap();
        let ends = counted.iter().map(|it| segments(it).union().end_ms());
        let mut parts = Parts::new(ends.max().unwrap_or(0), 7);
        let days = Buckets::new("1 day".parse().unwrap());
        let mut seconds = Seconds::new(days);
        for it in &counted {
            parts.add(&segments(it));
            let Stored { started_at_ms, duration_ms, .. } = it.stored;
            seconds.add(started_at_ms, &segments(it), duration_ms).unwrap();
        }
        let reports = Reports::new(&self.store, self.now);
        assert_eq!(reports.engagement(&query, 7).await.unwrap(), parts.finish(), "{query:?}");
        let counted = reports.engagement_per_second(&query, days).await.unwrap();
        assert_eq!(counted, seconds.finish(), "{query:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_that_of_a_plain_list(steps in prop::collection::vec(step(), 1..250)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for (number, step) in steps.iter().enumerate() {
                world.step(step).await;
                if number % 5 == 4 {
                    world.check(number).await;
                }
            }
            world.check(0).await;
        });
    }
}

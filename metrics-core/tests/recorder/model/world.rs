//! Servers on one database, their viewers, and the actions on both.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use metrics_core::arrival::Arrival;
use metrics_core::export::Export;
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::recorder::CHECKPOINT;
use metrics_core::session::Stored;
use metrics_core::store::{RowId, SessionWrite, SqliteStore, Store, Subject};
use metrics_core::upkeep::{self, Erasure};
use metrics_core::{ApiKey, BucketQuery, EngagementQuery, Metrics, Selection, Source, Timeframe};
use metrics_testing::{Backend, Database, Faults, KillSwitch, WallClock};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tempfile::TempDir;

use super::naive::Outcome;
use super::soon;
use super::viewer::{Client, Viewer};

const VIEWERS: usize = 8;

/// Shortly before the end of a day.
const START: &str = "2024-02-28T23:55:00Z";

pub(crate) struct Server {
    pub(crate) metrics: Metrics,
    kill_switch: KillSwitch,
}

/// How servers learn of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keys {
    /// They read them once: much time passes, and nothing else.
    ReadOnce,
    /// They poll, and polls fail as other calls do.
    Polled,
}

pub(crate) struct World {
    pub(crate) servers: Vec<Server>,
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) keys: [ApiKey; 2],
    pub(crate) clock: WallClock,
    database: Database,
    /// A handle that never fails.
    store: Arc<dyn Store>,
    polling: Keys,
    failing: usize,
    /// The time of the last kill of a server.
    crashed_at: DateTime<Utc>,
}

impl World {
    /// Servers on a database that fails for `failing` of 100 calls.
    pub(crate) async fn new(
        backend: Backend,
        servers: usize,
        polling: Keys,
        failing: usize,
    ) -> Self {
        let database = Database::new(backend).await;
        let store = database.open().await;
        let start: DateTime<Utc> = START.parse().expect("an instant");
        let clock = WallClock::at(start.timestamp_millis());
        let keys = [ApiKey::generate(), ApiKey::generate()];
        for key in &keys {
            store.create_key(key, clock.now()).await.expect("stored");
        }
        let mut world = Self {
            servers: Vec::new(),
            viewers: Vec::new(),
            keys,
            clock,
            database,
            store,
            polling,
            failing,
            crashed_at: instant(0),
        };
        for _ in 0..servers {
            let server = world.start().await;
            world.servers.push(server);
        }
        world
    }

    /// The same with viewers of every kind.
    pub(crate) fn with_viewers(mut self) -> Self {
        let viewer =
            |number| Viewer::new(number, self.keys[number % 2].clone(), self.clock.clone());
        self.viewers = (0..VIEWERS).map(viewer).collect();
        self
    }

    async fn start(&self) -> Server {
        let faults = match self.polling {
            Keys::ReadOnce => Faults::default().with_stable_keys(),
            Keys::Polled => Faults::default(),
        };
        let (failures, kill_switch) = (faults.failures(), faults.kill_switch());
        let store = Arc::new(faults.over(self.database.open().await));
        let metrics = Metrics::builder(store).clock(self.clock.reader()).start();
        // A server that has not loaded the keys refuses all joins.
        for key in &self.keys {
            assert!(metrics.accepts_key(key).await.expect("the keys are known"));
        }
        failures.store(self.failing, std::sync::atomic::Ordering::Relaxed);
        Server { metrics, kill_switch }
    }

    /// Closes sessions without events for `seconds` and merges their blocks, until the database fails.
    pub(crate) async fn close(&mut self, seconds: u32) {
        let quiet_since = self.clock.now() - TimeDelta::seconds(seconds.into());
        let store = self.servers[0].metrics.store();
        // In small batches: servers write in between.
        while let Ok((videos, 1..)) = upkeep::close(store, quiet_since, 3).await {
            let _ignored = upkeep::merge(store, videos).await;
        }
    }

    /// Erases the session of a viewer, wherever it is stored or in memory. Batching viewers keep theirs: batches that
    /// are sent again would recreate the session.
    pub(crate) async fn erase(&mut self, viewer: usize) {
        if self.viewers[viewer].client == Client::Batching {
            return;
        }
        self.everything_is_durable().await;
        let viewer = &mut self.viewers[viewer];
        let id = SessionId::new(&viewer.key, &viewer.name);
        let erasure = Erasure::of(Selection::key(viewer.key.clone())).of_session(id);
        upkeep::erase(&*self.store, &erasure).await.expect("erased");
        viewer.erased();
    }

    /// Passes time, in which servers write checkpoints of open segments.
    pub(crate) async fn pass(&mut self, seconds: u32) {
        // Servers detect the loss of a connection after a minute without a heartbeat.
        if 60 <= seconds {
            self.viewers.iter_mut().for_each(Viewer::close_lost);
        }
        let mut left = seconds;
        while 0 < left {
            let step = left.min(10);
            self.clock.pass(step.into());
            self.viewers.iter_mut().for_each(Viewer::heartbeat);
            self.wait_for_checkpoint().await;
            left -= step;
        }
    }

    async fn wait_for_checkpoint(&self) {
        tokio::time::sleep(CHECKPOINT + std::time::Duration::from_secs(1)).await;
    }

    /// Stops a server, and starts another one in its place.
    pub(crate) async fn stop(&mut self, server: usize) {
        for viewer in &mut self.viewers {
            viewer.close_lost();
            if viewer.server() == Some(server) {
                viewer.disconnect();
            }
        }
        soon(self.servers[server].metrics.stop()).await;
        self.servers[server] = self.start().await;
    }

    /// Kills a server, often in the middle of a commit, and starts another one in its place.
    pub(crate) async fn crash(&mut self, server: usize, random: &mut StdRng) {
        self.everything_is_durable().await;
        self.wait_for_checkpoint().await;
        for viewer in &mut self.viewers {
            if viewer.client == Client::Batching {
                viewer.send(random, &self.servers[server].metrics).await;
            } else if viewer.server() == Some(server) && random.random_bool(0.7) {
                viewer.act(random);
                // A stored failure shows that the other events are stored, too.
                viewer.fail();
            }
        }
        let kill_switch = self.servers[server].kill_switch.clone();
        if random.random_bool(0.7) {
            kill_switch.kill_at_commit(random.random_bool(0.5));
            // Without an event to write, there is no commit to die in.
            drop(tokio::time::timeout(CHECKPOINT, kill_switch.killed()).await);
        }
        kill_switch.kill().await;
        self.crashed_at = self.clock.now();
        self.resolve(server).await;
        let new = self.start().await;
        std::mem::forget(std::mem::replace(&mut self.servers[server], new));
        for viewer in &mut self.viewers {
            if viewer.client == Client::Batching {
                viewer.send_again(&self.servers[1 - server].metrics).await;
            }
        }
        self.everything_is_durable().await;
    }

    /// Determines whether the events in progress were stored: all of them, or none.
    async fn resolve(&mut self, server: usize) {
        for viewer in &mut self.viewers {
            if viewer.client != Client::Batching && !viewer.log.is_durable() {
                let stored = load(&*self.store, viewer).await;
                let whole = viewer.outcome();
                if !matches(whole.as_ref(), stored.as_ref()) {
                    viewer.log.undo();
                    let without = viewer.outcome();
                    assert!(
                        matches(without.as_ref(), stored.as_ref()),
                        "{}: neither {whole:?} nor {without:?} but {stored:?}",
                        viewer.name
                    );
                }
                viewer.log.acknowledged();
            }
            viewer.crash(server);
        }
    }

    pub(crate) async fn everything_is_durable(&mut self) {
        for viewer in &mut self.viewers {
            viewer.durable().await;
        }
    }

    /// Waits until no server has anything more to write, and no session at a killed server counts as watching.
    pub(crate) async fn wait_until_idle(&mut self) {
        for viewer in &mut self.viewers {
            viewer.close_lost();
        }
        self.everything_is_durable().await;
        while self.clock.now() <= self.crashed_at + metrics_core::store::INSTANCE_SILENCE_MAX {
            self.pass(10).await;
        }
        // The first checkpoint loads the writes of other servers, and the second one writes the result.
        self.wait_for_checkpoint().await;
        self.wait_for_checkpoint().await;
    }

    /// The stored state of an open session, by a handle that shares no cache with others.
    pub(crate) async fn stored(&self, id: SessionId) -> Option<Stored> {
        let store = self.database.open().await;
        let loaded = upkeep::load(&*store, &[id]).await.expect("read").remove(0);
        loaded.map(|loaded| loaded.stored)
    }

    /// Compares every session and every report with the model.
    pub(crate) async fn check(&self, when: &str) {
        let directory = TempDir::new().expect("a directory");
        let model = SqliteStore::open(directory.path().join("model.db")).await.expect("opened");
        let (mut watching, mut sessions) = (0, 0);
        for viewer in &self.viewers {
            let outcome = viewer.outcome();
            let stored = load(&*self.store, viewer).await;
            assert!(
                matches(outcome.as_ref(), stored.as_ref()),
                "{when}, {} with a {:?} client: {outcome:?}\n{stored:?}",
                viewer.name,
                viewer.client
            );
            let Some(outcome) = outcome else { continue };
            watching += u64::from(outcome.watching);
            sessions += 1;
            model.create_key(&viewer.key, self.clock.now()).await.expect("stored");
            model.commit([write(viewer, &outcome)].into()).await.expect("stored");
        }
        for server in &self.servers {
            let counted = server.metrics.watching(&Selection::default()).await;
            // The count may fail if the database fails.
            if self.failing == 0 || counted.is_ok() {
                assert_eq!(counted.expect("counted"), watching, "{when}");
            }
        }
        assert_eq!(self.store.count_sessions().await.expect("counted"), sessions, "{when}");
        let verified = upkeep::verify(&*self.store, |_| {}).await.expect("read");
        assert_eq!(verified.wrong, [], "{when}");
        let clock = self.clock.reader();
        let answers = |store: Arc<dyn Store>| Metrics::builder(store).clock(clock.clone()).start();
        compare(&answers(Arc::clone(&self.store)), &answers(Arc::new(model)), self, when).await;
    }
}

/// The stored state of a viewer's session.
async fn load(store: &dyn Store, viewer: &Viewer) -> Option<Stored> {
    let id = RowId::from(SessionId::new(&viewer.key, &viewer.name));
    // An export, because `load` would open the session.
    let (mut export, mut found) = (Export::all(), None);
    while let Some(records) = export.next(store).await.expect("read") {
        for record in records.into_iter().filter(|record| record.id == id) {
            assert!(found.replace(record.stored).is_none(), "{} is there twice", viewer.name);
        }
    }
    found
}

pub(crate) fn matches(outcome: Option<&Outcome>, stored: Option<&Stored>) -> bool {
    let (Some(outcome), Some(stored)) = (outcome, stored) else {
        return outcome.is_none() && stored.is_none();
    };
    let segments = Segments::decode(&stored.segments).expect("segments");
    let segments: Vec<_> = segments.iter().map(|it| (it.start_ms(), it.end_ms())).collect();
    segments == outcome.segments
        && stored.started_at_ms == outcome.started_at_ms
        && stored.counters.details.scrubbed_ms == outcome.scrubbed_ms
        && stored.counters.failures == outcome.failures
        && stored.counters.details.seeks == outcome.seeks
}

/// The first write of the model's session.
fn write(viewer: &Viewer, outcome: &Outcome) -> SessionWrite {
    let segments = outcome.segments.iter();
    let segments: Segments = segments.filter_map(|&(from, to)| Interval::new(from, to)).collect();
    let at_ms = outcome.started_at_ms;
    let subject = Subject {
        key: viewer.key.clone(),
        video: viewer.video.clone(),
        source: Source::parse(viewer.page),
        user_agent: metrics_core::user_agent::UserAgentClass::default(),
        session_data: None,
        arrival: Arrival::default(),
    };
    let mut stored = Stored::finished(at_ms, at_ms, viewer.duration_ms, &segments);
    stored.view_ms += outcome.scrubbed_ms;
    SessionWrite {
        id: SessionId::new(&viewer.key, &viewer.name),
        subject: Arc::new(subject),
        expected: 0,
        stored,
        watched_at: None,
    }
}

/// Compares the reports of both, for all sessions and for some, with and without a threshold.
async fn compare(metrics: &Metrics, model: &Metrics, world: &World, when: &str) {
    let vid = serde_json::json!({ "vid": 0 });
    let selections = [
        Selection::default(),
        Selection::key(world.viewers[0].key.clone()),
        Selection::identifier("intro"),
        Selection::default().with_video(vid.as_object().expect("an object").clone()),
    ];
    let boundary = world.viewers.iter().find_map(Viewer::started_at).unwrap_or(world.clock.now());
    let timeframes =
        [Timeframe::default(), Timeframe::From(boundary), Timeframe::Between(boundary, boundary)];
    for selection in &selections {
        for timeframe in timeframes {
            for minimum_view_ms in [0, 40_000] {
                for width in ["1 minute", "1 day"] {
                    let width = width.parse().expect("a width");
                    let mut query = BucketQuery::from(selection).per(width).during(timeframe);
                    query.minimum_view_ms = minimum_view_ms;
                    let plays = (metrics.plays(&query).await, model.plays(&query).await);
                    assert_eq!(
                        plays.0.expect("plays"),
                        plays.1.expect("plays"),
                        "{when} {query:?}"
                    );
                    let sources = (metrics.sources(&query).await, model.sources(&query).await);
                    assert_eq!(
                        sources.0.expect("pages"),
                        sources.1.expect("pages"),
                        "{when} {query:?}"
                    );
                }
                let mut query = EngagementQuery::from(selection).during(timeframe);
                query.minimum_view_ms = minimum_view_ms;
                let parts =
                    (metrics.engagement(&query, 13).await, model.engagement(&query, 13).await);
                assert_eq!(parts.0.expect("parts"), parts.1.expect("parts"), "{when} {query:?}");
                let buckets =
                    metrics_core::time_bucket::Buckets::new("1 hour".parse().expect("a width"));
                let seconds = (
                    metrics.engagement_per_second(&query, buckets).await,
                    model.engagement_per_second(&query, buckets).await,
                );
                assert_eq!(
                    seconds.0.expect("seconds"),
                    seconds.1.expect("seconds"),
                    "{when} {query:?}"
                );
            }
        }
    }
}

//! A database, a session, and its write.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics_core::arrival::{Arrival, ArrivalPart};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::session::{Counters, Minutes, Stored};
use metrics_core::store::{Outcome, SessionWrite, Store, Subject};
use metrics_core::user_agent::UserAgentClass;
use metrics_core::{ApiKey, Source, Video};
use metrics_testing::{Backend, Database, WallClock};
use tokio::time::timeout;

/// A database, a key of it, and a clock for its instances.
pub(crate) struct Site {
    pub(crate) database: Database,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: WallClock,
    pub(crate) key: ApiKey,
}

impl Site {
    pub(crate) async fn new(backend: Backend) -> Self {
        let database = Database::new(backend).await;
        let store = database.open().await;
        let clock = WallClock::at(now().timestamp_millis());
        let key = key(&*store).await;
        Self { database, store, clock, key }
    }
}

pub(crate) fn now() -> DateTime<Utc> {
    instant(1_700_000_000_000)
}

/// One of nine arrivals: each of three referrers with each of three countries. The first referrer is unknown.
pub(crate) fn arrival(number: usize) -> Arrival {
    let referrer = ["", "a.example", "b.example"][number % 3];
    let country = ["", "NL", "DE"][number / 3 % 3];
    Arrival::default().with(ArrivalPart::Referrer, referrer).with(ArrivalPart::Country, country)
}

/// Five seconds of a video.
pub(crate) fn write(key: &ApiKey, session: &str, expected: u32) -> SessionWrite {
    let segments: Segments = Interval::new(0, 5_000).into_iter().collect();
    let subject = Subject {
        key: key.clone(),
        video: Video::labelled("intro"),
        source: Source::parse("http://example.com/"),
        user_agent: UserAgentClass::default(),
        session_data: None,
        arrival: Arrival::default(),
    };
    SessionWrite {
        id: SessionId::new(key, session),
        subject: Arc::new(subject),
        expected,
        stored: Stored {
            started_at_ms: now().timestamp_millis(),
            last_event_at_ms: now().timestamp_millis(),
            duration_ms: None,
            view_ms: segments.len_ms(),
            unique_ms: segments.union().len_ms(),
            segments: segments.encode(),
            minutes: Minutes::of_view(now().timestamp_millis(), segments.len_ms()),
            counters: Counters::default(),
            resume: vec![1, 0, 0],
        },
        watched_at: None,
    }
}

pub(crate) async fn commit(
    store: &dyn Store,
    writes: impl IntoIterator<Item = SessionWrite>,
) -> Vec<Outcome> {
    store.commit(writes.into_iter().collect()).await.unwrap()
}

/// A key that the store has.
pub(crate) async fn key(store: &dyn Store) -> ApiKey {
    let key = ApiKey::generate();
    assert!(store.create_key(&key, now()).await.unwrap());
    key
}

/// Drops commits at any moment, in steps of `step`: each is stored as a whole or not at all.
pub(crate) async fn check_dropped_commits(store: &dyn Store, step: Duration) {
    let key = key(store).await;
    for round in 0..20 {
        let writes: Arc<[_]> =
            (0..200).map(|number| write(&key, &format!("{round} {number}"), 0)).collect();
        let done = timeout(step * round, store.commit(Arc::clone(&writes))).await;
        let ids: Vec<_> = writes.iter().map(|write| write.id).collect();
        // This holds also while the dropped commit is in progress.
        for _ in 0..5 {
            let loaded = store.load(&ids).await.unwrap();
            let stored = loaded.iter().flatten().count();
            assert!(stored == 200 || (stored == 0 && done.is_err()), "{stored} of 200");
        }
        // The store works as before.
        assert!(store.commit(writes).await.is_ok());
        assert_eq!(store.load(&ids).await.unwrap().iter().flatten().count(), 200);
    }
}

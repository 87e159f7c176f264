//! A session, and what a store makes of it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::session::{Counters, Minutes, Stored};
use metrics_core::store::{Outcome, SessionWrite, Store, Subject};
use metrics_core::user_agent::UserAgentClass;
use metrics_core::{ApiKey, Source, Video};

pub(crate) fn now() -> DateTime<Utc> {
    instant(1_700_000_000_000)
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

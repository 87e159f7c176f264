//! Connections that are lent, and come home; statements that are prepared, and stay so.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use diesel::connection::{Instrumentation, InstrumentationEvent};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::client::Client;
use crate::interval::{Interval, Segments};
use crate::session::{Counters, Stored};
use crate::source::Source;
use crate::store::Subject;

#[tokio::test]
async fn a_report_that_nobody_waits_for_keeps_its_connection_until_it_ends() {
    const ABANDONED: usize = 100;
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    let store = Arc::new(store);
    let began = Arc::new(AtomicUsize::new(0));
    let mut endings = Vec::new();
    let mut reports = JoinSet::new();
    for _ in 0..ABANDONED {
        let (end, ended) = mpsc::channel::<()>();
        endings.push(end);
        let (store, began) = (Arc::clone(&store), Arc::clone(&began));
        reports.spawn(async move {
            let wait = move |_: &mut SqliteConnection| {
                began.fetch_add(1, Ordering::Relaxed);
                // An error means the same: the test has let go of the other end.
                let _ended = ended.recv();
                Ok(())
            };
            store.read(&store.reports, "wait", wait).await
        });
    }
    while began.load(Ordering::Relaxed) < READERS {
        tokio::task::yield_now().await;
    }
    reports.shutdown().await;
    assert_eq!(store.reports.permits.available_permits(), 0);
    drop(endings);
    // It waits for one of those that run, and for none of those that had not begun.
    assert_eq!(store.count_sessions().await.unwrap(), 0);
    assert_eq!(began.load(Ordering::Relaxed), READERS);
}

/// The statements that a connection was asked for, and those that it keeps.
#[derive(Clone, Default)]
struct Statements {
    asked: Arc<std::sync::Mutex<BTreeSet<String>>>,
    kept: Arc<std::sync::Mutex<BTreeSet<String>>>,
}

impl Instrumentation for Statements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let (of, text) = match event {
            InstrumentationEvent::StartQuery { query, .. } => (&self.asked, query.to_string()),
            InstrumentationEvent::CacheQuery { sql, .. } => (&self.kept, sql.to_owned()),
            _ => return,
        };
        let text = text.split(" -- binds").next().unwrap_or_default().trim().to_owned();
        of.lock().unwrap().insert(text);
    }
}

fn write(key: &ApiKey, session: &str, expected: u32) -> SessionWrite {
    let segments: Segments = Interval::new(0, 5_000).into_iter().collect();
    let subject = Subject {
        key: key.clone(),
        video: Video::labelled("intro"),
        source: Source::parse("http://example.com/"),
        client: Client::default(),
        session_data: None,
    };
    let stored = Stored {
        started_at_ms: 0,
        last_event_at_ms: 0,
        duration_ms: None,
        view_ms: segments.len_ms(),
        unique_ms: segments.union().len_ms(),
        segments: segments.encode(),
        counters: Counters::default(),
        resume: vec![1, 0, 0],
    };
    let id = SessionId::new(key, session);
    SessionWrite { id, subject: Arc::new(subject), expected, stored, watched_at: None }
}

/// Begins a session, goes on with it, rolls it up, and goes on with it after all.
async fn record(store: &SqliteStore, key: &ApiKey, session: &str) {
    for expected in 0..3 {
        if expected == 2 {
            assert_eq!(store.roll_up(instant(1), 1).await.unwrap(), 1);
        }
        let written = store.commit([write(key, session, expected)].into()).await.unwrap();
        assert_eq!(written, [Outcome::Written]);
    }
    assert_eq!(store.roll_up(instant(1), 1).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_done_for_every_session_is_prepared_once() {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    let key = ApiKey::generate();
    store.create_key(&key, instant(0)).await.unwrap();
    let statements = Statements::default();
    let instrument = |statements: Statements| {
        move |connection: &mut SqliteConnection, _: &mut Ids| {
            connection.set_instrumentation(statements);
            Ok(())
        }
    };
    store.write("look on", instrument(statements.clone())).await.unwrap();
    record(&store, &key, "a").await;
    let kept = statements.kept.lock().unwrap().clone();
    statements.asked.lock().unwrap().clear();

    record(&store, &key, "b").await;

    assert_eq!(*statements.kept.lock().unwrap(), kept);
    let asked = statements.asked.lock().unwrap().clone();
    let prepared: Vec<_> = asked.difference(&kept).collect();
    assert_eq!(prepared, ["COMMIT", "begin immediate"]);
    // Each of these would have SQLite prepare a statement again that is kept.
    for again in ["LIMIT ?", "rolled = ?", "`rolled` = ?"] {
        assert!(asked.iter().all(|sql| !sql.contains(again)), "{asked:#?}");
    }
    assert!(9 < asked.len(), "{asked:#?}");
}

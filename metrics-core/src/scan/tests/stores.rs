//! All stores and plain loops answer random queries of random sessions alike.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::TimeDelta;
use metrics_testing::{Backend, Database};
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::draft::Watch;
use super::oracle;
use super::random::{check, period, query, watch};
use crate::key::SessionId;
use crate::query::{Query, instant};
use crate::report::Reports;
use crate::store::{Instance, Outcome, SessionWrite, SqliteStore, Store, Subject, TimescaleStore};
use crate::{ApiKey, Timeframe, upkeep};

const SESSIONS: usize = 2_000;

/// The default number of queries. `METRICS_TEST_QUERIES` replaces it.
const QUERIES: usize = 150;

/// The number of sessions to write before quiet sessions are closed and merged.
const PORTION: usize = 300;

fn queries() -> usize {
    let set = std::env::var("METRICS_TEST_QUERIES").ok();
    set.map_or(QUERIES, |number| number.parse().expect("METRICS_TEST_QUERIES is a number"))
}

/// Samples a strategy, with the same values in every run.
fn values<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, number: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..number).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

/// Makes a write of the session; every seventh has an open segment, so that it stays open.
fn write(index: usize, watch: &Watch) -> SessionWrite {
    let row = &watch.row;
    let mut id = [0; 16];
    id[..8].copy_from_slice(&row.id.0.to_be_bytes());
    let mut stored = row.stored.clone();
    stored.resume = vec![1, 0, 0];
    let subject = Subject {
        key: ApiKey::new(watch.key).expect("a key"),
        video: watch.video.clone(),
        source: row.page.clone(),
        user_agent: row.user_agent,
        session_data: row.session_data.as_deref().map(str::to_owned),
        arrival: row.arrival.clone(),
    };
    SessionWrite {
        id: SessionId::from_bytes(id),
        subject: Arc::new(subject),
        expected: 0,
        stored,
        watched_at: index.is_multiple_of(7).then_some(Instance(1)),
    }
}

async fn fill(store: &dyn Store, watches: &[Watch]) {
    for key in ["one", "two"] {
        let key = ApiKey::new(key).expect("a key");
        assert!(store.create_key(&key, instant(0)).await.expect("created"));
    }
    let writes: Vec<_> = watches.iter().enumerate().map(|(at, watch)| write(at, watch)).collect();
    let latest_ms = watches.iter().map(|watch| watch.row.stored.last_event_at_ms).max();
    let now = instant(latest_ms.expect("there are some")) + TimeDelta::days(1);
    for portion in writes.chunks(PORTION) {
        let outcomes = store.commit(portion.into()).await.expect("committed");
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Written));
        let (videos, closed) = upkeep::close(store, now, SESSIONS as u32).await.expect("closed");
        assert!(0 < closed);
        upkeep::merge(store, videos).await.expect("merged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_answers_as_plain_loops_do() {
    let mut watches = values(watch(), SESSIONS);
    // Ids are unique in a store, and a duration of 0 means an unknown one.
    let mut ids = HashSet::new();
    watches.retain(|watch| ids.insert(watch.row.id));
    for watch in &mut watches {
        let duration_ms = &mut watch.row.stored.duration_ms;
        *duration_ms = duration_ms.filter(|ms| *ms != 0);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let sqlite = SqliteStore::open(directory.path().join("metrics.db")).await.expect("opened");
    let timescale = Database::new(Backend::Timescale).await;
    let postgres = Database::new(Backend::Postgres).await;
    let stores: [Arc<dyn Store>; 3] = [
        Arc::new(sqlite),
        Arc::new(TimescaleStore::connect(&timescale.url()).await.expect("connected")),
        Arc::new(TimescaleStore::connect(&postgres.url()).await.expect("connected")),
    ];
    for store in &stores {
        fill(&**store, &watches).await;
    }
    let periods = values(period(), queries());
    for (query, period) in values(query(), queries()).into_iter().zip(periods) {
        let timeframe = Timeframe::Between(instant(period.from_ms), instant(period.to_ms));
        let query = Query { timeframe, ..query };
        let mut answers = Vec::new();
        for store in &stores {
            let reports = Reports::new(&**store, instant(period.to_ms));
            answers.push(reports.query(&query).await.expect("answered").0);
        }
        check(&answers[0], &oracle::answer(&query, period, &watches));
        assert_eq!(answers[1], answers[0], "TimescaleDB answers {query:?} in another way");
        assert_eq!(answers[2], answers[0], "PostgreSQL answers {query:?} in another way");
    }
}

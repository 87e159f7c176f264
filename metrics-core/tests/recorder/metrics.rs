//! Reports at the ends of time.
#![cfg(feature = "sqlite")]

use std::sync::Arc;

use chrono::{DateTime, Utc};
use metrics_core::recorder::Clock;
use metrics_core::store::SqliteStore;
use metrics_core::{BucketQuery, Metrics, Selection, Timeframe};
use tempfile::TempDir;

async fn at(now: &str) -> (Metrics, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
    let now: DateTime<Utc> = now.parse().unwrap();
    (Metrics::builder(Arc::new(store)).clock(Clock::new(move || now)).start(), directory)
}

fn since(from: DateTime<Utc>) -> BucketQuery {
    let query = BucketQuery::from(Selection::identifier("a")).per("1 day".parse().unwrap());
    query.during(Timeframe::From(from)).with_fill(true)
}

#[tokio::test]
async fn a_timeframe_without_an_end_is_filled_up_to_now() {
    let (metrics, _directory) = at("2023-05-03T10:00:00Z").await;
    let filled = metrics.plays(&since("2023-05-01T10:00:00Z".parse().unwrap())).await.unwrap();
    let starts: Vec<_> = filled.iter().map(|bucket| bucket.start.to_rfc3339()).collect();
    let days = ["2023-05-01", "2023-05-02", "2023-05-03"];
    assert_eq!(starts, days.map(|day| format!("{day}T00:00:00+00:00")));
    let future = metrics.plays(&since("2024-01-01T00:00:00Z".parse().unwrap())).await.unwrap();
    assert_eq!(future, []);
}

#[tokio::test]
async fn timeframes_may_end_at_the_ends_of_the_calendar() {
    let (metrics, _directory) = at("2023-05-03T10:00:00Z").await;
    for from in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let query = since(from).with_fill(false);
        assert_eq!(metrics.plays(&query).await.unwrap(), []);
        assert_eq!(metrics.sources(&query).await.unwrap(), []);
    }
}

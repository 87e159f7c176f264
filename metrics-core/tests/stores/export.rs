//! Exports contain the sessions that reports count.

#![cfg(feature = "sqlite")]

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use metrics_core::arrival::Arrival;
use metrics_core::budget::{Account, Budget};
use metrics_core::export::{Export, Record};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::session::Stored;
use metrics_core::store::{SessionWrite, Store, Subject};
use metrics_core::upkeep;
use metrics_core::user_agent::UserAgentClass;
use metrics_core::{ApiKey, BucketQuery, EngagementQuery, Reports, Selection, Timeframe, Video};
use metrics_testing::{Backend, Database, on_every_store};
use serde_json::{Map, Value, json};

on_every_store!(
    exported_sessions_are_those_that_a_report_counts,
    every_session_is_exported_once,
    pages_of_large_sessions_are_short,
);

/// More than three pages of sessions.
const SESSIONS: u32 = 3_300;

const START_MS: i64 = 1_700_000_000_000;

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn keys() -> [ApiKey; 2] {
    ["one", "two"].map(|text| ApiKey::new(text).unwrap())
}

/// Videos of all kinds, under both keys.
fn video(number: u32) -> Video {
    let metadata =
        [json!({}), json!({"course": {"id": 7.0}, "tags": ["a", "b"]}), json!({"course": 7})];
    let described = || Some(object(&metadata[number as usize % 3]));
    let (identifier, metadata) = match number % 5 {
        0 | 1 => (Some("intro".to_owned()), described()),
        2 => (Some("outro".to_owned()), None),
        3 => (None, described()),
        _ => (Some("Intro".to_owned()), described()),
    };
    Video::new(identifier, metadata).unwrap()
}

/// The write of a session that has ended.
fn finished(
    subject: Subject,
    session: &str,
    started_at_ms: i64,
    segments: &Segments,
) -> SessionWrite {
    SessionWrite {
        id: SessionId::new(&subject.key, session),
        subject: Arc::new(subject),
        expected: 0,
        stored: Stored::finished(started_at_ms, started_at_ms, None, segments),
        watched_at: None,
    }
}

/// Writes one session a minute, with up to 20 seconds of view time.
async fn fill(store: &dyn Store) {
    for key in keys() {
        store.create_key(&key, Utc::now()).await.unwrap();
    }
    let write = |number: u32| {
        let key = keys()[number as usize % 2].clone();
        let started_at_ms = START_MS + 60_000 * i64::from(number);
        let segments: Segments = Interval::new(0, 500 * (number % 40)).into_iter().collect();
        let data = (!number.is_multiple_of(4)).then(|| json!({"plan": number % 3}).to_string());
        let subject = Subject {
            key,
            video: video(number),
            source: None,
            user_agent: UserAgentClass::default(),
            session_data: data,
            arrival: Arrival::default(),
        };
        finished(subject, &number.to_string(), started_at_ms, &segments)
    };
    let writes: Vec<_> = (0..SESSIONS).map(write).collect();
    for some in writes.chunks(1_000) {
        store.commit(some.to_vec().into()).await.unwrap();
        // The last three hundred stay open.
        if some.len() == 1_000 {
            let closed = upkeep::close(store, Utc::now(), 1_000).await.unwrap();
            assert_eq!(closed.1, 1_000);
        }
    }
}

async fn exported(mut export: Export, store: &dyn Store) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(some) = export.next(store).await.unwrap() {
        records.extend(some);
    }
    assert_eq!(export.read(), records.len() as u64);
    records
}

async fn exported_sessions_are_those_that_a_report_counts(backend: Backend) {
    let database = Database::new(backend).await;
    let store = database.open().await;
    fill(&*store).await;
    let reports = Reports::new(&*store, Utc::now());
    let all = Selection::default;
    let [one, _] = keys();
    let selections = [
        (all(), true),
        (Selection::identifier("intro"), true),
        (Selection { identifiers: Some(vec![]), ..all() }, false),
        (Selection { identifiers: Some(vec!["outro".into(), "Intro".into()]), ..all() }, true),
        (all().with_video(Map::new()), true),
        (all().with_video(object(&json!({"tags": ["b"]}))), true),
        (all().with_video(object(&json!({"course": {"id": 7}}))), true),
        (all().with_video(object(&json!({"course": 8}))), false),
        (all().with_session(Map::new()), true),
        (Selection::identifier("intro").with_session(object(&json!({"plan": 1.0}))), true),
        (Selection::key(one.clone()), true),
        (Selection { key: Some(one), ..Selection::identifier("outro") }, true),
        (Selection::key(ApiKey::new("three").unwrap()), false),
    ];
    let start = DateTime::from_timestamp_millis(START_MS).unwrap();
    let minute = |minutes| start + TimeDelta::minutes(minutes);
    for (selection, selects) in selections {
        for timeframe in
            [Timeframe::From(minute(0)), Timeframe::Between(minute(100), minute(1_999))]
        {
            for minimum_view_ms in [0, 1_500] {
                let query = EngagementQuery::from(&selection).during(timeframe);
                let query = query.with_minimum_view_ms(minimum_view_ms);
                let records = exported(reports.sessions(&query), &*store).await;
                let of_these = BucketQuery::from(&selection).during(timeframe);
                let of_these = of_these.with_minimum_view_ms(minimum_view_ms);
                let counted = reports.plays(&of_these).await.unwrap();
                let plays: u64 = counted.iter().map(|bucket| bucket.totals.plays).sum();
                let view_ms: u64 = counted.iter().map(|bucket| bucket.totals.view_ms).sum();
                assert_eq!(records.len() as u64, plays, "{query:?}");
                assert_eq!(
                    records.iter().map(|it| it.stored.view_ms).sum::<u64>(),
                    view_ms,
                    "{query:?}"
                );
                assert_eq!(0 < plays, selects, "{query:?}");
            }
        }
    }
}

async fn every_session_is_exported_once(backend: Backend) {
    let database = Database::new(backend).await;
    let store = database.open().await;
    fill(&*store).await;
    let records = exported(Export::all(), &*store).await;
    let mut starts: Vec<_> = records.iter().map(|it| it.stored.started_at_ms).collect();
    starts.sort_unstable();
    let expected: Vec<_> = (0..SESSIONS).map(|it| START_MS + 60_000 * i64::from(it)).collect();
    assert_eq!(starts, expected);
}

/// Export pages stay short if sessions have large data, or videos have large metadata.
async fn pages_of_large_sessions_are_short(backend: Backend) {
    const SESSIONS: usize = 1_000;
    const BYTES: usize = 15_000;

    let database = Database::new(backend).await;
    let store = database.open().await;
    let [key, _] = keys();
    store.create_key(&key, Utc::now()).await.unwrap();
    let title = json!({ "title": "x".repeat(BYTES) });
    let videos = [("small", None), ("large", Some(object(&title)))]
        .map(|(identifier, metadata)| Video::new(Some(identifier.to_owned()), metadata).unwrap());
    let write = |number: usize| {
        let is_large = number.is_multiple_of(2);
        let says = if is_large { format!("{number:0BYTES$}") } else { number.to_string() };
        let subject = Subject {
            key: key.clone(),
            // Either the session or its video has the large text.
            video: videos[usize::from(!is_large)].clone(),
            source: None,
            user_agent: UserAgentClass::default(),
            session_data: Some(json!({ "says": says }).to_string()),
            arrival: Arrival::default(),
        };
        let segments: Segments = Interval::new(0, 1_000).into_iter().collect();
        let started_at_ms = START_MS + number as i64;
        finished(subject, &number.to_string(), started_at_ms, &segments)
    };
    let writes: Vec<_> = (0..SESSIONS).map(write).collect();
    store.commit(writes[..SESSIONS / 2].to_vec().into()).await.unwrap();
    upkeep::close(&*store, Utc::now(), 1_000).await.unwrap();
    store.commit(writes[SESSIONS / 2..].to_vec().into()).await.unwrap();

    let budget = Budget::new(100_000_000);
    let account = Account::new(&budget);
    let mut export = Export::all().within(&account);
    let (mut ids, mut pages) = (Vec::new(), 0);
    while let Some(records) = export.next(&*store).await.unwrap() {
        assert!(records.len() * BYTES < 6_000_000, "{} sessions", records.len());
        assert!(records.len() * BYTES <= budget.used(), "{budget:?}");
        assert!(budget.used() < 20_000_000, "{budget:?}");
        ids.extend(records.iter().map(|record| record.id));
        pages += 1;
    }
    assert!(3 < pages, "{pages} pages");
    assert_eq!(ids.len(), SESSIONS);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), SESSIONS);
    drop((export, account));
    assert_eq!(budget.used(), 0);
}

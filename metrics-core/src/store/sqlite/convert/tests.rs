//! A file of the version before is converted completely, also if a later start continues.

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::block::{Groups, RowId};
use crate::key::{ApiKey, SessionId};
use crate::query::instant;
use crate::source::Source;
use crate::store::sqlite::open;
use crate::store::{
    Location, Migrations, OpenScan, Snapshot, SqliteStore, Store as _, VideoScope, Videos,
};
use crate::upkeep::verify;
use crate::user_agent::UserAgentClass;

const BEFORE_SQL: &str = include_str!("before.sql");

fn file(sql: &str) -> (PathBuf, TempDir) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    connect(&path).batch_execute(sql).unwrap();
    (path, directory)
}

fn connect(path: &std::path::Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

/// All closed sessions, with their videos, by video and start.
async fn closed(snapshot: &mut dyn Snapshot) -> Vec<(VideoId, Row)> {
    let summaries = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 100).await.unwrap();
    let ids: Vec<_> = summaries.iter().map(|summary| summary.id).collect();
    let blocks = snapshot.groups(&ids, Groups::ALL).await.unwrap();
    let rows = summaries.iter().zip(blocks).flat_map(|(summary, block)| {
        block.rows().unwrap().into_iter().map(|row| (summary.video, row)).collect::<Vec<_>>()
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(video, row)| (*video, row.order()));
    rows
}

async fn check_taken_over(path: &std::path::Path) {
    let store = SqliteStore::open(path).await.unwrap();
    let keys = store.keys().await.unwrap();
    let keys: Vec<_> = keys.iter().map(|it| (it.key.as_str(), it.disabled_at)).collect();
    assert_eq!(keys, [("one", None), ("two", Some(instant(3_000)))]);
    assert_eq!(store.count_sessions().await.unwrap(), 7);
    let mut snapshot = store.snapshot().await.unwrap();

    let videos = snapshot.videos(&VideoScope::default(), None, 10).await.unwrap();
    let videos: Vec<_> = videos
        .iter()
        .map(|it| (it.id.0, it.key.as_str(), it.video.identifier(), it.video.metadata()))
        .collect();
    let expected = [
        (2, "one", Some("intro"), None),
        (3, "two", None, Some(r#"{"course":"knots"}"#)),
        (9, "one", Some("outro"), Some(r#"{"a":1}"#)),
    ];
    assert_eq!(videos, expected);

    let closed = closed(&mut *snapshot).await;
    let places: Vec<_> = closed
        .iter()
        .map(|(video, row)| (video.0, row.stored.started_at_ms, row.id.0 >> 56))
        .collect();
    let expected = [
        (2, 1_600_000_000_000, 0x30),
        (2, 1_700_000_000_000, 0x21),
        (2, 1_700_000_000_000, 0x22),
        (3, -5_000, 0x23),
        (9, 1_700_000_000_000, 0x21),
    ];
    assert_eq!(places, expected);
    check_row(&closed[1].1);

    let all = OpenScan { videos: Videos::All, from_ms: 0, to_ms: i64::MAX, watched_at: None };
    let open = snapshot.open_sessions(&all, None, 10).await.unwrap();
    assert_eq!(open.iter().map(|it| it.version).collect::<Vec<_>>(), [4, 1]);
    assert_eq!((open[0].key, open[0].video), (KeyId(1), VideoId(2)));
    let page = open[0].row.page.as_ref().map(Source::as_str);
    assert_eq!(page, Some("https://example.com/a"));
    assert_eq!(open[0].row.stored.resume, [1, 0, 0, 0xaa]);
    assert_eq!(open[1].row.page, None);

    let id = SessionId::from_bytes(0x2100_0000_0000_0000_0000_0000_0000_0001_u128.to_be_bytes());
    let found = store.load(&[id]).await.unwrap().remove(0).unwrap();
    let location = Location::Closed {
        key: KeyId(1),
        video: VideoId(2),
        started_at_ms: 1_700_000_000_000,
        resume: vec![1, 0, 0, 0xbb],
    };
    assert_eq!((found.version, found.location), (7, location));
    for key in ["one", "two"] {
        let key = ApiKey::new(key).unwrap();
        let totals = snapshot.totals(Some(&key), -1, 30_000, crate::store::Detail::Days).await;
        let plays: u64 = totals.unwrap().iter().map(|day| day.plays(0).unwrap().plays).sum();
        assert_eq!(plays, if key.as_str() == "one" { 4 } else { 1 });
    }
    let verified = verify(&store, |_| {}).await.unwrap();
    assert!(verified.wrong.is_empty(), "{verified:?}");
}

fn check_row(row: &Row) {
    let stored = &row.stored;
    assert_eq!(row.id, RowId(0x21 << 56));
    assert_eq!(row.page.as_ref().map(Source::as_str), Some("https://example.com/a"));
    let UserAgentClass { browser, platform, device } = row.user_agent;
    assert_eq!([browser.code(), platform.code(), device.code()], [1, 2, 3]);
    assert_eq!(row.session_data.as_deref(), Some(r#"{"user":"a"}"#));
    let counters = &stored.counters;
    assert_eq!((stored.last_event_at_ms, stored.duration_ms), (1_700_000_005_000, Some(60_000)));
    assert_eq!((stored.view_ms, stored.unique_ms), (3_000, 3_000));
    assert_eq!(stored.segments, [0, 0xb8, 0x17]);
    assert_eq!((counters.rebufferings, counters.rebuffering_ms, counters.failures), (1, 200, 3));
    assert_eq!(counters.startup_ms, Some(350));
    assert_eq!((counters.details.language.as_deref(), counters.details.seeks), (Some("nl"), 2));
}

#[tokio::test]
async fn a_file_of_the_version_before_is_taken_over() {
    let (path, _directory) = file(BEFORE_SQL);
    let outdated = SqliteStore::open_with(&path, Migrations::Check).await.unwrap_err();
    assert!(outdated.to_string().contains("not up to date"), "{outdated}");
    check_taken_over(&path).await;
    let tables: Vec<String> = diesel::dsl::sql::<diesel::sql_types::Text>(
        "select name from sqlite_schema where type = 'table' and name like 'before%' or name = 'conversion'",
    )
    .load(&mut connect(&path))
    .unwrap();
    assert_eq!(tables, [""; 0]);
    SqliteStore::open_with(&path, Migrations::Check).await.unwrap();
    check_taken_over(&path).await;
}

#[tokio::test]
async fn a_start_goes_on_where_another_stopped() {
    let (path, _directory) = file(BEFORE_SQL);
    let mut connection = connect(&path);
    rename(&mut connection).unwrap();
    open::run_migrations(&mut connection).unwrap();
    begin(&mut connection).unwrap();
    assert_eq!(step(&mut connection, 1).unwrap(), 3);
    assert_eq!(progress(&mut connection).unwrap(), (3, 5));
    drop(connection);
    let outdated = SqliteStore::open_with(&path, Migrations::Check).await.unwrap_err();
    assert!(outdated.to_string().contains("not up to date"), "{outdated}");
    check_taken_over(&path).await;
}

#[tokio::test]
async fn two_may_start_at_once() {
    let (path, _directory) = file(BEFORE_SQL);
    let (one, two) = tokio::join!(SqliteStore::open(&path), SqliteStore::open(&path));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    check_taken_over(&path).await;
}

#[tokio::test]
async fn an_older_file_is_refused_and_left_alone() {
    let older = "delete from __diesel_schema_migrations where version = '20261129';";
    let (path, _directory) = file(&format!("{BEFORE_SQL}{older}"));
    let refused = SqliteStore::open(&path).await.unwrap_err();
    assert!(refused.to_string().contains("start that version once"), "{refused}");
    assert!(is_before(&mut connect(&path)).unwrap());
}

#[tokio::test]
async fn sessions_that_are_missing_at_the_end_are_an_error() {
    let (path, _directory) = file(BEFORE_SQL);
    let mut connection = connect(&path);
    rename(&mut connection).unwrap();
    open::run_migrations(&mut connection).unwrap();
    begin(&mut connection).unwrap();
    connection.batch_execute("delete from before_sessions where video_id = 9").unwrap();
    drop(connection);
    let err = SqliteStore::open(&path).await.unwrap_err();
    assert!(err.to_string().contains("more or fewer sessions"), "{err}");
    assert!(is_renamed(&mut connect(&path)).unwrap());
}

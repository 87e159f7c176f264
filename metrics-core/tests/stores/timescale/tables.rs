//! Sessions are a hypertable where TimescaleDB is installed, and a plain table elsewhere.

use chrono::{DateTime, TimeDelta, Utc};
use metrics_core::key::SessionId;
use metrics_core::store::{Outcome, Store as _, TimescaleStore};
use metrics_core::{ApiKey, Join, JoinError, Metrics, Video, upkeep};
use metrics_testing::Backend::{Postgres, Timescale};
use metrics_testing::Database;

use super::{close, count, empty_store, sql, started, text};
use crate::fixture::{commit, key, now, write};

#[tokio::test]
async fn sessions_are_a_hypertable_where_there_is_timescaledb() {
    let (store, database) = empty_store(Timescale).await;
    let sql = sql(&database.url()).await;
    let wide = text(
        &sql,
        "select time_interval::text from timescaledb_information.dimensions
         where hypertable_schema = 'metrics' and hypertable_name = 'session_rows'",
    )
    .await;
    assert_eq!(wide, "7 days");

    let key = key(&store).await;
    let weeks = (0..3)
        .map(|week| started(write(&key, &format!("{week}"), 0), now() + TimeDelta::weeks(week)));
    commit(&store, weeks).await;
    close(&store).await;
    assert_eq!(count(&sql, "timescaledb_information.chunks").await, 3);

    // The next hourly upkeep (`finalize`) drops chunks without sessions.
    let third = (now() + TimeDelta::weeks(2)).timestamp_millis();
    assert_eq!(upkeep::delete_before(&store, third).await.unwrap(), 2);
    store.finalize(DateTime::<Utc>::MIN_UTC, 10).await.unwrap();
    assert_eq!(count(&sql, "timescaledb_information.chunks").await, 1);
    assert_eq!(count(&sql, "metrics.sessions").await, 1);

    // Only the community edition can compress.
    let community = text(&sql, "show timescaledb.license").await == "timescale";
    let jobs = "timescaledb_information.jobs where proc_name like '%compression%'";
    assert_eq!(count(&sql, jobs).await, i64::from(community));
}

#[tokio::test]
async fn sessions_are_a_plain_table_where_there_is_none() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    assert_eq!(commit(&store, [write(&key, "a", 0)]).await, [Outcome::Written]);
    close(&store).await;
    let sql = sql(&database.url()).await;
    assert_eq!(count(&sql, "metrics.session_rows").await, 1);
    assert_eq!(count(&sql, "pg_extension where extname = 'timescaledb'").await, 0);
}

/// Joins with a key whose settings cannot be decoded are refused; other keys stay valid.
#[tokio::test]
async fn a_key_that_cannot_be_read_disables_no_other() {
    let (store, database) = empty_store(Postgres).await;
    let sql = sql(&database.url()).await;
    let (damaged, later, sound) = (key(&store).await, key(&store).await, key(&store).await);
    for (key, settings) in [
        (&damaged, r#"{"hosts": 1}"#),
        (&later, r#"{"limits": {"replays": "5/week"}, "colour": 7}"#),
    ] {
        let set = "update metrics.keys set settings = $1::text::jsonb where key = $2";
        assert_eq!(sql.execute(set, &[&settings, &key.as_str()]).await.unwrap(), 1);
    }
    // A row whose `key` is not a valid key.
    let add = "insert into metrics.keys (key, created_at) values ('a key', now())";
    sql.batch_execute(add).await.unwrap();
    let metrics = Metrics::new(store);
    let join = |key: &ApiKey| Join::new(key.clone(), "a", Video::labelled("intro"));
    for key in [&later, &sound] {
        metrics.join(join(key)).await.unwrap();
    }
    assert!(matches!(metrics.join(join(&damaged)).await, Err(JoinError::Origin)));
    assert_eq!(metrics.keys().await.unwrap().len(), 3);
}

/// An operator may install the extension later.
#[tokio::test]
async fn a_plain_table_becomes_a_hypertable_with_all_its_sessions() {
    let database = Database::new(Timescale).await;
    let admin = sql(&database.url()).await;
    // Simulates a server without TimescaleDB: the store does not add the extension to an existing schema.
    admin.batch_execute("create schema metrics").await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    close(&store).await;
    assert_eq!(count(&admin, "pg_extension where extname = 'timescaledb'").await, 0);
    drop(store);

    sql(&database.url()).await.batch_execute("create extension timescaledb").await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();

    assert_eq!(commit(&store, [write(&key, "b", 0)]).await, [Outcome::Written]);
    let reopened = upkeep::load(&store, &[SessionId::new(&key, "a")]).await.unwrap();
    assert!(reopened[0].is_some());
    assert_eq!(store.count_sessions().await.unwrap(), 2);
    let admin = sql(&database.url()).await;
    assert_eq!(count(&admin, "timescaledb_information.hypertables").await, 1);
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_affects_no_other() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "good", 0), write(&key, "bad", 0)]).await;
    let bad = SessionId::new(&key, "bad");
    let damage = format!("update metrics.open_sessions set version = -1 where id = '{bad:?}'");
    sql(&database.url()).await.batch_execute(&damage).await.unwrap();
    let loaded = store.load(&[bad]).await;
    assert!(matches!(loaded, Err(ref err) if !err.is_retryable()), "{loaded:?}");
    assert!(store.load(&[SessionId::new(&key, "good")]).await.unwrap()[0].is_some());
}

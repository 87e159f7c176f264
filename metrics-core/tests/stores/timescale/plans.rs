//! Statements find their rows by an index, and no index makes usual writes slower.

use chrono::{DateTime, Utc};
use metrics_core::store::{Outcome, Store as _, TimescaleStore};
use metrics_core::upkeep;
use metrics_testing::Backend::{Postgres, Timescale};

use super::{OTHERS, count, empty_store, sql, started, until};
use crate::fixture::{commit, key, write};

/// An index on a column that usual writes change would cost each write new entries in all indexes.
#[tokio::test]
async fn no_index_holds_a_column_that_usual_writes_change() {
    let (_store, database) = empty_store(Postgres).await;
    let changes = "version|instance|last_event_at|duration_ms|view_ms|unique_ms|segments|startup_ms|rebuffer|failures
        |details|resume";
    let indexes = "pg_indexes where schemaname = 'metrics' and tablename = 'open_sessions'";
    let sql = sql(&database.url()).await;
    assert_eq!(count(&sql, indexes).await, 3);
    let changes = changes.replace(char::is_whitespace, "");
    assert_eq!(count(&sql, &format!("{indexes} and indexdef ~ '{changes}'")).await, 0);
}

/// A plan made for a small table would stay in use after the table has grown.
#[tokio::test]
async fn writes_find_their_sessions_by_an_index_however_few_there_are() {
    for backend in [Timescale, Postgres] {
        let (store, database) = empty_store(backend).await;
        let key = key(&store).await;
        commit(&store, [write(&key, "a", 0)]).await;
        drop(store);
        let admin = sql(&database.url()).await;
        admin.batch_execute("vacuum analyze metrics.open_sessions").await.unwrap();
        let scans = async |kind: &str| -> i64 {
            let scans = format!(
                "select {kind} from pg_stat_user_tables
                 where schemaname = 'metrics' and relname = 'open_sessions'"
            );
            admin.query_one(&scans, &[]).await.unwrap().get(0)
        };
        let gone = async || count(&admin, OTHERS).await == 0;
        until("closed", gone).await;
        let (whole, by_index) = (scans("seq_scan").await, scans("idx_scan").await);

        let store = TimescaleStore::connect(&database.url()).await.unwrap();
        for version in 1..20 {
            let recent = started(write(&key, &version.to_string(), 0), Utc::now());
            let writes = [write(&key, "a", version), recent];
            assert_eq!(commit(&store, writes).await, [Outcome::Written; 2]);
        }
        drop(store);

        until("told", async || by_index + 19 <= scans("idx_scan").await).await;
        assert_eq!(scans("seq_scan").await, whole, "{backend:?}");
    }
}

/// Statements are planned once. A plan made for an empty table must not scan the grown table for every batch.
#[tokio::test]
async fn statements_planned_for_empty_tables_read_only_their_rows() {
    const SESSIONS: usize = 2_000;
    const BATCH: u32 = 100;
    for backend in [Timescale, Postgres] {
        let (store, database) = empty_store(backend).await;
        let key = key(&store).await;
        let close_all = async |limit| {
            while 0 < upkeep::close(&store, DateTime::<Utc>::MAX_UTC, limit).await.unwrap().1 {}
        };
        commit(&store, [write(&key, "first", 0)]).await;
        close_all(BATCH).await;
        let admin = sql(&database.url()).await;
        admin.batch_execute("vacuum analyze metrics.open_sessions").await.unwrap();
        // Each connection plans its statements now.
        for name in ["a", "b", "c", "d"] {
            commit(&store, [write(&key, name, 0)]).await;
            close_all(BATCH).await;
        }
        let writes = (0..SESSIONS).map(|number| write(&key, &number.to_string(), 0));
        for writes in writes.collect::<Vec<_>>().chunks(500) {
            store.commit(writes.to_vec().into()).await.unwrap();
        }
        close_all(BATCH).await;
        drop(store);

        let gone = async || count(&admin, OTHERS).await == 0;
        until("closed", gone).await;
        let read: i64 = admin
            .query_one(
                "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables
                 where schemaname = 'metrics' and relname = 'open_sessions'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        // Each row is listed, locked, copied and deleted; scanning all remaining rows per batch would add 21,000 reads.
        assert!(read < 8 * SESSIONS as i64, "{backend:?}: {read} rows read");
    }
}

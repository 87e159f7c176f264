//! Commits that are dropped, that meet, and that run while chunks are compressed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use metrics_core::key::SessionId;
use metrics_core::store::{Outcome, RowId, Store, TimescaleStore};
use metrics_core::upkeep;
use metrics_testing::Backend;
use metrics_testing::Backend::{Postgres, Timescale};

use super::{
    blocks, close, compress, count, empty_store, everything, name, sql, started, text, unscheduled,
};
use crate::fixture::{check_dropped_commits, commit, key, now, write};

async fn check_dropped(backend: Backend) {
    let (store, _database) = empty_store(backend).await;
    check_dropped_commits(&store, Duration::from_micros(500)).await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_complete_or_undone_on_timescaledb() {
    check_dropped(Timescale).await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_complete_or_undone_on_postgresql() {
    check_dropped(Postgres).await;
}

/// Two instances write many of the same sessions at once, in any order: every commit returns an outcome.
#[tokio::test(flavor = "multi_thread")]
async fn writers_of_the_same_sessions_do_not_lock_each_other_out() {
    let (one, database) = empty_store(Timescale).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    let stores: [Arc<dyn Store>; 2] = [Arc::new(one), Arc::new(two)];
    let mut tasks = tokio::task::JoinSet::new();
    for (number, store) in stores.iter().cloned().enumerate() {
        let key = key.clone();
        tasks.spawn(async move {
            let ids: Vec<_> =
                (0..300).map(|session| SessionId::new(&key, &session.to_string())).collect();
            let mut written = 0;
            for _ in 0..20 {
                let loaded = store.load(&ids).await.unwrap();
                let mut writes: Vec<_> = loaded
                    .iter()
                    .enumerate()
                    .map(|(session, loaded)| {
                        let version = loaded.as_ref().map_or(0, |loaded| loaded.version);
                        started(write(&key, &session.to_string(), version), Utc::now())
                    })
                    .collect();
                if number == 1 {
                    writes.reverse();
                }
                let outcomes = store.commit(writes.into()).await.unwrap();
                written += outcomes.iter().filter(|outcome| **outcome == Outcome::Written).count();
            }
            written
        });
    }
    let written: usize = tasks.join_all().await.into_iter().sum();
    let ids: Vec<_> = (0..300).map(|session| SessionId::new(&key, &session.to_string())).collect();
    let loaded = stores[0].load(&ids).await.unwrap();
    let versions: u32 = loaded.iter().flatten().map(|loaded| loaded.version).sum();
    assert_eq!(versions as usize, written);
    assert_eq!(stores[0].count_sessions().await.unwrap(), 300);
}

/// The row ids of all sessions, open and closed.
async fn row_ids(store: &dyn Store) -> Vec<RowId> {
    let mut snapshot = store.snapshot().await.unwrap();
    let open = snapshot.open_sessions(&everything(), None, 100_000).await.unwrap();
    let mut ids: Vec<_> = open.into_iter().map(|session| session.row.id).collect();
    for block in blocks(&mut *snapshot).await {
        ids.extend(block.rows().unwrap().into_iter().map(|row| row.id));
    }
    ids.sort_unstable();
    ids
}

/// TimescaleDB compresses chunks at any moment, concurrently with writes. The Apache edition does not.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_complete_while_their_chunks_are_compressed() {
    const NEW: usize = 30;
    let (store, database) = empty_store(Timescale).await;
    let key = key(&store).await;
    let compressing = sql(&database.url()).await;
    unscheduled(&compressing).await;
    let admin = sql(&database.url()).await;
    let compressing = tokio::spawn(async move {
        loop {
            if let Err(err) = compress(&compressing).await {
                return err;
            }
        }
    });
    let mut ids = Vec::new();
    let mut versions: Vec<u32> = Vec::new();
    for round in 0..12 {
        let (old, all) = (versions.len(), versions.len() + NEW);
        versions.resize(all, 0);
        // All new sessions, and some stored ones.
        let changed = (0..all).filter(|number| old <= *number || number % 7 == round % 7);
        let mut writes = Vec::new();
        for number in changed {
            let write = write(&key, &number.to_string(), versions[number]);
            versions[number] += 1;
            // The sessions start in three chunks, several per commit.
            writes.push(started(write, now() + TimeDelta::days(number as i64 % 15)));
        }
        ids.extend(writes[writes.len() - NEW..].iter().map(|write| write.id));
        let written = vec![Outcome::Written; writes.len()];
        assert_eq!(commit(&store, writes).await, written, "round {round}");
        if round % 3 != 0 {
            close(&store).await;
        }

        let mut sorted: Vec<RowId> = ids.iter().map(|id| RowId::from(*id)).collect();
        sorted.sort_unstable();
        assert_eq!(row_ids(&store).await, sorted, "round {round}");
        assert_eq!(count(&admin, "metrics.sessions").await, all as i64, "round {round}");
        // Loading opens the closed sessions again for the next writes.
        let loaded = upkeep::load(&store, &ids).await.unwrap();
        let loaded: Vec<_> = loaded.iter().flatten().map(|loaded| loaded.version).collect();
        assert_eq!(loaded, versions, "round {round}");
    }
    let apache = text(&sql(&database.url()).await, "show timescaledb.license").await == "apache";
    if apache || compressing.is_finished() {
        let err = compressing.await.unwrap();
        assert!(apache, "{err:?}");
    } else {
        compressing.abort();
    }
}

/// Acknowledged commits are durable even if the database has `synchronous_commit = off`.
#[tokio::test]
async fn commits_wait_for_the_disk() {
    let (_store, database) = empty_store(Postgres).await;
    let careless = format!(
        "alter database {} set synchronous_commit = off;
         create function metrics.look() returns trigger language plpgsql as
            'begin new.key = current_setting($s$synchronous_commit$s$); return new; end';
         create trigger look before insert on metrics.keys for each row execute function metrics.look()",
        name(&database)
    );
    sql(&database.url()).await.batch_execute(&careless).await.unwrap();
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    key(&store).await;
    assert_eq!(store.keys().await.unwrap()[0].key.as_str(), "on");
}

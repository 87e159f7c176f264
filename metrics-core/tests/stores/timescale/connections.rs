//! Connections: notifications, cuts, dropped calls, and updates of the extension.

use std::time::Duration;

use metrics_core::ApiKey;
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::store::{Error, Outcome, Store as _, TimescaleStore};
use metrics_testing::Backend::{Postgres, Timescale};
use metrics_testing::Database;
use tokio::time::timeout;

use super::{OTHERS, count, empty_store, everything, sql, until};
use crate::fixture::{commit, key, now, write};

/// `revoke_key` and an SQL update both notify instances.
#[tokio::test]
async fn all_instances_are_notified_of_a_revoked_key() {
    let (one, database) = empty_store(Postgres).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    // The store polls until it listens: then no call returns before a change.
    let mut seen = 0;
    let quiet = Duration::from_secs(2);
    while let Ok(number) = timeout(quiet, two.keys_changed(seen)).await {
        seen = number;
    }
    let (version, revoked) =
        tokio::join!(timeout(quiet, two.keys_changed(seen)), one.revoke_key(&key, now()));
    assert!(revoked.unwrap());
    assert_ne!(version, Ok(seen));
    seen = version.unwrap();

    let by_hand = "update metrics.keys set disabled_at = null";
    let admin = sql(&database.url()).await;
    let (version, done) =
        tokio::join!(timeout(quiet, two.keys_changed(seen)), admin.batch_execute(by_hand));
    done.unwrap();
    assert_ne!(version.unwrap(), seen);
}

#[tokio::test]
async fn connections_that_are_cut_are_replaced() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    let admin = sql(&database.url()).await;
    for version in 1..5 {
        let cut = format!("select pg_terminate_backend(pid) from {OTHERS}");
        admin.query(&cut, &[]).await.unwrap();
        // The first connection may detect the cut only when it writes.
        let mut again = store.commit([write(&key, "a", version)].into()).await;
        while let Err(err) = &again {
            assert!(err.is_retryable(), "{err:?}");
            again = store.commit([write(&key, "a", version)].into()).await;
        }
        assert_eq!(again.unwrap(), [Outcome::Written]);
        until("listens again", || async {
            0 < count(&admin, &format!("{OTHERS} and query = 'listen metrics_keys'")).await
        })
        .await;
    }
    let loaded = store.load(&[SessionId::new(&key, "a")]).await.unwrap();
    assert_eq!(loaded[0].as_ref().unwrap().version, 5);
}

/// A dropped report must not cost a connection, and the server must cancel its query.
#[tokio::test]
async fn reports_that_are_dropped_are_stopped() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    commit(&store, [write(&key, "a", 0)]).await;
    let mut locking = sql(&database.url()).await;
    let lock = locking.transaction().await.unwrap();
    lock.batch_execute("lock table metrics.open_sessions in access exclusive mode").await.unwrap();
    for _ in 0..20 {
        let mut snapshot = store.snapshot().await.unwrap();
        let limit = Duration::from_millis(50);
        assert!(timeout(limit, snapshot.open_sessions(&everything(), None, 1)).await.is_err());
        // A snapshot is unusable after a dropped call.
        let again = snapshot.resumable(None, 1).await;
        assert!(matches!(again, Err(Error::Unavailable { .. })), "{again:?}");
    }
    let waiting = format!("{OTHERS} and wait_event_type = 'Lock'");
    let admin = sql(&database.url()).await;
    until("stopped", || async { count(&admin, &waiting).await == 0 }).await;
    lock.rollback().await.unwrap();
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.open_sessions(&everything(), None, 10).await.unwrap().len(), 1);
}

/// Each snapshot has its own moment, and no connection stays in a transaction.
#[tokio::test]
async fn connections_come_back_clean_from_snapshots() {
    let (store, database) = empty_store(Postgres).await;
    let key = key(&store).await;
    for round in 0..50_u64 {
        let mut snapshot = store.snapshot().await.unwrap();
        let open = snapshot.open_sessions(&everything(), None, 1_000).await.unwrap();
        assert_eq!(open.len() as u64, round);
        commit(&store, [write(&key, &round.to_string(), 0)]).await;
        if round % 5 == 0 {
            // Drops the call before its end.
            let limit = Duration::from_micros(20 * round);
            let _any = timeout(limit, snapshot.resumable(None, 10)).await;
        }
    }
    let admin = sql(&database.url()).await;
    let open = format!("{OTHERS} and state like 'idle in transaction%'");
    until("clean", || async { count(&admin, &open).await == 0 }).await;
}

/// After an update of TimescaleDB's package, the database refers to a library that no longer exists, until the
/// extension is updated too. No earlier connection is open by then, because the server was restarted.
#[tokio::test]
async fn an_extension_that_is_updated_later_than_its_library_is_waited_for() {
    let database = Database::new(Timescale).await;
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = ApiKey::generate();
    store.create_key(&key, instant(0)).await.unwrap();
    // A connection without the library can change `pg_extension`, as packages and their scripts do.
    let unloaded =
        sql(&format!("{}?options=-c%20timescaledb.disable_load%3Don", database.url())).await;
    let version = "select extversion from pg_extension where extname = 'timescaledb'";
    let version: String = unloaded.query_one(version, &[]).await.unwrap().get(0);
    let set_version = async |version: &str| {
        let set = "update pg_extension set extversion = $1 where extname = 'timescaledb'";
        assert_eq!(unloaded.execute(set, &[&version]).await.unwrap(), 1);
    };
    let restart = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'metrics'";
    set_version("0.0.1").await;
    unloaded.batch_execute(restart).await.unwrap();
    let writes = [write(&key, "a", 0)];
    for _ in 0..3 {
        let failures = [
            store.check().await.unwrap_err(),
            store.commit(writes.clone().into()).await.unwrap_err(),
            store.snapshot().await.err().unwrap(),
        ];
        // Some calls report only that their connection was closed.
        if failures.iter().all(|err| err.advice().is_some()) {
            break;
        }
        assert!(failures.iter().all(Error::is_retryable), "{failures:?}");
    }
    let err = store.check().await.unwrap_err();
    assert!(err.is_retryable() && err.advice().unwrap().contains("alter extension"), "{err:?}");
    assert!(chain(&err).contains("$libdir/timescaledb-0.0.1"), "{err:?}");
    // A store that starts now gets the same error.
    let err = TimescaleStore::connect(&database.url()).await.unwrap_err();
    assert!(chain(&err).contains("alter extension"), "{err:?}");

    set_version(&version).await;
    // The same store continues on new connections.
    assert_eq!(store.commit(writes.into()).await.unwrap(), [Outcome::Written]);
    store.check().await.unwrap();
    drop(store.snapshot().await.unwrap());
    assert_eq!(store.count_sessions().await.unwrap(), 1);
}

fn chain(err: &Error) -> String {
    let (mut text, mut cause) = (err.to_string(), std::error::Error::source(err));
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}

/// A connection that has loaded another version than the database refers to now is unusable. So all connections are
/// closed, not only the one that failed.
#[tokio::test]
async fn connections_with_a_library_that_was_replaced_are_closed() {
    let database = Database::new(Postgres).await;
    let store = TimescaleStore::connect(&database.url()).await.unwrap();
    let admin = sql(&database.url()).await;
    let backends = async || -> Vec<i32> {
        let backends = "select pid from pg_stat_activity where datname = current_database()
            and application_name = 'metrics' and query not like 'listen%' order by pid";
        admin.query(backends, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    // Opens several connections.
    let (one, two) = tokio::join!(store.check(), store.count_sessions());
    assert!(one.is_ok() && two.is_ok());
    let before = backends().await;
    admin
        .batch_execute(
            "create function metrics.fail() returns trigger language plpgsql as $$ begin
                raise exception '\"timescaledb\" already loaded with a different version'; end $$;
            create trigger fail before delete on metrics.keys for each statement
                execute function metrics.fail()",
        )
        .await
        .unwrap();
    let err = store.check().await.unwrap_err();
    assert!(err.advice().is_some(), "{err:?}");
    let closed = async {
        while backends().await.iter().any(|pid| before.contains(pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), closed).await.expect("connections stay open");
    admin.batch_execute("drop trigger fail on metrics.keys").await.unwrap();
    store.check().await.unwrap();
}

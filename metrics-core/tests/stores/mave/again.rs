//! An import that is repeated, interrupted or run twice at once doubles nothing and loses nothing.

use std::sync::Arc;

use metrics_core::ApiKey;
use metrics_core::export::Record;
use metrics_core::key::SessionId;
use metrics_core::mave::{ImportError, Imported, Mave, Progress};
use metrics_core::session::Session;
use metrics_testing::{Backend, Database, Faults};

use super::support::{NEWER, Old, empty_store, everything, lines};

const SESSIONS: u64 = 3_500;

/// Several pages of sessions, one in ten of them without a play, and their ids with gaps.
async fn large() -> Old {
    let old = Old::new(NEWER).await;
    old.run(
        r#"insert into keys (id, key) select n, 'key-' || n from generate_series(1, 3) as n;
        insert into videos (id, metadata, key_id)
            select n, jsonb_build_object('number', n), 1 + n % 3 from generate_series(1, 50) as n;
        insert into sessions (id, "timestamp", browser, uri_host, uri_path, video_id)
            select 3 * n, timestamp '2022-01-01' + n * interval '1 minute', 'chrome', 'example.com', '/' || n % 20,
                1 + n % 50 from generate_series(1, 3500) as n;
        insert into events
            select "timestamp", 'play', id % 100, id, video_id from sessions where id % 10 <> 0;
        insert into events
            select "timestamp" + interval '5 s', 'pause', id % 100 + 5.5, id, video_id from sessions;"#,
    )
    .await;
    old
}

/// The sessions and the result of an import into an empty store.
async fn expected(old: &Old) -> (Vec<Record>, Imported) {
    let (store, _database) = empty_store().await;
    let imported = old.import(&*store).await.unwrap();
    assert_eq!((imported.sessions, imported.already_there), (SESSIONS * 9 / 10, 0));
    (everything(&*store).await, imported)
}

#[tokio::test]
async fn an_import_reports_its_progress() {
    let old = large().await;
    let (store, _database) = empty_store().await;
    let mut seen = Vec::new();
    let mave = Mave::connect(&old.url()).await.unwrap();
    let imported = mave.import(&*store, |progress| seen.push(*progress)).await.unwrap();
    let dones: Vec<_> = seen.iter().map(|progress| progress.sessions_done).collect();
    assert_eq!(dones, [0, 1_000, 2_000, 3_000, 3_500]);
    assert!(seen.iter().all(|progress| progress.sessions_total == SESSIONS));
    assert_eq!((imported.keys, imported.sessions), (3, 3_150));
    let nothing = "sessions in which nothing was played: 350 (sessions.id 30, 60, 90, 120, 150)";
    assert_eq!(lines(&imported), [nothing]);
}

#[tokio::test]
async fn a_repeated_import_changes_nothing() {
    let old = large().await;
    let (store, _database) = empty_store().await;
    let first = old.import(&*store).await.unwrap();
    let (records, keys) = (everything(&*store).await, store.keys().await.unwrap());

    let again = old.import(&*store).await.unwrap();

    let mut expected = first.clone();
    (expected.keys, expected.sessions, expected.already_there) = (0, 0, first.sessions);
    assert_eq!(again, expected);
    assert_eq!(everything(&*store).await, records);
    assert_eq!(store.keys().await.unwrap(), keys);
}

#[tokio::test]
async fn later_sessions_are_added_by_another_import() {
    let old = large().await;
    let (store, _database) = empty_store().await;
    let first = old.import(&*store).await.unwrap();
    old.run(
        r#"insert into sessions (id, "timestamp", video_id) values (20000, '2022-06-01', 1);
        insert into events values ('2022-06-01', 'play', 0, 20000, 1), ('2022-06-01', 'play', 0, 30, 1);"#,
    )
    .await;
    // One of the two was left out before, and is complete now.
    let again = old.import(&*store).await.unwrap();
    assert_eq!((again.sessions, again.already_there), (2, first.sessions));
}

#[tokio::test]
async fn an_import_that_failed_half_way_goes_on() {
    let old = large().await;
    let (records, whole) = expected(&old).await;
    let (store, _database) = empty_store().await;
    // A session of the second thousand.
    let poison = SessionId::new(&ApiKey::new("key-3").unwrap(), "mave:4503");
    let poisoned = Faults::default().refusing(poison).over(Arc::clone(&store));
    let failed = old.import(&poisoned).await.unwrap_err();
    assert!(matches!(failed, ImportError::Write(_)), "{failed:?}");
    assert_eq!(
        failed.to_string(),
        "the store did not accept all sessions; imported sessions stay: import again to continue"
    );
    assert_eq!(store.count_sessions().await.unwrap(), 900);

    let again = old.import(&*store).await.unwrap();

    assert_eq!((again.sessions, again.already_there), (whole.sessions - 900, 900));
    assert_eq!(again.left_out, whole.left_out);
    assert_eq!(everything(&*store).await, records);
}

#[tokio::test]
async fn imports_over_a_bad_connection_come_to_an_end() {
    let old = large().await;
    let (records, whole) = expected(&old).await;
    let (store, _database) = empty_store().await;
    // Half of the calls that fail are executed nevertheless.
    let faulty = Faults::default().failing(20).over(Arc::clone(&store));
    let mut failures = 0;
    let imported = loop {
        match old.import(&faulty).await {
            Ok(imported) => break imported,
            Err(_) => failures += 1,
        }
    };
    assert!(0 < failures);
    assert_eq!(imported.sessions + imported.already_there, whole.sessions);
    assert_eq!(everything(&*store).await, records);
}

#[tokio::test]
async fn an_import_that_was_dropped_goes_on() {
    let old = large().await;
    let (records, _) = expected(&old).await;
    let (store, _database) = empty_store().await;
    for pages in 0..3 {
        let mave = Mave::connect(&old.url()).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let mut stop = Some(stop);
        let import = mave.import(&*store, |progress: &Progress| {
            if 1_000 * pages <= progress.sessions_done {
                stop.take().map(|stop| stop.send(()));
            }
        });
        // The import is dropped at its next wait, while it reads or while it writes.
        tokio::select! {
            biased;
            _ = stopped => {}
            imported = import => panic!("{imported:?}"),
        }
        assert!(everything(&*store).await.len() < records.len());
    }
    old.import(&*store).await.unwrap();
    assert_eq!(everything(&*store).await, records);
}

#[tokio::test]
async fn an_import_whose_connection_is_cut_reports_it_and_goes_on() {
    let old = large().await;
    let (records, _) = expected(&old).await;
    let (store, _database) = empty_store().await;
    let mave = Mave::connect(&old.url()).await.unwrap();
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()";
    old.run(cut).await;
    let failed = mave.import(&*store, |_| {}).await.unwrap_err();
    let ImportError::Read(reason) = &failed else { panic!("{failed:?}") };
    assert!(reason.is_retryable(), "{reason:?}");
    assert_eq!(reason.to_string(), "the mave database is unavailable");

    old.import(&*store).await.unwrap();
    assert_eq!(everything(&*store).await, records);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_at_once_make_every_session_once() {
    let old = large().await;
    let (records, whole) = expected(&old).await;
    let (store, _database) = empty_store().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mave = Mave::connect(&old.url()).await.unwrap();
        let store = Arc::clone(&store);
        tasks.spawn(async move { mave.import(&*store, |_| {}).await.unwrap().sessions });
    }
    assert_eq!(tasks.join_all().await.iter().sum::<u64>(), whole.sessions);
    assert_eq!(everything(&*store).await, records);
}

#[tokio::test]
async fn every_store_accepts_the_same() {
    let old = large().await;
    let (records, whole) = expected(&old).await;
    for backend in Backend::ALL {
        let database = Database::new(backend).await;
        let store = database.open().await;
        assert_eq!(old.import(&*store).await.unwrap(), whole, "{backend:?}");
        assert_eq!(everything(&*store).await, records, "{backend:?}");
        let again = old.import(&*store).await.unwrap();
        assert_eq!((again.sessions, again.already_there), (0, whole.sessions), "{backend:?}");
    }
}

#[tokio::test]
async fn an_imported_session_can_be_loaded_and_is_over() {
    let old = large().await;
    let (records, _) = expected(&old).await;
    for record in &records {
        let session = Session::load(&record.stored).unwrap();
        assert!(!session.viewing());
    }
}

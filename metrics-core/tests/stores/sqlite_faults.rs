//! SQLite stores whose disk is full, or whose file is damaged, missing, locked or torn.
//!
//! Such a store acknowledges nothing that is not stored, reports the fault, and continues when the fault is mended.

#![cfg(feature = "sqlite")]

mod damage;
mod full;
mod log;

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use metrics_core::store::{
    Error, OpenScan, SessionWrite, SqliteStore, Store as _, Subject, Videos,
};
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video};

use crate::fixture::{self, now};

/// The timeout of everything that a test waits for.
const WAIT: Duration = Duration::from_secs(20);

/// The first write of a session with `bytes` bytes of session data.
fn write(key: &ApiKey, session: &str, bytes: usize) -> SessionWrite {
    let write = fixture::write(key, session, 0);
    let data = Some(format!("{{\"data\":\"{}\"}}", "x".repeat(bytes)));
    let subject = Subject { source: None, session_data: data, ..(*write.subject).clone() };
    SessionWrite { subject: Arc::new(subject), ..write }
}

/// Writes of `sessions` sessions of a kibibyte each.
fn some(key: &ApiKey, name: &str, sessions: usize) -> Arc<[SessionWrite]> {
    (0..sessions).map(|number| write(key, &format!("{name} {number}"), 1_024)).collect()
}

async fn open_in(directory: &Path) -> (SqliteStore, PathBuf, ApiKey) {
    let path = directory.join("metrics.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let key = ApiKey::generate();
    assert!(store.create_key(&key, now()).await.unwrap());
    (store, path, key)
}

fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

/// Counts the open sessions, which a report reads first.
async fn read_open(store: &SqliteStore) -> Result<usize, Error> {
    let scan = OpenScan { videos: Videos::All, from_ms: 0, to_ms: i64::MAX, watched_at: None };
    Ok(store.snapshot().await?.open_sessions(&scan, None, 1_000).await?.len())
}

#[track_caller]
fn check_whole(path: &Path) {
    let check = diesel::dsl::sql::<Text>("pragma integrity_check");
    assert_eq!(check.load::<String>(&mut connect(path)).unwrap(), ["ok"]);
}

/// The error and its cause, as logged. The error must be retryable.
#[track_caller]
fn fault<T: std::fmt::Debug>(done: Result<T, Error>) -> String {
    let err = done.unwrap_err();
    assert!(err.is_retryable(), "{err:?}");
    format!("{err}: {}", err.source().expect("a cause"))
}

/// Joins, submits two events that wait for the store, and returns the session once the store is unavailable.
async fn wait_for_store(metrics: &Metrics, key: &ApiKey, session: &str) -> metrics_core::Viewing {
    let viewing = metrics.join(Join::new(key.clone(), session, Video::labelled("intro"))).await;
    let viewing = viewing.unwrap();
    let mut played = viewing.submit(&PlayerEvent::play(0.0)).unwrap();
    let mut paused = viewing.submit(&PlayerEvent::pause(5.0)).unwrap();
    let unavailable = async {
        while metrics.stats().unavailable_since.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        done = played.durable() => panic!("nothing can be stored, and it is {done:?}"),
        done = paused.durable() => panic!("nothing can be stored, and it is {done:?}"),
        done = tokio::time::timeout(WAIT, unavailable) => done.unwrap(),
    }
    viewing
}

#[track_caller]
fn expect(message: impl AsRef<str>, text: &str) {
    let message = message.as_ref();
    assert!(message.contains(text), "{message}");
}

/// The error message of a file that cannot be opened. The file must stay as it is.
async fn refusal(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let err = SqliteStore::open(path).await.unwrap_err();
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    assert!(!err.is_retryable(), "{err}");
    err.to_string()
}

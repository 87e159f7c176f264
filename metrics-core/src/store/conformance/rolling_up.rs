//! A store that rolls sessions up as soon as they are there, so that every case is also about sums.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use crate::engagement::{Parts, Seconds};
use crate::key::{ApiKey, SessionId};
use crate::query::{Scan, Selection};
use crate::report::{PlayCell, SourceCell};
use crate::session::Stored;
use crate::store::{
    Cursor, Error, Instance, KeyRecord, KnownVideo, Loaded, Lookup, Outcome, Page, SessionWrite,
    Store,
};
use crate::time_bucket::Buckets;
use crate::video::Video;

/// Rolls up what is quiet after three of four commits, so that some sessions are loose.
#[derive(Debug)]
pub struct RollingUp<S> {
    store: S,
    commits: AtomicU32,
}

impl<S: Store> RollingUp<S> {
    /// This store.
    pub fn new(store: S) -> Self {
        Self { store, commits: AtomicU32::new(0) }
    }
}

/// Rolls up all sessions that have no segment open.
pub(super) async fn roll_up(store: &dyn Store) {
    while 0 < store.roll_up(DateTime::<Utc>::MAX_UTC, 1_000).await.expect("rolled up") {}
}

#[async_trait]
impl<S: Store> Store for RollingUp<S> {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.store.keys().await
    }

    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        self.store.create_key(key, now).await
    }

    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        self.store.revoke_key(key, now).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Loaded>>, Error> {
        self.store.load(ids).await
    }

    async fn find(&self, lookups: &[Lookup]) -> Result<Vec<Option<Stored>>, Error> {
        self.store.find(lookups).await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        let outcomes = self.store.commit(writes).await?;
        if !self.commits.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            roll_up(&self.store).await;
        }
        Ok(outcomes)
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        self.store.known_videos(videos).await
    }

    async fn plays(&self, scan: &Scan, buckets: Buckets) -> Result<Vec<PlayCell>, Error> {
        self.store.plays(scan, buckets).await
    }

    async fn sources(&self, scan: &Scan, buckets: Buckets) -> Result<Vec<SourceCell>, Error> {
        self.store.sources(scan, buckets).await
    }

    async fn parts(&self, scan: &Scan, parts: u32) -> Result<Parts, Error> {
        self.store.parts(scan, parts).await
    }

    async fn seconds(&self, scan: &Scan, buckets: Buckets) -> Result<Seconds, Error> {
        self.store.seconds(scan, buckets).await
    }

    async fn watching(&self, selection: &Selection, now: DateTime<Utc>) -> Result<u64, Error> {
        self.store.watching(selection, now).await
    }

    async fn roll_up(&self, quiet_since: DateTime<Utc>, at_most: u32) -> Result<u64, Error> {
        self.store.roll_up(quiet_since, at_most).await
    }

    async fn settle(&self, silent_since: DateTime<Utc>, at_most: u32) -> Result<u64, Error> {
        self.store.settle(silent_since, at_most).await
    }

    async fn rollup_days(&self) -> Result<Option<(NaiveDate, NaiveDate)>, Error> {
        self.store.rollup_days().await
    }

    async fn check_rollups(&self, day: NaiveDate, mend: bool) -> Result<bool, Error> {
        self.store.check_rollups(day, mend).await
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.store.beat(instance, now).await
    }

    async fn export(&self, cursor: Option<&Cursor>, limit: u32) -> Result<Page, Error> {
        self.store.export(cursor, limit).await
    }

    async fn forget(&self, start: DateTime<Utc>) -> Result<(), Error> {
        self.store.forget(start).await
    }

    async fn keys_changed(&self, seen: u64) -> u64 {
        self.store.keys_changed(seen).await
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.store.count_sessions().await
    }

    async fn check(&self) -> Result<(), Error> {
        self.store.check().await
    }
}

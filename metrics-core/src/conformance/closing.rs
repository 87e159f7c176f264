//! A store that closes sessions right after most commits, so that every case also covers closed sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::draft::{close, merge};
use crate::key::{ApiKey, SessionId};
use crate::store::{
    Error, Found, Instance, KeyChange, KeyId, KeyRecord, KnownVideo, OpenSession, Outcome, Rewrite,
    SessionWrite, Snapshot, Store, Unused, VideoId,
};
use crate::video::Video;

/// Wraps a store: closes sessions without an open segment and merges blocks after three of four commits. The fourth
/// keeps some sessions open.
#[derive(Debug)]
pub struct Closing<S> {
    store: S,
    commits: AtomicU32,
}

impl<S: Store> Closing<S> {
    /// Wraps `store`.
    pub fn new(store: S) -> Self {
        Self { store, commits: AtomicU32::new(0) }
    }
}

#[async_trait]
impl<S: Store> Store for Closing<S> {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.store.keys().await
    }

    async fn add_key(&self, record: &KeyRecord) -> Result<bool, Error> {
        self.store.add_key(record).await
    }

    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        self.store.change_key(key, change).await
    }

    async fn keys_changed(&self, seen: u64) -> u64 {
        self.store.keys_changed(seen).await
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.store.beat(instance, now).await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        self.store.known_videos(videos).await
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<(KeyId, VideoId)>, Error> {
        self.store.add_videos(videos).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Found>>, Error> {
        self.store.load(ids).await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        let outcomes = self.store.commit(writes).await?;
        if !self.commits.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            close(&self.store).await;
            merge(&self.store).await;
        }
        Ok(outcomes)
    }

    async fn quiet(
        &self,
        quiet_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        self.store.quiet(quiet_since, limit).await
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Outcome, Error> {
        self.store.rewrite(rewrite).await
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
        self.store.finalize(silent_since, limit).await
    }

    async fn delete_unused(&self, limit: u32) -> Result<Unused, Error> {
        self.store.delete_unused(limit).await
    }

    async fn retention_clock(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.store.retention_clock().await
    }

    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<Outcome, Error> {
        self.store.set_retention_clock(expected, at).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error> {
        self.store.snapshot().await
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.store.count_sessions().await
    }

    async fn count_videos(&self, keys: &[ApiKey]) -> Result<Vec<u64>, Error> {
        self.store.count_videos(keys).await
    }

    fn is_damaged(&self) -> bool {
        self.store.is_damaged()
    }

    async fn check(&self) -> Result<(), Error> {
        self.store.check().await
    }
}

//! A store whose every call goes some other way than straight to it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use metrics_core::engagement::{Parts, Seconds};
use metrics_core::key::SessionId;
use metrics_core::query::Scan;
use metrics_core::report::{PlayCell, SourceCell};
use metrics_core::session::Stored;
use metrics_core::store::{
    Cursor, Error, Instance, KEYS_POLL, KeyRecord, KnownVideo, Loaded, Lookup, Outcome, Page,
    SessionWrite, Store,
};
use metrics_core::time_bucket::Buckets;
use metrics_core::{ApiKey, Selection, Video};

/// A call of a store, which needs nothing any more but to be run.
pub type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Which call it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// `keys`.
    Keys,
    /// `load`, `find` and `known_videos`.
    Load,
    /// `commit`.
    Commit,
    /// `beat`.
    Beat,
    /// `check`.
    Check,
    /// `export`.
    Export,
    /// `plays`.
    Plays,
    /// Any other: reports, and what operators do.
    Other,
}

/// How a call gets to the store.
#[async_trait]
pub trait Way: fmt::Debug + Send + Sync + 'static {
    /// Makes a call.
    async fn go<T: Send + 'static>(&self, method: Method, call: Call<T>) -> Result<T, Error>;

    /// Looks at what is to be written, and may refuse it.
    ///
    /// # Errors
    ///
    /// What the writer is told.
    fn inspect(&self, writes: &[SessionWrite]) -> Result<(), Error> {
        let _any = writes;
        Ok(())
    }

    /// Whether the keys never change once they are known, so that nobody need look.
    fn has_settled_keys(&self) -> bool {
        false
    }
}

/// A store, and the way to it.
///
/// It is not told of changes of the keys: to be told would be a call that takes as long as nothing changes.
#[derive(Debug)]
pub struct Through<W> {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The way to it.
    pub way: W,
}

impl<W: Way> Through<W> {
    /// This store, by this way.
    #[must_use]
    pub fn by(way: W, store: Arc<dyn Store>) -> Self {
        Self { store, way }
    }

    // What a call needs is its own: it may go on when nobody waits for it any more.
    async fn go<T, F>(&self, method: Method, call: impl FnOnce(Arc<dyn Store>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let call = Box::pin(call(Arc::clone(&self.store)));
        self.way.go(method, call).await
    }
}

type Answer<T> = Result<T, Error>;

#[async_trait]
impl<W: Way> Store for Through<W> {
    async fn keys(&self) -> Answer<Vec<KeyRecord>> {
        self.go(Method::Keys, |store| async move { store.keys().await }).await
    }

    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Answer<bool> {
        let key = key.clone();
        self.go(Method::Other, |store| async move { store.create_key(&key, now).await }).await
    }

    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Answer<bool> {
        let key = key.clone();
        self.go(Method::Other, |store| async move { store.revoke_key(&key, now).await }).await
    }

    async fn load(&self, ids: &[SessionId]) -> Answer<Vec<Option<Loaded>>> {
        let ids = ids.to_vec();
        self.go(Method::Load, |store| async move { store.load(&ids).await }).await
    }

    async fn find(&self, lookups: &[Lookup]) -> Answer<Vec<Option<Stored>>> {
        let lookups = lookups.to_vec();
        self.go(Method::Load, |store| async move { store.find(&lookups).await }).await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Answer<Vec<Outcome>> {
        self.way.inspect(&writes)?;
        self.go(Method::Commit, |store| async move { store.commit(writes).await }).await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Answer<Vec<KnownVideo>> {
        let videos = videos.to_vec();
        self.go(Method::Load, |store| async move { store.known_videos(&videos).await }).await
    }

    async fn plays(&self, scan: &Scan, buckets: Buckets) -> Answer<Vec<PlayCell>> {
        let scan = scan.clone();
        self.go(Method::Plays, |store| async move { store.plays(&scan, buckets).await }).await
    }

    async fn sources(&self, scan: &Scan, buckets: Buckets) -> Answer<Vec<SourceCell>> {
        let scan = scan.clone();
        self.go(Method::Other, |store| async move { store.sources(&scan, buckets).await }).await
    }

    async fn parts(&self, scan: &Scan, parts: u32) -> Answer<Parts> {
        let scan = scan.clone();
        self.go(Method::Other, |store| async move { store.parts(&scan, parts).await }).await
    }

    async fn seconds(&self, scan: &Scan, buckets: Buckets) -> Answer<Seconds> {
        let scan = scan.clone();
        self.go(Method::Other, |store| async move { store.seconds(&scan, buckets).await }).await
    }

    async fn watching(&self, selection: &Selection, now: DateTime<Utc>) -> Answer<u64> {
        let selection = selection.clone();
        self.go(Method::Other, |store| async move { store.watching(&selection, now).await }).await
    }

    async fn roll_up(&self, quiet_since: DateTime<Utc>, at_most: u32) -> Answer<u64> {
        self.go(Method::Other, |store| async move { store.roll_up(quiet_since, at_most).await })
            .await
    }

    async fn settle(&self, silent_since: DateTime<Utc>, at_most: u32) -> Answer<u64> {
        self.go(Method::Other, |store| async move { store.settle(silent_since, at_most).await })
            .await
    }

    async fn rollup_days(&self) -> Answer<Option<(NaiveDate, NaiveDate)>> {
        self.go(Method::Other, |store| async move { store.rollup_days().await }).await
    }

    async fn check_rollups(&self, day: NaiveDate, mend: bool) -> Answer<bool> {
        self.go(Method::Other, |store| async move { store.check_rollups(day, mend).await }).await
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Answer<()> {
        self.go(Method::Beat, |store| async move { store.beat(instance, now).await }).await
    }

    async fn export(&self, cursor: Option<&Cursor>, limit: u32) -> Answer<Page> {
        let cursor = cursor.cloned();
        self.go(Method::Export, |store| async move { store.export(cursor.as_ref(), limit).await })
            .await
    }

    async fn forget(&self, start: DateTime<Utc>) -> Answer<()> {
        self.go(Method::Other, |store| async move { store.forget(start).await }).await
    }

    async fn keys_changed(&self, seen: u64) -> u64 {
        if self.way.has_settled_keys() && 0 < seen {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(KEYS_POLL).await;
        seen + 1
    }

    async fn count_sessions(&self) -> Answer<u64> {
        self.go(Method::Other, |store| async move { store.count_sessions().await }).await
    }

    async fn check(&self) -> Answer<()> {
        self.go(Method::Check, |store| async move { store.check().await }).await
    }
}

//! A store that intercepts every call of another store.
//!
//! No other code forwards the methods of a store, and the lint finds a method that is not forwarded here.

#![deny(clippy::missing_trait_methods)]

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use crate::block::{Block, Groups, Row};
use crate::key::{ApiKey, SessionId};
use crate::store::{
    BlockId, BlockSummary, Detail, Error, Found, Instance, KEYS_POLL, KeyChange, KeyId, KeyRecord,
    KnownVideo, OpenScan, OpenSession, Outcome, Resumable, Rewrite, SessionWrite, Snapshot, Store,
    Unused, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::totals::StoredTotals;
use crate::video::Video;

/// A prepared call of a store, ready to be awaited.
pub type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// The kind of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// `keys`.
    Keys,
    /// `load`, `known_videos` and `count_videos`.
    Load,
    /// `commit`.
    Commit,
    /// `heartbeat`.
    Heartbeat,
    /// `check`.
    Check,
    /// `snapshot`.
    Snapshot,
    /// `videos` of a snapshot: an export calls it once per page.
    Videos,
    /// `totals` of a snapshot.
    Totals,
    /// Any other call of a snapshot.
    Read,
    /// `quiet`, `rewrite`, `finalize`, `delete_unused` and the retention clock.
    Upkeep,
    /// Any other call.
    Other,
}

/// An interceptor of calls.
///
/// A snapshot keeps a clone, which intercepts in the same way.
#[async_trait]
pub trait Intercept: Clone + fmt::Debug + Send + Sync + 'static {
    /// Executes a call.
    async fn intercept<T: Send + 'static>(&self, method: Method, call: Call<T>)
    -> Result<T, Error>;

    /// Inspects a batch before it is written, and may reject it.
    ///
    /// # Errors
    ///
    /// The error that the writer gets.
    fn inspect(&self, writes: &[SessionWrite]) -> Result<(), Error> {
        let _any = writes;
        Ok(())
    }

    /// Inspects sessions before they are imported, and may reject them.
    ///
    /// # Errors
    ///
    /// The error that the writer gets.
    fn inspect_import(&self, sessions: &[(VideoId, Row)]) -> Result<(), Error> {
        let _any = sessions;
        Ok(())
    }

    /// Whether the keys never change once they are read, so that they need not be polled.
    fn has_stable_keys(&self) -> bool {
        false
    }
}

/// A store with an interceptor.
///
/// It does not subscribe to changes of the keys: a subscription would be a call that lasts as long as nothing changes.
#[derive(Debug)]
pub struct Intercepted<W> {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The interceptor.
    pub intercept: W,
}

impl<W: Intercept> Intercepted<W> {
    /// Intercepts the calls of `store` by `intercept`.
    #[must_use]
    pub fn by(intercept: W, store: Arc<dyn Store>) -> Self {
        Self { store, intercept }
    }

    // A call owns its arguments: it may go on after its caller was dropped.
    async fn call<T, F>(&self, method: Method, call: impl FnOnce(Arc<dyn Store>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let call = Box::pin(call(Arc::clone(&self.store)));
        self.intercept.intercept(method, call).await
    }
}

type Answer<T> = Result<T, Error>;

#[async_trait]
impl<W: Intercept> Store for Intercepted<W> {
    async fn keys(&self) -> Answer<Vec<KeyRecord>> {
        self.call(Method::Keys, |store| async move { store.keys().await }).await
    }

    async fn add_key(&self, record: &KeyRecord) -> Answer<bool> {
        let record = record.clone();
        self.call(Method::Other, |store| async move { store.add_key(&record).await }).await
    }

    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Answer<bool> {
        let (key, change) = (key.clone(), change.clone());
        self.call(Method::Other, |store| async move { store.change_key(&key, &change).await }).await
    }

    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Answer<bool> {
        let key = key.clone();
        self.call(Method::Other, |store| async move { store.create_key(&key, now).await }).await
    }

    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Answer<bool> {
        let key = key.clone();
        self.call(Method::Other, |store| async move { store.revoke_key(&key, now).await }).await
    }

    async fn keys_changed(&self, seen: u64) -> u64 {
        if self.intercept.has_stable_keys() && 0 < seen {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(KEYS_POLL).await;
        seen + 1
    }

    async fn heartbeat(&self, instance: Instance, now: DateTime<Utc>) -> Answer<()> {
        self.call(Method::Heartbeat, |store| async move { store.heartbeat(instance, now).await })
            .await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Answer<Vec<KnownVideo>> {
        let videos = videos.to_vec();
        self.call(Method::Load, |store| async move { store.known_videos(&videos).await }).await
    }

    async fn count_videos(&self, keys: &[ApiKey]) -> Answer<Vec<u64>> {
        let keys = keys.to_vec();
        self.call(Method::Load, |store| async move { store.count_videos(&keys).await }).await
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Answer<Vec<(KeyId, VideoId)>> {
        let videos = videos.to_vec();
        self.call(Method::Other, |store| async move { store.add_videos(&videos).await }).await
    }

    async fn load(&self, ids: &[SessionId]) -> Answer<Vec<Option<Found>>> {
        let ids = ids.to_vec();
        self.call(Method::Load, |store| async move { store.load(&ids).await }).await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Answer<Vec<Outcome>> {
        self.intercept.inspect(&writes)?;
        self.call(Method::Commit, |store| async move { store.commit(writes).await }).await
    }

    async fn quiet(&self, quiet_since: DateTime<Utc>, limit: u32) -> Answer<Vec<OpenSession>> {
        self.call(Method::Upkeep, |store| async move { store.quiet(quiet_since, limit).await })
            .await
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Answer<Outcome> {
        self.intercept.inspect_import(&rewrite.import)?;
        self.call(Method::Upkeep, |store| async move { store.rewrite(rewrite).await }).await
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Answer<u64> {
        self.call(Method::Upkeep, |store| async move { store.finalize(silent_since, limit).await })
            .await
    }

    async fn delete_unused(&self, limit: u32) -> Answer<Unused> {
        self.call(Method::Upkeep, |store| async move { store.delete_unused(limit).await }).await
    }

    async fn retention_clock(&self) -> Answer<Option<DateTime<Utc>>> {
        self.call(Method::Upkeep, |store| async move { store.retention_clock().await }).await
    }

    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Answer<Outcome> {
        let set =
            |store: Arc<dyn Store>| async move { store.set_retention_clock(expected, at).await };
        self.call(Method::Upkeep, set).await
    }

    async fn snapshot(&self) -> Answer<Box<dyn Snapshot>> {
        let opened =
            self.call(Method::Snapshot, |store| async move { store.snapshot().await }).await?;
        Ok(Box::new(View {
            snapshot: Arc::new(Mutex::new(opened)),
            intercept: self.intercept.clone(),
        }))
    }

    async fn count_sessions(&self) -> Answer<u64> {
        self.call(Method::Other, |store| async move { store.count_sessions().await }).await
    }

    async fn size_bytes(&self) -> Answer<Option<u64>> {
        self.call(Method::Other, |store| async move { store.size_bytes().await }).await
    }

    fn is_damaged(&self) -> bool {
        self.store.is_damaged()
    }

    async fn check(&self) -> Answer<()> {
        self.call(Method::Check, |store| async move { store.check().await }).await
    }
}

/// A snapshot with an interceptor.
struct View<W> {
    snapshot: Arc<Mutex<Box<dyn Snapshot>>>,
    intercept: W,
}

/// Makes a call of a snapshot, with copies of some arguments.
macro_rules! view {
    ($self:ident, $of:ident, $method:ident($($argument:expr),*)) => {{
        let snapshot = Arc::clone(&$self.snapshot);
        let call = async move { snapshot.lock().await.$method($($argument),*).await };
        $self.intercept.intercept(Method::$of, Box::pin(call)).await
    }};
}

#[async_trait]
impl<W: Intercept> Snapshot for View<W> {
    async fn videos(
        &mut self,
        scope: &VideoScope,
        after: Option<VideoId>,
        limit: u32,
    ) -> Answer<Vec<VideoRecord>> {
        let scope = scope.clone();
        view!(self, Videos, videos(&scope, after, limit))
    }

    async fn open_sessions(
        &mut self,
        scan: &OpenScan,
        after: Option<SessionId>,
        limit: u32,
    ) -> Answer<Vec<OpenSession>> {
        let scan = scan.clone();
        view!(self, Read, open_sessions(&scan, after, limit))
    }

    async fn blocks(
        &mut self,
        videos: &Videos,
        from_ms: i64,
        to_ms: i64,
        after: Option<BlockId>,
        limit: u32,
    ) -> Answer<Vec<BlockSummary>> {
        let videos = videos.clone();
        view!(self, Read, blocks(&videos, from_ms, to_ms, after, limit))
    }

    async fn groups(&mut self, blocks: &[BlockId], groups: Groups) -> Answer<Vec<Block>> {
        let blocks = blocks.to_vec();
        view!(self, Read, groups(&blocks, groups))
    }

    async fn resumable(&mut self, after: Option<SessionId>, limit: u32) -> Answer<Vec<Resumable>> {
        view!(self, Read, resumable(after, limit))
    }

    async fn totals(
        &mut self,
        key: Option<&ApiKey>,
        first_day: i64,
        last_day: i64,
        detail: Detail,
    ) -> Answer<Vec<StoredTotals>> {
        let key = key.cloned();
        view!(self, Totals, totals(key.as_ref(), first_day, last_day, detail))
    }
}

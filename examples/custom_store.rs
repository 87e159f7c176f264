//! A custom store: sessions in memory, gone with the process. It passes the suite that every store passes.
//!
//! Run it with `cargo run -p examples --example custom_store`, and the suite, which `conforms.rs` sets up completely,
//! with `cargo test -p examples --test conforms`. A store for production differs in one promise alone: acknowledged
//! events are on a disk.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use metrics_core::key::SessionId;
use metrics_core::store::*;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Selection, Video};

type Answer<T> = Result<T, Error>;

/// One lock guards the whole state, so every call is atomic. A change copies the state if a snapshot holds it.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore(Mutex<Arc<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    // The row id of a key is its index.
    keys: Vec<KeyRecord>,
    videos: BTreeMap<VideoId, VideoRecord>,
    last_video: i64,
    // With the instance at which a segment is open.
    open: BTreeMap<SessionId, (OpenSession, Option<Instance>)>,
    blocks: BTreeMap<BlockId, (BlockSummary, Arc<Block>)>,
    last_block: i64,
    resumable: BTreeMap<SessionId, Resumable>,
    totals: BTreeMap<(KeyId, i64), StoredTotals>,
    retention_clock: Option<DateTime<Utc>>,
    revoked_tokens: BTreeMap<String, DateTime<Utc>>,
    // The last sign of life of each instance.
    heartbeats: HashMap<Instance, DateTime<Utc>>,
}

impl MemoryStore {
    fn change(&self) -> MutexGuard<'_, Arc<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.change())
    }
}

fn after<K: Ord + Copy, T>(items: &BTreeMap<K, T>, id: Option<K>) -> impl Iterator<Item = &T> {
    items.range((id.map_or(Unbounded, Excluded), Unbounded)).map(|(_, item)| item)
}

fn first<'a, T: Clone + 'a>(items: impl Iterator<Item = &'a T>, limit: u32) -> Answer<Vec<T>> {
    Ok(items.take(limit as usize).cloned().collect())
}

impl State {
    fn key_id(&self, key: &ApiKey) -> Answer<KeyId> {
        let index = self.keys.iter().position(|record| record.key == *key);
        let (store, operation, source) = ("memory", "find a key", "it is not there".into());
        Ok(KeyId(index.ok_or(Error::Rejected { store, operation, source })? as i64))
    }

    fn video(&self, key: &ApiKey, video: &Video) -> Option<&VideoRecord> {
        self.videos.values().find(|it| it.video == *video && it.key == *key)
    }

    fn add_video(&mut self, key: &ApiKey, video: &Video) -> Answer<(KeyId, VideoId)> {
        let key_id = self.key_id(key)?;
        if let Some(record) = self.video(key, video) {
            return Ok((key_id, record.id));
        }
        self.last_video += 1;
        let id = VideoId(self.last_video);
        let record = VideoRecord { id, key_id, key: key.clone(), video: video.clone() };
        self.videos.insert(id, record);
        Ok((key_id, id))
    }

    fn are_of(&self, videos: &Videos, key: KeyId, video: VideoId) -> bool {
        match videos {
            Videos::All => true,
            Videos::OfKey(of) => self.key_id(of).is_ok_and(|id| id == key),
            Videos::These(ids) => ids.binary_search(&video).is_ok(),
        }
    }

    fn write(&mut self, write: &SessionWrite) -> Answer<Outcome> {
        let SessionWrite { id, expected, watched_at, .. } = *write;
        let there = self.open.get(&id).map(|(session, _)| session.clone());
        let version = there.as_ref().map_or(0, |session| session.version);
        let starts = |it: &OpenSession| it.row.stored.started_at_ms == write.stored.started_at_ms;
        let is_another = !there.as_ref().is_none_or(starts);
        if version != expected || is_another || self.resumable.contains_key(&id) {
            return Ok(Outcome::Conflict);
        }
        let mut session = if let Some(session) = there {
            session
        } else {
            let (key, video) = self.add_video(&write.subject.key, &write.subject.video)?;
            OpenSession { id, version, key, video, row: write.row() }
        };
        session.version += 1;
        session.row.stored = write.stored.clone();
        self.open.insert(id, (session, watched_at));
        Ok(Outcome::Written)
    }

    fn conflicts(&self, rewrite: &Rewrite) -> bool {
        let open = |id| self.open.get(id).map(|(session, _)| session.version);
        let closed = |id| self.resumable.get(id).map(|session| session.version);
        let is_last = |(video, last): &(VideoId, BlockId)| {
            self.videos.contains_key(video)
                && after(&self.blocks, Some(*last)).all(|(summary, _)| summary.video != *video)
        };
        let Rewrite { remove, close, delete_open, reopen, import_after, .. } = rewrite;
        !(remove.iter().all(|id| self.blocks.contains_key(id))
            && close.iter().chain(delete_open).all(|(id, version)| open(id) == Some(*version))
            && reopen.iter().all(|session| closed(&session.id) == Some(session.version))
            && import_after.iter().all(is_last))
    }

    fn rewrite(&mut self, rewrite: Rewrite) -> Answer<Outcome> {
        if self.conflicts(&rewrite) {
            return Ok(Outcome::Conflict);
        }
        // First, because no later step can fail.
        let sums = rewrite.totals.iter().map(|(key, day, change)| {
            change.add_to(*day, self.totals.get(&(*key, *day))).map(|sum| ((*key, *day), sum))
        });
        for (at, sum) in sums.collect::<Result<Vec<_>, _>>().map_err(Error::Damaged)? {
            self.totals.remove(&at);
            self.totals.extend(sum.map(|sum| (at, sum)));
        }
        self.blocks.retain(|id, _| !rewrite.remove.contains(id));
        for (key, video, block) in rewrite.add {
            self.last_block += 1;
            let id = BlockId(self.last_block);
            self.blocks.insert(id, (BlockSummary::new(id, (key, video), &block), Arc::new(block)));
        }
        for (id, _) in rewrite.close {
            let closed = self.open.remove(&id).map(|(session, _)| (id, session.into()));
            self.resumable.extend(closed);
        }
        for session in rewrite.reopen {
            self.resumable.remove(&session.id);
            self.open.insert(session.id, (session, None));
        }
        rewrite.delete_open.iter().for_each(|(id, _)| drop(self.open.remove(id)));
        let named = |it: &Resumable| (it.video, it.started_at_ms, RowId::from(it.id));
        self.resumable.retain(|_, it| !rewrite.delete_closed.contains(&named(it)));
        for session in rewrite.resumable.into_iter().filter(|it| !self.open.contains_key(&it.id)) {
            self.resumable.entry(session.id).or_insert(session);
        }
        Ok(Outcome::Written)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn keys(&self) -> Answer<Vec<KeyRecord>> {
        let mut keys = self.state().keys.clone();
        keys.sort_by_key(|record| record.created_at);
        Ok(keys)
    }

    async fn add_key(&self, record: &KeyRecord) -> Answer<bool> {
        let mut state = self.change();
        let is_new = state.key_id(&record.key).is_err();
        Arc::make_mut(&mut state).keys.extend(is_new.then(|| record.clone()));
        Ok(is_new)
    }

    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Answer<bool> {
        let mut state = self.change();
        let mut keys = Arc::make_mut(&mut state).keys.iter_mut();
        let Some(record) = keys.find(|record| record.key == *key) else { return Ok(false) };
        match change {
            KeyChange::Revoke(at) => drop(record.disabled_at.get_or_insert(*at)),
            KeyChange::Restore => record.disabled_at = None,
            KeyChange::Settings(change) => record.settings = record.settings.changed(change),
        }
        Ok(true)
    }

    async fn revoke_token(&self, token: &RevokedToken, now: DateTime<Utc>) -> Answer<()> {
        let mut state = self.change();
        let tokens = &mut Arc::make_mut(&mut state).revoked_tokens;
        tokens.retain(|_, until| now <= *until);
        let until = tokens.entry(token.id.clone()).or_insert(token.until);
        *until = token.until.max(*until);
        Ok(())
    }

    async fn revoked_tokens(&self, only: Option<&str>) -> Answer<Vec<RevokedToken>> {
        let state = self.state();
        let tokens = state.revoked_tokens.iter().filter(|(id, _)| only.is_none_or(|it| it == *id));
        Ok(tokens.map(|(id, until)| RevokedToken { id: id.clone(), until: *until }).collect())
    }

    async fn heartbeat(&self, instance: Instance, now: DateTime<Utc>) -> Answer<()> {
        Arc::make_mut(&mut self.change()).heartbeats.insert(instance, now);
        Ok(())
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Answer<Vec<KnownVideo>> {
        let state = self.state();
        let known = |(key, video): &(ApiKey, Video)| KnownVideo {
            is_there: state.video(key, video).is_some(),
            videos_of_key: state.videos.values().filter(|it| it.key == *key).count() as u64,
        };
        Ok(videos.iter().map(known).collect())
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Answer<Vec<(KeyId, VideoId)>> {
        let mut state = self.change();
        videos.iter().try_for_each(|(key, _)| state.key_id(key).map(drop))?;
        let state = Arc::make_mut(&mut state);
        videos.iter().map(|(key, video)| state.add_video(key, video)).collect()
    }

    async fn load(&self, ids: &[SessionId]) -> Answer<Vec<Option<Found>>> {
        let state = self.state();
        let open = |id| {
            let (OpenSession { version, video, row, .. }, _) = state.open.get(id)?.clone();
            Some((version, video, Location::Open(row.stored)))
        };
        let closed = |id| {
            let it = state.resumable.get(id)?.clone();
            let Resumable { version, video, started_at_ms, resume, .. } = it;
            let key = state.videos.get(&video)?.key_id;
            Some((version, video, Location::Closed { key, video, started_at_ms, resume }))
        };
        let found = |id| {
            let (version, video, location) = open(id).or_else(|| closed(id))?;
            let VideoRecord { key, video, .. } = state.videos.get(&video)?;
            let identifier = video.identifier().map(str::to_owned);
            Some(Found { version, video: video.digest(key), identifier, location })
        };
        Ok(ids.iter().map(found).collect())
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Answer<Vec<Outcome>> {
        let mut state = self.change();
        // A batch is committed as a whole or not at all.
        writes.iter().try_for_each(|write| state.key_id(&write.subject.key).map(drop))?;
        let state = Arc::make_mut(&mut state);
        writes.iter().map(|write| state.write(write)).collect()
    }

    async fn quiet(&self, quiet_since: DateTime<Utc>, limit: u32) -> Answer<Vec<OpenSession>> {
        let state = self.state();
        let unwatched = state.open.values().filter(|(_, watched_at)| watched_at.is_none());
        let quiet_since_ms = quiet_since.timestamp_millis();
        let is_quiet = |it: &&OpenSession| it.row.stored.last_event_at_ms < quiet_since_ms;
        first(unwatched.map(|(session, _)| session).filter(is_quiet), limit)
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Answer<Outcome> {
        Arc::make_mut(&mut self.change()).rewrite(rewrite)
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Answer<u64> {
        let mut state = self.change();
        let is_silent = |it: &&Resumable| it.last_event_at_ms < silent_since.timestamp_millis();
        let silent = first(state.resumable.values().filter(is_silent), limit)?;
        let state = Arc::make_mut(&mut state);
        silent.iter().for_each(|session| drop(state.resumable.remove(&session.id)));
        Ok(silent.len() as u64)
    }

    async fn delete_unused(&self, limit: u32) -> Answer<Unused> {
        let mut state = self.change();
        let of_blocks = state.blocks.values().map(|(summary, _)| summary.video);
        let used: HashSet<VideoId> =
            of_blocks.chain(state.open.values().map(|(session, _)| session.video)).collect();
        let unused = state.videos.keys().filter(|id| !used.contains(id));
        let unused = first(unused, limit)?;
        let state = Arc::make_mut(&mut state);
        unused.iter().for_each(|id| drop(state.videos.remove(id)));
        Ok(Unused { videos: unused.len() as u64, pages: 0 })
    }

    async fn retention_clock(&self) -> Answer<Option<DateTime<Utc>>> {
        Ok(self.state().retention_clock)
    }

    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Answer<Outcome> {
        let mut state = self.change();
        if state.retention_clock != expected {
            return Ok(Outcome::Conflict);
        }
        Arc::make_mut(&mut state).retention_clock = Some(at);
        Ok(Outcome::Written)
    }

    async fn snapshot(&self) -> Answer<Box<dyn Snapshot>> {
        Ok(Box::new(View(self.state())))
    }

    async fn count_sessions(&self) -> Answer<u64> {
        let state = self.state();
        let closed: u64 =
            state.blocks.values().map(|(summary, _)| u64::from(summary.sessions)).sum();
        Ok(closed + state.open.len() as u64)
    }

    async fn check(&self) -> Answer<()> {
        Ok(())
    }
}

/// The state at the moment of the snapshot.
struct View(Arc<State>);

#[async_trait]
impl Snapshot for View {
    async fn videos(
        &mut self,
        scope: &VideoScope,
        id: Option<VideoId>,
        limit: u32,
    ) -> Answer<Vec<VideoRecord>> {
        first(after(&self.0.videos, id).filter(|record| scope.has(record)), limit)
    }

    async fn open_sessions(
        &mut self,
        scan: &OpenScan,
        id: Option<SessionId>,
        limit: u32,
    ) -> Answer<Vec<OpenSession>> {
        let heartbeat =
            |instance: &Option<Instance>| self.0.heartbeats.get(instance.as_ref()?).copied();
        let is_selected = |(it, instance): &&(OpenSession, Option<Instance>)| {
            (scan.from_ms..=scan.to_ms).contains(&it.row.stored.started_at_ms)
                && self.0.are_of(&scan.videos, it.key, it.video)
                && scan
                    .watched_at
                    .is_none_or(|at| Some(at - INSTANCE_SILENCE_MAX) <= heartbeat(instance))
        };
        first(after(&self.0.open, id).filter(is_selected).map(|(session, _)| session), limit)
    }

    async fn blocks(
        &mut self,
        videos: &Videos,
        from_ms: i64,
        to_ms: i64,
        id: Option<BlockId>,
        limit: u32,
    ) -> Answer<Vec<BlockSummary>> {
        let is_selected = |it: &&BlockSummary| {
            let is_in_time = it.first_start_ms <= to_ms && from_ms <= it.last_start_ms;
            is_in_time && self.0.are_of(videos, it.key, it.video)
        };
        first(after(&self.0.blocks, id).map(|(summary, _)| summary).filter(is_selected), limit)
    }

    async fn groups(&mut self, blocks: &[BlockId], groups: Groups) -> Answer<Vec<Block>> {
        let mut read = Vec::new();
        for (_, block) in blocks.iter().filter_map(|id| self.0.blocks.get(id)) {
            let mut block = Block::clone(block);
            let unread = Group::ALL.into_iter().filter(|group| !groups.has(*group));
            unread.for_each(|group| block.groups[group as usize] = None);
            read.push(block);
        }
        Ok(read)
    }

    async fn resumable(&mut self, id: Option<SessionId>, limit: u32) -> Answer<Vec<Resumable>> {
        first(after(&self.0.resumable, id), limit)
    }

    async fn totals(
        &mut self,
        key: Option<&ApiKey>,
        first_day: i64,
        last_day: i64,
        detail: Detail,
    ) -> Answer<Vec<StoredTotals>> {
        let is_of = |of| key.is_none_or(|key| self.0.key_id(key).is_ok_and(|id| id == of));
        let selected = self
            .0
            .totals
            .iter()
            .filter(|((of, day), _)| (first_day..=last_day).contains(day) && is_of(*of));
        let hours = |it: &StoredTotals| it.hours.clone().filter(|_| detail == Detail::Hours);
        Ok(selected.map(|(_, it)| StoredTotals { hours: hours(it), ..it.clone() }).collect())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Metrics::new(MemoryStore::default());
    let key = metrics.create_key().await?;
    for (session, seconds) in [("one", 10.0), ("two", 30.0)] {
        let join = Join::new(key.clone(), session, Video::labelled("intro"));
        let viewing = metrics.join(join).await?;
        viewing.apply(PlayerEvent::play(0.0)).await?;
        viewing.apply(PlayerEvent::pause(seconds)).await?;
    }
    let query = Selection::identifier("intro").into();
    for bucket in metrics.plays(&query).await? {
        let seconds = bucket.totals.view_ms as f64 / 1_000.0;
        println!("{} plays, {seconds} s watched", bucket.totals.plays);
    }
    let selection = Selection::key(key);
    for part in metrics.engagement(&selection.into(), 3).await? {
        println!("{} to {} s: {} viewers", part.from, part.to, part.viewers);
    }
    metrics.stop().await;
    Ok(())
}

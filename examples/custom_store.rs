//! A store of your own: sessions in memory, gone with the process. It passes the suite that every store passes.
//!
//! Run it with `cargo run -p examples --example custom_store`, and the suite with
//! `cargo test -p examples --test conforms`, for which `conforms.rs` is all that is needed. A store for production
//! differs in one promise alone: what it has acknowledged is on a disk.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{self, Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use metrics_core::block::{Block, Groups, Row, RowId};
use metrics_core::key::SessionId;
use metrics_core::store::*;
use metrics_core::totals::StoredTotals;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Selection, Video};

/// Everything is behind one lock, so every call is atomic. A change copies the state if a snapshot holds it.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    state: Mutex<Arc<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    // A key's row id is its index.
    keys: Vec<KeyRecord>,
    videos: BTreeMap<VideoId, VideoRecord>,
    // With the instance at which a segment is open.
    open: BTreeMap<SessionId, (OpenSession, Option<Instance>)>,
    blocks: BTreeMap<BlockId, (BlockHead, Arc<Block>)>,
    last_block: i64,
    resumable: BTreeMap<SessionId, Resumable>,
    totals: BTreeMap<(KeyId, i64), StoredTotals>,
    // The last sign of life of each instance.
    beats: HashMap<Instance, DateTime<Utc>>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, Arc<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(Arc::make_mut(&mut self.state()))
    }
}

impl State {
    fn key_id(&self, key: &ApiKey) -> Option<KeyId> {
        let index = self.keys.iter().position(|record| record.key == *key);
        index.map(|index| KeyId(index as i64))
    }

    fn video_id(&self, key: &ApiKey, video: &Video) -> Option<VideoId> {
        let mut videos = self.videos.values();
        videos.find(|it| it.video == *video && it.key == *key).map(|it| it.id)
    }

    /// Adds a video if it is new. `None` if there is no such key.
    fn add_video(&mut self, key: &ApiKey, video: &Video) -> Option<(KeyId, VideoId)> {
        let key_id = self.key_id(key)?;
        let id = self.video_id(key, video).unwrap_or(VideoId(self.videos.len() as i64));
        let record = || VideoRecord { id, key_id, key: key.clone(), video: video.clone() };
        self.videos.entry(id).or_insert_with(record);
        Some((key_id, id))
    }

    fn are_of(&self, videos: &Videos, key: KeyId, video: VideoId) -> bool {
        match videos {
            Videos::All => true,
            Videos::OfKey(of) => self.key_id(of) == Some(key),
            Videos::These(ids) => ids.binary_search(&video).is_ok(),
        }
    }

    fn write(&mut self, write: &SessionWrite) -> Outcome {
        let SessionWrite { id, subject, expected, stored, watched_at } = write;
        match self.open.get_mut(id) {
            Some((session, watched)) if session.version == *expected => {
                session.version += 1;
                session.row.stored = stored.clone();
                *watched = *watched_at;
                Outcome::Written
            }
            None if *expected == 0 && !self.resumable.contains_key(id) => {
                let added = self.add_video(&subject.key, &subject.video);
                let Some((key, video)) = added else { return Outcome::Conflict };
                let row = Row {
                    id: RowId::from(*id),
                    page: subject.source.clone(),
                    client: subject.client,
                    session_data: subject.session_data.as_deref().map(Arc::from),
                    stored: stored.clone(),
                };
                let session = OpenSession { id: *id, version: 1, key, video, row };
                self.open.insert(*id, (session, *watched_at));
                Outcome::Written
            }
            _ => Outcome::Conflict,
        }
    }

    fn conflicts(&self, rewrite: &Rewrite) -> bool {
        let is_open = |(id, version): &(SessionId, Version)| {
            self.open.get(id).is_some_and(|(session, _)| session.version == *version)
        };
        let is_closed = |session: &OpenSession| {
            self.resumable.get(&session.id).is_some_and(|it| it.version == session.version)
        };
        let is_last = |(video, last): &(VideoId, BlockId)| {
            let mut later = self.blocks.range(after(Some(*last)));
            later.all(|(_, (head, _))| head.video != *video)
        };
        !(rewrite.remove.iter().all(|id| self.blocks.contains_key(id))
            && rewrite.close.iter().chain(&rewrite.delete_open).all(is_open)
            && rewrite.reopen.iter().all(is_closed)
            && rewrite.import_after.iter().all(is_last))
    }

    fn rewrite(&mut self, rewrite: Rewrite) -> Result<Outcome, Error> {
        if self.conflicts(&rewrite) {
            return Ok(Outcome::Conflict);
        }
        // First of all: nothing else can fail.
        let sum = |(key, day, change): &(KeyId, i64, _)| {
            let change: &metrics_core::totals::DayTotals = change;
            let sum = change.add_to(*day, self.totals.get(&(*key, *day)));
            sum.map(|sum| ((*key, *day), sum)).map_err(Error::Damaged)
        };
        for (at, sum) in rewrite.totals.iter().map(sum).collect::<Result<Vec<_>, _>>()? {
            match sum {
                Some(sum) => self.totals.insert(at, sum),
                None => self.totals.remove(&at),
            };
        }
        rewrite.remove.iter().for_each(|id| drop(self.blocks.remove(id)));
        for (key, video, block) in rewrite.add {
            self.last_block += 1;
            let Block { sessions, first_start_ms, last_start_ms, .. } = block;
            let id = BlockId(self.last_block);
            let head = BlockHead { id, key, video, sessions, first_start_ms, last_start_ms };
            self.blocks.insert(id, (head, Arc::new(block)));
        }
        for (id, version) in rewrite.close {
            let Some((OpenSession { video, row, .. }, _)) = self.open.remove(&id) else { continue };
            let metrics_core::session::Stored { started_at_ms, last_event_at_ms, resume, .. } =
                row.stored;
            let closed = Resumable { id, version, video, started_at_ms, last_event_at_ms, resume };
            self.resumable.insert(id, closed);
        }
        for session in rewrite.reopen {
            self.resumable.remove(&session.id);
            self.open.insert(session.id, (session, None));
        }
        rewrite.delete_open.iter().for_each(|(id, _)| drop(self.open.remove(id)));
        let deleted: HashSet<_> = rewrite.delete_closed.into_iter().collect();
        self.resumable
            .retain(|id, it| !deleted.contains(&(it.video, it.started_at_ms, RowId::from(*id))));
        for session in rewrite.resumable {
            if !self.open.contains_key(&session.id) {
                self.resumable.entry(session.id).or_insert(session);
            }
        }
        Ok(Outcome::Written)
    }
}

/// The range of ids that come after one.
fn after<T>(id: Option<T>) -> (Bound<T>, Bound<T>) {
    (id.map_or(Unbounded, Excluded), Unbounded)
}

fn rejected<T>(operation: &'static str) -> Result<T, Error> {
    Err(Error::Rejected { store: "memory", operation, source: "a key is not there".into() })
}

#[async_trait]
impl Store for MemoryStore {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        let mut keys = self.state().keys.clone();
        keys.sort_by_key(|record| record.created_at);
        Ok(keys)
    }

    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let record = KeyRecord { key: key.clone(), created_at: now, disabled_at: None };
        Ok(self.change(|state| {
            let is_new = state.key_id(key).is_none();
            state.keys.extend(is_new.then_some(record));
            is_new
        }))
    }

    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        Ok(self.change(|state| {
            let record = state.keys.iter_mut().find(|record| record.key == *key);
            record.map(|record| record.disabled_at.get_or_insert(now)).is_some()
        }))
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.change(|state| state.beats.insert(instance, now));
        Ok(())
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        let state = self.state();
        let known = |(key, video): &(ApiKey, Video)| KnownVideo {
            is_there: state.video_id(key, video).is_some(),
            videos_of_key: state.videos.values().filter(|it| it.key == *key).count() as u64,
        };
        Ok(videos.iter().map(known).collect())
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<(KeyId, VideoId)>, Error> {
        self.change(|state| {
            if !videos.iter().all(|(key, _)| state.key_id(key).is_some()) {
                return rejected("add videos");
            }
            Ok(videos.iter().filter_map(|(key, video)| state.add_video(key, video)).collect())
        })
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Found>>, Error> {
        let state = self.state();
        let load = |id| {
            let open = state
                .open
                .get(id)
                .map(|(it, _)| (it.version, it.video, Place::Open(it.row.stored.clone())));
            let (version, video, place) = open.or_else(|| {
                let Resumable { version, video, started_at_ms, resume, .. } =
                    state.resumable.get(id)?.clone();
                let key = state.videos.get(&video)?.key_id;
                Some((version, video, Place::Closed { key, video, started_at_ms, resume }))
            })?;
            let VideoRecord { key, video, .. } = state.videos.get(&video)?;
            let identifier = video.identifier().map(str::to_owned);
            Some(Found { version, video: video.digest(key), identifier, place })
        };
        Ok(ids.iter().map(load).collect())
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        self.change(|state| {
            // A batch is stored whole or not at all.
            if !writes.iter().all(|write| state.key_id(&write.subject.key).is_some()) {
                return rejected("commit sessions");
            }
            Ok(writes.iter().map(|write| state.write(write)).collect())
        })
    }

    async fn quiet(
        &self,
        quiet_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        let state = self.state();
        let last_event = |session: &&OpenSession| session.row.stored.last_event_at_ms;
        let unwatched = state.open.values().filter(|(_, watched_at)| watched_at.is_none());
        let quiet = unwatched
            .map(|(session, _)| session)
            .filter(|session| last_event(session) < quiet_since.timestamp_millis());
        let mut quiet: Vec<_> = quiet.collect();
        quiet.sort_by_key(last_event);
        Ok(quiet.into_iter().take(limit as usize).cloned().collect())
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Outcome, Error> {
        self.change(|state| state.rewrite(rewrite))
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
        self.change(|state| {
            let is_silent = |it: &&Resumable| it.last_event_at_ms < silent_since.timestamp_millis();
            let silent = state.resumable.values().filter(is_silent).take(limit as usize);
            let silent: Vec<_> = silent.map(|it| it.id).collect();
            silent.iter().for_each(|id| drop(state.resumable.remove(id)));
            Ok(silent.len() as u64)
        })
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error> {
        Ok(Box::new(View(Arc::clone(&self.state()))))
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        let state = self.state();
        let closed = state.blocks.values().map(|(head, _)| u64::from(head.sessions));
        Ok(state.open.len() as u64 + closed.sum::<u64>())
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// The state as it was at some moment.
struct View(Arc<State>);

#[async_trait]
impl Snapshot for View {
    async fn videos(
        &mut self,
        scope: &VideoScope,
        id: Option<VideoId>,
        limit: u32,
    ) -> Result<Vec<VideoRecord>, Error> {
        let is_wanted = |it: &&VideoRecord| {
            scope.key.as_ref().is_none_or(|key| it.key == *key)
                && scope.identifiers.as_ref().is_none_or(|identifiers| {
                    it.video
                        .identifier()
                        .is_some_and(|it| identifiers.iter().any(|other| other == it))
                })
        };
        let videos = self.0.videos.range(after(id)).map(|(_, video)| video).filter(is_wanted);
        Ok(videos.take(limit as usize).cloned().collect())
    }

    async fn open_sessions(
        &mut self,
        scan: &OpenScan,
        id: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        let is_alive = |instance, at| {
            self.0.beats.get(&instance).is_some_and(|beat| at - INSTANCE_SILENCE_MAX <= *beat)
        };
        let is_wanted = |(session, watched_at): &&(OpenSession, Option<Instance>)| {
            self.0.are_of(&scan.videos, session.key, session.video)
                && (scan.from_ms..=scan.to_ms).contains(&session.row.stored.started_at_ms)
                && scan
                    .watched_at
                    .is_none_or(|at| watched_at.is_some_and(|instance| is_alive(instance, at)))
        };
        let sessions = self.0.open.range(after(id)).map(|(_, session)| session).filter(is_wanted);
        Ok(sessions.take(limit as usize).map(|(session, _)| session.clone()).collect())
    }

    async fn blocks(
        &mut self,
        videos: &Videos,
        from_ms: i64,
        to_ms: i64,
        id: Option<BlockId>,
        limit: u32,
    ) -> Result<Vec<BlockHead>, Error> {
        let heads = self.0.blocks.range(after(id)).map(|(_, (head, _))| head).filter(|head| {
            self.0.are_of(videos, head.key, head.video)
                && head.first_start_ms <= to_ms
                && from_ms <= head.last_start_ms
        });
        Ok(heads.take(limit as usize).copied().collect())
    }

    async fn groups(&mut self, blocks: &[BlockId], groups: Groups) -> Result<Vec<Block>, Error> {
        let read = |id| {
            let mut block = Block::clone(&self.0.blocks.get(id)?.1);
            for (number, group) in block.groups.iter_mut().enumerate() {
                group.take_if(|_| !groups.iter().any(|wanted| wanted as usize == number));
            }
            Some(block)
        };
        Ok(blocks.iter().filter_map(read).collect())
    }

    async fn resumable(
        &mut self,
        id: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Resumable>, Error> {
        let sessions = self.0.resumable.range(after(id)).take(limit as usize);
        Ok(sessions.map(|(_, session)| session.clone()).collect())
    }

    async fn totals(
        &mut self,
        key: Option<&ApiKey>,
        first_day: i64,
        last_day: i64,
        detail: Detail,
    ) -> Result<Vec<StoredTotals>, Error> {
        let id = key.map(|key| self.0.key_id(key));
        let is_wanted = |(of, day): &(KeyId, i64)| {
            id.is_none_or(|id| id == Some(*of)) && (first_day..=last_day).contains(day)
        };
        let totals =
            self.0.totals.iter().filter(|(at, _)| is_wanted(at)).map(|(_, totals)| totals.clone());
        let shortened = totals.map(|it| match detail {
            Detail::Days => StoredTotals { hours: None, ..it },
            Detail::Hours => it,
        });
        Ok(shortened.collect())
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
        let seconds = bucket.figures.view_ms as f64 / 1_000.0;
        println!("{} plays, {seconds} s watched", bucket.figures.plays);
    }
    let selection = Selection::key(key);
    for part in metrics.engagement(&selection.into(), 3).await? {
        println!("{} to {} s: {} viewers", part.from, part.to, part.viewers);
    }
    metrics.stop().await;
    Ok(())
}

//! Deletes sessions: those that a request selects, and those that are older than retention keeps.
//!
//! Every step is one transaction on some sessions, so recording goes on meanwhile. After an interruption the store is
//! consistent, and the same call deletes the rest. A pass reads one snapshot until it finds selected sessions, deletes
//! them, and continues with a new snapshot. So it may miss a session that moves between a row and a block, or is
//! written; passes are repeated until one finds no session in a single snapshot.
//!
//! A pass reads the columns that decide, and all columns only of blocks with a selected session. Columns are decoded
//! and encoded by [`compute`], so that they never delay an acknowledgement.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::block::{Block, Columns, Group, Groups, Row, RowId};
use crate::budget::Account;
use crate::compute::{compute, expect_aside};
use crate::erasure::{Erasure, Selected};
use crate::key::SessionId;
use crate::query::{Scan, Selection};
use crate::read::{Reading, all_of, batches, damaged, info, picked};
use crate::report::{ReportError, count};
use crate::scan::{SessionFilter, VideoInfo};
use crate::store::changes::{Totals, blocks};
use crate::store::{
    BlockSummary, Error, OpenScan, OpenSession, Outcome, Rewrite, Snapshot, Store, VideoId,
    VideoRecord, VideoScope, Videos,
};
use crate::video::Video;

/// Number of sessions, heads or videos read at a time.
const PAGE: u32 = 1_000;

/// Number of open sessions deleted in one transaction, which takes some milliseconds.
const OPEN_AT_ONCE: usize = 256;

/// Number of unused videos deleted in one transaction.
const UNUSED_AT_ONCE: u32 = 1_000;

/// The largest number of passes of an erasure. Each but the last finds a session that was written or moved during the
/// one before; a session is written every 15 s, so more than a few passes mean another fault.
const PASSES_MAX: u32 = 64;

/// The result of an erasure.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Erased {
    /// The deleted sessions.
    pub sessions: Selected,
    /// Number of videos deleted because no session names them.
    pub videos: u64,
    /// Number of pages deleted because no session names them, if the store keeps pages apart from sessions.
    pub pages: u64,
    /// Whether selected sessions remain, because more were selected than the erasure deletes [at
    /// most](Erasure::at_most).
    pub is_cut: bool,
}

/// Counts the sessions that are selected at one moment, and changes nothing.
///
/// # Errors
///
/// [`Error`] if the store fails.
pub async fn count_selected(store: &dyn Store, erasure: &Erasure) -> Result<Selected, Error> {
    count(store, erasure, Account::UNLIMITED).await.map_err(|err| match err {
        ReportError::Store(err) => err,
        ReportError::Scan(err) => damaged(&err),
        other => Error::Unavailable { store: "the store", source: other.into() },
    })
}

/// Deletes the selected sessions, open, closed or final, from reports and totals, and then all videos and pages that no
/// session names.
///
/// A session in the memory of a recorder begins anew with the next play of its viewer. After an interruption or an
/// error, the same call deletes the rest.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn erase(store: &dyn Store, erasure: &Erasure) -> Result<Erased, Error> {
    let (sessions, is_cut) = delete(store, erasure).await?;
    let mut erased = Erased { sessions, is_cut, ..Erased::default() };
    loop {
        let unused = store.delete_unused(UNUSED_AT_ONCE).await?;
        if unused.videos == 0 && unused.pages == 0 {
            return Ok(erased);
        }
        erased.videos += unused.videos;
        erased.pages += unused.pages;
    }
}

/// Deletes the sessions that started before `start_ms` (Unix milliseconds), open or closed, and returns their number.
/// Their videos and pages stay.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn delete_before(store: &dyn Store, start_ms: i64) -> Result<u64, Error> {
    let Some(erasure) = Erasure::before(start_ms) else { return Ok(0) };
    Ok(delete(store, &erasure).await?.0.sessions)
}

/// Deletes the selected sessions, and returns them, and whether some remain because of the largest number.
async fn delete(store: &dyn Store, erasure: &Erasure) -> Result<(Selected, bool), Error> {
    let mut deleted = Selected::default();
    let mut erasure = erasure.clone();
    for _ in 0..PASSES_MAX {
        let mut pass = Pass::new(store, &erasure);
        pass.run().await?;
        let Pass { selected, conflicts, is_cut, .. } = pass;
        deleted.add(selected);
        if is_cut || (selected.sessions == 0 && conflicts == 0) {
            return Ok((deleted, is_cut));
        }
        erasure.at_most = erasure.at_most.map(|most| most.saturating_sub(selected.sessions));
        erasure.scan.to_ms = erasure.scan.to_ms.min(erasure.new_from_ms.saturating_sub(1));
    }
    let source = "the sessions kept changing while they were deleted: try again later";
    Err(Error::Unavailable { store: "the store", source: source.into() })
}

/// Finds selected sessions.
#[derive(Clone)]
struct Picker {
    filter: SessionFilter,
    session: Option<SessionId>,
    /// The videos whose sessions may be selected, if the selection depends on the video.
    records: Option<Arc<HashMap<VideoId, VideoRecord>>>,
    /// Stands for any video if the selection does not depend on it.
    any: Video,
}

impl Picker {
    /// The groups of columns on which the selection depends.
    fn groups(&self) -> Groups {
        match self.session {
            Some(_) => self.filter.groups().with(Group::RowIds),
            None => self.filter.groups(),
        }
    }

    /// Returns the indices of the selected sessions of one video, in order; the sessions are in the order of their
    /// starts.
    fn picks(&mut self, video: VideoId, columns: &Columns) -> Result<Vec<usize>, Error> {
        expect_aside();
        let video = match &self.records {
            None => VideoInfo { key: "", video: &self.any },
            Some(records) => match records.get(&video) {
                Some(record) => info(record),
                None => return Ok(Vec::new()),
            },
        };
        let picked = self.filter.sessions(&video, columns);
        let mut picked = picked.map_err(|err| damaged(&err))?;
        if let Some(id) = self.session {
            picked.retain(|session| columns.row_id(*session) == Some(RowId::from(id)));
        }
        Ok(picked)
    }

    /// Returns the selected ones of some open sessions.
    fn pick_open(&mut self, sessions: Vec<OpenSession>) -> Result<Vec<OpenSession>, Error> {
        let mut by_video: BTreeMap<VideoId, Vec<OpenSession>> = BTreeMap::new();
        for session in sessions {
            by_video.entry(session.video).or_default().push(session);
        }
        let mut picked = Vec::new();
        for (video, mut sessions) in by_video {
            sessions.sort_by_key(|session| session.row.order());
            let rows: Vec<_> = sessions.iter().map(|session| session.row.clone()).collect();
            let mut picks = self.picks(video, &Columns::of(&rows))?.into_iter().peekable();
            let is_it = |it: &OpenSession| self.session.is_none_or(|id| id == it.id);
            let some = (0..).zip(sessions).filter(|(at, _)| picks.next_if_eq(at).is_some());
            picked.extend(some.map(|(_, session)| session).filter(is_it));
        }
        Ok(picked)
    }

    /// Returns the change that deletes the selected sessions of a block, but no more than `most`; their number, the
    /// start of the first, and whether some remain.
    fn delete_from(
        &mut self,
        summary: &BlockSummary,
        block: &Block,
        most: usize,
    ) -> Result<Deletion, Error> {
        let columns = block.columns(self.groups()).map_err(Error::Damaged)?;
        let mut picked = self.picks(summary.video, &columns)?;
        let is_cut = most < picked.len();
        picked.truncate(most);
        let rows = block.rows().map_err(Error::Damaged)?;
        let mut picked = picked.into_iter().peekable();
        let (gone, kept): (Vec<_>, Vec<_>) =
            (0..).zip(rows).partition(|(at, _)| picked.next_if_eq(at).is_some());
        let without = |rows: Vec<(usize, Row)>| rows.into_iter().map(|(_, row)| row).collect();
        let (gone, kept): (Vec<Row>, Vec<Row>) = (without(gone), without(kept));
        let mut selected = Selected::default();
        selected.count(gone.len() as u64, gone.first().map(|row| row.stored.started_at_ms));
        Ok(Deletion { rewrite: deleting(summary, &gone, kept), selected, is_cut })
    }
}

/// A change that deletes sessions.
struct Deletion {
    rewrite: Rewrite,
    selected: Selected,
    is_cut: bool,
}

/// Runs `task` with a picker on a thread of [`compute`].
async fn picking<T: Send + 'static>(
    picker: &Picker,
    task: impl FnOnce(&mut Picker) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let mut picker = picker.clone();
    compute(move || task(&mut picker)).await?
}

/// One pass through the store.
struct Pass<'a> {
    store: &'a dyn Store,
    scan: Scan,
    picker: Picker,
    scope: VideoScope,
    /// Whether the selection depends on the video.
    lists_videos: bool,
    /// Whether only videos and starts select sessions.
    is_by_start: bool,
    /// The snapshot to read, until a selected session is found in it.
    snapshot: Option<Box<dyn Snapshot>>,
    /// Number of sessions that may still be deleted.
    remaining: u64,
    /// Whether further sessions are selected.
    is_cut: bool,
    /// The deleted sessions.
    selected: Selected,
    /// Number of transactions that conflicted with another change.
    conflicts: u64,
}

impl<'a> Pass<'a> {
    fn new(store: &'a dyn Store, erasure: &Erasure) -> Self {
        let selection = erasure.scan.selection.for_stores();
        let scan = Scan { selection: selection.clone(), ..erasure.scan.clone() };
        let (filter, Reading { scope, lists_videos, .. }) = picked(&scan);
        let rest = Selection { key: None, identifiers: None, ..selection };
        let session = erasure.session;
        Self {
            store,
            is_by_start: rest.is_unrestricted() && session.is_none() && scan.minimum_view_ms == 0,
            scan,
            picker: Picker { filter, session, records: None, any: Video::labelled("") },
            scope,
            lists_videos,
            snapshot: None,
            remaining: erasure.at_most.unwrap_or(u64::MAX),
            is_cut: false,
            selected: Selected::default(),
            conflicts: 0,
        }
    }

    async fn snapshot(&mut self) -> Result<&mut dyn Snapshot, Error> {
        let snapshot = match self.snapshot.take() {
            Some(snapshot) => snapshot,
            None => self.store.snapshot().await?,
        };
        Ok(&mut **self.snapshot.insert(snapshot))
    }

    async fn run(&mut self) -> Result<(), Error> {
        if let Some(videos) = all_of(&self.scope).filter(|_| !self.lists_videos) {
            return self.sessions_of(&videos).await;
        }
        let (scope, mut after) = (self.scope.clone(), None);
        loop {
            let page = self.snapshot().await?.videos(&scope, after, PAGE).await?;
            after = page.last().map(|video| video.id);
            let is_last = page.len() < PAGE as usize;
            let selected_videos = picking(&self.picker, move |picker| {
                let selected_videos =
                    page.into_iter().filter(|it| picker.filter.selects_video(&info(it)));
                Ok(selected_videos.map(|video| (video.id, video)).collect::<HashMap<_, _>>())
            });
            let selected_videos = selected_videos.await?;
            if !selected_videos.is_empty() {
                let mut ids: Vec<_> = selected_videos.keys().copied().collect();
                ids.sort_unstable();
                self.picker.records = Some(Arc::new(selected_videos));
                self.sessions_of(&Videos::These(ids)).await?;
            }
            if is_last || self.is_cut {
                return Ok(());
            }
        }
    }

    async fn sessions_of(&mut self, videos: &Videos) -> Result<(), Error> {
        self.open_sessions_of(videos).await?;
        let Scan { from_ms, to_ms, .. } = self.scan;
        let mut after = None;
        loop {
            let page = self.snapshot().await?.blocks(videos, from_ms, to_ms, after, PAGE).await?;
            after = page.last().map(|summary| summary.id);
            let is_last = page.len() < PAGE as usize;
            for summary in self.with_selected(page).await? {
                if self.is_cut {
                    return Ok(());
                }
                self.snapshot = None;
                self.block(summary).await?;
            }
            if is_last || self.is_cut {
                return Ok(());
            }
        }
    }

    /// Returns the summaries of the blocks with a selected session.
    async fn with_selected(
        &mut self,
        summaries: Vec<BlockSummary>,
    ) -> Result<Vec<BlockSummary>, Error> {
        let Scan { from_ms, to_ms, .. } = self.scan;
        let is_by_start = self.is_by_start;
        let is_within =
            |it: &BlockSummary| from_ms <= it.first_start_ms && it.last_start_ms <= to_ms;
        let (mut found, others): (Vec<_>, Vec<_>) =
            summaries.into_iter().partition(|summary| is_by_start && is_within(summary));
        let groups = self.picker.groups();
        for summaries in batches(&others) {
            let ids: Vec<_> = summaries.iter().map(|summary| summary.id).collect();
            let blocks = self.snapshot().await?.groups(&ids, groups).await?;
            let summaries = summaries.to_vec();
            let picked = picking(&self.picker, move |picker| {
                let mut picked = Vec::new();
                for (summary, block) in summaries.into_iter().zip(blocks) {
                    let columns = block.columns(groups).map_err(Error::Damaged)?;
                    if !picker.picks(summary.video, &columns)?.is_empty() {
                        picked.push(summary);
                    }
                }
                Ok(picked)
            });
            found.extend(picked.await?);
        }
        found.sort_unstable_by_key(|summary| summary.id);
        Ok(found)
    }

    async fn open_sessions_of(&mut self, videos: &Videos) -> Result<(), Error> {
        let Scan { from_ms, to_ms, .. } = self.scan;
        let scan = OpenScan { videos: videos.clone(), from_ms, to_ms, watched_at: None };
        let mut after = None;
        loop {
            let page = self.snapshot().await?.open_sessions(&scan, after, PAGE).await?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < PAGE as usize;
            let picked = picking(&self.picker, move |picker| picker.pick_open(page)).await?;
            if !picked.is_empty() {
                self.snapshot = None;
                self.open(picked).await?;
            }
            if is_last || self.is_cut {
                return Ok(());
            }
        }
    }

    /// Deletes open sessions.
    async fn open(&mut self, sessions: Vec<OpenSession>) -> Result<(), Error> {
        let start_ms = |it: &OpenSession| it.row.stored.started_at_ms;
        let mut waiting: Vec<_> = sessions.chunks(OPEN_AT_ONCE).map(<[_]>::to_vec).collect();
        while let Some(mut some) = waiting.pop() {
            self.is_cut |= self.remaining < some.len() as u64;
            some.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
            if some.is_empty() {
                return Ok(());
            }
            let delete_open = some.iter().map(|session| (session.id, session.version)).collect();
            let rewrite = Rewrite { delete_open, ..Rewrite::default() };
            match self.store.rewrite(rewrite).await? {
                Outcome::Written => {
                    let first_ms = some.iter().map(start_ms).min();
                    self.count(some.len() as u64, first_ms);
                }
                // Retries in halves, so that one session that goes on does not keep another.
                Outcome::Conflict if 1 < some.len() => {
                    let half = some.split_off(some.len() / 2);
                    waiting.extend([half, some]);
                }
                Outcome::Conflict => self.conflicts += 1,
            }
        }
        Ok(())
    }

    /// Deletes the selected sessions of one block.
    async fn block(&mut self, summary: BlockSummary) -> Result<(), Error> {
        let mut snapshot = self.store.snapshot().await?;
        let block = snapshot.groups(&[summary.id], Groups::ALL).await?.pop();
        drop(snapshot);
        let Some(block) = block else {
            self.conflicts += 1;
            return Ok(());
        };
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let deletion =
            picking(&self.picker, move |picker| picker.delete_from(&summary, &block, most)).await?;
        let Deletion { rewrite, selected, is_cut } = deletion;
        self.is_cut |= is_cut;
        if selected.sessions == 0 {
            return Ok(());
        }
        match self.store.rewrite(rewrite).await? {
            Outcome::Written => self.count(selected.sessions, selected.first_start_ms),
            Outcome::Conflict => self.conflicts += 1,
        }
        Ok(())
    }

    fn count(&mut self, sessions: u64, first_start_ms: Option<i64>) {
        self.selected.count(sessions, first_start_ms);
        self.remaining = self.remaining.saturating_sub(sessions);
    }
}

/// Returns the change that deletes some of the sessions of a block.
fn deleting(summary: &BlockSummary, gone: &[Row], kept: Vec<Row>) -> Rewrite {
    let mut totals = Totals::default();
    gone.iter().for_each(|row| totals.add(summary.key, row, -1));
    let named = |row: &Row| (summary.video, row.stored.started_at_ms, row.id);
    Rewrite {
        remove: vec![summary.id],
        add: blocks(kept).map(|block| (summary.key, summary.video, block)).collect(),
        delete_closed: gone.iter().map(named).collect(),
        totals: totals.finish(),
        ..Rewrite::default()
    }
}

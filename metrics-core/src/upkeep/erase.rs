//! Deletes sessions: those that a request selects, and those that are older than retention keeps.
//!
//! Every step is one transaction on some sessions, so others record meanwhile, and an interrupted deletion leaves a
//! consistent store: the same call goes on with what is left. A pass over the store may miss a session that moves between
//! a row and a block at that moment, or is written; so passes are repeated until one finds nothing.

use std::collections::{BTreeMap, HashMap};

use super::close::{Totals, blocks};
use crate::block::{Columns, Groups, Row, RowId};
use crate::export::damaged;
use crate::key::SessionId;
use crate::query::{Dimension, Filter, Operator, Scan, Selection};
use crate::reports::read::Reading;
use crate::reports::{info, picked};
use crate::scan::{SessionFilter, VideoInfo};
use crate::store::{
    BlockHead, Error, OpenScan, OpenSession, Outcome, Rewrite, Store, VideoId, VideoRecord,
    VideoScope, Videos,
};
use crate::video::Video;

/// How many sessions, heads or videos are read at a time.
const PAGE: u32 = 1_000;

/// How many open sessions are deleted in one transaction: a matter of some milliseconds.
const OPEN_AT_ONCE: usize = 256;

/// How many unused videos are deleted in one transaction.
const UNUSED_AT_ONCE: u32 = 1_000;

/// How many passes an erasure makes. Each but the last finds a session that was written or moved during the one before;
/// a session is written every 15 s, so more passes than a few mean that something else is wrong.
const PASSES_MAX: u32 = 64;

/// The sessions that an erasure deletes.
///
/// ```
/// use metrics_core::upkeep::Erasure;
/// use metrics_core::{ApiKey, Selection};
///
/// let key = ApiKey::generate();
/// let erasure = Erasure::of(Selection::key(key)).on_page("https://example.com/reset/");
/// # assert_eq!(erasure.session, None);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    /// The sessions, by everything that reports can select.
    pub scan: Scan,
    /// Only the session with this id.
    pub session: Option<SessionId>,
}

impl Erasure {
    /// Selects all sessions of a selection, whenever they started.
    #[must_use]
    pub fn of(selection: Selection) -> Self {
        let scan = Scan { selection, from_ms: i64::MIN, to_ms: i64::MAX, minimum_view_ms: 0 };
        Self { scan, session: None }
    }

    /// Selects only sessions that started from `from_ms` to `to_ms`, both Unix milliseconds and included.
    #[must_use]
    pub fn during(mut self, from_ms: i64, to_ms: i64) -> Self {
        (self.scan.from_ms, self.scan.to_ms) = (from_ms, to_ms);
        self
    }

    /// Selects only sessions on pages whose URL (scheme, host, port and path) starts with `prefix`.
    #[must_use]
    pub fn on_page(mut self, prefix: impl Into<String>) -> Self {
        let page = Filter::Dimension {
            dimension: Dimension::Page,
            operator: Operator::StartsWith,
            values: vec![Some(prefix.into())],
        };
        let filter = std::mem::take(&mut self.scan.selection.filter);
        self.scan.selection.filter = Filter::And(vec![filter, page]);
        self
    }

    /// Selects only the session with this id.
    #[must_use]
    pub fn of_session(self, id: SessionId) -> Self {
        Self { session: Some(id), ..self }
    }

    fn before(start_ms: i64) -> Option<Self> {
        let last_ms = start_ms.checked_sub(1)?;
        Some(Self::of(Selection::default()).during(i64::MIN, last_ms))
    }
}

/// How many sessions were selected or deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Selected {
    /// How many.
    pub sessions: u64,
    /// The start of the first of them, in Unix milliseconds.
    pub first_start_ms: Option<i64>,
}

/// What an erasure deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Erased {
    /// The sessions.
    pub sessions: Selected,
    /// How many videos were deleted because no session names them.
    pub videos: u64,
    /// How many pages were deleted because no session names them, if the store keeps pages apart from sessions.
    pub pages: u64,
}

/// Counts the sessions that [`erase`] would delete, and changes nothing.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn count_selected(store: &dyn Store, erasure: &Erasure) -> Result<Selected, Error> {
    let mut pass = Pass::new(store, erasure, Mode::Count);
    pass.run().await?;
    Ok(pass.selected)
}

/// Deletes the selected sessions, open, closed or final, from reports and totals, and then all videos and pages that no
/// session names.
///
/// A session that is in the memory of a recorder begins anew with the next play of its viewer. Interrupted, or after an
/// error, the same call goes on with what is left.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn erase(store: &dyn Store, erasure: &Erasure) -> Result<Erased, Error> {
    let sessions = delete(store, erasure).await?;
    let mut erased = Erased { sessions, ..Erased::default() };
    loop {
        let unused = store.delete_unused(UNUSED_AT_ONCE).await?;
        if unused.videos == 0 && unused.pages == 0 {
            return Ok(erased);
        }
        erased.videos += unused.videos;
        erased.pages += unused.pages;
    }
}

/// Deletes the sessions that started before `start_ms` (Unix milliseconds), open or closed, and returns how many. Their
/// videos and pages stay.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn delete_before(store: &dyn Store, start_ms: i64) -> Result<u64, Error> {
    let Some(erasure) = Erasure::before(start_ms) else { return Ok(0) };
    Ok(delete(store, &erasure).await?.sessions)
}

async fn delete(store: &dyn Store, erasure: &Erasure) -> Result<Selected, Error> {
    let mut deleted = Selected::default();
    for _ in 0..PASSES_MAX {
        let mut pass = Pass::new(store, erasure, Mode::Delete);
        pass.run().await?;
        deleted.add(pass.selected);
        if pass.selected.sessions == 0 && pass.conflicts == 0 {
            return Ok(deleted);
        }
    }
    let source = "the sessions changed again and again while they were deleted: run it again";
    Err(Error::Unavailable { store: "the store", source: source.into() })
}

impl Selected {
    fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.count(0, other.first_start_ms);
    }

    fn count(&mut self, sessions: u64, first_start_ms: Option<i64>) {
        self.sessions += sessions;
        let starts = [self.first_start_ms, first_start_ms];
        self.first_start_ms = starts.into_iter().flatten().min();
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Count,
    Delete,
}

/// One walk through the store.
struct Pass<'a> {
    store: &'a dyn Store,
    erasure: &'a Erasure,
    mode: Mode,
    filter: SessionFilter,
    scope: VideoScope,
    // Whether no condition depends on the video.
    is_of_all_videos: bool,
    // Whether sessions are selected by their videos and starts alone.
    is_whole: bool,
    selected: Selected,
    // How many transactions met a change of somebody else.
    conflicts: u64,
    // Stands for any video, where the filter does not depend on it.
    any: Video,
}

impl<'a> Pass<'a> {
    fn new(store: &'a dyn Store, erasure: &'a Erasure, mode: Mode) -> Self {
        let selection = erasure.scan.selection.for_stores();
        let (filter, Reading { scope, lists_videos, .. }) =
            picked(&Scan { selection: selection.clone(), ..erasure.scan.clone() });
        let rest = Selection { key: None, identifiers: None, ..selection };
        let has_minimum = erasure.scan.minimum_view_ms != 0;
        Self {
            store,
            erasure,
            mode,
            filter,
            is_of_all_videos: !lists_videos && scope == VideoScope::default(),
            scope,
            is_whole: rest.is_whole() && erasure.session.is_none() && !has_minimum,
            selected: Selected::default(),
            conflicts: 0,
            any: Video::labelled(""),
        }
    }

    async fn run(&mut self) -> Result<(), Error> {
        if self.is_of_all_videos {
            return self.sessions_of(&Videos::All, &HashMap::new()).await;
        }
        let mut after = None;
        loop {
            let page = self.store.snapshot().await?.videos(&self.scope, after, PAGE).await?;
            after = page.last().map(|video| video.id);
            let is_last = page.len() < PAGE as usize;
            let wanted = page.into_iter().filter(|video| self.filter.wants_video(&info(video)));
            let records: HashMap<_, _> = wanted.map(|video| (video.id, video)).collect();
            if !records.is_empty() {
                let mut ids: Vec<_> = records.keys().copied().collect();
                ids.sort_unstable();
                self.sessions_of(&Videos::These(ids), &records).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn sessions_of(&mut self, videos: &Videos, records: &Records) -> Result<(), Error> {
        self.open_sessions_of(videos, records).await?;
        let Scan { from_ms, to_ms, .. } = self.erasure.scan;
        let mut after = None;
        loop {
            let mut snapshot = self.store.snapshot().await?;
            let page = snapshot.blocks(videos, from_ms, to_ms, after, PAGE).await?;
            drop(snapshot);
            after = page.last().map(|head| head.id);
            for head in &page {
                self.block(head, records).await?;
            }
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    async fn open_sessions_of(&mut self, videos: &Videos, records: &Records) -> Result<(), Error> {
        let Scan { from_ms, to_ms, .. } = self.erasure.scan;
        let scan = OpenScan { videos: videos.clone(), from_ms, to_ms, watched_at: None };
        let mut after = None;
        loop {
            let page = self.store.snapshot().await?.open_sessions(&scan, after, PAGE).await?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < PAGE as usize;
            let mut by_video: BTreeMap<VideoId, Vec<OpenSession>> = BTreeMap::new();
            for session in page {
                by_video.entry(session.video).or_default().push(session);
            }
            for (video, mut sessions) in by_video {
                sessions.sort_by_key(|session| session.row.order());
                let rows: Vec<_> = sessions.iter().map(|session| session.row.clone()).collect();
                let is_picked = self.picks(video, &rows, records)?;
                let mut is_picked = is_picked.into_iter();
                sessions.retain(|session| {
                    is_picked.next() == Some(true)
                        && self.erasure.session.is_none_or(|id| id == session.id)
                });
                self.open(sessions).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Counts or deletes open sessions.
    async fn open(&mut self, sessions: Vec<OpenSession>) -> Result<(), Error> {
        let start_ms = |it: &OpenSession| it.row.stored.started_at_ms;
        if self.mode == Mode::Count {
            let first_ms = sessions.iter().map(start_ms).min();
            self.selected.count(sessions.len() as u64, first_ms);
            return Ok(());
        }
        let mut waiting: Vec<_> = sessions.chunks(OPEN_AT_ONCE).map(<[_]>::to_vec).collect();
        while let Some(mut some) = waiting.pop() {
            let delete_open = some.iter().map(|session| (session.id, session.version)).collect();
            let rewrite = Rewrite { delete_open, ..Rewrite::default() };
            match self.store.rewrite(rewrite).await? {
                Outcome::Written => {
                    let first_ms = some.iter().map(start_ms).min();
                    self.selected.count(some.len() as u64, first_ms);
                }
                // Halves, so that one session that goes on keeps no other.
                Outcome::Conflict if 1 < some.len() => {
                    let half = some.split_off(some.len() / 2);
                    waiting.extend([half, some]);
                }
                Outcome::Conflict => self.conflicts += 1,
            }
        }
        Ok(())
    }

    /// Counts or deletes sessions of one block.
    async fn block(&mut self, head: &BlockHead, records: &Records) -> Result<(), Error> {
        let Scan { from_ms, to_ms, .. } = self.erasure.scan;
        let is_in_time = from_ms <= head.first_start_ms && head.last_start_ms <= to_ms;
        if self.mode == Mode::Count && self.is_whole && is_in_time {
            self.selected.count(head.sessions.into(), Some(head.first_start_ms));
            return Ok(());
        }
        let mut snapshot = self.store.snapshot().await?;
        let block = snapshot.groups(&[head.id], Groups::ALL).await?.pop();
        drop(snapshot);
        let Some(block) = block else {
            self.conflicts += 1;
            return Ok(());
        };
        let rows = block.rows().map_err(Error::Damaged)?;
        let mut is_picked = self.picks(head.video, &rows, records)?.into_iter();
        let (gone, kept): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|_| is_picked.next() == Some(true));
        if gone.is_empty() {
            return Ok(());
        }
        let counted = (gone.len() as u64, gone.first().map(|row| row.stored.started_at_ms));
        if self.mode == Mode::Delete
            && self.store.rewrite(deleting(head, &gone, kept)).await? == Outcome::Conflict
        {
            self.conflicts += 1;
            return Ok(());
        }
        self.selected.count(counted.0, counted.1);
        Ok(())
    }

    /// Returns for each of some sessions of one video, in the order of their starts, whether it is selected.
    fn picks(
        &mut self,
        video: VideoId,
        rows: &[Row],
        records: &Records,
    ) -> Result<Vec<bool>, Error> {
        let mut is_picked = vec![false; rows.len()];
        let video = match records.get(&video) {
            Some(record) => info(record),
            None if self.is_of_all_videos => VideoInfo { key: "", video: &self.any },
            None => return Ok(is_picked),
        };
        let sessions = self.filter.sessions(&video, &Columns::of(rows));
        for session in sessions.map_err(|err| damaged(&err))? {
            let is_of = |id: SessionId| RowId::from(id) == rows[session].id;
            is_picked[session] = self.erasure.session.is_none_or(is_of);
        }
        Ok(is_picked)
    }
}

type Records = HashMap<VideoId, VideoRecord>;

/// The change that deletes some of the sessions of a block.
fn deleting(head: &BlockHead, gone: &[Row], kept: Vec<Row>) -> Rewrite {
    let mut totals = Totals::default();
    gone.iter().for_each(|row| totals.add(head.key, row, -1));
    let named = |row: &Row| (head.video, row.stored.started_at_ms, row.id);
    Rewrite {
        remove: vec![head.id],
        add: blocks(kept).map(|block| (head.key, head.video, block)).collect(),
        delete_closed: gone.iter().map(named).collect(),
        totals: totals.finish(),
        ..Rewrite::default()
    }
}

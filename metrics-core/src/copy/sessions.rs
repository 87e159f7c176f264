//! Copies videos with their closed sessions, then open sessions, then resume states of closed sessions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::compare::WINDOW_MS;
use super::retry::with_retries;
use super::{Copied, CopyError};
use crate::block::RowId;
use crate::import::{Foreign, Inserted, insert, rows};
use crate::read::HEADS;
use crate::store::{
    BlockSummary, Location, OpenScan, OpenSession, Outcome, Resumable, Rewrite, SessionWrite,
    Store, Subject, VideoId, VideoRecord, VideoScope, Videos,
};

/// Number of open sessions, or of resume states, copied at a time.
pub(super) const PAGE: u32 = 1_000;

/// How many videos are read at a time.
const VIDEOS: u32 = 256;

/// Number of closed sessions written at a time, unless one block has more.
const WRITTEN_AT_ONCE: usize = 4_000;

/// The outcome of the sessions so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) copied: Copied,
    sessions_done: u64,
    // Number of sessions that differ in the target, and one of them.
    pub(super) differing: Option<(u64, RowId)>,
    // The timeframes in which they started, by number since the Unix epoch.
    pub(super) windows: BTreeSet<i64>,
}

/// A copy under way.
pub(super) struct Copying<'a, P> {
    pub(super) from: &'a dyn Store,
    pub(super) to: &'a dyn Store,
    pub(super) tally: Tally,
    // By the video's row id in the source: its row id in the target, and its record.
    pub(super) videos: HashMap<VideoId, (VideoId, VideoRecord)>,
    pub(super) progress: P,
}

impl<P: FnMut(u64)> Copying<'_, P> {
    /// Copies all videos with their closed sessions.
    pub(super) async fn videos(&mut self) -> Result<(), CopyError> {
        let mut after = None;
        loop {
            let page = with_retries(async || {
                self.from.snapshot().await?.videos(&VideoScope::default(), after, VIDEOS).await
            });
            let page = page.await.map_err(CopyError::Read)?;
            after = page.last().map(|video| video.id);
            let is_last = page.len() < VIDEOS as usize;
            self.blocks(page).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn blocks(&mut self, videos: Vec<VideoRecord>) -> Result<(), CopyError> {
        let named: Vec<_> = videos.iter().map(|it| (it.key.clone(), it.video.clone())).collect();
        let there = with_retries(|| self.to.add_videos(&named)).await.map_err(CopyError::Write)?;
        let ids = Videos::These(videos.iter().map(|video| video.id).collect());
        for (video, (_, there)) in videos.into_iter().zip(there) {
            self.videos.insert(video.id, (there, video));
        }
        let (mut after, mut waiting) = (None, Vec::new());
        loop {
            let page = with_retries(async || {
                self.from.snapshot().await?.blocks(&ids, i64::MIN, i64::MAX, after, HEADS).await
            });
            let page = page.await.map_err(CopyError::Read)?;
            after = page.last().map(|summary| summary.id);
            for summary in &page {
                waiting.extend(self.foreign(summary).await?);
                if WRITTEN_AT_ONCE <= waiting.len() {
                    self.insert(std::mem::take(&mut waiting)).await?;
                }
            }
            if page.len() < HEADS as usize {
                return self.insert(waiting).await;
            }
        }
    }

    /// Decodes the sessions of a block.
    async fn foreign(&self, summary: &BlockSummary) -> Result<Vec<Foreign>, CopyError> {
        let Some((_, VideoRecord { key, video, .. })) = self.videos.get(&summary.video) else {
            return Ok(Vec::new());
        };
        let rows = with_retries(async || rows(&mut *self.from.snapshot().await?, summary).await);
        let rows = rows.await.map_err(CopyError::Read)?.into_iter();
        let foreign =
            |row| Foreign { key: key.clone(), video: video.clone(), row, equal_before: None };
        Ok(rows.map(foreign).collect())
    }

    async fn insert(&mut self, sessions: Vec<Foreign>) -> Result<(), CopyError> {
        self.notes(sessions.iter().map(|it| it.row.stored.started_at_ms));
        let inserted = with_retries(|| insert(self.to, sessions.clone())).await;
        let Inserted { added, already_there, differing, .. } =
            inserted.map_err(CopyError::Write)?;
        self.tally.copied.sessions += added;
        self.tally.copied.already_there += already_there;
        for id in differing {
            self.tally.differing.get_or_insert((0, id)).0 += 1;
        }
        (self.progress)(self.tally.sessions_done);
        Ok(())
    }

    fn notes(&mut self, starts: impl ExactSizeIterator<Item = i64>) {
        self.tally.sessions_done += starts.len() as u64;
        self.tally.windows.extend(starts.map(|at_ms| at_ms.div_euclid(WINDOW_MS)));
    }

    /// Copies the open sessions with their resume state.
    pub(super) async fn open_sessions(&mut self) -> Result<(), CopyError> {
        let (from_ms, to_ms) = (i64::MIN, i64::MAX);
        let scan = OpenScan { videos: Videos::All, from_ms, to_ms, watched_at: None };
        let mut after = None;
        loop {
            let page = with_retries(async || {
                self.from.snapshot().await?.open_sessions(&scan, after, PAGE).await
            });
            let page = page.await.map_err(CopyError::Read)?;
            after = page.last().map(|session| session.id);
            self.write(&page).await?;
            (self.progress)(self.tally.sessions_done);
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    async fn write(&mut self, sessions: &[OpenSession]) -> Result<(), CopyError> {
        self.notes(sessions.iter().map(|session| session.row.stored.started_at_ms));
        let writes = sessions.iter().filter_map(|session| {
            let (_, video) = self.videos.get(&session.video)?;
            Some(first_write(session, video))
        });
        let writes: Arc<[SessionWrite]> = writes.collect();
        let outcomes = with_retries(|| self.to.commit(Arc::clone(&writes))).await;
        for (write, outcome) in writes.iter().zip(outcomes.map_err(CopyError::Write)?) {
            if outcome == Outcome::Written {
                self.tally.copied.sessions += 1;
                continue;
            }
            let there = with_retries(async || self.to.load(&[write.id]).await).await;
            let there = there.map_err(CopyError::Write)?;
            match there.into_iter().next().flatten().map(|found| found.location) {
                // A session that a server has closed meanwhile is compared by the sums.
                Some(Location::Closed { .. }) => self.tally.copied.already_there += 1,
                Some(Location::Open(stored)) if stored == write.stored => {
                    self.tally.copied.already_there += 1;
                }
                _ => self.tally.differing.get_or_insert((0, write.id.into())).0 += 1,
            }
        }
        Ok(())
    }

    /// Copies the resume states of closed sessions.
    pub(super) async fn resume_states(&mut self) -> Result<(), CopyError> {
        let mut after = None;
        loop {
            let page =
                with_retries(async || self.from.snapshot().await?.resumable(after, PAGE).await);
            let page = page.await.map_err(CopyError::Read)?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < PAGE as usize;
            let there = |session: Resumable| {
                let (video, _) = self.videos.get(&session.video)?;
                Some(Resumable { video: *video, ..session })
            };
            let resumable: Vec<Resumable> = page.into_iter().filter_map(there).collect();
            let rewrite = Rewrite { resumable, ..Rewrite::default() };
            let written = with_retries(|| self.to.rewrite(rewrite.clone())).await;
            written.map_err(CopyError::Write)?;
            if is_last {
                return Ok(());
            }
        }
    }
}

fn first_write(session: &OpenSession, video: &VideoRecord) -> SessionWrite {
    let row = session.row.clone();
    let subject = Subject {
        key: video.key.clone(),
        video: video.video.clone(),
        source: row.page,
        user_agent: row.user_agent,
        session_data: row.session_data.map(|data| data.to_string()),
        arrival: row.arrival,
    };
    SessionWrite {
        id: session.id,
        subject: Arc::new(subject),
        expected: 0,
        stored: row.stored,
        watched_at: None,
    }
}

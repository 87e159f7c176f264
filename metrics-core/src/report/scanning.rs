//! Scanners as folds of a reading.

use std::collections::HashMap;

use super::ReportError;
use crate::block::{Columns, Group, Groups, RowId};
use crate::budget::Account;
use crate::erasure::{Erasure, Selected};
use crate::query::{Query, Scan};
use crate::read::{Fold, Reading, beyond_scope, info, picked, read_from, scope};
use crate::scan::{ScanError, Scans, SessionFilter, VideoInfo};
use crate::store::{Store, VideoId, VideoRecord, VideoScope};
use crate::video::Video;

/// Counts the sessions that a filter selects.
pub(super) struct Counter {
    pub(super) filter: SessionFilter,
    pub(super) sessions: u64,
}

impl Scans for Counter {
    fn groups(&self) -> Groups {
        self.filter.groups()
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        self.sessions += self.filter.sessions(video, columns)?.len() as u64;
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// Counts the sessions of an erasure.
pub(super) struct Selecting {
    filter: SessionFilter,
    session: Option<RowId>,
    selected: Selected,
}

impl Scans for Selecting {
    fn groups(&self) -> Groups {
        match self.session {
            Some(_) => self.filter.groups().with(Group::RowIds),
            None => self.filter.groups(),
        }
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let mut picked = self.filter.sessions(video, columns)?;
        if self.session.is_some() {
            picked.retain(|session| columns.row_id(*session) == self.session);
        }
        let first = picked.first().map(|session| columns.starts.get_ms(*session));
        self.selected.count(picked.len() as u64, first);
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// Counts the sessions that an erasure selects, in one snapshot.
pub(crate) async fn count(
    store: &dyn Store,
    erasure: &Erasure,
    account: &Account,
) -> Result<Selected, ReportError> {
    let selection = erasure.scan.selection.for_stores();
    let (filter, reading) = picked(&Scan { selection, ..erasure.scan.clone() });
    let session = erasure.session.map(RowId::from);
    let selecting = Selecting { filter, session, selected: Selected::default() };
    let fold = Scanning::new(selecting, &reading, account);
    let mut snapshot = store.snapshot().await?;
    let Scanning { scanner, .. } = read_from(&mut *snapshot, &reading, fold).await?;
    Ok(scanner.selected)
}

/// A scanner, with the videos whose sessions it accepts.
pub(super) struct Scanning<S> {
    pub(super) scanner: S,
    // The accepted videos, if the scanner needs to know them.
    pub(super) videos: Option<HashMap<VideoId, VideoRecord>>,
    // Stands for any video if the scanner does not need to know them.
    any: Video,
    // Accounts for the bytes of this fold.
    account: Account,
    // The bytes of the videos, and of the caller's data in addition.
    further_bytes: usize,
}

/// The size of a video's record beside its texts, in bytes.
pub(super) const RECORD_BYTES: usize = 2 * size_of::<VideoRecord>();

impl<S: Scans> Scanning<S> {
    pub(super) fn new(scanner: S, reading: &Reading, account: &Account) -> Self {
        let videos = reading.lists_videos.then(HashMap::new);
        let account = account.clone();
        Self { scanner, videos, any: Video::labelled(""), account, further_bytes: 0 }
    }

    /// Accepts only sessions of these videos.
    pub(super) fn of(scanner: S, videos: HashMap<VideoId, VideoRecord>, account: &Account) -> Self {
        let account = account.clone();
        Self { scanner, videos: Some(videos), any: Video::labelled(""), account, further_bytes: 0 }
    }

    /// Accounts for `bytes` that the caller holds in addition.
    pub(super) fn with_further_bytes(self, bytes: usize) -> Self {
        Self { further_bytes: self.further_bytes + bytes, ..self }
    }

    fn account(&self) -> Result<(), ReportError> {
        Ok(self.account.hold(self.scanner.bytes().saturating_add(self.further_bytes))?)
    }
}

impl<S: Scans> Fold for Scanning<S> {
    type Error = ReportError;

    fn groups(&self) -> Groups {
        self.scanner.groups()
    }

    fn selects(&mut self, video: &VideoRecord) -> Result<bool, ReportError> {
        let is_selected = self.scanner.selects_video(&info(video));
        if let Some(videos) = self.videos.as_mut().filter(|_| is_selected) {
            videos.insert(video.id, video.clone());
            self.further_bytes += video.video.bytes() + RECORD_BYTES;
            self.account()?;
        }
        Ok(is_selected)
    }

    fn add(&mut self, video: VideoId, columns: &Columns) -> Result<(), ReportError> {
        let video = match &self.videos {
            None => VideoInfo { key: "", video: &self.any },
            Some(videos) => match videos.get(&video) {
                Some(record) => info(record),
                None => return Ok(()),
            },
        };
        self.scanner.add(&video, columns)?;
        self.account()
    }
}

/// Splits a query into the query without the part of its selection that a store applies, and that part.
pub(super) fn scoped(query: &Query) -> (Query, VideoScope) {
    let selection = beyond_scope(&query.selection);
    (Query { selection, ..query.clone() }, scope(&query.selection))
}

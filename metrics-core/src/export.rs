//! Reads the sessions of a store one by one, for those who want more than sums.
//!
//! Page by page, so that it needs the memory of a page, however many sessions there are. What is recorded meanwhile is
//! in it or not; a session that was there all the time is in it once, as it is when its page is read.

use std::collections::{HashMap, HashSet};

use crate::block::{Columns, Row, RowId};
use crate::import::rows as block_rows;
use crate::query::{Scan, Selection};
use crate::reports::{info, picked};
use crate::scan::{ScanError, SessionFilter};
use crate::session::Stored;
use crate::store::{
    BlockHead, Error, OpenScan, Snapshot, Store, Subject, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::varint::Damaged;

/// How many sessions are read at a time: enough that a store is not called all the time, and a megabyte of memory, or a
/// hundred if each has the most of everything.
const PAGE: usize = 1_000;

/// How many videos are looked at a time.
const VIDEOS: u32 = 64;

/// How many heads or open sessions are read at a time.
const LIST: u32 = 10_000;

/// A session, and whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Tells it from others of the same video and start.
    pub id: RowId,
    /// Whose it is.
    pub subject: Subject,
    /// The session. A closed one has no resume state.
    pub stored: Stored,
}

/// Some of the sessions of a store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The sessions.
    pub records: Vec<Record>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Cursor>,
}

/// Where an export goes on: after a session of a video.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor {
    video: VideoId,
    after: (i64, RowId),
}

/// A walk through the sessions of a store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::export::Export;
/// use metrics_core::store::SqliteStore;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("metrics.db");
/// let store = SqliteStore::open(path).await?;
/// let mut export = Export::all();
/// while let Some(records) = export.next(&store).await? {
///     for record in records {
///         println!("{:?}: {} ms", record.subject.video, record.stored.view_ms);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Export {
    scan: Option<Scan>,
    // Where the next page begins; none at the beginning.
    cursor: Option<Cursor>,
    over: bool,
    read: u64,
}

impl Export {
    /// Through all sessions.
    #[must_use]
    pub fn all() -> Self {
        Self { scan: None, cursor: None, over: false, read: 0 }
    }

    /// Through those that a report would count.
    #[must_use]
    pub fn of(scan: Scan) -> Self {
        Self { scan: Some(scan), ..Self::all() }
    }

    /// Some more of them, or `None` after the last. There may be none among some, and more after them.
    ///
    /// If it fails or is dropped, it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<Record>>, Error> {
        if self.over {
            return Ok(None);
        }
        let page = page(store, self.scan.as_ref(), self.cursor, PAGE).await?;
        self.read += page.records.len() as u64;
        self.over = page.next.is_none();
        self.cursor = page.next.or(self.cursor);
        Ok(Some(page.records))
    }

    /// How many sessions were returned.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }
}

/// Reads sessions whole, about `limit` (1 or more) of them, by video and start: from the beginning, or after the page that
/// `cursor` ended. A session that is there all the time, and goes on at no moment, is on one page exactly.
///
/// A page may be empty although another follows.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn page(
    store: &dyn Store,
    scan: Option<&Scan>,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page, Error> {
    let mut snapshot = store.snapshot().await?;
    let everything = Scan {
        selection: Selection::default(),
        from_ms: i64::MIN,
        to_ms: i64::MAX,
        minimum_view_ms: 0,
    };
    let (mut filter, reading) = picked(scan.unwrap_or(&everything));
    let first = cursor.map(|cursor| VideoId(cursor.video.0.saturating_sub(1)));
    let videos = snapshot.videos(&reading.scope, first, VIDEOS).await?;
    let last = videos.last().map(|video| video.id).filter(|_| videos.len() == VIDEOS as usize);
    let videos: Vec<VideoRecord> =
        videos.into_iter().filter(|video| filter.wants_video(&info(video))).collect();
    let mut content = Content::list(&mut *snapshot, &videos, scan).await?;
    let mut page = Page::default();
    for video in &videos {
        let after = cursor.filter(|cursor| cursor.video == video.id).map(|cursor| cursor.after);
        let left = limit - page.records.len();
        let rows = content.rows(&mut *snapshot, video.id, after, left).await?;
        let is_full = rows.len() == left;
        if let Some(row) = rows.last().filter(|_| is_full) {
            page.next = Some(Cursor { video: video.id, after: row.order() });
        }
        page.records.extend(counted(&mut filter, video, rows)?.map(|row| record(video, row)));
        if is_full {
            return Ok(page);
        }
    }
    page.next = last.map(Cursor::after_all);
    Ok(page)
}

/// Where the sessions of some videos are.
struct Content {
    frame: (i64, i64),
    open: HashMap<VideoId, Vec<Row>>,
    // By the first start.
    heads: HashMap<VideoId, Vec<BlockHead>>,
}

impl Content {
    async fn list(
        snapshot: &mut dyn Snapshot,
        videos: &[VideoRecord],
        scan: Option<&Scan>,
    ) -> Result<Self, Error> {
        let frame = scan.map_or((i64::MIN, i64::MAX), |scan| (scan.from_ms, scan.to_ms));
        let mut content = Self { frame, open: HashMap::new(), heads: HashMap::new() };
        let videos = Videos::These(videos.iter().map(|video| video.id).collect());
        let mut after = None;
        loop {
            let page = snapshot.blocks(&videos, frame.0, frame.1, after, LIST).await?;
            after = page.last().map(|head| head.id);
            for head in &page {
                content.heads.entry(head.video).or_default().push(*head);
            }
            if page.len() < LIST as usize {
                break;
            }
        }
        for heads in content.heads.values_mut() {
            heads.sort_by_key(|head| (head.first_start_ms, head.id));
        }
        let scan = OpenScan { videos, from_ms: frame.0, to_ms: frame.1, watched_at: None };
        let mut after = None;
        loop {
            let page = snapshot.open_sessions(&scan, after, LIST).await?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < LIST as usize;
            for session in page {
                content.open.entry(session.video).or_default().push(session.row);
            }
            if is_last {
                return Ok(content);
            }
        }
    }

    /// The first `limit` sessions of a video after one of them, in order.
    async fn rows(
        &mut self,
        snapshot: &mut dyn Snapshot,
        video: VideoId,
        after: Option<(i64, RowId)>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let (from_ms, to_ms) = self.frame;
        let is_wanted = |row: &Row| {
            after.is_none_or(|after| after < row.order())
                && (from_ms..=to_ms).contains(&row.stored.started_at_ms)
        };
        let mut rows = self.open.remove(&video).unwrap_or_default();
        rows.retain(is_wanted);
        let heads = self.heads.remove(&video).unwrap_or_default();
        let mut heads = heads.into_iter().peekable();
        while let Some(head) = heads.next() {
            if after.is_some_and(|(start_ms, _)| head.last_start_ms < start_ms) {
                continue;
            }
            rows.extend(block_rows(snapshot, &head).await?.into_iter().filter(is_wanted));
            // No later block has an earlier session than the next one.
            let next_ms = heads.peek().map_or(i64::MAX, |next| next.first_start_ms);
            let is_before = |row: &&Row| row.stored.started_at_ms < next_ms;
            if limit <= rows.iter().filter(is_before).count() {
                break;
            }
        }
        rows.sort_by_key(Row::order);
        rows.truncate(limit);
        Ok(rows)
    }
}

/// Those of the sessions of a video that a filter picks.
fn counted(
    filter: &mut SessionFilter,
    video: &VideoRecord,
    rows: Vec<Row>,
) -> Result<impl Iterator<Item = Row>, Error> {
    let mut counted = vec![false; rows.len()];
    let sessions = filter.sessions(&info(video), &Columns::of(&rows));
    for session in sessions.map_err(|err| damaged(&err))? {
        counted[session] = true;
    }
    Ok(rows.into_iter().zip(counted).filter(|(_, counts)| *counts).map(|(row, _)| row))
}

pub(crate) fn damaged(err: &ScanError) -> Error {
    Error::Damaged(match err {
        ScanError::Damaged(err) => *err,
        // Whole rows have every group, and are not grouped.
        _ => Damaged("a session cannot be filtered"),
    })
}

/// Whether a store has these sessions, all of one video.
pub(crate) async fn has_all(store: &dyn Store, records: &[Record]) -> Result<bool, Error> {
    let Some(Record { subject: Subject { key, video, .. }, .. }) = records.first() else {
        return Ok(true);
    };
    let mut snapshot = store.snapshot().await?;
    let identifiers = video.identifier().map(|identifier| vec![identifier.to_owned()]);
    let scope = VideoScope { key: Some(key.clone()), identifiers };
    let mut after = None;
    let found = loop {
        let page = snapshot.videos(&scope, after, LIST).await?;
        after = page.last().map(|video| video.id);
        let is_last = page.len() < LIST as usize;
        if let Some(found) = page.into_iter().find(|record| record.video == *video) {
            break found;
        }
        if is_last {
            return Ok(false);
        }
    };
    let id = found.id;
    let mut content = Content::list(&mut *snapshot, &[found], None).await?;
    let rows = content.rows(&mut *snapshot, id, None, usize::MAX).await?;
    let known: HashSet<_> = rows.iter().map(Row::order).collect();
    Ok(records.iter().all(|record| known.contains(&(record.stored.started_at_ms, record.id))))
}

impl Cursor {
    fn after_all(video: VideoId) -> Self {
        Self { video, after: (i64::MAX, RowId(u64::MAX)) }
    }
}

fn record(video: &VideoRecord, row: Row) -> Record {
    let Row { id, page, client, session_data, stored } = row;
    let subject = Subject {
        key: video.key.clone(),
        video: video.video.clone(),
        source: page,
        client,
        session_data: session_data.map(|data| data.to_string()),
    };
    Record { id, subject, stored }
}

//! Exports the sessions of a store one by one, for programs that need more than sums.
//!
//! An export reads page by page, so it needs the memory of one page, however many sessions there are. A session
//! recorded meanwhile may or may not be in it; a session that exists all the time is in it once, in its state at the
//! reading of its page.
//!
//! Sessions are decoded and filtered on the threads of reports: see [`compute`](crate::compute).

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::block::{Block, Columns, Groups, Row, RowId};
use crate::budget::Account;
use crate::compute::expect_aside;
use crate::query::{Scan, Selection};
use crate::read::{OPEN_FIRST, Reading, computed, damaged, info, next_limit, picked};
use crate::scan::SessionFilter;
use crate::session::Stored;
use crate::store::{
    BlockSummary, Error, OpenScan, Snapshot, Store, Subject, VideoId, VideoRecord, VideoScope,
    Videos,
};

/// Number of sessions read at a time: enough to call the store rarely, in a megabyte of memory.
const PAGE: usize = 1_000;

/// The largest number of bytes of sessions read at a time, not counting the last session: pages choose the size of
/// session data.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Number of videos examined at a time.
const VIDEOS: u32 = 64;

/// Number of summaries or videos read at a time.
const LIST: u32 = 10_000;

/// A session and its subject.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Distinguishes it from others of the same video and start.
    pub id: RowId,
    /// Its key, video, page, user-agent classes, session data and arrival.
    pub subject: Subject,
    /// The session. A closed one has no resume state.
    pub stored: Stored,
}

/// A page of sessions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The deleted sessions.
    pub records: Vec<Record>,
    /// The start of the next page, if there may be one.
    pub next: Option<Cursor>,
}

/// The position of an export: after a session of a video.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor {
    video: VideoId,
    after: (i64, RowId),
}

/// An export of the sessions of a store.
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
    // The start of the next page; `None` at the beginning.
    cursor: Option<Cursor>,
    over: bool,
    read: u64,
    account: Account,
}

impl Export {
    /// Exports all sessions.
    #[must_use]
    pub fn all() -> Self {
        Self { scan: None, cursor: None, over: false, read: 0, account: Account::default() }
    }

    /// Exports the sessions that a report would count.
    #[must_use]
    pub fn of(scan: Scan) -> Self {
        Self { scan: Some(scan), ..Self::all() }
    }

    /// Accounts in `account` for the memory of the sessions being read and of those returned last, even beyond its
    /// budget: some megabytes, or more if a block is large.
    #[must_use]
    pub fn within(self, account: &Account) -> Self {
        Self { account: account.clone(), ..self }
    }

    /// Returns the next sessions, or `None` after the last. The result may be empty although more follow.
    ///
    /// After an error or a drop of the future, it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<Record>>, Error> {
        if self.over {
            return Ok(None);
        }
        let space = PageSpace { rows: PAGE, bytes: PAGE_BYTES_MAX, video_bytes: 0 };
        let page = read_page(store, self.scan.as_ref(), self.cursor, space, &self.account).await?;
        self.read += page.records.len() as u64;
        self.over = page.next.is_none();
        self.cursor = page.next.or(self.cursor);
        Ok(Some(page.records))
    }

    /// Number of sessions returned.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }
}

/// Reads complete sessions, at most `limit` (1 or more) of them and some megabytes, by video and start: from the
/// beginning, or after the page that `cursor` ended. A session that exists all the time, and does not go on, is on
/// exactly one page.
///
/// A page may be empty although another follows.
///
/// # Errors
///
/// [`Error`] if the store fails.
pub async fn page(
    store: &dyn Store,
    scan: Option<&Scan>,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page, Error> {
    let space = PageSpace { rows: limit, bytes: PAGE_BYTES_MAX, video_bytes: 0 };
    read_page(store, scan, cursor, space, Account::UNLIMITED).await
}

async fn read_page(
    store: &dyn Store,
    scan: Option<&Scan>,
    cursor: Option<Cursor>,
    mut space: PageSpace,
    account: &Account,
) -> Result<Page, Error> {
    let mut snapshot = store.snapshot().await?;
    let everything = Scan {
        selection: Selection::default(),
        from_ms: i64::MIN,
        to_ms: i64::MAX,
        minimum_view_ms: 0,
    };
    let (mut filter, reading) = picked(scan.unwrap_or(&everything));
    let Reading { scope, .. } = reading;
    let first = cursor.map(|cursor| VideoId(cursor.video.0.saturating_sub(1)));
    let mut videos = snapshot.videos(&scope, first, VIDEOS).await?;
    let last = videos.last().map(|video| video.id).filter(|_| videos.len() == VIDEOS as usize);
    // Filters may compare long arrays in metadata.
    (filter, videos) = computed::<_, Error>(move || {
        videos.retain(|video| filter.selects_video(&info(video)));
        Ok((filter, videos))
    })
    .await?;
    let frame = scan.map_or((i64::MIN, i64::MAX), |scan| (scan.from_ms, scan.to_ms));
    let ids = videos.iter().map(|video| video.id).collect();
    let mut content =
        Content::list(&mut *snapshot, ids, Frame { frame, cursor }, space, account).await?;
    let mut page = Page::default();
    for video in videos {
        space.video_bytes = video.video.bytes();
        let rows = content.rows(&mut *snapshot, video.id, space).await?;
        if rows.is_empty() {
            continue;
        }
        (_, space) = space.fitting(rows.iter());
        if let Some(row) = rows.last().filter(|_| space.is_used_up()) {
            page.next = Some(Cursor { video: video.id, after: row.order() });
        }
        let mut records = page.records;
        (filter, page.records) = computed::<_, Error>(move || {
            records.extend(counted(&mut filter, &video, rows)?.map(|row| record(&video, row)));
            Ok((filter, records))
        })
        .await?;
        if space.is_used_up() {
            break;
        }
    }
    account.charge(page.records.iter().map(Record::bytes).sum());
    page.next = page.next.or(last.map(Cursor::after_all));
    Ok(page)
}

/// The space left on a page.
#[derive(Clone, Copy, Debug)]
struct PageSpace {
    rows: usize,
    bytes: usize,
    // Bytes that each session takes beside its row: those of its video.
    video_bytes: usize,
}

impl PageSpace {
    const UNLIMITED: Self = Self { rows: usize::MAX, bytes: usize::MAX, video_bytes: 0 };

    fn is_used_up(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    /// Returns the number of rows that fit, the last of which may be too large, and the space after them.
    fn fitting<'a>(mut self, rows: impl Iterator<Item = &'a Row>) -> (usize, Self) {
        let mut count = 0;
        for row in rows {
            if self.is_used_up() {
                break;
            }
            count += 1;
            self.rows -= 1;
            self.bytes = self.bytes.saturating_sub(row.bytes() + self.video_bytes);
        }
        (count, self)
    }
}

/// The sessions to export of some videos: those that started in a timeframe, after a cursor.
#[derive(Clone, Copy, Debug)]
struct Frame {
    frame: (i64, i64),
    cursor: Option<Cursor>,
}

impl Frame {
    fn after(self, video: VideoId) -> Option<(i64, RowId)> {
        self.cursor.filter(|cursor| cursor.video == video).map(|cursor| cursor.after)
    }

    fn has(self, video: VideoId, row: &Row) -> bool {
        let (from_ms, to_ms) = self.frame;
        self.after(video).is_none_or(|after| after < row.order())
            && (from_ms..=to_ms).contains(&row.stored.started_at_ms)
    }
}

/// The sessions of some videos, in rows and blocks.
struct Content<'a> {
    frame: Frame,
    account: &'a Account,
    // The first ones, as many as may fit on a page.
    open: BTreeMap<VideoId, Vec<Row>>,
    // By first start.
    summaries: HashMap<VideoId, Vec<BlockSummary>>,
}

impl<'a> Content<'a> {
    async fn list(
        snapshot: &mut dyn Snapshot,
        videos: Vec<VideoId>,
        frame: Frame,
        space: PageSpace,
        account: &'a Account,
    ) -> Result<Self, Error> {
        let mut summaries: HashMap<VideoId, Vec<BlockSummary>> = HashMap::new();
        let videos = Videos::These(videos);
        let (from_ms, to_ms) = frame.frame;
        let mut after = None;
        loop {
            let page = snapshot.blocks(&videos, from_ms, to_ms, after, LIST).await?;
            after = page.last().map(|summary| summary.id);
            for summary in &page {
                summaries.entry(summary.video).or_default().push(*summary);
            }
            if page.len() < LIST as usize {
                break;
            }
        }
        for summaries in summaries.values_mut() {
            summaries.sort_by_key(|summary| (summary.first_start_ms, summary.id));
        }
        let scan = OpenScan { videos, from_ms, to_ms, watched_at: None };
        let open = first_open(snapshot, &scan, frame, space, account).await?;
        Ok(Self { frame, account, open, summaries })
    }

    /// The first sessions of a video that fit, in order.
    async fn rows(
        &mut self,
        snapshot: &mut dyn Snapshot,
        video: VideoId,
        space: PageSpace,
    ) -> Result<Vec<Row>, Error> {
        let (frame, account) = (self.frame, self.account);
        let after = frame.after(video);
        let mut rows = self.open.remove(&video).unwrap_or_default();
        rows.sort_by_key(Row::order);
        rows.truncate(space.fitting(rows.iter()).0);
        let summaries = self.summaries.remove(&video).unwrap_or_default();
        let mut summaries = summaries.into_iter().peekable();
        while let Some(summary) = summaries.next() {
            if after.is_some_and(|(start_ms, _)| summary.last_start_ms < start_ms) {
                continue;
            }
            // Only a block that was replaced would be missing, and a snapshot does not show that.
            let Some(block) = snapshot.groups(&[summary.id], Groups::ALL).await?.pop() else {
                continue;
            };
            let account = account.clone();
            let is_full;
            (rows, is_full) =
                computed(move || with_block(rows, video, &block, frame, space, &account)).await?;
            // Every session of a later block starts at or after the start of the next block.
            let next_ms = summaries.peek().map_or(i64::MAX, |next| next.first_start_ms);
            if is_full && rows.last().is_some_and(|row| row.stored.started_at_ms < next_ms) {
                break;
            }
        }
        Ok(rows)
    }
}

/// Adds the sessions of a block to others of its video. Returns the first sessions that fit, and whether the page is
/// full.
fn with_block(
    mut rows: Vec<Row>,
    video: VideoId,
    block: &Block,
    frame: Frame,
    space: PageSpace,
    account: &Account,
) -> Result<(Vec<Row>, bool), Error> {
    expect_aside();
    let held: usize = rows.iter().map(Row::bytes).sum();
    // Decoded, each session takes about as many bytes again.
    account.charge(held + 2 * block.bytes() + block.sessions as usize * size_of::<Row>());
    let decoded = block.rows().map_err(Error::Damaged)?;
    rows.extend(decoded.into_iter().filter(|row| frame.has(video, row)));
    rows.sort_by_key(Row::order);
    let (count, space) = space.fitting(rows.iter());
    rows.truncate(count);
    account.charge(rows.iter().map(Row::bytes).sum());
    Ok((rows, space.is_used_up()))
}

/// Reads open sessions, and returns the first ones by video and start that fit: a page ends with them at the latest.
async fn first_open(
    snapshot: &mut dyn Snapshot,
    scan: &OpenScan,
    frame: Frame,
    space: PageSpace,
    account: &Account,
) -> Result<BTreeMap<VideoId, Vec<Row>>, Error> {
    let mut first: Vec<(VideoId, Row)> = Vec::new();
    let (mut after, mut limit) = (None, OPEN_FIRST);
    loop {
        let page = snapshot.open_sessions(scan, after, limit).await?;
        after = page.last().map(|session| session.id);
        let is_last = page.len() < limit as usize;
        limit = next_limit(&page);
        let wanted = page.into_iter().filter(|it| frame.has(it.video, &it.row));
        first.extend(wanted.map(|it| (it.video, it.row)));
        account.charge(first.iter().map(|(_, row)| row.bytes()).sum());
        first.sort_by_key(|(video, row)| (*video, row.order()));
        first.truncate(space.fitting(first.iter().map(|(_, row)| row)).0);
        if is_last {
            break;
        }
    }
    let mut open: BTreeMap<VideoId, Vec<Row>> = BTreeMap::new();
    for (video, row) in first {
        open.entry(video).or_default().push(row);
    }
    Ok(open)
}

/// Returns the sessions of a video that a filter selects.
fn counted(
    filter: &mut SessionFilter,
    video: &VideoRecord,
    rows: Vec<Row>,
) -> Result<impl Iterator<Item = Row>, Error> {
    expect_aside();
    let mut counted = vec![false; rows.len()];
    let sessions = filter.sessions(&info(video), &Columns::of(&rows));
    for session in sessions.map_err(|err| damaged(&err))? {
        counted[session] = true;
    }
    Ok(rows.into_iter().zip(counted).filter(|(_, counts)| *counts).map(|(row, _)| row))
}

/// Returns whether a store has these sessions, all of one video.
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
    let frame = Frame { frame: (i64::MIN, i64::MAX), cursor: None };
    let (space, account) = (PageSpace::UNLIMITED, Account::UNLIMITED);
    let mut content = Content::list(&mut *snapshot, vec![id], frame, space, account).await?;
    let rows = content.rows(&mut *snapshot, id, space).await?;
    let known: HashSet<_> = rows.iter().map(Row::order).collect();
    Ok(records.iter().all(|record| known.contains(&(record.stored.started_at_ms, record.id))))
}

impl Record {
    /// Returns the approximate number of bytes in memory.
    fn bytes(&self) -> usize {
        let Self { subject, stored, .. } = self;
        let Subject { key, video, source, session_data, arrival, .. } = subject;
        size_of::<Self>()
            + key.as_str().len()
            + video.bytes()
            + source.as_ref().map_or(0, |source| source.as_str().len())
            + session_data.as_ref().map_or(0, String::len)
            + arrival.bytes()
            + stored.segments.len()
            + stored.resume.len()
    }
}

impl Cursor {
    fn after_all(video: VideoId) -> Self {
        Self { video, after: (i64::MAX, RowId(u64::MAX)) }
    }
}

fn record(video: &VideoRecord, row: Row) -> Record {
    let Row { id, page, user_agent, session_data, arrival, stored } = row;
    let subject = Subject {
        key: video.key.clone(),
        video: video.video.clone(),
        source: page,
        user_agent,
        session_data: session_data.map(|data| data.to_string()),
        arrival,
    };
    Record { id, subject, stored }
}

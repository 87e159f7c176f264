//! Copies a database from one store to another, and proves that nothing was lost.
//!
//! Keys keep their times, and sessions their resume state, so that each can go on in the other store. A copy overwrites
//! nothing: a session that the target already has must be the same. So an interrupted copy is simply run again.
//!
//! No server may record into either store meanwhile: its sessions would be missing from the copy or conflict with it,
//! and the comparison at the end would fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;

use crate::block::RowId;
use crate::budget::Account;
use crate::export::{self, Record};
use crate::import::{Foreign, Inserted, insert, rows};
use crate::query::{Scan, Selection};
use crate::read::HEADS;
use crate::reports::{ReportError, older};
use crate::scan::ScanError;
use crate::store::{
    BlockHead, Error, Location, OpenScan, OpenSession, Outcome, Resumable, Rewrite, SessionWrite,
    Store, Subject, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::time::DAY_MS;
use crate::time_bucket::{Buckets, Width};
use crate::user_agent::{Browser, Device, Platform};

/// Number of open sessions, or of resume states, copied at a time.
const PAGE: u32 = 1_000;

/// How many videos are read at a time.
const VIDEOS: u32 = 256;

/// Number of closed sessions written at a time, unless one block has more.
const WRITTEN_AT_ONCE: usize = 4_000;

/// Backoff before each retry while a store is unavailable: half a minute in all, in which a database can restart.
const PAUSES_SECONDS: [u64; 5] = [1, 2, 4, 8, 15];

/// The timeframe of the first comparisons: a few requests, none of which takes a store long.
const WINDOW_MS: i64 = 32 * DAY_MS;

/// The progress of a copy or an import.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Number of sessions processed.
    pub sessions_done: u64,
    /// Number of sessions to process.
    pub sessions_total: u64,
}

/// The result of a copy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Copied {
    /// The number of keys added.
    pub keys: u64,
    /// The number of sessions added.
    pub sessions: u64,
    /// Number of sessions that the target already had, from an earlier copy.
    pub already_there: u64,
}

/// Why a copy did not complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source failed to answer. If it was unavailable, copy again later.
    #[error("cannot read the source of the copy")]
    Read(#[source] Error),
    /// The target failed to answer. If it was unavailable, copy again later.
    #[error("cannot write the copy")]
    Write(#[source] Error),
    /// The target is another database in use. It is unchanged.
    #[error(
        "the target has other sessions: name an empty database, or the target of an interrupted copy of this one"
    )]
    Occupied,
    /// Keys that are valid in the source are revoked in the target, for good. The target is unchanged.
    #[error(
        "{keys} keys are revoked in the target and valid in the source: name an empty database"
    )]
    Revoked {
        /// Number of these sessions.
        keys: u64,
    },
    /// The target has other versions of some sessions. They are unchanged; all other sessions are copied.
    #[error(
        "{sessions} sessions differ in the target, for example {first:?}: stop all servers on both databases, and \
         copy into an empty database"
    )]
    Differ {
        /// How many.
        sessions: u64,
        /// One of them.
        first: RowId,
    },
    /// Everything was written, but reports from the two stores differ.
    #[error(
        "the copy differs: {what}: {from} became {to}; stop all servers on both databases, and copy into an empty \
         database"
    )]
    Unequal {
        /// The number that differs, and its day.
        what: String,
        /// The number in the source.
        from: u64,
        /// The number in the target.
        to: u64,
    },
}

/// Copies all data of `from` to `to`, and calls `progress` now and then.
///
/// Returns when all of it is durable and both stores report the same sums: of sessions; and per day of plays, their
/// view times, their user-agent classes and their pages.
///
/// The future may be dropped at any moment; another call resumes.
///
/// # Errors
///
/// [`CopyError`] names the reason and the remedy.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::copy::copy;
/// use metrics_core::store::SqliteStore;
///
/// # let directory = tempfile::tempdir()?;
/// # let (old, new) = (directory.path().join("old.db"), directory.path().join("new.db"));
/// let (old, new) = (SqliteStore::open(old).await?, SqliteStore::open(new).await?);
/// let copied = copy(&old, &new, |progress| {
///     println!("{} of {} sessions", progress.sessions_done, progress.sessions_total);
/// });
/// assert_eq!(copied.await?.sessions, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    mut progress: impl FnMut(&Progress),
) -> Result<Copied, CopyError> {
    let sessions_total = patiently(|| from.count_sessions()).await.map_err(CopyError::Read)?;
    check_target(from, to).await?;
    let mut copying = Copying {
        from,
        to,
        tally: Tally::default(),
        videos: HashMap::new(),
        progress: |sessions_done| progress(&Progress { sessions_done, sessions_total }),
    };
    copying.tally.copied.keys = copy_keys(from, to).await?;
    (copying.progress)(0);
    copying.videos().await?;
    copying.open_sessions().await?;
    copying.resume_states().await?;
    let tally = copying.tally;
    if let Some((sessions, first)) = tally.differing {
        return Err(CopyError::Differ { sessions, first });
    }
    compare_counts(from, to).await?;
    compare_reports(from, to, &tally.windows).await?;
    Ok(tally.copied)
}

/// The outcome of the sessions so far.
#[derive(Debug, Default)]
struct Tally {
    copied: Copied,
    sessions_done: u64,
    // Number of sessions that differ in the target, and one of them.
    differing: Option<(u64, RowId)>,
    // The timeframes in which they started, by number since the Unix epoch.
    windows: BTreeSet<i64>,
}

/// A copy under way.
struct Copying<'a, P> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    tally: Tally,
    // By the video's row id in the source: its row id in the target, and its record.
    videos: HashMap<VideoId, (VideoId, VideoRecord)>,
    progress: P,
}

impl<P: FnMut(u64)> Copying<'_, P> {
    /// Copies all videos with their closed sessions.
    async fn videos(&mut self) -> Result<(), CopyError> {
        let mut after = None;
        loop {
            let page = patiently(async || {
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
        let there = patiently(|| self.to.add_videos(&named)).await.map_err(CopyError::Write)?;
        let ids = Videos::These(videos.iter().map(|video| video.id).collect());
        for (video, (_, there)) in videos.into_iter().zip(there) {
            self.videos.insert(video.id, (there, video));
        }
        let (mut after, mut waiting) = (None, Vec::new());
        loop {
            let page = patiently(async || {
                self.from.snapshot().await?.blocks(&ids, i64::MIN, i64::MAX, after, HEADS).await
            });
            let page = page.await.map_err(CopyError::Read)?;
            after = page.last().map(|head| head.id);
            for head in &page {
                waiting.extend(self.foreign(head).await?);
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
    async fn foreign(&self, head: &BlockHead) -> Result<Vec<Foreign>, CopyError> {
        let Some((_, VideoRecord { key, video, .. })) = self.videos.get(&head.video) else {
            return Ok(Vec::new());
        };
        let rows = patiently(async || rows(&mut *self.from.snapshot().await?, head).await);
        let rows = rows.await.map_err(CopyError::Read)?.into_iter();
        let foreign =
            |row| Foreign { key: key.clone(), video: video.clone(), row, equal_before: None };
        Ok(rows.map(foreign).collect())
    }

    async fn insert(&mut self, sessions: Vec<Foreign>) -> Result<(), CopyError> {
        self.notes(sessions.iter().map(|it| it.row.stored.started_at_ms));
        let inserted = patiently(|| insert(self.to, sessions.clone())).await;
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
    async fn open_sessions(&mut self) -> Result<(), CopyError> {
        let (from_ms, to_ms) = (i64::MIN, i64::MAX);
        let scan = OpenScan { videos: Videos::All, from_ms, to_ms, watched_at: None };
        let mut after = None;
        loop {
            let page = patiently(async || {
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
        let outcomes = patiently(|| self.to.commit(Arc::clone(&writes))).await;
        for (write, outcome) in writes.iter().zip(outcomes.map_err(CopyError::Write)?) {
            if outcome == Outcome::Written {
                self.tally.copied.sessions += 1;
                continue;
            }
            let there = patiently(async || self.to.load(&[write.id]).await).await;
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
    async fn resume_states(&mut self) -> Result<(), CopyError> {
        let mut after = None;
        loop {
            let page = patiently(async || self.from.snapshot().await?.resumable(after, PAGE).await);
            let page = page.await.map_err(CopyError::Read)?;
            after = page.last().map(|session| session.id);
            let is_last = page.len() < PAGE as usize;
            let there = |session: Resumable| {
                let (video, _) = self.videos.get(&session.video)?;
                Some(Resumable { video: *video, ..session })
            };
            let resumable: Vec<Resumable> = page.into_iter().filter_map(there).collect();
            let rewrite = Rewrite { resumable, ..Rewrite::default() };
            let written = patiently(|| self.to.rewrite(rewrite.clone())).await;
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
    };
    SessionWrite {
        id: session.id,
        subject: Arc::new(subject),
        expected: 0,
        stored: row.stored,
        watched_at: None,
    }
}

/// Rejects a target that is obviously another database: it has sessions that the source has not.
async fn check_target(from: &dyn Store, to: &dyn Store) -> Result<(), CopyError> {
    let page = patiently(|| export::page(to, None, None, PAGE as usize)).await;
    let mut by_video: HashMap<_, Vec<Record>> = HashMap::new();
    for record in page.map_err(CopyError::Write)?.records {
        let Subject { key, video, .. } = &record.subject;
        by_video.entry(video.digest(key)).or_default().push(record);
    }
    for records in by_video.values() {
        let known = patiently(|| export::has_all(from, records)).await.map_err(CopyError::Read)?;
        if !known {
            return Err(CopyError::Occupied);
        }
    }
    Ok(())
}

/// Copies the keys, and returns the number added. A key that the target already has keeps its age and its settings.
async fn copy_keys(from: &dyn Store, to: &dyn Store) -> Result<u64, CopyError> {
    let keys = patiently(|| from.keys()).await.map_err(CopyError::Read)?;
    let there = patiently(|| to.keys()).await.map_err(CopyError::Write)?;
    let revoked: HashMap<_, _> =
        there.iter().map(|record| (&record.key, record.disabled_at.is_some())).collect();
    let stuck = keys.iter().filter(|record| {
        record.disabled_at.is_none() && revoked.get(&record.key).copied().unwrap_or(false)
    });
    match stuck.count() {
        0 => {}
        keys => return Err(CopyError::Revoked { keys: keys as u64 }),
    }
    let mut added = 0;
    for record in &keys {
        let add = patiently(|| to.add_key(record)).await;
        added += u64::from(add.map_err(CopyError::Write)?);
        if let Some(at) = record.disabled_at {
            patiently(|| to.revoke_key(&record.key, at)).await.map_err(CopyError::Write)?;
        }
    }
    Ok(added)
}

async fn compare_counts(from: &dyn Store, to: &dyn Store) -> Result<(), CopyError> {
    let (from, to) =
        tokio::join!(patiently(|| from.count_sessions()), patiently(|| to.count_sessions()));
    let (from, to) = (from.map_err(CopyError::Read)?, to.map_err(CopyError::Write)?);
    if from == to {
        return Ok(());
    }
    Err(CopyError::Unequal { what: "sessions".to_owned(), from, to })
}

/// Compares the reports of both stores for each timeframe in which sessions started.
async fn compare_reports(
    from: &dyn Store,
    to: &dyn Store,
    windows: &BTreeSet<i64>,
) -> Result<(), CopyError> {
    let start_ms = |window: &i64| window.saturating_mul(WINDOW_MS);
    let mut windows: Vec<_> = windows.iter().map(|it| (start_ms(it), WINDOW_MS)).collect();
    while let Some((from_ms, len_ms)) = windows.pop() {
        let scan = Scan {
            selection: Selection::default(),
            from_ms,
            to_ms: from_ms.saturating_add(len_ms - 1),
            minimum_view_ms: 0,
        };
        let (expected, copied) = tokio::join!(sums(from, &scan), sums(to, &scan));
        let is_long = |sums: &Result<Sums, Error>| matches!(sums, Err(Error::TimedOut { .. }));
        if DAY_MS < len_ms && (is_long(&expected) || is_long(&copied)) {
            windows.extend([(from_ms, len_ms / 2), (from_ms + len_ms / 2, len_ms / 2)]);
            continue;
        }
        compare(&expected.map_err(CopyError::Read)?, &copied.map_err(CopyError::Write)?)?;
    }
    Ok(())
}

/// Numbers that must agree in both stores, by day and name.
type Sums = BTreeMap<(DateTime<Utc>, String), u64>;

async fn sums(store: &dyn Store, scan: &Scan) -> Result<Sums, Error> {
    let days = Buckets::new(Width::DAY);
    let mut sums = Sums::new();
    let plays =
        reported(|| older::plays(store, scan, days, Vec::new(), Account::UNLIMITED)).await?;
    for bucket in plays {
        let totals = &bucket.totals;
        let mut put = |what: String, number| sums.insert((bucket.start, what), number);
        put("plays".to_owned(), totals.plays);
        put("milliseconds of view time".to_owned(), totals.view_ms);
        put("milliseconds of unique view time".to_owned(), totals.unique_ms);
        for it in Browser::ALL {
            put(format!("browser {it}"), totals.browser(it));
        }
        for it in Platform::ALL {
            put(format!("platform {it}"), totals.platform(it));
        }
        for it in Device::ALL {
            put(format!("device {it}"), totals.device(it));
        }
    }
    let sources = reported(|| older::sources(store, scan, days, Account::UNLIMITED)).await?;
    for bucket in sources {
        sums.insert((bucket.start, format!("plays on {}", bucket.source)), bucket.plays);
    }
    Ok(sums)
}

fn compare(expected: &Sums, copied: &Sums) -> Result<(), CopyError> {
    let number = |sums: &Sums, at| sums.get(at).copied().unwrap_or(0);
    for at in expected.keys().chain(copied.keys()) {
        let (from, to) = (number(expected, at), number(copied, at));
        if from != to {
            let (day, what) = at;
            let what = format!("{what} on {}", day.date_naive());
            return Err(CopyError::Unequal { what, from, to });
        }
    }
    Ok(())
}

/// Requests a report, with retries while the store is unavailable.
async fn reported<T, F: Future<Output = Result<T, ReportError>>>(
    report: impl Fn() -> F,
) -> Result<T, Error> {
    patiently(async || match report().await {
        Ok(report) => Ok(report),
        Err(ReportError::Store(err)) => Err(err),
        Err(ReportError::Scan(ScanError::Damaged(err))) => Err(Error::Damaged(err)),
        // A month never has too many buckets or pages.
        Err(_) => Err(Error::TimedOut { store: "the report", seconds: 0 }),
    })
    .await
}

/// Calls a store, with retries while it is unavailable.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    call: impl Fn() -> F,
) -> Result<T, Error> {
    for pause in PAUSES_SECONDS {
        match call().await {
            Err(err) if err.is_retryable() => {
                tracing::warn!(
                    error = &err as &dyn std::error::Error,
                    "a store is unavailable; trying again in {pause} s"
                );
                sleep(Duration::from_secs(pause)).await;
            }
            done => return done,
        }
    }
    call().await
}

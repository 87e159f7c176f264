//! Moves a whole database from one store to another, and proves that nothing was lost.
//!
//! Keys come with their times, sessions as they are, so that each can go on in the other store. Nothing that the
//! target has is written over: a session that is there already must be the same. So a copy that was interrupted is
//! simply run again.
//!
//! No server may record into either of the two meanwhile: what it records would be missing from the copy, or stand
//! against it, and the comparison at the end would say so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;

use crate::client::{Browser, Device, Platform};
use crate::key::SessionId;
use crate::query::{Scan, Selection};
use crate::report::{fold_plays, fold_sources};
use crate::store::{Cursor, Error, LIVE, Outcome, Page, Record, SessionWrite, Store};
use crate::time_bucket::{Buckets, Width};
use crate::upkeep::QUIET;

/// How many sessions are read, and written, at a time.
const PAGE: u32 = 1_000;

/// How long to wait before each new try, when a store is away: half a minute in all, in which a database can start
/// again.
const PAUSES_SECONDS: [u64; 5] = [1, 2, 4, 8, 15];

/// The stretch of time that is compared at once, at first: few questions, and none that takes a store long.
const STRETCH_MS: i64 = 32 * DAY_MS;

const DAY_MS: i64 = 86_400_000;

/// How far a copy, or an import, is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// How many sessions were dealt with.
    pub sessions_done: u64,
    /// How many there are.
    pub sessions_total: u64,
}

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Copied {
    /// How many keys were added.
    pub keys: u64,
    /// How many sessions were added.
    pub sessions: u64,
    /// How many sessions the target had already, from a copy before this one.
    pub already_there: u64,
}

/// Why a copy is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The store that is copied could not answer. If it was away, copy again later.
    #[error("cannot read what is to be copied")]
    Read(#[source] Error),
    /// The target could not. If it was away, copy again later.
    #[error("cannot write the copy")]
    Write(#[source] Error),
    /// The target is another database in use. It was left as it was.
    #[error(
        "the target has sessions of its own: \
         name an empty database, or one that an interrupted copy of this one has left"
    )]
    Occupied,
    /// The target has revoked keys that are valid, and a revoked key stays so. It was left as it was.
    #[error(
        "{keys} of the keys are revoked in the target, although they are valid here: \
         name an empty database"
    )]
    Revoked {
        /// How many.
        keys: u64,
    },
    /// Sessions were in the target already, but are not the same. They were left alone; all others are copied.
    #[error(
        "{sessions} of the sessions are not the same in the target, {first:?} for one: \
         stop whatever records into either, and copy into an empty database"
    )]
    Differ {
        /// How many.
        sessions: u64,
        /// One of them.
        first: SessionId,
    },
    /// Everything was written, but the two stores do not answer alike.
    #[error(
        "the copy is not the same: {what}: {from} became {to}; \
         stop whatever records into either, and copy into an empty database"
    )]
    Unequal {
        /// What was counted, and when.
        what: String,
        /// The number that it should be.
        from: u64,
        /// The number that it is in the target.
        to: u64,
    },
}

/// Copies everything that is in `from` to `to`, and tells `progress` now and then how far it is.
///
/// Returns when all of it is durable, and both stores have answered with the same sums: of sessions; and per day of
/// plays, their times, their classes and their pages.
///
/// May be dropped at any moment, and called again: it goes on.
///
/// # Errors
///
/// [`CopyError`] says why it is not done, and what to do.
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
    let mut tally = Tally::default();
    tally.copied.keys = copy_keys(from, to).await?;
    let mut page = read(from, None).await?;
    loop {
        progress(&Progress { sessions_done: tally.sessions_done, sessions_total });
        let Page { records, next } = page;
        let following = async {
            match &next {
                Some(cursor) => read(from, Some(cursor)).await.map(Some),
                None => Ok(None),
            }
        };
        let (following, written) = tokio::join!(following, write(to, records, &mut tally));
        written?;
        let Some(following) = following? else { break };
        page = following;
    }
    progress(&Progress { sessions_done: tally.sessions_done, sessions_total });
    if let Some((sessions, first)) = tally.differing {
        return Err(CopyError::Differ { sessions, first });
    }
    compare_counts(from, to).await?;
    compare_reports(from, to, &tally.stretches).await?;
    Ok(tally.copied)
}

/// What became of the sessions so far.
#[derive(Debug, Default)]
struct Tally {
    copied: Copied,
    sessions_done: u64,
    // How many are another in the target, and one of them.
    differing: Option<(u64, SessionId)>,
    // When they started, as numbers of stretches since the Unix epoch.
    stretches: BTreeSet<i64>,
}

/// Refuses a target that is obviously another database: it has sessions that are not to be copied.
async fn check_target(from: &dyn Store, to: &dyn Store) -> Result<(), CopyError> {
    let page = patiently(|| to.export(None, PAGE)).await.map_err(CopyError::Write)?;
    let lookups: Vec<_> = page.records.iter().map(Record::lookup).collect();
    let known = patiently(|| from.find(&lookups)).await.map_err(CopyError::Read)?;
    if known.iter().all(Option::is_some) { Ok(()) } else { Err(CopyError::Occupied) }
}

/// Copies the keys, and returns how many were added. One that the target has already is as old as it is there.
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
        let key = &record.key;
        let create = patiently(|| to.create_key(key, record.created_at)).await;
        added += u64::from(create.map_err(CopyError::Write)?);
        if let Some(at) = record.disabled_at {
            patiently(|| to.revoke_key(key, at)).await.map_err(CopyError::Write)?;
        }
    }
    Ok(added)
}

async fn read(from: &dyn Store, cursor: Option<&Cursor>) -> Result<Page, CopyError> {
    patiently(|| from.export(cursor, PAGE)).await.map_err(CopyError::Read)
}

/// Writes sessions, and compares those that are there already.
async fn write(to: &dyn Store, records: Vec<Record>, tally: &mut Tally) -> Result<(), CopyError> {
    let writes: Arc<[SessionWrite]> = records.iter().map(first_write).collect();
    let outcomes = patiently(|| to.commit(Arc::clone(&writes))).await.map_err(CopyError::Write)?;
    let conflicts = records.iter().zip(outcomes).filter(|(_, it)| *it == Outcome::Conflict);
    let conflicts: Vec<&Record> = conflicts.map(|(record, _)| record).collect();
    let lookups: Vec<_> = conflicts.iter().map(|record| record.lookup()).collect();
    let found = patiently(|| to.find(&lookups)).await.map_err(CopyError::Write)?;
    for (record, there) in conflicts.iter().zip(found) {
        // Either of the two may be settled by now.
        if there.is_some_and(|there| there.settled() == record.stored.clone().settled()) {
            tally.copied.already_there += 1;
        } else {
            tally.differing.get_or_insert((0, record.id)).0 += 1;
        }
    }
    tally.copied.sessions += (records.len() - conflicts.len()) as u64;
    tally.sessions_done += records.len() as u64;
    let starts = records.iter().map(|record| record.stored.started_at_ms);
    tally.stretches.extend(starts.map(|at_ms| at_ms.div_euclid(STRETCH_MS)));
    keep_up(to, Utc::now(), PAGE).await.map_err(CopyError::Write)
}

fn first_write(record: &Record) -> SessionWrite {
    let Record { id, subject, stored } = record.clone();
    SessionWrite { id, subject: Arc::new(subject), expected: 0, stored, watched_at: None }
}

/// Does what a server does in the background, for as many sessions as were written.
async fn keep_up(to: &dyn Store, now: DateTime<Utc>, sessions: u32) -> Result<(), Error> {
    patiently(|| to.roll_up(now - QUIET, sessions)).await?;
    patiently(|| to.settle(now - LIVE, sessions)).await?;
    Ok(())
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

/// Asks both stores for what they have of each stretch of time in which sessions started.
async fn compare_reports(
    from: &dyn Store,
    to: &dyn Store,
    stretches: &BTreeSet<i64>,
) -> Result<(), CopyError> {
    let start_ms = |stretch: &i64| stretch.saturating_mul(STRETCH_MS);
    let mut stretches: Vec<_> = stretches.iter().map(|it| (start_ms(it), STRETCH_MS)).collect();
    while let Some((from_ms, len_ms)) = stretches.pop() {
        let scan = Scan {
            selection: Selection::default(),
            from_ms,
            to_ms: from_ms.saturating_add(len_ms - 1),
            minimum_view_ms: 0,
        };
        let (expected, copied) = tokio::join!(sums(from, &scan), sums(to, &scan));
        let is_long = |sums: &Result<Sums, Error>| matches!(sums, Err(Error::TimedOut { .. }));
        if DAY_MS < len_ms && (is_long(&expected) || is_long(&copied)) {
            stretches.extend([(from_ms, len_ms / 2), (from_ms + len_ms / 2, len_ms / 2)]);
            continue;
        }
        compare(&expected.map_err(CopyError::Read)?, &copied.map_err(CopyError::Write)?)?;
    }
    Ok(())
}

/// Numbers that two stores must agree on, by day and by what is counted.
type Sums = BTreeMap<(DateTime<Utc>, String), u64>;

async fn sums(store: &dyn Store, scan: &Scan) -> Result<Sums, Error> {
    let days = Buckets::new(Width::DAY);
    let mut sums = Sums::new();
    let cells = patiently(|| store.plays(scan, days)).await?;
    for bucket in fold_plays(cells, &days, []) {
        let figures = &bucket.figures;
        let mut put = |what: String, number| sums.insert((bucket.start, what), number);
        put("plays".to_owned(), figures.plays);
        put("milliseconds of view time".to_owned(), figures.view_ms);
        put("milliseconds of unique view time".to_owned(), figures.unique_ms);
        for it in Browser::ALL {
            put(format!("browser {it}"), figures.browser(it));
        }
        for it in Platform::ALL {
            put(format!("platform {it}"), figures.platform(it));
        }
        for it in Device::ALL {
            put(format!("device {it}"), figures.device(it));
        }
    }
    let cells = patiently(|| store.sources(scan, days)).await?;
    for bucket in fold_sources(cells, &days) {
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

/// Calls a store, and again for a while if it is away.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    call: impl Fn() -> F,
) -> Result<T, Error> {
    for pause in PAUSES_SECONDS {
        match call().await {
            Err(err) if err.is_retryable() => {
                tracing::warn!(
                    error = &err as &dyn std::error::Error,
                    "a store is away; trying again in {pause} s"
                );
                sleep(Duration::from_secs(pause)).await;
            }
            done => return done,
        }
    }
    call().await
}

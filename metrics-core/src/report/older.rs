//! The older reports: plays, pages, engagement and watching.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::ReportError;
use super::scanning::{Counter, Scanning};
use crate::budget::Account;
use crate::engagement::{Part, Resolution, SecondsBucket};
use crate::query::{Scan, Selection, instant};
use crate::read::{Reading, computed, picked, read_from};
use crate::response::{PlayTotals, PlaysBucket, SourceBucket};
use crate::scan::buckets::{PlaysScanner, SourcesScanner};
use crate::scan::engagement::{Furthest, PartsScanner, SecondsScanner};
use crate::scan::{Fields, FieldsScanner};
use crate::store::{Detail, Error, Snapshot, Store};
use crate::time::{DAY_MS, HOUR_MS};
use crate::time_bucket::Buckets;
use crate::totals::{Cover, DayTotals, Plan, day_of, first_bin};

/// Plays by the start of their bucket.
type Folded = BTreeMap<DateTime<Utc>, PlayTotals>;

/// The size of a bucket in [`Folded`], in bytes, with the free space of a tree.
const BUCKET_BYTES: usize = 3 * (size_of::<DateTime<Utc>>() + size_of::<PlayTotals>()) / 2;

/// Plays per bucket, in order. Buckets that start at `also` are included even without plays.
pub(crate) async fn plays(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
    also: Vec<DateTime<Utc>>,
    account: &Account,
) -> Result<Vec<PlaysBucket>, ReportError> {
    plays_in(&mut *store.snapshot().await?, scan, buckets, also, account).await
}

/// The same, from a snapshot.
pub(super) async fn plays_in(
    snapshot: &mut dyn Snapshot,
    scan: &Scan,
    buckets: Buckets,
    also: Vec<DateTime<Utc>>,
    account: &Account,
) -> Result<Vec<PlaysBucket>, ReportError> {
    let mut folded: Folded = also.into_iter().map(|at| (at, PlayTotals::default())).collect();
    let frame = (scan.from_ms, scan.to_ms);
    let mut closed = vec![frame];
    if let Some(first) = totals_bin(scan) {
        (folded, closed) = add_totals(snapshot, scan, buckets, first, folded).await?;
    }
    for (from_ms, to_ms) in closed {
        let part = Scan { from_ms, to_ms, ..scan.clone() };
        let (filter, reading) = picked(&part);
        let reading = Reading { open: None, ..reading };
        let scanner = PlaysScanner::new(filter, buckets);
        folded = add_plays(snapshot, &reading, scanner, folded, account).await?;
    }
    let (filter, reading) = picked(scan);
    let reading = Reading { closed: None, ..reading };
    let scanner = PlaysScanner::new(filter, buckets);
    let folded = add_plays(snapshot, &reading, scanner, folded, account).await?;
    computed(move || {
        let buckets = folded.into_iter().map(|(start, totals)| PlaysBucket { start, totals });
        Ok(buckets.collect())
    })
    .await
}

async fn add_plays(
    snapshot: &mut dyn Snapshot,
    reading: &Reading,
    scanner: PlaysScanner,
    mut folded: Folded,
    account: &Account,
) -> Result<Folded, ReportError> {
    let fold =
        Scanning::new(scanner, reading, account).with_further_bytes(folded.len() * BUCKET_BYTES);
    let fold = read_from(snapshot, reading, fold).await?;
    computed(move || {
        for bucket in fold.scanner.finish([]) {
            folded.entry(bucket.start).or_default().add(&bucket.totals);
        }
        Ok(folded)
    })
    .await
}

/// The first bin of totals that counts, if totals suffice: for all videos of a key, or of all keys, without a filter.
fn totals_bin(scan: &Scan) -> Option<u8> {
    first_bin(scan.minimum_view_ms).filter(|_| scan.selection.is_unrestricted())
}

/// Adds plays from totals as far as possible, and returns the ranges of time that blocks must answer.
async fn add_totals(
    snapshot: &mut dyn Snapshot,
    scan: &Scan,
    buckets: Buckets,
    first: u8,
    mut folded: Folded,
) -> Result<(Folded, Vec<(i64, i64)>), Error> {
    let key = scan.selection.key.as_ref();
    let frame = (scan.from_ms, scan.to_ms);
    let days = snapshot.totals(key, day_of(frame.0), day_of(frame.1), Detail::Days).await?;
    let (mut folded, plan, covers) = computed(move || {
        let mut numbers: Vec<i64> = days.iter().map(|totals| totals.day).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let plan = Plan::new(frame, buckets, numbers);
        let covers: HashMap<i64, Cover> = plan.days.iter().copied().collect();
        for totals in days.iter().filter(|totals| covers.get(&totals.day) == Some(&Cover::Day)) {
            let plays = totals.plays(first).map_err(Error::Damaged)?;
            add(&mut folded, buckets, totals.day * DAY_MS, &plays);
        }
        Ok::<_, Error>((folded, plan, covers))
    })
    .await?;
    let mut by_hour = Vec::new();
    for (from, to) in plan.days_by_hour() {
        by_hour.extend(snapshot.totals(key, from, to, Detail::Hours).await?);
    }
    computed(move || {
        for totals in by_hour {
            let Some(Cover::Hours(hours)) = covers.get(&totals.day) else { continue };
            let day = DayTotals::decode(&totals).map_err(Error::Damaged)?;
            for hour in (0..24).filter(|hour| hours >> hour & 1 == 1) {
                let at_ms = totals.day * DAY_MS + i64::from(hour) * HOUR_MS;
                add(&mut folded, buckets, at_ms, &day.hour(hour, first));
            }
        }
        Ok((folded, plan.rest))
    })
    .await
}

/// Adds plays to the bucket of a time.
fn add(folded: &mut Folded, buckets: Buckets, at_ms: i64, plays: &PlayTotals) {
    if 0 < plays.plays {
        folded.entry(buckets.start_of(instant(at_ms))).or_default().add(plays);
    }
}

/// Plays per bucket and page, without sessions that have no page: by time, then the most played page first, then by
/// URL.
pub(crate) async fn sources(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
    account: &Account,
) -> Result<Vec<SourceBucket>, ReportError> {
    let (filter, reading) = picked(scan);
    let fold = Scanning::new(SourcesScanner::new(filter, buckets), &reading, account);
    let mut snapshot = store.snapshot().await?;
    let fold = read_from(&mut *snapshot, &reading, fold).await?;
    computed(|| Ok(fold.scanner.finish())).await
}

/// The viewers of each of `parts` equal parts, up to the furthest position watched by any session that counts.
pub(crate) async fn parts(
    store: &dyn Store,
    scan: &Scan,
    parts: u32,
    account: &Account,
) -> Result<Vec<Part>, ReportError> {
    let (filter, reading) = picked(scan);
    let mut snapshot = store.snapshot().await?;
    let fold = Scanning::new(Furthest::new(filter.clone()), &reading, account);
    let end_ms = read_from(&mut *snapshot, &reading, fold).await?.scanner.end_ms();
    let fold = Scanning::new(PartsScanner::new(filter, end_ms, parts), &reading, account);
    Ok(read_from(&mut *snapshot, &reading, fold).await?.scanner.finish())
}

/// The views and the viewers of every second of video, or of every step, per bucket.
pub(crate) async fn seconds(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
    resolution: Resolution,
    account: &Account,
) -> Result<Vec<SecondsBucket>, ReportError> {
    let (filter, reading) = picked(scan);
    let scanner = SecondsScanner::new(filter, buckets).with_resolution(resolution);
    let fold = Scanning::new(scanner, &reading, account);
    let mut snapshot = store.snapshot().await?;
    let fold = read_from(&mut *snapshot, &reading, fold).await?;
    computed(move || Ok(fold.scanner.finish())).await
}

/// Lists the fields of the sessions' metadata and session data.
pub(crate) async fn fields(
    store: &dyn Store,
    scan: &Scan,
    account: &Account,
) -> Result<Fields, ReportError> {
    let (filter, reading) = picked(scan);
    // Metadata is needed under any filter.
    let reading = Reading { lists_videos: true, ..reading };
    let fold = Scanning::new(FieldsScanner::new(filter), &reading, account);
    let mut snapshot = store.snapshot().await?;
    let fold = read_from(&mut *snapshot, &reading, fold).await?;
    computed(|| Ok(fold.scanner.finish())).await
}

/// Number of sessions that are watched at `now`.
pub(crate) async fn watching(
    store: &dyn Store,
    selection: &Selection,
    now: DateTime<Utc>,
    account: &Account,
) -> Result<u64, ReportError> {
    let selection = selection.clone();
    let scan = Scan { selection, from_ms: i64::MIN, to_ms: i64::MAX, minimum_view_ms: 0 };
    let (filter, reading) = picked(&scan);
    let reading = Reading { closed: None, watched_at: Some(now), ..reading };
    let fold = Scanning::new(Counter { filter, sessions: 0 }, &reading, account);
    let mut snapshot = store.snapshot().await?;
    Ok(read_from(&mut *snapshot, &reading, fold).await?.scanner.sessions)
}

//! Recomputes totals from blocks, and repairs those that differ.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};

use crate::block::{Groups, Row};
use crate::key::ApiKey;
use crate::session::Stored;
use crate::store::{BlockId, BlockSummary, Detail, Error, KeyId, Rewrite, Snapshot, Store, Videos};
use crate::time::DAY_MS;
use crate::totals::{DayTotals, StoredTotals, day_of};

/// Number of summaries, and of blocks, read at a time.
const HEADS: u32 = 1_000;
const BLOCKS: usize = 16;

/// The result of a check.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Verified {
    /// Number of closed sessions.
    pub sessions: u64,
    /// The totals that differ from the sums of their sessions.
    pub wrong: Vec<WrongTotals>,
}

/// Totals that differ from the sums of their blocks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrongTotals {
    /// The key.
    pub key: ApiKey,
    /// The day, since 1970-01-01 UTC.
    pub day: i64,
}

impl WrongTotals {
    /// The day as a date; `None` beyond the calendar.
    #[must_use]
    pub fn date(&self) -> Option<NaiveDate> {
        let at_ms = self.day.checked_mul(DAY_MS)?;
        Some(DateTime::from_timestamp_millis(at_ms)?.date_naive())
    }
}

/// Decodes every block, and compares the totals of every key and day with their sums. Calls `progress` with the number of
/// closed sessions decoded so far.
///
/// # Errors
///
/// [`Error::Damaged`] if a block cannot be decoded; else [`Error`] if the store fails.
pub async fn verify(store: &dyn Store, progress: impl FnMut(u64)) -> Result<Verified, Error> {
    compare(store, Differences::Stay, progress).await
}

/// Does the same as [`verify`], and repairs totals that differ.
///
/// # Errors
///
/// Those of [`verify`].
pub async fn rebuild(store: &dyn Store, progress: impl FnMut(u64)) -> Result<Verified, Error> {
    compare(store, Differences::AreCorrected, progress).await
}

/// The treatment of totals that differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Differences {
    Stay,
    AreCorrected,
}

async fn compare(
    store: &dyn Store,
    differences: Differences,
    mut progress: impl FnMut(u64),
) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    for record in store.keys().await? {
        let mut snapshot = store.snapshot().await?;
        let mut count = |sessions: usize| {
            verified.sessions += sessions as u64;
            progress(verified.sessions);
        };
        let (key_id, mut days) = add_totals(&mut *snapshot, &record.key, &mut count).await?;
        let stored = snapshot.totals(Some(&record.key), i64::MIN, i64::MAX, Detail::Hours).await?;
        drop(snapshot);
        for totals in &stored {
            days.entry(totals.day).or_default().subtract(&decoded(totals)?);
        }
        days.retain(|_, difference| !difference.is_empty());
        verified
            .wrong
            .extend(days.keys().map(|day| WrongTotals { key: record.key.clone(), day: *day }));
        let corrects = differences == Differences::AreCorrected && !days.is_empty();
        if let Some(key) = key_id.filter(|_| corrects) {
            let totals = days.into_iter().map(|(day, difference)| (key, day, difference));
            store.rewrite(Rewrite { totals: totals.collect(), ..Rewrite::default() }).await?;
        }
    }
    Ok(verified)
}

fn decoded(totals: &StoredTotals) -> Result<DayTotals, Error> {
    DayTotals::decode(totals).map_err(Error::Damaged)
}

async fn add_totals(
    snapshot: &mut dyn Snapshot,
    key: &ApiKey,
    count: &mut impl FnMut(usize),
) -> Result<(Option<KeyId>, BTreeMap<i64, DayTotals>), Error> {
    let videos = Videos::OfKey(key.clone());
    let (mut days, mut key_id, mut after) = (BTreeMap::new(), None, None);
    loop {
        let page = snapshot.blocks(&videos, i64::MIN, i64::MAX, after, HEADS).await?;
        after = page.last().map(|summary| summary.id);
        key_id = key_id.or(page.first().map(|summary| summary.key));
        for some in page.chunks(BLOCKS) {
            let ids: Vec<BlockId> = some.iter().map(|BlockSummary { id, .. }| *id).collect();
            for block in snapshot.groups(&ids, Groups::ALL).await? {
                let rows = block.rows().map_err(Error::Damaged)?;
                rows.iter().for_each(|row| sum(row, &mut days));
                count(rows.len());
            }
        }
        if page.len() < HEADS as usize {
            return Ok((key_id, days));
        }
    }
}

fn sum(row: &Row, days: &mut BTreeMap<i64, DayTotals>) {
    let Stored { started_at_ms, view_ms, unique_ms, .. } = row.stored;
    let day = days.entry(day_of(started_at_ms)).or_default();
    day.add(started_at_ms, row.user_agent, (view_ms, unique_ms), 1);
}

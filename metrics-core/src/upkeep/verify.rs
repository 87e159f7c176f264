//! Computes totals again from blocks, and mends those that differ.

use std::collections::BTreeMap;

use crate::block::{Columns, Group, Groups};
use crate::client::Client;
use crate::key::ApiKey;
use crate::store::{
    BlockHead, BlockId, Detail, Error, KeyId, Rewrite, Snapshot, Store, Videos,
};
use crate::totals::{DayTotals, StoredTotals, day_of};

/// How many heads, and how many blocks, are read at a time.
const HEADS: u32 = 1_000;
const BLOCKS: usize = 16;

/// Totals that are not the sums of their blocks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrongTotals {
    /// The key.
    pub key: ApiKey,
    /// The day, since 1970-01-01 UTC.
    pub day: i64,
}

/// Compares the totals of every key and day with the blocks, mends those that differ if `mend` says so, and returns
/// them.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn verify(store: &dyn Store, mend: bool) -> Result<Vec<WrongTotals>, Error> {
    let mut wrong = Vec::new();
    for record in store.keys().await? {
        let mut snapshot = store.snapshot().await?;
        let (key_id, mut days) = summed(&mut *snapshot, &record.key).await?;
        let stored = snapshot.totals(Some(&record.key), i64::MIN, i64::MAX, Detail::Hours).await?;
        drop(snapshot);
        for totals in &stored {
            days.entry(totals.day).or_default().subtract(&decoded(totals)?);
        }
        days.retain(|_, difference| !difference.is_empty());
        wrong.extend(days.keys().map(|day| WrongTotals { key: record.key.clone(), day: *day }));
        if let Some(key) = key_id.filter(|_| mend && !days.is_empty()) {
            let totals = days.into_iter().map(|(day, difference)| (key, day, difference));
            store.rewrite(Rewrite { totals: totals.collect(), ..Rewrite::default() }).await?;
        }
    }
    Ok(wrong)
}

fn decoded(totals: &StoredTotals) -> Result<DayTotals, Error> {
    DayTotals::decode(totals).map_err(Error::Damaged)
}

async fn summed(
    snapshot: &mut dyn Snapshot,
    key: &ApiKey,
) -> Result<(Option<KeyId>, BTreeMap<i64, DayTotals>), Error> {
    let videos = Videos::OfKey(key.clone());
    let groups: Groups = [Group::Starts, Group::Times, Group::Clients].into_iter().collect();
    let (mut days, mut key_id, mut after) = (BTreeMap::new(), None, None);
    loop {
        let page = snapshot.blocks(&videos, i64::MIN, i64::MAX, after, HEADS).await?;
        after = page.last().map(|head| head.id);
        key_id = key_id.or(page.first().map(|head| head.key));
        for some in page.chunks(BLOCKS) {
            let ids: Vec<BlockId> = some.iter().map(|BlockHead { id, .. }| *id).collect();
            for block in snapshot.groups(&ids, groups).await? {
                sum(&block.columns(groups).map_err(Error::Damaged)?, &mut days);
            }
        }
        if page.len() < HEADS as usize {
            return Ok((key_id, days));
        }
    }
}

fn sum(columns: &Columns, days: &mut BTreeMap<i64, DayTotals>) {
    for (session, start_ms) in columns.starts_ms.iter().enumerate() {
        let client = columns.clients.as_ref().map_or_else(Client::default, |it| *it.get(session));
        let times = (columns.view_ms[session], columns.unique_ms[session]);
        days.entry(day_of(*start_ms)).or_default().add(*start_ms, client, times, 1);
    }
}

//! Deletes sessions by their start.

use super::close::{Totals, blocks};
use crate::block::{Groups, Row};
use crate::store::{BlockHead, Error, OpenScan, Outcome, Rewrite, Store, Videos};

/// How many sessions or heads are read at a time.
const PAGE: u32 = 1_000;

/// Deletes the sessions that started before `start_ms` (Unix milliseconds), open or closed, and returns how many.
///
/// Bounded steps, each a transaction: others record meanwhile. Called again after an error, it goes on.
///
/// # Errors
///
/// [`Error`] if the store could not.
pub async fn delete_before(store: &dyn Store, start_ms: i64) -> Result<u64, Error> {
    let Some(last_ms) = start_ms.checked_sub(1) else { return Ok(0) };
    Ok(delete_open(store, last_ms).await? + delete_closed(store, last_ms).await?)
}

async fn delete_open(store: &dyn Store, to_ms: i64) -> Result<u64, Error> {
    let scan = OpenScan { videos: Videos::All, from_ms: i64::MIN, to_ms, watched_at: None };
    let (mut deleted, mut after) = (0, None);
    loop {
        let page = store.snapshot().await?.open_sessions(&scan, after, PAGE).await?;
        after = page.last().map(|session| session.id);
        for session in &page {
            let delete_open = vec![(session.id, session.version)];
            let rewrite = Rewrite { delete_open, ..Rewrite::default() };
            // One that goes on at this moment is old enough the next time.
            deleted += u64::from(store.rewrite(rewrite).await? == Outcome::Written);
        }
        if page.len() < PAGE as usize {
            return Ok(deleted);
        }
    }
}

async fn delete_closed(store: &dyn Store, to_ms: i64) -> Result<u64, Error> {
    let (mut deleted, mut after) = (0, None);
    loop {
        let mut snapshot = store.snapshot().await?;
        let page = snapshot.blocks(&Videos::All, i64::MIN, to_ms, after, PAGE).await?;
        drop(snapshot);
        after = page.last().map(|head| head.id);
        for head in &page {
            deleted += delete_from(store, head, to_ms).await?;
        }
        if page.len() < PAGE as usize {
            return Ok(deleted);
        }
    }
}

/// Deletes the sessions of one block that started up to `to_ms`. A block that is replaced at this moment is left for the
/// next time.
async fn delete_from(store: &dyn Store, head: &BlockHead, to_ms: i64) -> Result<u64, Error> {
    let mut snapshot = store.snapshot().await?;
    let Some(block) = snapshot.groups(&[head.id], Groups::ALL).await?.pop() else { return Ok(0) };
    drop(snapshot);
    let mut old = block.rows().map_err(Error::Damaged)?;
    let kept = old.split_off(old.partition_point(|row| row.stored.started_at_ms <= to_ms));
    let mut totals = Totals::default();
    old.iter().for_each(|row| totals.add(head.key, row, -1));
    let named = |row: &Row| (head.video, row.stored.started_at_ms, row.id);
    let rewrite = Rewrite {
        remove: vec![head.id],
        add: blocks(kept).map(|block| (head.key, head.video, block)).collect(),
        delete_closed: old.iter().map(named).collect(),
        totals: totals.finish(),
        ..Rewrite::default()
    };
    match store.rewrite(rewrite).await? {
        Outcome::Written => Ok(old.len() as u64),
        Outcome::Conflict => Ok(0),
    }
}

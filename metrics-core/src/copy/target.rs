//! The target of a copy: it must be empty or have an earlier copy, and it receives the keys first.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::CopyError;
use super::retry::with_retries;
use super::sessions::PAGE;
use crate::export::{self, Record};
use crate::store::{Store, Subject};

/// Rejects a target that is obviously another database: it has sessions that the source has not.
pub(super) async fn check_target(from: &dyn Store, to: &dyn Store) -> Result<(), CopyError> {
    let page = with_retries(|| export::page(to, None, None, PAGE as usize)).await;
    let mut by_video: HashMap<_, Vec<Record>> = HashMap::new();
    for record in page.map_err(CopyError::Write)?.records {
        let Subject { key, video, .. } = &record.subject;
        by_video.entry(video.digest(key)).or_default().push(record);
    }
    for records in by_video.values() {
        let known =
            with_retries(|| export::has_all(from, records)).await.map_err(CopyError::Read)?;
        if !known {
            return Err(CopyError::Occupied);
        }
    }
    Ok(())
}

/// Copies the keys, and returns the number added. A key that the target already has keeps its age and its settings.
pub(super) async fn copy_keys(from: &dyn Store, to: &dyn Store) -> Result<u64, CopyError> {
    let keys = with_retries(|| from.keys()).await.map_err(CopyError::Read)?;
    let there = with_retries(|| to.keys()).await.map_err(CopyError::Write)?;
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
        let add = with_retries(|| to.add_key(record)).await;
        added += u64::from(add.map_err(CopyError::Write)?);
        if let Some(at) = record.disabled_at {
            with_retries(|| to.revoke_key(&record.key, at)).await.map_err(CopyError::Write)?;
        }
    }
    Ok(added)
}

/// Copies the revoked access tokens, so that each is refused by servers on the target too.
pub(super) async fn copy_revoked_tokens(from: &dyn Store, to: &dyn Store) -> Result<(), CopyError> {
    let tokens = with_retries(|| from.revoked_tokens(None)).await.map_err(CopyError::Read)?;
    for token in &tokens {
        // At the beginning of time none has expired.
        let revoke = with_retries(|| to.revoke_token(token, DateTime::<Utc>::UNIX_EPOCH)).await;
        revoke.map_err(CopyError::Write)?;
    }
    Ok(())
}

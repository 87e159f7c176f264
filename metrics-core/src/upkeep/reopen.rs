//! Opens closed sessions again when they go on: they move from their block to a row.

use crate::block::{Groups, Row, RowId};
use crate::key::SessionId;
use crate::read::HEADS;
use crate::session::Stored;
use crate::store::changes::{Totals, blocks};
use crate::store::{
    BlockSummary, Error, Found, Location, OpenSession, Outcome, Rewrite, Store, Version, Videos,
};
use crate::varint::Damaged;

/// The number of tries to open a session whose block is replaced at the same moment.
const TRIES: u32 = 16;

/// A session that can go on, in its own row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Loaded {
    /// Its version, which the next write must expect.
    pub version: Version,
    /// The video of the session, as a [`Video::digest`](crate::Video::digest): a session has one video.
    pub video: [u8; 16],
    /// The identifier of that video.
    pub identifier: Option<String>,
    /// The session.
    pub stored: Stored,
}

/// Loads the sessions with these ids, in their order, and opens those that are closed; `None` for those that do not
/// exist or are final.
///
/// # Errors
///
/// [`Error`] if the store fails.
pub async fn load(store: &dyn Store, ids: &[SessionId]) -> Result<Vec<Option<Loaded>>, Error> {
    let mut loaded = Vec::with_capacity(ids.len());
    for (id, found) in ids.iter().zip(store.load(ids).await?) {
        loaded.push(match found {
            Some(found) => opened(store, *id, found).await?,
            None => None,
        });
    }
    Ok(loaded)
}

async fn opened(
    store: &dyn Store,
    id: SessionId,
    mut found: Found,
) -> Result<Option<Loaded>, Error> {
    for _ in 0..TRIES {
        let Found { version, video, identifier, location } = found;
        if let Location::Open(stored) = location {
            return Ok(Some(Loaded { version, video, identifier, stored }));
        }
        if let Some(rewrite) = reopening(store, id, version, location).await? {
            let stored = rewrite.reopen.first().map(|session| session.row.stored.clone());
            if store.rewrite(rewrite).await? == Outcome::Written {
                return Ok(stored.map(|stored| Loaded { version, video, identifier, stored }));
            }
        }
        // Another instance opened it, or a merge replaced its block.
        let Some(again) = store.load(&[id]).await?.into_iter().next().flatten() else {
            return Ok(None);
        };
        found = again;
    }
    Err(Error::Damaged(Damaged("a closed session is in no block")))
}

/// Returns the change that opens a closed session, or `None` if no block has it any more.
async fn reopening(
    store: &dyn Store,
    id: SessionId,
    version: Version,
    location: Location,
) -> Result<Option<Rewrite>, Error> {
    let Location::Closed { key, video, started_at_ms, resume } = location else { return Ok(None) };
    let mut snapshot = store.snapshot().await?;
    let videos = Videos::These(vec![video]);
    // No more blocks of a video hold one start.
    let summaries = snapshot.blocks(&videos, started_at_ms, started_at_ms, None, HEADS).await?;
    let order = (started_at_ms, RowId::from(id));
    for BlockSummary { id: block_id, .. } in summaries {
        let block = snapshot.groups(&[block_id], Groups::ALL).await?.pop().unwrap_or_default();
        let mut rows = block.rows().map_err(Error::Damaged)?;
        let Ok(at) = rows.binary_search_by_key(&order, Row::order) else { continue };
        let mut row = rows.remove(at);
        let mut totals = Totals::default();
        totals.add(key, &row, -1);
        row.stored.resume = resume;
        return Ok(Some(Rewrite {
            remove: vec![block_id],
            add: blocks(rows).map(|block| (key, video, block)).collect(),
            reopen: vec![OpenSession { id, version, key, video, row }],
            totals: totals.finish(),
            ..Rewrite::default()
        }));
    }
    Ok(None)
}

//! Row ids of keys, videos and pages: looked up once, cached, and added if they are new.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use quick_cache::unsync::Cache;

use super::prepared::Prepared;
use super::schema::{keys, videos};
use super::types::Bits;
use crate::key::ApiKey;
use crate::store::common::IDS_MAX;
use crate::store::failure::Failure;
use crate::store::{KeyId, KnownVideo, VideoId};
use crate::video::Video;

/// How often videos are added again that another instance deletes at the same moment.
const TRIES: u32 = 16;

/// Row ids of videos that are known to exist.
pub(super) struct Ids {
    videos: Mutex<Cache<Bits, (KeyId, VideoId)>>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { videos: Mutex::new(Cache::new(IDS_MAX.get())) }
    }
}

impl Ids {
    fn lock(&self) -> MutexGuard<'_, Cache<Bits, (KeyId, VideoId)>> {
        self.videos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evicts some videos, by their digests.
    pub(super) fn evict(&self, digests: impl Iterator<Item = [u8; 16]>) {
        let mut videos = self.lock();
        for digest in digests {
            videos.remove(&Bits(digest));
        }
    }

    /// Evicts all videos: after an error it is unknown which rows exist.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

/// Returns the row ids of these videos, by their digests. New videos are added, outside of any transaction: nothing
/// shows them before they have a session.
pub(super) async fn videos<'a>(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    videos: impl Iterator<Item = (&'a ApiKey, &'a Video)>,
) -> Result<HashMap<Bits, (KeyId, VideoId)>, Failure> {
    let mut found = HashMap::new();
    let mut missing = HashMap::new();
    {
        let known = ids.lock();
        for (key, video) in videos {
            let digest = Bits(video.digest(key));
            match known.get(&digest) {
                Some(id) => drop(found.insert(digest, *id)),
                None => drop(missing.insert(digest, (key, video))),
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    // In one order everywhere, so that two instances do not deadlock.
    let mut digests: Vec<_> = missing.keys().copied().collect();
    digests.sort_unstable();
    let mut rows = known(connection, &digests).await?;
    if rows.len() < digests.len() {
        let there: HashSet<_> = rows.iter().map(|(digest, ..)| *digest).collect();
        digests.retain(|digest| !there.contains(digest));
        add(connection, &digests, &missing).await?;
        rows.append(&mut known(connection, &digests).await?);
    }
    let mut known = ids.lock();
    for (digest, key, video) in rows {
        let id = (KeyId(key), VideoId(video));
        known.insert(digest, id);
        found.insert(digest, id);
    }
    Ok(found)
}

/// Adds new videos.
async fn add(
    connection: &mut AsyncPgConnection,
    digests: &[Bits],
    videos: &HashMap<Bits, (&ApiKey, &Video)>,
) -> Result<(), Failure> {
    let keys = key_ids(connection, digests.iter().map(|digest| videos[digest].0)).await?;
    let key = |digest: &Bits| keys[videos[digest].0];
    let identifier = |digest: &Bits| videos[digest].1.identifier();
    let metadata = |digest: &Bits| videos[digest].1.metadata();
    Prepared::new(
        "insert into videos (key_id, digest, identifier, metadata)
         select key_id, digest, identifier, metadata::jsonb
         from unnest($1, $2, $3, $4) as it (key_id, digest, identifier, metadata)
         on conflict (digest) do nothing",
    )
    .bind::<Array<BigInt>, _>(digests.iter().map(key).collect::<Vec<_>>())
    .bind::<Array<Uuid>, _>(digests)
    .bind::<Array<Nullable<Text>>, _>(digests.iter().map(identifier).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(digests.iter().map(metadata).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn known(
    connection: &mut AsyncPgConnection,
    digests: &[Bits],
) -> QueryResult<Vec<(Bits, i64, i64)>> {
    let rows = videos::table.filter(videos::digest.eq_any(digests));
    rows.select((videos::digest, videos::key_id, videos::id)).load(connection).await
}

async fn key_ids(
    connection: &mut AsyncPgConnection,
    of: impl Iterator<Item = &ApiKey>,
) -> Result<HashMap<ApiKey, i64>, Failure> {
    let selected: HashSet<&ApiKey> = of.collect();
    let texts: Vec<_> = selected.iter().map(|key| key.as_str()).collect();
    let rows: Vec<(String, i64)> = keys::table
        .filter(keys::key.eq_any(texts))
        .select((keys::key, keys::id))
        .load(connection)
        .await?;
    let mut found = HashMap::new();
    for key in selected {
        let row = rows.iter().find(|(text, _)| text == key.as_str()).ok_or(Failure::NoKey)?;
        found.insert(key.clone(), row.1);
    }
    Ok(found)
}

/// Adds the new ones of these videos, and returns the row ids of all of them, in order.
pub(super) async fn add_videos(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    requested: &[(ApiKey, Video)],
) -> Result<Vec<(KeyId, VideoId)>, Failure> {
    for _ in 0..TRIES {
        let found =
            videos(connection, ids, requested.iter().map(|(key, video)| (key, video))).await?;
        let id = |(key, video): &(ApiKey, Video)| found.get(&Bits(video.digest(key))).copied();
        if let Some(all) = requested.iter().map(id).collect() {
            return Ok(all);
        }
        // A new video was deleted at once, because it has no session yet.
    }
    Err(Failure::TooLong)
}

/// Returns which videos exist, and the number of videos of their keys.
pub(super) async fn known_videos(
    connection: &mut AsyncPgConnection,
    requested: &[(ApiKey, Video)],
) -> Result<Vec<KnownVideo>, Failure> {
    let digests: Vec<_> = requested.iter().map(|(key, video)| Bits(video.digest(key))).collect();
    let there = known(connection, &digests).await?;
    let there: HashSet<Bits> = there.into_iter().map(|(digest, ..)| digest).collect();
    let texts: HashSet<_> = requested.iter().map(|(key, _)| key.as_str()).collect();
    let counts = counts(connection, texts.into_iter().collect()).await?;
    let known = requested.iter().zip(&digests).map(|((key, _), digest)| KnownVideo {
        is_there: there.contains(digest),
        videos_of_key: counts.get(key.as_str()).copied().unwrap_or(0),
    });
    Ok(known.collect())
}

/// Returns the number of videos of each of these keys.
pub(super) async fn count_videos(
    connection: &mut AsyncPgConnection,
    keys: &[ApiKey],
) -> Result<Vec<u64>, Failure> {
    let counts = counts(connection, keys.iter().map(ApiKey::as_str).collect()).await?;
    Ok(keys.iter().map(|key| counts.get(key.as_str()).copied().unwrap_or(0)).collect())
}

async fn counts(
    connection: &mut AsyncPgConnection,
    of: Vec<&str>,
) -> Result<HashMap<String, u64>, Failure> {
    let counts: Vec<(String, i64)> = keys::table
        .inner_join(videos::table.on(videos::key_id.eq(keys::id)))
        .filter(keys::key.eq_any(of))
        .group_by(keys::key)
        .select((keys::key, diesel::dsl::count_star()))
        .load(connection)
        .await?;
    Ok(counts.into_iter().map(|(key, count)| (key, count.unsigned_abs())).collect())
}

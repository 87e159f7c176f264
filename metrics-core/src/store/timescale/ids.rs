//! Ids of videos and pages: looked up once, remembered, and added where they are new.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use quick_cache::unsync::Cache;

use super::schema::{keys, sources, videos};
use super::types::Bits;
use crate::key::ApiKey;
use crate::source::Source;
use crate::store::failure::Failure;
use crate::store::{KnownVideo, SessionWrite};
use crate::video::Video;

/// How many ids of videos and of sources are remembered: the ones that are watched at the moment.
const IDS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Ids of rows that are known to be there.
pub(super) struct Ids {
    known: Mutex<Known>,
}

struct Known {
    videos: Cache<Bits, i64>,
    sources: Cache<Source, i64>,
}

impl Default for Ids {
    fn default() -> Self {
        let (videos, sources) = (Cache::new(IDS_MAX.get()), Cache::new(IDS_MAX.get()));
        Self { known: Mutex::new(Known { videos, sources }) }
    }
}

impl Ids {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all: after an error nobody knows what is there.
    pub(super) fn clear(&self) {
        let mut known = self.lock();
        known.videos.clear();
        known.sources.clear();
    }
}

/// The ids of the videos of these sessions. Those that are new are added.
pub(super) async fn video_ids(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    writes: &[&SessionWrite],
) -> Result<HashMap<Bits, i64>, Failure> {
    let mut found = HashMap::new();
    let mut missing = HashMap::new();
    {
        let known = ids.lock();
        for write in writes {
            let subject = &*write.subject;
            let digest = Bits(subject.video.digest(&subject.key));
            match known.videos.get(&digest) {
                Some(id) => drop(found.insert(digest, *id)),
                None => drop(missing.insert(digest, subject)),
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    // In one order everywhere, so that nobody locks anybody out.
    let mut digests: Vec<_> = missing.keys().copied().collect();
    digests.sort_unstable();
    let mut looked_up = known_videos(connection, &digests).await?;
    if looked_up.len() < digests.len() {
        let there: std::collections::HashSet<_> =
            looked_up.iter().map(|(digest, _)| *digest).collect();
        let new: Vec<_> =
            digests.iter().filter(|digest| !there.contains(digest)).copied().collect();
        let keys = key_ids(connection, new.iter().map(|digest| &missing[digest].key)).await?;
        let video = |digest: &Bits| &missing[digest].video;
        diesel::sql_query(
            "insert into videos (key_id, digest, identifier, metadata)
             select key_id, digest, identifier, metadata::jsonb
             from unnest($1, $2, $3, $4) as it (key_id, digest, identifier, metadata)
             on conflict (digest) do nothing",
        )
        .bind::<Array<BigInt>, _>(
            new.iter().map(|digest| keys[&missing[digest].key]).collect::<Vec<_>>(),
        )
        .bind::<Array<Uuid>, _>(&new)
        .bind::<Array<Nullable<Text>>, _>(
            new.iter().map(|it| video(it).identifier()).collect::<Vec<_>>(),
        )
        .bind::<Array<Nullable<Text>>, _>(
            new.iter().map(|it| video(it).metadata()).collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
        looked_up = known_videos(connection, &digests).await?;
    }
    let mut known = ids.lock();
    for (digest, id) in looked_up {
        known.videos.insert(digest, id);
        found.insert(digest, id);
    }
    Ok(found)
}

pub(super) async fn known_videos(
    connection: &mut AsyncPgConnection,
    digests: &[Bits],
) -> QueryResult<Vec<(Bits, i64)>> {
    let rows = videos::table.filter(videos::digest.eq_any(digests));
    rows.select((videos::digest, videos::id)).load(connection).await
}

/// Which videos are there, and how many their keys have.
pub(super) async fn look_up_videos(
    connection: &mut AsyncPgConnection,
    asked: &[(ApiKey, Video)],
) -> Result<Vec<KnownVideo>, Failure> {
    let digests: Vec<_> = asked.iter().map(|(key, video)| Bits(video.digest(key))).collect();
    let there: HashMap<Bits, i64> = known_videos(connection, &digests).await?.into_iter().collect();
    let texts: std::collections::HashSet<_> = asked.iter().map(|(key, _)| key.as_str()).collect();
    let counts: Vec<(String, i64)> = keys::table
        .inner_join(videos::table.on(videos::key_id.eq(keys::id)))
        .filter(keys::key.eq_any(texts.into_iter().collect::<Vec<_>>()))
        .group_by(keys::key)
        .select((keys::key, diesel::dsl::count_star()))
        .load(connection)
        .await?;
    let counts: HashMap<String, i64> = counts.into_iter().collect();
    let known = asked.iter().zip(&digests).map(|((key, _), digest)| KnownVideo {
        is_there: there.contains_key(digest),
        videos_of_key: counts.get(key.as_str()).map_or(0, |count| count.unsigned_abs()),
    });
    Ok(known.collect())
}

async fn key_ids(
    connection: &mut AsyncPgConnection,
    of: impl Iterator<Item = &ApiKey>,
) -> Result<HashMap<ApiKey, i64>, Failure> {
    let wanted: std::collections::HashSet<&ApiKey> = of.collect();
    let texts: Vec<_> = wanted.iter().map(|key| key.as_str()).collect();
    let rows: Vec<(String, i64)> = keys::table
        .filter(keys::key.eq_any(texts))
        .select((keys::key, keys::id))
        .load(connection)
        .await?;
    let mut found = HashMap::new();
    for key in wanted {
        let row = rows.iter().find(|(text, _)| text == key.as_str()).ok_or(Failure::NoKey)?;
        found.insert(key.clone(), row.1);
    }
    Ok(found)
}

/// The ids of the pages of these sessions. Those that are new are added.
pub(super) async fn source_ids(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    writes: &[&SessionWrite],
) -> Result<HashMap<Source, i64>, Failure> {
    let mut found = HashMap::new();
    let mut missing = Vec::new();
    {
        let known = ids.lock();
        for source in writes.iter().filter_map(|write| write.subject.source.as_ref()) {
            match known.sources.get(source) {
                Some(id) => drop(found.insert(source.clone(), *id)),
                None => missing.push(source.clone()),
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    missing.sort_unstable();
    missing.dedup();
    let urls: Vec<_> = missing.iter().map(Source::as_str).collect();
    let mut looked_up = known_sources(connection, &urls).await?;
    if looked_up.len() < missing.len() {
        diesel::sql_query(
            "insert into sources (url) select unnest($1) on conflict (url) do nothing",
        )
        .bind::<Array<Text>, _>(missing.iter().map(Source::as_str).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        looked_up = known_sources(connection, &urls).await?;
    }
    let looked_up: HashMap<String, i64> = looked_up.into_iter().collect();
    let mut known = ids.lock();
    for source in missing {
        if let Some(id) = looked_up.get(source.as_str()) {
            known.sources.insert(source.clone(), *id);
            found.insert(source, *id);
        }
    }
    Ok(found)
}

async fn known_sources(
    connection: &mut AsyncPgConnection,
    urls: &[&str],
) -> QueryResult<Vec<(String, i64)>> {
    let rows = sources::table.filter(sources::url.eq_any(urls));
    rows.select((sources::url, sources::id)).load(connection).await
}

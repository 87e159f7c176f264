//! The quota of videos of a key, and the rate limit of new videos.
//!
//! A page that invents metadata would add a video with every play. A key that has used up its quota gets no new videos;
//! sessions of its existing videos are recorded as before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quick_cache::unsync::Cache;
use tokio::time::Instant;

use super::entry::Entry;
use super::errors::NotStored;
use super::lock;
use crate::key::ApiKey;
use crate::quota::Kind;
use crate::store::{Error, SessionWrite, Store};
use crate::video::Video;

/// Number of cached videos that are known to exist: those being watched.
const CACHED_VIDEOS: usize = 16_384;

/// How long they stay cached: videos without sessions are deleted, and count again when they come back.
const CACHED_MAX: Duration = Duration::from_secs(3_600);

/// Decides which videos may be recorded.
pub(super) struct Videos {
    max: u32,
    there: Mutex<There>,
}

/// Videos that are known to exist.
struct There {
    since: Instant,
    digests: Cache<[u8; 16], ()>,
}

impl There {
    fn new() -> Self {
        Self { since: Instant::now(), digests: Cache::new(CACHED_VIDEOS) }
    }
}

impl Videos {
    pub(super) fn new(max: u32) -> Self {
        Self { max, there: Mutex::new(There::new()) }
    }

    /// Decides for each write whether its video may be recorded: it exists already, or may be added.
    pub(super) async fn admit(
        &self,
        store: &Arc<dyn Store>,
        entries: &[Arc<Entry>],
        writes: &[SessionWrite],
    ) -> Result<Vec<Result<(), NotStored>>, Error> {
        // Only the first write of a session can have a new video.
        let new = || (0..).zip(writes).filter(|(_, write)| write.expected == 0);
        let digest = |write: &SessionWrite| write.subject.video.digest(&write.subject.key);
        let mut requested: HashMap<[u8; 16], Vec<usize>> = HashMap::new();
        {
            let mut there = lock(&self.there);
            if CACHED_MAX <= there.since.elapsed() {
                *there = There::new();
            }
            for (index, write) in new() {
                if there.digests.get(&digest(write)).is_none() {
                    requested.entry(digest(write)).or_default().push(index);
                }
            }
        }
        if requested.is_empty() {
            return Ok(vec![Ok(()); writes.len()]);
        }
        // In the order of the writes, so that the first of several new videos are added.
        let mut requested: Vec<_> = requested.into_iter().collect();
        requested.sort_unstable_by_key(|(_, indices)| indices[0]);
        let subject = |indices: &[usize]| &writes[indices[0]].subject;
        let videos: Vec<(ApiKey, Video)> = requested
            .iter()
            .map(|(_, indices)| (subject(indices).key.clone(), subject(indices).video.clone()))
            .collect();
        let known = store.known_videos(&videos).await?;
        let mut added: HashMap<&ApiKey, u64> = HashMap::new();
        let mut refused = HashMap::new();
        for ((digest, indices), known) in requested.into_iter().zip(known) {
            let added = added.entry(&subject(&indices).key).or_default();
            let admitted = if known.is_there {
                Ok(())
            } else {
                // One session that may add the video adds it for all: an address that may not add it does not block the
                // others.
                let admit =
                    |index: &usize| self.admit_new(&entries[*index], known.videos_of_key + *added);
                let mut verdicts = indices.iter().map(admit);
                let first = verdicts.next().unwrap_or(Ok(()));
                first.or_else(|refusal| verdicts.find(Result::is_ok).unwrap_or(Err(refusal)))
            };
            match admitted {
                Ok(()) => {
                    *added += u64::from(!known.is_there);
                    lock(&self.there).digests.insert(digest, ());
                }
                Err(refusal) => drop(refused.insert(digest, refusal)),
            }
        }
        let mut admitted = vec![Ok(()); writes.len()];
        for (index, write) in new() {
            if let Some(refusal) = refused.get(&digest(write)) {
                admitted[index] = Err(*refusal);
            }
        }
        Ok(admitted)
    }

    /// Decides whether a new video may be added to the `videos` of its key.
    fn admit_new(&self, entry: &Entry, videos: u64) -> Result<(), NotStored> {
        let charge = entry.charge.as_ref();
        let videos_max = charge.map_or(self.max, |charge| charge.limits.videos);
        if u64::from(videos_max) <= videos {
            return Err(NotStored::TooManyVideos { videos_max });
        }
        if let Some(charge) = charge {
            charge.take_of(Kind::NewVideos, videos, videos_max)?;
            charge.has_videos(videos + 1);
        }
        Ok(())
    }
}

//! How many videos a key may have.
//!
//! A page that makes up metadata would add a video with every play. A key that has as many as it may gets no more;
//! those it has are recorded as before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use quick_cache::unsync::Cache;

use super::lock;
use crate::key::ApiKey;
use crate::store::{Error, SessionWrite, Store};
use crate::video::Video;

/// How many videos a key may have, unless said otherwise. With the largest metadata they take 1.6 GB.
pub const VIDEOS_MAX: u32 = 100_000;

/// How many videos are remembered to be there: the ones that are watched at the moment.
const REMEMBERED: usize = 16_384;

/// Which videos may be recorded.
pub(super) struct Videos {
    max: u32,
    there: Mutex<Cache<[u8; 16], ()>>,
}

impl Videos {
    pub(super) fn new(max: u32) -> Self {
        Self { max, there: Mutex::new(Cache::new(REMEMBERED)) }
    }

    /// How many a key may have.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// Says of each write whether its video is there already or may be added.
    pub(super) async fn admit(
        &self,
        store: &Arc<dyn Store>,
        writes: &[SessionWrite],
    ) -> Result<Vec<bool>, Error> {
        let mut admitted = vec![true; writes.len()];
        // Only the first write of a session can be of a video that is new.
        let new: Vec<_> = (0..).zip(writes).filter(|(_, write)| write.expected == 0).collect();
        let digest = |write: &SessionWrite| write.subject.video.digest(&write.subject.key);
        let mut asked: HashMap<[u8; 16], (ApiKey, Video)> = HashMap::new();
        {
            let there = lock(&self.there);
            for (_, write) in &new {
                if there.get(&digest(write)).is_none() {
                    let subject = &write.subject;
                    let video = || (subject.key.clone(), subject.video.clone());
                    asked.entry(digest(write)).or_insert_with(video);
                }
            }
        }
        if asked.is_empty() {
            return Ok(admitted);
        }
        let (digests, videos): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let known = store.known_videos(&videos).await?;
        let mut added: HashMap<&ApiKey, u64> = HashMap::new();
        let mut full = Vec::new();
        let mut there = lock(&self.there);
        for ((digest, (key, _)), known) in digests.into_iter().zip(&videos).zip(known) {
            let added = added.entry(key).or_default();
            if known.is_there || known.videos_of_key + *added < self.max.into() {
                *added += u64::from(!known.is_there);
                there.insert(digest, ());
            } else {
                full.push(digest);
            }
        }
        for (place, write) in new {
            admitted[place] = !full.contains(&digest(write));
        }
        Ok(admitted)
    }
}

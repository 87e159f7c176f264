//! Videos: conditions of a list, its items, and the videos whose sessions are read.

use super::id::{KeyId, VideoId};
use crate::key::ApiKey;
use crate::video::Video;

/// Restricts a list of videos. Conditions that are set apply together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VideoScope {
    /// Videos of this key.
    pub key: Option<ApiKey>,
    /// Videos with one of these identifiers.
    pub identifiers: Option<Vec<String>>,
}

impl VideoScope {
    /// Whether the list includes a video.
    #[must_use]
    pub fn has(&self, record: &VideoRecord) -> bool {
        let is_named = |identifiers: &Vec<String>| {
            let identifier = record.video.identifier();
            identifier.is_some_and(|identifier| identifiers.iter().any(|it| it == identifier))
        };
        self.key.as_ref().is_none_or(|key| *key == record.key)
            && self.identifiers.as_ref().is_none_or(is_named)
    }
}

/// A video in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VideoRecord {
    /// Its row id.
    pub id: VideoId,
    /// The row id of its key.
    pub key_id: KeyId,
    /// Its key.
    pub key: ApiKey,
    /// The video.
    pub video: Video,
}

/// The videos whose sessions are read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Videos {
    /// All videos.
    All,
    /// All videos of a key.
    OfKey(ApiKey),
    /// These videos, in order.
    These(Vec<VideoId>),
}

/// The stored state of a video.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownVideo {
    /// Whether it exists.
    pub is_there: bool,
    /// How many videos its key has.
    pub videos_of_key: u64,
}

//! Videos: pairs of an identifier and metadata under one key.

use serde_json::{Map, Value};

use crate::containment::canonical;
use crate::key::{ApiKey, digest};

/// The longest identifier, in bytes.
pub const IDENTIFIER_BYTES_MAX: usize = 1_024;

/// The largest metadata and the largest session data, in bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1_024;

/// A video, as a page describes it: by an identifier, by metadata, or by both.
///
/// ```
/// use metrics_core::Video;
/// use serde_json::json;
///
/// let one = Video::described(&json!({ "id": 7, "course": "knots" })).unwrap();
/// let two = Video::described(&json!({ "course": "knots", "id": 7.0 })).unwrap();
/// assert_eq!(one, two);
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Video {
    // Invariant: at least one of the two is there.
    identifier: Option<String>,
    // Canonical JSON of an object, so that equal metadata is equal text.
    metadata: Option<String>,
}

impl Video {
    /// The video with this identifier.
    #[must_use]
    pub fn labelled(identifier: impl Into<String>) -> Self {
        Self { identifier: Some(identifier.into()), metadata: None }
    }

    /// The video with this metadata, or `None` if it is no JSON object.
    #[must_use]
    pub fn described(metadata: &Value) -> Option<Self> {
        metadata.is_object().then(|| Self { identifier: None, metadata: Some(canonical(metadata)) })
    }

    /// The video with this identifier and this metadata, or `None` if there is neither.
    #[must_use]
    pub fn new(identifier: Option<String>, metadata: Option<Map<String, Value>>) -> Option<Self> {
        let metadata = metadata.map(|metadata| canonical(&Value::Object(metadata)));
        (identifier.is_some() || metadata.is_some()).then_some(Self { identifier, metadata })
    }

    /// The identifier.
    #[must_use]
    pub fn identifier(&self) -> Option<&str> {
        self.identifier.as_deref()
    }

    /// The metadata as canonical JSON.
    #[must_use]
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// Returns the length of identifier and metadata, in bytes.
    #[cfg(feature = "recorder")]
    pub(crate) fn bytes(&self) -> usize {
        self.identifier.as_ref().map_or(0, String::len)
            + self.metadata.as_ref().map_or(0, String::len)
    }

    /// A 128-bit hash that identifies this video under `key`.
    #[must_use]
    pub fn digest(&self, key: &ApiKey) -> [u8; 16] {
        digest(&[Some(key.as_str()), self.identifier(), self.metadata()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_video_is_its_identifier_and_its_metadata_under_a_key() {
        let (one, two) = (ApiKey::new("one").unwrap(), ApiKey::new("two").unwrap());
        let label = Video::labelled("intro");
        let described = Video::described(&json!({"a": 1})).unwrap();
        assert_ne!(label.digest(&one), label.digest(&two));
        assert_ne!(label.digest(&one), described.digest(&one));
        // Digests are stored, so they must never change.
        assert_eq!(
            u128::from_be_bytes(described.digest(&one)),
            293_551_337_966_372_346_478_539_165_917_060_991_396
        );
    }

    #[test]
    fn a_video_has_an_identifier_or_metadata() {
        assert!(Video::new(None, None).is_none());
        assert!(Video::new(None, Some(Map::new())).is_some());
        assert!(Video::described(&json!([1])).is_none());
    }
}

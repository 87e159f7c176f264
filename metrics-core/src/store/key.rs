//! Keys with their dates and settings, and the changes of keys.

use chrono::{DateTime, Utc};

use crate::key::{ApiKey, KeySettings, SettingsChange};

/// A key, its dates and its settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    /// The key.
    pub key: ApiKey,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was revoked, if it was.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Its settings.
    pub settings: KeySettings,
}

impl KeyRecord {
    /// A valid key without settings.
    #[must_use]
    pub fn new(key: ApiKey, created_at: DateTime<Utc>) -> Self {
        Self { key, created_at, disabled_at: None, settings: KeySettings::default() }
    }
}

/// A change of a key: see [`Store::change_key`](super::Store::change_key).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyChange {
    /// Disables it from this time on. A key that is revoked already keeps its first time.
    Revoke(DateTime<Utc>),
    /// Makes it valid again.
    Restore,
    /// Changes some of its settings.
    Settings(SettingsChange),
}

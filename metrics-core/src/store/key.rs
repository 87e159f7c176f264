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

/// An access token that is refused before it expires: see [`Store::revoke_token`](super::Store::revoke_token).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevokedToken {
    /// The id of the token, its claim `jti`.
    pub id: String,
    /// The time from which on the token is refused as expired. Stores keep milliseconds.
    pub until: DateTime<Utc>,
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

//! Methods for keys: adds, changes, revokes and lists them, and waits for changes.

use tokio::sync::watch;

use super::Metrics;
use crate::key::{ApiKey, KeySettings};
use crate::keyring::Keys;
use crate::quota::Usage;
use crate::store::{Error, KeyChange, KeyRecord};

impl Metrics {
    /// Creates a key at random.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn create_key(&self) -> Result<ApiKey, Error> {
        let key = ApiKey::generate();
        self.import_key(&key).await?;
        Ok(key)
    }

    /// Adds an existing key, and returns false if it was there.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn import_key(&self, key: &ApiKey) -> Result<bool, Error> {
        self.add_key(key, KeySettings::default()).await
    }

    /// Adds a key with settings, and returns false if it was there.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn add_key(&self, key: &ApiKey, settings: KeySettings) -> Result<bool, Error> {
        let record = KeyRecord { settings, ..KeyRecord::new(key.clone(), self.now()) };
        self.inner.keyring.add(&record).await
    }

    /// Changes a key, and returns false if there is none. The change takes effect in every instance within a second,
    /// for viewers who join from then on.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        self.inner.keyring.change(key, change).await
    }

    /// Returns how much of its limits each of these keys has used: of totals, and of rates per key in this process.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn usage(&self, keys: &[KeyRecord]) -> Result<Vec<Vec<Usage>>, Error> {
        let of: Vec<_> = keys.iter().map(|record| record.key.clone()).collect();
        let videos = self.store().count_videos(&of).await?;
        let usage = keys.iter().zip(videos).map(|(record, videos)| {
            let limits = self.inner.keyring.limits(&record.settings);
            self.inner.quotas.usage(&record.key, &limits, videos)
        });
        Ok(usage.collect())
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.store().keys().await
    }

    /// Disables a key and returns true, or false if there is no such key. Its sessions remain readable.
    ///
    /// Every instance refuses the key within a second.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store fails.
    pub async fn revoke_key(&self, key: &ApiKey) -> Result<bool, Error> {
        self.change_key(key, &KeyChange::Revoke(self.now())).await
    }

    /// Whether a key is valid for recording.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store was never reached.
    pub async fn accepts_key(&self, key: &ApiKey) -> Result<bool, Error> {
        Ok(self.inner.keyring.valid(key).await?.is_some())
    }

    /// Whether the keys are known: the store was reached once.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.inner.keyring.is_loaded()
    }

    /// Returns a handle that waits for added and revoked keys.
    #[must_use]
    pub fn key_changes(&self) -> KeyChanges {
        KeyChanges { keys: self.inner.keyring.changes() }
    }
}

/// Notifies about changes of the keys. See [`Metrics::key_changes`].
#[derive(Clone, Debug)]
pub struct KeyChanges {
    keys: watch::Receiver<Option<Keys>>,
}

impl KeyChanges {
    /// Waits for the next change; for ever, if the [`Metrics`] has ended. Cancel safe.
    pub async fn changed(&mut self) {
        if self.keys.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether `key` is valid now, or the keys are not known yet.
    #[must_use]
    pub fn accepts(&self, key: &ApiKey) -> bool {
        self.keys.borrow().as_ref().is_none_or(|keys| keys.contains_key(key))
    }
}

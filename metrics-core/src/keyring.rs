//! The keys that are valid, in memory, and kept up to date with the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::key::ApiKey;
use crate::recorder::Ending;
use crate::store::{Error, Store};

/// All keys, and which are valid.
#[derive(Debug)]
pub(crate) struct Keyring {
    store: Arc<dyn Store>,
    // Nothing before the store has answered once.
    valid: watch::Sender<Option<Keys>>,
    // Questions are numbered, so that the answer to an old one never replaces that to a new one.
    asked: AtomicU64,
    answered: AtomicU64,
}

/// Each key, and whether it is valid.
pub(crate) type Keys = Arc<HashMap<ApiKey, bool>>;

impl Keyring {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let (asked, answered) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, valid: watch::Sender::new(None), asked, answered }
    }

    /// Whether a key may send viewings.
    pub(crate) async fn accepts(&self, key: &ApiKey) -> Result<bool, Error> {
        if self.valid.borrow().is_none() {
            self.refresh().await?;
        }
        Ok(self.valid.borrow().as_ref().is_some_and(|keys| keys.get(key) == Some(&true)))
    }

    /// Whether the store has answered once.
    pub(crate) fn is_known(&self) -> bool {
        self.valid.borrow().is_some()
    }

    /// Sees every change of the keys.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Keys>> {
        self.valid.subscribe()
    }

    pub(crate) async fn create(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let created = self.store.create_key(key, now).await?;
        self.refresh().await?;
        Ok(created)
    }

    pub(crate) async fn revoke(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let revoked = self.store.revoke_key(key, now).await?;
        self.refresh().await?;
        Ok(revoked)
    }

    async fn refresh(&self) -> Result<(), Error> {
        let question = self.asked.fetch_add(1, Ordering::Relaxed);
        let keys = self.store.keys().await?;
        let keys: HashMap<_, _> =
            keys.into_iter().map(|record| (record.key, record.disabled_at.is_none())).collect();
        self.valid.send_if_modified(|valid| {
            // The lock of `valid` is held here, so these two are one step.
            if question < self.answered.fetch_max(question, Ordering::Relaxed) {
                return false;
            }
            let changed = valid.as_deref() != Some(&keys);
            if changed {
                *valid = Some(Arc::new(keys));
            }
            changed
        });
        Ok(())
    }

    /// Keeps the keys up to date until `ending` says otherwise.
    pub(crate) async fn run(self: Arc<Self>, mut ending: watch::Receiver<Ending>) {
        let mut seen = 0;
        loop {
            if let Err(err) = self.refresh().await {
                tracing::debug!(error = &err as &dyn std::error::Error, "could not ask for keys");
            }
            tokio::select! {
                now = self.store.keys_changed(seen) => seen = now,
                _ = ending.wait_for(|ending| *ending != Ending::Open) => return,
            }
        }
    }
}

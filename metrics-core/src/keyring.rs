//! The valid keys, in memory, kept up to date with the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::key::limits::Limits;
use crate::key::{ApiKey, KeySettings};
use crate::quota::prefix;
use crate::shutdown::Shutdown;
use crate::store::{Error, KeyChange, KeyRecord, Store};

/// The valid keys of a store.
#[derive(Debug)]
pub(crate) struct Keyring {
    store: Arc<dyn Store>,
    // The default limits of keys.
    limits: Limits,
    // `None` until the store has answered once.
    valid: watch::Sender<Option<Keys>>,
    // Requests to the store are numbered, so that the response to an old one never replaces that to a new one.
    requests: AtomicU64,
    latest_response: AtomicU64,
}

/// The valid keys.
pub(crate) type Keys = Arc<HashMap<ApiKey, Arc<Valid>>>;

/// A valid key: its settings, and the limits that follow from them.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Valid {
    pub(crate) settings: KeySettings,
    pub(crate) limits: Arc<Limits>,
}

impl Keyring {
    pub(crate) fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        let (requests, latest_response) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, limits, valid: watch::Sender::new(None), requests, latest_response }
    }

    /// Returns a key that may send sessions, or `None` if it may not.
    pub(crate) async fn valid(&self, key: &ApiKey) -> Result<Option<Arc<Valid>>, Error> {
        if self.valid.borrow().is_none() {
            self.refresh().await?;
        }
        Ok(self.valid.borrow().as_ref().and_then(|keys| keys.get(key).cloned()))
    }

    /// Returns the limits of a key with these settings.
    pub(crate) fn limits(&self, settings: &KeySettings) -> Limits {
        settings.limits(&self.limits)
    }

    /// Returns whether the store has answered once.
    pub(crate) fn is_loaded(&self) -> bool {
        self.valid.borrow().is_some()
    }

    /// Returns a receiver that is notified of every change of the keys.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Keys>> {
        self.valid.subscribe()
    }

    pub(crate) async fn add(&self, record: &KeyRecord) -> Result<bool, Error> {
        let added = self.store.add_key(record).await?;
        self.refresh().await?;
        Ok(added)
    }

    pub(crate) async fn change(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        let changed = self.store.change_key(key, change).await?;
        self.refresh().await?;
        Ok(changed)
    }

    async fn refresh(&self) -> Result<(), Error> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let keys = self.store.keys().await?;
        let valid = keys.into_iter().filter(|record| record.disabled_at.is_none());
        let keys: HashMap<_, _> = valid
            .map(|KeyRecord { key, settings, .. }| {
                let limits = Arc::new(self.limits(&settings));
                (key, Arc::new(Valid { settings, limits }))
            })
            .collect();
        let unreadable: Vec<_> = keys
            .iter()
            .filter(|(_, valid)| !valid.settings.is_readable())
            .map(|(key, _)| prefix(key))
            .collect();
        let is_changed = self.valid.send_if_modified(|valid| {
            // The lock of `valid` is held here, so these two are one step.
            if request < self.latest_response.fetch_max(request, Ordering::Relaxed) {
                return false;
            }
            let changed = valid.as_deref() != Some(&keys);
            if changed {
                *valid = Some(Arc::new(keys));
            }
            changed
        });
        for key in unreadable.into_iter().filter(|_| is_changed) {
            tracing::warn!(
                key,
                "the hosts or pages of a key cannot be read: its sessions are refused until both are set again"
            );
        }
        Ok(())
    }

    /// Keeps the keys up to date until `shutdown` announces the end.
    pub(crate) async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<Shutdown>) {
        let (mut seen, mut is_failing) = (0, false);
        loop {
            let refreshed = self.refresh().await;
            if let Err(err) = &refreshed {
                let error = err as &dyn std::error::Error;
                if is_failing {
                    tracing::debug!(error, "the keys still cannot be read");
                } else {
                    tracing::warn!(
                        error,
                        "could not read the keys: changes apply once the keys can be read again"
                    );
                }
            }
            is_failing = refreshed.is_err();
            tokio::select! {
                now = self.store.keys_changed(seen) => seen = now,
                _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::Running) => return,
            }
        }
    }
}

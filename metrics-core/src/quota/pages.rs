//! The pages of each key, with a quota of their number.
//!
//! The set is in memory, as hashes. It is read from the store after the first session with a page, and again every day,
//! which removes the pages that retention or erasure left without sessions. A page beyond a limit counts as the page
//! `/` of its site, if the key has pages of that site; else the session has no page.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::{Charge, Kind, lock};
use crate::block::{Columns, Group, Groups};
use crate::key::ApiKey;
use crate::read::{Fold, Reading, read_from};
use crate::shutdown::Shutdown;
use crate::source::{PageDetail, Source};
use crate::stats::Tallies;
use crate::store::{Error, Store, VideoId, VideoRecord, VideoScope};

/// The largest number of pages in memory, of all keys together: at 16 bytes each in two sets, 128 MB.
const TOTAL_MAX: usize = 4_000_000;

/// The period of reading the set again.
const PERIOD: Duration = Duration::from_secs(86_400);

/// The time until the set is read again after the store failed.
const RETRY: Duration = Duration::from_secs(60);

/// The pages of all keys.
pub(crate) struct Pages {
    tallies: Arc<Tallies>,
    hash_keys: RandomState,
    known: Mutex<Known>,
    // Notified by the first session with a page.
    first_page: Notify,
}

#[derive(Default)]
struct Known {
    keys: HashMap<ApiKey, Set>,
    // Number of pages of all keys.
    total: usize,
    // Whether the store was read once. Before, the store may already have any page, and no rate is charged.
    is_read: bool,
}

/// The pages of a key.
#[derive(Default)]
struct Set {
    pages: HashSet<u64>,
    // The pages `/` of their sites.
    sites: HashSet<u64>,
    // Pages added since the last reading of the store: their sessions may not be durable yet.
    added: Vec<(u64, u64)>,
}

impl Set {
    fn add(&mut self, (page, site): (u64, u64)) {
        self.pages.insert(page);
        self.sites.insert(site);
    }
}

impl Pages {
    pub(super) fn new(tallies: Arc<Tallies>) -> Self {
        Self {
            tallies,
            hash_keys: RandomState::new(),
            known: Mutex::default(),
            first_page: Notify::new(),
        }
    }

    fn hash(&self, page: &Source) -> (u64, u64) {
        (self.hash_keys.hash_one(page.as_str()), self.hash_keys.hash_one(page.site()))
    }

    /// Returns the number of known pages of a key.
    pub(super) fn count(&self, key: &ApiKey) -> usize {
        lock(&self.known).keys.get(key).map_or(0, |set| set.pages.len())
    }

    /// Returns the page under which a session counts.
    pub(crate) fn admit(&self, key: &ApiKey, charge: &Charge, page: Source) -> Option<Source> {
        let (hash, site) = self.hash(&page);
        let mut known = lock(&self.known);
        let Known { keys, total, is_read } = &mut *known;
        if !*is_read {
            self.first_page.notify_one();
        }
        let set = keys.entry(key.clone()).or_default();
        if set.pages.contains(&hash) {
            return Some(page);
        }
        let is_full = charge.limits.pages as usize <= set.pages.len() || TOTAL_MAX <= *total;
        let (total_pages, max) = (set.pages.len() as u64, charge.limits.pages);
        let is_too_fast =
            !is_full && *is_read && charge.take_of(Kind::NewPages, total_pages, max).is_err();
        if is_full || is_too_fast {
            let pages = &self.tallies.pages;
            let tally = if is_full { &pages.too_many } else { &pages.too_many_new };
            tally.add(1);
            return set.sites.contains(&site).then(|| page.reduced(PageDetail::Host)).flatten();
        }
        set.add((hash, site));
        set.added.push((hash, site));
        *total += 1;
        charge.has_pages(set.pages.len());
        Some(page)
    }

    /// Reads the pages of all keys after the first session with a page, and every day after, until `shutdown` announces
    /// the end.
    pub(crate) async fn run(&self, store: Arc<dyn Store>, mut shutdown: watch::Receiver<Shutdown>) {
        let reading = async {
            self.first_page.notified().await;
            loop {
                let pause = match self.read(&*store).await {
                    Ok(()) => PERIOD,
                    Err(err) => {
                        tracing::debug!(
                            error = &err as &dyn std::error::Error,
                            "could not read pages"
                        );
                        RETRY
                    }
                };
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = reading => {}
            _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::Running) => {}
        }
    }

    async fn read(&self, store: &dyn Store) -> Result<(), Error> {
        let keys = store.keys().await?;
        for record in keys {
            self.read_key(store, &record.key).await?;
        }
        lock(&self.known).is_read = true;
        Ok(())
    }

    async fn read_key(&self, store: &dyn Store, key: &ApiKey) -> Result<(), Error> {
        let scope = VideoScope { key: Some(key.clone()), identifiers: None };
        let reading = Reading::new(scope, false, (i64::MIN, i64::MAX));
        let fold = Reader { hash_keys: self.hash_keys.clone(), set: Set::default() };
        let mut snapshot = store.snapshot().await?;
        let Reader { set: mut read, .. } = read_from(&mut *snapshot, &reading, fold).await?;
        let mut known = lock(&self.known);
        let before = known.keys.remove(key).unwrap_or_default();
        before.added.iter().for_each(|page| read.add(*page));
        known.total = known.total + read.pages.len() - before.pages.len();
        known.keys.insert(key.clone(), read);
        Ok(())
    }
}

/// Collects pages of sessions.
struct Reader {
    hash_keys: RandomState,
    set: Set,
}

impl Fold for Reader {
    type Error = Error;

    fn groups(&self) -> Groups {
        Groups::NONE.with(Group::Pages)
    }

    fn selects(&mut self, _: &VideoRecord) -> Result<bool, Error> {
        Ok(true)
    }

    fn add(&mut self, _: VideoId, columns: &Columns) -> Result<(), Error> {
        let pages = columns.pages.iter().flat_map(|pages| pages.values()).flatten();
        for page in pages.take(TOTAL_MAX.saturating_sub(self.set.pages.len())) {
            let hash = |text: &str| self.hash_keys.hash_one(text);
            let hashes = (hash(page.as_str()), hash(page.site()));
            self.set.add(hashes);
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::key::limits::Limits;
    use crate::quota::Quotas;
    use crate::store::SqliteStore;
    use crate::{Join, Metrics, PlayerEvent, Video};

    struct Site {
        store: Arc<dyn Store>,
        quotas: Quotas,
        key: ApiKey,
        limits: Limits,
        _directory: tempfile::TempDir,
    }

    impl Site {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
            let key = ApiKey::generate();
            store.create_key(&key, Utc::now()).await.unwrap();
            let mut limits = Limits::default();
            limits.set("pages", "3").unwrap();
            let (store, quotas) = (Arc::new(store), Quotas::new(Arc::default()));
            Self { store, quotas, key, limits, _directory: directory }
        }

        fn admit(&self, page: &str) -> Option<String> {
            let charge = self.quotas.charge(&self.key, Some(1), Arc::new(self.limits.clone()));
            let admitted =
                self.quotas.pages.admit(&self.key, &charge, Source::parse(page).unwrap());
            admitted.map(|page| page.as_str().to_owned())
        }

        async fn read(&self) {
            self.quotas.pages.read(&*self.store).await.unwrap();
        }

        fn count(&self) -> usize {
            self.quotas.pages.count(&self.key)
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pages_without_sessions_free_the_quota() {
        let site = Site::new().await;
        let metrics = Metrics::builder(Arc::clone(&site.store)).start();
        let join = Join::new(site.key.clone(), "a", Video::labelled("intro"));
        let session = metrics.join(join.page("https://a.example/kept")).await.unwrap();
        session.apply(PlayerEvent::play(0.0)).await.unwrap();
        session.apply(PlayerEvent::pause(5.0)).await.unwrap();
        for page in ["https://a.example/one", "https://a.example/two", "https://a.example/three"] {
            assert_eq!(site.admit(page).as_deref(), Some(page));
        }
        assert_eq!(site.admit("https://a.example/four").as_deref(), Some("https://a.example/"));
        assert_eq!(site.admit("https://b.example/"), None);
        // Their sessions may not be durable yet.
        site.read().await;
        assert_eq!(site.count(), 4);
        assert_eq!(
            site.admit("https://a.example/three").as_deref(),
            Some("https://a.example/three")
        );
        site.read().await;
        assert_eq!(site.count(), 1);
        assert_eq!(site.admit("https://a.example/kept").as_deref(), Some("https://a.example/kept"));
        assert_eq!(site.admit("https://b.example/").as_deref(), Some("https://b.example/"));
        let total = lock(&site.quotas.pages.known).total;
        assert_eq!(total, site.count());
        metrics.stop().await;
    }

    #[tokio::test]
    async fn a_rate_of_new_pages_is_charged_once_the_store_was_read() {
        let mut site = Site::new().await;
        site.limits = Limits::default();
        site.limits.set("new_pages_per_address", "2/day").unwrap();
        let page = |number: u32| format!("https://a.example/{number}");
        assert!((0..5).all(|number| site.admit(&page(number)) == Some(page(number))));
        site.read().await;
        assert!((0..7).all(|number| site.admit(&page(number)) == Some(page(number))));
        assert_eq!(site.admit(&page(7)).as_deref(), Some("https://a.example/"));
    }
}

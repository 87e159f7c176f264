//! Use of limits by keys, and by addresses of callers under them.
//!
//! All of it is in memory, and starts anew with the process: instances on one store may exceed a limit together.
//! Addresses are hashes under a key that is random in every process, and are evicted after two days.

mod pages;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::pages::Pages;
use crate::key::ApiKey;
use crate::key::limits::{Limits, Rate, Rates};
use crate::stats::Tallies;

/// The number of addresses in a generation, at some 100 bytes each. A flood from more addresses evicts the use of
/// others, and only the limits of the key bound it.
const ADDRESSES_MAX: usize = 50_000;

/// How long a generation of addresses lasts: as long as the longest unit of a rate.
const GENERATION: Duration = Duration::from_secs(86_400);

/// The share of a limit at which the log warns: four fifths.
const WARNED_AT: (u64, u64) = (4, 5);

/// The part of a key that the log shows, in characters.
const PREFIX_CHARS: usize = 6;

/// Kinds of rate limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Joins,
    Events,
    NewVideos,
    NewPages,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Joins, Self::Events, Self::NewVideos, Self::NewPages];

    fn rates(self, limits: &Limits) -> Rates {
        match self {
            Self::Joins => limits.joins,
            Self::Events => limits.events,
            Self::NewVideos => limits.new_videos,
            Self::NewPages => limits.new_pages,
        }
    }

    /// The names of the limits per key and per address.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Joins => ("joins", "joins_per_address"),
            Self::Events => ("events", "events_per_address"),
            Self::NewVideos => ("new_videos", "new_videos_per_address"),
            Self::NewPages => ("new_pages", "new_pages_per_address"),
        }
    }
}

/// A rate limit is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the rate limit `{limit}` is used up; try again later")]
pub struct RateExceeded {
    /// The name of the limit.
    pub limit: &'static str,
    /// The time until one more is allowed.
    pub retry_after: Duration,
}

/// The use of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// The name of the limit.
    pub limit: &'static str,
    /// The amount used.
    pub used: u64,
    /// The amount allowed; `None` if there is no limit.
    pub allowed: Option<u32>,
    /// The unit of a rate, like `day`; `None` for a total.
    pub per: Option<&'static str>,
}

/// The use of a rate: a token bucket, as the nanosecond at which it is full again.
#[derive(Debug, Default)]
struct Bucket {
    full_at_ns: AtomicU64,
}

impl Bucket {
    /// Takes one token, and returns the number of tokens used; or the time until there is one.
    fn take(&self, rate: Rate, now_ns: u64) -> Result<u64, Duration> {
        let every = rate.every_ns();
        let burst = every * u64::from(rate.number());
        let next = |full_at: u64| full_at.max(now_ns).saturating_add(every);
        let fits = |full_at| next(full_at) - now_ns <= burst;
        match self.full_at_ns.fetch_update(Relaxed, Relaxed, |at| fits(at).then(|| next(at))) {
            Ok(before) => Ok((next(before) - now_ns).div_ceil(every)),
            Err(full_at) => Err(Duration::from_nanos(next(full_at) - now_ns - burst)),
        }
    }

    fn used(&self, rate: Rate, now_ns: u64) -> u64 {
        self.full_at_ns.load(Relaxed).saturating_sub(now_ns).div_ceil(rate.every_ns())
    }
}

/// The use of a caller's address under a key.
type AddressUse = [Bucket; Kind::ALL.len()];

/// The use of a key.
#[derive(Debug)]
struct KeyUse {
    began: Instant,
    // The beginning of the key, for the log.
    prefix: String,
    buckets: [Bucket; Kind::ALL.len()],
    // A bit for each warning that was logged.
    warned: AtomicU16,
}

/// The part of a key that the log shows: never all of a short one.
pub(crate) fn prefix(key: &ApiKey) -> String {
    let len = PREFIX_CHARS.min(key.as_str().len() / 2);
    key.as_str().chars().take(len).collect()
}

impl KeyUse {
    fn new(key: &ApiKey, began: Instant) -> Self {
        Self {
            began,
            prefix: prefix(key),
            buckets: Default::default(),
            warned: AtomicU16::default(),
        }
    }

    fn now_ns(&self) -> u64 {
        // Overflows after 584 years.
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns whether this warning is the first of its kind.
    fn is_first(&self, warning: usize) -> bool {
        self.warned.fetch_or(1 << warning, Relaxed) & (1 << warning) == 0
    }

    /// Warns once if a limit is nearly used up.
    fn warn_near(&self, warning: usize, limit: &'static str, used: u64, allowed: u32) {
        let (part, whole) = WARNED_AT;
        if used * whole < u64::from(allowed) * part || !self.is_first(warning) {
            return;
        }
        tracing::warn!(
            key = self.prefix,
            limit,
            used,
            allowed,
            "a key has used 80 % of a limit; METRICS_LIMITS and the settings of the key change it"
        );
    }

    /// Warns once if an address has used up a limit: it may be that of a proxy.
    fn warn_address(&self, warning: usize, limit: &'static str) {
        if self.is_first(warning) {
            tracing::warn!(
                key = self.prefix,
                limit,
                "clients of a key at one address have used up a limit; if that is the address of a proxy, set \
                 METRICS_FORWARDED_HEADER"
            );
        }
    }
}

// Numbers of warnings: those of rates per key, of rates per address, and of totals.
const ADDRESS_WARNINGS: usize = Kind::ALL.len();
const VIDEOS_WARNING: usize = 2 * Kind::ALL.len();
const PAGES_WARNING: usize = VIDEOS_WARNING + 1;

/// The limits of a caller under a key, and their use.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    key: Arc<KeyUse>,
    // None: the address is unknown, and has no limits.
    address: Option<Arc<AddressUse>>,
    pub(crate) limits: Arc<Limits>,
}

impl Charge {
    /// Takes one token of a rate: of the address first, so that a flood from one address spares the rest of the key's
    /// quota for others.
    pub(crate) fn take(&self, kind: Kind) -> Result<(), RateExceeded> {
        let now_ns = self.key.now_ns();
        self.take_of_address(kind, now_ns)?;
        self.take_of_key(kind, now_ns)
    }

    /// Like [`take`](Self::take), for one more of `total` things, of which the key has a quota of `max`. Up to half the
    /// quota, only the address is charged: a site that is measured for the first time has many new things at once, and
    /// one address cannot use up that half.
    pub(crate) fn take_of(&self, kind: Kind, total: u64, max: u32) -> Result<(), RateExceeded> {
        let now_ns = self.key.now_ns();
        self.take_of_address(kind, now_ns)?;
        if total < u64::from(max) / 2 { Ok(()) } else { self.take_of_key(kind, now_ns) }
    }

    fn take_of_address(&self, kind: Kind, now_ns: u64) -> Result<(), RateExceeded> {
        let Rates { per_address, .. } = kind.rates(&self.limits);
        let (index, (_, address_limit)) = (kind as usize, kind.names());
        if let (Some(rate), Some(address)) = (per_address, &self.address) {
            address[index].take(rate, now_ns).map_err(|retry_after| {
                self.key.warn_address(ADDRESS_WARNINGS + index, address_limit);
                RateExceeded { limit: address_limit, retry_after }
            })?;
        }
        Ok(())
    }

    fn take_of_key(&self, kind: Kind, now_ns: u64) -> Result<(), RateExceeded> {
        let Rates { per_key, .. } = kind.rates(&self.limits);
        let (index, (key_limit, _)) = (kind as usize, kind.names());
        if let Some(rate) = per_key {
            let used = self.key.buckets[index].take(rate, now_ns);
            let exceeded = |retry_after| RateExceeded { limit: key_limit, retry_after };
            self.key.warn_near(index, key_limit, used.map_err(exceeded)?, rate.number());
        }
        Ok(())
    }

    /// Warns if the key's quota of videos is nearly used up.
    pub(crate) fn has_videos(&self, videos: u64) {
        self.key.warn_near(VIDEOS_WARNING, "videos", videos, self.limits.videos);
    }

    fn has_pages(&self, pages: usize) {
        self.key.warn_near(PAGES_WARNING, "pages", pages as u64, self.limits.pages);
    }
}

/// The use of all keys.
pub(crate) struct Quotas {
    began: Instant,
    hash_keys: RandomState,
    // Valid keys only, so their number is bounded: operators create them.
    keys: Mutex<HashMap<ApiKey, Arc<KeyUse>>>,
    addresses: Mutex<Addresses>,
    pub(crate) pages: Pages,
}

/// Two generations of addresses: a full or old young generation replaces the old one.
struct Addresses {
    young: HashMap<u64, Arc<AddressUse>>,
    old: HashMap<u64, Arc<AddressUse>>,
    since: Instant,
}

impl Addresses {
    fn get(&mut self, hash: u64, now: Instant) -> Arc<AddressUse> {
        if ADDRESSES_MAX <= self.young.len() || GENERATION <= now - self.since {
            self.old = mem::take(&mut self.young);
            self.since = now;
        }
        let old = &mut self.old;
        let used = self.young.entry(hash).or_insert_with(|| old.remove(&hash).unwrap_or_default());
        Arc::clone(used)
    }
}

impl Quotas {
    pub(crate) fn new(tallies: Arc<Tallies>) -> Self {
        let began = Instant::now();
        let (young, old) = (HashMap::new(), HashMap::new());
        Self {
            began,
            hash_keys: RandomState::new(),
            keys: Mutex::default(),
            addresses: Mutex::new(Addresses { young, old, since: began }),
            pages: Pages::new(tallies),
        }
    }

    /// Returns the limits of a caller under a valid key. `address` is a hash of the caller's address.
    pub(crate) fn charge(&self, key: &ApiKey, address: Option<u64>, limits: Arc<Limits>) -> Charge {
        let address = address.map(|address| {
            let hash = self.hash_keys.hash_one((key, address));
            lock(&self.addresses).get(hash, Instant::now())
        });
        Charge { key: self.key(key), address, limits }
    }

    fn key(&self, key: &ApiKey) -> Arc<KeyUse> {
        let mut keys = lock(&self.keys);
        if let Some(used) = keys.get(key) {
            return Arc::clone(used);
        }
        let used = Arc::new(KeyUse::new(key, self.began));
        keys.insert(key.clone(), Arc::clone(&used));
        used
    }

    /// Returns the use of a key's limits in this process.
    pub(crate) fn usage(&self, key: &ApiKey, limits: &Limits, videos: u64) -> Vec<Usage> {
        let used = lock(&self.keys).get(key).cloned();
        let total = |limit, used, allowed| Usage { limit, used, allowed: Some(allowed), per: None };
        let pages = self.pages.count(key) as u64;
        let totals = [total("videos", videos, limits.videos), total("pages", pages, limits.pages)];
        let rates = Kind::ALL.map(|kind| {
            let rate = kind.rates(limits).per_key;
            let used = used
                .as_ref()
                .zip(rate)
                .map_or(0, |(used, rate)| used.buckets[kind as usize].used(rate, used.now_ns()));
            let (allowed, per) = (rate.map(Rate::number), rate.map(Rate::unit));
            Usage { limit: kind.names().0, used, allowed, per }
        });
        totals.into_iter().chain(rates).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_rate_allows_a_burst_and_refills_evenly() {
        let (bucket, rate) = (Bucket::default(), "4/minute".parse().unwrap());
        for used in 1..=4 {
            assert_eq!(bucket.take(rate, SECOND), Ok(used));
        }
        assert_eq!(bucket.take(rate, SECOND), Err(Duration::from_secs(15)));
        assert_eq!(bucket.take(rate, 11 * SECOND), Err(Duration::from_secs(5)));
        assert_eq!(bucket.used(rate, 11 * SECOND), 4);
        assert_eq!(bucket.take(rate, 16 * SECOND), Ok(4));
        assert_eq!(bucket.used(rate, 47 * SECOND), 2);
        assert_eq!(bucket.used(rate, 1_000 * SECOND), 0);
        assert_eq!(bucket.take(rate, 1_000 * SECOND), Ok(1));
    }

    fn quotas() -> (Quotas, ApiKey) {
        (Quotas::new(Arc::default()), ApiKey::new("a key").unwrap_or_else(|_| ApiKey::generate()))
    }

    fn limits(name: &str, value: &str) -> Arc<Limits> {
        let mut limits = Limits::default();
        limits.set(name, value).unwrap();
        Arc::new(limits)
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_uses_up_its_own_limit_and_not_the_key_s() {
        let (quotas, key) = quotas();
        let limits = limits("joins_per_address", "5/hour");
        let one = quotas.charge(&key, Some(1), Arc::clone(&limits));
        let taken = (0..100).filter(|_| one.take(Kind::Joins).is_ok()).count();
        assert_eq!(taken, 5);
        let exceeded = one.take(Kind::Joins).unwrap_err();
        assert_eq!(exceeded.limit, "joins_per_address");
        assert_eq!(exceeded.retry_after, Duration::from_secs(720));
        // Tokens of another kind, another address and another key.
        assert_eq!(one.take(Kind::Events), Ok(()));
        let other = quotas.charge(&key, Some(2), Arc::clone(&limits));
        assert_eq!(other.take(Kind::Joins), Ok(()));
        let elsewhere = quotas.charge(&ApiKey::generate(), Some(1), Arc::clone(&limits));
        assert_eq!(elsewhere.take(Kind::Joins), Ok(()));
        let joins = quotas.usage(&key, &limits, 7).into_iter().find(|it| it.limit == "joins");
        assert_eq!(joins.map(|it| it.used), Some(6));
        tokio::time::advance(Duration::from_secs(720)).await;
        let again = quotas.charge(&key, Some(1), limits);
        assert_eq!((again.take(Kind::Joins), again.take(Kind::Joins).is_ok()), (Ok(()), false));
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_share_the_limit_of_a_key() {
        let (quotas, key) = quotas();
        let limits = limits("new_videos", "10/day");
        let taken = (0..100).filter(|address| {
            let charge = quotas.charge(&key, Some(*address), Arc::clone(&limits));
            charge.take(Kind::NewVideos).is_ok()
        });
        assert_eq!(taken.count(), 10);
        let unlimited =
            Limits { new_videos: Rates { per_key: None, per_address: None }, ..Limits::default() };
        let charge = quotas.charge(&key, Some(1), Arc::new(unlimited));
        assert!((0..1_000).all(|_| charge.take(Kind::NewVideos).is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_half_of_a_quota_is_charged_to_addresses_only() {
        let (quotas, key) = quotas();
        let mut limits = Limits::default();
        limits.set("new_videos", "10/day").unwrap();
        limits.set("new_videos_per_address", "30/day").unwrap();
        let charge = |address| quotas.charge(&key, Some(address), Arc::new(limits.clone()));
        let take = |address, total| charge(address).take_of(Kind::NewVideos, total, 100);
        assert_eq!((0..50).filter(|total| take(1, *total).is_ok()).count(), 30);
        assert_eq!((30..50).filter(|total| take(2, *total).is_ok()).count(), 20);
        assert_eq!((50..100).filter(|total| take(3, *total).is_ok()).count(), 10);
        assert_eq!(take(4, 60).unwrap_err().limit, "new_videos");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_bounded_and_evicted() {
        let (quotas, key) = quotas();
        let limits = limits("joins_per_address", "1/day");
        for address in 0..3 * ADDRESSES_MAX as u64 {
            drop(quotas.charge(&key, Some(address), Arc::clone(&limits)));
        }
        let len = |it: &Quotas| {
            let addresses = lock(&it.addresses);
            addresses.young.len() + addresses.old.len()
        };
        assert!(len(&quotas) <= 2 * ADDRESSES_MAX);
        for _ in 0..2 {
            tokio::time::advance(GENERATION).await;
            drop(quotas.charge(&key, Some(0), Arc::clone(&limits)));
        }
        assert_eq!(len(&quotas), 1);
    }

    #[test]
    fn the_log_never_has_a_complete_key() {
        let prefix = |key: &str| KeyUse::new(&ApiKey::new(key).unwrap(), Instant::now()).prefix;
        assert_eq!(prefix("HDsj3NfKQTNwn5Ix9g+cfQ=="), "HDsj3N");
        assert_eq!((prefix("abcd"), prefix("a")), ("ab".to_owned(), String::new()));
    }
}

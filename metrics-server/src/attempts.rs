//! Rate-limits guesses of keys and passwords, per address.
//!
//! Many people share an address, in an office or a mobile network, and one of them must not lock out the others. So a
//! secret that was right from an address before is always accepted from there, and a secret that was wrong before does
//! not count as a guess again: a page with a mistyped key sends the same key again and again.
//!
//! A check takes time, and a caller may disconnect meanwhile. So each check reserves a guess before it begins: concurrent
//! checks never exceed the limit. Callers with the same secret share one reservation, because a page with many viewers
//! in one office opens them all at the same time.
//!
//! All of this is in memory only, and nothing can be read back from it: it holds hashes of addresses and secrets under
//! keys that are random in every process.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName};
use metrics_core::{ApiKey, JoinError};
use tokio::time::Instant;

use crate::rate::{Bucket, Rate};

/// The limit on wrong secrets from one address. It exceeds the mistakes of people who mistype a password, and of sites
/// with an old key in the pages that an office visits. 5,760 guesses a day find no strong secret.
const GUESSES: Rate = Rate { burst: 20, every: Duration::from_secs(15) };

/// The minimum time that an entry is kept after its last use. It exceeds the refill time of [`GUESSES`], so that an
/// address cannot guess again early because its entry has expired.
const KEPT: Duration = Duration::from_secs(3_600);

const _: () = assert!(GUESSES.refill().as_secs() < KEPT.as_secs());

/// The minimum number of right pairs of an address and a secret that are kept: one or two megabytes at some 20 bytes
/// each. The secrets of evicted viewers are checked again.
const RIGHT_MAX: usize = 50_000;

/// The minimum number of addresses with wrong secrets that are kept, and of their guesses. An attacker with more
/// addresses is not slowed down.
const WRONG_MAX: usize = 10_000;

/// The origin of a request: the address at the other end of its connection.
///
/// [`serve`](crate::serve()) inserts it into the extensions of a request. Applications that accept connections
/// themselves may insert it too; without it, guesses of keys and passwords are not limited. The address is neither
/// stored nor logged.
///
/// ```
/// use metrics_server::CallerAddress;
///
/// let mut request = hyper::Request::new(());
/// request.extensions_mut().insert(CallerAddress([203, 0, 113, 7].into()));
/// ```
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct CallerAddress(pub IpAddr);

impl CallerAddress {
    /// Parses the address in a header, with a port or without. Each of `hops` proxies has appended an element. A header
    /// with fewer elements went through fewer proxies: its first element counts.
    pub(crate) fn forwarded(
        headers: &HeaderMap,
        name: &HeaderName,
        hops: NonZeroUsize,
    ) -> Option<Self> {
        let lines = headers.get_all(name).iter().rev();
        let elements = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let text = str::from_utf8(elements.take(hops.get()).last()?).ok()?.trim();
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let ip = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
        ip.map(Self)
    }

    /// Whether the address is of this machine.
    pub(crate) fn is_loopback(self) -> bool {
        self.0.to_canonical().is_loopback()
    }

    /// The network of one customer of a provider: an IPv4 address, or a /64 of IPv6.
    pub(crate) fn network(self) -> IpAddr {
        // Dual-stack sockets map IPv4 clients to IPv6 addresses, which are all in one network.
        match self.0.to_canonical() {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
        }
    }
}

impl fmt::Debug for CallerAddress {
    /// Omits the address, which would end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerAddress(..)")
    }
}

/// A secret that callers may guess.
#[derive(Clone, Copy, Hash)]
pub(crate) enum Secret<'a> {
    /// An API key.
    Key(&'a ApiKey),
    /// User and password, in the form that clients send.
    Credentials(&'a [u8]),
}

/// An address exceeded the limit on wrong secrets, and may try again after this time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many attempts")]
pub(crate) struct TooMany {
    pub(crate) retry_after: Duration,
}

/// The right and wrong secrets of all addresses.
#[derive(Default)]
pub(crate) struct Attempts {
    hash_keys: RandomState,
    seen: Mutex<Seen>,
}

/// The keys are hashes: of an address with a secret (`right`, `wrong`, `checked`), and of an address (`guesses`,
/// `reserved`).
struct Seen {
    right: Recent<()>,
    wrong: Recent<()>,
    guesses: Recent<Bucket>,
    // The number of checks in progress, and the number of guesses that they reserve. An entry ends with its last check.
    checked: HashMap<u64, usize>,
    reserved: HashMap<u64, u32>,
}

impl Seen {
    /// Reserves a guess for the check of a secret, unless the secret is known. Returns whether the check has a
    /// reservation, which [`release`](Self::release) ends.
    fn reserve(&mut self, network: u64, pair: u64, now: Instant) -> Result<bool, TooMany> {
        if self.right.get(pair, now).is_some() || self.wrong.get(pair, now).is_some() {
            return Ok(false);
        }
        if let Some(count) = self.checked.get_mut(&pair) {
            *count += 1;
            return Ok(true);
        }
        let reserved = self.reserved.get(&network).copied().unwrap_or_default();
        let mut bucket = self.guesses.get(network, now).unwrap_or_default();
        for _ in 0..reserved {
            bucket.take(GUESSES, now);
        }
        if let Some(retry_after) = bucket.wait(GUESSES, now) {
            return Err(TooMany { retry_after });
        }
        self.reserved.insert(network, reserved + 1);
        self.checked.insert(pair, 1);
        Ok(true)
    }

    /// Ends the part of one check in a reservation. The last check of a secret ends the reservation.
    fn release(&mut self, network: u64, pair: u64) {
        let Some(count) = self.checked.get_mut(&pair) else { return };
        *count -= 1;
        if 0 < *count {
            return;
        }
        self.checked.remove(&pair);
        let Some(reserved) = self.reserved.get_mut(&network) else { return };
        *reserved -= 1;
        if *reserved == 0 {
            self.reserved.remove(&network);
        }
    }

    /// Counts a wrong secret as a guess, if it is new.
    fn count_wrong(&mut self, network: u64, pair: u64, now: Instant) {
        if self.wrong.get(pair, now).is_none() {
            self.wrong.insert(pair, (), now);
            let mut bucket = self.guesses.get(network, now).unwrap_or_default();
            bucket.take(GUESSES, now);
            self.guesses.insert(network, bucket, now);
        }
    }
}

impl Attempts {
    /// Returns the caller at an address. Callers without an address are not limited.
    pub(crate) fn of(self: &Arc<Self>, caller_address: Option<CallerAddress>) -> Caller {
        let network =
            caller_address.map(|caller_address| self.hash_keys.hash_one(caller_address.network()));
        Caller { attempts: Arc::clone(self), network }
    }

    fn with_state<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            right: Recent::new(RIGHT_MAX),
            wrong: Recent::new(WRONG_MAX),
            guesses: Recent::new(WRONG_MAX),
            checked: HashMap::new(),
            reserved: HashMap::new(),
        }
    }
}

/// A caller at an address, or without a known address.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    attempts: Arc<Attempts>,
    // A hash of the network.
    network: Option<u64>,
}

impl Caller {
    /// A hash of the address, for limits per address.
    pub(crate) fn address(&self) -> Option<u64> {
        self.network
    }

    /// Begins an attempt with a secret, and reserves a guess for it. Report then whether the secret was right.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if the secret must not be checked.
    pub(crate) fn attempt(&self, secret: Secret<'_>) -> Result<Attempt<'_>, TooMany> {
        let attempts = &*self.attempts;
        let Some(network) = self.network else { return Ok(Attempt { attempts, check: None }) };
        let pair = attempts.hash_keys.hash_one((network, secret));
        let now = Instant::now();
        let is_reserved = attempts.with_state(|seen| seen.reserve(network, pair, now))?;
        Ok(Attempt { attempts, check: Some(Check { network, pair, is_reserved }) })
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller(..)")
    }
}

/// A secret that is being checked. A dropped attempt counts as wrong: a caller that disconnects before the response
/// cannot guess without limit.
#[must_use = "report whether the secret was right"]
pub(crate) struct Attempt<'a> {
    attempts: &'a Attempts,
    // None: the caller is not limited, or the outcome is recorded.
    check: Option<Check>,
}

/// The check of a secret of a caller with an address.
struct Check {
    // The hash of the network.
    network: u64,
    // The hash of the network with the secret.
    pair: u64,
    is_reserved: bool,
}

/// The outcome of a check.
#[derive(Clone, Copy)]
enum Outcome {
    Right,
    Wrong,
    Undecided,
}

impl Attempt<'_> {
    /// Records the outcome of a join with a key.
    pub(crate) fn record_join<T>(self, joined: &Result<T, JoinError>) {
        match joined {
            Ok(_) => self.right(),
            Err(JoinError::InvalidKey) => self.wrong(),
            // Another check failed, perhaps before the key was checked.
            Err(_) => self.undecided(),
        }
    }

    /// Records that the secret was right. It is accepted from this address from now on.
    pub(crate) fn right(mut self) {
        self.end(Outcome::Right);
    }

    /// Records that the secret was wrong. It counts as a guess if it is new.
    pub(crate) fn wrong(mut self) {
        self.end(Outcome::Wrong);
    }

    /// Records that the secret was not checked, because the server is busy or the store is unavailable. It does not
    /// count as a guess.
    pub(crate) fn undecided(mut self) {
        self.end(Outcome::Undecided);
    }

    fn end(&mut self, outcome: Outcome) {
        let Some(Check { network, pair, is_reserved }) = self.check.take() else { return };
        let now = Instant::now();
        self.attempts.with_state(|seen| {
            if is_reserved {
                seen.release(network, pair);
            }
            match outcome {
                Outcome::Right => seen.right.insert(pair, (), now),
                Outcome::Wrong => seen.count_wrong(network, pair, now),
                Outcome::Undecided => {}
            }
        });
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.end(Outcome::Wrong);
    }
}

/// Recently used entries in two generations. When the young generation is full, or after [`KEPT`], it replaces the old
/// generation, whose entries are evicted and whose memory is freed.
struct Recent<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    // The number of entries that one generation may hold.
    max: usize,
    // The time at which the young generation began.
    since: Option<Instant>,
}

impl<V: Copy> Recent<V> {
    fn new(max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), max, since: None }
    }

    /// Returns the value of an entry. Reading it counts as a use.
    fn get(&mut self, hash: u64, now: Instant) -> Option<V> {
        self.age(now);
        if let Some(value) = self.young.get(&hash) {
            return Some(*value);
        }
        let value = self.old.remove(&hash)?;
        self.insert(hash, value, now);
        Some(value)
    }

    fn insert(&mut self, hash: u64, value: V, now: Instant) {
        self.age(now);
        if self.max <= self.young.len() && !self.young.contains_key(&hash) {
            self.turn(now);
        }
        self.young.insert(hash, value);
    }

    fn age(&mut self, now: Instant) {
        let passed =
            self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if KEPT <= passed {
            self.turn(now);
        }
        if KEPT * 2 <= passed {
            self.old = HashMap::new();
        }
        self.since.get_or_insert(now);
    }

    fn turn(&mut self, now: Instant) {
        self.old = mem::take(&mut self.young);
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests;

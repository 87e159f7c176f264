//! Keys and passwords that are guessed: who guesses too often from an address is not listened to for a while.
//!
//! Many people share an address, those of an office or of a mobile network, and they must not suffer from one among
//! them. So what was right from an address before is taken from there always, and what was wrong before is no guess:
//! a page with a mistyped key sends the same one again and again.
//!
//! Nothing of this leaves memory, and nothing can be read back from it: it holds hashes of addresses and secrets under
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

/// How often somebody may be wrong: more often than people who mistype a password, or sites with an old key in the
/// pages that an office looks at; and 5,760 guesses a day find no secret that is worth its name.
const GUESSES: Rate = Rate { burst: 20, every: Duration::from_secs(15) };

/// How long something is remembered at least after its last use. It must take longer to forget that somebody guessed
/// than to be forgiven.
const KEPT: Duration = Duration::from_secs(3_600);

const _: () = assert!(GUESSES.refill().as_secs() < KEPT.as_secs());

/// How many pairs of an address and a secret that is right are remembered at least: at some 20 bytes each, one or two
/// megabytes, and viewers who are forgotten are looked at anew.
const RIGHT_MAX: usize = 50_000;

/// How many addresses that were wrong are remembered at least, and how many of their guesses. Who has more addresses
/// than that is not held up by it.
const WRONG_MAX: usize = 10_000;

/// Where a request comes from: the address at the other end of its connection.
///
/// [`serve`](crate::serve()) puts it into the extensions of a request. Whoever accepts connections elsewhere may do so
/// too; without it, no limit holds for how often somebody guesses keys and passwords. It is neither stored nor logged.
///
/// ```
/// use metrics_server::Peer;
///
/// let mut request = hyper::Request::new(());
/// request.extensions_mut().insert(Peer([203, 0, 113, 7].into()));
/// ```
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The address that a header names, if that is one; with a port or without. Each of `hops` proxies has added an
    /// element at the end. A header with fewer elements went through fewer proxies: its first one counts.
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

    /// Whether it is this machine.
    pub(crate) fn is_loopback(self) -> bool {
        self.0.to_canonical().is_loopback()
    }

    /// What one customer of a provider has: an IPv4 address, or a network of IPv6.
    pub(crate) fn network(self) -> IpAddr {
        // A socket that listens on both has IPv4 clients at IPv6 addresses, all in one network.
        match self.0.to_canonical() {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
        }
    }
}

impl fmt::Debug for Peer {
    /// Without the address: it would end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer(..)")
    }
}

/// What can be guessed.
#[derive(Clone, Copy, Hash)]
pub(crate) enum Secret<'a> {
    /// An API key.
    Key(&'a ApiKey),
    /// User and password, as a client sends them.
    Credentials(&'a [u8]),
}

/// Somebody was wrong too often, and is listened to again after this time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many attempts")]
pub(crate) struct TooMany {
    pub(crate) retry_after: Duration,
}

/// Who was right and who was wrong, from all addresses.
#[derive(Default)]
pub(crate) struct Attempts {
    hash_keys: RandomState,
    seen: Mutex<Seen>,
}

/// By hashes: of an address and a secret, and of an address.
struct Seen {
    right: Recent<()>,
    wrong: Recent<()>,
    guesses: Recent<Bucket>,
}

impl Attempts {
    /// Whoever makes a request. No limit holds for those who come from nowhere.
    pub(crate) fn of(self: &Arc<Self>, peer: Option<Peer>) -> Caller {
        let network = peer.map(|peer| self.hash_keys.hash_one(peer.network()));
        Caller { attempts: Arc::clone(self), network }
    }

    fn with_seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            right: Recent::new(RIGHT_MAX),
            wrong: Recent::new(WRONG_MAX),
            guesses: Recent::new(WRONG_MAX),
        }
    }
}

/// Somebody at an address, or from nowhere.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    attempts: Arc<Attempts>,
    // A hash of it.
    network: Option<u64>,
}

impl Caller {
    /// A hash of the address, for limits per address.
    pub(crate) fn address(&self) -> Option<u64> {
        self.network
    }

    /// Begins to look at a secret. Say then whether it was right.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if it must not be looked at.
    pub(crate) fn attempt(&self, secret: Secret<'_>) -> Result<Attempt<'_>, TooMany> {
        let attempts = &*self.attempts;
        let hashes =
            self.network.map(|network| (network, attempts.hash_keys.hash_one((network, secret))));
        if let Some((network, pair)) = hashes {
            let now = Instant::now();
            let wait = attempts.with_seen(|seen| {
                let known =
                    seen.right.get(pair, now).is_some() || seen.wrong.get(pair, now).is_some();
                let bucket = seen.guesses.get(network, now).filter(|_| !known);
                bucket.and_then(|bucket| bucket.wait(GUESSES, now))
            });
            if let Some(retry_after) = wait {
                return Err(TooMany { retry_after });
            }
        }
        Ok(Attempt { attempts, hashes })
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller(..)")
    }
}

/// A secret that is looked at. Dropped, it counts for nothing.
#[must_use = "whether the secret was right must be said"]
pub(crate) struct Attempt<'a> {
    attempts: &'a Attempts,
    // Of the network, and of that and the secret.
    hashes: Option<(u64, u64)>,
}

impl Attempt<'_> {
    /// It was a key, and this became of it.
    pub(crate) fn judge<T>(self, joined: &Result<T, JoinError>) {
        match joined {
            Ok(_) => self.right(),
            Err(JoinError::InvalidKey) => self.wrong(),
            // Something else was wrong, and the key may not have been looked at.
            Err(_) => {}
        }
    }

    /// It was right, and is taken from this address from now on.
    pub(crate) fn right(self) {
        if let Some((_, pair)) = self.hashes {
            self.attempts.with_seen(|seen| seen.right.put(pair, (), Instant::now()));
        }
    }

    /// It was wrong, which is a guess if it is news.
    pub(crate) fn wrong(self) {
        let Some((network, pair)) = self.hashes else { return };
        let now = Instant::now();
        self.attempts.with_seen(|seen| {
            if seen.wrong.get(pair, now).is_none() {
                seen.wrong.put(pair, (), now);
                let mut bucket = seen.guesses.get(network, now).unwrap_or_default();
                bucket.take(GUESSES, now);
                seen.guesses.put(network, bucket, now);
            }
        });
    }
}

/// What was used of late, in two generations: when the young one is full, or [`KEPT`] has passed, it takes the place of
/// the old one, which is forgotten and its memory given back.
struct Recent<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    // How many one generation may hold.
    max: usize,
    // When the young one began.
    since: Option<Instant>,
}

impl<V: Copy> Recent<V> {
    fn new(max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), max, since: None }
    }

    /// What was put there, which counts as a use.
    fn get(&mut self, hash: u64, now: Instant) -> Option<V> {
        self.age(now);
        if let Some(value) = self.young.get(&hash) {
            return Some(*value);
        }
        let value = self.old.remove(&hash)?;
        self.put(hash, value, now);
        Some(value)
    }

    fn put(&mut self, hash: u64, value: V, now: Instant) {
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

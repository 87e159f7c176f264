//! Limits the connections per address, so that one client does not take them from all others.
//!
//! Addresses stay in memory, as hashes under a key that is random in every process, and only as long as a connection
//! from the address is open.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::attempts::CallerAddress;

/// The minimum share of an address: an office behind one address, some connections for each of its people.
const LEAST: usize = 64;

/// Returns the default share of one address: a quarter of all connections. Four addresses may hold all, one may not.
pub(crate) fn default_share(connections_max: usize) -> usize {
    (connections_max / 4).max(LEAST)
}

/// The number of connections of each network.
#[derive(Debug)]
pub(crate) struct Shares {
    hash_keys: RandomState,
    // The number of connections that one network may hold.
    most: AtomicUsize,
    held: Mutex<HashMap<u64, usize>>,
}

/// A connection of a network, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    network: u64,
}

impl Shares {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            hash_keys: RandomState::new(),
            most: AtomicUsize::new(most),
            held: Mutex::default(),
        })
    }

    /// Changes the number of connections that one network may hold. Networks that hold more keep them.
    pub(crate) fn allow(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// Counts a connection of `caller_address`, or returns `None` if its network holds its whole share.
    pub(crate) fn take(self: &Arc<Self>, caller_address: CallerAddress) -> Option<Share> {
        let network = self.hash_keys.hash_one(caller_address.network());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(network).or_default();
        if self.most.load(Relaxed) <= *count {
            return None;
        }
        *count += 1;
        Some(Share { shares: Arc::clone(self), network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.network);
                // Frees the memory of a flood after it.
                if held.len() < held.capacity() / 4 {
                    held.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller_address(text: &str) -> CallerAddress {
        CallerAddress(text.parse().unwrap())
    }

    #[test]
    fn a_network_holds_its_share_and_others_theirs() {
        let shares = Shares::new(2);
        let one = [(); 2].map(|()| shares.take(caller_address("192.0.2.1")).unwrap());
        assert!(shares.take(caller_address("192.0.2.1")).is_none());
        assert!(shares.take(caller_address("::ffff:192.0.2.1")).is_none());
        let other = shares.take(caller_address("192.0.2.2")).unwrap();
        drop(one);
        assert!(shares.take(caller_address("192.0.2.1")).is_some());
        drop(other);
        assert!(shares.held.lock().unwrap().is_empty());
    }

    /// A customer of a provider has a whole network of IPv6.
    #[test]
    fn addresses_of_one_network_share() {
        let shares = Shares::new(1);
        let _one = shares.take(caller_address("2001:db8:0:1::1")).unwrap();
        assert!(shares.take(caller_address("2001:db8:0:1:ffff::2")).is_none());
        assert!(shares.take(caller_address("2001:db8:0:2::1")).is_some());
        shares.allow(2);
        assert!(shares.take(caller_address("2001:db8:0:1::3")).is_some());
    }

    #[test]
    fn a_share_is_never_too_small_for_an_office() {
        assert_eq!(default_share(100_000), 25_000);
        assert_eq!(default_share(100), LEAST);
    }
}

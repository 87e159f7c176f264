//! Limits the memory of sessions: evicts idle ones, then stops reading, then refuses new ones.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::entry::{Entry, Memory};
use super::errors::NotJoined;
use super::rounds::Rounds;
use super::{Recorder, SHARDS, Shard, WAITING_MAX, lock};
use crate::budget::Reservation;

/// Idle sessions take at most one part in `IDLE_PART` of the budget. They are kept because their viewers may come back,
/// or send another batch; otherwise they would have to be loaded from the store.
pub(super) const IDLE_PART: usize = 4;

/// One part in `OTHERS_PART` of the budget is never taken by sessions: it is for requests, messages and responses.
pub(super) const OTHERS_PART: usize = 4;

/// If less than one part in `EVICT_PART` of the sessions' budget is left, idle sessions are evicted.
const EVICT_PART: usize = 4;

/// If less than one part in `OVERLOADED_PART` of the sessions' budget is left, reading stops while inputs wait for the
/// store.
const OVERLOADED_PART: usize = 8;

/// If less than one part in `JOIN_PART` of the sessions' budget is left, no session begins. The rest is for the growth
/// of existing ones.
const JOIN_PART: usize = 16;

impl Recorder {
    /// Waits until reading may go on: fewer inputs wait for the store than the limits of number and memory allow, or
    /// the writer has ended.
    pub(crate) async fn ready(&self) {
        while self.is_overloaded() {
            let space = self.space.notified();
            if self.is_overloaded() {
                space.await;
            }
        }
    }

    /// Whether waiting inputs exceed the limits of number or memory.
    fn is_overloaded(&self) -> bool {
        let inputs = self.inputs.load(Ordering::Relaxed);
        let is_overloaded =
            WAITING_MAX <= inputs || (0 < inputs && self.is_short_of(OVERLOADED_PART));
        is_overloaded && self.check_open().is_ok()
    }

    /// Whether less than one part in `part` of the sessions' budget is left.
    fn is_short_of(&self, part: usize) -> bool {
        self.sessions.remaining() < self.sessions.max() / part
    }

    /// Reserves memory for a session that begins.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Reservation, NotJoined> {
        let reserved =
            if self.is_short_of(JOIN_PART) { None } else { self.sessions.try_reserve(bytes) };
        reserved.ok_or_else(|| {
            // The writer evicts idle sessions, if there are any.
            self.work.notify_one();
            NotJoined::Memory
        })
    }

    /// Whether idle sessions exceed their part of the budget, or the rest of the budget gets scarce.
    pub(super) fn is_full(&self) -> bool {
        let idle_bytes = self.idle_bytes.load(Ordering::Relaxed);
        self.idle_bytes_max < idle_bytes || (0 < idle_bytes && self.is_short_of(EVICT_PART))
    }

    /// Evicts idle sessions if they exceed their memory or it gets scarce, and wakes the callers that wait for memory.
    pub(super) fn free_memory(&self) {
        self.evict();
        self.space.notify_waiters();
    }

    fn evict(&self) {
        let mut evict_at = lock(&self.evict_at);
        let now = Instant::now();
        if !self.is_full() || evict_at.is_some_and(|at| now < at) {
            return;
        }
        // New sessions were counted as idle.
        for shard in &self.shards {
            self.count(&mut lock(shard));
        }
        for shard in (0..SHARDS).take_while(|_| self.is_full()) {
            self.check(shard, Memory::Full);
        }
        // A pass over all sessions takes a while, and a pass that evicts nothing is no more use a moment later.
        *evict_at = self.is_full().then_some(now + Rounds::STEP);
    }

    /// Counts the bytes of the idle sessions of a shard.
    pub(super) fn count(&self, shard: &mut Shard) {
        let bytes = |entry: &Arc<Entry>| {
            let state = entry.lock();
            if state.is_idle() { entry.bytes(&state) } else { 0 }
        };
        let now = shard.entries.values().map(bytes).sum();
        self.idle_bytes.fetch_add(now, Ordering::Relaxed);
        self.idle_bytes.fetch_sub(mem::replace(&mut shard.idle_bytes, now), Ordering::Relaxed);
    }
}

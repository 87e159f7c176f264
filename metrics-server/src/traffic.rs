//! What comes to the server and is no business of the recorder, in numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What has come, and what is there. All clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    accepted: AtomicU64,
    opted_out: AtomicU64,
    too_many_attempts: AtomicU64,
    turned_away: AtomicU64,
    out_of_memory: AtomicU64,
}

/// A connection that is open as long as this is there.
#[derive(Debug)]
pub(crate) struct Connected {
    counts: Arc<Counts>,
}

impl Traffic {
    /// A connection was accepted.
    pub(crate) fn connect(&self) -> Connected {
        self.counts.accepted.fetch_add(1, Relaxed);
        self.counts.open.fetch_add(1, Relaxed);
        Connected { counts: Arc::clone(&self.counts) }
    }

    /// A viewer was refused, who opted out.
    pub(crate) fn opt_out(&self) {
        self.counts.opted_out.fetch_add(1, Relaxed);
    }

    /// A viewer was refused, because keys were guessed from the same place.
    pub(crate) fn hold_up(&self) {
        self.counts.too_many_attempts.fetch_add(1, Relaxed);
    }

    /// A connection or a request was refused, because all places or those of its address are taken.
    pub(crate) fn turn_away(&self) {
        self.counts.turned_away.fetch_add(1, Relaxed);
    }

    /// A request was refused, because the memory budget is used up.
    pub(crate) fn run_out_of_memory(&self) {
        self.counts.out_of_memory.fetch_add(1, Relaxed);
    }

    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Relaxed)
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.counts.accepted.load(Relaxed)
    }

    pub(crate) fn turned_away(&self) -> u64 {
        self.counts.turned_away.load(Relaxed)
    }

    pub(crate) fn opted_out(&self) -> u64 {
        self.counts.opted_out.load(Relaxed)
    }

    pub(crate) fn too_many_attempts(&self) -> u64 {
        self.counts.too_many_attempts.load(Relaxed)
    }

    pub(crate) fn out_of_memory(&self) -> u64 {
        self.counts.out_of_memory.load(Relaxed)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Relaxed);
    }
}

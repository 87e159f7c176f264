//! Counts connections, refusals and reports, which the recorder does not know.

mod reports;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

pub(crate) use self::reports::{BOUNDS, Endpoint, Failure, Reports};
pub(crate) use self::webhooks::{Delivery, Evaluation, Webhooks};

/// Counters of connections, refusals and reports. All clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    accepted: AtomicU64,
    opted_out: AtomicU64,
    too_many_attempts: AtomicU64,
    refused: AtomicU64,
    out_of_memory: AtomicU64,
    reports: Reports,
    webhooks: Webhooks,
}

/// An open connection, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Connected {
    counts: Arc<Counts>,
}

impl Counters {
    /// Counts an accepted connection.
    pub(crate) fn connect(&self) -> Connected {
        self.counts.accepted.fetch_add(1, Relaxed);
        self.counts.open.fetch_add(1, Relaxed);
        Connected { counts: Arc::clone(&self.counts) }
    }

    /// Counts a refused viewer who opted out.
    pub(crate) fn opt_out(&self) {
        self.counts.opted_out.fetch_add(1, Relaxed);
    }

    /// Counts a viewer refused because of guessed keys from the same address.
    pub(crate) fn hold_up(&self) {
        self.counts.too_many_attempts.fetch_add(1, Relaxed);
    }

    /// Counts a connection or a request refused because all permits, or those of its address, are taken.
    pub(crate) fn refuse(&self) {
        self.counts.refused.fetch_add(1, Relaxed);
    }

    /// Counts a request refused because the memory budget is used up.
    pub(crate) fn run_out_of_memory(&self) {
        self.counts.out_of_memory.fetch_add(1, Relaxed);
    }

    /// The counters of reports.
    pub(crate) fn reports(&self) -> &Reports {
        &self.counts.reports
    }

    /// The counters of webhooks.
    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.counts.webhooks
    }

    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Relaxed)
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.counts.accepted.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.counts.refused.load(Relaxed)
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

//! Deliveries of webhooks and evaluations of their rules.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The counters of webhooks.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    rules: AtomicUsize,
    queue: AtomicUsize,
    outcomes: [AtomicU64; Delivery::ALL.len()],
    evaluations: [AtomicU64; Evaluation::ALL.len()],
}

/// The outcome of an attempt or the end of a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// The receiver accepted it.
    Delivered,
    /// An attempt failed, and is repeated.
    Failed,
    /// Attempts failed for too long.
    GivenUp,
    /// The queue was full, or the rule is gone.
    Dropped,
}

/// The outcome of an evaluation of a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Evaluation {
    /// The rule was evaluated.
    Done,
    /// Its report failed, or the server had no turn for it.
    Failed,
}

impl Delivery {
    pub(crate) const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::GivenUp, Self::Dropped];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Dropped => "dropped",
        }
    }
}

impl Evaluation {
    pub(crate) const ALL: [Self; 2] = [Self::Done, Self::Failed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Webhooks {
    pub(crate) fn set(&self, rules: usize, queue: usize) {
        self.rules.store(rules, Relaxed);
        self.queue.store(queue, Relaxed);
    }

    pub(crate) fn count(&self, delivery: Delivery) {
        self.outcomes[delivery as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn evaluate(&self, evaluation: Evaluation) {
        self.evaluations[evaluation as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn rules(&self) -> usize {
        self.rules.load(Relaxed)
    }

    pub(crate) fn queue(&self) -> usize {
        self.queue.load(Relaxed)
    }

    pub(crate) fn deliveries(&self) -> [(&'static str, u64); Delivery::ALL.len()] {
        Delivery::ALL.map(|it| (it.name(), self.outcomes[it as usize].load(Relaxed)))
    }

    pub(crate) fn evaluations(&self) -> [(&'static str, u64); Evaluation::ALL.len()] {
        Evaluation::ALL.map(|it| (it.name(), self.evaluations[it as usize].load(Relaxed)))
    }
}

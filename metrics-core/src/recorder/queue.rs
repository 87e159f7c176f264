//! Queues sessions for the writer, in batches.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::Instant;

use super::acknowledgement::{Acknowledgement, Progress};
use super::entry::{Entry, EntryState};
use super::errors::{EventError, NotStored};
use super::input::Input;
use super::{Recorder, lock};

/// The most sessions in one transaction: enough to share a flush among many, and to give a socket several responses to
/// write at once; few enough that the first does not wait long for the last. With 3,200 events under way 2,000 take a
/// tenth less of the processor than 1,000, and 4,000 no less.
const BATCH_MAX: usize = 2_000;

/// The sessions of one transaction take at most one part in `BATCH_PART` of the budget: a store copies the sessions
/// that it writes, up to twice.
const BATCH_PART: usize = 32;

/// The batches that wait for the writer.
#[derive(Default)]
pub(super) struct Queue {
    // The last one is forming.
    batches: Vec<Batch>,
    // The writer ends after these batches, or has ended.
    closed: bool,
}

/// Dirty sessions that will be written together.
pub(super) struct Batch {
    pub(super) entries: Vec<Arc<Entry>>,
    // Memory that its sessions hold.
    bytes: usize,
    // Since when each session waits.
    pub(super) since: Vec<Instant>,
    pub(super) progress: watch::Sender<Progress>,
}

impl Recorder {
    /// Adds one input to a session and queues the session for the writer. Returns whether the input changed anything.
    pub(super) fn enqueue_input(
        &self,
        entry: &Arc<Entry>,
        input: Input,
    ) -> Result<(Acknowledgement, bool), EventError> {
        let mut state = entry.lock();
        if state.is_full() && input.is_play() {
            return Err(EventError::Full);
        }
        if !state.is_queued() {
            self.check_open()?;
        }
        let inputs = state.accept(input, self.instance);
        entry.account(&mut state, &self.sessions);
        if 0 < inputs {
            self.inputs.fetch_add(inputs, Ordering::Relaxed);
            self.enqueue(entry, &mut state)?;
        }
        Ok((Acknowledgement::new(entry.id, state.progress()), 0 < inputs))
    }

    /// Queues the session for the next batch.
    pub(super) fn enqueue(
        &self,
        entry: &Arc<Entry>,
        state: &mut EntryState,
    ) -> Result<(), NotStored> {
        if state.is_queued() {
            return Ok(());
        }
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(NotStored::Refused);
        }
        let bytes_max = self.memory.max() / BATCH_PART;
        let is_full = |batch: &Batch| BATCH_MAX <= batch.entries.len() || bytes_max <= batch.bytes;
        if queue.batches.last().is_none_or(is_full) {
            let progress = watch::Sender::new(Progress::Waiting);
            queue.batches.push(Batch {
                entries: Vec::new(),
                bytes: 0,
                since: Vec::new(),
                progress,
            });
        }
        if let Some(batch) = queue.batches.last_mut() {
            batch.bytes += state.held_bytes();
            batch.entries.push(Arc::clone(entry));
            batch.since.push(Instant::now());
            self.tallies.waiting_sessions.fetch_add(1, Ordering::Relaxed);
            state.queue(batch.progress.subscribe());
        }
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    /// Refuses inputs after the end of the writer.
    pub(super) fn check_open(&self) -> Result<(), NotStored> {
        if lock(&self.queue).closed { Err(NotStored::Refused) } else { Ok(()) }
    }

    /// Takes all batches out of the queue.
    pub(super) fn take(&self) -> Vec<Batch> {
        mem::take(&mut lock(&self.queue).batches)
    }

    /// Closes the queue to further sessions, and returns whether it is empty.
    pub(super) fn close(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.batches.is_empty()
    }
}

//! The writer: takes dirty sessions, makes them durable, and says so.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::live::{Care, Entry, Input};
use super::{BEAT, Batch, CHECKPOINT, Progress, Recorder, SHARDS, lock};
use crate::store::{Error, Loaded, Outcome};

/// How long to wait before a failed call is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Recorder {
    /// Writes until `stopping`, and then what is left. Ends when nothing is.
    ///
    /// Not cancel safe: what is not written yet would be lost.
    pub(crate) async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut tick = interval(CHECKPOINT / SHARDS as u32);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = 0;
        let mut beat_at: Option<Instant> = None;
        loop {
            // An error means that nobody is left who could put anything in.
            let stop = *stopping.borrow() || stopping.has_changed().is_err();
            if beat_at.is_none_or(|at| BEAT <= at.elapsed()) {
                self.beat().await;
                beat_at = Some(Instant::now());
            }
            for batch in self.take() {
                self.settle(batch).await;
            }
            if stop && self.close() {
                return;
            }
            tokio::select! {
                () = self.work.notified() => {}
                _ = tick.tick() => {
                    self.look(looked);
                    looked = (looked + 1) % SHARDS;
                }
                _ = stopping.wait_for(|stop| *stop), if !stop => {}
            }
        }
    }

    fn take(&self) -> Vec<Batch> {
        mem::take(&mut lock(&self.queue).batches)
    }

    /// Takes no more inputs, unless there are some that are not written.
    fn close(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.closed = queue.batches.is_empty();
        queue.closed
    }

    /// Says that this instance is alive. If that fails, the next commit will have more to say about it.
    async fn beat(&self) {
        if let Err(err) = self.store.beat(self.instance, self.now()).await {
            tracing::debug!(
                error = &err as &dyn std::error::Error,
                "could not note that this instance is alive"
            );
        }
    }

    /// Looks at the sessions of one shard: open ones are written as far as they have run, idle ones forgotten.
    fn look(&self, shard: usize) {
        let now_ms = self.now().timestamp_millis();
        let mut due: Vec<(Arc<Entry>, Care)> = Vec::new();
        lock(&self.shards[shard]).retain(|_, entry| {
            let care = entry.lock().look(now_ms);
            if matches!(care, Care::Checkpoint | Care::Lose(_)) {
                due.push((Arc::clone(entry), care));
            }
            care != Care::Forget
        });
        for (entry, care) in due {
            // Nobody waits for these: if the writer has ended, there is nothing more to do.
            match care {
                Care::Lose(at) => drop(self.put(&entry, Input::Lose(at))),
                _ => drop(self.enqueue(&entry, &mut entry.lock())),
            }
        }
    }

    /// Makes a batch durable, however long it takes.
    async fn settle(&self, batch: Batch) {
        for entry in &batch.entries {
            entry.lock().taken();
        }
        let refused = self.write(&batch.entries).await;
        let progress = if refused { Progress::Failed } else { Progress::Durable };
        batch.progress.send_replace(progress);
        self.room.notify_waiters();
    }

    /// Writes sessions, and returns whether the store refused any.
    async fn write(&self, entries: &[Arc<Entry>]) -> bool {
        let unknown: Vec<_> =
            entries.iter().filter(|entry| !entry.lock().is_known()).cloned().collect();
        let mut refused = self.load(&unknown).await;
        let mut entries = entries.to_vec();
        let mut patience = Patience::default();
        while !entries.is_empty() {
            let now_ms = self.now().timestamp_millis();
            let (writing, writes): (Vec<_>, Vec<_>) = entries
                .iter()
                .filter_map(|entry| Some((Arc::clone(entry), entry.write(now_ms, self.instance)?)))
                .unzip();
            if writes.is_empty() {
                break;
            }
            entries = match self.store.commit(writes.into()).await {
                Ok(outcomes) => self.written(&writing, &outcomes),
                Err(err) if err.is_retryable() => {
                    patience.wait(&err).await;
                    writing
                }
                Err(err) => {
                    refused |= self.write_each(&writing, &err).await;
                    return refused;
                }
            };
            refused |= self.load(&entries).await;
        }
        refused
    }

    /// Notes what became of each session, and returns those that somebody else has written.
    fn written(&self, entries: &[Arc<Entry>], outcomes: &[Outcome]) -> Vec<Arc<Entry>> {
        let mut conflicts = Vec::new();
        for (entry, outcome) in entries.iter().zip(outcomes) {
            match outcome {
                Outcome::Written => self.forget(entry.lock().written()),
                Outcome::Conflict => conflicts.push(Arc::clone(entry)),
            }
        }
        conflicts
    }

    /// The store refused a batch: finds the sessions that it refuses, so that the others are stored.
    async fn write_each(&self, entries: &[Arc<Entry>], refusal: &Error) -> bool {
        if let [entry] = entries {
            tracing::error!(
                error = refusal as &dyn std::error::Error,
                session = ?entry.id,
                "a session cannot be stored and is dropped"
            );
            self.forget(entry.lock().refused());
            return true;
        }
        let mut refused = false;
        for entry in entries {
            refused |= Box::pin(self.write(std::slice::from_ref(entry))).await;
        }
        refused
    }

    /// Loads what the store has of these sessions, and returns whether any could not be read.
    async fn load(&self, entries: &[Arc<Entry>]) -> bool {
        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        let mut patience = Patience::default();
        while !ids.is_empty() {
            match self.store.load(&ids).await {
                Ok(loaded) => {
                    let mut refused = false;
                    for (entry, loaded) in entries.iter().zip(&loaded) {
                        refused |= self.rebase(entry, loaded.as_ref());
                    }
                    return refused;
                }
                Err(err) if err.is_retryable() => patience.wait(&err).await,
                Err(err) if ids.len() == 1 => {
                    tracing::error!(error = &err as &dyn std::error::Error, session = ?ids[0], "a session cannot be read");
                    self.forget(entries[0].lock().refused());
                    return true;
                }
                Err(_) => {
                    let mut refused = false;
                    for entry in entries {
                        refused |= Box::pin(self.load(std::slice::from_ref(entry))).await;
                    }
                    return refused;
                }
            }
        }
        false
    }

    fn rebase(&self, entry: &Arc<Entry>, loaded: Option<&Loaded>) -> bool {
        let mut live = entry.lock();
        let before = live.waiting();
        let rebased = live.rebase(loaded, self.instance);
        // May be one more than before, where a viewer had to be told to be back.
        self.inputs.fetch_add(live.waiting(), Ordering::Relaxed);
        self.forget(before);
        match rebased {
            Ok(()) => false,
            Err(err) => {
                tracing::error!(error = &err as &dyn std::error::Error, session = ?entry.id, "a session cannot be read");
                self.forget(live.refused());
                true
            }
        }
    }

    /// Notes that so many inputs no longer wait for the store.
    fn forget(&self, inputs: usize) {
        self.inputs.fetch_sub(inputs, Ordering::Relaxed);
    }
}

/// Waits longer and longer between tries, and not in step with other instances.
#[derive(Debug, Default)]
struct Patience {
    tries: u32,
}

impl Patience {
    async fn wait(&mut self, err: &Error) {
        let (first, most) = RETRY;
        let pause = first.saturating_mul(1 << self.tries.min(10)).min(most);
        if self.tries == 0 {
            tracing::warn!(
                error = err as &dyn std::error::Error,
                "the store is away; sessions wait in memory"
            );
        }
        self.tries += 1;
        let pause = pause.mul_f64(rand::rng().random_range(0.5..1.0));
        sleep(pause).await;
    }
}

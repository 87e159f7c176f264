//! The writer: commits changed sessions to the store, and acknowledges their inputs once they are durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::acknowledgement::{Progress, Refused};
use super::entry::{Entry, EntryState, Memory};
use super::errors::{AnotherVideo, NotStored};
use super::outage::{Backoff, Call};
use super::queue::Batch;
use super::rounds::Rounds;
use super::{HEARTBEAT, Recorder};
use crate::shutdown::Shutdown;
use crate::store::{Error, Outcome, SessionWrite, Subject};
use crate::upkeep::{self, Loaded};

impl Recorder {
    /// Writes until `shutdown` announces the end.
    ///
    /// Not cancel safe: a dropped future loses the sessions that are not durable yet.
    pub(crate) async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<Shutdown>) {
        let _closing = Closing { recorder: &self };
        let mut abandoned = shutdown.clone();
        tokio::select! {
            () = self.write_on(&mut shutdown) => {}
            // A commit under way happens as a whole or not at all, and the next start can find out which.
            Ok(_) = abandoned.wait_for(|shutdown| *shutdown == Shutdown::Abort) => {}
        }
    }

    /// Writes until `shutdown` announces the end, then the rest of the queue; returns when the queue is empty.
    async fn write_on(&self, shutdown: &mut watch::Receiver<Shutdown>) {
        let mut rounds = Rounds::new();
        let mut heartbeat_at: Option<Instant> = None;
        loop {
            // An error means that every sender of `shutdown` is gone: nothing can be queued any more.
            let stop = *shutdown.borrow() != Shutdown::Running || shutdown.has_changed().is_err();
            if heartbeat_at.is_none_or(|at| HEARTBEAT <= at.elapsed()) {
                self.heartbeat().await;
                heartbeat_at = Some(Instant::now());
            }
            for shard in rounds.due(Instant::now()) {
                self.check(shard, Memory::Enough);
            }
            self.free_memory();
            for batch in self.take() {
                self.make_durable(batch).await;
            }
            if stop {
                // This loop ends: a closed queue refuses further inputs.
                if self.close() {
                    return;
                }
                continue;
            }
            tokio::select! {
                () = self.work.notified() => {}
                () = sleep_until(rounds.next) => {}
                _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::Running) => {}
            }
        }
    }

    /// Records that this instance is alive. If that fails, the next commit reports the cause.
    async fn heartbeat(&self) {
        if let Err(err) = self.store.heartbeat(self.instance, self.now()).await {
            tracing::debug!(
                error = &err as &dyn std::error::Error,
                "could not record that this instance is alive"
            );
        }
    }

    /// Makes a batch durable, however long it takes.
    async fn make_durable(&self, batch: Batch) {
        let mut refused = Refused::new();
        for entry in &batch.entries {
            if let Some(refusal) = entry.lock().start_writing() {
                refused.insert(entry.id, refusal);
            }
        }
        self.write(&batch.entries, &mut refused).await;
        self.tally(&batch, &refused);
        batch.progress.send_replace(Progress::Resolved(refused.into()));
        self.free_memory();
    }

    /// Counts the outcome of a batch.
    fn tally(&self, batch: &Batch, refused: &Refused) {
        let tallies = &self.tallies;
        for since in &batch.since {
            tallies.waits.count_wait(since.elapsed());
        }
        tallies.waiting_sessions.fetch_sub(batch.entries.len(), Ordering::Relaxed);
        for refusal in refused.values() {
            match refusal {
                NotStored::Refused => tallies.events.refused_sessions.add(1),
                NotStored::AnotherVideo(_) => tallies.events.other_video_sessions.add(1),
                NotStored::TooManyVideos { .. } => tallies.events.too_many_videos_sessions.add(1),
                NotStored::TooManyNewVideos(_) => {
                    tallies.events.too_many_new_videos_sessions.add(1);
                }
            }
        }
    }

    /// Writes sessions, and collects those that the store refused.
    async fn write(&self, entries: &[Arc<Entry>], refused: &mut Refused) {
        let stale: Vec<_> =
            entries.iter().filter(|entry| entry.lock().is_stale()).cloned().collect();
        self.load(&stale, refused).await;
        let mut entries = entries.to_vec();
        let mut backoff = Backoff::default();
        while !entries.is_empty() {
            let now = self.moment();
            // Writes are large: a growing list would copy megabytes.
            let mut writes = Vec::with_capacity(entries.len());
            let mut writing = Vec::with_capacity(entries.len());
            for entry in &entries {
                if let Some(write) = entry.write(now, self.instance) {
                    writes.push(write);
                    writing.push(Arc::clone(entry));
                }
            }
            if writes.is_empty() {
                break;
            }
            entries = match self.commit(&writing, writes, refused).await {
                Ok(conflicts) => {
                    self.note_success(Call::Commit);
                    conflicts
                }
                Err(err) if err.is_retryable() => {
                    self.note_failure(Call::Commit, &err);
                    self.free_memory();
                    backoff.wait().await;
                    writing
                }
                Err(err) => return self.write_each(&writing, &err, refused).await,
            };
            self.load(&entries, refused).await;
        }
    }

    /// Commits the sessions whose videos are within the key's limits, and returns those that another instance has
    /// written.
    async fn commit(
        &self,
        entries: &[Arc<Entry>],
        writes: Vec<SessionWrite>,
        refused: &mut Refused,
    ) -> Result<Vec<Arc<Entry>>, Error> {
        let admitted = self.videos.admit(&self.store, entries, &writes).await?;
        if admitted.iter().all(Result::is_ok) {
            let outcomes = self.commit_all(writes).await?;
            return Ok(self.written(entries, &outcomes));
        }
        let (mut allowed, mut left) = (Vec::new(), Vec::new());
        for ((entry, write), admitted) in entries.iter().zip(writes).zip(admitted) {
            match admitted {
                Ok(()) => {
                    allowed.push(Arc::clone(entry));
                    left.push(write);
                }
                Err(refusal) => self.refuse(entry, &mut entry.lock(), refusal, refused),
            }
        }
        let outcomes = self.commit_all(left).await?;
        Ok(self.written(&allowed, &outcomes))
    }

    async fn commit_all(&self, writes: Vec<SessionWrite>) -> Result<Vec<Outcome>, Error> {
        let sessions = writes.len();
        let committed = self.store.commit(writes.into()).await;
        if committed.is_ok() {
            self.tallies.commits_done.add(1);
            self.tallies.batches.count(sessions as f64);
        } else {
            self.tallies.commits_failed.add(1);
        }
        committed
    }

    /// Applies the outcome of each session, and returns those that another instance has written.
    fn written(&self, entries: &[Arc<Entry>], outcomes: &[Outcome]) -> Vec<Arc<Entry>> {
        let mut conflicts = Vec::new();
        for (entry, outcome) in entries.iter().zip(outcomes) {
            match outcome {
                Outcome::Written => {
                    let mut state = entry.lock();
                    let written = state.written();
                    entry.account(&mut state, &self.sessions);
                    drop(state);
                    self.release_inputs(written.inputs);
                    self.tallies.clamped.add(written.clamped.into());
                }
                Outcome::Conflict => conflicts.push(Arc::clone(entry)),
            }
        }
        conflicts
    }

    /// Handles a refused batch: writes each session alone, so that only those that the store refuses are lost.
    async fn write_each(&self, entries: &[Arc<Entry>], refusal: &Error, refused: &mut Refused) {
        if let [entry] = entries {
            tracing::error!(
                error = refusal as &dyn std::error::Error,
                session = ?entry.id,
                "a session cannot be stored and is dropped"
            );
            self.refuse(entry, &mut entry.lock(), NotStored::Refused, refused);
            return;
        }
        for entry in entries {
            Box::pin(self.write(std::slice::from_ref(entry), refused)).await;
        }
    }

    /// Loads the stored state of these sessions, and collects those that cannot be read.
    async fn load(&self, entries: &[Arc<Entry>], refused: &mut Refused) {
        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        let mut backoff = Backoff::default();
        while !ids.is_empty() {
            match upkeep::load(&*self.store, &ids).await {
                Ok(loaded) => {
                    self.note_success(Call::Load);
                    for (entry, loaded) in entries.iter().zip(&loaded) {
                        self.rebase(entry, loaded.as_ref(), refused);
                    }
                    return;
                }
                Err(err) if err.is_retryable() => {
                    self.note_failure(Call::Load, &err);
                    self.free_memory();
                    backoff.wait().await;
                }
                Err(err) if ids.len() == 1 => {
                    tracing::error!(error = &err as &dyn std::error::Error, session = ?ids[0], "a session cannot be read");
                    self.refuse(&entries[0], &mut entries[0].lock(), NotStored::Refused, refused);
                    return;
                }
                Err(_) => {
                    for entry in entries {
                        Box::pin(self.load(std::slice::from_ref(entry), refused)).await;
                    }
                    return;
                }
            }
        }
    }

    fn rebase(&self, entry: &Arc<Entry>, loaded: Option<&Loaded>, refused: &mut Refused) {
        let mut state = entry.lock();
        let Subject { key, video, .. } = &*entry.subject;
        if let Some(loaded) = loaded.filter(|loaded| loaded.video != video.digest(key)) {
            let another = AnotherVideo::of(loaded.identifier.as_deref(), video);
            return self.refuse(entry, &mut state, another.into(), refused);
        }
        let before = state.waiting();
        let rebased = state.rebase(loaded, self.instance);
        entry.account(&mut state, &self.sessions);
        // One input more than before, if the session had to become connected again.
        self.inputs.fetch_add(state.waiting(), Ordering::Relaxed);
        self.release_inputs(before);
        if let Err(err) = rebased {
            tracing::error!(error = &err as &dyn std::error::Error, session = ?entry.id, "a session cannot be read");
            self.refuse(entry, &mut state, NotStored::Refused, refused);
        }
    }

    fn refuse(
        &self,
        entry: &Entry,
        state: &mut EntryState,
        refusal: NotStored,
        refused: &mut Refused,
    ) {
        self.release_inputs(state.refused(refusal));
        entry.account(state, &self.sessions);
        refused.insert(entry.id, refusal);
    }

    /// Subtracts `inputs` that no longer wait for the store.
    fn release_inputs(&self, inputs: usize) {
        self.inputs.fetch_sub(inputs, Ordering::Relaxed);
    }
}

/// Fails the inputs that still wait when the writer ends, even if its task is killed: no caller waits for ever.
struct Closing<'a> {
    recorder: &'a Recorder,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.recorder.close();
        drop(self.recorder.take());
        self.recorder.space.notify_waiters();
    }
}

//! Visits all sessions in rounds: checkpoints those that play, and evicts those that are idle.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::{Care, Entry, Memory};
use super::input::Input;
use super::{CHECKPOINT, Recorder, SHARDS, lock};

/// A map uses less than one part in `SPARE_MAX` of its capacity when it returns memory.
const SPARE_MAX: usize = 8;

/// Schedules visits of the shards: each once per [`CHECKPOINT`], spread over that time, however long the batches take
/// that are written meanwhile.
pub(super) struct Rounds {
    shard: usize,
    pub(super) next: Instant,
}

impl Rounds {
    pub(super) const STEP: Duration =
        CHECKPOINT.checked_div(SHARDS as u32).expect("there are shards");

    pub(super) fn new() -> Self {
        Self { shard: 0, next: Instant::now() }
    }

    /// Returns the shards that are due: each once at most, even if the last call was long ago.
    pub(super) fn due(&mut self, now: Instant) -> impl Iterator<Item = usize> + use<> {
        let first = self.shard;
        let mut count = 0;
        while self.next <= now && count < SHARDS {
            self.next += Self::STEP;
            count += 1;
        }
        self.next = self.next.max(now);
        self.shard = (first + count) % SHARDS;
        (first..first + count).map(|shard| shard % SHARDS)
    }
}

impl Recorder {
    /// Visits the sessions of one shard: checkpoints those that play, and evicts those that are idle.
    pub(super) fn check(&self, number: usize, memory: Memory) {
        let now = self.moment();
        let mut due: Vec<(Arc<Entry>, Care)> = Vec::new();
        let mut shard = lock(&self.shards[number]);
        let entries = &mut shard.entries;
        entries.retain(|_, entry| {
            let care = entry.lock().check(now, memory);
            if matches!(care, Care::Checkpoint | Care::Lose(_)) {
                due.push((Arc::clone(entry), care));
            }
            care != Care::Evict
        });
        if entries.len() < entries.capacity() / SPARE_MAX {
            entries.shrink_to(entries.len() * 2);
        }
        self.count(&mut shard);
        drop(shard);
        for (entry, care) in due {
            // Nobody waits for these acknowledgements: if the writer has ended, there is nothing more to do.
            drop(match care {
                Care::Lose(at) => self.enqueue_input(&entry, Input::Lose(at)),
                _ => self.enqueue_input(&entry, Input::Checkpoint(now)),
            });
        }
    }
}

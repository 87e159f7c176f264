//! Background work on a store: closes quiet sessions, merges blocks, makes sessions final.
//!
//! [`Metrics`](crate::Metrics) runs all of it. The functions are public for programs that fill a store without a
//! `Metrics`.

mod close;
mod erase;
mod merge;
mod reopen;
mod verify;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

pub use self::close::close;
pub use self::erase::{Erased, count_selected, delete_before, erase};
pub use self::merge::merge;
pub use self::reopen::{Loaded, load};
pub use self::verify::{Verified, WrongTotals, rebuild, verify};
use crate::clock::Clock;
pub use crate::erasure::{Erasure, Selected};
use crate::shutdown::Shutdown;
use crate::stats::{Count, Tallies};
use crate::store::{Error, FINAL_AFTER, Store, VideoId};

/// The period of closing quiet sessions. Reports read the row of each open session.
const CLOSING_PERIOD: Duration = Duration::from_secs(10);

/// The period of merging the new blocks of videos.
const MERGING_PERIOD: Duration = Duration::from_secs(30);

/// How long a session must be quiet before it is closed. Opening a closed session again costs more than waiting.
pub(crate) const QUIET: TimeDelta = TimeDelta::minutes(5);

/// The least and the largest number of sessions closed before commits have their turn: some milliseconds of work.
const CLOSED_AT_ONCE: (usize, usize) = (100, 1_000);

/// Bytes of the memory budget per session closed at once: a session with the most session data takes a tenth of that,
/// as a row, as columns, and encoded.
const BYTES_PER_CLOSED: usize = 512 * 1024;

/// Number of videos merged before commits have their turn.
const MERGED_AT_ONCE: usize = 16;

/// The period of making sessions final. They were silent for [`FINAL_AFTER`], so an hour does not matter.
const FINALIZING_PERIOD: Duration = Duration::from_secs(3_600);

/// Number of sessions made final before commits have their turn.
const FINAL_AT_ONCE: u32 = 1_000;

/// Background work takes at most one part in `TIME_SHARE` of the time.
const TIME_SHARE: u32 = 3;

/// Closes sessions, merges blocks and makes sessions final.
pub(crate) struct Upkeep {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) tallies: Arc<Tallies>,
    /// The memory budget, in bytes. It does not include the memory of background work, which must fit beside it.
    pub(crate) memory: usize,
}

impl Upkeep {
    /// Runs until `shutdown` announces the end.
    pub(crate) async fn run(self, shutdown: watch::Receiver<Shutdown>) {
        // Videos with new blocks since their last merge. After a start, a video waits for its next block.
        let changed: Mutex<BTreeSet<VideoId>> = Mutex::default();
        let (store, tallies) = (&*self.store, &self.tallies);
        let turns = Turns::default();
        let (least, most) = CLOSED_AT_ONCE;
        let closed_at_once = (self.memory / BYTES_PER_CLOSED).clamp(least, most) as u32;
        let closing = every(CLOSING_PERIOD, shutdown.clone(), || async {
            turns
                .repeat("close sessions", CLOSING_PERIOD, &tallies.closed, || async {
                    let (videos, closed) =
                        close(store, self.clock.now() - QUIET, closed_at_once).await?;
                    changed.lock().unwrap_or_else(PoisonError::into_inner).extend(videos);
                    Ok(closed)
                })
                .await;
        });
        let merging = every(MERGING_PERIOD, shutdown.clone(), || async {
            turns
                .repeat("merge blocks", MERGING_PERIOD, &Count::default(), || async {
                    let videos = take_changed(&changed);
                    if videos.is_empty() {
                        return Ok(0);
                    }
                    // At least 1 even if nothing was merged: the next videos may have blocks to merge.
                    merge(store, videos).await.map(|merged| merged.max(1))
                })
                .await;
        });
        let finalizing = every(FINALIZING_PERIOD, shutdown, || async {
            turns
                .repeat("finalize sessions", FINALIZING_PERIOD, &tallies.finalized, || async {
                    store.finalize(self.clock.now() - FINAL_AFTER, FINAL_AT_ONCE).await
                })
                .await;
        });
        tokio::join!(closing, merging, finalizing);
    }
}

/// Encodes and decodes blocks on a thread that may block: a large merge takes a tenth of a second.
async fn computed<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let computed = tokio::task::spawn_blocking(task).await;
    computed.map_err(|err| Error::Unavailable { store: "the upkeep", source: err.into() })?
}

fn take_changed(changed: &Mutex<BTreeSet<VideoId>>) -> Vec<VideoId> {
    let mut changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
    std::iter::from_fn(|| changed.pop_first()).take(MERGED_AT_ONCE).collect()
}

/// Runs background work in turns, one at a time.
#[derive(Debug, Default)]
struct Turns(tokio::sync::Mutex<()>);

impl Turns {
    /// Runs `task`, which returns the amount of work done, until it returns 0.
    async fn repeat<F: Future<Output = Result<u64, Error>>>(
        &self,
        name: &'static str,
        period: Duration,
        tally: &Count,
        task: impl Fn() -> F,
    ) {
        loop {
            let _turn = self.0.lock().await;
            let began = Instant::now();
            match task().await {
                Ok(0) => return,
                Ok(done) => {
                    tally.add(done);
                    tracing::debug!(done, "background work: {name}");
                }
                // The recorder reports the unavailable store once.
                Err(err) if err.is_retryable() => return,
                Err(err) => {
                    tracing::warn!(
                        error = &err as &dyn std::error::Error,
                        "could not {name}; trying again in {} s",
                        period.as_secs()
                    );
                    return;
                }
            }
            // The rest of the time belongs to commits.
            sleep(began.elapsed() * (TIME_SHARE - 1)).await;
        }
    }
}

/// Runs `task` now and then every `period`, until `shutdown` announces the end.
pub(crate) async fn every<F: Future<Output = ()>>(
    period: Duration,
    mut shutdown: watch::Receiver<Shutdown>,
    mut task: impl FnMut() -> F,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let turns = async {
        loop {
            ticks.tick().await;
            task().await;
        }
    };
    tokio::select! {
        never = turns => never,
        _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::Running) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn commits_have_most_of_the_time() {
        const TURN: Duration = Duration::from_millis(10);
        const TURNS: u32 = 100;
        let (turns, count) = (Turns::default(), Count::default());
        let (running, done) = (Cell::new(0), Cell::new(0));
        let task = || async {
            running.set(running.get() + 1);
            assert_eq!(running.get(), 1, "two at a time");
            sleep(TURN).await;
            running.set(running.get() - 1);
            done.set(done.get() + 1);
            Ok(u64::from(done.get() < TURNS))
        };
        let began = Instant::now();
        let repeat = |name| turns.repeat(name, CLOSING_PERIOD, &count, task);
        tokio::join!(repeat("close"), repeat("merge"));
        assert!(TURNS <= done.get());
        assert!(TURN * (TURNS - 1) * TIME_SHARE <= began.elapsed(), "{:?}", began.elapsed());
    }
}

//! Keeps the sums of a store up to date with its sessions (see [`rollup`](crate::rollup)), and throws away what sessions
//! needed to go on that will not.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::figures::{Count, Tallies};
use crate::recorder::{Clock, Ending};
use crate::store::{Error, LIVE, Store};

/// How often quiet sessions are looked for. Reports look at each that is not rolled up.
const TURN: Duration = Duration::from_secs(10);

/// For how long a session must be quiet. One that goes on after all is taken out of the sums, which costs more than to
/// wait for it.
pub(crate) const QUIET: TimeDelta = TimeDelta::minutes(5);

/// How many sessions are rolled up before those that record have their turn: a matter of some milliseconds.
const AT_ONCE: u32 = 500;

/// How often sessions are looked for that cannot go on any more. They were silent for [`LIVE`]: an hour is nothing.
const SETTLING_TURN: Duration = Duration::from_secs(3_600);

/// Rolls sessions up, and settles them.
pub(crate) struct Upkeep {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) tallies: Arc<Tallies>,
}

impl Upkeep {
    /// Goes on until `ending` says otherwise.
    pub(crate) async fn run(self, ending: watch::Receiver<Ending>) {
        tokio::join!(
            every(TURN, ending.clone(), || async {
                let quiet_since = self.clock.now() - QUIET;
                let roll_up = || self.store.roll_up(quiet_since, AT_ONCE);
                some_by_some("roll sessions up", TURN, &self.tallies.rolled_up, roll_up).await;
            }),
            every(SETTLING_TURN, ending, || async {
                let silent_since = self.clock.now() - LIVE;
                let settle = || self.store.settle(silent_since, AT_ONCE);
                some_by_some("settle sessions", SETTLING_TURN, &self.tallies.settled, settle).await;
            }),
        );
    }
}

/// Calls `some`, which says of how many sessions it has taken care, until none are left.
async fn some_by_some<F: Future<Output = Result<u64, Error>>>(
    what: &'static str,
    turn: Duration,
    tally: &Count,
    some: impl Fn() -> F,
) {
    loop {
        let began = Instant::now();
        match some().await {
            Ok(0) => return,
            Ok(sessions) => {
                tally.add(sessions);
                tracing::debug!(sessions, "some more: {what}");
            }
            // The recorder says so, once.
            Err(err) if err.is_retryable() => return,
            Err(err) => {
                tracing::warn!(
                    error = &err as &dyn std::error::Error,
                    "could not {what}; trying again in {} s",
                    turn.as_secs()
                );
                return;
            }
        }
        // Where there are many, those that record get half of the time.
        sleep(began.elapsed()).await;
    }
}

/// Has something done at once and then every `turn`, until `ending` says otherwise.
pub(crate) async fn every<F: Future<Output = ()>>(
    turn: Duration,
    mut ending: watch::Receiver<Ending>,
    mut what: impl FnMut() -> F,
) {
    let mut turn = interval(turn);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let turns = async {
        loop {
            turn.tick().await;
            what().await;
        }
    };
    tokio::select! {
        never = turns => never,
        _ = ending.wait_for(|ending| *ending != Ending::Open) => {}
    }
}

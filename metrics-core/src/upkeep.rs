//! Keeps the sums of a store up to date with its sessions: see [`rollup`](crate::rollup).

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::recorder::{Clock, Ending};
use crate::store::Store;

/// How often quiet sessions are looked for. Reports look at each that is not rolled up.
const TURN: Duration = Duration::from_secs(10);

/// For how long a session must be quiet. One that goes on after all is taken out of the sums, which costs more than to
/// wait for it.
const QUIET: TimeDelta = TimeDelta::minutes(5);

/// How many sessions are rolled up before those that record have their turn: a matter of some milliseconds.
const AT_ONCE: u32 = 500;

/// Rolls sessions up.
pub(crate) struct Upkeep {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
}

impl Upkeep {
    /// Goes on until `ending` says otherwise.
    pub(crate) async fn run(self, ending: watch::Receiver<Ending>) {
        every(TURN, ending, || self.roll_up()).await;
    }

    async fn roll_up(&self) {
        let quiet_since = self.clock.now() - QUIET;
        loop {
            let began = Instant::now();
            match self.store.roll_up(quiet_since, AT_ONCE).await {
                Ok(0) => return,
                Ok(sessions) => tracing::debug!(sessions, "rolled sessions up"),
                // The recorder says so, once.
                Err(err) if err.is_retryable() => return,
                Err(err) => {
                    tracing::warn!(
                        error = &err as &dyn std::error::Error,
                        "could not roll sessions up; trying again in {} s",
                        TURN.as_secs()
                    );
                    return;
                }
            }
            // Where there are many, those that record get half of the time.
            sleep(began.elapsed()).await;
        }
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

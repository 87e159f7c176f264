//! A store that loses its connection at random, rejects a session, or is dead.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use metrics_core::conformance::{Call, Intercept, Intercepted, Method};
use metrics_core::key::SessionId;
use metrics_core::store::{Error, Row, RowId, SessionWrite, Store, VideoId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

/// Makes a store lose its connection at random, before or after it has executed a call; makes it reject one session; and
/// cuts it off forever, as if its process had died. All clones share the faults.
#[derive(Clone, Debug)]
pub struct Faults {
    random: Arc<Mutex<StdRng>>,
    failures: Arc<AtomicUsize>,
    poison: Arc<Mutex<Option<SessionId>>>,
    keys_late: Duration,
    keys_stable: bool,
    kill_switch: KillSwitch,
}

/// Kills a store with [`Faults`]. All clones share its state.
#[derive(Clone, Debug)]
pub struct KillSwitch {
    state: watch::Sender<State>,
    // The number of calls in progress.
    busy: watch::Sender<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Alive,
    /// The next commit is the last call: it is executed, or it is not.
    LastCommit {
        commits: bool,
    },
    Killed,
}

impl Default for Faults {
    /// No faults yet.
    fn default() -> Self {
        Self {
            random: Arc::new(Mutex::new(StdRng::seed_from_u64(7))),
            failures: Arc::default(),
            poison: Arc::default(),
            keys_late: Duration::ZERO,
            keys_stable: false,
            kill_switch: KillSwitch {
                state: watch::Sender::new(State::Alive),
                busy: watch::Sender::new(0),
            },
        }
    }
}

impl Faults {
    /// The store with these faults.
    #[must_use]
    pub fn over(self, store: Arc<dyn Store>) -> Intercepted<Self> {
        Intercepted::by(self, store)
    }

    /// Sets the percentage of calls that fail.
    #[must_use]
    pub fn failing(self, percent: usize) -> Self {
        self.failures.store(percent, Relaxed);
        self
    }

    /// Returns keys that are up to `keys_late` old.
    #[must_use]
    pub fn with_late_keys(mut self, keys_late: Duration) -> Self {
        self.keys_late = keys_late;
        self
    }

    /// Reads the keys only once: they never change.
    #[must_use]
    pub fn with_stable_keys(mut self) -> Self {
        self.keys_stable = true;
        self
    }

    /// Rejects every batch with this session.
    #[must_use]
    pub fn refusing(self, poison: SessionId) -> Self {
        *self.poison.lock().expect("sound") = Some(poison);
        self
    }

    /// Returns the percentage of calls that fail.
    #[must_use]
    pub fn failures(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.failures)
    }

    /// Returns the switch that kills the store.
    #[must_use]
    pub fn kill_switch(&self) -> KillSwitch {
        self.kill_switch.clone()
    }
}

impl KillSwitch {
    /// Kills the store, and returns when the calls in progress have been executed. Their callers get no result.
    pub async fn kill(&self) {
        self.state.send_replace(State::Killed);
        let mut busy = self.busy.subscribe();
        // The sender exists as long as this value.
        let _busy = busy.wait_for(|busy| *busy == 0).await;
    }

    /// Makes the next commit the last call. It is executed if `commits` is true.
    pub fn kill_at_commit(&self, commits: bool) {
        self.state.send_replace(State::LastCommit { commits });
    }

    /// Waits until the store is dead.
    pub async fn killed(&self) {
        let mut state = self.state.subscribe();
        let _state = state.wait_for(|state| *state == State::Killed).await;
    }

    /// Waits until the store is dead, and then forever.
    async fn forever(&self) -> ! {
        self.killed().await;
        std::future::pending().await
    }
}

/// A call in progress.
struct Busy(watch::Sender<usize>);

impl Busy {
    fn new(busy: &watch::Sender<usize>) -> Self {
        busy.send_modify(|busy| *busy += 1);
        Self(busy.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

impl Faults {
    fn fails(&self) -> bool {
        let percent = self.random.lock().expect("sound").random_range(0..100);
        percent < self.failures.load(Relaxed)
    }

    async fn connected<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        let may_fail = !matches!(
            method,
            Method::Snapshot | Method::Videos | Method::Totals | Method::Read | Method::Other
        );
        if may_fail && self.fails() {
            return Err(unavailable());
        }
        let answer = self.alive(method, call).await?;
        if may_fail && self.fails() { Err(unavailable()) } else { Ok(answer) }
    }

    /// Executes a call, and returns its result unless the store dies.
    async fn alive<T: Send + 'static>(&self, method: Method, call: Call<T>) -> Result<T, Error> {
        let state = *self.kill_switch.state.borrow();
        let last = match state {
            State::LastCommit { commits } if method == Method::Commit => Some(commits),
            State::Killed => Some(false),
            _ => None,
        };
        if last == Some(false) {
            self.kill_switch.state.send_replace(State::Killed);
            std::future::pending::<()>().await;
        }
        let busy = Busy::new(&self.kill_switch.busy);
        let state = self.kill_switch.state.clone();
        let call = tokio::spawn(async move {
            let answer = call.await;
            if last.is_some() {
                state.send_replace(State::Killed);
            }
            drop(busy);
            answer
        });
        tokio::select! {
            biased;
            never = self.kill_switch.forever() => never,
            answer = call => answer.expect("no call panics"),
        }
    }
}

fn poisoned(operation: &'static str) -> Result<(), Error> {
    let source = "it is poison".into();
    Err(Error::Rejected { store: "a faulty store", operation, source })
}

fn unavailable() -> Error {
    Error::Unavailable { store: "a faulty store", source: "the connection is lost".into() }
}

#[async_trait]
impl Intercept for Faults {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        let answer = self.connected(method, call).await;
        if method == Method::Keys {
            let late_ms = self.keys_late.as_millis() as u64;
            let late_ms = self.random.lock().expect("sound").random_range(0..=late_ms);
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
        }
        answer
    }

    fn has_stable_keys(&self) -> bool {
        self.keys_stable
    }

    fn inspect(&self, writes: &[SessionWrite]) -> Result<(), Error> {
        let poison = *self.poison.lock().expect("sound");
        if writes.iter().any(|write| Some(write.id) == poison) {
            poisoned("commit")
        } else {
            Ok(())
        }
    }

    fn inspect_import(&self, sessions: &[(VideoId, Row)]) -> Result<(), Error> {
        let poison = self.poison.lock().expect("sound").map(RowId::from);
        let is_poison = |(_, row): &(VideoId, Row)| Some(row.id) == poison;
        if sessions.iter().any(is_poison) { poisoned("import") } else { Ok(()) }
    }
}

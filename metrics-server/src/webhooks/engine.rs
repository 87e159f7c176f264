//! The task behind webhooks: evaluates rules every minute, and attempts deliveries that are due.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use metrics_core::query::instant;
use metrics_core::{Metrics, Reports};
use rand::RngExt as _;
use tokio::task::{JoinSet, spawn_blocking};

use super::evaluate::{MINUTE_MS, evaluate};
use super::queue::Failed;
use super::state::State;
use super::{Loaded, Webhooks};
use crate::answer::{Answers, within_time};
use crate::counters::{self, Counters, Delivery, Evaluation};
use crate::error::Error;
use crate::queue::Flow;

/// How long after the beginning of a minute rules are evaluated: by then, servers have committed its events, and stored
/// that open segments went on, which they do every 15 s.
const DELAY_MS: i64 = 20_000;

/// How many deliveries are attempted at once. The next evaluation waits for these attempts.
const AT_ONCE: usize = 8;

/// The identity of a file: a file that replaces it has another one.
type Stamp = (Option<SystemTime>, u64, u64);

/// The task, between two turns.
pub(super) struct Engine {
    webhooks: Webhooks,
    loaded: Arc<Loaded>,
    stamp: Option<Stamp>,
    state: State,
    /// Whether the file of the state has another state.
    is_unsaved: bool,
    /// The minute of the last evaluation.
    evaluated: Option<i64>,
    /// The faults that the log has, so that each is logged once.
    logged: Logged,
}

#[derive(Default)]
struct Logged {
    evaluation: bool,
    saving: bool,
}

impl Engine {
    /// Reads the state of an earlier run.
    pub(super) async fn start(webhooks: Webhooks) -> Self {
        let loaded = Arc::clone(&webhooks.loaded);
        let mut state = match webhooks.state_file.clone() {
            None => State::default(),
            Some(file) => match blocking(move || State::read(&file)).await {
                Ok(state) => state,
                Err(err) => {
                    tracing::error!(
                        error = &err as &dyn std::error::Error,
                        "the state of webhooks cannot be read: rules begin anew, and deliveries that waited are lost"
                    );
                    State::default()
                }
            },
        };
        state.follow(&loaded.rules);
        let logged = Logged::default();
        Self { webhooks, loaded, stamp: None, state, is_unsaved: false, evaluated: None, logged }
    }

    /// Does everything that is due, and returns the time until the next turn.
    ///
    /// Not cancel safe in that a delivery may be sent again: its id is the same then.
    pub(super) async fn turn(
        &mut self,
        metrics: &Metrics,
        answers: &Answers,
        counters: &Counters,
    ) -> Duration {
        let counters = counters.webhooks();
        let minute = (metrics.now().timestamp_millis() - DELAY_MS).div_euclid(MINUTE_MS);
        if self.evaluated != Some(minute) {
            self.reload(counters).await;
            self.evaluate((metrics, answers), counters, minute).await;
            self.evaluated = Some(minute);
            // First: a crash must not forget what was noticed.
            self.save().await;
        }
        self.deliver(metrics.now(), counters).await;
        self.save().await;
        counters.set(self.loaded.rules.rules.len(), self.state.queue.len());
        let now_ms = metrics.now().timestamp_millis();
        let next_ms = (minute + 1).saturating_mul(MINUTE_MS).saturating_add(DELAY_MS);
        let pause_ms = next_ms.saturating_sub(now_ms).clamp(1, MINUTE_MS).unsigned_abs();
        let delivery_ms = self.state.queue.next_in_ms(now_ms).unwrap_or(pause_ms);
        Duration::from_millis(pause_ms.min(delivery_ms))
    }

    /// Reads the rules again if their file was replaced. Rules that cannot be used leave the others in effect.
    async fn reload(&mut self, counters: &counters::Webhooks) {
        let Some(file) = self.webhooks.file.clone() else { return };
        let before = self.stamp;
        let read = blocking(move || {
            let stamp = stamp(&file);
            let is_new = stamp.is_some() && stamp != before;
            (stamp, is_new.then(|| Loaded::from_file(&file)))
        });
        let (stamp, loaded) = read.await;
        match loaded {
            None => {}
            Some(Ok(loaded)) => {
                let is_first = before.is_none();
                self.loaded = Arc::new(loaded);
                let dropped = self.state.follow(&self.loaded.rules);
                (0..dropped).for_each(|_| counters.count(Delivery::Dropped));
                self.is_unsaved = true;
                if !is_first {
                    let rules = self.loaded.rules.rules.len();
                    tracing::info!(rules, "read the rules of webhooks again");
                }
            }
            Some(Err(err)) => tracing::error!(
                "the rules of webhooks were replaced and cannot be used, so the earlier ones stay in effect: {err}"
            ),
        }
        self.stamp = stamp.or(before);
    }

    /// Evaluates all rules within one turn of the queue of reports.
    async fn evaluate(
        &mut self,
        (metrics, answers): (&Metrics, &Answers),
        counters: &counters::Webhooks,
        minute: i64,
    ) {
        let loaded = Arc::clone(&self.loaded);
        let now_ms = metrics.now().timestamp_millis();
        let making = match answers.admit(Flow::Webhooks).await {
            Ok(making) => making,
            Err(err) => {
                loaded.rules.rules.iter().for_each(|_| counters.evaluate(Evaluation::Failed));
                return self.log_failure(&err);
            }
        };
        let mut failure = None;
        for rule in &loaded.rules.rules {
            let at = instant(minute.saturating_mul(MINUTE_MS));
            let reports = Reports::new(metrics.store(), at).within(&making.account);
            let state = self.state.rule(&rule.name, &rule.kind);
            let before = state.clone();
            let evaluated = within_time(evaluate(rule, state, reports, minute)).await;
            self.is_unsaved |= *state != before;
            match evaluated {
                Ok(messages) => {
                    counters.evaluate(Evaluation::Done);
                    for message in messages {
                        self.is_unsaved = true;
                        if !self.state.queue.push(&rule.name, message, now_ms) {
                            counters.count(Delivery::Dropped);
                            tracing::error!(
                                rule = rule.name,
                                "too many deliveries wait: one was dropped"
                            );
                        }
                    }
                }
                Err(err) => {
                    counters.evaluate(Evaluation::Failed);
                    failure = Some(err);
                }
            }
        }
        match failure {
            Some(err) => self.log_failure(&err),
            None => self.logged.evaluation = false,
        }
    }

    fn log_failure(&mut self, err: &Error) {
        if !std::mem::replace(&mut self.logged.evaluation, true) {
            tracing::warn!(
                error = err as &dyn std::error::Error,
                "rules of webhooks were not evaluated: they are again in a minute"
            );
        }
    }

    /// Attempts deliveries that are due.
    async fn deliver(&mut self, now: DateTime<Utc>, counters: &counters::Webhooks) {
        let now_ms = now.timestamp_millis();
        let mut attempts = JoinSet::new();
        for delivery in self.state.queue.due(now_ms, AT_ONCE) {
            let loaded = Arc::clone(&self.loaded);
            attempts.spawn(async move {
                let rule = loaded.rules.find(&delivery.rule);
                let sent = match rule {
                    None => None,
                    Some(rule) => {
                        let message = (&*delivery.id, &*delivery.body);
                        Some(loaded.client.send(rule, message, now).await)
                    }
                };
                (delivery, sent)
            });
        }
        while let Some(attempted) = attempts.join_next().await {
            let Ok((delivery, sent)) = attempted else { continue };
            self.is_unsaved = true;
            match sent {
                None => {
                    self.state.queue.remove(&delivery.id);
                    counters.count(Delivery::Dropped);
                }
                Some(Ok(_)) => {
                    self.state.queue.remove(&delivery.id);
                    counters.count(Delivery::Delivered);
                }
                Some(Err(err)) => {
                    let jitter = rand::rng().random();
                    counters.count(Delivery::Failed);
                    match self.state.queue.fail(&delivery.id, now_ms, jitter) {
                        Some(Failed::GivenUp) => {
                            counters.count(Delivery::GivenUp);
                            tracing::error!(
                                rule = delivery.rule,
                                "a webhook was given up after {} attempts: {err}",
                                delivery.attempts + 1
                            );
                        }
                        _ if delivery.attempts == 0 => tracing::warn!(
                            rule = delivery.rule,
                            "a webhook was not delivered, and is attempted again: {err}"
                        ),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Writes the state, if it changed.
    async fn save(&mut self) {
        let Some(file) = self.webhooks.state_file.clone().filter(|_| self.is_unsaved) else {
            return;
        };
        let state = self.state.clone();
        match blocking(move || state.write(&file)).await {
            Ok(()) => (self.is_unsaved, self.logged.saving) = (false, false),
            Err(err) => {
                if !std::mem::replace(&mut self.logged.saving, true) {
                    tracing::error!(
                        error = &err as &dyn std::error::Error,
                        "the state of webhooks cannot be written: after a restart, deliveries may be lost or repeated"
                    );
                }
            }
        }
    }
}

/// The identity of a file; `None` if it is missing, as while it is replaced.
fn stamp(file: &Path) -> Option<Stamp> {
    let found = fs::metadata(file).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&found);
    #[cfg(not(unix))]
    let inode = 0;
    Some((found.modified().ok(), found.len(), inode))
}

/// Reads or writes a file on a thread that may block.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(call).await {
        Ok(done) => done,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
    }
}

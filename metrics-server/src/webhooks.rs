//! Webhooks: rules that watch sessions, and signed requests that tell of them.
//!
//! Every minute, `engine.rs` evaluates the rules of `rules.rs` by the reports that callers receive, within one turn of
//! their queue, and so never delays recording. `alert.rs`, `milestones.rs` and `weekly.rs` decide what is new,
//! `message.rs` writes it, `queue.rs` holds it until `send.rs` delivers it. `state.rs` keeps all of that in a file, so that a
//! restart neither forgets nor repeats an occurrence.

mod alert;
mod engine;
mod evaluate;
mod message;
mod milestones;
mod queue;
mod rules;
mod send;
mod sign;
mod state;
mod target;
mod tries;
mod weekly;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics_core::Metrics;
use tokio::time::sleep;

use self::engine::Engine;
pub use self::rules::InvalidWebhooks;
use self::rules::{BYTES_MAX, Rules};
use self::send::Client;
pub use self::tries::{Tried, TryError};
use crate::answer::Answers;
use crate::counters::Counters;

/// Rules that watch sessions, and the receivers that are told.
///
/// `docs/webhooks.md` in the repository describes the rules. A [`Service`](crate::Service) evaluates them in
/// [`run_webhooks`](crate::Service::run_webhooks), which [`serve()`](crate::serve()) calls.
///
/// ```
/// use metrics_server::{Settings, Webhooks};
///
/// let webhooks = Webhooks::from_json(
///     r#"{
///         "url": "https://example.com/webhooks",
///         "secret": "kept by both sides only",
///         "rules": [{"name": "quiet", "kind": "silence", "after": "30 minutes"}]
///     }"#,
/// )?;
/// let settings = Settings::default().webhooks(webhooks.state_file("/var/lib/metrics/webhooks.json"));
/// # Ok::<(), metrics_server::InvalidWebhooks>(())
/// ```
#[derive(Clone)]
pub struct Webhooks {
    loaded: Arc<Loaded>,
    file: Option<PathBuf>,
    state_file: Option<PathBuf>,
}

/// Rules, and a client for their receivers.
struct Loaded {
    rules: Rules,
    client: Client,
}

impl Loaded {
    fn of(text: &str) -> Result<Self, InvalidWebhooks> {
        let rules = Rules::read(text)?;
        let client = Client::of(&rules)?;
        Ok(Self { rules, client })
    }

    fn from_file(file: &Path) -> Result<Self, InvalidWebhooks> {
        let mut text = String::new();
        // A file without an end, such as a device, is refused for its length.
        let read = File::open(file).and_then(|it| it.take(BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|err| InvalidWebhooks(format!("the file cannot be read: {err}")))?;
        Self::of(&text)
    }
}

impl Webhooks {
    /// Reads rules.
    ///
    /// # Errors
    ///
    /// [`InvalidWebhooks`] names the rule, the member and the accepted values.
    pub fn from_json(text: &str) -> Result<Self, InvalidWebhooks> {
        Ok(Self { loaded: Arc::new(Loaded::of(text)?), file: None, state_file: None })
    }

    /// Reads rules from a file, and again within a minute when it is replaced.
    ///
    /// # Errors
    ///
    /// [`InvalidWebhooks`] if the file cannot be read or its rules cannot be used.
    pub fn from_file(file: impl Into<PathBuf>) -> Result<Self, InvalidWebhooks> {
        let file = file.into();
        let loaded = Arc::new(Loaded::from_file(&file)?);
        Ok(Self { loaded, file: Some(file), state_file: None })
    }

    /// Keeps the state of rules and the deliveries that wait in this file. By default a restart forgets them: alerts
    /// fire again, milestones that are passed meanwhile are not announced.
    #[must_use]
    pub fn state_file(self, file: impl Into<PathBuf>) -> Self {
        Self { state_file: Some(file.into()), ..self }
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = &self.loaded.rules.rules;
        f.debug_struct("Webhooks").field("rules", rules).finish_non_exhaustive()
    }
}

/// Evaluates rules and attempts deliveries until it is dropped.
pub(crate) async fn run(
    webhooks: Webhooks,
    metrics: &Metrics,
    answers: &Answers,
    counters: &Counters,
) {
    let mut engine = Engine::start(webhooks).await;
    loop {
        let pause = engine.turn(metrics, answers, counters).await;
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;

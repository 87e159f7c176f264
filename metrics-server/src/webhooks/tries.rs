//! Tries rules, as an operator does on the command line.

use chrono::{DateTime, Utc};

use super::Webhooks;
use super::message::of_test;

/// A test delivery that its receiver accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tried {
    /// The scheme and the host of the receiver.
    pub receiver: String,
    /// The status of the answer, 200 to 299.
    pub status: u16,
    /// The beginning of the answer, without characters of control.
    pub text: String,
}

/// Why a test delivery was not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TryError {
    /// There is no such rule.
    #[error("no rule has the name {0:?}: `metrics-server webhooks check` lists all rules")]
    UnknownRule(String),
    /// The receiver cannot be reached, or answered another status.
    #[error("{receiver}: {reason}")]
    NotAccepted {
        /// The scheme and the host of the receiver.
        receiver: String,
        /// The fault.
        reason: String,
    },
}

impl Webhooks {
    /// Describes the rules, in a line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.loaded.rules.rules.iter().map(ToString::to_string)
    }

    /// Sends a delivery of a rule, with values that are made up and marked as a test. `now` is the time of the attempt.
    ///
    /// # Errors
    ///
    /// [`TryError`] if there is no such rule, or its receiver does not accept the delivery within 15 seconds.
    pub async fn try_rule(&self, name: &str, now: DateTime<Utc>) -> Result<Tried, TryError> {
        let unknown = || TryError::UnknownRule(name.to_owned());
        let rule = self.loaded.rules.find(name).ok_or_else(unknown)?;
        let message = of_test(rule, now);
        let receiver = rule.target.to_string();
        match self.loaded.client.send(rule, (&message.id, &message.body), now).await {
            Ok(answer) => Ok(Tried { receiver, status: answer.status, text: answer.text }),
            Err(err) => Err(TryError::NotAccepted { receiver, reason: err.to_string() }),
        }
    }
}

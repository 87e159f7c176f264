//! Acknowledgements: each resolves when its event is durable.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::errors::NotStored;
use crate::key::SessionId;

/// Resolves when its event is durable.
#[derive(Debug)]
#[must_use = "an event is durable only once its acknowledgement resolves"]
pub struct Acknowledgement {
    session: SessionId,
    // `None` if the event is durable already.
    progress: Option<watch::Receiver<Progress>>,
}

impl Acknowledgement {
    /// Resolves with the batch of `progress`; at once, without one.
    pub(super) fn new(session: SessionId, progress: Option<watch::Receiver<Progress>>) -> Self {
        Self { session, progress }
    }

    /// Waits until the event is durable. Cancel safe: it can be called again.
    ///
    /// # Errors
    ///
    /// [`NotStored`] if the event never becomes durable.
    pub async fn durable(&mut self) -> Result<(), NotStored> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        let resolved = progress.wait_for(|progress| !matches!(progress, Progress::Waiting)).await;
        match resolved.as_deref() {
            Ok(progress) => progress.of(self.session).unwrap_or(Err(NotStored::Refused)),
            Err(_) => Err(NotStored::Refused),
        }
    }

    /// The outcome, if it is known by now.
    #[must_use]
    pub fn resolved(&self) -> Option<Result<(), NotStored>> {
        let Some(progress) = &self.progress else { return Some(Ok(())) };
        // The writer has ended without an outcome.
        let is_over = progress.has_changed().is_err();
        progress.borrow().of(self.session).or(is_over.then_some(Err(NotStored::Refused)))
    }
}

/// The progress of a batch.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Waiting,
    /// Durable, except for the refused sessions.
    Resolved(Arc<Refused>),
}

impl Progress {
    /// The outcome for a session, if it is known.
    fn of(&self, session: SessionId) -> Option<Result<(), NotStored>> {
        match self {
            Self::Waiting => None,
            Self::Resolved(refused) => Some(refused.get(&session).map_or(Ok(()), |it| Err(*it))),
        }
    }
}

/// Sessions with inputs that could not be stored, and why.
pub(super) type Refused = HashMap<SessionId, NotStored>;

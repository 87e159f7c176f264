//! The command that ends the tasks of a `Metrics`.

use std::sync::Arc;

use tokio::sync::watch;

/// How long the writer goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// As long as anybody could have something to write.
    Open,
    /// Until everything is written.
    Finish,
    /// No longer, whatever is not written.
    Abandon,
}

/// Keeps the writer going.
pub(crate) type Lifeline = Arc<watch::Sender<Ending>>;

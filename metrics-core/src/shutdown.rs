//! The command that ends the tasks of a `Metrics`.

use std::sync::Arc;

use tokio::sync::watch;

/// How long the writer goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shutdown {
    /// As long as anybody could have something to write.
    Running,
    /// Until everything is written.
    Drain,
    /// No longer, whatever is not written.
    Abort,
}

/// Keeps the writer going.
pub(crate) type Lifeline = Arc<watch::Sender<Shutdown>>;

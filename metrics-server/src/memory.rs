//! The memory budget of a service, in parts: one for each use, so that none starves the others.
//!
//! Sessions are the largest use, and the recorder reserves for them. All parts together are larger than the budget: each
//! bounds one use, and the budget bounds all of them.

use metrics_core::budget::Budget;

/// What a connection takes, about, in bytes: its task, its buffers while it is idle, and its places in tables.
pub(crate) const CONNECTION_BYTES: usize = 16 * 1024;

/// What a long-polling session takes beside its messages, about, in bytes.
pub(crate) const LONGPOLL_BYTES: usize = 8 * 1024;

/// Connections take at most this part of the budget, by how many there are unless said otherwise.
#[cfg(feature = "binary")]
pub(crate) const CONNECTIONS_PART: usize = 4;

/// The budget of a service, and its parts.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) all: Budget,
    /// Open connections. Their number is limited, so they are never refused because of memory: the health of a server
    /// whose budget is used up can still be asked for.
    pub(crate) connections: Budget,
    /// Batches of events, and what is made of them: anybody may send them.
    pub(crate) batches: Budget,
    /// Other bodies of requests, for reports and keys, which many batches must not keep from being read.
    pub(crate) bodies: Budget,
    /// Headers that are larger than what a connection takes anyway.
    pub(crate) headers: Budget,
    /// Messages of websockets that are larger than that, and parameters of connections.
    pub(crate) messages: Budget,
    /// Long-polling sessions.
    pub(crate) longpolls: Budget,
    /// Answers that are made or were not read yet.
    pub(crate) answers: Budget,
}

impl Memory {
    pub(crate) fn new(all: Budget) -> Self {
        let part = |part| all.part(all.max() / part);
        Self {
            connections: part(1),
            batches: part(4),
            bodies: part(8),
            headers: part(8),
            messages: part(4),
            longpolls: part(8),
            answers: part(2),
            all,
        }
    }

    /// The uses that are accounted here, by the names that they have in process statistics.
    pub(crate) fn uses(&self) -> [(&'static str, usize); 6] {
        [
            ("connections", self.connections.used()),
            ("bodies", self.batches.used() + self.bodies.used()),
            ("headers", self.headers.used()),
            ("messages", self.messages.used()),
            ("longpolls", self.longpolls.used()),
            ("answers", self.answers.used()),
        ]
    }
}

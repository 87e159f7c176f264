//! The memory budget of a service, in parts: one for each use, so that none starves the others.
//!
//! Sessions are the largest use, and the recorder reserves memory for them. The parts add up to more than the budget:
//! each part bounds one use, and the budget bounds all uses together.

use metrics_core::budget::Budget;

/// The approximate memory of a connection, in bytes: its task, its idle buffers, and its entries in tables.
pub(crate) const CONNECTION_BYTES: usize = 16 * 1024;

/// The approximate memory of a long-polling session without its messages, in bytes.
pub(crate) const LONGPOLL_BYTES: usize = 8 * 1024;

/// The approximate memory of a stream of `/api/v1/live` beside its connection, in bytes.
pub(crate) const STREAM_BYTES: usize = 4 * 1024;

/// The part of the budget that connections may use. It bounds their default number.
#[cfg(feature = "binary")]
pub(crate) const CONNECTIONS_PART: usize = 4;

/// The budget of a service, and its parts.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// The whole budget.
    pub(crate) all: Budget,
    /// Open connections. Their number is limited, so they are never refused because of memory: a server whose budget is
    /// used up still answers health checks.
    pub(crate) connections: Budget,
    /// Batches of events and the values parsed from them: anybody may send them.
    pub(crate) batches: Budget,
    /// Other bodies of requests, for reports and keys. Many batches cannot block them.
    pub(crate) bodies: Budget,
    /// Headers that exceed the memory of a connection.
    pub(crate) headers: Budget,
    /// Messages of websockets that exceed the memory of a connection, and parameters of connections.
    pub(crate) messages: Budget,
    /// Long-polling sessions.
    pub(crate) longpolls: Budget,
    /// Streams of viewers.
    pub(crate) streams: Budget,
    /// Responses that are being made or have not been read yet.
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
            streams: part(8),
            answers: part(2),
            all,
        }
    }

    /// The used bytes of each part, by its name in the process statistics.
    pub(crate) fn uses(&self) -> [(&'static str, usize); 7] {
        [
            ("connections", self.connections.used()),
            ("bodies", self.batches.used() + self.bodies.used()),
            ("headers", self.headers.used()),
            ("messages", self.messages.used()),
            ("longpolls", self.longpolls.used()),
            ("streams", self.streams.used()),
            ("answers", self.answers.used()),
        ]
    }
}

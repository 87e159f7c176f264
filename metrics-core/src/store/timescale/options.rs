//! Options of the store: the number of connections, and the treatment of outdated tables.

use crate::store::Migrations;

/// Number of connections for recording: one commits, one reads keys, one notes that this instance is alive.
pub(super) const RECORDING: u32 = 3;

/// Number of connections that listen for changed keys.
pub(super) const LISTENING: u32 = 1;

/// Options of a [`TimescaleStore`](super::TimescaleStore).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TimescaleOptions {
    /// The largest number of connections, at least [`CONNECTIONS_MIN`](Self::CONNECTIONS_MIN). All but four are for
    /// reports. One more is open during the search for pages without sessions, after sessions were deleted.
    pub connections: u32,
    /// The treatment of tables that are not up to date.
    pub migrations: Migrations,
}

impl TimescaleOptions {
    /// The smallest number of connections.
    pub const CONNECTIONS_MIN: u32 = RECORDING + LISTENING + 1;

    /// Sets the largest number of connections.
    #[must_use]
    pub const fn with_connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// Sets the treatment of tables that are not up to date.
    #[must_use]
    pub const fn with_migrations(mut self, migrations: Migrations) -> Self {
        self.migrations = migrations;
        self
    }
}

impl Default for TimescaleOptions {
    fn default() -> Self {
        Self { connections: 10, migrations: Migrations::default() }
    }
}

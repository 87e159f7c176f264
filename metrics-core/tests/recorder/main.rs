//! The recorder, from the outside: through `Metrics`, over SQLite files.
//!
//! Most tests run with Tokio's clock paused, which jumps to whatever is waited for next, and with a wall clock that
//! is moved by hand. So nothing here takes longer than the work that is done, and nothing depends on how long that is.

#![cfg(feature = "sqlite")]

mod cuts;
mod faults;
mod interleaved;
mod joins;
mod memory;
mod metrics;
mod model;
mod restarts;
mod spool;
mod stops;
mod support;
mod time;
mod videos;
mod viewings;

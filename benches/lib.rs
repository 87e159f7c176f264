//! Benchmarks, one file each: `cargo bench -p benches` runs the small ones, README.md tells of the others.

pub mod dataset;
pub mod drive;
pub mod http;
pub mod idle;
pub mod place;
pub mod process;
pub mod straight;
pub mod table;
pub mod target;
pub mod verify;
pub mod viewers;
pub mod websocket;

/// Whatever goes wrong in a benchmark ends it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

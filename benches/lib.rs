//! Benchmarks, one file each: `cargo bench -p benches` runs the small ones, README.md tells of the others.

pub mod dataset;
pub mod place;
pub mod straight;

/// Whatever goes wrong in a benchmark ends it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

//! Benchmarks, one file each: `cargo bench -p benches`.

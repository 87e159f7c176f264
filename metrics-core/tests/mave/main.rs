//! Imports from databases such as mave/metrics servers made them, on a real PostgreSQL: `METRICS_TEST_POSTGRES_URL`
//! names one, in which every test makes a database of its own.

#![cfg(all(feature = "sqlite", feature = "timescale"))]

mod again;
mod left_out;
mod reports;
mod support;
mod tables;

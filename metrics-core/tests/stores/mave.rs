//! Imports from databases such as mave/metrics servers made them, on a real PostgreSQL.

#![cfg(feature = "mave")]

mod again;
mod left_out;
mod reports;
mod support;
mod tables;

//! The stores: the suite that each of them passes, and all that goes on around it.

mod copy;
mod erase;
mod export;
mod fixture;
mod mave;
mod retention;
mod sqlite;
mod sqlite_faults;
mod timescale;
mod tls;
mod upkeep;

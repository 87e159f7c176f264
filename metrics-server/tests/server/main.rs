//! A server and its clients over real sockets, on the store that `METRICS_TEST_STORE` names.
//!
//! The tests run on SQLite and again on TimescaleDB. Tests that need a process of their own are in binaries beside this
//! one.

mod abuse;
mod abuse_guesses;
mod abuse_http;
mod abuse_sites;
mod arrivals;
mod batches;
mod binary;
mod channel;
mod cmcd;
mod commands;
mod countries;
mod disk;
mod erase;
mod export;
mod http;
mod import;
mod instances;
mod live;
mod longpoll;
mod quotas;
mod refusals;
mod secrets;
mod sequences;
mod sessions;
mod sites;
mod stats;
mod stop;
mod unavailable;
mod videos;

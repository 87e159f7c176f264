//! A server in front of its store: framing, access, files and memory. Once is enough, whichever the store.
//!
//! [`stores`] takes every store itself.

mod abuse_memory;
mod access;
mod frames;
mod mount;
mod page;
mod readme;
mod stores;

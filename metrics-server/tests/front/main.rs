//! A server in front of its store: framing, access and files. Once is enough, whichever the store.
//!
//! [`stores`] takes every store itself.

mod access;
mod frames;
mod monitoring;
mod mount;
mod page;
mod readme;
mod stores;
mod webhooks;

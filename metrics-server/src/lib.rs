//! Measures how videos are watched, without tracking anyone: websocket and HTTP in, JSON out.
//!
//! The crate is a thin layer over `metrics-core`. In reading order:
//!
//! * [`Service`] answers requests: `route.rs` is the route table, `api/` has a file per endpoint.
//! * A websocket is read by `frames.rs` into bounded messages, by `phoenix.rs` into values of the channel protocol,
//!   and acted on by `channel.rs`; `socket.rs` is its life. `wire.rs` reads the events that clients send.
//! * `script.rs` is our own client, which runs in pages.
//! * `attempts.rs` holds up whoever guesses keys and passwords.
//! * [`serve()`] accepts connections and stops without losing any.
//! * [`Config`] is every setting of the binary.
//!
//! To embed it: make a [`Service`] from a [`Metrics`](metrics_core::Metrics), and hand it requests.

#![warn(clippy::unwrap_used)]

mod api;
mod attempts;
mod auth;
mod body;
mod channel;
mod config;
mod cors;
mod error;
mod frames;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod kept;
mod page;
mod patience;
mod phoenix;
mod rate;
mod response;
mod route;
mod script;
mod serve;
mod service;
mod socket;
mod wire;

pub use attempts::Peer;
pub use auth::Credentials;
pub use body::BODY_BYTES_MAX;
pub use config::{Command, Config, ConfigError, Database, LogFormat};
pub use cors::Cors;
pub use page::EXAMPLE_KEY;
pub use response::Body;
pub use serve::{listen, serve};
pub use service::{Service, Settings};

//! Measures how videos are watched, without tracking anyone: websocket and HTTP in, JSON out.
//!
//! The crate is a binary, and a library for applications with a server of their own: a [`Service`] is made from a
//! [`Metrics`](metrics_core::Metrics), and receives requests. It serves the channels of viewers, batches of events and
//! reports as JSON.
//!
//! # Embed it
//!
//! A [`Service`] is a service of hyper and of tower, and so of axum. [`Settings`] define its path, the [`Routes`] that
//! it serves, and the [`Access`] to reports and keys. Beside routes of your own, on hyper:
//!
//! ```
//! use hyper::body::Incoming;
//! use hyper::{Request, Response};
//! use metrics_core::Metrics;
//! use metrics_core::store::Store;
//! use metrics_server::{Body, Credentials, Service, Settings};
//! use std::sync::Arc;
//!
//! /// Any store: those of `metrics_core::store`, or one of your own.
//! fn service(store: Arc<dyn Store>) -> Option<Service> {
//!     let metrics = Metrics::builder(store).start();
//!     let credentials = Credentials::new("ada", "open sesame")?;
//!     Some(Service::new(metrics, Settings::default().prefix("/analytics").access(credentials)))
//! }
//!
//! async fn respond(service: Service, request: Request<Incoming>) -> Response<Body> {
//!     if service.owns(request.uri().path()) {
//!         service.respond(request).await
//!     } else {
//!         Response::new(Body::from("hello from the application"))
//!     }
//! }
//! ```
//!
//! On axum, which strips the path itself:
//!
//! ```text
//! let service = Service::new(metrics, Settings::default().stripped_prefix("/analytics"));
//! let app = Router::new().nest_service("/analytics", service.clone());
//! ```
//!
//! Whole programs are in the folder `examples` of the repository. [`Service`] documents the runtime that it needs, and
//! how to stop it without losing anything. To rate-limit guesses of keys and passwords, put the [`CallerAddress`] of a
//! connection into the extensions of its requests.
//!
//! # Features
//!
//! * `binary` (default): the server program, with all stores and the parser of its settings. Disable it
//!   (`default-features = false`) to embed the service, and choose stores by the features of `metrics-core`.
//!
//! # How it is made
//!
//! The crate is a thin layer over `metrics-core`. In reading order:
//!
//! * [`Service`] answers requests: `route.rs` is the route table, `api/` has a file per endpoint. `settings.rs`,
//!   `prefix.rs`, `tower.rs` and `access.rs` are for applications that embed it.
//! * A websocket is read by `frames.rs` into bounded messages, by `phoenix.rs` into values of the channel protocol,
//!   and acted on by `channel.rs`; `socket.rs` runs it from start to end. `longpoll.rs` does the same for clients
//!   without a websocket. `wire.rs` reads the events that clients send.
//! * `code.rs` names every [refusal](Code) for programs; `error.rs` makes HTTP responses of errors.
//! * `script.rs` is our own client, which runs in pages; `export.rs` makes files of reports and sessions.
//! * `attempts.rs` rate-limits guesses of keys and passwords; `guard.rs` refuses requests that pages of other sites
//!   make with the credentials of a user.
//! * [`Webhooks`] are rules that watch sessions, and signed requests that tell of them.
//! * [`serve()`] accepts connections and stops without losing any.
//! * `binary.rs` is the binary: `binary/config/table.rs` has every setting, `binary/commands/` every command.

#![warn(clippy::unwrap_used)]

mod access;
mod answer;
mod api;
mod attempts;
mod auth;
#[cfg(feature = "binary")]
mod binary;
mod body;
#[cfg(test)]
mod bundle;
mod channel;
mod code;
mod connection;
mod cors;
mod counters;
mod encoding;
mod error;
mod export;
mod frames;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod geo;
mod guard;
mod handshake;
mod hosts;
mod live;
mod longpoll;
mod memory;
#[cfg(test)]
mod minify;
mod networks;
mod outbox;
mod page;
mod parameters;
mod permits;
mod phoenix;
mod prefix;
mod queue;
mod rate;
mod reads;
mod response;
mod route;
mod script;
mod selection;
mod serve;
mod service;
mod settings;
mod share;
mod single_flight;
mod socket;
#[cfg(test)]
mod squeeze;
mod table;
mod text;
mod token;
mod tower;
mod users;
mod webhooks;
mod wire;
mod write_timeout;

pub use access::{Access, Decision, Grant, Purpose, Role};
pub use attempts::CallerAddress;
pub use auth::Credentials;
#[cfg(feature = "binary")]
pub use binary::run;
pub use body::BODY_BYTES_MAX;
pub use code::Code;
pub use cors::Cors;
pub use geo::{Geo, InvalidGeo};
pub use hosts::Hosts;
pub use networks::{InvalidNetwork, Networks};
pub use page::{EXAMPLE_KEY, InvalidLogo, Logo, PageLook};
pub use prefix::Prefix;
pub use response::{Body, Cut};
pub use route::Routes;
pub use serve::{listen, serve};
pub use service::Service;
pub use settings::Settings;
pub use token::Tokens;
pub use users::{InvalidUsers, UserHeaders, Users, hash_password};
pub use webhooks::{InvalidWebhooks, Tried, TryError, Webhooks};

/// Embedding applications share these types between threads: a change that prevents that does not compile.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Service>();
    shared::<Settings>();
    shared::<Credentials>();

    // Values of one request move between threads, but are not shared.
    const fn sent<T: Send + 'static>() {}
    sent::<Body>();
    sent::<Decision>();
};

/// Whether this is a message of the channel protocol, in this version of its serializer. For a benchmark of ours, and
/// not a part of the API.
#[doc(hidden)]
#[must_use]
pub fn reads_message(version: &str, text: &str) -> bool {
    let version = phoenix::Version::from_vsn(Some(version));
    version.is_some_and(|version| phoenix::Message::decode(version, text).is_ok())
}

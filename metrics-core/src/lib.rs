//! Privacy-friendly video analytics: how videos are watched, without tracking anyone.
//!
//! The unit is the **session**: one viewing of one video. Everything that can be asked is derived from sessions, and
//! nothing links two of them.
//!
//! The crate in reading order:
//!
//! * [`Metrics`] is the way in: viewers [`join`](Metrics::join) and send [`PlayerEvent`]s, reports are asked of it.
//! * [`session`] turns the events of a player into [`interval::Segments`] of video time. [`interval`], [`event`],
//!   [`video`], [`source`], [`key`] and [`client`] are what it is made of.
//! * [`query`] says what can be asked, [`report`] and [`engagement`] what is answered, [`time_bucket`] knows the
//!   calendar, and [`containment`] compares metadata.
//! * [`rollup`] sums sessions per day, so that an answer does not cost what the history weighs.
//! * [`recorder`] keeps open sessions in memory and makes them durable.
//! * [`store`] is where sessions are kept: a trait, its contract, and an implementation on SQLite. [`mod@copy`] moves
//!   all of them to another, [`export`] reads them one by one.
//!
//! All but those are pure: no I/O, no async, no clock.
//!
//! # Features
//!
//! * `sqlite` (default): [`store::SqliteStore`], with SQLite compiled in.
//! * `timescale`: `store::TimescaleStore`, and `store::mave`, which moves what a mave/metrics server recorded.
//! * `conformance`: the suite that every store passes, for those who write one.

#![warn(clippy::unwrap_used)]

pub mod client;
mod clock;
pub mod containment;
pub mod copy;
pub mod engagement;
pub mod event;
pub mod export;
mod figures;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod interval;
pub mod key;
mod keyring;
mod metrics;
pub mod query;
pub mod recorder;
pub mod report;
mod reports;
mod retention;
pub mod rollup;
pub mod session;
pub mod source;
pub mod store;
pub mod time_bucket;
mod upkeep;
mod varint;
pub mod video;

pub use event::{Action, InvalidEvent, PlayerEvent};
pub use key::ApiKey;
pub use metrics::{Bots, Builder, Join, JoinError, KeyChanges, Metrics, SESSION_BYTES_MAX};
pub use query::{BucketQuery, EngagementQuery, Selection, Timeframe};
pub use recorder::{EventError, Viewing};
pub use reports::{BUCKETS_MAX, ReportError, Reports};
pub use source::Source;
pub use varint::Damaged;
pub use video::Video;

//! Privacy-friendly video analytics: how videos are watched, without tracking anyone.
//!
//! The unit is the **session**: one viewing of one video, from its first play on, identified by a random text that the
//! page creates for it. A page that is loaded again begins a new session. All reports are computed from sessions, and
//! nothing links two of them: no IP address, cookie or User-Agent is kept.
//!
//! # Embed it
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! use metrics_core::store::SqliteStore;
//! use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("metrics.db");
//! let metrics = Metrics::new(SqliteStore::open(&path).await?);
//! let key = metrics.create_key().await?; // One per site, to tell their sessions apart.
//!
//! let join = Join::new(key, "random, and new for each session", Video::labelled("intro"));
//! let session = metrics.join(join).await?;
//! session.apply(PlayerEvent::play(0.0)).await?; // Positions are seconds of video. Durable when it returns.
//! session.apply(PlayerEvent::pause(12.5)).await?;
//!
//! let plays = metrics.plays(&Selection::identifier("intro").into()).await?;
//! assert_eq!(plays[0].totals.view_ms, 12_500);
//!
//! drop(session);
//! metrics.stop().await; // Returns when everything that was recorded is durable.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! [`Metrics`] runs tasks on the Tokio runtime on which it is started, and has no global state: a process may have any
//! number of them. The crate `metrics-server` adds the websocket of players and the reports as JSON.
//!
//! # What is guaranteed
//!
//! * An acknowledged event is durable and counted once, whichever processes crash: [`Viewing::apply`] returns after the
//!   commit. An event that was not acknowledged is stored completely or not at all.
//! * An event that arrives again, with the player's timestamp, changes nothing. The order of arrival does not matter
//!   among the youngest 64 events of a session.
//! * Any number of instances may use one store if it can be shared, and a viewer may move from one to another.
//! * If the store is unavailable, events wait in memory, up to [`recorder::WAITING_MAX`]; [`Metrics::ready`] waits for
//!   capacity, and [`Metrics::stop_within`] spills waiting events to a file at a stop.
//! * Sessions and their events take no more memory than a [budget](Builder::memory), by estimate, regardless of the
//!   clients' behaviour.
//! * Reports are exact to the millisecond, and the same from every store.
//!
//! # A store of your own
//!
//! Implement [`Store`](store::Store), whose documentation is the contract, and run the suite in `conformance` against
//! it (feature `conformance`). `examples/custom_store.rs` in the repository is a short store that passes.
//!
//! # The crate in reading order
//!
//! * [`Metrics`] is the main handle: viewers [`join`](Metrics::join) and send [`PlayerEvent`]s, and it answers reports.
//! * [`session`] turns the events of a player into [`interval::Segments`] of video time, with [`interval`], [`event`],
//!   [`video`], [`source`], [`key`] and [`user_agent`] as its parts.
//! * [`cmcd`] reads the reports that hls.js, dash.js and Shaka send by themselves.
//! * [`query`] defines queries, [`response`] and [`engagement`] their answers, [`time_bucket`] the calendar, and
//!   [`containment`] compares metadata.
//! * Private modules encode closed sessions as columns (`block`), answer queries and reports from them ([`scan`] has
//!   the answers), and sum plays per key and day (`totals`). [`record`] is a session as a line of NDJSON.
//! * [`recorder`] keeps open sessions in memory and makes them durable.
//! * [`store`] is the storage of sessions: a trait, its contract, and implementations. [`mod@copy`] copies all sessions
//!   to another store, [`export`] reads them one by one.
//!
//! [`Metrics`] and the last two items do I/O; all others are pure: no I/O, no async, no clock.
//!
//! # Features
//!
//! * `sqlite` (default): [`store::SqliteStore`], with SQLite compiled in.
//! * `timescale`: `store::TimescaleStore`, for TimescaleDB and PostgreSQL.
//! * `mave`: the module `mave`, which imports the sessions of a mave/metrics server from its PostgreSQL database into any
//!   store. It implies `timescale`.
//! * `conformance`: the suite that every store passes, for authors of stores.
//! * `recorder`: [`Metrics`], and the modules that record and store sessions, on Tokio. The other features imply it;
//!   enable it alone to use a store of your own. Without features, the crate is its pure part, which
//!   `examples/offline.rs` uses.
//!
//! # Units
//!
//! Positions and durations of players are seconds, as `f64`. All other names end with their unit, mostly `_ms`,
//! milliseconds; times are Unix times or UTC. Sizes are bytes.

#![warn(clippy::unwrap_used)]

pub mod arrival;
#[cfg(any(feature = "conformance", test))]
#[doc(hidden)]
pub mod benchmarks;
#[cfg(feature = "recorder")]
mod block;
#[cfg(feature = "recorder")]
pub mod budget;
#[cfg(feature = "recorder")]
mod clock;
pub mod cmcd;
#[cfg(feature = "recorder")]
pub mod compute;
#[cfg(any(feature = "conformance", test))]
pub mod conformance;
pub mod containment;
#[cfg(feature = "recorder")]
pub mod copy;
pub mod engagement;
#[cfg(feature = "recorder")]
mod erasure;
pub mod event;
#[cfg(feature = "recorder")]
pub mod export;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
#[cfg(feature = "recorder")]
pub mod import;
pub mod interval;
pub mod key;
#[cfg(feature = "recorder")]
mod keyring;
#[cfg(feature = "mave")]
pub mod mave;
#[cfg(feature = "recorder")]
mod metrics;
pub mod query;
#[cfg(feature = "recorder")]
mod quota;
#[cfg(feature = "recorder")]
mod read;
#[cfg(feature = "recorder")]
pub mod record;
#[cfg(feature = "recorder")]
pub mod recorder;
#[cfg(feature = "recorder")]
mod report;
pub mod response;
#[cfg(feature = "recorder")]
pub mod retention;
#[cfg(feature = "recorder")]
pub mod scan;
pub mod session;
#[cfg(feature = "recorder")]
mod shutdown;
pub mod source;
#[cfg(feature = "recorder")]
mod stats;
#[cfg(feature = "recorder")]
pub mod store;
mod time;
pub mod time_bucket;
#[cfg(feature = "recorder")]
mod totals;
#[cfg(feature = "recorder")]
pub mod upkeep;
pub mod user_agent;
mod varint;
pub mod video;

pub use event::{Action, InvalidEvent, PlayerEvent};
pub use key::{ApiKey, limits};
#[cfg(feature = "recorder")]
pub use metrics::{Bots, Builder, Join, JoinError, KeyChanges, Metrics, SESSION_BYTES_MAX};
pub use query::{BucketQuery, EngagementQuery, Selection, Timeframe};
#[cfg(feature = "recorder")]
pub use quota::{RateExceeded, Usage};
#[cfg(feature = "recorder")]
pub use recorder::{EventError, Viewing};
#[cfg(feature = "recorder")]
pub use report::{
    BUCKETS_MAX, LIVE_PARTS_MAX, LIVE_VIDEOS_MAX, LiveQuery, LiveReader, LiveState, LiveVideo,
    ReportError, Reports, SEARCH_BYTES_MAX, VideoEntry, VideoList, VideosQuery,
};
pub use source::Source;
pub use varint::Damaged;
pub use video::Video;

/// Applications share these types between threads, and await their futures on any of them: a change that prevents that
/// does not compile.
#[cfg(feature = "recorder")]
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Metrics>();
    shared::<Viewing>();
    shared::<KeyChanges>();
    shared::<recorder::Spool>();
    shared::<store::Error>();
    shared::<JoinError>();
    shared::<EventError>();
    shared::<ReportError>();
    #[cfg(feature = "sqlite")]
    shared::<store::SqliteStore>();
    #[cfg(feature = "timescale")]
    shared::<store::TimescaleStore>();

    fn sent(_: impl Future + Send) {}
    const _: fn(&Metrics, Join, &BucketQuery, &EngagementQuery) = |metrics, join, query, parts| {
        sent(metrics.join(join.clone()));
        sent(metrics.visit(join));
        sent(metrics.ready());
        sent(metrics.plays(query));
        sent(metrics.sources(query));
        sent(metrics.engagement(parts, 1));
        sent(metrics.engagement_per_second(parts, query.buckets));
        sent(metrics.watching(&query.selection));
        sent(metrics.live(&query.selection.clone().into()));
        sent(metrics.stop());
    };
    const _: fn(&Viewing, PlayerEvent) = |viewing, event| sent(viewing.apply(event));
};

//! Shared helpers for the tests of the workspace; not a public API.
//!
//! * [`Database`] is a database of its own for a test, on any [`Backend`]; [`on_every_store!`] runs a test on all.
//! * [`Intercepted`] intercepts the calls of a store; with [`Faults`], the store fails or dies on demand.
//! * [`SmallDisk`] is a disk that a test can fill.
//! * [`Proxy`] is a connection that breaks on demand, [`TlsProxy`] one with TLS.
//! * [`WallClock`] is a manual clock.
//! * [`repetitions`] is how often a randomized test repeats.
//! * [`replay_corpus`] runs the committed inputs of fuzzers.
//!
//! All helpers panic if a precondition of a test fails.

#![expect(clippy::missing_panics_doc, reason = "a test that cannot go on panics")]

mod clock;
mod corpus;
mod database;
mod disk;
mod faults;
mod mmdb;
mod own_runtime;
mod proxy;
mod server;
mod tls;

pub use clock::WallClock;
pub use corpus::replay_corpus;
pub use database::{Backend, Database};
pub use disk::SmallDisk;
pub use faults::{Faults, KillSwitch};
pub use metrics_core::conformance::{Call, Intercept, Intercepted, Method, repetitions};
pub use mmdb::{Records, country_database};
pub use own_runtime::on_own_runtime;
pub use proxy::{Cut, Proxy};
pub use tls::{Answer, Authority, Identity, Seen, TlsProxy, VALID};

/// Defines a test per store for each function: an `async fn(Backend)`, run by Tokio with its clock paused.
///
/// ```text
/// metrics_testing::on_every_store!(what_was_watched_is_counted);
/// ```
#[macro_export]
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        $crate::on_every_store!(@ sqlite Sqlite $($test)+);
        $crate::on_every_store!(@ timescale Timescale $($test)+);
        $crate::on_every_store!(@ postgres Postgres $($test)+);
    };
    (@ $module:ident $backend:ident $($test:ident)+) => {
        mod $module {
            $(
                #[tokio::test(start_paused = true)]
                async fn $test() {
                    super::$test($crate::Backend::$backend).await;
                }
            )+
        }
    };
}

//! Invariants for any bytes that a client sends: a function for each fuzz target, which panics on a violation.
//!
//! The targets in `fuzz/` call them with the inputs of libFuzzer, and the tests with the inputs committed in
//! `fuzz/corpus`. No other build has this module.

#![expect(clippy::missing_panics_doc, reason = "to panic is how they say what does not hold")]

mod batch;
mod event;
pub(crate) mod frames;
mod geo;
mod members;
mod params;
mod phoenix;

pub use batch::batch;
pub use event::event;
pub use frames::frames;
pub use geo::geo;
pub use params::params;
pub use phoenix::phoenix;

/// The longest reason that fits into a close frame.
const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    #[track_caller]
    fn replay(target: &str, check: fn(&[u8])) {
        metrics_testing::replay_corpus(env!("CARGO_MANIFEST_DIR"), target, check);
    }

    #[test]
    fn batches_are_read_as_they_must_be() {
        replay("batch", super::batch);
    }

    #[test]
    fn events_are_read_as_they_must_be() {
        replay("event", super::event);
    }

    #[test]
    fn frames_are_read_as_they_must_be() {
        replay("frames", super::frames);
    }

    #[test]
    fn databases_of_countries_are_read_as_they_must_be() {
        replay("geo", super::geo);
    }

    #[test]
    fn parameters_are_read_as_they_must_be() {
        replay("params", super::params);
    }

    #[test]
    fn messages_are_read_as_they_must_be() {
        replay("phoenix", super::phoenix);
    }
}

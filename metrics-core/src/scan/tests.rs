//! Scans against loops over whole sessions that are obviously right, and against numbers computed by hand.

pub(super) mod draft;
mod examples;
mod oracle;
mod random;
mod reports;
#[cfg(all(feature = "sqlite", feature = "timescale"))]
mod stores;

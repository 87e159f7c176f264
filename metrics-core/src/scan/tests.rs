//! Compares scans with loops over complete sessions that are obviously right, and with numbers computed by hand.

pub(super) mod draft;
mod examples;
mod oracle;
mod random;
mod reports;
#[cfg(all(feature = "sqlite", feature = "timescale"))]
mod stores;

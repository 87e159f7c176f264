//! The endpoints of the HTTP API, a file each.

pub(crate) mod cmcd;
pub(crate) mod dimensions;
pub(crate) mod engagement;
pub(crate) mod erase;
pub(crate) mod events;
pub(crate) mod fields;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod me;
pub(crate) mod meta;
pub(crate) mod openapi;
pub(crate) mod params;
pub(crate) mod plays;
pub(crate) mod query;
pub(crate) mod sources;
pub(crate) mod stats;
mod timeframe;
pub(crate) mod tokens;
pub(crate) mod videos;
pub(crate) mod watching;

/// Milliseconds as seconds, as answers say them.
pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests;

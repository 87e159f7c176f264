//! Every shape that the reports and the keys answer, from sessions at known times.

mod engagement;
mod fixture;
mod keys;
mod memory;
mod parameters;
mod plays;
mod queries;

use serde_json::Value;

/// The labels and plays of a report's buckets.
fn buckets(report: &Value) -> Vec<(&str, u64)> {
    let views = report["views"].as_array().unwrap();
    views
        .iter()
        .map(|it| (it["interval"].as_str().unwrap(), it["views"].as_u64().unwrap()))
        .collect()
}

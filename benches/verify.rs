//! Compares the server's reports with the events that were sent.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http::post;
use crate::viewers::{Tally, hottest};

/// Creates a key for one run.
///
/// # Errors
///
/// The server cannot be reached, or creates no key.
pub async fn new_key(server: SocketAddr) -> io::Result<String> {
    let made = post(server, "/api/v1/keys", &json!({})).await?;
    made["key"].as_str().map(str::to_owned).ok_or_else(|| io::Error::other("there is no key"))
}

/// Requests the reports of a key.
///
/// # Errors
///
/// The server cannot be reached, or returns no report.
pub async fn reported(server: SocketAddr, key: &str) -> io::Result<Tally> {
    let of_key = json!({ "query": { "key": key } });
    let plays = post(server, "/api/v1/plays", &of_key).await?;
    let of_hottest = json!({ "identifier": hottest(), "query": { "key": key } });
    let of_hottest = post(server, "/api/v1/plays", &of_hottest).await?;
    let sources = post(server, "/api/v1/sources", &of_key).await?;
    let mut pages = BTreeMap::new();
    for source in rows(&sources, "sources") {
        let page = source["path"].as_str().unwrap_or_default().to_owned();
        *pages.entry(page).or_default() += source["views"].as_u64().unwrap_or(0);
    }
    let seconds: f64 =
        rows(&plays, "views").filter_map(|bucket| bucket["total_view_time"].as_f64()).sum();
    Ok(Tally {
        plays: views(&plays),
        view_ms: (seconds * 1_000.0).round() as u64,
        pages,
        hottest: views(&of_hottest),
    })
}

fn views(plays: &Value) -> u64 {
    rows(plays, "views").filter_map(|bucket| bucket["views"].as_u64()).sum()
}

fn rows<'a>(report: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    report[name].as_array().into_iter().flatten()
}

/// Compares the reports before and after with the sent events.
///
/// # Errors
///
/// The reports differ from the events.
pub fn check(before: &Tally, sent: &Tally, after: &Tally) -> io::Result<()> {
    let mut expected = before.clone();
    expected.add(sent.clone());
    if expected == *after {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the counts are wrong: expected {expected:?}, reported {after:?}"
    )))
}

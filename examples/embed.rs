//! The library alone, in ten lines: records a session into a file, and requests a report of it.
//!
//! Run it with `cargo run -p examples --example embed`. It creates `metrics.db` in the current directory.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use metrics_core::store::SqliteStore;
use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Metrics::new(SqliteStore::open("metrics.db").await?);
    let key = metrics.create_key().await?; // One per site, to tell their sessions apart.
    let join = Join::new(key, "random, and new for each session", Video::labelled("intro"))
        .user_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .page("https://example.com/watch?token=secret");
    let session = metrics.join(join).await?;
    session.apply(PlayerEvent::play(0.0)).await?; // Durable when it returns.
    session.apply(PlayerEvent::pause(12.5)).await?;
    let plays = metrics.plays(&Selection::identifier("intro").into()).await?;
    println!("{} plays, {} ms watched", plays[0].totals.plays, plays[0].totals.view_ms);
    Ok(())
}

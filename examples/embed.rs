//! The library alone, in ten lines: a session is recorded into a file, and asked for.
//!
//! Run it with `cargo run -p examples --example embed`. It makes `metrics.db` in the current directory.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use metrics_core::store::SqliteStore;
use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session_id = "a random text, new for every viewing";
    let user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let url = "https://example.com/watch?token=secret";

    let store = SqliteStore::open("metrics.db").await?; // Or TimescaleStore::connect(url).await?
    let metrics = Metrics::new(store);
    let key = metrics.create_key().await?;
    let join =
        Join::new(key, session_id, Video::labelled("intro")).user_agent(user_agent).page(url);
    let session = metrics.join(join).await?;
    session.apply(PlayerEvent::play(0.0)).await?; // Durable when it returns.
    session.apply(PlayerEvent::pause(12.5)).await?;
    let plays = metrics.plays(&Selection::identifier("intro").into()).await?;

    for bucket in plays {
        let seconds = bucket.figures.view_ms as f64 / 1_000.0;
        println!("since {}: {} plays, {seconds} s watched", bucket.start, bucket.figures.plays);
    }
    drop(session);
    metrics.stop().await;
    Ok(())
}

//! The library alone, in ten lines: a session is recorded into a file, and asked for.
//!
//! Run it with `cargo run -p examples --example embed`.

use metrics_core::store::SqliteStore;
use metrics_core::{Join, Metrics, PlayerEvent, Selection, Video};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(directory.path().join("metrics.db")).await?;
    let metrics = Metrics::new(store);
    let key = metrics.create_key().await?;

    let join = Join::new(key, "a random id", Video::labelled("intro"))
        .user_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .page("https://example.com/watch?token=secret");
    let session = metrics.join(join).await?;
    session.apply(PlayerEvent::play(0.0)).await?; // Durable when it returns.
    session.apply(PlayerEvent::pause(12.5)).await?;

    for bucket in metrics.plays(&Selection::identifier("intro").into()).await? {
        #[expect(clippy::print_stdout, reason = "this is what it is for")]
        {
            let seconds = bucket.figures.view_ms as f64 / 1_000.0;
            println!("{} play, {seconds} s watched", bucket.figures.plays);
        }
    }
    drop(session);
    metrics.stop().await;
    Ok(())
}

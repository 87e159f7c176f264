//! Two servers on one TimescaleDB or PostgreSQL. The first is stopped, as for an update, while somebody watches: its
//! viewer goes on at the second, and is one play all the same.
//!
//! Run it with `cargo run -p examples --example two_instances -- postgres://USER:PASSWORD@HOST/DATABASE`.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use examples::viewer::{Error, Viewer};
use metrics_core::store::TimescaleStore;
use metrics_core::{Metrics, Selection};
use metrics_server::{Service, Settings, listen, serve};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How many connections each has at most.
const CONNECTIONS_MAX: usize = 1_000;

/// A server with nothing of its own: all that lasts is in the database.
struct Instance {
    metrics: Metrics,
    socket: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Instance {
    async fn start(database: &str) -> Result<Self, Error> {
        let metrics = Metrics::new(TimescaleStore::connect(database).await?);
        let service = Service::new(metrics.clone(), Settings::default());
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let socket = format!("ws://{}/socket", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, service, CONNECTIONS_MAX, async {
            // A sender that is gone says it as well.
            let _said = stopped.await;
        }));
        Ok(Self { metrics, socket, stop, serving })
    }

    /// Returns when all that it was told is in the database.
    async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        Ok(self.serving.await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let database = std::env::args().nth(1).ok_or("name a database, like postgres://localhost/a")?;
    let first = Instance::start(&database).await?;
    let key = first.metrics.create_key().await?;
    // It knows the key from its start on; of one that is made later, it hears within a second.
    let second = Instance::start(&database).await?;
    let session = format!("{:032x}", rand::random::<u128>());
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;

    let mut viewer = Viewer::join(&first.socket, key.as_str(), &session, "intro").await?;
    viewer.tell(json!({ "name": "play", "from": 0.0, "timestamp": began })).await?;
    first.stop().await?;
    println!("the first server has stopped");
    drop(viewer);

    // What a client does when its connection is lost: it joins the same session wherever it gets to.
    let mut viewer = Viewer::join(&second.socket, key.as_str(), &session, "intro").await?;
    let pause = json!({ "name": "pause", "to": 12.5, "timestamp": began + 12_500 });
    viewer.tell(pause).await?;
    viewer.leave().await?;

    for bucket in second.metrics.plays(&Selection::key(key).into()).await? {
        let seconds = bucket.figures.view_ms as f64 / 1_000.0;
        println!("{} plays, {seconds} s watched", bucket.figures.plays);
    }
    second.stop().await
}

//! Two servers on one TimescaleDB or PostgreSQL. The first stops, as for an update, during a session: its viewer
//! continues at the second, and the session still counts as one play.
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

/// The maximum number of connections of each server.
const CONNECTIONS_MAX: usize = 1_000;

/// A server without state of its own: all durable state is in the database.
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
            // A dropped sender stops the server as well.
            let _ignored = stopped.await;
        }));
        Ok(Self { metrics, socket, stop, serving })
    }

    /// Stops the server, and returns when all events that it received are in the database.
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
    // The server reads the key at its start; it reads keys that are created later within a second.
    let second = Instance::start(&database).await?;
    let session = format!("{:032x}", rand::random::<u128>());
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;

    let mut viewer = Viewer::join(&first.socket, key.as_str(), &session, "intro").await?;
    viewer.send(json!({ "name": "play", "from": 0.0, "timestamp": began })).await?;
    first.stop().await?;
    println!("the first server has stopped");
    drop(viewer);

    // A client whose connection is lost does the same: it joins the same session at any server.
    let mut viewer = Viewer::join(&second.socket, key.as_str(), &session, "intro").await?;
    let pause = json!({ "name": "pause", "to": 12.5, "timestamp": began + 12_500 });
    viewer.send(pause).await?;
    viewer.leave().await?;

    for bucket in second.metrics.plays(&Selection::key(key).into()).await? {
        let seconds = bucket.totals.view_ms as f64 / 1_000.0;
        println!("{} plays, {seconds} s watched", bucket.totals.plays);
    }
    second.stop().await
}

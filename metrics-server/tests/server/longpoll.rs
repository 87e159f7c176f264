//! Viewers whose clients use long polling: the same channels as over a websocket, within the same limits.

mod durability;
mod messages;
mod polls;
mod viewers;

use std::time::Duration;

use metrics_server_testing::{Poller, TestServer, soon};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

const TOPIC: &str = "session:a";
const V1: &str = "vsn=1.0.0";
const V2: &str = "vsn=2.0.0";

/// Whether this is the response to a poll of a session that is over.
fn gone(polled: &Value) -> bool {
    polled["status"] == 500 && polled.get("token").is_none() && polled["error"].is_string()
}

/// Polls, and returns the connection of the pending poll.
async fn begin_poll(poller: &Poller, server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&poller.http("GET").bytes()).await.unwrap();
    // The response to a later request shows that the server has read this one.
    server.http("GET", "/health/live").send().await;
    stream
}

/// Waits until a sample of `/metrics` has a value.
async fn until(server: &TestServer, sample: &str) {
    let waiting = async {
        loop {
            let stats = server.http("GET", "/metrics").send().await;
            if String::from_utf8(stats.body).unwrap().lines().any(|line| line == sample) {
                return;
            }
            // Advances the clock if it is paused.
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon(waiting).await;
}

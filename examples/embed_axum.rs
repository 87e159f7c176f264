//! An axum application that measures videos under `/analytics`, and shows its own users their own reports.
//!
//! Run it with `cargo run -p examples --example embed_axum`, or with another address than `127.0.0.1:3000` behind `--`.
//! It creates `metrics.db` in the current directory. It has two users, each with an API key for their viewers and a
//! token for themselves: `curl --oauth2-bearer ada-token
//! 'http://127.0.0.1:3000/analytics/api/v1/plays?identifier=intro'` reports ada's own viewers of `intro` and no others.
//! Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use metrics_core::store::SqliteStore;
use metrics_core::{ApiKey, Metrics};
use metrics_server::{Access, CallerAddress, Decision, Purpose, Service, Settings};
use tokio::net::TcpListener;

/// The time limit for the store to commit the remaining writes when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The users of the application. A real application has them in its database, and checks a cookie or a signed token.
#[derive(Debug)]
struct Users(Vec<(&'static str, ApiKey)>);

#[async_trait::async_trait]
impl Access for Users {
    async fn decide(&self, request: &Parts, purpose: Purpose) -> Decision {
        let given = request.headers.get(AUTHORIZATION).and_then(|given| given.to_str().ok());
        let token = given.and_then(|given| given.strip_prefix("Bearer "));
        let Some((_, key)) = self.0.iter().find(|(known, _)| Some(*known) == token) else {
            return Decision::unauthorized("Bearer");
        };
        match purpose {
            // Restricts every report to the sessions of this key.
            Purpose::Report | Purpose::ListKeys => Decision::AllowKeys(vec![key.clone()]),
            _ => Decision::forbidden(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let metrics = Metrics::new(SqliteStore::open("metrics.db").await?);
    let mut users = Vec::new();
    for (name, token) in [("ada", "ada-token"), ("bob", "bob-token")] {
        let key = metrics.create_key().await?;
        println!("{name} has the key {}", key.as_str());
        users.push((token, key));
    }
    // axum removes the prefix before a request reaches the service.
    let settings = Settings::default().stripped_prefix("/analytics").access(Users(users));
    let service = Service::new(metrics, settings);
    let app = Router::new()
        .route("/", get(|| async { "hello from the application" }))
        .nest_service("/analytics", service.clone())
        .layer(from_fn(insert_caller_address));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let stopping = service.clone();
    let stop = async move {
        interrupted().await;
        // Streams of viewers are requests that end with it.
        stopping.close_sockets().await;
    };
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stop)
        .await?;

    // This order loses nothing: requests have ended; then websockets end, and then the store commits the remaining
    // writes.
    service.close_sockets().await;
    service.stop(DRAIN_MAX).await;
    println!("stopped");
    Ok(())
}

/// Passes the client's address to the service, which rate-limits guesses of keys.
async fn insert_caller_address(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(CallerAddress(address.ip()));
    next.run(request).await
}

/// Resolves when the operator stops the server.
async fn interrupted() {
    if let Err(err) = tokio::signal::ctrl_c().await {
        println!("cannot be told to end: {err}");
    }
}

//! A hyper server that measures videos under `/analytics`, beside other routes.
//!
//! Run it with `cargo run -p examples --example embed_hyper`, or with another address than `127.0.0.1:3000` behind
//! `--`. It creates `metrics.db` in the current directory. Viewers connect to `ws://127.0.0.1:3000/analytics/socket`,
//! and `curl 'http://127.0.0.1:3000/analytics/api/v1/plays?identifier=intro'` requests the plays of `intro`. Ctrl-C
//! ends it.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use metrics_core::Metrics;
use metrics_core::store::SqliteStore;
use metrics_server::{Body, CallerAddress, Service, Settings};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// The time limit for requests to end when the server stops, and then for the store to commit the remaining writes.
const DRAIN_MAX: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let metrics = Metrics::new(SqliteStore::open("metrics.db").await?);
    let key = metrics.create_key().await?;
    let service = Service::new(metrics, Settings::default().prefix("/analytics"));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("key {}", key.as_str());
    serve(listener, service.clone()).await?;

    // This order loses nothing: requests have ended; then websockets end, and then the store commits the remaining
    // writes.
    service.close_sockets().await;
    service.stop(DRAIN_MAX).await;
    println!("stopped");
    Ok(())
}

/// Serves until Ctrl-C, and then waits until requests finish.
async fn serve(listener: TcpListener, service: Service) -> Result<(), Box<dyn Error>> {
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    // The timer enforces the time limit for the header of a request.
    http.http1().timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => accepted?,
            interrupted = &mut interrupted => {
                interrupted?;
                break;
            }
        };
        let service = service.clone();
        let respond = service_fn(move |mut request: Request<Incoming>| {
            // The service rate-limits guesses of keys by address.
            request.extensions_mut().insert(CallerAddress(address.ip()));
            let service = service.clone();
            async move {
                Ok::<_, Infallible>(if service.owns(request.uri().path()) {
                    service.respond(request).await
                } else {
                    Response::new(Body::from("hello from the application"))
                })
            }
        });
        // Without upgrades there are no websockets.
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), respond);
        tokio::spawn(graceful.watch(connection.into_owned()));
    }
    // Streams of viewers are requests that end with the websockets. Abandons connections that do not end in time.
    let ending = async { tokio::join!(graceful.shutdown(), service.close_sockets()) };
    let _ended = timeout(DRAIN_MAX, ending).await;
    Ok(())
}

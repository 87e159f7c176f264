//! Accepts connections, within limits, and shuts down without losing events.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempts::CallerAddress;
use crate::error::Error;
use crate::permits::{self, Admission, Permit, Permits, SPARE_HEADER_MAX, SPARE_MAX};
use crate::reads::Reads;
use crate::response::Body;
use crate::service::Service;
use crate::write_timeout::WriteTimeout;

/// The time limit for the header of a request.
const HEADER_MAX: Duration = Duration::from_secs(10);

/// The largest header of a request. The URL of a socket includes the URL of its page.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The largest header of a request to a full server.
const SPARE_HEADER_BYTES_MAX: usize = 8 * 1024;

/// The time limit for connections to end at a stop, and then for the store to commit the remaining writes.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The same while the store is unavailable: writes that are not acknowledged by then are never acknowledged.
const UNAVAILABLE_DRAIN_MAX: Duration = Duration::from_secs(2);

/// The number of connections that the system queues until they are accepted; it may allow fewer. After an outage of the
/// server or a network, all viewers reconnect at once. A client that finds the queue full retries after one second, and
/// after three.
const BACKLOG: u32 = 4_096;

/// The pause before accepting again, when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The minimum interval between log entries about connections that cannot be accepted.
const ACCEPT_LOG_PERIOD: Duration = Duration::from_secs(60);

/// Listens at an address, with a backlog for many simultaneous connections.
///
/// # Errors
///
/// The address is in use, is not local, or is not permitted.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Permits an immediate restart of the server.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` resolves, then finishes all work in progress.
///
/// At most `connections_max` connections are open at once, and from one address at most
/// [`Settings::connections_per_address`](crate::Settings::connections_per_address). Further connections get a 503 and
/// are closed, except for health checks, which have spare permits.
///
/// The order loses nothing: no more connections are accepted, requests finish, websockets end and close their open
/// segments, and the recorder commits the remaining writes.
///
/// When it returns, all acknowledged events are durable. Not cancel safe.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    connections_max: usize,
    stop: impl Future<Output = ()>,
) {
    let stopping = CancellationToken::new();
    let connections = TaskTracker::new();
    let permits = Permits::new(
        connections_max,
        service.shares_of_callers(connections_max),
        service.counters().clone(),
        service.memory().connections.clone(),
    );
    let webhooks = service.clone();
    let webhooks = tokio::spawn(async move { webhooks.run_webhooks().await });
    let mut stop = pin!(stop);
    let mut logged_at: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, caller_address) = match accepted {
            Ok((stream, address)) => (stream, CallerAddress(address.ip())),
            Err(err) if is_of_the_client(&err) => continue,
            Err(err) => {
                if logged_at.is_none_or(|at| ACCEPT_LOG_PERIOD <= at.elapsed()) {
                    tracing::warn!(
                        error = &err as &dyn std::error::Error,
                        "could not accept a connection"
                    );
                    logged_at = Some(Instant::now());
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (service, stopping) = (service.clone(), stopping.clone());
        match permits.admit(caller_address) {
            Admission::Served(permit) => {
                connections.spawn(connect(
                    stream,
                    caller_address,
                    service,
                    Arc::new(permit),
                    stopping,
                ));
            }
            Admission::Spare(permit) => {
                connections.spawn(refuse(stream, service, permit, stopping));
            }
            Admission::Closed => {}
        }
    }
    drop(listener);
    stopping.cancel();
    connections.close();
    let drain = async {
        let (.., ended) = tokio::join!(connections.wait(), service.close_sockets(), webhooks);
        if let Err(err) = ended {
            tracing::error!(error = &err as &dyn std::error::Error, "webhooks ended early");
        }
    };
    let limit = || if service.is_store_unavailable() { UNAVAILABLE_DRAIN_MAX } else { DRAIN_MAX };
    let drain_max = limit();
    if timeout(drain_max, drain).await.is_err() {
        tracing::warn!("abandoned connections that did not end in {drain_max:?}");
    }
    service.stop(limit()).await;
}

/// Whether the error concerns only the connection to be accepted: a client that disconnects at once must not delay the
/// others.
fn is_of_the_client(err: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        err.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

/// Serves HTTP on one connection. Its permit is held as long as the connection, also if it becomes a websocket.
async fn connect(
    stream: TcpStream,
    caller_address: CallerAddress,
    service: Service,
    permit: Arc<Permit>,
    stopping: CancellationToken,
) {
    // Responses are small, and must not wait for each other. This fails only if the client is gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let memory = service.memory().headers.clone();
    let progress = permit.progress.clone();
    let stream = Reads::new(WriteTimeout::new(stream), memory, progress.clone());
    let respond = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let (service, progress) = (service.clone(), progress.clone());
        progress.step();
        request.extensions_mut().insert(Arc::clone(&permit));
        request.extensions_mut().insert(caller_address);
        async move {
            let response = match check_host(&request) {
                Ok(()) => service.respond(request).await,
                Err(err) => err.into_response(),
            };
            progress.step();
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_MAX);
    // The first limit bounds the read-ahead only at the boundaries of reads.
    http.max_buf_size(HEADER_BYTES_MAX).max_header_size(HEADER_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), respond).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(error = &err as &dyn std::error::Error, "a connection ended in an error");
    }
}

/// Answers one request of a connection without a permit: a health check, or 503.
async fn refuse(stream: TcpStream, service: Service, permit: Permit, stopping: CancellationToken) {
    let respond = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
        Ok::<Response<Body>, Infallible>(if service.is_about_health(request.uri().path()) {
            service.respond(request).await
        } else {
            permits::full()
        })
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SPARE_HEADER_MAX).keep_alive(false);
    http.max_buf_size(SPARE_HEADER_BYTES_MAX).max_header_size(SPARE_HEADER_BYTES_MAX);
    let answering = timeout(SPARE_MAX, http.serve_connection(TokioIo::new(stream), respond));
    tokio::select! {
        answered = answering => drop(answered),
        () = stopping.cancelled() => {}
    }
    drop(permit);
}

/// Rejects a request with an ambiguous host.
///
/// # Errors
///
/// [`Error::HostHeader`] if the request has several hosts, or none in HTTP/1.1 (RFC 9112, section 3.2).
fn check_host<B>(request: &hyper::Request<B>) -> Result<(), Error> {
    match request.headers().get_all(HOST).iter().count() {
        1 => Ok(()),
        0 if request.version() == Version::HTTP_10 => Ok(()),
        _ => Err(Error::HostHeader),
    }
}

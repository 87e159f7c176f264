//! Accepts connections, within limits, and stops without losing any.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_core::budget::Reservation;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempts::Peer;
use crate::memory::CONNECTION_BYTES;
use crate::patience::Patient;
use crate::reads::{Progress, Reads};
use crate::service::Service;
use crate::traffic::Connected;

/// How long a client may take to send the header of a request.
const HEADER_MAX: Duration = Duration::from_secs(10);

/// The largest header of a request. A socket's address holds the address of its page.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// How long connections may take to end when the server stops, and then the store to take what is left.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The same while the store is away: what has not been acknowledged by then will not be.
const AWAY_MAX: Duration = Duration::from_secs(2);

/// How many connections the system keeps until they are accepted; it may allow fewer. When a server or a network comes
/// back, all viewers do, and who finds no room tries again after a second, and after three.
const BACKLOG: u32 = 4_096;

/// How long to wait before accepting again, when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log says that connections cannot be accepted, while it is so.
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Listens at an address, with room for many who connect at once.
///
/// # Errors
///
/// The address is taken, is not one of this machine, or may not be listened at.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a server can be started again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` resolves, then lets everything that is under way finish.
///
/// The order loses nothing: no more connections, requests finish, websockets end and close what they have open, and
/// the recorder writes what is left.
///
/// When it returns, everything that was acknowledged is durable. Not cancel safe.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    connections_max: usize,
    stop: impl Future<Output = ()>,
) {
    let stopping = CancellationToken::new();
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(connections_max));
    let mut stop = pin!(stop);
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = &mut stop => break,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(err) if is_of_the_client(&err) => continue,
            Err(err) => {
                if told.is_none_or(|at| ACCEPT_TOLD_EVERY <= at.elapsed()) {
                    tracing::warn!(
                        error = &err as &dyn std::error::Error,
                        "could not accept a connection"
                    );
                    told = Some(Instant::now());
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (service, stopping) = (service.clone(), stopping.clone());
        let held = service.memory().connections.charge(CONNECTION_BYTES);
        let connected = service.traffic().connect();
        let progress = Progress::default();
        let place =
            Arc::new(Held { _permit: permit, _connected: connected, _held: held, progress });
        connections.spawn(async move {
            connect(stream, peer, service, place, stopping).await;
        });
    }
    drop(listener);
    stopping.cancel();
    connections.close();
    let drain = async {
        tokio::join!(connections.wait(), service.close_sockets());
    };
    let limit = || if service.is_store_away() { AWAY_MAX } else { DRAIN_MAX };
    let drain_max = limit();
    if timeout(drain_max, drain).await.is_err() {
        tracing::warn!("abandoned connections that did not end in {drain_max:?}");
    }
    service.stop(limit()).await;
}

/// A place among the connections, that it is counted among them, and the memory that it takes.
pub(crate) type Place = Arc<Held>;

pub(crate) struct Held {
    _permit: tokio::sync::OwnedSemaphorePermit,
    _connected: Connected,
    _held: Reservation,
    pub(crate) progress: Progress,
}

/// Waits for room, and then for a connection. Cancel safe.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, Peer(address.ip()), permit))
}

/// Whether only the connection that was to be accepted has failed, and the next one may well not: a client that gives
/// up at once must not hold up the others.
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

/// Speaks HTTP with one client. Its place goes with the connection, also if it becomes a websocket.
async fn connect(
    stream: TcpStream,
    peer: Peer,
    service: Service,
    place: Place,
    stopping: CancellationToken,
) {
    // Answers are small, and the next one should not wait for the last. It fails only where the client has gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let memory = service.memory().headers.clone();
    let progress = place.progress.clone();
    let stream = Reads::new(Patient::new(stream), memory, progress.clone());
    let respond = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let (service, progress) = (service.clone(), progress.clone());
        progress.step();
        request.extensions_mut().insert(Arc::clone(&place));
        request.extensions_mut().insert(peer);
        async move {
            let response = service.respond(request).await;
            progress.step();
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_MAX);
    // What is read ahead is bounded by the first only as a read happens to end.
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

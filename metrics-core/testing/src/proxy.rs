//! A connection that breaks on demand.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

/// A proxy between a store and its database server, which breaks their connections in both directions at once.
///
/// It must be started in the runtime of the test, and ends with that runtime.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
    accepting: JoinHandle<()>,
}

/// The point at which the proxy breaks the next connection that sends certain bytes.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Before the server receives the bytes that contain this text.
    Before(&'static str),
    /// As soon as the server has received them. The server may or may not notice the end before it acts.
    After(&'static str),
    /// When the server has received them and has answered, before the proxy forwards the answer.
    Answer(&'static str),
}

impl Cut {
    fn text(self) -> &'static str {
        match self {
            Self::Before(text) | Self::After(text) | Self::Answer(text) => text,
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    next: Mutex<Option<Cut>>,
    chaos: Mutex<Option<(StdRng, Range<usize>)>>,
    // Whether all connections are refused.
    refusing: AtomicBool,
    // Changes when all connections must break.
    storms: watch::Sender<usize>,
    // The number of broken connections.
    cuts: watch::Sender<usize>,
}

impl Proxy {
    /// Starts a proxy in front of the server at `url`, and returns it with the URL to use instead.
    pub async fn start(url: &str) -> (Self, String) {
        let mut url: Url = url.parse().expect("an address");
        let host = url.host_str().expect("an address with a host").to_owned();
        let target = (host, url.port().unwrap_or(5_432));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let plan = Arc::new(Plan::default());
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&plan)));
        url.set_ip_host(address.ip()).expect("an address with a host");
        url.set_port(Some(address.port())).expect("an address with a host");
        // The proxy reads the bytes that it forwards.
        url.query_pairs_mut().append_pair("sslmode", "disable");
        (Self { address, plan, accepting }, url.into())
    }

    /// Returns the address on which the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks the next connection to which `cut` applies.
    pub fn cut(&self, cut: Cut) {
        *lock(&self.plan.next) = Some(cut);
    }

    /// Breaks all connections, and every later one after a random number of bytes, in one direction or the other.
    pub fn chaos(&self, seed: u64, bytes: Range<usize>) {
        *lock(&self.plan.chaos) = Some((StdRng::seed_from_u64(seed), bytes));
        self.plan.storms.send_modify(|storms| *storms += 1);
    }

    /// Breaks all connections, and refuses every later one until [`stop_cutting`](Self::stop_cutting), like an unreachable server.
    pub fn refuse(&self) {
        self.plan.refusing.store(true, Ordering::SeqCst);
        self.plan.storms.send_modify(|storms| *storms += 1);
    }

    /// Leaves all later connections intact.
    pub fn stop_cutting(&self) {
        self.plan.refusing.store(false, Ordering::SeqCst);
        *lock(&self.plan.chaos) = None;
        *lock(&self.plan.next) = None;
    }

    /// Returns the number of broken connections.
    #[must_use]
    pub fn cuts(&self) -> watch::Receiver<usize> {
        self.plan.cuts.subscribe()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: (String, u16), plan: Arc<Plan>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        if plan.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let (target, plan) = (target.clone(), Arc::clone(&plan));
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(target).await
                && let Ok(End::Cut) = pass(client, server, &plan).await
            {
                plan.cuts.send_modify(|cuts| *cuts += 1);
            }
        });
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Closed,
    Cut,
}

/// Forwards bytes in both directions, until one side closes or the plan breaks the connection.
async fn pass(mut client: TcpStream, mut server: TcpStream, plan: &Plan) -> io::Result<End> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut storms = plan.storms.subscribe();
    // The connection may have been accepted before `refuse`, and subscribed after its signal.
    if plan.refusing.load(Ordering::SeqCst) {
        return Ok(End::Cut);
    }
    let (mut up, mut down) = plan.allowances();
    let (mut request, mut response) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            _ = storms.changed() => return Ok(End::Cut),
            read = client.read(&mut request) => {
                let bytes = &request[..read?];
                if bytes.is_empty() {
                    return Ok(End::Closed);
                }
                let cut = plan.applies_to(bytes);
                if let Some(Cut::Before(_)) = cut {
                    return Ok(End::Cut);
                }
                server.write_all(up.take(bytes)).await?;
                if let Some(Cut::Answer(_)) = cut {
                    server.readable().await?;
                }
                if cut.is_some() || up.is_spent() {
                    return Ok(End::Cut);
                }
            }
            read = server.read(&mut response) => {
                let bytes = &response[..read?];
                if bytes.is_empty() {
                    return Ok(End::Closed);
                }
                client.write_all(down.take(bytes)).await?;
                if down.is_spent() {
                    return Ok(End::Cut);
                }
            }
        }
    }
}

/// The number of bytes that may still pass.
struct Allowance(usize);

impl Allowance {
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let taken = &bytes[..bytes.len().min(self.0)];
        self.0 -= taken.len();
        taken
    }

    fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

impl Plan {
    fn allowances(&self) -> (Allowance, Allowance) {
        let mut chaos = lock(&self.chaos);
        let Some((random, bytes)) = &mut *chaos else {
            return (Allowance(usize::MAX), Allowance(usize::MAX));
        };
        let limited = Allowance(random.random_range(bytes.clone()));
        let unlimited = Allowance(usize::MAX);
        if random.random_bool(0.5) { (limited, unlimited) } else { (unlimited, limited) }
    }

    /// Takes the next cut, if it applies to these bytes.
    fn applies_to(&self, bytes: &[u8]) -> Option<Cut> {
        let mut next = lock(&self.next);
        let text = next.as_ref()?.text().as_bytes();
        let applies = bytes.windows(text.len()).any(|window| window == text);
        if applies { next.take() } else { None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

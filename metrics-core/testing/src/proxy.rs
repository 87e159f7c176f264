//! A connection that breaks when it is told to.

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

/// Stands between a store and the server of its database, and breaks their connections in both directions at once.
///
/// It must be started in the runtime of the test, and ends with this.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
    accepting: JoinHandle<()>,
}

/// When to break the next connection that says something.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Before the server gets the bytes that hold this.
    Before(&'static str),
    /// At once when the server has got them, which may or may not see the connection end before it acts.
    After(&'static str),
    /// When the server has got them and has answered, before the answer is passed on.
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
    // Whether no connection is let through.
    refusing: AtomicBool,
    // Changes when all connections are to break.
    storms: watch::Sender<usize>,
    // How often it was cut.
    cuts: watch::Sender<usize>,
}

impl Proxy {
    /// A proxy in front of the server that this address names, and the address to use instead.
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
        // It looks into what it passes on.
        url.query_pairs_mut().append_pair("sslmode", "disable");
        (Self { address, plan, accepting }, url.into())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks the next connection to which this applies.
    pub fn cut(&self, cut: Cut) {
        *lock(&self.plan.next) = Some(cut);
    }

    /// Breaks all connections, and every one that is made from now on after so many bytes, in one direction or the
    /// other.
    pub fn chaos(&self, seed: u64, bytes: Range<usize>) {
        *lock(&self.plan.chaos) = Some((StdRng::seed_from_u64(seed), bytes));
        self.plan.storms.send_modify(|storms| *storms += 1);
    }

    /// Breaks all connections, and refuses every one until it is [`calm`](Self::calm), as the machine of a server does
    /// that is gone.
    pub fn refuse(&self) {
        self.plan.refusing.store(true, Ordering::SeqCst);
        self.plan.storms.send_modify(|storms| *storms += 1);
    }

    /// Breaks nothing that is made from now on.
    pub fn calm(&self) {
        self.plan.refusing.store(false, Ordering::SeqCst);
        *lock(&self.plan.chaos) = None;
        *lock(&self.plan.next) = None;
    }

    /// How many connections it has broken.
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

/// Passes on what both say, until one of them closes or the plan says otherwise.
async fn pass(mut client: TcpStream, mut server: TcpStream, plan: &Plan) -> io::Result<End> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut storms = plan.storms.subscribe();
    // It may have been let in before, and told of no storm.
    if plan.refusing.load(Ordering::SeqCst) {
        return Ok(End::Cut);
    }
    let (mut up, mut down) = plan.allowances();
    let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            _ = storms.changed() => return Ok(End::Cut),
            read = client.read(&mut asked) => {
                let bytes = &asked[..read?];
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
            read = server.read(&mut answered) => {
                let bytes = &answered[..read?];
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

/// How many bytes may still pass.
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

    /// The cut that is next, if it applies to these bytes; it is not next any more then.
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

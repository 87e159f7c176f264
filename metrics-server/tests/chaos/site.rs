//! Server processes and their database, and the disasters that can happen to them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use metrics_testing::{Backend, Cut, Proxy};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::ledger::Timeline;
use metrics_server_testing::{Database, Process, Server, binary};

/// The script that starts and kills databases.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/timescaledb");

/// The number of bytes after which a connection breaks in a storm: some break before they are usable, some after many
/// commits.
const STORM_BYTES: Range<usize> = 100..20_000;

/// A text in every statement that writes sessions: the beginning of their pages. A batch is one statement, which
/// commits at its end.
const COMMIT: &str = "https://example.com/page/";

/// How long the test waits for a commit.
const COMMIT_MAX: Duration = Duration::from_secs(30);

/// A database server that the test may kill.
#[derive(Debug)]
struct Postgres {
    directory: PathBuf,
    kind: Option<&'static str>,
    // Whether the server is removed when this is dropped.
    own: bool,
}

impl Postgres {
    /// Starts the server that `METRICS_TEST_CRASH_DIR` names, or else one for this test; returns it and its URL.
    async fn start(kind: Option<&'static str>) -> (Self, String) {
        let named = std::env::var_os("METRICS_TEST_CRASH_DIR").filter(|it| !it.is_empty());
        let own = named.is_none();
        let directory = named.map_or_else(
            || PathBuf::from(format!("/tmp/metrics-crash-{}", std::process::id())),
            PathBuf::from,
        );
        let postgres = Self { directory, kind, own };
        let url = postgres.run("up").await;
        (postgres, url)
    }

    /// Kills all of its processes, as `kill -9` does.
    async fn crash(&self) {
        self.run("crash").await;
    }

    async fn up(&self) {
        self.run("up").await;
    }

    async fn run(&self, command: &'static str) -> String {
        let script = self.script(command);
        let output = spawn_blocking(move || { script }.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn script(&self, command: &str) -> Command {
        let mut script = Command::new(SCRIPT);
        script.arg(command).args(self.kind).env("METRICS_TIMESCALEDB_DIR", &self.directory);
        script
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.own {
            let mut down = Command::new(SCRIPT);
            let down = down.arg("down").env("METRICS_TIMESCALEDB_DIR", &self.directory).status();
            assert!(std::thread::panicking() || down.unwrap().success());
        }
    }
}

/// A failure of the database or of a server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum SiteFailure {
    /// A failure of one server, chosen at random.
    One(ServerFailure),
    /// The database is killed.
    Crash,
    /// The database and all servers are killed, and the database starts first.
    CrashBoth,
    /// As `CrashBoth`, but the servers start first.
    CrashBothServerFirst,
}

/// A failure of one server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum ServerFailure {
    /// The server is killed.
    Kill,
    /// The server is killed, and again when it has just started.
    KillTwice,
    /// The server receives a signal to stop.
    Stop,
    /// The server is suspended, as on an overloaded machine.
    Hold,
    /// The database of the server cannot be reached.
    Cut,
    /// As `Cut`, and the server is killed meanwhile.
    CutAndKill,
    /// As `Cut`, and the server is stopped meanwhile.
    CutAndStop,
    /// The server's connections to the database break all the time.
    Storm,
    /// The connections break at the end of a commit, again and again, so that the server cannot know whether it
    /// committed.
    AtCommits,
}

const OF_ANY: &[SiteFailure] = &[
    SiteFailure::One(ServerFailure::Kill),
    SiteFailure::One(ServerFailure::KillTwice),
    SiteFailure::One(ServerFailure::Stop),
    SiteFailure::One(ServerFailure::Hold),
];
const OF_A_NETWORK: &[SiteFailure] = &[
    SiteFailure::One(ServerFailure::Cut),
    SiteFailure::One(ServerFailure::CutAndKill),
    SiteFailure::One(ServerFailure::CutAndStop),
    SiteFailure::One(ServerFailure::Storm),
    SiteFailure::One(ServerFailure::AtCommits),
    SiteFailure::Crash,
    SiteFailure::CrashBoth,
    SiteFailure::CrashBothServerFirst,
];

/// The running servers, by their numbers.
pub(crate) type Running = BTreeMap<usize, Server>;

/// A server in a process of its own, and its route to the database.
struct Instance {
    number: usize,
    process: Option<Process>,
    proxy: Option<Proxy>,
    // Keeps sessions that a server could not write before it stopped.
    spool: TempDir,
    // The URL of the database in the server's configuration.
    url: String,
    running: watch::Sender<Running>,
}

/// All servers, and the database that they share.
pub(crate) struct Site {
    instances: Vec<Instance>,
    pub(crate) database: Database,
    postgres: Option<Postgres>,
    running: watch::Sender<Running>,
    pub(crate) timeline: Arc<Timeline>,
    // Disasters of this round that have not happened yet.
    ahead: Vec<SiteFailure>,
    failures_caused: BTreeMap<SiteFailure, usize>,
}

impl Site {
    /// Starts the given number of servers; without a number, two if the database is reached over a network, else one.
    pub(crate) async fn new(instances: Option<usize>) -> Self {
        let (postgres, database) = match Backend::of_this_run() {
            Backend::Sqlite => (None, Database::new().await),
            backend => {
                let kind = (backend == Backend::Postgres).then_some("plain");
                let (postgres, url) = Postgres::start(kind).await;
                (Some(postgres), Database::on(&url).await)
            }
        };
        let running = watch::Sender::default();
        let mut site = Self {
            instances: Vec::new(),
            database,
            postgres,
            running,
            timeline: Arc::default(),
            ahead: Vec::new(),
            failures_caused: BTreeMap::new(),
        };
        for number in 0..instances.unwrap_or(if site.has_postgres() { 2 } else { 1 }) {
            let instance = site.instance(number).await;
            site.instances.push(instance);
        }
        site.start().await;
        site.timeline.able();
        site
    }

    /// An instance that is not started yet.
    async fn instance(&self, number: usize) -> Instance {
        let (proxy, url) = if self.has_postgres() {
            let (proxy, url) = Proxy::start(&self.database.url()).await;
            (Some(proxy), url)
        } else {
            (None, self.database.url())
        };
        let (spool, running) = (TempDir::new().unwrap(), self.running.clone());
        Instance { number, process: None, proxy, spool, url, running }
    }

    pub(crate) fn running(&self) -> watch::Receiver<Running> {
        self.running.subscribe()
    }

    /// All servers, which must be running.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Process> {
        self.instances.iter().map(Instance::process)
    }

    /// How often each disaster happened.
    pub(crate) fn failures_caused(&self) -> String {
        let all = self
            .failures_caused
            .iter()
            .map(|(site_failure, count)| format!("{site_failure:?} {count}"));
        format!("{} servers: {}", self.instances.len(), all.collect::<Vec<_>>().join(", "))
    }

    /// Causes a random disaster; each kind happens once before any of them repeats.
    pub(crate) async fn fail_at_random(&mut self, random: &mut StdRng) {
        if self.ahead.is_empty() {
            self.ahead.extend(OF_ANY);
            if self.has_postgres() {
                self.ahead.extend(OF_A_NETWORK);
            }
        }
        let next = self.ahead.swap_remove(random.random_range(0..self.ahead.len()));
        self.fail(next, random).await;
    }

    /// Causes `site_failure`, and returns once all servers run and can write.
    pub(crate) async fn fail(&mut self, site_failure: SiteFailure, random: &mut StdRng) {
        *self.failures_caused.entry(site_failure).or_insert(0) += 1;
        self.timeline.unable();
        let pause = Duration::from_millis(random.random_range(0..=500));
        match site_failure {
            SiteFailure::Crash => {
                self.postgres().crash().await;
                sleep(pause).await;
                self.postgres().up().await;
            }
            SiteFailure::CrashBoth => {
                self.postgres().crash().await;
                sleep(pause).await;
                self.kill();
                self.postgres().up().await;
                self.start().await;
            }
            SiteFailure::CrashBothServerFirst => {
                self.kill();
                self.postgres().crash().await;
                self.start_before_postgres().await;
            }
            SiteFailure::One(server_failure) => {
                let any = random.random_range(0..self.instances.len());
                self.instances[any].fail(server_failure, random).await;
            }
        }
        self.timeline.able();
    }

    /// Starts the servers, which wait until their database is available again.
    async fn start_before_postgres(&mut self) {
        let postgres = self.postgres.take().expect("a database server");
        tokio::join!(self.start(), postgres.up());
        self.postgres = Some(postgres);
    }

    fn postgres(&self) -> &Postgres {
        self.postgres.as_ref().expect("a database server")
    }

    /// Whether the database can be killed.
    pub(crate) fn has_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    fn kill(&mut self) {
        self.instances.iter_mut().for_each(Instance::kill);
    }

    async fn start(&mut self) {
        for instance in &mut self.instances {
            instance.start_after(Duration::ZERO).await;
        }
    }

    /// Stops the servers, and waits until they have ended.
    pub(crate) async fn stop(&mut self) {
        for instance in &mut self.instances {
            instance.stop().await;
        }
    }
}

impl Instance {
    /// Causes `server_failure`, and returns once the server runs and can write.
    async fn fail(&mut self, server_failure: ServerFailure, random: &mut StdRng) {
        let mut some = |ms_max: u64| Duration::from_millis(random.random_range(0..=ms_max));
        match server_failure {
            ServerFailure::Kill => {
                self.kill();
                self.start_after(some(500)).await;
            }
            ServerFailure::KillTwice => {
                self.kill();
                self.start_after(Duration::ZERO).await;
                sleep(some(300)).await;
                self.kill();
                self.start_after(Duration::ZERO).await;
            }
            ServerFailure::Stop => {
                self.stop().await;
                self.start_after(some(500)).await;
            }
            ServerFailure::Hold => {
                self.process().signal("STOP");
                sleep(some(2_500)).await;
                self.process().signal("CONT");
            }
            ServerFailure::Cut => {
                self.proxy().refuse();
                sleep(some(4_000)).await;
                self.proxy().stop_cutting();
            }
            ServerFailure::CutAndKill | ServerFailure::CutAndStop => {
                self.proxy().refuse();
                sleep(some(1_000)).await;
                if server_failure == ServerFailure::CutAndKill {
                    self.kill();
                } else {
                    self.stop().await;
                }
                self.start_before_the_proxy(some(1_000)).await;
            }
            ServerFailure::Storm => {
                let span = some(3_000);
                self.proxy().chaos(random.random(), STORM_BYTES);
                sleep(span).await;
                self.proxy().stop_cutting();
            }
            ServerFailure::AtCommits => self.cut_at_commits().await,
        }
    }

    async fn cut_at_commits(&self) {
        let mut cuts = self.proxy().cuts();
        for cut in [Cut::Answer(COMMIT), Cut::After(COMMIT), Cut::Answer(COMMIT)] {
            let before = *cuts.borrow_and_update();
            self.proxy().cut(cut);
            let cut = timeout(COMMIT_MAX, cuts.wait_for(|cuts| before < *cuts)).await;
            drop(cut.expect("viewers who go on").expect("a proxy that goes on"));
        }
    }

    /// Starts the server, which waits until its database can be reached again.
    async fn start_before_the_proxy(&mut self, away: Duration) {
        let proxy = self.proxy.take().expect("a database that is reached over a network");
        tokio::join!(self.start_after(Duration::ZERO), async {
            sleep(away).await;
            proxy.stop_cutting();
        });
        self.proxy = Some(proxy);
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("a database that is reached over a network")
    }

    /// Takes the process out of the instance, hides the server from viewers, and returns the process.
    fn leave(&mut self) -> Process {
        self.running.send_modify(|running| drop(running.remove(&self.number)));
        self.process.take().expect("it runs")
    }

    fn kill(&mut self) {
        check_log(&self.leave().kill());
    }

    /// Stops the server, and waits until it has ended.
    async fn stop(&mut self) {
        let process = self.leave();
        check_log(&process.terminate().await);
    }

    async fn start_after(&mut self, pause: Duration) {
        sleep(pause).await;
        let mut command = binary();
        command
            .arg("--wait-for-store")
            .arg("--spool")
            .arg(self.spool.path())
            // All viewers have one address.
            .env("METRICS_LIMITS", "joins_per_address=none,events_per_address=none")
            .env("DATABASE_URL", &self.url);
        let process = Process::run(command).await;
        let server = (*process).clone();
        self.running.send_modify(|running| drop(running.insert(self.number, server)));
        self.process = Some(process);
    }
}

/// Checks that the log has no errors: the server must recover from all of these disasters without an operator.
fn check_log(log: &str) {
    assert!(!log.contains(" ERROR "), "{log}");
}

//! Acknowledged events are stored and count once, even if the server or its database fails.
//!
//! Real clients watch while both are killed, stopped, suspended and cut off from each other at random. A ledger records
//! every event and its acknowledgement; in the end the database must hold the acknowledged events, nothing else but
//! events that it may hold, and the reports must agree with it to the millisecond.
//!
//! On TimescaleDB two servers share the database, and viewers connect to each in turn. `METRICS_CHAOS_SECONDS` sets the
//! duration, `METRICS_CHAOS_INSTANCES` the number of servers, `METRICS_CHAOS_ROUNDS` how often a server is killed under
//! load, `METRICS_CHAOS_SEED` repeats each random choice, and `METRICS_OUTAGE_SECONDS` sets how long the database is
//! unavailable.

mod events;
mod ledger;
mod outage;
mod page;
mod site;
mod viewers;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ledger::{Checked, Ledger};
use metrics_core::ApiKey;
use metrics_core::interval::{Interval, Segments};
use metrics_server::EXAMPLE_KEY;
use metrics_server_testing::{Database, Process, Server, Watched, binary};
use metrics_testing::Proxy;
use outage::{Audience, EVENTS_PER_SECOND, VIEWERS};
use page::Stage;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use site::{ServerFailure, Site, SiteFailure};
use tempfile::TempDir;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use viewers::{PAGES, Population, VIDEOS};

/// How long viewers may take to finish, on a busy machine.
const FINISH_MAX: Duration = Duration::from_secs(120);

/// How long the server may take to write all waiting events once the database is available again.
const WRITTEN_MAX: Duration = Duration::from_secs(10);

/// The interval of polls for that.
const POLL: Duration = Duration::from_millis(50);

/// How much the memory of a server may grow per waiting event, and how much in addition, in KiB: several times the
/// measured growth.
const EVENT_KIB_MAX: u64 = 4;
const GROWTH_KIB_MAX: u64 = 64 * 1024;

/// Runs one test at a time: the tests share the database server that they kill.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A setting of this run, from the environment.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    optional(name).unwrap_or(default)
}

fn optional<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}

#[expect(clippy::print_stderr, reason = "who repeats a failure must know what was drawn by lot")]
fn log(kind: impl Display) {
    eprintln!("{kind}");
}

/// The viewers, and the servers that they use.
struct Chaos {
    site: Site,
    ledger: Arc<Ledger>,
    enough: watch::Sender<bool>,
    viewers: JoinSet<()>,
    random: StdRng,
}

impl Chaos {
    async fn begin(population: Population) -> Self {
        let seed = setting("METRICS_CHAOS_SEED", rand::rng().random::<u32>());
        log(format!("METRICS_CHAOS_SEED={seed}"));
        let mut random = StdRng::seed_from_u64(seed.into());
        let site = Site::new(optional("METRICS_CHAOS_INSTANCES")).await;
        let ledger =
            Arc::new(Ledger::new(ApiKey::new(EXAMPLE_KEY).unwrap(), site.servers().count()));
        let enough = watch::Sender::new(false);
        let stage = Stage {
            ledger: Arc::clone(&ledger),
            running: site.running(),
            enough: enough.subscribe(),
            requests: AtomicUsize::new(0),
        };
        let viewers = population.enter(&Arc::new(stage), &mut random);
        Self { site, ledger, enough, viewers, random }
    }

    /// Runs the viewers for a random time of at most `ms_max` milliseconds.
    async fn go_on(&mut self, ms_max: u64) {
        let pause = Duration::from_millis(self.random.random_range(0..=ms_max));
        tokio::select! {
            () = sleep(pause) => {}
            ended = self.viewers.join_next() => panic!("a viewer does not go on: {ended:?}"),
        }
    }

    /// Waits until all viewers finish, and compares the database and the reports with the ledger.
    async fn end(mut self) {
        self.enough.send_replace(true);
        let finish = async {
            while let Some(ended) = self.viewers.join_next().await {
                ended.unwrap();
            }
        };
        timeout(FINISH_MAX, finish).await.expect("all viewers come to their end");
        let store = self.site.database.open().await;
        let checked = self.ledger.check(&*store, &self.site.timeline).await;
        for server in self.site.servers() {
            check_reports(server, &checked).await;
        }
        // The writes of a stop change nothing either.
        self.site.stop().await;
        self.ledger.check(&*store, &self.site.timeline).await;
        log(self.ledger.summary());
        log(self.site.failures_caused());
    }
}

/// Checks that the reports agree with the database.
async fn check_reports(server: &Server, checked: &[Checked]) {
    for video in 0..VIDEOS {
        let of_video: Vec<_> = checked.iter().filter(|it| it.video == video).collect();
        let query = json!({ "identifier": format!("video {video}"), "minimum_watch_seconds": 0 });
        let mut expected = Watched { plays: of_video.len() as u64, ..Watched::NOTHING };
        let (mut view_ms, mut unique_ms) = (0, 0);
        for session in &of_video {
            let intervals =
                session.segments.iter().filter_map(|(from, to)| Interval::new(*from, *to));
            let segments: Segments = intervals.collect();
            view_ms += segments.len_ms() + session.scrubbed_ms;
            unique_ms += segments.union().len_ms();
        }
        expected.seconds = view_ms as f64 / 1_000.0;
        expected.unique = unique_ms as f64 / 1_000.0;
        assert_eq!(server.select(&query).await, expected, "video {video}");
        assert_eq!(sources(server, &query).await, by_page(&of_video), "video {video}");
        assert_eq!(seconds(server, &query).await, by_second(&of_video), "video {video}");
    }
}

/// The plays of each page, according to the report.
async fn sources(server: &Server, query: &Value) -> BTreeMap<String, u64> {
    let report = server.report("sources", query).await;
    let mut plays = BTreeMap::new();
    for source in report["sources"].as_array().unwrap() {
        let path = source["path"].as_str().unwrap().to_owned();
        *plays.entry(path).or_insert(0) += source["views"].as_u64().unwrap();
    }
    plays.retain(|_, plays| 0 < *plays);
    plays
}

fn by_page(sessions: &[&Checked]) -> BTreeMap<String, u64> {
    let count = |page| sessions.iter().filter(|it| it.page == page).count() as u64;
    let counts = (0..PAGES).map(|page| (format!("https://example.com/page/{page}"), count(page)));
    counts.filter(|(_, count)| 0 < *count).collect()
}

/// Views and viewers of every second that has any, according to the report.
async fn seconds(server: &Server, query: &Value) -> BTreeMap<u64, (u64, u64)> {
    let mut query = query.clone();
    query["interval"] = json!("1 year");
    let report = server.report("engagement", &query).await;
    let mut seconds = BTreeMap::new();
    for bucket in report["engagement"].as_array().unwrap() {
        for second in bucket["per_second"].as_array().unwrap() {
            let number = |field: &str| second[field].as_u64().unwrap();
            let sums = seconds.entry(number("second")).or_insert((0, 0));
            *sums = (sums.0 + number("views"), sums.1 + number("viewers"));
        }
    }
    seconds.retain(|_, (views, _)| 0 < *views);
    seconds
}

/// The result that `seconds` must return, counted from the sessions. No two segments of a session overlap, but they may
/// share a second.
fn by_second(sessions: &[&Checked]) -> BTreeMap<u64, (u64, u64)> {
    let mut seconds = BTreeMap::new();
    for session in sessions {
        let mut last = None;
        for (from_ms, to_ms) in &session.segments {
            for second in from_ms / 1_000..to_ms.div_ceil(1_000) {
                let sums = seconds.entry(second.into()).or_insert((0, 0));
                sums.0 += 1;
                sums.1 += u64::from(last != Some(second));
                last = Some(second);
            }
        }
    }
    seconds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_survive_all_faults_and_count_once() {
    const POPULATION: Population =
        Population { plain: 12, stamped: 12, repeating: 6, batches: 6, watchers: 12 };
    let _alone = ALONE.lock().await;
    let span = Duration::from_secs(setting("METRICS_CHAOS_SECONDS", 60));
    let mut chaos = Chaos::begin(POPULATION).await;
    let began = Instant::now();
    while began.elapsed() < span {
        // One pause in ten is long enough for an open segment to need a checkpoint.
        let pause = if chaos.random.random_bool(0.1) { 30_000 } else { 2_000 };
        let left = span.saturating_sub(began.elapsed()).as_millis() as u64;
        chaos.go_on(left.min(pause)).await;
        let Chaos { site, random, .. } = &mut chaos;
        site.fail_at_random(random).await;
        let store = chaos.site.database.open().await;
        chaos.ledger.check_acknowledged(&*store).await;
    }
    chaos.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_under_load_survive_every_kill() {
    const POPULATION: Population =
        Population { plain: 20, stamped: 20, repeating: 10, batches: 10, watchers: 0 };
    let _alone = ALONE.lock().await;
    let rounds: u32 = setting("METRICS_CHAOS_ROUNDS", 5);
    let mut chaos = Chaos::begin(POPULATION).await;
    for round in 0..rounds {
        chaos.go_on(1_000).await;
        let Chaos { site, random, .. } = &mut chaos;
        // On a database server, every other round kills it or cuts it off.
        let database = [
            SiteFailure::One(ServerFailure::AtCommits),
            SiteFailure::Crash,
            SiteFailure::CrashBoth,
            SiteFailure::CrashBothServerFirst,
        ];
        let site_failure = match round % 2 {
            1 if site.has_postgres() => database[random.random_range(0..database.len())],
            _ => SiteFailure::One(ServerFailure::Kill),
        };
        site.fail(site_failure, random).await;
        let store = chaos.site.database.open().await;
        chaos.ledger.check_acknowledged(&*store).await;
    }
    chaos.end().await;
}

/// How many events of a server are not durable.
async fn waiting(server: &Server) -> u64 {
    let stats = server.http("GET", "/metrics").send().await;
    let stats = String::from_utf8(stats.body).unwrap();
    let waiting = stats.lines().find_map(|line| line.strip_prefix("metrics_waiting_events "));
    waiting.expect("a figure of this name").parse().unwrap()
}

/// Runs on TimescaleDB in every run: a file is never unavailable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unavailable_database_loses_no_event_and_no_connection() {
    let _alone = ALONE.lock().await;
    let away = Duration::from_secs(setting("METRICS_OUTAGE_SECONDS", 10));
    let url = env::var("METRICS_TEST_TIMESCALE_URL").expect("an address of a TimescaleDB");
    let database = Database::on(&url).await;
    let (proxy, url) = Proxy::start(&database.url()).await;
    let spool = TempDir::new().unwrap();
    let mut command = binary();
    command.arg("--spool").arg(spool.path()).env("DATABASE_URL", url);
    let server = Process::run(command).await;
    let mut audience = Audience::enter(&server).await;
    audience.go_on(Duration::from_secs(3)).await;
    let before_kib = server.resident_kib();

    proxy.refuse();
    audience.go_on(away).await;
    let (waited, during_kib) = (waiting(&server).await, server.resident_kib());
    proxy.stop_cutting();
    let back = Instant::now();
    let written = async {
        // Some events are in transit all the time.
        while VIEWERS < waiting(&server).await {
            audience.go_on(POLL).await;
        }
    };
    timeout(WRITTEN_MAX, written).await.expect("all that waited is written soon");
    let took = back.elapsed();
    let (viewers, events, seconds) = audience.end().await;
    let after_kib = server.resident_kib();

    log(format!(
        "away for {away:?}: {waited} events waited, written in {took:?}; {viewers} viewers, {events} events; \
         resident KiB before {before_kib}, at the end of it {during_kib}, after {after_kib}"
    ));
    // A busy machine may slow the viewers down.
    assert!(away.as_secs() * EVENTS_PER_SECOND / 2 < waited, "only {waited} events waited");
    assert!(during_kib.saturating_sub(before_kib) <= GROWTH_KIB_MAX + waited * EVENT_KIB_MAX);
    let watched = server.watched("intro").await;
    assert_eq!(watched, Watched { plays: viewers, seconds, unique: seconds });
    assert_eq!(database.count_sessions().await, viewers);
}

//! Connections to a database server that break in the middle of a commit: nothing is lost, and nothing counts twice.
//!
//! Duplicates would be visible: events without the player's clock count each time they arrive, and a replay is a
//! segment of its own.

#![cfg(feature = "timescale")]

use std::sync::Arc;
use std::time::Duration;

use metrics_core::event::Action;
use metrics_core::interval::Segments;
use metrics_core::key::SessionId;
use metrics_core::recorder::Acknowledgement;
use metrics_core::session::Stored;
use metrics_core::store::{Store, TimescaleStore};
use metrics_core::upkeep;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_testing::Backend::{Postgres, Timescale};
use metrics_testing::{Backend, Cut, Database, Proxy, WallClock};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

/// The language of each session's track: every write of a session contains it. A batch is one statement, which commits
/// as it ends.
const COMMIT: &str = "the-language-of-commits";

/// Longer than any operation here, including new attempts to connect.
const TIMEOUT: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.expect("it hangs")
}

/// A database, and servers that reach it through a proxy.
struct Site {
    database: Database,
    proxy: Proxy,
    url: String,
    clock: WallClock,
    key: ApiKey,
}

impl Site {
    async fn new(backend: Backend) -> Self {
        let database = Database::new(backend).await;
        let (proxy, url) = Proxy::start(&database.url()).await;
        let clock = WallClock::at(1_700_000_000_000);
        let key = ApiKey::generate();
        let direct = TimescaleStore::connect(&database.url()).await.unwrap();
        direct.create_key(&key, clock.now()).await.unwrap();
        Self { database, proxy, url, clock, key }
    }

    async fn server(&self) -> Metrics {
        let store = TimescaleStore::connect(&self.url).await.unwrap();
        let metrics = Metrics::builder(Arc::new(store)).clock(self.clock.reader()).start();
        assert!(metrics.accepts_key(&self.key).await.unwrap());
        metrics
    }

    async fn join(&self, server: &Metrics, session: &str) -> Viewing {
        let join = Join::new(self.key.clone(), session, Video::labelled("intro"));
        server.join(join).await.unwrap()
    }

    /// The stored state of sessions, loaded over a connection that is never cut.
    async fn stored(&self, sessions: &[String]) -> Vec<Option<Stored>> {
        let direct = TimescaleStore::connect(&self.database.url()).await.unwrap();
        let ids: Vec<_> = sessions.iter().map(|name| SessionId::new(&self.key, name)).collect();
        let loaded = upkeep::load(&direct, &ids).await.unwrap();
        loaded.into_iter().map(|it| it.map(|loaded| loaded.stored)).collect()
    }
}

/// The events sent for a session, and their acknowledgements.
#[derive(Default)]
struct Sent {
    acknowledgements: Vec<Acknowledgement>,
    segments: Vec<(u32, u32)>,
    failures: u32,
}

impl Sent {
    /// Sends a second of video, and a failure.
    fn send(&mut self, viewing: &Viewing, second: u32) {
        for event in [
            PlayerEvent::play(second.into()),
            PlayerEvent::new(Action::PlaybackFailure),
            PlayerEvent::pause(f64::from(second) + 1.0),
        ] {
            self.acknowledgements.push(viewing.submit(&event).unwrap());
        }
        self.segments.push((1_000 * second, 1_000 * second + 1_000));
        self.failures += 1;
    }

    async fn durable(&mut self) {
        for mut acknowledgement in self.acknowledgements.drain(..) {
            soon(acknowledgement.durable()).await.unwrap();
        }
    }

    #[track_caller]
    fn check(&mut self, stored: Option<&Stored>, when: &str) {
        let stored = stored.expect("the session is stored");
        self.segments.sort_unstable();
        let segments = Segments::decode(&stored.segments).unwrap();
        let segments: Vec<_> = segments.iter().map(|it| (it.start_ms(), it.end_ms())).collect();
        assert_eq!(segments, self.segments, "{when}");
        assert_eq!(stored.counters.failures, self.failures, "{when}");
    }
}

async fn check_cuts(backend: Backend) {
    const ROUNDS: u32 = 12;
    let site = Site::new(backend).await;
    let server = site.server().await;
    let sessions: Vec<_> = (0..5).map(|session| session.to_string()).collect();
    let mut viewings = Vec::new();
    for session in &sessions {
        let (viewing, mut sent) = (site.join(&server, session).await, Sent::default());
        sent.send(&viewing, 0);
        let track = Action::TrackSet { language: Some(COMMIT.to_owned()) };
        sent.acknowledgements.push(viewing.submit(&PlayerEvent::new(track)).unwrap());
        sent.durable().await;
        viewings.push((viewing, sent));
    }
    let mut cuts = site.proxy.cuts();
    let mut cut_times = 0;
    for round in 0..ROUNDS {
        for cut in [Cut::Before(COMMIT), Cut::After(COMMIT), Cut::Answer(COMMIT)] {
            site.proxy.cut(cut);
            for (viewing, sent) in &mut viewings {
                sent.send(viewing, round % 3);
            }
            for (_, sent) in &mut viewings {
                sent.durable().await;
            }
            cut_times += 1;
            soon(cuts.wait_for(|cuts| cut_times <= *cuts)).await.unwrap();
            let stored = site.stored(&sessions).await;
            for ((_, sent), stored) in viewings.iter_mut().zip(&stored) {
                sent.check(stored.as_ref(), &format!("round {round}, {cut:?}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_the_end_of_a_commit_loses_and_doubles_nothing_on_timescaledb() {
    check_cuts(Timescale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_the_end_of_a_commit_loses_and_doubles_nothing_on_postgresql() {
    check_cuts(Postgres).await;
}

/// Two servers record into the same sessions, and all their connections break all the time, at random bytes.
async fn check_chaos(backend: Backend) {
    const SESSIONS: usize = 6;
    const ROUNDS: u32 = 150;
    let site = Arc::new(Site::new(backend).await);
    let servers = [site.server().await, site.server().await];
    site.proxy.chaos(11, 500..20_000);
    let mut viewers = JoinSet::new();
    for session in 0..SESSIONS {
        let (site, servers) = (Arc::clone(&site), servers.clone());
        viewers.spawn(async move {
            let name = session.to_string();
            let mut random = StdRng::seed_from_u64(session as u64);
            let mut sent = Sent::default();
            let mut here = site.join(&servers[0], &name).await;
            for round in 0..ROUNDS {
                sent.send(&here, round % 7);
                if random.random_bool(0.6) {
                    sent.durable().await;
                    // Only a session whose events are durable may move: else the other server would not load them.
                    here = site.join(&servers[random.random_range(0..2)], &name).await;
                }
            }
            sent.durable().await;
            (name, sent)
        });
    }
    let sent = soon(viewers.join_all()).await;
    let cuts = *site.proxy.cuts().borrow();
    assert!(20 < cuts, "{cuts} connections were cut, which shows nothing");
    site.proxy.stop_cutting();
    let names: Vec<_> = sent.iter().map(|(name, _)| name.clone()).collect();
    let stored = site.stored(&names).await;
    for ((name, mut sent), stored) in sent.into_iter().zip(&stored) {
        sent.check(stored.as_ref(), &name);
    }
    for server in servers {
        soon(server.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_all_the_time_lose_and_double_nothing_on_timescaledb() {
    check_chaos(Timescale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_all_the_time_lose_and_double_nothing_on_postgresql() {
    check_chaos(Postgres).await;
}

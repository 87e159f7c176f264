//! Several servers that hold one session at the same time: nothing is lost, and nothing counts twice.

use std::time::Duration;

use metrics_core::event::Action;
use metrics_core::recorder::Acknowledgement;
use metrics_core::{ApiKey, Metrics, PlayerEvent, Viewing};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::support::{Site, join, joining, look_round, segments, soon, two_servers};

/// The events sent for one session, to any server.
#[derive(Default)]
struct Sent {
    segments: Vec<(f64, f64)>,
    failures: u32,
    seeks: u32,
    acknowledgements: Vec<Acknowledgement>,
    clock_ms: i64,
}

impl Sent {
    fn submit(&mut self, viewing: &Viewing, event: &PlayerEvent) {
        self.acknowledgements.push(viewing.submit(event).unwrap());
    }

    /// Sends a segment, a failure or a seek; some with the player's clock, and some of those twice.
    fn anything(&mut self, random: &mut StdRng, viewings: &[Viewing]) {
        let place = random.random_range(0..viewings.len());
        self.clock_ms += 10_000;
        let stamped = random.random_bool(0.3);
        let stamp = |event: PlayerEvent, ms| {
            if stamped { event.with_timestamp(self.clock_ms + ms) } else { event }
        };
        let events = match random.random_range(0..4) {
            0 => {
                self.failures += 1;
                vec![stamp(PlayerEvent::new(Action::PlaybackFailure), 0)]
            }
            1 => {
                self.seeks += 1;
                vec![stamp(PlayerEvent::new(Action::Seeked), 0)]
            }
            _ => {
                let from = f64::from(random.random_range(0..100));
                let to = from + f64::from(random.random_range(1..20));
                self.segments.push((from, to));
                // No more than a player can play in this time at its fastest rate.
                vec![stamp(PlayerEvent::play(from), 0), stamp(PlayerEvent::pause(to), 5_000)]
            }
        };
        events.iter().for_each(|event| self.submit(&viewings[place], event));
        // They are never repeated on the same join, where they would count again.
        if stamped && 1 < viewings.len() && random.random_bool(0.3) {
            let place = (place + random.random_range(1..viewings.len())) % viewings.len();
            events.iter().for_each(|event| self.submit(&viewings[place], event));
        }
    }

    async fn check(mut self, site: &Site, key: &ApiKey, session: &str) {
        for acknowledgement in &mut self.acknowledgements {
            soon(acknowledgement.durable()).await.unwrap();
        }
        let stored = site.stored(key, session).await.unwrap();
        self.segments.sort_by(|one, two| one.partial_cmp(two).unwrap());
        assert_eq!(segments(&stored), self.segments, "session {session}");
        let counters = &stored.counters;
        let counted = (counters.failures, counters.details.seeks);
        assert_eq!(counted, (self.failures, self.seeks), "session {session}");
    }
}

async fn interleave(site: &Site, servers: &[Metrics], key: &ApiKey, seed: u64) {
    let session = seed.to_string();
    let mut random = StdRng::seed_from_u64(seed);
    let mut sent = Sent::default();
    // The session begins at one server, and the viewer moves from there.
    let place = random.random_range(0..servers.len());
    let first = join(&servers[place], key, &session).await;
    sent.segments.push((0.0, 1.0));
    sent.submit(&first, &PlayerEvent::play(0.0));
    sent.submit(&first, &PlayerEvent::pause(1.0));
    soon(sent.acknowledgements[1].durable()).await.unwrap();
    let mut viewings = Vec::new();
    for server in servers {
        viewings.push(join(server, key, &session).await);
    }
    for _ in 0..random.random_range(2..12) {
        sent.anything(&mut random, &viewings);
        match random.random_range(0..6) {
            // Gives the writers a random number of turns.
            0 | 1 => {
                for _ in 0..random.random_range(0..20) {
                    tokio::task::yield_now().await;
                }
            }
            2 => soon(sent.acknowledgements.last_mut().unwrap().durable()).await.unwrap(),
            3 => tokio::time::sleep(Duration::from_millis(1)).await,
            4 => {
                let place = random.random_range(0..viewings.len());
                let again = join(&servers[place], key, &session).await;
                drop(std::mem::replace(&mut viewings[place], again));
            }
            _ => {}
        }
    }
    sent.check(site, key, &session).await;
}

async fn interleave_many(servers: usize, failing: usize, seeds: std::ops::Range<u64>) {
    let site = Site::new();
    let key = site.server().await.create_key().await.unwrap();
    let mut running = Vec::new();
    for _ in 0..servers {
        let (server, failures) = site.faulty_server().await;
        assert!(server.accepts_key(&key).await.unwrap());
        failures.store(failing, std::sync::atomic::Ordering::Relaxed);
        running.push(server);
    }
    for seed in seeds {
        interleave(&site, &running, &key, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_servers_lose_nothing_and_double_nothing() {
    interleave_many(2, 0, 0..1_000).await;
}

/// More servers than a session has room for writers.
#[tokio::test(start_paused = true)]
async fn seven_servers_lose_nothing_and_double_nothing() {
    interleave_many(7, 0, 10_000..10_300).await;
}

#[tokio::test(start_paused = true)]
async fn one_server_with_a_faulty_store_loses_nothing_and_doubles_nothing() {
    interleave_many(1, 30, 20_000..20_500).await;
}

#[tokio::test(start_paused = true)]
async fn two_servers_with_faulty_stores_lose_nothing_and_double_nothing() {
    interleave_many(2, 30, 30_000..30_500).await;
}

#[tokio::test(start_paused = true)]
async fn batches_that_go_round_many_servers_are_all_counted() {
    let site = Site::new();
    let mut servers = Vec::new();
    let key = site.server().await.create_key().await.unwrap();
    for _ in 0..9 {
        servers.push(site.server().await);
    }
    let mut expected = Vec::new();
    for (number, server) in servers.iter().cycle().take(40).enumerate() {
        let from = 10.0 * number as f64;
        let viewing = server.visit(joining(&key, "a")).await.unwrap();
        soon(viewing.apply(PlayerEvent::play(from))).await.unwrap();
        soon(viewing.apply(PlayerEvent::pause(from + 2.0))).await.unwrap();
        expected.push((from, from + 2.0));
    }
    assert_eq!(site.segments(&key, "a").await, expected);
}

/// The batch has events without an effect when they were received first: they might have one now.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_sent_again_to_another_server_changes_nothing() {
    let (site, [here, there], key) = two_servers().await;
    let send = async |server: &Metrics, events: &[PlayerEvent]| {
        let viewing = server.visit(joining(&key, "a")).await.unwrap();
        for event in events {
            soon(viewing.apply(event.clone())).await.unwrap();
        }
    };
    let batch = [
        PlayerEvent::play(0.0).with_timestamp(1_000),
        PlayerEvent::pause(2.0).with_timestamp(3_000),
        PlayerEvent::pause(12.5).with_timestamp(3_500),
        PlayerEvent::new(Action::RebufferingEnd).with_timestamp(3_600),
    ];
    send(&here, &batch).await;
    send(&there, &[PlayerEvent::play(10.0).with_timestamp(4_000)]).await;
    send(&here, &batch).await;
    send(&there, &[PlayerEvent::pause(14.0).with_timestamp(8_000)]).await;
    assert_eq!(site.segments(&key, "a").await, [(0.0, 2.0), (10.0, 14.0)]);
}

/// The second server receives each `pause` without its `play`.
#[tokio::test(start_paused = true)]
async fn a_segment_may_begin_at_one_server_and_end_at_another() {
    for stamped in [false, true] {
        let (site, [here, there], key) = two_servers().await;
        let mut clock_ms = 0;
        let mut send = async |server: &Metrics, event: PlayerEvent| {
            clock_ms += 1_000;
            let event = if stamped { event.with_timestamp(clock_ms) } else { event };
            let viewing = server.visit(joining(&key, "a")).await.unwrap();
            soon(viewing.apply(event)).await.unwrap();
        };
        for from in [0.0, 10.0, 20.0, 30.0] {
            send(&here, PlayerEvent::play(from)).await;
            send(&there, PlayerEvent::pause(from + 1.0)).await;
        }
        let expected = [(0.0, 1.0), (10.0, 11.0), (20.0, 21.0), (30.0, 31.0)];
        assert_eq!(site.segments(&key, "a").await, expected, "stamped: {stamped}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_comes_back_from_another_server_is_followed() {
    let (site, [here, there], key) = two_servers().await;
    let viewing = join(&here, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(1.0)).await.unwrap();
    drop(viewing);
    let viewing = join(&there, &key, "a").await;
    viewing.apply(PlayerEvent::play(10.0)).await.unwrap();
    site.clock.pass(3.0);
    soon(viewing.lose(site.clock.moment()).durable()).await.unwrap();
    let viewing = join(&here, &key, "a").await;
    viewing.apply(PlayerEvent::pause(14.5)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 1.0), (10.0, 14.5)]);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_moves_to_another_server_watches_one_session() {
    let (site, [here, there], key) = two_servers().await;
    let old = join(&here, &key, "a").await;
    old.apply(PlayerEvent::play(0.0)).await.unwrap();
    site.clock.pass(10.0);
    // The server of the old connection has not detected its loss yet.
    let new = join(&there, &key, "a").await;
    site.clock.pass(10.0);
    new.apply(PlayerEvent::pause(19.0)).await.unwrap();
    site.clock.pass(40.0);
    soon(old.lose(site.clock.moment()).durable()).await.unwrap();
    new.apply(PlayerEvent::play(30.0)).await.unwrap();
    new.apply(PlayerEvent::pause(31.0)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 19.0), (30.0, 31.0)]);
}

/// A server that detects late that a viewer has moved must not remove segments that the other server wrote.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_given_up_late_takes_nothing_back() {
    for (stays, expected) in [(true, 90.0), (false, 20.0)] {
        // The server that is started last writes last whenever both write.
        let (site, [there, here], key) = two_servers().await;
        let old = join(&here, &key, "a").await;
        old.apply(PlayerEvent::play(0.0)).await.unwrap();
        site.clock.pass(5.0);
        let heard = site.clock.moment();
        site.clock.pass(5.0);
        let new = join(&there, &key, "a").await;
        look_round().await;
        site.clock.pass(10.0);
        let new = Some(new).filter(|_| stays);
        for _ in 0..4 {
            look_round().await;
            site.clock.pass(15.0);
        }
        soon(old.lose(heard).durable()).await.unwrap();
        site.clock.pass(10.0);
        look_round().await;
        drop(new);
        soon(there.stop()).await;
        assert_eq!(site.segments(&key, "a").await, [(0.0, expected)], "stays: {stays}");
    }
}

/// One server opens and closes the segment, while another one writes the same session in between.
#[tokio::test(start_paused = true)]
async fn a_segment_is_exact_although_another_server_writes_while_it_is_open() {
    enum End {
        Play,
        Leave,
        Drop,
    }
    for (end, name) in [(End::Play, "play"), (End::Leave, "leave"), (End::Drop, "drop")] {
        let (site, [here, there], key) = two_servers().await;
        let viewing = join(&here, &key, "a").await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        site.clock.pass(4.0);
        let other = there.visit(joining(&key, "a")).await.unwrap();
        other.apply(PlayerEvent::new(Action::PlaybackFailure)).await.unwrap();
        site.clock.pass(8.0);
        match end {
            End::Play => viewing.apply(PlayerEvent::play(50.0)).await.unwrap(),
            End::Leave => soon(viewing.leave().durable()).await.unwrap(),
            End::Drop => drop(viewing),
        }
        soon(here.stop()).await;
        assert_eq!(site.segments(&key, "a").await, [(0.0, 12.0)], "{name}");
        assert_eq!(site.stored(&key, "a").await.unwrap().counters.failures, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_on_many_threads_lose_nothing_and_double_nothing() {
    const ROUNDS: u32 = 60;
    let site = Site::new();
    let (here, there) = (site.server().await, site.server().await);
    let key = here.create_key().await.unwrap();
    while !there.accepts_key(&key).await.unwrap() {
        tokio::task::yield_now().await;
    }
    let mut tasks = JoinSet::new();
    for session in 0..8 {
        let name = session.to_string();
        let begin = join(&here, &key, &name).await;
        soon(begin.apply(PlayerEvent::play(1_000.0))).await.unwrap();
        soon(begin.apply(PlayerEvent::pause(1_001.0))).await.unwrap();
        // One server receives the plays, both receive failures.
        let (plays, key_of_plays) = (here.clone(), key.clone());
        let name_of_plays = name.clone();
        tasks.spawn(async move {
            for round in 0..ROUNDS {
                let viewing = join(&plays, &key_of_plays, &name_of_plays).await;
                let from = 3.0 * f64::from(round);
                let mut begun = viewing.submit(&PlayerEvent::play(from)).unwrap();
                if round % 2 == 0 {
                    soon(begun.durable()).await.unwrap();
                }
                soon(viewing.apply(PlayerEvent::pause(from + 2.0))).await.unwrap();
            }
        });
        for server in [here.clone(), there.clone()] {
            let (key, name) = (key.clone(), name.clone());
            tasks.spawn(async move {
                let viewing = server.visit(joining(&key, &name)).await.unwrap();
                for round in 0..ROUNDS {
                    let failure = PlayerEvent::new(Action::PlaybackFailure);
                    let mut failed = viewing.submit(&failure).unwrap();
                    if round % 3 == 0 {
                        soon(failed.durable()).await.unwrap();
                    }
                }
            });
        }
    }
    soon(tasks.join_all()).await;
    soon(here.stop()).await;
    soon(there.stop()).await;
    let mut expected: Vec<_> =
        (0..ROUNDS).map(|round| (3.0 * f64::from(round), 3.0 * f64::from(round) + 2.0)).collect();
    expected.push((1_000.0, 1_001.0));
    for session in 0..8 {
        let stored = site.stored(&key, &session.to_string()).await.unwrap();
        assert_eq!(stored.counters.failures, 2 * ROUNDS, "session {session}");
        assert_eq!(segments(&stored), expected, "session {session}");
    }
}

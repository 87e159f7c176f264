//! Viewers, servers and a database with random actions and faults, against a model that is obviously right.
//!
//! Viewers join, play, seek, vanish, come back at the same server or at another, and send batches in any order and more
//! than once. Servers share a database that fails now and then; they are stopped, killed in the middle of a commit, and
//! started again. In every case, acknowledged events count once, other events are stored together or not at all, and
//! every report agrees with the [`naive`] model of each viewer's log.
//!
//! Viewers of that world wait until their events are durable before they move to another server. A [`Roamer`] waits for
//! none: several servers hold its session at the same time, and write it in any order. So its events have an effect that
//! does not depend on their order.
//!
//! The model makes sessions only. The suite of the stores checks reports against brute force; so here reports are
//! compared with those of an empty file into which the model's sessions are written at once.

#![cfg(all(feature = "sqlite", feature = "timescale"))]

mod naive;
mod roamer;
mod viewer;
mod world;

use std::ops::Range;
use std::time::Duration;

use metrics_testing::{Backend, on_every_store, repetitions};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use roamer::Roamer;
use viewer::Client;
use world::{Keys, World};

on_every_store!(
    reports_are_those_of_the_model,
    reports_are_those_of_the_model_although_the_database_fails,
);

/// The steps before each comparison, and the comparisons of a run.
const STEPS: usize = 20;
const CHECKS: usize = 3;

/// Fails if `future` takes longer than an hour: it must be waiting for something that never comes.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3_600), future).await.expect("it hangs")
}

async fn reports_are_those_of_the_model(backend: Backend) {
    runs(backend, 0).await;
}

async fn reports_are_those_of_the_model_although_the_database_fails(backend: Backend) {
    runs(backend, 20).await;
}

/// Some runs, or only the one that `METRICS_TEST_SEED` names.
async fn runs(backend: Backend, failing: usize) {
    let (first, nightly) = if backend == Backend::Sqlite { (0, 16) } else { (1_000, 4) };
    for seed in seeds(first, nightly) {
        run(backend, failing, seed).await;
    }
}

/// As many seeds as [`repetitions`] permits, or only the one that `METRICS_TEST_SEED` names.
fn seeds(first: u64, nightly: usize) -> Range<u64> {
    std::env::var("METRICS_TEST_SEED").map_or(first..first + repetitions(nightly) as u64, |seed| {
        let seed = seed.parse().expect("METRICS_TEST_SEED is a number");
        seed..seed + 1
    })
}

async fn run(backend: Backend, failing: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(backend, 2, Keys::ReadOnce, failing).await.with_viewers();
    for check in 0..CHECKS {
        for _ in 0..STEPS {
            step(&mut world, &mut random).await;
        }
        world.wait_until_idle().await;
        world.check(&format!("seed {seed}, check {check}")).await;
    }
}

async fn step(world: &mut World, random: &mut StdRng) {
    let viewer = random.random_range(0..world.viewers.len());
    let server = random.random_range(0..world.servers.len());
    match random.random_range(0..32) {
        0..=13 => {
            for _ in 0..random.random_range(1..6) {
                let viewer = random.random_range(0..world.viewers.len());
                use_client(world, random, viewer, server).await;
                run_other_tasks(random).await;
            }
        }
        14 | 15 => world.viewers[viewer].disconnect(),
        16 => world.viewers[viewer].leave(),
        17 => world.viewers[viewer].close_lost(),
        18 => world.viewers[viewer].durable().await,
        19 => world.everything_is_durable().await,
        20..=25 => world.pass(random.random_range(2..30)).await,
        26 => world.pass(random.random_range(61..100)).await,
        27 => world.stop(server).await,
        31 => world.erase(viewer).await,
        28 => world.close(random.random_range(1..100)).await,
        _ => world.crash(server, random).await,
    }
}

/// Gives servers a random amount of time to write.
async fn run_other_tasks(random: &mut StdRng) {
    if random.random_bool(0.2) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    yields(random.random_range(0..10)).await;
}

async fn yields(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// Does something that the viewer's client supports.
async fn use_client(world: &mut World, random: &mut StdRng, viewer: usize, server: usize) {
    let metrics = &world.servers[server].metrics;
    let viewer = &mut world.viewers[viewer];
    if viewer.client == Client::Batching {
        viewer.send(random, metrics).await;
    } else if random.random_bool(0.3) {
        viewer.fail_at(metrics).await;
    } else if random.random_bool(if viewer.server().is_some() { 0.25 } else { 0.6 }) {
        viewer.connect(server, metrics).await;
    } else {
        viewer.act(random);
    }
}

#[tokio::test(start_paused = true)]
async fn two_servers_lose_nothing_and_double_nothing() {
    roam(2, 0, 0, 1_000).await;
}

/// More servers than a session has room for writers.
#[tokio::test(start_paused = true)]
async fn seven_servers_lose_nothing_and_double_nothing() {
    roam(7, 0, 10_000, 300).await;
}

#[tokio::test(start_paused = true)]
async fn one_server_with_a_faulty_store_loses_nothing_and_doubles_nothing() {
    roam(1, 30, 20_000, 500).await;
}

#[tokio::test(start_paused = true)]
async fn two_servers_with_faulty_stores_lose_nothing_and_double_nothing() {
    roam(2, 30, 30_000, 500).await;
}

/// A session per seed, held by all servers of one SQLite file.
async fn roam(servers: usize, failing: usize, first: u64, nightly: usize) {
    let world = World::new(Backend::Sqlite, servers, Keys::Polled, failing).await;
    for seed in seeds(first, nightly) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut roamer = Roamer::begin(&world, &mut random, seed).await;
        for _ in 0..random.random_range(2..12) {
            roamer.act(&mut random);
            match random.random_range(0..6) {
                0 | 1 => yields(random.random_range(0..20)).await,
                2 => roamer.last_is_durable().await,
                3 => tokio::time::sleep(Duration::from_millis(1)).await,
                4 => roamer.join_again(&world, random.random_range(0..servers)).await,
                _ => {}
            }
        }
        roamer.durable().await;
        roamer.check(&world).await;
    }
}

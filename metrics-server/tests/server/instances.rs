//! Servers that share a database, each in a process of its own, act as one server for their viewers.
//!
//! Time passes as it does for an operator: no test clock reaches into another process.

use std::sync::Arc;
use std::time::Duration;

use metrics_server::EXAMPLE_KEY;
use metrics_server_testing::{Client, Database, Process, Server, Watched, soon};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

const TOPIC: &str = "session:0b61d2cf-6fd1-4d2e-8d7c-5f3f5d3f8a52";

/// How long the viewers of a dead server may still be counted.
const GONE_MAX: Duration = Duration::from_secs(30);

/// How long a server may still accept a revoked key.
const REVOKED_MAX: Duration = Duration::from_secs(1);

/// The interval of polls.
const POLL: Duration = Duration::from_millis(50);

/// An empty database, and two servers on it with the same key.
async fn two_servers() -> (Database, Process, Process) {
    let database = Database::new().await;
    let one = Process::start(&database).await;
    let two = Process::start(&database).await;
    (database, one, two)
}

/// A client with an open segment.
async fn viewer(server: &Server, topic: &str) -> Client {
    let mut client = server.connect().await;
    client.join(topic, "intro").await;
    client.play(topic, 0.0).await;
    client
}

/// The seconds of a video that were watched, each by one viewer and once.
async fn seconds_seen_once(server: &Server) -> Vec<u64> {
    let query = json!({ "identifier": "intro", "interval": "1 year" });
    let report = server.report("engagement", &query).await;
    let [bucket] = report["engagement"].as_array().unwrap().as_slice() else {
        panic!("one bucket is expected: {report}");
    };
    let seconds = bucket["per_second"].as_array().unwrap().iter();
    seconds
        .map(|second| {
            assert_eq!((&second["views"], &second["viewers"]), (&json!(1), &json!(1)), "{second}");
            second["second"].as_u64().unwrap()
        })
        .collect()
}

#[tokio::test]
async fn servers_that_start_at_once_make_one_database() {
    let database = Database::new().await;
    let start = || Process::start(&database);
    let (one, two, three) = tokio::join!(start(), start(), start());
    for server in [&one, &two, &three] {
        let answer = server.http("GET", "/api/v1/keys").send().await.json();
        assert_eq!(answer["keys"].as_array().map(Vec::len), Some(1), "{answer}");
        assert_eq!(answer["keys"][0]["key"], EXAMPLE_KEY);
        assert_eq!(server.http("GET", "/health/ready").send().await.status, 200);
    }
}

#[tokio::test]
async fn a_session_that_is_spread_over_two_servers_is_one_play() {
    let (database, one, two) = two_servers().await;
    // The first server has not noticed yet that this connection is dead.
    let mut half_open = viewer(&one, TOPIC).await;
    let mut client = two.connect().await;
    client.join(TOPIC, "intro").await;
    client.pause(TOPIC, 2.0).await;
    client.play(TOPIC, 10.0).await;
    client.pause(TOPIC, 12.0).await;
    drop(client);
    // The viewer moves to and fro, and each server has an older state of the session in memory.
    for (turn, server) in [&one, &two, &one, &two].into_iter().enumerate() {
        let mut client = server.connect().await;
        client.join(TOPIC, "intro").await;
        let from = 20.0 + 10.0 * turn as f64;
        client.play(TOPIC, from).await;
        client.pause(TOPIC, from + 1.0).await;
    }
    // An event that still reaches the first server is not lost either.
    half_open.play(TOPIC, 60.0).await;
    half_open.pause(TOPIC, 61.0).await;
    for server in [&one, &two] {
        assert_eq!(server.watched("intro").await, Watched::once(9.0));
        assert_eq!(seconds_seen_once(server).await, [0, 1, 10, 11, 20, 30, 40, 50, 60]);
        assert_eq!(server.watching().await, 0);
    }
    assert_eq!(database.count_sessions().await, 1);
}

#[tokio::test]
async fn viewers_are_counted_over_both_servers() {
    let (_database, one, two) = two_servers().await;
    let both = async || [one.watching().await, two.watching().await];
    assert_eq!(both().await, [0, 0]);
    let mut a = viewer(&one, "session:a").await;
    let _b = viewer(&one, "session:b").await;
    let mut c = viewer(&two, "session:c").await;
    assert_eq!(both().await, [3, 3]);
    a.pause("session:a", 1.0).await;
    assert_eq!(both().await, [2, 2]);
    assert_eq!(c.call("session:c", "phx_leave", &json!({})).await, Value::Null);
    assert_eq!(both().await, [1, 1]);
    // A viewer who changes servers is not counted twice.
    let mut moved = two.connect().await;
    moved.join("session:b", "intro").await;
    moved.play("session:b", 5.0).await;
    assert_eq!(both().await, [1, 1]);
    // The position is one that playback can have reached: the server would take a later one for the pause of the
    // segment before.
    moved.pause("session:b", 5.2).await;
    assert_eq!(both().await, [0, 0]);
}

#[tokio::test]
async fn the_viewers_of_a_server_that_died_are_not_counted_for_long() {
    let (_database, one, two) = two_servers().await;
    let _gone = viewer(&one, "session:gone").await;
    let moves = viewer(&one, "session:moves").await;
    let _stays = viewer(&two, "session:stays").await;
    assert_eq!(two.watching().await, 3);
    one.kill();
    drop(moves);
    let mut moved = two.connect().await;
    moved.join("session:moves", "intro").await;
    let leave = async {
        let mut polling = interval(POLL);
        while 2 < two.watching().await {
            polling.tick().await;
        }
    };
    timeout(GONE_MAX, leave).await.expect("nobody watches at a server that is dead");
    assert_eq!(two.watching().await, 2);
}

#[tokio::test]
async fn a_key_that_is_revoked_at_one_server_is_refused_at_the_other() {
    let (_database, one, two) = two_servers().await;
    let made = one.http("POST", "/api/v1/keys").send().await;
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let mut client = two.connect().await;
    client.join("session:other", "intro").await;
    client.key.clone_from(&key);
    // A new key reaches the other server in the same way.
    let join = json!({ "key": key, "identifier": "intro" });
    let known = async {
        let mut polling = interval(POLL);
        while client.call(TOPIC, "phx_join", &join).await != Value::Null {
            polling.tick().await;
        }
    };
    soon(known).await;
    client.play(TOPIC, 0.0).await;
    client.pause(TOPIC, 2.0).await;

    let id = key.replace('/', "%2F");
    let revoked = one.http("DELETE", &format!("/api/v1/keys/{id}")).send().await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let message = timeout(REVOKED_MAX, client.message()).await;
    let message = message.expect("the channel is closed within a second");
    assert_eq!((&message[2], &message[3]), (&json!(TOPIC), &json!("phx_close")));
    assert_eq!(client.call(TOPIC, "phx_join", &join).await, "invalid key");
    let event = json!({ "name": "play", "session_id": "s", "embed_id": "intro", "video_time": 0,
        "timestamp": 1, "key": key });
    let batch = two.http("POST", "/v1/events").json(&json!({ "events": [event] }));
    assert_eq!(batch.send().await.status, 401);
    // The revocation affects only that key, and only new events.
    client.play("session:other", 0.0).await;
    for server in [&one, &two] {
        let old = server.select(&json!({ "query": { "key": key } })).await;
        assert_eq!(old, Watched::once(2.0));
    }
}

/// How many seconds each viewer watches before a server dies, and again after it.
const STEPS: u64 = 10;

/// The state that the viewers under load and their test share.
struct Load {
    /// The seconds that each viewer has watched, with every event acknowledged.
    seconds: watch::Sender<Vec<u64>>,
    /// Whether the viewers may stop.
    enough: watch::Sender<bool>,
}

impl Load {
    fn new(viewers: usize) -> Self {
        Self { seconds: watch::Sender::new(vec![0; viewers]), enough: watch::Sender::new(false) }
    }

    /// Waits until each viewer has watched `STEPS` more seconds.
    async fn go_on(&self, viewers: &mut JoinSet<()>) {
        let mut seconds = self.seconds.subscribe();
        let before = seconds.borrow().clone();
        let further =
            |now: &Vec<u64>| now.iter().zip(&before).all(|(now, before)| before + STEPS <= *now);
        tokio::select! {
            all = seconds.wait_for(further) => drop(all.unwrap()),
            ended = viewers.join_next() => panic!("a viewer does not go on: {ended:?}"),
        }
    }

    /// Watches one second after another; each event is acknowledged before the next. After a lost connection, the
    /// viewer joins again at the `next` server and repeats the unacknowledged event.
    async fn watch(&self, viewer: usize, first: Server, mut next: watch::Receiver<Option<Server>>) {
        let topic = format!("session:{viewer}");
        let identifier = format!("video {viewer}");
        let mut client = first.connect().await;
        client.join(&topic, &identifier).await;
        while !*self.enough.borrow() {
            let second = self.seconds.borrow()[viewer];
            let at = 1_000 * second;
            for event in [
                json!({ "name": "play", "from": second, "timestamp": at }),
                json!({ "name": "pause", "to": second + 1, "timestamp": at + 999 }),
            ] {
                while !client.try_event(&topic, &event).await {
                    let next = soon(next.wait_for(Option::is_some)).await.unwrap().clone();
                    client = next.unwrap().connect().await;
                    client.join(&topic, &identifier).await;
                }
            }
            self.seconds.send_modify(|seconds| seconds[viewer] += 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_under_load_count_once_after_a_server_died() {
    const VIEWERS: usize = 30;
    let (database, one, two) = two_servers().await;
    let load = Arc::new(Load::new(VIEWERS));
    let (restarted, other) = (watch::Sender::new(None), watch::Sender::new(Some(two.clone())));
    let mut viewers = JoinSet::new();
    for viewer in 0..VIEWERS {
        let first = if viewer % 3 == 0 { two.clone() } else { one.clone() };
        let next = if viewer % 3 == 1 { restarted.subscribe() } else { other.subscribe() };
        let load = Arc::clone(&load);
        viewers.spawn(async move { load.watch(viewer, first, next).await });
    }
    load.go_on(&mut viewers).await;
    one.kill();
    let three = Process::start(&database).await;
    restarted.send_replace(Some(three.clone()));
    load.go_on(&mut viewers).await;
    load.enough.send_replace(true);
    soon(viewers.join_all()).await;

    let seconds = load.seconds.borrow().clone();
    for server in [&two, &three] {
        for (viewer, seconds) in seconds.iter().enumerate() {
            let watched = server.watched(&format!("video {viewer}")).await;
            assert_eq!(watched, Watched::once(*seconds as f64), "{viewer}");
        }
        assert_eq!(server.watching().await, 0);
    }
    assert_eq!(database.count_sessions().await, VIEWERS as u64);
}

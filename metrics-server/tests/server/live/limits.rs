//! Limits of streams, the store behind them, and their number in the process statistics.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::HeaderName;
use metrics_core::ApiKey;
use metrics_core::store::Error;
use metrics_server::Settings;
use metrics_server_testing::{Database, EventStream, Received, TestServer, soon};
use metrics_testing::{Call, Intercept, Intercepted, Method};
use tokio::time::interval;

use super::{OURS, OnlyOurs, viewer, watching};

/// The interval of polls.
const POLL: Duration = Duration::from_millis(50);

/// The number of open streams, as the process statistics say it.
async fn open_streams(server: &TestServer) -> u64 {
    let answer = server.http("GET", "/metrics").send().await;
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("metrics_live_streams "));
    line.unwrap().parse().unwrap()
}

/// Waits until this number of streams is open.
async fn until_open(server: &TestServer, number: u64) {
    let waiting = async {
        let mut polling = interval(POLL);
        while open_streams(server).await != number {
            polling.tick().await;
        }
    };
    soon(waiting).await;
}

#[tokio::test]
async fn open_streams_are_counted_until_their_clients_disconnect() {
    let server = TestServer::new().await;
    assert_eq!(open_streams(&server).await, 0);
    let mut streams = [server.live("").await, server.live("identifier=intro").await];
    for stream in &mut streams {
        stream.state().await;
    }
    assert_eq!(open_streams(&server).await, 2);
    let [one, _two] = streams;
    drop(one);
    until_open(&server, 1).await;
}

#[tokio::test]
async fn an_address_has_its_share_of_streams() {
    let header = HeaderName::from_static("x-forwarded-for");
    let settings = Settings::default().forwarded_header(header).connections_per_address(2);
    let server = TestServer::with(settings).await;
    let open = async |address: &str| {
        let http = server.http("GET", "/api/v1/live").header("x-forwarded-for", address);
        EventStream::open(http).await
    };
    let (one, mut two) = (open("192.0.2.1").await, open("192.0.2.1").await);
    assert_eq!((one.answer.status, two.answer.status), (200, 200));
    assert_eq!(open("192.0.2.1").await.answer.status, 503);
    let other = open("192.0.2.2").await;
    assert_eq!(other.answer.status, 200);
    two.state().await;
    drop(one);
    until_open(&server, 2).await;
    assert_eq!(open("192.0.2.1").await.answer.status, 200);
}

#[tokio::test]
async fn a_caller_has_few_selections_and_any_number_of_streams_of_each() {
    let server = TestServer::new().await;
    let mut streams = Vec::new();
    for parts in 1..=64 {
        streams.push(server.live(&format!("parts={parts}")).await);
    }
    let refused = server.http("GET", "/api/v1/live?parts=65").send().await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"overloaded".into()));
    for _ in 0..10 {
        streams.push(server.live("parts=7").await);
    }
    for stream in &mut streams {
        assert_eq!(stream.answer.status, 200);
        assert_eq!(watching(&stream.state().await.1), 0);
    }
}

#[tokio::test]
async fn an_address_cannot_use_up_the_selections_of_its_key() {
    let header = HeaderName::from_static("x-forwarded-for");
    let settings = Settings::default().forwarded_header(header).access(OnlyOurs);
    let server = TestServer::with(settings).await;
    assert!(server.metrics.import_key(&ApiKey::new(OURS).unwrap()).await.unwrap());
    let live = |address: &str, parts: u32| {
        let http = server.http("GET", "/api/v1/live").query(&format!("parts={parts}"));
        http.header("x-forwarded-for", address)
    };
    let mut streams = Vec::new();
    for parts in 1..=16 {
        streams.push(EventStream::open(live("192.0.2.1", parts)).await);
    }
    let refused = live("192.0.2.1", 17).send().await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"overloaded".into()));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    for (address, parts) in [("192.0.2.1", 7), ("192.0.2.2", 17), ("192.0.2.1", 17)] {
        streams.push(EventStream::open(live(address, parts)).await);
    }
    for stream in &mut streams {
        assert_eq!(stream.answer.status, 200);
        assert_eq!(watching(&stream.state().await.1), 0);
    }
}

/// A store that records and, at times, cannot be read.
#[derive(Clone, Debug, Default)]
struct Reads {
    fail: Arc<AtomicBool>,
}

#[async_trait]
impl Intercept for Reads {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        if method == Method::Snapshot && self.fail.load(Relaxed) {
            return Err(Error::Unavailable { store: "a test", source: "it is away".into() });
        }
        call.await
    }
}

#[tokio::test]
async fn a_stream_says_that_the_store_is_unavailable_and_goes_on() {
    let database = Database::new().await;
    let reads = Reads::default();
    let store = Intercepted::by(reads.clone(), database.open().await);
    let server = database.serve_over(Arc::new(store), Settings::default(), 1_000).await;
    let _client = viewer(&server, "session:a", "intro", 0.0).await;
    let mut stream = server.live("").await;
    let (_, before) = stream.state().await;
    reads.fail.store(true, Relaxed);
    let problem = loop {
        if let Received::Event(id, name, data) = stream.next().await
            && name == "problem"
        {
            assert_eq!(id, None);
            break data;
        }
    };
    assert_eq!(problem["code"], "unavailable");
    assert!(problem["error"].as_str().unwrap().contains("store"), "{problem}");
    reads.fail.store(false, Relaxed);
    let (_, after) = stream.state().await;
    assert_eq!(watching(&before), watching(&after));
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody() {
    let server = TestServer::new().await;
    let _silent: Vec<EventStream> = {
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(server.live("parts=200").await);
        }
        silent
    };
    let mut stream = server.live("parts=200").await;
    let mut client = viewer(&server, "session:a", "intro", 0.0).await;
    stream.wait_for(|state| watching(state) == 1).await;
    client.pause("session:a", 1.0).await;
    stream.wait_for(|state| watching(state) == 0).await;
}

//! The process statistics: their format is strict, and their values are right.

use std::collections::BTreeMap;

use metrics_server::{Credentials, Settings};
use metrics_server_testing::{GOOGLEBOT, Poller, Server, TestServer, soon};
use serde_json::json;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A family of samples.
struct Family {
    kind: String,
    // By their names, with their labels.
    samples: BTreeMap<String, f64>,
    // The buckets of a histogram, in their order.
    buckets: Vec<(f64, f64)>,
}

/// Parses statistics as strictly as `OpenMetrics` requires, as far as there are gauges, counters and histograms.
fn read(text: &str) -> BTreeMap<String, Family> {
    let text = text.strip_suffix("# EOF\n").expect("an end");
    let mut families = BTreeMap::new();
    let mut rest = text.lines().peekable();
    assert!(text.ends_with('\n') && text.lines().all(|line| !line.is_empty()));
    while let Some(line) = rest.next() {
        let (name, kind) = describe(line, "TYPE");
        assert!(name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_'), "{name}");
        if let Some(unit) = rest.next_if(|line| line.starts_with("# UNIT ")) {
            let (named, unit) = describe(unit, "UNIT");
            assert!(named == name && name.ends_with(&format!("_{unit}")), "{unit}");
        }
        let (named, help) = describe(rest.next().expect("a help"), "HELP");
        assert!(named == name && help.ends_with('.') && !help.contains('\\'), "{help}");
        let mut family =
            Family { kind: kind.to_owned(), samples: BTreeMap::new(), buckets: Vec::new() };
        while let Some(sample) = rest.next_if(|line| !line.starts_with('#')) {
            family.add(name, sample);
        }
        family.check(name);
        assert!(families.insert(name.to_owned(), family).is_none(), "{name} is there twice");
    }
    families
}

/// The name and the text of a line that describes a family.
fn describe<'a>(line: &'a str, keyword: &str) -> (&'a str, &'a str) {
    let rest = line.strip_prefix(&format!("# {keyword} ")).expect(keyword);
    rest.split_once(' ').expect("a name and a text")
}

impl Family {
    fn add(&mut self, name: &str, sample: &str) {
        let (labelled, value) = sample.rsplit_once(' ').expect("a name and a value");
        let value: f64 = value.parse().expect("a number");
        assert!(0.0 <= value && value.is_finite(), "{sample}");
        let (full, labels) = match labelled.split_once('{') {
            Some((full, labels)) => (full, Some(labels.strip_suffix("\"}").expect("an end"))),
            None => (labelled, None),
        };
        let label = labels.map(|it| it.split_once("=\"").expect("a label"));
        match (&*self.kind, full.strip_prefix(name).expect("a sample of its family"), label) {
            ("gauge", "", None | Some(("use", _))) | ("histogram", "_count" | "_sum", None) => {}
            ("counter", "_total", None) | ("counter", "_total", Some(("outcome", _))) => {}
            ("histogram", "_bucket", Some(("le", bound))) => {
                assert!(bound == "+Inf" || bound.contains('.'), "{sample}");
                let bound = bound.replace("+Inf", "inf").parse().expect("a bound");
                self.buckets.push((bound, value));
            }
            other => panic!("{other:?}"),
        }
        let before = self.samples.insert(labelled.to_owned(), value);
        assert!(before.is_none(), "{labelled} is there twice");
    }

    fn check(&self, name: &str) {
        if self.kind == "histogram" {
            let rises = |two: &[(f64, f64)]| two[0].0 < two[1].0 && two[0].1 <= two[1].1;
            assert!(self.buckets.windows(2).all(rises), "{:?}", self.buckets);
            let last = self.buckets.last().expect("buckets");
            assert_eq!(*last, (f64::INFINITY, self.samples[&format!("{name}_count")]));
            assert!(self.samples.contains_key(&format!("{name}_sum")));
        } else {
            assert!(!self.samples.is_empty(), "{name}");
        }
    }
}

/// All samples.
async fn stats(server: &Server) -> BTreeMap<String, f64> {
    let answer = server.http("GET", "/metrics").send().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(CONTENT_TYPE)));
    let families = read(str::from_utf8(&answer.body).unwrap());
    families.into_values().flat_map(|family| family.samples).collect()
}

/// Waits until a sample has a value.
async fn until(server: &Server, sample: &str, expected: f64) {
    let waiting = async { while stats(server).await[sample] != expected {} };
    soon(waiting).await;
}

#[tokio::test]
async fn stats_count_the_actions_of_viewers() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 3.0).await;
    // The repeated pause changes nothing.
    client.pause("session:a", 3.0).await;
    let event = |session: &str, time: f64| {
        json!({"name": "play", "session_id": session, "embed_id": "intro", "video_time": time,
               "timestamp": 1_700_000_000_000_u64, "key": server.key})
    };
    // The server has to load a session without a connection before it can detect that an event is a repetition.
    for _ in 0..2 {
        let batch = json!({"events": [event("b", 0.0)]});
        assert_eq!(server.http("POST", "/v1/events").json(&batch).send().await.status, 200);
    }
    let batch = json!({"events": [event("b", 1.0)]});
    let bot = server.http("POST", "/v1/events").header("user-agent", GOOGLEBOT).json(&batch);
    assert_eq!(bot.send().await.status, 200);

    let _poller = Poller::open(&server).await;

    let now = stats(&server).await;
    for (sample, expected) in [
        ("metrics_websockets", 1.0),
        ("metrics_longpoll_sessions", 1.0),
        ("metrics_connections", 2.0),
        ("metrics_sessions_connected", 1.0),
        ("metrics_sessions_in_memory", 2.0),
        ("metrics_joins_total{outcome=\"admitted\"}", 3.0),
        ("metrics_joins_total{outcome=\"invalid_key\"}", 0.0),
        ("metrics_joins_total{outcome=\"bot\"}", 1.0),
        ("metrics_events_total{outcome=\"accepted\"}", 4.0),
        ("metrics_events_total{outcome=\"unchanged\"}", 1.0),
        ("metrics_waiting_events", 0.0),
        ("metrics_waiting_sessions", 0.0),
        ("metrics_store_up", 1.0),
        ("metrics_commits_total{outcome=\"failed\"}", 0.0),
    ] {
        assert_eq!(now[sample], expected, "{sample}");
    }
    let held = |held_for: &str| now[&format!("metrics_memory_held_bytes{{use=\"{held_for}\"}}")];
    assert!(held("sessions") > 2.0 * 2_048.0 && held("longpolls") > 0.0, "{now:?}");
    // Each connection holds the same amount.
    assert_eq!(held("connections"), 2.0 * 16_384.0);
    assert!(held("sessions") < now["metrics_memory_max_bytes"]);
    assert_eq!(now["metrics_memory_refusals_total{outcome=\"request\"}"], 0.0);
    let commits = now["metrics_commits_total{outcome=\"done\"}"];
    assert!(3.0 <= commits, "{commits}");
    assert_eq!(now["metrics_commit_sessions_count"], commits);
    // Each batch had one session.
    assert_eq!(now["metrics_commit_sessions_bucket{le=\"1.0\"}"], commits);
    assert_eq!(now["metrics_commit_sessions_sum"], commits);
    let waits = now["metrics_acknowledgement_seconds_count"];
    assert!(commits <= waits && 0.0 < now["metrics_acknowledgement_seconds_sum"], "{now:?}");
    assert!(now["metrics_acknowledgement_seconds_sum"] < 60.0);

    let accepted = now["metrics_connections_accepted_total"];
    drop(client);
    until(&server, "metrics_websockets", 0.0).await;
    until(&server, "metrics_connections", 1.0).await;
    until(&server, "metrics_sessions_connected", 0.0).await;
    let later = stats(&server).await["metrics_connections_accepted_total"];
    assert!(accepted + 4.0 <= later, "{accepted} and then {later}");
}

#[tokio::test]
async fn stats_count_refusals_by_reason() {
    let server = TestServer::with(Settings::default().refuse_opted_out()).await;
    let batch = |key: &str| {
        let event = json!({"name": "play", "session_id": "a", "embed_id": "intro", "video_time": 0, "key": key});
        server.http("POST", "/v1/events").json(&json!({"events": [event]}))
    };
    batch(&server.key).header("sec-gpc", "1").send().await;
    for guess in 0..30 {
        batch(&format!("guess {guess}").replace(' ', "-")).send().await;
    }
    let now = stats(&server).await;
    assert_eq!(now["metrics_joins_total{outcome=\"opted_out\"}"], 1.0);
    let guesses = now["metrics_joins_total{outcome=\"invalid_key\"}"];
    assert!((20.0..30.0).contains(&guesses), "{guesses}");
    assert_eq!(now["metrics_joins_total{outcome=\"too_many_attempts\"}"], 30.0 - guesses);
}

#[tokio::test]
async fn stats_are_guarded() {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    let server = TestServer::with(Settings::default().access(credentials)).await;
    assert_eq!(server.http("GET", "/metrics").send().await.status, 401);
}

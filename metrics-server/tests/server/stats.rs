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
    // The buckets of each histogram, in their order, by their other labels.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
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
            Family { kind: kind.to_owned(), samples: BTreeMap::new(), buckets: BTreeMap::new() };
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
            Some((full, labels)) => (full, labels.strip_suffix('}').expect("an end")),
            None => (labelled, ""),
        };
        let read = |label: &'_ str| {
            let (label, text) = label.split_once("=\"").expect("a label");
            (label.to_owned(), text.strip_suffix('"').expect("an end").to_owned())
        };
        let labels: Vec<_> = labels.split(',').filter(|it| !it.is_empty()).map(read).collect();
        let names: Vec<&str> = labels.iter().map(|(label, _)| &**label).collect();
        match (&*self.kind, full.strip_prefix(name).expect("a sample of its family"), &names[..]) {
            ("gauge", "", [] | ["use"])
            | ("info", "_info", ["version"])
            | ("histogram", "_count" | "_sum", [] | ["endpoint"])
            | ("counter", "_total", [] | ["outcome"] | ["endpoint", "reason"]) => {}
            ("histogram", "_bucket", ["le"] | ["endpoint", "le"]) => {
                let (others, (_, bound)) = (&labels[..labels.len() - 1], labels.last().unwrap());
                assert!(bound == "+Inf" || bound.contains('.'), "{sample}");
                let bound = bound.replace("+Inf", "inf").parse().expect("a bound");
                let others = others.iter().map(|(label, text)| format!("{{{label}=\"{text}\"}}"));
                self.buckets.entry(others.collect()).or_default().push((bound, value));
            }
            other => panic!("{other:?}"),
        }
        let before = self.samples.insert(labelled.to_owned(), value);
        assert!(before.is_none(), "{labelled} is there twice");
    }

    fn check(&self, name: &str) {
        assert!(!self.samples.is_empty(), "{name}");
        assert_eq!(self.kind == "histogram", !self.buckets.is_empty(), "{name}");
        for (labels, buckets) in &self.buckets {
            let rises = |two: &[(f64, f64)]| two[0].0 < two[1].0 && two[0].1 <= two[1].1;
            assert!(buckets.windows(2).all(rises), "{buckets:?}");
            let last = buckets.last().expect("buckets");
            assert_eq!(*last, (f64::INFINITY, self.samples[&format!("{name}_count{labels}")]));
            assert!(self.samples.contains_key(&format!("{name}_sum{labels}")));
        }
    }
}

/// All samples.
async fn stats(server: &Server) -> BTreeMap<String, f64> {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = server.http("GET", "/metrics").header("accept", accept).send().await;
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

/// The names of samples in the text format of Prometheus. Each must have a description and a type, as `promtool check
/// metrics` requires.
fn check_prometheus(text: &str) -> Vec<String> {
    let mut kinds = BTreeMap::new();
    let mut helped = None;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            helped = Some(describe(line, "HELP").0);
        } else if line.starts_with('#') {
            let (name, kind) = describe(line, "TYPE");
            assert_eq!(helped.take(), Some(name), "{name} has no help");
            assert!((kind == "counter") == name.ends_with("_total"), "{name}");
            assert!(kinds.insert(name, kind).is_none(), "{name} is there twice");
        } else {
            let (name, _) = line.split_once(['{', ' ']).expect("a sample");
            let parts = ["_bucket", "_count", "_sum"];
            let of_histogram = parts.iter().find_map(|part| name.strip_suffix(part));
            let of_histogram = of_histogram.filter(|it| kinds.get(it) == Some(&"histogram"));
            assert!(kinds.contains_key(of_histogram.unwrap_or(name)), "{name} is not described");
            let labelled = line.rsplit_once(' ').expect("a value").0;
            names.push(labelled.to_owned());
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn both_formats_have_the_same_samples() {
    let server = TestServer::new().await;
    let answer = server.http("GET", "/metrics").send().await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let names = check_prometheus(str::from_utf8(&answer.body).unwrap());
    assert!(names.contains(&"metrics_waiting_events".to_owned()), "{names:?}");
    assert_eq!(names, stats(&server).await.into_keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn stats_measure_the_process_and_its_files() {
    let server = TestServer::new().await;
    let now = stats(&server).await;
    let version = format!("metrics_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(now[&version], 1.0);
    assert!(0.0 < now["metrics_database_bytes"], "{now:?}");
    if cfg!(target_os = "linux") {
        assert!(1e6 < now["process_resident_memory_bytes"], "{now:?}");
        assert!(now["process_open_fds"] < now["process_max_fds"], "{now:?}");
        assert!(0.0 < now["process_cpu_seconds_total"], "{now:?}");
        assert!(1.7e9 < now["process_start_time_seconds"], "{now:?}");
    }
}

#[tokio::test]
async fn stats_count_reports_by_endpoint() {
    let server = TestServer::new().await;
    let query = |query: serde_json::Value| {
        let request = server.http("POST", "/api/v1/query").json(&query);
        async { request.send().await.status }
    };
    assert_eq!(query(json!({})).await, 200);
    assert_eq!(query(json!({"metrics": ["plays"]})).await, 200);
    assert_eq!(query(json!({"metrics": ["nothing"]})).await, 400);
    let exported = server.http("GET", "/api/v1/export/sessions").send().await;
    assert_eq!(exported.status, 200);
    let now = stats(&server).await;
    for (sample, expected) in [
        ("metrics_report_seconds_count{endpoint=\"query\"}", 2.0),
        ("metrics_report_seconds_count{endpoint=\"export\"}", 1.0),
        ("metrics_report_seconds_count{endpoint=\"plays\"}", 0.0),
        ("metrics_report_failures_total{endpoint=\"query\",reason=\"refused\"}", 1.0),
        ("metrics_report_failures_total{endpoint=\"query\",reason=\"failed\"}", 0.0),
    ] {
        assert_eq!(now[sample], expected, "{sample}");
    }
    assert!(0.0 < now["metrics_report_seconds_sum{endpoint=\"query\"}"], "{now:?}");
}

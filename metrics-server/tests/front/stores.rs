//! Every store answers the same requests about the same sessions with the same bytes.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use metrics_core::recorder::{Acknowledgement, CHECKPOINT};
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_server::{Service, Settings};
use metrics_testing::{Backend, Database, WallClock, repetitions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

const SESSIONS: usize = 2_000;

/// How many sessions, the last ones, are still playing at the time of the requests.
const PLAYING: usize = 60;

/// The number of requests, at night.
const REQUESTS: usize = 400;

const KEYS: [&str; 3] =
    ["HDsj3NfKQTNwn5Ix9g+cfQ==", "AAAAAAAAAAAAAAAAAAAAAA==", "/////////////////////w=="];

const USER_AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
    "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "something else",
];

const PAGES: [&str; 5] = [
    "https://example.com/watch?v=1#t=10",
    "https://example.com:8443/watch",
    "http://example.com/",
    "https://a.example/%C3%A9/b%20c",
    "https://b.example/z/",
];

/// Boundaries of buckets: midnights in several zones, clock changes, a leap day, years.
const BOUNDARIES: [&str; 6] = [
    "2023-03-26T01:00:00Z",
    "2023-10-29T01:00:00Z",
    "2024-01-01T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "2024-03-10T07:00:00Z",
    "2024-05-01T04:00:00Z",
];

fn ms(text: &str) -> i64 {
    text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_millis()
}

fn videos() -> Vec<Video> {
    let described = |metadata: Value| metadata.as_object().cloned();
    let mut videos: Vec<_> =
        ["intro", "outro", "", "a \"quoted\" \u{1f600} name"].map(Video::labelled).into();
    for (identifier, metadata) in [
        (None, json!({ "vid": 1 })),
        (None, json!({ "vid": 1.5, "tags": ["a", "b"], "course": { "id": 7, "part": null } })),
        (Some("intro"), json!({ "vid": 2, "tags": ["b", ["c"]] })),
        (Some("outro"), json!({ "course": { "id": 7 } })),
        (Some("deep"), json!({ "a": [{ "b": [{ "c": true }] }] })),
    ] {
        videos.push(Video::new(identifier.map(str::to_owned), described(metadata)).unwrap());
    }
    videos
}

/// One session, with its events, for every store.
#[derive(Clone, Debug)]
struct Watch {
    session: String,
    key: ApiKey,
    video: Video,
    user_agent: &'static str,
    page: Option<&'static str>,
    data: Option<Value>,
    started_at_ms: i64,
    /// Each event, and the milliseconds between it and the previous one.
    events: Vec<(i64, PlayerEvent)>,
    /// Whether a batch carries the events.
    batch: bool,
    /// Whether the session is still playing at the time of the requests.
    playing: bool,
}

fn watches() -> Vec<Watch> {
    let mut random = StdRng::seed_from_u64(15);
    let videos = videos();
    let mut starts: Vec<_> = (0..SESSIONS).map(|_| started_at_ms(&mut random)).collect();
    starts.sort_unstable();
    let watch = |(number, started_at_ms): (usize, i64)| {
        let data = [
            None,
            Some(json!({ "plan": "free" })),
            Some(json!({ "plan": "paid", "n": number % 7 })),
        ];
        let batch = number % 3 == 0 && number < SESSIONS - PLAYING;
        let mut watch = Watch {
            session: format!("session {number}"),
            key: ApiKey::new(KEYS.choose(&mut random).unwrap()).unwrap(),
            video: videos.choose(&mut random).unwrap().clone(),
            user_agent: USER_AGENTS.choose(&mut random).unwrap(),
            page: PAGES.get(random.random_range(0..PAGES.len() + 2)).copied(),
            data: data.choose(&mut random).unwrap().clone(),
            started_at_ms,
            events: events(&mut random),
            batch,
            playing: SESSIONS - PLAYING <= number,
        };
        if batch {
            // A batch has a video identifier only: no metadata and no session data.
            watch.video = Video::labelled(["intro", "batched"][number % 2]);
            watch.data = None;
        }
        if watch.playing {
            watch.events.push((0, PlayerEvent::play(f64::from(random.random_range(0..50)))));
        }
        watch
    };
    starts.into_iter().enumerate().map(watch).collect()
}

/// A time that is mostly close to a boundary, otherwise anywhere in more than a year.
fn started_at_ms(random: &mut StdRng) -> i64 {
    match random.random_range(0..4) {
        0 => ms(BOUNDARIES.choose(random).unwrap()) + random.random_range(-1..=1),
        1 => ms(BOUNDARIES.choose(random).unwrap()) + random.random_range(-7_200_000..7_200_000),
        _ => random.random_range(ms("2023-03-01T00:00:00Z")..ms("2024-06-01T00:00:00Z")),
    }
}

fn events(random: &mut StdRng) -> Vec<(i64, PlayerEvent)> {
    let duration = *[None, Some(60.0), Some(59.999)].choose(random).unwrap();
    let mut events = Vec::new();
    let mut push = |after_ms, mut event: PlayerEvent| {
        event.duration = duration;
        events.push((after_ms, event));
    };
    for _ in 0..random.random_range(1..6) {
        let from_ms = if random.random_bool(0.4) { 0 } else { random.random_range(0..60_000) };
        let length_ms = match random.random_range(0..5) {
            0 => 0,
            1 => random.random_range(0..1_500),
            2 => 1_000 * random.random_range(0..10),
            _ => random.random_range(0..30_000),
        };
        push(500, PlayerEvent::play(f64::from(from_ms) / 1_000.0));
        // Without a pause, the next play closes it.
        if random.random_bool(0.85) {
            push(length_ms.into(), PlayerEvent::pause(f64::from(from_ms + length_ms) / 1_000.0));
        }
    }
    events
}

/// A server on one of the stores, with a clock that the test sets by hand.
struct Site {
    backend: Backend,
    // The database is removed when this is dropped.
    _database: Database,
    clock: WallClock,
    metrics: Metrics,
    service: Service,
    playing: Vec<Viewing>,
}

impl Site {
    async fn new(backend: Backend) -> Self {
        let database = Database::new(backend).await;
        let clock = WallClock::at(ms("2023-01-01T00:00:00Z"));
        let metrics = Metrics::builder(database.open().await).clock(clock.reader()).start();
        for key in KEYS {
            assert!(metrics.import_key(&ApiKey::new(key).unwrap()).await.unwrap());
            clock.pass(1.0);
        }
        let service = Service::new(metrics.clone(), Settings::default());
        Self { backend, _database: database, clock, metrics, service, playing: Vec::new() }
    }

    async fn request(&self, method: &str, target: &str, body: &Value) -> (u16, Bytes) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(target);
        let request = request.header("user-agent", USER_AGENTS[0]);
        let response = self.service.respond(request.body(Full::from(body)).unwrap()).await;
        let status = response.status().as_u16();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        (status, if target == "/api/v1/keys" { without_usage(&answer) } else { answer })
    }

    async fn record(&mut self, watches: &[Watch]) {
        let mut acknowledgements = Vec::new();
        for watch in watches {
            self.clock.pass_ms(watch.started_at_ms - self.clock.now_ms());
            if watch.batch {
                self.send(watch).await;
            } else {
                self.play(watch, &mut acknowledgements).await;
            }
        }
        for mut acknowledgement in acknowledgements {
            acknowledgement.durable().await.unwrap();
        }
    }

    async fn play(&mut self, watch: &Watch, acknowledgements: &mut Vec<Acknowledgement>) {
        let mut join = Join::new(watch.key.clone(), &watch.session, watch.video.clone());
        join = join.user_agent(watch.user_agent);
        if let Some(page) = watch.page {
            join = join.page(page);
        }
        if let Some(data) = &watch.data {
            join = join.session_data(data.as_object().unwrap().clone());
        }
        let viewing = self.metrics.join(join).await.unwrap();
        for (after_ms, event) in &watch.events {
            self.clock.pass_ms(*after_ms);
            acknowledgements.push(viewing.submit(event).unwrap());
        }
        if watch.playing {
            self.playing.push(viewing);
        } else {
            acknowledgements.push(viewing.leave());
        }
    }

    async fn send(&self, watch: &Watch) {
        let mut timestamp = watch.started_at_ms;
        let events = watch.events.iter().map(|(after_ms, event)| {
            timestamp += after_ms;
            let (name, video_time) = match event.action {
                metrics_core::Action::Play { from } => ("play", from),
                metrics_core::Action::Pause { to } => ("pause", to),
                _ => unreachable!("nothing else is sent"),
            };
            json!({ "name": name, "session_id": watch.session, "embed_id": watch.video.identifier(),
                "video_time": video_time, "duration": event.duration, "timestamp": timestamp,
                "source_url": watch.page, "key": watch.key.as_str() })
        });
        let batch = json!({ "events": events.collect::<Vec<_>>() });
        let (status, answer) = self.request("POST", "/v1/events", &batch).await;
        let expected = format!(r#"{{"accepted":{},"rejected":[]}}"#, watch.events.len());
        assert_eq!((status, &*answer), (200, expected.as_bytes()));
    }
}

/// A request.
#[derive(Debug)]
struct TestRequest {
    method: &'static str,
    target: String,
    body: Value,
}

fn test_request(random: &mut StdRng) -> TestRequest {
    let report = *["plays", "views", "sources", "engagement", "engagement", "watching"]
        .choose(random)
        .unwrap();
    let mut body = selection(random);
    let timeframe = [
        json!("100 years"),
        json!("40 days"),
        json!({ "from": "2023-03-26T00:59:59.999Z", "to": "2024-03-10T07:00:00Z" }),
        json!({ "from": ms("2023-10-29T01:00:00Z") / 1_000, "to": "2024-02-29T00:00:00.001+00:00" }),
        json!(ms("2023-12-24T00:00:00Z") / 1_000),
    ];
    body["timeframe"] = timeframe.choose(random).unwrap().clone();
    if report == "engagement" && random.random_bool(0.6) {
        body["ranges"] = json!([1, 3, 10, 97, 1_000].choose(random).unwrap());
    } else {
        // With fewer buckets per answer if each has all seconds of the video.
        let intervals =
            ["1 day", "3 months", "1 year", "1 week", "7 hours", "1 hour", "15 minutes"];
        let interval = if report == "engagement" { &intervals[..3] } else { &intervals[..] };
        body["interval"] = json!(interval.choose(random).unwrap());
    }
    if random.random_bool(0.5) {
        let zones = ["UTC", "Europe/Amsterdam", "America/New_York", "Asia/Kolkata", "Pacific/Apia"];
        body["timezone"] = json!(zones.choose(random).unwrap());
    }
    if random.random_bool(0.5) {
        let least = [json!(0), json!(0.5), json!(3), json!("1 minute"), json!(29.999)];
        body["minimum_watch_seconds"] = least.choose(random).unwrap().clone();
    }
    TestRequest { method: "POST", target: format!("/api/v1/{report}"), body }
}

fn selection(random: &mut StdRng) -> Value {
    let selections = [
        json!({ "identifier": "intro" }),
        json!({ "identifier": ["intro", "outro", "batched", "nobody's"] }),
        json!({ "identifier": "" }),
        json!({ "query": { "key": KEYS[0] } }),
        json!({ "query": { "key": KEYS[1], "session": { "plan": "free" } } }),
        json!({ "query": { "video": {} } }),
        json!({ "query": { "video": { "vid": 1 } } }),
        json!({ "query": { "video": { "tags": ["b"] } } }),
        json!({ "query": { "video": { "tags": [["c"]] } } }),
        json!({ "query": { "video": { "course": { "id": 7.0 } } } }),
        json!({ "query": { "video": { "a": [{ "b": [{}] }] } } }),
        json!({ "query": { "session": { "plan": "paid", "n": 3 } } }),
        json!({ "identifier": "outro", "query": { "video": { "course": {} }, "key": KEYS[2] } }),
        json!({ "identifier": "nobody's" }),
    ];
    selections.choose(random).unwrap().clone()
}

/// Random requests, one of each report, and requests of other routes.
fn test_requests() -> Vec<TestRequest> {
    let mut random = StdRng::seed_from_u64(16);
    let mut test_requests: Vec<_> =
        (0..repetitions(REQUESTS)).map(|_| test_request(&mut random)).collect();
    for (method, target) in [
        ("GET", "/api/v1/keys"),
        (
            "GET",
            "/api/v1/plays?identifier=intro&interval=1%20day&timeframe=100%20years&timezone=Asia/Kathmandu",
        ),
        ("GET", "/api/v1/watching?identifier=intro"),
        ("GET", "/api/v1/engagement?identifier=%00&ranges=0"),
        ("GET", "/health/ready"),
        ("DELETE", "/api/v1/keys/AAAAAAAAAAAAAAAAAAAAAA=="),
        ("GET", "/api/v1/keys"),
    ] {
        test_requests.push(TestRequest { method, target: target.to_owned(), body: Value::Null });
    }
    test_requests
}

/// A list of keys without the usage of their limits, which depends on the speed of recording.
fn without_usage(answer: &[u8]) -> Bytes {
    let mut listed: Value = serde_json::from_slice(answer).unwrap();
    for key in listed["keys"].as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("usage");
    }
    listed.to_string().into()
}

/// Whether a response has any contents.
fn has_contents(answer: &[u8]) -> bool {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let values = answer.as_object().unwrap().values();
    values.into_iter().any(|it| it.as_array().is_none_or(|all| !all.is_empty()) && *it != json!(0))
}

#[tokio::test(start_paused = true)]
async fn all_stores_give_the_same_answers() {
    let mut sites = Vec::new();
    for backend in Backend::ALL {
        sites.push(Site::new(backend).await);
    }
    let watches = watches();
    for site in &mut sites {
        for some in watches.chunks(100) {
            site.record(some).await;
        }
        assert_eq!(site.playing.len(), PLAYING);
        site.clock.pass_ms(ms("2024-06-01T00:00:30Z") - site.clock.now_ms());
        // Waits for a checkpoint of all open segments.
        tokio::time::sleep(CHECKPOINT + Duration::from_secs(1)).await;
    }
    let (one, others) = sites.split_first().unwrap();
    let test_requests = test_requests();
    let mut with_contents = 0;
    for test_request in &test_requests {
        let TestRequest { method, target, body } = test_request;
        let answer = one.request(method, target, body).await;
        for other in others {
            let theirs = other.request(method, target, body).await;
            assert!(
                answer == theirs,
                "{test_request:?}\n{:?}: {answer:?}\n{:?}: {theirs:?}",
                one.backend,
                other.backend
            );
        }
        with_contents += usize::from(has_contents(&answer.1));
    }
    assert!(
        test_requests.len() * 3 / 5 < with_contents,
        "{with_contents} of {} answers said something",
        test_requests.len()
    );
    let mut plays = 0;
    for key in KEYS {
        let everything = json!({ "query": { "key": key }, "timeframe": "100 years", "minimum_watch_seconds": 0 });
        let (_, answer) = one.request("POST", "/api/v1/plays", &everything).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let buckets = answer["views"].as_array().unwrap();
        plays += buckets.iter().map(|it| it["views"].as_u64().unwrap()).sum::<u64>();
    }
    assert_eq!(plays, SESSIONS as u64);
}

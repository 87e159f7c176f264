//! Each refusal has a code: every code that a client can provoke is provoked here, and is where the documents say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::request::Parts;
use metrics_core::recorder::WAITING_MAX;
use metrics_core::{Action, ApiKey, Join, PlayerEvent, Video};
use metrics_server::{Access, BODY_BYTES_MAX, Code, Credentials, Decision, Purpose, Settings};
use metrics_testing::Faults;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use metrics_server_testing::{
    Answer, CHROME, Client, Database, GOOGLEBOT, Http, Poller, Server, TestServer, soon,
};

const DOCUMENT: &str = include_str!("../../../docs/refusals.md");
const OPENAPI: &str = include_str!("../../src/api/openapi.json");

/// The codes that no request of a test reaches, and the reason.
const UNREACHED: [(&str, &str); 7] = [
    ("body_incomplete", "the client is gone, and the connection ends with the answer unread"),
    (
        "answer_too_large",
        "it takes more rows than a test can record; `metrics_core::scan` tests it",
    ),
    ("too_many_segments", "it takes 10,000 segments; the unit tests of `code.rs` cover it"),
    ("internal_error", "a sound database refuses nothing; the unit tests of `error.rs` cover it"),
    ("database_damaged", "`disk.rs` damages a file under the server"),
    ("report_timeout", "it takes a store that is silent for 30 s"),
    ("stopping", "the listener is closed by then; the unit tests of `longpoll.rs` cover it"),
];

/// The codes that were provoked, with the places: an HTTP status, or a channel, a batch or long polling.
#[derive(Default)]
struct Reached {
    places: BTreeMap<String, BTreeSet<String>>,
    // Refusals with another code than expected, to report all of them at once.
    faults: Vec<String>,
}

impl Reached {
    fn note(&mut self, expected: &str, place: &str, reported: &Value) {
        if reported["code"] != expected {
            self.faults.push(format!("{reported} instead of {expected}, in {place}"));
        }
        self.places.entry(expected.to_owned()).or_default().insert(place.to_owned());
    }

    /// An HTTP request is refused with this code.
    async fn http(&mut self, code: &str, request: Http) -> Answer {
        let answer = request.send_untimed().await;
        self.note(code, &answer.status.to_string(), &answer.json());
        answer
    }

    async fn post(&mut self, code: &str, server: &Server, path: &str, body: &Value) {
        self.http(code, server.http("POST", path).json(body)).await;
    }

    /// The request is refused that these bytes are.
    async fn raw(&mut self, code: &str, server: &Server, request: &str) {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(stream.read_u8()).await.unwrap());
        }
        let mut answer = Answer::parse(&head);
        answer.body = vec![0; answer.header("content-length").unwrap().parse().unwrap()];
        soon(stream.read_exact(&mut answer.body)).await.unwrap();
        self.note(code, &answer.status.to_string(), &answer.json());
    }

    /// A message of a channel is refused with this code.
    async fn channel(
        &mut self,
        code: &str,
        client: &mut Client,
        (topic, event): (&str, &str),
        payload: Value,
    ) {
        client.push(topic, event, &payload).await;
        let message = client.message().await;
        self.note(code, "channel", &message[4]["response"]);
    }

    /// The last event of a batch is refused with this code.
    async fn batch(&mut self, code: &str, server: &Server, events: Value) {
        let answer = server.http("POST", "/v1/events").json(&json!({ "events": events }));
        let answer = answer.send().await;
        let answer = answer.json();
        let rejected = answer["rejected"].as_array().and_then(|rejected| rejected.last());
        self.note(code, "batch", rejected.unwrap_or(&answer));
    }

    fn polled(&mut self, code: &str, answer: &Value) {
        assert!(answer["error"].is_string(), "{answer}");
        self.note(code, "long polling", answer);
    }
}

/// An event of a batch, with these members instead.
fn event(server: &Server, session: &str, more: &Value) -> Value {
    let mut event = json!({ "name": "play", "key": server.key, "session_id": session,
        "embed_id": "intro", "video_time": 0, "timestamp": 1 });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl Access for Nobody {
    async fn decide(&self, _: &Parts, wanted: Purpose) -> Decision {
        match wanted {
            // Longer than it may take.
            Purpose::Stats => std::future::pending().await,
            _ => Decision::forbidden(),
        }
    }
}

async fn parameters_and_bodies(seen: &mut Reached) {
    let server = TestServer::new().await;
    let plays = "/api/v1/plays";
    for (code, body) in [
        ("invalid_parameter", json!({ "identifier": "a", "interval": 7 })),
        ("unknown_parameter", json!({ "identifier": "a", "colour": 1 })),
        ("unknown_timezone", json!({ "identifier": "a", "timezone": "Mars/Olympus" })),
        ("invalid_body", json!([])),
        (
            "too_many_buckets",
            json!({ "identifier": "a", "interval": "1 second", "fill": true,
                "timeframe": { "from": "2022-01-01T00:00:00Z", "to": "2023-01-01T00:00:00Z" } }),
        ),
    ] {
        seen.post(code, &server, plays, &body).await;
    }
    seen.post("missing_parameter", &server, "/api/v1/erase", &json!({})).await;
    seen.http("invalid_token", server.http("GET", "/api/v1/plays?token=a.b.c")).await;
    let both = json!({ "identifier": "a", "ranges": 2, "resolution": "100 steps" });
    seen.post("conflicting_parameters", &server, "/api/v1/engagement", &both).await;
    let unknown = json!({ "metrics": ["nothing"] });
    seen.post("unknown_name", &server, "/api/v1/query", &unknown).await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    seen.http("too_deep", server.http("POST", plays).body(deep)).await;
    let setting = json!({ "hosts": 7 });
    seen.post("invalid_setting", &server, "/api/v1/keys", &setting).await;
    let events = vec![json!({}); 257];
    seen.post("too_many_events", &server, "/v1/events", &json!({ "events": events })).await;
    let large = server.http("POST", plays).body(" ".repeat(BODY_BYTES_MAX + 1));
    seen.http("payload_too_large", large).await;
    let range = server.http("GET", "/page/dusk.webm").header("range", "bytes=99999999-");
    seen.http("range_not_satisfiable", range).await;
}

async fn requests(seen: &mut Reached) {
    let server = TestServer::new().await;
    let get = |path: &str| server.http("GET", path);
    seen.http("invalid_host", get("/").header("host", "another")).await;
    seen.http("expected_websocket", get("/socket/websocket")).await;
    seen.http("unknown_version", get("/socket/websocket?vsn=9")).await;
    let upgrade = |version: &str, more: &str| {
        format!(
            "GET /socket/websocket HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: {version}\r\n{more}\r\n"
        )
    };
    seen.raw("upgrade_required", &server, &upgrade("12", "")).await;
    seen.raw("ambiguous_length", &server, &upgrade("13", "content-length: 1\r\n")).await;
    let misdirected =
        "GET /api/v1/keys HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    seen.raw("misdirected_host", &server, misdirected).await;
    seen.http("not_found", get("/api/v1/nothing")).await;
    seen.http("unknown_key", server.http("DELETE", "/api/v1/keys/nobody")).await;
    seen.http("method_not_allowed", server.http("PUT", "/api/v1/plays")).await;
    let foreign = server.http("POST", "/api/v1/keys").header("sec-fetch-site", "cross-site");
    seen.http("cross_origin", foreign).await;
    let text = server.http("POST", "/api/v1/keys").header("content-type", "text/plain");
    seen.http("unsupported_media_type", text.body("{}")).await;
    let exists = json!({ "key": server.key });
    seen.post("key_exists", &server, "/api/v1/keys", &exists).await;
    let keyless = event(&server, "a", &json!({ "key": null }));
    seen.post("missing_key", &server, "/v1/events", &json!({ "events": [keyless] })).await;
    let wrong = server.http("POST", "/v1/events?key=nobody");
    let theirs = json!({ "events": [event(&server, "a", &json!({ "key": null }))] });
    seen.http("invalid_key", wrong.json(&theirs)).await;
    let recorded = event(&server, "a", &json!({}));
    let batch = server.http("POST", "/v1/events").json(&json!({ "events": [recorded, keyless] }));
    seen.note("missing_key", "batch", &batch.send().await.json()["rejected"][0]);
    let erase = json!({ "identifier": "intro", "dry_run": false, "expect": 0 });
    seen.post("unexpected_sessions", &server, "/api/v1/erase", &erase).await;

    let credentials = Credentials::new("ada", "open sesame").unwrap();
    let guarded = TestServer::with(Settings::default().access(credentials)).await;
    seen.http("unauthorized", guarded.http("GET", "/api/v1/keys")).await;
    let owned = TestServer::with(Settings::default().access(Nobody)).await;
    seen.http("forbidden", owned.http("GET", "/api/v1/keys")).await;
}

async fn limits(seen: &mut Reached) {
    let server = TestServer::new().await;
    let limits = json!({ "limits": { "joins": "1/day" } });
    let key = server.key.clone();
    let set = server.http("PATCH", &format!("/api/v1/keys/{key}")).json(&limits).send().await;
    assert_eq!(set.status, 200, "{set:?}");
    let first = json!({ "events": [event(&server, "a", &json!({}))] });
    let answer = server.http("POST", "/v1/events").json(&first).send().await;
    assert_eq!(answer.json()["accepted"], 1, "{answer:?}");
    let second = json!({ "events": [event(&server, "b", &json!({}))] });
    seen.post("rate_limited", &server, "/v1/events", &second).await;
    let mut client = server.connect().await;
    let join = json!({ "key": key, "identifier": "intro" });
    seen.channel("rate_limited", &mut client, ("session:c", "phx_join"), join).await;

    let server = Database::new().await.without_rates().serve(Settings::default()).await;
    let mut client = server.connect().await;
    client.join("session:first", "intro").await;
    client.play("session:first", 0.0).await;
    let key = server.key.clone();
    let limits = json!({ "limits": { "videos": 1 } });
    let set = server.http("PATCH", &format!("/api/v1/keys/{key}")).json(&limits).send().await;
    assert_eq!(set.status, 200, "{set:?}");
    let other = event(&server, "d", &json!({ "embed_id": "another" }));
    seen.batch("too_many_videos", &server, json!([other])).await;
    let join = json!({ "key": key, "identifier": "yet another" });
    assert_eq!(client.call("session:e", "phx_join", &join).await, Value::Null);
    let play = json!({ "name": "play", "from": 0 });
    seen.channel("too_many_videos", &mut client, ("session:e", "event"), play).await;

    let guessed = TestServer::new().await;
    let guess = |number: u32| format!("guess-{number}");
    let guesses: Vec<_> =
        (0..30).map(|it| event(&guessed, "a", &json!({ "key": guess(it) }))).collect();
    seen.post("too_many_attempts", &guessed, "/v1/events", &json!({ "events": guesses })).await;
    let mut client = guessed.connect().await;
    let join = json!({ "key": "another-guess", "identifier": "intro" });
    seen.channel("too_many_attempts", &mut client, ("session:a", "phx_join"), join).await;
}

async fn viewers_and_events(seen: &mut Reached) {
    let server = Database::new().await.without_rates().serve(Settings::default()).await;
    let mut client = server.connect().await;
    let join = ("session:a", "phx_join");
    let as_key = |more: Value| {
        let mut join = json!({ "key": server.key, "identifier": "intro" });
        join.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        join
    };
    for (code, payload) in [
        ("invalid_join", json!({})),
        ("invalid_key", as_key(json!({ "key": "nobody" }))),
        ("invalid_character", as_key(json!({ "identifier": "a\0" }))),
        ("too_long", as_key(json!({ "identifier": "a".repeat(20_000) }))),
    ] {
        seen.channel(code, &mut client, join, payload).await;
    }
    seen.channel("invalid_session", &mut client, ("session:", "phx_join"), as_key(json!({}))).await;
    client.join("session:a", "intro").await;
    for (code, payload) in [
        ("invalid_event", json!(7)),
        ("invalid_name", json!({ "name": 7 })),
        ("invalid_position", json!({ "name": "play" })),
        ("invalid_duration", json!({ "name": "seeked", "duration": "long" })),
        ("invalid_timestamp", json!({ "name": "seeked", "timestamp": "noon" })),
    ] {
        seen.channel(code, &mut client, ("session:a", "event"), payload).await;
    }
    client.play("session:a", 0.0).await;
    let mut other = server.connect().await;
    let outro = as_key(json!({ "identifier": "outro" }));
    seen.channel("another_video", &mut other, ("session:a", "phx_join"), outro).await;
    seen.channel("unmatched_topic", &mut client, ("room:1", "phx_join"), json!({})).await;
    seen.channel("unmatched_event", &mut client, ("session:a", "shout"), json!({})).await;

    let event = |session: &str, more: &Value| event(&server, session, more);
    for (code, events) in [
        ("invalid_event", json!([7])),
        ("invalid_key", json!([event("a", &json!({})), event("b", &json!({ "key": "nobody" }))])),
        ("invalid_session", json!([event("", &json!({}))])),
        ("invalid_video", json!([event("b", &json!({ "embed_id": "" }))])),
        ("invalid_metadata", json!([event("b", &json!({ "metadata": 7 }))])),
        ("invalid_name", json!([event("b", &json!({ "name": 7 }))])),
        ("invalid_position", json!([event("b", &json!({ "video_time": -1 }))])),
        ("invalid_duration", json!([event("b", &json!({ "duration": "long" }))])),
        ("invalid_timestamp", json!([event("b", &json!({ "timestamp": "noon" }))])),
        ("invalid_character", json!([event("b", &json!({ "embed_id": "b\0" }))])),
        ("too_long", json!([event("b", &json!({ "embed_id": "a".repeat(20_000) }))])),
        (
            "another_video",
            json!([event("b", &json!({})), event("b", &json!({ "embed_id": "outro" }))]),
        ),
    ] {
        seen.batch(code, &server, events).await;
    }

    refused_viewers(seen, &server, other).await;
}

async fn refused_viewers(seen: &mut Reached, server: &Server, mut other: Client) {
    let join = ("session:a", "phx_join");
    let about = json!({ "key": server.key, "identifier": "intro" });
    for number in 0..64 {
        other.join(&format!("session:{number}"), "intro").await;
    }
    let one_more = ("session:64", "phx_join");
    seen.channel("too_many_channels", &mut other, one_more, about.clone()).await;
    let mut bot = server.upgrade("vsn=2.0.0", &[("user-agent", GOOGLEBOT)]).await.unwrap();
    seen.channel("bot", &mut bot, join, about).await;

    let hosts = json!({ "hosts": ["example.com"] });
    let key = server.key.clone();
    server.http("PATCH", &format!("/api/v1/keys/{key}")).json(&hosts).send().await;
    let page = json!({ "source_url": "https://elsewhere.example/watch" });
    seen.batch("origin_not_allowed", server, json!([event(server, "c", &page)])).await;

    let server = TestServer::with(Settings::default().refuse_opted_out()).await;
    let headers = [("user-agent", CHROME), ("dnt", "1")];
    let mut client = server.upgrade("vsn=2.0.0", &headers).await.unwrap();
    seen.channel("opted_out", &mut client, join, json!({})).await;
}

async fn long_polling(seen: &mut Reached) {
    let settings = Settings::default().connections_per_address(2);
    let server =
        TestServer::with(settings.forwarded_header("x-forwarded-for".parse().unwrap())).await;
    let headers = [("user-agent", CHROME), ("x-forwarded-for", "203.0.113.7")];
    let open = || Poller::try_open(&server, "vsn=2.0.0", &headers);
    for _ in 0..2 {
        assert_eq!(open().await["status"], 410);
    }
    seen.polled("too_many_sessions", &open().await);
    let unknown = Poller::try_open(&server, "vsn=9", &headers).await;
    seen.polled("unknown_version", &unknown);
    let poller = Poller::open(&server).await;
    seen.polled("invalid_message", &poller.post("garbage").await);
    seen.polled("session_over", &poller.post("[]").await);
    let poller = Poller::open(&server).await;
    seen.polled("message_too_large", &poller.post(" ".repeat(65 * 1024)).await);
    let poller = Poller::open(&server).await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let deep = format!("[null,\"1\",\"phoenix\",\"heartbeat\",{deep}]");
    let reported = poller.post(deep).await;
    seen.note("too_deep", "long polling", &reported);
    let others = server.metrics.memory().charge(server.metrics.memory().remaining());
    seen.polled("out_of_memory", &Poller::try_open(&server, "vsn=2.0.0", &[]).await);
    drop(others);
}

async fn a_full_server(seen: &mut Reached) {
    let server = Database::new().await.serve_some(Settings::default(), 1).await;
    let _one = server.connect().await;
    seen.http("too_many_connections", server.http("GET", "/metrics.js")).await;

    let server = TestServer::new().await;
    let memory = server.metrics.memory().clone();
    let mut client = server.connect().await;
    let others = memory.charge(memory.remaining());
    let join = json!({ "key": server.key, "identifier": "late" });
    seen.channel("out_of_memory", &mut client, ("session:late", "phx_join"), join).await;
    let batch = json!({ "events": [event(&server, "late", &json!({}))] });
    seen.post("out_of_memory", &server, "/v1/events", &batch).await;
    drop(others);
}

async fn an_unavailable_store(seen: &mut Reached) {
    let database = Database::new().await;
    let store = Faults::default().over(database.open().await);
    let failures = store.intercept.failures();
    let server = database.serve_over(Arc::new(store), Settings::default(), 1_000).await;
    let key = ApiKey::new(&server.key).unwrap();
    assert!(server.metrics.accepts_key(&key).await.unwrap());
    let join = Join::new(key, "crowd", Video::labelled("crowd"));
    let viewing = server.metrics.join(join).await.unwrap();
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    failures.store(100, Relaxed);
    seen.post("unavailable", &server, "/api/v1/keys", &json!({})).await;
    let batch = json!({ "events": [event(&server, "a", &json!({}))] });
    seen.post("not_stored", &server, "/v1/events", &batch).await;
    let ready = || server.http("GET", "/health/ready");
    seen.http("degraded", ready()).await;
    let failure = PlayerEvent::new(Action::PlaybackFailure);
    for _ in 0..WAITING_MAX {
        drop(viewing.submit(&failure).unwrap());
    }
    seen.http("overloaded", ready()).await;
    failures.store(0, Relaxed);
}

async fn time_passes(seen: &mut Reached) {
    let owned = TestServer::with(Settings::default().access(Nobody)).await;
    seen.http("busy", owned.http("GET", "/metrics")).await;
    let server = TestServer::new().await;
    let head = "POST /api/v1/plays HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    seen.note("body_timeout", "400", &serde_json::from_str(body).unwrap());
}

/// The rows of the tables: code, places, and whether the same may be sent again.
fn documented() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
        let [code, places, _, again] = cells[..] else { return None };
        let again = again.trim_end_matches(" |");
        Some((code.trim_end_matches('`'), (places, again)))
    });
    rows.collect()
}

#[test]
fn the_codes_are_those_of_the_documents() {
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let rows = documented();
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), codes);
    for code in Code::ALL {
        let (_, again) = rows[code.as_str()];
        assert_eq!(again != "no", code.is_retryable(), "{code}");
    }
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let described = openapi["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    assert_eq!(described.len(), codes.len());
    let described: BTreeSet<_> = described.iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(described, codes);
}

#[test]
fn each_code_is_reached() {
    let runtime = |paused| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(paused).build().unwrap()
    };
    let mut seen = Reached::default();
    runtime(false).block_on(async {
        parameters_and_bodies(&mut seen).await;
        requests(&mut seen).await;
        limits(&mut seen).await;
        viewers_and_events(&mut seen).await;
        long_polling(&mut seen).await;
        a_full_server(&mut seen).await;
    });
    runtime(true).block_on(async {
        an_unavailable_store(&mut seen).await;
        time_passes(&mut seen).await;
    });
    assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
    let rows = documented();
    for (code, places) in &seen.places {
        let (documented, _) = rows[code.as_str()];
        for place in places {
            assert!(documented.contains(place), "{code} comes in {place}, not only {documented}");
        }
    }
    let all: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let unreached = UNREACHED.iter().map(|(code, _)| *code);
    let reached = seen.places.keys().map(String::as_str);
    for code in reached.clone() {
        assert!(!unreached.clone().any(|it| it == code), "{code} can be provoked");
    }
    assert_eq!(reached.chain(unreached).collect::<BTreeSet<_>>(), all);
}

//! Quotas and rate limits of keys: a flood uses up the limits of its own address, and nobody else notices.

use metrics_core::ApiKey;
use metrics_core::key::SettingsChange;
use metrics_core::store::KeyChange;
use metrics_server::Settings;
use metrics_server_testing::{
    Answer, Bystander, CHROME, Client, Poller, Server, TestServer, Watched,
};
use serde_json::{Value, json};

/// Addresses of documentation, as a proxy names them.
const FLOOD: &str = "203.0.113.7";
const VIEWER: &str = "198.51.100.7";

/// A server behind a proxy, whose key has these limits.
async fn server(limits: Value) -> TestServer {
    let settings = Settings::default().forwarded_header("x-forwarded-for".parse().unwrap());
    let server = TestServer::with(settings).await;
    set(&server, json!({ "limits": limits })).await;
    server
}

async fn set(server: &TestServer, settings: Value) {
    let settings = SettingsChange::from_json(settings.as_object().unwrap().clone()).unwrap();
    let key = ApiKey::new(&server.key).unwrap();
    assert!(server.metrics.change_key(&key, &KeyChange::Settings(settings)).await.unwrap());
}

/// A batch with one play of 10 s for each of these, from an address.
async fn batch(server: &Server, address: &str, sessions: &[(String, Value)]) -> Answer {
    let event = |name: &str, at: u32, session: &String, more: &Value| {
        let mut event = json!({ "name": name, "key": server.key, "session_id": session, "video_time": at,
            "embed_id": "intro", "timestamp": 1_718_000_000_000_u64 + u64::from(at) * 1_000 });
        let more = more.as_object().unwrap().clone();
        event.as_object_mut().unwrap().extend(more);
        event
    };
    let events = sessions.iter().flat_map(|(session, more)| {
        [event("play", 0, session, more), event("pause", 10, session, more)]
    });
    let body = json!({ "events": events.collect::<Vec<_>>() });
    let http = server.http("POST", "/v1/events").header("x-forwarded-for", address);
    http.json(&body).send_untimed().await
}

fn sessions(
    prefix: &str,
    numbers: std::ops::Range<u32>,
    more: impl Fn(u32) -> Value,
) -> Vec<(String, Value)> {
    numbers.map(|number| (format!("{prefix}-{number}"), more(number))).collect()
}

async fn upgrade(server: &Server, address: &str) -> Client {
    let headers = [("user-agent", CHROME), ("x-forwarded-for", address)];
    server.upgrade("vsn=2.0.0", &headers).await.unwrap()
}

async fn poller(server: &Server, address: &str) -> Poller {
    let headers = [("user-agent", CHROME), ("x-forwarded-for", address)];
    Poller::open_as(server, "vsn=2.0.0", &headers).await
}

/// A number in `/metrics`.
async fn counted(server: &Server, name: &str) -> u64 {
    let answer = server.http("GET", "/metrics").send().await;
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.trim().parse().unwrap()
}

/// How much of each limit the key has used.
async fn usage(server: &Server) -> Value {
    let listed = server.http("GET", "/api/v1/keys").send().await.json();
    listed["keys"][0]["usage"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_new_videos_leaves_space_for_real_ones() {
    let server =
        server(json!({ "new_videos": "1000/day", "new_videos_per_address": "50/day" })).await;
    let bystander = Bystander::of(&server).await;
    for round in 0..5 {
        let made_up = |number| json!({ "embed_id": format!("made-up-{round}-{number}") });
        let flood = sessions(&format!("flood-{round}"), 0..100, made_up);
        let answer = batch(&server, FLOOD, &flood).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let rejected = answer.json()["rejected"].as_array().unwrap().clone();
        assert!(!rejected.is_empty());
        let reason = "the rate limit `new_videos_per_address` is used up; try again later";
        assert!(rejected.iter().all(|it| it["reason"] == reason), "{rejected:?}");
    }
    let name = "metrics_sessions_refused_total{outcome=\"too_many_new_videos\"}";
    assert!(450 <= counted(&server, name).await);
    // Videos that are there are recorded from there all the same.
    for (address, session) in [(VIEWER, "first"), (FLOOD, "second")] {
        let known = sessions(session, 0..1, |_| json!({ "embed_id": "known" }));
        assert_eq!(batch(&server, address, &known).await.json()["rejected"], json!([]));
    }
    // Real ones, from elsewhere, on each way.
    let real = sessions("real", 0..3, |number| json!({ "embed_id": format!("real-{number}") }));
    assert_eq!(batch(&server, VIEWER, &real).await.json()["rejected"], json!([]));
    assert_eq!(server.watched("real-0").await, Watched::once(10.0));
    let mut client = upgrade(&server, VIEWER).await;
    client.join("session:socket", "real-socket").await;
    client.play("session:socket", 0.0).await;
    let mut poller = poller(&server, VIEWER).await;
    poller.join("session:poller", "real-poller").await;
    poller.play("session:poller", 0.0).await;
    // The flood has no more on other ways either.
    let mut client = upgrade(&server, FLOOD).await;
    client.join("session:flood", "made-up").await;
    let refused =
        client.call("session:flood", "event", &json!({ "name": "play", "from": 0 })).await;
    assert_eq!(refused, "the rate limit `new_videos_per_address` is used up; try again later");
    let usage = usage(&server).await;
    assert_eq!(usage["videos"], json!({ "used": 57, "allowed": 100_000 }));
    // Of a key with so few videos, only addresses are charged.
    assert_eq!(usage["new_videos"]["used"], json!(0), "{usage}");
    assert_eq!(
        (&usage["new_videos"]["allowed"], &usage["new_videos"]["per"]),
        (&json!(1_000), &json!("day"))
    );
    bystander.expect_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_one_address_invents_a_tenth_of_a_day_s_videos() {
    let server = server(json!({})).await;
    let bystander = Bystander::of(&server).await;
    for round in 0..20 {
        let made_up = |number| json!({ "embed_id": format!("made-up-{round}-{number}") });
        let flood = sessions(&format!("flood-{round}"), 0..128, made_up);
        let answer = batch(&server, FLOOD, &flood).await;
        assert!(matches!(answer.status, 200 | 429), "{answer:?}");
    }
    // Some may have been given back meanwhile; the bystander's video is one.
    let videos = usage(&server).await["videos"]["used"].as_u64().unwrap();
    assert!((2_001..=2_050).contains(&videos), "{videos}");
    let real = sessions("real", 0..1, |_| json!({ "embed_id": "real" }));
    assert_eq!(batch(&server, VIEWER, &real).await.json()["rejected"], json!([]));
    bystander.expect_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_are_limited_per_address_on_all_ways() {
    let server = server(json!({ "joins_per_address": "4/day" })).await;
    let exceeded = "the rate limit `joins_per_address` is used up; try again later";
    let mut client = upgrade(&server, FLOOD).await;
    client.join("session:a", "intro").await;
    let mut poller = poller(&server, FLOOD).await;
    poller.join("session:b", "intro").await;
    let two = sessions("batch", 0..2, |_| json!({}));
    assert_eq!(batch(&server, FLOOD, &two).await.status, 200);
    let join = json!({ "key": server.key, "identifier": "intro" });
    assert_eq!(client.call("session:c", "phx_join", &join).await, exceeded);
    assert_eq!(poller.call("session:c", "phx_join", &join).await, exceeded);
    let three = sessions("batch", 0..3, |_| json!({}));
    let answer = batch(&server, FLOOD, &three).await;
    assert_eq!((answer.status, answer.error()), (429, exceeded.to_owned()));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=21_600).contains(&seconds), "{seconds}");
    // Sessions that are there go on: a connection that was lost costs nothing.
    assert_eq!(batch(&server, FLOOD, &two).await.status, 200);
    client.join("session:a", "intro").await;
    let mut again = upgrade(&server, FLOOD).await;
    again.join("session:b", "intro").await;
    // Everybody else joins.
    let mut other = upgrade(&server, VIEWER).await;
    other.join("session:c", "intro").await;
    assert_eq!(counted(&server, "metrics_joins_total{outcome=\"too_many_joins\"}").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_limited_per_address_on_all_ways() {
    let server = server(json!({ "events_per_address": "4/day" })).await;
    let exceeded = "the rate limit `events_per_address` is used up; try again later";
    let mut client = upgrade(&server, FLOOD).await;
    client.join("session:a", "intro").await;
    client.play("session:a", 0.0).await;
    client.pause("session:a", 1.0).await;
    let one = sessions("batch", 0..1, |_| json!({}));
    assert_eq!(batch(&server, FLOOD, &one).await.status, 200);
    let play = json!({ "name": "play", "from": 1 });
    assert_eq!(client.call("session:a", "event", &play).await, exceeded);
    let mut poller = poller(&server, FLOOD).await;
    poller.join("session:b", "intro").await;
    assert_eq!(poller.call("session:b", "event", &play).await, exceeded);
    let answer = batch(&server, FLOOD, &one).await;
    assert_eq!((answer.status, answer.error()), (429, exceeded.to_owned()));
    let mut other = upgrade(&server, VIEWER).await;
    other.join("session:c", "intro").await;
    other.play("session:c", 0.0).await;
    assert_eq!(counted(&server, "metrics_events_total{outcome=\"too_many_events\"}").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_s_limit_is_for_all_addresses_together() {
    let server = server(json!({ "joins": "3/day" })).await;
    for (number, expected) in (0..5).zip([200, 200, 200, 429, 429]) {
        let one = sessions("batch", number..number + 1, |_| json!({}));
        let answer = batch(&server, &format!("203.0.113.{number}"), &one).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    // Another key has its own.
    let other = server.metrics.create_key().await.unwrap();
    let other = Server { key: other.as_str().to_owned(), ..Server::clone(&server) };
    let one = sessions("other", 0..1, |_| json!({}));
    assert_eq!(batch(&other, FLOOD, &one).await.status, 200);
}

/// The paths of the sources of a key, in order.
async fn pages(server: &Server) -> Vec<String> {
    let query = json!({ "query": { "key": server.key }, "minimum_watch_seconds": 0 });
    let report = server.report("sources", &query).await;
    let sources = report["sources"].as_array().unwrap();
    let mut pages: Vec<_> =
        sources.iter().map(|it| it["path"].as_str().unwrap().to_owned()).collect();
    pages.sort();
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_beyond_a_quota_count_as_their_site() {
    let server = server(json!({ "pages": "2" })).await;
    let url = |path: &str| json!({ "source_url": format!("https://example.com/{path}") });
    for path in ["a", "b", "c", "d"] {
        let one = sessions(path, 0..1, |_| url(path));
        assert_eq!(batch(&server, VIEWER, &one).await.json()["rejected"], json!([]));
    }
    let mut client = upgrade(&server, VIEWER).await;
    let page =
        json!({ "key": server.key, "identifier": "intro", "source_url": "https://example.com/e" });
    assert_eq!(client.call("session:e", "phx_join", &page).await, Value::Null);
    client.play("session:e", 0.0).await;
    client.pause("session:e", 5.0).await;
    // A site that nobody knows is none.
    let other = sessions("other", 0..1, |_| json!({ "source_url": "https://made-up.example/" }));
    assert_eq!(batch(&server, VIEWER, &other).await.json()["rejected"], json!([]));
    let all = ["https://example.com/", "https://example.com/a", "https://example.com/b"];
    assert_eq!(pages(&server).await, all);
    assert_eq!(server.watched("intro").await.plays, 6);
    assert_eq!(
        counted(&server, "metrics_pages_reduced_total{outcome=\"too_many_pages\"}").await,
        4
    );
    let usage = usage(&server).await;
    // The page `/` is one as well, once its sessions were read.
    assert!(matches!(usage["pages"]["used"].as_u64(), Some(2 | 3)), "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pages_leaves_space_for_real_ones() {
    let server = server(json!({ "new_pages_per_address": "10/day" })).await;
    let bystander = Bystander::of(&server).await;
    let url = |path: &str| json!({ "source_url": format!("https://example.com/{path}") });
    // The pages of the store are read before a rate of new ones is charged.
    let first = sessions("first", 0..1, |_| url("first"));
    assert_eq!(batch(&server, VIEWER, &first).await.status, 200);
    let name = "metrics_pages_reduced_total{outcome=\"too_many_new_pages\"}";
    let mut round = 0;
    while counted(&server, name).await == 0 {
        let flood =
            sessions(&format!("flood-{round}"), 0..50, |number| url(&format!("{round}/{number}")));
        assert_eq!(batch(&server, FLOOD, &flood).await.json()["rejected"], json!([]));
        round += 1;
    }
    let real = sessions("real", 0..5, |number| url(&format!("real/{number}")));
    assert_eq!(batch(&server, VIEWER, &real).await.json()["rejected"], json!([]));
    let pages = pages(&server).await;
    for number in 0..5 {
        assert!(pages.contains(&format!("https://example.com/real/{number}")), "{pages:?}");
    }
    assert!(pages.contains(&"https://example.com/".to_owned()), "{pages:?}");
    bystander.expect_unharmed().await;
}

//! Keys that know their sites, bots by more than their names, and pages that are reduced.

use metrics_server::{Networks, Settings};
use metrics_server_testing::{CHROME, Database, Poller, Process, Server, TestServer, binary};
use serde_json::{Value, json};
use tempfile::TempDir;

const SITE: &str = "https://www.example.com";
const OTHER: &str = "https://evil.example";

/// Changes the settings of the server's key.
async fn change(server: &Server, members: Value) {
    let path = format!("/api/v1/keys/{}", server.key);
    let answer = server.http("PATCH", &path).json(&members).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Joins over a websocket, over long polling and in a batch, and returns what each of them says: null for ok. `page` is
/// in the join, `headers` in the request.
async fn join(server: &Server, page: Option<&str>, headers: &[(&str, &str)]) -> [Value; 3] {
    let join = json!({ "key": server.key, "identifier": "intro", "source_url": page });
    let mut client = server.upgrade("vsn=2.0.0", headers).await.unwrap();
    let over_socket = client.call("session:a", "phx_join", &join).await;
    let mut poller = Poller::open_as(server, "vsn=2.0.0", headers).await;
    let over_polls = poller.call("session:b", "phx_join", &join).await;
    [over_socket, over_polls, in_batch(server, page, headers).await]
}

async fn in_batch(server: &Server, page: Option<&str>, headers: &[(&str, &str)]) -> Value {
    let event = json!({ "name": "play", "key": server.key, "session_id": "c", "embed_id": "intro",
        "video_time": 0, "source_url": page });
    let mut http = server.http("POST", "/v1/events").json(&json!({ "events": [event] }));
    for (name, value) in headers {
        http = http.header(name, value);
    }
    let answer = http.send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["rejected"].get(0).map_or(Value::Null, |rejected| rejected["reason"].clone())
}

#[track_caller]
fn all(reason: &str) -> [Value; 3] {
    [json!(reason), json!(reason), json!(reason)]
}

const JOINED: [Value; 3] = [Value::Null, Value::Null, Value::Null];

#[tokio::test]
async fn a_key_is_for_its_sites_only() {
    let server = TestServer::new().await;
    let browser = |origin| [("user-agent", CHROME), ("origin", origin)];
    let page = format!("{SITE}:8443/watch");
    // Without hosts, all sites may.
    assert_eq!(join(&server, Some(OTHER), &browser(OTHER)).await, JOINED);
    change(&server, json!({ "hosts": ["example.com", "*.example.com"] })).await;
    assert_eq!(join(&server, Some(&page), &browser(SITE)).await, JOINED);
    assert_eq!(join(&server, Some(&page), &[("user-agent", CHROME)]).await, JOINED);
    assert_eq!(join(&server, None, &browser("https://example.com")).await, JOINED);
    let refused = all("origin not allowed");
    assert_eq!(join(&server, Some(OTHER), &browser(OTHER)).await, refused);
    assert_eq!(join(&server, Some(&page), &browser(OTHER)).await, refused);
    assert_eq!(join(&server, Some(OTHER), &browser(SITE)).await, refused);
    assert_eq!(join(&server, Some(&page), &browser("null")).await, refused);
    // Neither page nor origin: an app, or a server.
    assert_eq!(join(&server, None, &[("user-agent", CHROME)]).await, refused);
    change(&server, json!({ "hosts": ["example.com", "none"] })).await;
    assert_eq!(join(&server, None, &[("user-agent", CHROME)]).await, JOINED);
    assert_eq!(join(&server, Some(OTHER), &[("user-agent", CHROME)]).await, refused);
    let metrics = server.http("GET", "/metrics").send().await;
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("metrics_joins_total{outcome=\"origin_not_allowed\"} 18\n"), "{text}");
}

#[tokio::test]
async fn the_page_of_the_connection_counts_as_well() {
    let server = TestServer::new().await;
    change(&server, json!({ "hosts": ["example.com"] })).await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    for (page, expected) in
        [(OTHER, json!("origin not allowed")), ("https://example.com/a", Value::Null)]
    {
        let mut client = server.connect_to(&format!("vsn=2.0.0&source_url={page}")).await;
        assert_eq!(client.call("session:a", "phx_join", &join).await, expected);
    }
}

#[tokio::test]
async fn browsers_have_a_user_agent_and_apps_may_have_none() {
    let server = TestServer::new().await;
    let bot = json!("bot");
    assert_eq!(join(&server, None, &[]).await, [bot.clone(), bot.clone(), Value::Null]);
    let empty = [("user-agent", " ")];
    assert_eq!(join(&server, None, &empty).await, [bot.clone(), bot, Value::Null]);
    assert_eq!(join(&server, None, &[("origin", SITE)]).await, all("bot"));
    let brands = "\"Not.A/Brand\";v=\"8\", \"HeadlessChrome\";v=\"120\"";
    let headers = [("user-agent", CHROME), ("sec-ch-ua", brands)];
    assert_eq!(join(&server, None, &headers).await, all("bot"));
}

#[tokio::test]
async fn clients_in_networks_of_bots_are_bots() {
    let networks: Networks = "203.0.113.0/24 # a cloud\n2001:db8::/32".parse().unwrap();
    let settings = Settings::default().bot_networks(networks);
    let server =
        TestServer::with(settings.forwarded_header("x-forwarded-for".parse().unwrap())).await;
    let from = |address| [("user-agent", CHROME), ("x-forwarded-for", address)];
    assert_eq!(join(&server, None, &from("203.0.113.7")).await, all("bot"));
    assert_eq!(join(&server, None, &from("2001:db8:1::7")).await, all("bot"));
    assert_eq!(join(&server, None, &from("198.51.100.7")).await, JOINED);
}

#[tokio::test]
async fn a_file_of_networks_is_read_at_the_start() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("networks");
    let start = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = binary();
        command.env("DATABASE_URL", format!("sqlite:{}", directory.path().join("a.db").display()));
        command.env("METRICS_BOT_NETWORKS", &file);
        command
    };
    let refused = start("10.0.0.0/8\n127.0.0.1/40\n").output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("METRICS_BOT_NETWORKS") && text.contains("line 2 is"), "{text}");
    let server = Process::run(start("127.0.0.0/8 # this machine\n")).await;
    assert_eq!(join(&server, None, &[("user-agent", CHROME)]).await, all("bot"));
    server.terminate().await;
}

/// Plays on pages whose paths have personal parts, on all ways.
async fn watch(server: &Server, pages: [&str; 3]) {
    let mut client = server.connect().await;
    let mut poller = Poller::open(server).await;
    let about = |page| json!({ "key": server.key, "identifier": "intro", "source_url": page });
    assert_eq!(client.call("session:a", "phx_join", &about(pages[0])).await, Value::Null);
    client.play("session:a", 0.0).await;
    client.pause("session:a", 5.0).await;
    assert_eq!(poller.call("session:b", "phx_join", &about(pages[1])).await, Value::Null);
    poller.play("session:b", 0.0).await;
    poller.pause("session:b", 5.0).await;
    let event = |name, at| {
        json!({ "name": name, "key": server.key, "session_id": "c", "embed_id": "intro",
        "video_time": at, "source_url": pages[2] })
    };
    let events = json!({ "events": [event("play", 0), event("pause", 5)] });
    assert_eq!(server.http("POST", "/v1/events").json(&events).send().await.status, 200);
}

async fn sources(server: &Server) -> Vec<(String, u64)> {
    let report = server.report("sources", &json!({ "identifier": "intro" })).await;
    let sources = report["sources"].as_array().unwrap().iter();
    let source =
        |it: &Value| (it["path"].as_str().unwrap().to_owned(), it["views"].as_u64().unwrap());
    let mut sources: Vec<_> = sources.map(source).collect();
    sources.sort();
    sources
}

const PERSONAL: [&str; 3] = [
    "https://example.com/u/somebody-0/watch?a=1",
    "https://example.com/reset/somebody-1",
    "https://example.com/reset/somebody-2/again",
];

#[tokio::test]
async fn personal_parts_of_paths_are_not_stored() {
    let server = TestServer::new().await;
    change(&server, json!({ "pages": ["/u/*/watch", "/reset/*"] })).await;
    watch(&server, PERSONAL).await;
    let expected = [("https://example.com/reset/*", 2), ("https://example.com/u/*/watch", 1)];
    assert_eq!(sources(&server).await, expected.map(|(page, views)| (page.to_owned(), views)));
    let database = server.stop().await;
    assert!(database.contains("/reset/").await);
    assert!(!database.contains("somebody").await);
}

#[tokio::test]
async fn pages_are_stored_as_the_setting_allows() {
    for (pages, expected) in
        [("host", vec![("https://example.com/".to_owned(), 3)]), ("none", vec![])]
    {
        let database = Database::new().await;
        let mut command = binary();
        command.env("DATABASE_URL", database.url()).env("METRICS_PAGES", pages);
        let server = Process::run(command).await;
        watch(&server, PERSONAL).await;
        assert_eq!(sources(&server).await, expected);
        let log = server.terminate().await;
        assert!(!log.contains("somebody") && !database.contains("somebody").await, "{log}");
    }
}

#[tokio::test]
async fn settings_of_a_key_are_made_changed_and_listed() {
    let server = TestServer::new().await;
    let listed = async || {
        let listed = server.http("GET", "/api/v1/keys").send().await.json();
        listed["keys"][1].clone()
    };
    let settings =
        json!({ "name": "Shop", "hosts": ["example.com"], "limits": { "joins": "7/day" } });
    let mut create = settings.clone();
    create["key"] = json!("my/own+key");
    let answer = server.http("POST", "/api/v1/keys").json(&create).send().await;
    assert_eq!((answer.status, answer.json()), (201, json!({ "key": "my/own+key" })));
    assert_eq!(listed().await["settings"], settings);
    assert_eq!(listed().await["usage"]["joins"], json!({ "used": 0, "allowed": 7, "per": "day" }));
    let patch = async |members: Value| {
        server.http("PATCH", "/api/v1/keys/my%2Fown%2Bkey").json(&members).send().await
    };
    let changed =
        patch(json!({ "name": null, "pages": ["/u/*"], "limits": { "joins": "none" } })).await;
    let expected =
        json!({ "hosts": ["example.com"], "limits": { "joins": "none" }, "pages": ["/u/*"] });
    assert_eq!((changed.status, &changed.json()["settings"]), (200, &expected));
    assert_eq!(listed().await["usage"]["joins"], json!({ "used": 0, "allowed": null }));
    // A revocation by mistake is undone.
    assert_eq!(server.http("DELETE", "/api/v1/keys/my/own+key").send().await.status, 200);
    assert!(listed().await["disabled_at"].is_string());
    let restored = patch(json!({ "revoked": false })).await.json();
    assert_eq!((&restored["disabled_at"], &restored["settings"]), (&Value::Null, &expected));
    assert!(patch(json!({ "revoked": true })).await.json()["disabled_at"].is_string());
    for (members, error) in [
        (
            json!({ "hosts": ["https://a.example"] }),
            "`hosts` has \"https://a.example\": it must be a host name",
        ),
        (json!({ "pages": ["/a"] }), "`pages` has \"/a\": it must be a path"),
        (
            json!({ "limits": { "joins": 1 } }),
            "`limits` has \"joins=1\": it must be joins=NUMBER/second",
        ),
        (
            json!({ "host": [] }),
            "`settings` has \"host\": it must be one of name, hosts, pages, limits",
        ),
        (json!({ "revoked": 1 }), "`revoked` must be true or false"),
        (json!([]), "the body must be a JSON object"),
    ] {
        let answer = patch(members).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.error().starts_with(error), "{answer:?}");
    }
    let unknown = server.http("PATCH", "/api/v1/keys/unknown").json(&json!({})).send().await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_restored_key_accepts_viewers_again() {
    let server = TestServer::new().await;
    let join = json!({ "key": server.key, "identifier": "intro" });
    for (revoked, expected) in [(true, json!("invalid key")), (false, Value::Null)] {
        change(&server, json!({ "revoked": revoked })).await;
        let mut client = server.connect().await;
        assert_eq!(client.call("session:a", "phx_join", &join).await, expected);
    }
}

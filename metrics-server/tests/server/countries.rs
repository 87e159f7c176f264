//! Countries of viewers: from a trusted header, or from a database file.

use metrics_server::{Geo, Settings};
use metrics_server_testing::{CHROME, Poller, Process, Server, TestServer, binary};
use metrics_testing::{Records, country_database};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::arrivals::{batch_from, plays_by};

const NETWORKS: [(&str, &str); 2] = [("203.0.113.0/24", "NL"), ("2001:db8::/32", "BE")];

/// Plays over a websocket, over long polling and in a batch.
async fn watch(server: &Server, name: &str, headers: &[(&str, &str)]) {
    let headers = [&[("user-agent", CHROME)], headers].concat();
    let join = json!({ "key": server.key, "identifier": "intro" });
    let topic = |way: &str| format!("session:{name} {way}");
    let mut client = server.upgrade("vsn=2.0.0", &headers).await.unwrap();
    assert_eq!(client.call(&topic("socket"), "phx_join", &join).await, Value::Null);
    client.play(&topic("socket"), 0.0).await;
    let mut poller = Poller::open_as(server, "vsn=2.0.0", &headers).await;
    assert_eq!(poller.call(&topic("polls"), "phx_join", &join).await, Value::Null);
    poller.play(&topic("polls"), 0.0).await;
    batch_from(server, &headers, &format!("{name} batch"), &json!({})).await;
}

fn settings() -> Settings {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("countries.mmdb");
    std::fs::write(&file, country_database(Records::Nested, &NETWORKS)).unwrap();
    // The file is in memory then.
    Settings::default().geo(Geo::open(&file).unwrap())
}

#[tokio::test]
async fn countries_are_those_of_addresses() {
    let settings = settings().forwarded_header("x-forwarded-for".parse().unwrap());
    let server = TestServer::with(settings).await;
    for (name, address) in
        [("a", "203.0.113.7"), ("b", "[2001:db8::7]:4711"), ("c", "198.51.100.7")]
    {
        watch(&server, name, &[("x-forwarded-for", address)]).await;
    }
    let expected = json!([[null, 3], ["BE", 3], ["NL", 3]]);
    assert_eq!(plays_by(&server, "country").await, expected);
    for address in ["203.0.113.7", "2001:db8::7", "198.51.100.7"] {
        assert!(!server.database.contains(address).await, "{address}");
    }
}

#[tokio::test]
async fn a_header_names_the_country_where_a_proxy_is_trusted() {
    let header = "cf-ipcountry".parse().unwrap();
    let settings = settings().country_header(header);
    let server = TestServer::with(settings.clone()).await;
    watch(&server, "a", &[("cf-ipcountry", "DE")]).await;
    assert_eq!(
        plays_by(&server, "country").await,
        json!([[null, 3]]),
        "it did not come by the proxy"
    );

    let behind = settings.forwarded_header("x-forwarded-for".parse().unwrap());
    let server = TestServer::with(behind).await;
    watch(&server, "a", &[("cf-ipcountry", "DE")]).await;
    for (name, country) in [("b", "DE"), ("c", "XX"), ("d", "T1"), ("e", "nonsense")] {
        let headers = [("cf-ipcountry", country), ("x-forwarded-for", "203.0.113.7")];
        watch(&server, name, &headers).await;
    }
    let expected = json!([[null, 3], ["DE", 3], ["NL", 9]]);
    assert_eq!(plays_by(&server, "country").await, expected);
}

#[tokio::test]
async fn operators_set_up_countries_and_choose_dimensions() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let start = |name: &str, dimensions: &str| {
        let mut command = binary();
        command.env("DATABASE_URL", format!("sqlite:{}", path(name).display()));
        command.env("METRICS_GEO", path("countries.mmdb"));
        command.env("METRICS_DIMENSIONS", dimensions);
        command.env("METRICS_FORWARDED_HEADER", "x-forwarded-for");
        command
    };
    std::fs::write(path("countries.mmdb"), "not yet downloaded").unwrap();
    let refused = start("a.db", "country").output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("METRICS_GEO") && text.contains("download it again"), "{text}");

    std::fs::write(path("countries.mmdb"), country_database(Records::Flat, &NETWORKS)).unwrap();
    for (name, dimensions, expected) in [
        ("b.db", "country", [json!([["NL", 1]]), json!([[null, 1]])]),
        ("c.db", "referrer", [json!([[null, 1]]), json!([["a.example", 1]])]),
        ("d.db", "none", [json!([[null, 1]]), json!([[null, 1]])]),
    ] {
        let server = Process::run(start(name, dimensions)).await;
        let headers = [("user-agent", CHROME), ("x-forwarded-for", "203.0.113.7")];
        let told = json!({ "referrer": "https://a.example/b" });
        batch_from(&server, &headers, "a", &told).await;
        let found = [plays_by(&server, "country").await, plays_by(&server, "referrer").await];
        assert_eq!(found, expected, "{dimensions}");
        server.terminate().await;
    }
}

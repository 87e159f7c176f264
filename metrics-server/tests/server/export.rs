//! Reports and sessions as files, over HTTP and by the command.

mod commands;
mod ends;
mod sessions;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use metrics_core::arrival::{Arrival, ArrivalPart};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::session::Stored;
use metrics_core::store::{SessionWrite, Store, Subject};
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_core::{ApiKey, Source, Video};
use metrics_server::Settings;
use metrics_server_testing::{Answer, Database, TestServer};
use serde_json::{Value, json};

const START_MS: i64 = 1_700_000_000_000;

/// More sessions than one page or one chunk holds.
const SESSIONS: u32 = 1_500;

/// Texts of hostile pages.
const TEXTS: [&str; 5] = ["intro", "=1+1", "a,\"b\"\r\nc", "\u{e9}\u{1f600}", "-2"];

/// Stores sessions of several videos, one a minute.
async fn fill(store: &dyn Store) -> ApiKey {
    let key = ApiKey::new("+a/key=").unwrap();
    store.create_key(&key, Utc::now()).await.unwrap();
    let write = |number: u32| {
        let started_at_ms = START_MS + 60_000 * i64::from(number);
        let end_ms = 1_000 + 500 * (number % 40);
        let intervals = [Interval::new(0, end_ms), Interval::new(500, 750)];
        let segments: Segments = intervals.into_iter().flatten().collect();
        let metadata = json!({ "course": number % 3 });
        let identifier = Some(TEXTS[number as usize % TEXTS.len()].to_owned());
        let mut stored =
            Stored::finished(started_at_ms, started_at_ms + 5, Some(60_000), &segments);
        stored.counters.rebufferings = number % 2;
        stored.counters.details.language = Some("en".to_owned());
        let user_agent = UserAgentClass {
            browser: Browser::Firefox,
            platform: Platform::Linux,
            device: Device::Desktop,
        };
        let subject = Subject {
            key: key.clone(),
            video: Video::new(identifier, metadata.as_object().cloned()).unwrap(),
            source: Source::parse("https://example.com/watch"),
            user_agent,
            session_data: number.is_multiple_of(2).then(|| r#"{"plan":"free"}"#.to_owned()),
            arrival: Arrival::default().with(ArrivalPart::Country, "NL"),
        };
        SessionWrite {
            id: SessionId::new(&key, &number.to_string()),
            subject: Arc::new(subject),
            expected: 0,
            stored,
            watched_at: None,
        }
    };
    let writes: Vec<_> = (0..SESSIONS).map(write).collect();
    store.commit(writes.into()).await.unwrap();
    key
}

async fn filled() -> (TestServer, ApiKey) {
    let database = Database::new().await;
    let key = fill(&*database.open().await).await;
    (database.serve(Settings::default()).await, key)
}

fn all(key: &ApiKey) -> Value {
    let timeframe = json!({"from": 1_600_000_000, "to": 1_800_000_000});
    json!({"query": {"key": key.as_str()}, "timeframe": timeframe, "interval": "1 hour"})
}

/// Parses CSV as strictly as RFC 4180 requires, into a map for each line.
fn read_csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut line = Vec::new();
        loop {
            let mut cell = String::new();
            if let Some(mut quoted) = rest.strip_prefix('"') {
                loop {
                    let (before, after) = quoted.split_once('"').expect("a quote that ends");
                    cell.push_str(before);
                    let Some(again) = after.strip_prefix('"') else {
                        rest = after;
                        break;
                    };
                    cell.push('"');
                    quoted = again;
                }
            } else {
                let end = rest.find([',', '\r']).expect("a line that ends");
                assert!(
                    !rest[..end].contains(['"', '\n']),
                    "it must be quoted: {:?}",
                    &rest[..end]
                );
                cell.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            line.push(cell);
            if let Some(after) = rest.strip_prefix("\r\n") {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').expect("a comma or an end of the line");
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let names = lines.next().expect("a line of names");
    let row = |cells: Vec<String>| {
        assert_eq!(cells.len(), names.len(), "{cells:?}");
        names.iter().cloned().zip(cells).collect()
    };
    lines.map(row).collect()
}

/// The body of a chunked response, decoded.
fn unchunked(answer: &Answer) -> String {
    String::from_utf8(unchunked_bytes(answer)).unwrap()
}

fn unchunked_bytes(answer: &Answer) -> Vec<u8> {
    let mut body = Vec::new();
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{answer:?}");
    let mut rest = &*answer.body;
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        rest = &rest[end + 2..];
        if size == 0 {
            assert_eq!(rest, b"\r\n");
            return body;
        }
        body.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n");
        rest = &rest[size + 2..];
    }
}

async fn export(server: &TestServer, table: &str, parameters: &Value) -> Answer {
    let path = format!("/api/v1/export/{table}");
    let answer = server.http("POST", &path).json(parameters).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let format = parameters["format"].as_str().unwrap_or("csv");
    let disposition = format!("attachment; filename=\"{table}.{format}\"");
    assert_eq!(answer.header("content-disposition"), Some(&*disposition));
    let kind = match format {
        "csv" => "text/csv; charset=utf-8; header=present",
        "parquet" => "application/vnd.apache.parquet",
        _ => "application/x-ndjson",
    };
    assert_eq!(answer.header("content-type"), Some(kind));
    answer
}

fn with(parameters: &Value, name: &str, value: &Value) -> Value {
    let mut parameters = parameters.clone();
    parameters[name] = value.clone();
    parameters
}

fn without(parameters: &Value, name: &str) -> Value {
    let mut parameters = parameters.clone();
    parameters.as_object_mut().unwrap().remove(name);
    parameters
}

fn read_ndjson(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

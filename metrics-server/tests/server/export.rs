//! Reports and sessions as files, over HTTP and by the command.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::session::Stored;
use metrics_core::store::{Error, SessionWrite, Store, Subject};
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_core::{ApiKey, Source, Video};
use metrics_server::{Credentials, Settings};
use metrics_server_testing::{Answer, Database, Http, TestServer, binary, soon};
use metrics_testing::{Call, Method, Through, Way};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

const START_MS: i64 = 1_700_000_000_000;

/// More sessions than one page or one chunk holds.
const SESSIONS: u32 = 1_500;

/// The end of a complete response.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Texts of hostile pages.
const TEXTS: [&str; 5] = ["intro", "=1+1", "a,\"b\"\r\nc", "\u{e9}\u{1f600}", "-2"];

/// Stores sessions of several videos, one a minute.
async fn fill(store: &dyn Store) -> ApiKey {
    let key = ApiKey::new("+a/key=").unwrap();
    store.create_key(&key, Utc::now()).await.unwrap();
    let write = |number: u32| {
        let started_at_ms = START_MS + 60_000 * i64::from(number);
        let end_ms = 1_000 + 500 * (number % 40);
        let stretches = [Interval::new(0, end_ms), Interval::new(500, 750)];
        let segments: Segments = stretches.into_iter().flatten().collect();
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

#[tokio::test]
async fn a_report_is_the_same_as_a_file() {
    let (server, key) = filled().await;
    let ndjson = |parameters: &Value| with(parameters, "format", &json!("ndjson"));
    let all = all(&key);
    for (table, list, parameters) in [
        ("plays", "views", all.clone()),
        ("sources", "sources", all.clone()),
        ("engagement", "engagement", with(&all, "ranges", &json!(4))),
    ] {
        let report = server.report(table, &parameters).await;
        let rows = report[list].as_array().unwrap();
        assert!(3 < rows.len(), "{table}");
        let exported = export(&server, table, &ndjson(&parameters)).await;
        assert_eq!(&read_ndjson(str::from_utf8(&exported.body).unwrap()), rows, "{table}");
        let lines = export(&server, table, &parameters).await;
        let lines = read_csv(str::from_utf8(&lines.body).unwrap());
        assert_eq!(lines.len(), rows.len(), "{table}");
        for (line, row) in lines.iter().zip(rows) {
            for (name, cell) in line {
                let value = match name.split_once('_') {
                    Some((class @ ("browser" | "device" | "platform"), name)) => &row[class][name],
                    _ if table == "engagement" && matches!(&**name, "from" | "to") => {
                        &row["range_time"][name]
                    }
                    _ => &row[name],
                };
                match value {
                    Value::String(text) => assert_eq!(cell, text, "{table}: {name}"),
                    Value::Number(number) => {
                        assert_eq!(cell.parse::<f64>().ok(), number.as_f64(), "{table}: {name}");
                    }
                    other => panic!("{table}: {name} is {other}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn every_second_of_every_bucket_is_a_line() {
    let (server, key) = filled().await;
    let report = server.report("engagement", &all(&key)).await;
    let mut expected = Vec::new();
    for bucket in report["engagement"].as_array().unwrap() {
        for second in bucket["per_second"].as_array().unwrap() {
            expected.push(with(second, "interval", &bucket["interval"]));
        }
    }
    let exported =
        export(&server, "engagement", &with(&all(&key), "format", &json!("ndjson"))).await;
    assert_eq!(read_ndjson(str::from_utf8(&exported.body).unwrap()), expected);
    let lines = export(&server, "engagement", &all(&key)).await;
    let lines = read_csv(str::from_utf8(&lines.body).unwrap());
    assert_eq!(lines.len(), expected.len());
    assert_eq!(lines[1]["viewers"], expected[1]["viewers"].to_string());
}

#[tokio::test]
async fn every_session_is_an_object_with_all_that_reports_are_made_of() {
    let (server, _) = filled().await;
    let exported = export(&server, "sessions", &json!({"format": "ndjson"})).await;
    let mut sessions = read_ndjson(&unchunked(&exported));
    assert_eq!(sessions.len(), SESSIONS as usize);
    sessions.sort_by_key(|session| session["started_at"].as_str().unwrap().to_owned());
    insta::assert_json_snapshot!(sessions[1], @r#"
    {
      "bitrate": null,
      "browser": "firefox",
      "clamped": 0,
      "codec": null,
      "device": "desktop",
      "duration": 60.0,
      "failures": 0,
      "fullscreens": 0,
      "height": null,
      "identifier": "=1+1",
      "key": "+a/key=",
      "language": "en",
      "last_event_at": "2023-11-14T22:14:20.005Z",
      "metadata": {
        "course": 1
      },
      "others": 0,
      "platform": "linux",
      "rebuffering_time": 0.0,
      "rebufferings": 1,
      "renditions": 0,
      "scrubbed_time": 0.0,
      "seek_wait_time": 0.0,
      "seek_waits": 0,
      "seeks": 0,
      "segments": [
        [
          0.0,
          1.5
        ],
        [
          0.5,
          0.75
        ]
      ],
      "session_data": null,
      "source": "https://example.com/watch",
      "started_at": "2023-11-14T22:14:20.000Z",
      "startup_time": null,
      "tracks": 0,
      "unique_view_time": 1.5,
      "view_time": 1.75,
      "width": null
    }
    "#);
}

#[tokio::test]
async fn every_session_is_a_line_of_csv() {
    let (server, _) = filled().await;
    let lines = read_csv(&unchunked(&export(&server, "sessions", &json!({})).await));
    assert_eq!(lines.len(), SESSIONS as usize);
    let line = lines.iter().find(|line| line["started_at"] == "2023-11-14T22:14:20.000Z").unwrap();
    insta::assert_json_snapshot!(line, @r#"
    {
      "bitrate": "",
      "browser": "firefox",
      "clamped": "0",
      "codec": "",
      "device": "desktop",
      "duration": "60",
      "failures": "0",
      "fullscreens": "0",
      "height": "",
      "identifier": "'=1+1",
      "key": "'+a/key=",
      "language": "en",
      "last_event_at": "2023-11-14T22:14:20.005Z",
      "metadata": "{\"course\":1}",
      "others": "0",
      "platform": "linux",
      "rebuffering_time": "0",
      "rebufferings": "1",
      "renditions": "0",
      "scrubbed_time": "0",
      "seek_wait_time": "0",
      "seek_waits": "0",
      "seeks": "0",
      "segments": "0-1.5;0.5-0.75",
      "session_data": "",
      "source": "https://example.com/watch",
      "started_at": "2023-11-14T22:14:20.000Z",
      "startup_time": "",
      "tracks": "0",
      "unique_view_time": "1.5",
      "view_time": "1.75",
      "width": ""
    }
    "#);
}

#[tokio::test]
async fn sessions_are_narrowed_like_reports() {
    let (server, key) = filled().await;
    for (parameters, expected) in [
        (json!({}), SESSIONS),
        (json!({"identifier": "intro"}), SESSIONS / 5),
        (json!({"identifier": ["intro", "=1+1"]}), 2 * SESSIONS / 5),
        (json!({"query": {"key": key.as_str()}}), SESSIONS),
        (json!({"query": {"key": "another"}}), 0),
        (json!({"query": {"video": {"course": 1}, "session": {}}}), SESSIONS / 6),
        (json!({"timeframe": {"from": "2023-11-14T22:13:20Z", "to": "2023-11-14T22:17:20Z"}}), 5),
        (json!({"timeframe": "7 days"}), 0),
        (json!({"minimum_watch_seconds": 20.75}), SESSIONS / 40),
    ] {
        let exported =
            export(&server, "sessions", &with(&parameters, "format", &json!("ndjson"))).await;
        let sessions = read_ndjson(&unchunked(&exported));
        assert_eq!(sessions.len(), expected as usize, "{parameters}");
    }
}

#[tokio::test]
async fn texts_of_pages_are_no_formulas_in_csv_and_as_they_are_in_ndjson() {
    let (server, _) = filled().await;
    let lines = read_csv(&unchunked(&export(&server, "sessions", &json!({})).await));
    let mut texts: Vec<_> = lines.iter().map(|line| &*line["identifier"]).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts, ["'-2", "'=1+1", "a,\"b\"\r\nc", "intro", "\u{e9}\u{1f600}"]);
    assert!(lines.iter().all(|line| line["key"] == "'+a/key="));

    let exported = export(&server, "sessions", &json!({"format": "ndjson"})).await;
    let sessions = read_ndjson(&unchunked(&exported));
    assert!(sessions.iter().all(|it| TEXTS.contains(&it["identifier"].as_str().unwrap())));
    assert!(sessions.iter().all(|it| it["key"] == "+a/key="));
}

#[cfg(feature = "parquet")]
#[tokio::test]
async fn parquet_holds_what_csv_does() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    let time_ms = |text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text);
        let time = time.or_else(|_| chrono::DateTime::parse_from_rfc3339(&format!("{text}Z")));
        time.unwrap().timestamp_millis()
    };
    let (server, key) = filled().await;
    let all = all(&key);
    let query = json!({"metrics": ["plays", "average_view_duration", "startup_time_p50"],
        "dimensions": ["time:1 hour", "hour_of_day", "video"], "timeframe": ["2023-11-01", "2023-12-01"], "compare": "previous_period", "limit": 5});
    for (table, parameters) in [
        ("plays", all.clone()),
        ("sources", with(&all, "timezone", &json!("Europe/Amsterdam"))),
        ("engagement", all.clone()),
        ("engagement", with(&all, "ranges", &json!(4))),
        ("engagement", with(&all, "query", &json!({"key": "unknown"}))),
        ("query", query),
        ("sessions", json!({})),
    ] {
        let whole = |answer: Answer| match table {
            "sessions" => unchunked_bytes(&answer),
            _ => answer.body.to_vec(),
        };
        let csv = whole(export(&server, table, &parameters).await);
        let lines = read_csv(str::from_utf8(&csv).unwrap());
        let format = json!("parquet");
        let file = whole(export(&server, table, &with(&parameters, "format", &format)).await);
        let file = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
        let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), lines.len(), "{table}");
        for (row, line) in rows.iter().zip(&lines) {
            assert_eq!(row.len(), line.len(), "{table}");
            for (name, field) in row.get_column_iter() {
                let cell = &line[name];
                match field {
                    Field::Null => assert_eq!(cell, "", "{table}: {name}"),
                    Field::Str(text) => {
                        // A text that begins like a formula has a quote before it.
                        let plain = cell.strip_prefix('\'').unwrap_or(cell);
                        assert_eq!(plain, text, "{table}: {name}");
                    }
                    Field::Long(number) => assert_eq!(*cell, number.to_string(), "{table}: {name}"),
                    Field::Double(number) => {
                        assert_eq!(cell.parse(), Ok(*number), "{table}: {name}");
                    }
                    Field::TimestampMillis(at_ms) => {
                        assert_eq!(time_ms(cell), *at_ms, "{table}: {name}");
                    }
                    other => panic!("{table}: {name} is {other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_exported_is_guarded_and_what_is_wrong_is_told() {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    let server = TestServer::with(Settings::default().access(credentials)).await;
    for table in ["plays", "engagement", "sources", "sessions"] {
        let path = format!("/api/v1/export/{table}");
        assert_eq!(server.http("GET", &path).send().await.status, 401, "{table}");
        let allowed = server
            .http("GET", &path)
            .header("authorization", "Basic YWRhOm9wZW4gc2VzYW1l")
            .query("identifier=intro");
        assert_eq!(allowed.clone().send().await.status, 200, "{table}");
        let answer = allowed.clone().query("identifier=intro&format=xml").send().await;
        assert_eq!(
            (answer.status, &*answer.error()),
            (400, "`format` must be csv, ndjson or parquet")
        );
        if !cfg!(feature = "parquet") {
            let answer = allowed.query("identifier=intro&format=parquet").send().await;
            let told = "`format` must be csv or ndjson: this program was built without the feature `parquet`";
            assert_eq!((answer.status, &*answer.error()), (400, told));
        }
        let method = server.http("DELETE", &path).send().await;
        assert_eq!((method.status, method.header("allow")), (405, Some("GET, POST, OPTIONS")));
    }
    assert_eq!(server.http("GET", "/api/v1/export/keys").send().await.status, 404);
    assert_eq!(server.http("GET", "/api/v1/export").send().await.status, 404);
}

/// Passes some page reads to the store; the others wait for ever, or fail.
#[derive(Clone, Debug)]
struct Gate {
    // Selects page reads by their number, from 1 on.
    lets_through: fn(usize) -> bool,
    fails: bool,
    // The number of page reads.
    asked: watch::Sender<usize>,
}

impl Gate {
    fn new(lets_through: fn(usize) -> bool, fails: bool) -> Self {
        Self { lets_through, fails, asked: watch::Sender::new(0) }
    }
}

#[async_trait]
impl Way for Gate {
    async fn go<T: Send + 'static>(&self, method: Method, call: Call<T>) -> Result<T, Error> {
        if method == Method::Videos {
            let mut number = 0;
            self.asked.send_modify(|asked| {
                *asked += 1;
                number = *asked;
            });
            if !(self.lets_through)(number) {
                if self.fails {
                    let source = "it is away".into();
                    return Err(Error::Unavailable { store: "a test", source });
                }
                pending::<()>().await;
            }
        }
        call.await
    }
}

async fn gated(gate: &Gate) -> TestServer {
    let database = Database::new().await;
    let store = database.open().await;
    fill(&*store).await;
    let store = Arc::new(Through::by(gate.clone(), store));
    database.serve_over(store, Settings::default(), 1_000).await
}

/// Requests all sessions, and reads until the response has begun.
async fn begun(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = Http::new(server.address, "GET", "/api/v1/export/sessions");
    stream.write_all(&request.bytes()).await.unwrap();
    let mut head = [0; 15];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test]
async fn a_client_that_disconnects_frees_its_permit() {
    // Each export has its first page, and waits for its second. There are fewer permits than exports.
    let gate = Gate::new(|number| !number.is_multiple_of(2), false);
    let server = gated(&gate).await;
    for number in 0..6 {
        let stream = begun(&server).await;
        soon(gate.asked.subscribe().wait_for(|asked| *asked == 2 * number + 2)).await.unwrap();
        drop(stream);
    }
}

#[tokio::test]
async fn an_export_that_cannot_go_on_is_not_taken_for_whole() {
    let server = gated(&Gate::new(|number| number == 1, true)).await;
    let answer = server.http("GET", "/api/v1/export/sessions").send().await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.ends_with(LAST_CHUNK), "it says that it ends");
    assert!(1_000 < answer.body.len(), "the first page is there");

    let server = gated(&Gate::new(|_| false, true)).await;
    let answer = server.http("GET", "/api/v1/export/sessions").send().await;
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_export() {
    let gate = Gate::new(|number| number == 1, false);
    let server = gated(&gate).await;
    let mut stream = begun(&server).await;
    soon(gate.asked.subscribe().wait_for(|asked| *asked == 2)).await.unwrap();
    let mut rest = Vec::new();
    let stopping = server.begin_stop();
    drop(soon(stream.read_to_end(&mut rest)).await);
    assert!(!rest.ends_with(LAST_CHUNK), "it says that it ends");
    soon(stopping).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_answer_queries_and_list_videos() {
    let (server, key) = filled().await;
    let url = server.database.url();
    let printed = |arguments: &[&str]| {
        let mut command = binary();
        command.args(arguments).env("DATABASE_URL", &url).env("RUST_LOG", "off");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let timeframe = r#"{"from": 1600000000, "to": 1800000000}"#;
    let of_key = with(&all(&key), "format", &json!("ndjson"));
    let flags = ["--key", key.as_str(), "--timeframe", timeframe, "--format", "ndjson"];
    let pages = r#"{"metrics": ["plays"], "dimensions": ["page"]}"#;
    let written = printed(&[&["query", pages][..], &flags].concat());
    let mut asked = with(&of_key, "metrics", &json!(["plays"]));
    asked = with(&asked, "dimensions", &json!(["page"]));
    let answered = export(&server, "query", &without(&asked, "interval")).await;
    assert_eq!(written, String::from_utf8(answered.body).unwrap());
    assert_eq!(read_ndjson(&written)[0]["plays"], 1_500);
    let written = printed(&[&["videos", "--search", "INTRO"][..], &flags].concat());
    let asked = with(&without(&of_key, "interval"), "search", &json!("intro"));
    let answered = export(&server, "videos", &asked).await;
    assert_eq!(written, String::from_utf8(answered.body).unwrap());
    assert_eq!(read_ndjson(&written)[0]["identifier"], "intro");
    for wrong in [&["query", r#"{"metric": 1}"#][..], &["videos", "--interval=1 day"]] {
        let output = binary().args(wrong).env("DATABASE_URL", &url).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_writes_the_same_files() {
    let (server, key) = filled().await;
    let url = server.database.url();
    let run = |arguments: &[&str]| {
        binary().args(arguments).env("DATABASE_URL", &url).env("RUST_LOG", "off").output().unwrap()
    };
    let printed = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "what is no terminal has no progress drawn on it");
        String::from_utf8(output.stdout).unwrap()
    };
    let timeframe = r#"{"from": 1600000000, "to": 1800000000}"#;
    for table in ["plays", "sources", "engagement"] {
        let written = printed(&[
            "export",
            table,
            "--key",
            key.as_str(),
            "--timeframe",
            timeframe,
            "--interval",
            "1 hour",
        ]);
        let answered = export(&server, table, &all(&key)).await;
        assert_eq!(written, String::from_utf8(answered.body).unwrap(), "{table}");
    }
    let narrowed = [
        "export",
        "sessions",
        "--format=ndjson",
        "--identifier=intro",
        "--identifier=-2",
        "--query",
        r#"{"video": {"course": 1}}"#,
        "--minimum-watch-seconds",
        "3",
    ];
    let parameters = json!({
        "format": "ndjson", "identifier": ["intro", "-2"], "query": {"video": {"course": 1}},
        "minimum_watch_seconds": 3
    });
    let answered = unchunked(&export(&server, "sessions", &parameters).await);
    assert!(10 < answered.lines().count());
    assert_eq!(printed(&narrowed), answered);

    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sessions.csv");
    let to_file = ["export", "sessions", "--output", path.to_str().unwrap()];
    assert_eq!(printed(&to_file), "");
    let answered = unchunked(&export(&server, "sessions", &json!({})).await);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), answered);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a part is left");

    for (arguments, code, text) in [
        (&["export", "plays"][..], 2, "--identifier or `query` is required"),
        (&["export", "plays", "--key=a", "--interval=1 parsec"], 2, "--interval"),
        (&["export", "plays", "--query=[1]"], 2, "--query must be an object"),
        (
            &["export", "sessions", "--minimum-watch-seconds=x"],
            2,
            "--minimum-watch-seconds must be",
        ),
        (&["export", "watching"], 2, "watching"),
        (&["export", "sessions", "--output", "no/such/directory"], 1, "no/such/directory"),
        (&["export", "sessions", "--database-url", "sqlite:mistyped.db"], 1, "no file mistyped.db"),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(text) && stderr.lines().count() == 1, "{text:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

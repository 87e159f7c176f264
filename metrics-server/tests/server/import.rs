//! Imports sessions from files: exports, and the history of other systems.

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use metrics_core::arrival::{Arrival, ArrivalPart};
use metrics_core::interval::{Interval, Segments};
use metrics_core::key::SessionId;
use metrics_core::session::Stored;
use metrics_core::store::{SessionWrite, SqliteStore, Store, Subject};
use metrics_core::upkeep::close;
use metrics_core::user_agent::{Browser, Device, Platform, UserAgentClass};
use metrics_core::{ApiKey, Source, Video};
use metrics_server_testing::binary;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tempfile::TempDir;

const START_MS: i64 = 1_700_000_000_000;

/// More sessions than one batch reads or writes.
const SESSIONS: i64 = 6_000;

/// A directory with databases and the files to import.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, database: &str, arguments: &[&str]) -> Output {
        let url = format!("sqlite:{}", self.path(database));
        binary().args(arguments).env("DATABASE_URL", url).output().unwrap()
    }

    /// Runs a command, expects success, and returns its output.
    #[track_caller]
    fn printed(&self, database: &str, arguments: &[&str]) -> String {
        let output = self.run(database, arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes a file, and returns its path.
    fn write(&self, name: &str, lines: &[impl ToString]) -> String {
        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        std::fs::write(self.path(name), lines.join("\n")).unwrap();
        self.path(name)
    }

    fn exported(&self, database: &str) -> String {
        self.printed(database, &["export", "sessions", "--format", "ndjson"])
    }
}

/// Makes a session with random values of everything that a player may report.
fn random(rng: &mut StdRng, key: &ApiKey, number: i64) -> SessionWrite {
    let segments: Segments = (0..rng.random_range(0..6))
        .filter_map(|_| {
            let from_ms = rng.random_range(0..3_600_000);
            Interval::new(from_ms, from_ms + rng.random_range(0..90_000))
        })
        .collect();
    // Most sessions start alone, and some equal ones start at the same time.
    let started_at_ms = START_MS + 1_000_003 * (number - number % 7 / 6);
    let duration_ms = rng.random_bool(0.7).then(|| rng.random_range(1..4_000_000));
    let last_event_at_ms = started_at_ms + rng.random_range(0..4_000_000);
    let mut stored = Stored::finished(started_at_ms, last_event_at_ms, duration_ms, &segments);
    let counters = &mut stored.counters;
    counters.rebufferings = rng.random_range(0..3);
    counters.rebuffering_ms = rng.random_range(0..10_000);
    counters.failures = rng.random_range(0..2);
    counters.startup_ms = rng.random_bool(0.5).then(|| rng.random_range(0..5_000));
    let details = &mut counters.details;
    details.seeks = rng.random_range(0..9);
    details.seek_wait_ms = rng.random_range(0..1_000);
    details.scrubbed_ms = rng.random_range(0..1_000);
    details.unplaced_ms = rng.random_range(0..1_000);
    details.language = rng.random_bool(0.5).then(|| "pt-BR \u{1f600}".to_owned());
    details.others = rng.random_range(0..3);
    stored.view_ms += details.outside_ms();
    let user_agent = UserAgentClass {
        browser: Browser::ALL[rng.random_range(0..Browser::ALL.len())],
        platform: Platform::ALL[rng.random_range(0..Platform::ALL.len())],
        device: Device::ALL[rng.random_range(0..Device::ALL.len())],
    };
    let video = rng.random_range(0..5);
    let identifier = (video != 0).then(|| format!("=video \"{video}\"\n"));
    let metadata = json!({"n": 0.1 + f64::from(video), "\u{e9}": [null, {"a": "\u{1}"}]});
    let parts = ArrivalPart::ALL.into_iter().filter(|_| rng.random_bool(0.5));
    let arrival = parts.fold(Arrival::default(), |arrival, part| arrival.with(part, "nl"));
    let subject = Subject {
        key: key.clone(),
        video: Video::new(identifier, metadata.as_object().filter(|_| video != 1).cloned())
            .unwrap(),
        source: rng.random_bool(0.5).then(|| Source::parse("https://[::1]:8443/\u{e4}?x").unwrap()),
        user_agent,
        session_data: rng.random_bool(0.5).then(|| r#"{"plan":"free"}"#.to_owned()),
        arrival,
    };
    let id = SessionId::new(key, &number.to_string());
    SessionWrite { id, subject: Arc::new(subject), expected: 0, stored, watched_at: None }
}

/// Fills a database with open and closed sessions.
async fn fill(directory: &Directory) {
    let store = SqliteStore::open(directory.path("a.db")).await.unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let keys = ["one", "two"].map(|key| ApiKey::new(key).unwrap());
    for key in &keys {
        store.create_key(key, Utc::now()).await.unwrap();
    }
    let mut writes: Vec<_> =
        (0..SESSIONS).map(|number| random(&mut rng, &keys[number as usize % 2], number)).collect();
    // Two viewers whose sessions are equal.
    let twin = SessionWrite { id: SessionId::new(&keys[0], "twin"), ..writes[0].clone() };
    writes.push(twin);
    store.commit(writes.into()).await.unwrap();
    // Sessions of the last third stay open.
    let until = chrono::DateTime::from_timestamp_millis(START_MS).unwrap()
        + TimeDelta::milliseconds(1_000_003 * SESSIONS * 2 / 3);
    while 0 < close(&store, until, 1_000).await.unwrap().1 {}
}

const REPORTS: [&[&str]; 6] = [
    &["plays", "--key", "one", "--interval", "1 day", "--timeframe", "1600000000"],
    &["sources", "--key", "two", "--interval", "1 month", "--timeframe", "1600000000"],
    &["engagement", "--key", "one", "--ranges", "20", "--timeframe", "1600000000"],
    &[
        "query",
        "--q",
        r#"{"metrics": ["plays", "view_time", "unique_view_time", "average_percentage_viewed", "startup_time_p95", "rebuffering_ratio", "failures"], "dimensions": ["key", "video", "browser"], "timeframe": "all", "limit": 10000}"#,
    ],
    &[
        "query",
        "--q",
        r#"{"dimensions": ["time:1 hour", "page", "language"], "timeframe": "all", "limit": 10000}"#,
    ],
    &["sessions", "--format", "csv"],
];

/// As little of a page is imported as is recorded: patterns of the key, and `METRICS_PAGES`.
#[test]
fn pages_are_reduced_as_those_of_viewers_are() {
    let directory = Directory::new();
    let line = |number: u32| {
        json!({ "key": "a-key", "identifier": "intro", "started_at": "2024-02-29T12:00:00Z", "id": number.to_string(),
            "segments": [[0, 5]], "source": "https://example.com/reset/token" })
    };
    directory.printed("a.db", &["keys", "create", "a-key", "--page-pattern", "/reset/*"]);
    let file = directory.write("a.ndjson", &[line(1)]);
    directory.printed("a.db", &["import", "sessions", &file]);
    let exported = directory.exported("a.db");
    assert!(exported.contains("https://example.com/reset/*"), "{exported}");
    for (database, kept, page) in
        [("b.db", "host", "\"https://example.com/\""), ("c.db", "none", "null")]
    {
        let url = format!("sqlite:{}", directory.path(database));
        let mut import = binary();
        import.args(["import", "sessions", &file]).env("DATABASE_URL", url);
        assert!(import.env("METRICS_PAGES", kept).output().unwrap().status.success());
        let exported = directory.exported(database);
        assert!(!exported.contains("token") && exported.contains(page), "{exported}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_imported_gives_every_answer_as_before() {
    let directory = Directory::new();
    fill(&directory).await;
    let exported = directory.exported("a.db");
    assert_eq!(exported.lines().count() as i64, SESSIONS + 1);
    let file = directory.write("a.ndjson", &[&exported]);
    let log = directory.printed("b.db", &["import", "sessions", &file]);
    assert!(
        log.contains(&format!("imported {} sessions; 0 were there already", SESSIONS + 1)),
        "{log}"
    );
    assert!(log.contains("added 2 keys"), "{log}");
    for report in REPORTS {
        let arguments = [&["export"], report].concat();
        let requested =
            [directory.printed("a.db", &arguments), directory.printed("b.db", &arguments)];
        assert!(requested[0].lines().count() > 3, "{arguments:?}: {}", requested[0]);
        assert_eq!(requested[0], requested[1], "{arguments:?}");
    }
    assert_eq!(directory.exported("b.db"), exported);
    directory.printed("b.db", &["blocks", "verify"]);

    // Importing the file again changes neither database.
    for database in ["a.db", "b.db"] {
        let log = directory.printed(database, &["import", "sessions", &file]);
        let expected = format!("imported 0 sessions; {} were there already", SESSIONS + 1);
        assert!(log.contains(&expected), "{log}");
        assert_eq!(directory.exported(database), exported);
    }
}

#[test]
fn sessions_of_other_systems_are_imported_once() {
    let directory = Directory::new();
    let least =
        json!({"identifier": "old", "started_at": "2019-05-01T12:00:00+02:00", "view_time": 90});
    let named = json!({"id": "7", "key": "theirs", "identifier": "old", "started_at": "2019-05-02T00:00:00Z", "segments": [[0, 60]]});
    // Two viewers whose sessions are equal, and one session with an id.
    let file = directory.write("old.ndjson", &[&least, &least, &named]);
    let import = ["import", "sessions", &file, "--key", "mine"];
    let log = directory.printed("a.db", &import);
    assert!(log.contains("imported 3 sessions; 0 were there already"), "{log}");
    let query = r#"{"metrics": ["plays", "view_time"], "dimensions": ["key"], "timeframe": "all"}"#;
    let answer = directory.printed("a.db", &["export", "query", "--q", query]);
    assert_eq!(answer, "key,plays,view_time\r\nmine,2,180\r\ntheirs,1,60\r\n");
    assert!(directory.printed("a.db", &import).contains("imported 0 sessions; 3 were there"));

    // A third equal session, and the session with an id with other content, which does not replace it.
    let renamed = json!({"id": "7", "key": "theirs", "identifier": "old", "started_at": "2019-05-02T00:00:00Z", "segments": [[0, 61]]});
    directory.write("old.ndjson", &[&renamed, &least, &least, &least]);
    let log = directory.printed("a.db", &import);
    assert!(log.contains("imported 1 sessions; 2 were there already"), "{log}");
    assert!(log.contains("1 sessions exist already with other content"), "{log}");
}

#[test]
fn refused_lines_are_named_and_the_others_are_imported() {
    let directory = Directory::new();
    let good = json!({"key": "k", "identifier": "a", "started_at": "2024-02-29T12:00:00Z", "view_time": 1});
    let bad = json!({"key": "k", "identifier": "a", "started_at": "2024-02-29T12:00:00Z", "veiw_time": 1});
    let mut lines = vec![good.to_string(), String::new(), "{".to_owned()];
    lines.extend((0..30).map(|_| bad.to_string()));
    lines.push("x".repeat(2_000_000));
    lines.push(good.to_string());
    let file = directory.write("a.ndjson", &lines);
    for (dry, reported) in
        [(true, "2 sessions can be imported; nothing was written"), (false, "imported 2 sessions")]
    {
        let mut arguments = vec!["import", "sessions", &file];
        arguments.extend(dry.then_some("--dry-run"));
        let output = directory.run("a.db", &arguments);
        let (log, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("line 3: expected a JSON object"), "{log}");
        assert!(
            log.contains("line 22: `veiw_time` is unknown, did you mean `view_time`?"),
            "{log}"
        );
        assert!(!log.contains("line 23:") && log.contains("12 more lines were refused"), "{log}");
        assert!(log.contains(reported), "{log}");
        assert!(stderr.contains("32 lines were refused: correct them and import"), "{stderr}");
        assert_eq!(std::fs::exists(directory.path("a.db")).unwrap(), !dry);
    }
}

#[test]
fn sessions_come_through_a_pipe() {
    let directory = Directory::new();
    let url = format!("sqlite:{}", directory.path("a.db"));
    let mut import = binary()
        .args(["import", "sessions", "-", "--key", "k"])
        .env("DATABASE_URL", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = json!({"identifier": "a", "started_at": "2024-02-29T12:00:00Z", "view_time": 1});
    let mut pipe = import.stdin.take().unwrap();
    writeln!(pipe, "{line}\n{line}").unwrap();
    drop(pipe);
    let output = import.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(log.contains("imported 2 sessions; 0 were there already"), "{log}");
}

#[test]
fn a_file_that_cannot_be_read_makes_no_database() {
    let directory = Directory::new();
    for file in [directory.path("missing.ndjson"), directory.path("")] {
        let output = directory.run("a.db", &["import", "sessions", &file]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.contains(&format!("metrics-server: cannot read {file}: ")), "{stderr}");
    }
    assert!(!std::fs::exists(directory.path("a.db")).unwrap());
}

//! The commands that export, query and list.

use metrics_server_testing::binary;
use serde_json::json;
use tempfile::TempDir;

use super::{all, export, filled, read_ndjson, unchunked, with, without};

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
    let mut requested = with(&of_key, "metrics", &json!(["plays"]));
    requested = with(&requested, "dimensions", &json!(["page"]));
    let response = export(&server, "query", &without(&requested, "interval")).await;
    assert_eq!(written, String::from_utf8(response.body).unwrap());
    assert_eq!(read_ndjson(&written)[0]["plays"], 1_500);
    let written = printed(&[&["videos", "--search", "INTRO"][..], &flags].concat());
    let requested = with(&without(&of_key, "interval"), "search", &json!("intro"));
    let response = export(&server, "videos", &requested).await;
    assert_eq!(written, String::from_utf8(response.body).unwrap());
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
        let response = export(&server, table, &all(&key)).await;
        assert_eq!(written, String::from_utf8(response.body).unwrap(), "{table}");
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
    let response = unchunked(&export(&server, "sessions", &parameters).await);
    assert!(10 < response.lines().count());
    assert_eq!(printed(&narrowed), response);

    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sessions.csv");
    let to_file = ["export", "sessions", "--output", path.to_str().unwrap()];
    assert_eq!(printed(&to_file), "");
    let response = unchunked(&export(&server, "sessions", &json!({})).await);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), response);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a part is left");

    for (arguments, code, text) in [
        (&["export", "plays", "--key=a", "--interval=1 parsec"][..], 2, "--interval"),
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

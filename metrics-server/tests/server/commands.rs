//! The commands for the maintenance of a store: their output, their exit codes, and their effects on a running server.

use std::process::Output;

use metrics_server_testing::{Database, Process, binary, soon};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs a command on a database to its end.
pub(crate) fn run(url: &str, arguments: &[&str]) -> Output {
    binary().args(arguments).env("DATABASE_URL", url).output().unwrap()
}

/// Runs a command, expects success, and returns its output.
#[track_caller]
pub(crate) fn printed(url: &str, arguments: &[&str]) -> String {
    let output = run(url, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("metrics-server:"), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Expects a command to fail with `code`, one error line that contains `text`, and nothing on the standard output.
#[track_caller]
fn check_fails(url: &str, arguments: &[&str], code: i32, text: &str) {
    let output = run(url, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    let reported: Vec<_> =
        stderr.lines().filter(|line| line.starts_with("metrics-server:")).collect();
    assert!(reported.len() == 1 && reported[0].contains(text), "{text:?} is not in: {stderr}");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let database = Database::new().await;
    let url = database.url();
    let listed = || -> Vec<Value> {
        let listed = printed(&url, &["keys", "list", "--format", "json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed["keys"].as_array().unwrap().clone()
    };
    let made = printed(&url, &["keys", "create"]);
    let key = made.strip_suffix('\n').unwrap();
    assert_eq!(key.len(), 24, "the key alone: {made:?}");
    assert_eq!(printed(&url, &["keys", "create", "my+own/key="]), "my+own/key=\n");

    let keys = listed();
    let names: Vec<_> = keys.iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(names, [key, "my+own/key="]);
    assert!(keys.iter().all(|it| it["disabled_at"] == json!(null)));

    for _ in 0..2 {
        assert_eq!(printed(&url, &["keys", "revoke", "my+own/key="]), "");
    }
    assert!(listed()[1]["disabled_at"].is_string());
    let text = printed(&url, &["keys", "list"]);
    let ends: Vec<_> = text.lines().map(|line| line.contains("  revoked 20")).collect();
    assert_eq!(ends, [false, true], "{text}");

    assert_eq!(printed(&url, &["keys", "restore", "my+own/key="]), "");
    assert_eq!(listed()[1]["disabled_at"], json!(null));
    let named = ["keys", "change", "my+own/key=", "--name", "Shop", "--host", "a.example"];
    assert_eq!(printed(&url, &named), "");
    assert_eq!(printed(&url, &["keys", "change", "my+own/key=", "--host", ""]), "");
    assert_eq!(listed()[1]["settings"], json!({ "name": "Shop" }));
    assert!(printed(&url, &["keys", "list"]).ends_with("  valid  name \"Shop\"\n"));

    check_fails(&url, &["keys", "restore", "unknown"], 1, "KEY does not exist");
    check_fails(&url, &["keys", "change", "unknown", "--name", "a"], 1, "KEY does not exist");
    check_fails(&url, &["keys", "create", "my+own/key="], 1, "exists already");
    check_fails(&url, &["keys", "revoke", "unknown"], 1, "KEY does not exist");
    check_fails(&url, &["keys", "create", "no key"], 2, "KEY is not an API key");
    check_fails(&url, &["keys", "list", "--format", "xml"], 2, "--format");
    check_fails(&url, &["keys"], 2, "a command is missing");
}

#[test]
fn listing_the_keys_of_a_missing_file_does_not_create_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("mistyped.db");
    let url = format!("sqlite:{}", path.display());
    check_fails(&url, &["keys", "list"], 1, "no file");
    check_fails(&url, &["keys", "revoke", "a"], 1, "no file");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_follows_keys_that_are_made_and_revoked() {
    let database = Database::new().await;
    let url = database.url();
    let server = Process::start(&database).await;
    let key = printed(&url, &["keys", "create"]).trim_end().to_owned();
    let event = json!({"name": "play", "session_id": "a", "embed_id": "intro", "video_time": 0, "key": key});
    let becomes = async |status| {
        let response = async {
            loop {
                let batch = json!({"events": [event.clone()]});
                let answer = server.http("POST", "/v1/events").json(&batch).send().await;
                if answer.status == status {
                    return;
                }
            }
        };
        soon(response).await;
    };
    becomes(200).await;
    printed(&url, &["keys", "revoke", &key]);
    becomes(401).await;
    server.terminate().await;
}

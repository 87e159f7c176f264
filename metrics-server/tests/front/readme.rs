//! The README tells the truth: its commands are run as they stand there, against the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use metrics_server_testing::{Database, Process, binary};
use metrics_testing::Backend;
use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command, and the answer that the README shows for it, if it shows one.
struct Example {
    command: String,
    answer: Option<Value>,
}

/// The examples that are marked as checked, in order.
fn examples(readme: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut rest = readme;
    while let Some((_, marked)) = rest.split_once("<!-- checked -->\n```sh\n") {
        let (command, after) = marked.split_once("```\n").expect("the command ends");
        let shown = after.strip_prefix("\n```json\n").and_then(|json| json.split_once("```\n"));
        examples.push(Example {
            command: command.to_owned(),
            answer: shown.map(|(json, _)| serde_json::from_str(json).expect("the answer is JSON")),
        });
        rest = after;
    }
    examples
}

/// Whether an answer is the one shown, in which `"..."` stands for any text.
fn matches(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (Value::String(_), Value::String(any)) if any == "..." => true,
        (Value::Array(all), Value::Array(shown)) => {
            all.len() == shown.len() && all.iter().zip(shown).all(|(it, shown)| matches(it, shown))
        }
        (Value::Object(all), Value::Object(shown)) => {
            all.len() == shown.len()
                && shown.iter().all(|(name, it)| all.get(name).is_some_and(|all| matches(all, it)))
        }
        _ => answer == shown,
    }
}

#[tokio::test]
async fn every_example_of_the_api_answers_what_it_shows() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let examples = examples(&readme);
    assert_eq!(examples.len(), 10, "examples were added or lost: count them again");
    let directory = TempDir::new().unwrap();
    let database = Database::new().await;
    // As the README starts it, but on a free port: a file needs no mention, another database does.
    let mut command = binary();
    command.current_dir(directory.path());
    if Backend::of_this_run() != Backend::Sqlite {
        command.env("DATABASE_URL", database.url());
    }
    let server = Process::run(command).await;
    for Example { command, answer } in examples {
        let command = command.replace("localhost:3000", &server.address.to_string());
        let command = command.replace("curl ", "curl --silent --show-error --fail ");
        let output = Command::new("bash").args(["-euc", &command]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{stderr}");
        if let Some(shown) = answer {
            let answered: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(matches(&answered, &shown), "{command}\nanswered {answered}\nshown {shown}");
        }
    }
}

#[test]
fn the_ten_lines_are_those_of_the_example() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("examples/embed.rs")).unwrap();
    let (_, shown) = readme.split_once("```rust\n").expect("the README shows Rust");
    let (shown, _) = shown.split_once("```\n").expect("the lines end");
    let (header, program) = example.split_once("\n\n").expect("the example begins with a header");
    assert!(header.lines().all(|line| line.starts_with("//!") || line.starts_with("#![")));
    assert_eq!(shown, program, "examples/embed.rs is another program");
    let (_, body) = shown.split_once("-> Result<(), Box<dyn std::error::Error>> {\n").unwrap();
    let (body, _) = body.split_once("    Ok(())\n}\n").unwrap();
    assert!(body.lines().count() <= 10, "{body}");
}

//! The README and the chapters in `docs` are true: their commands run unchanged against the real binary, and their
//! links resolve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use metrics_core::query::{Dimension, Metric};
use metrics_server_testing::{Database, Process, binary};
use metrics_testing::Backend;
use serde_json::{Value, json};
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The number of examples of each chapter that run; chapters that are not listed have none.
const EXAMPLES: [(&str, usize); 4] =
    [("README.md", 1), ("docs/api.md", 12), ("docs/clients.md", 3), ("docs/operate.md", 6)];

/// The README and the chapters in `docs`, by their paths from the root.
fn chapters() -> Vec<String> {
    let files = fs::read_dir(root().join("docs")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut chapters: Vec<_> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    chapters.sort();
    chapters.insert(0, "README.md".to_owned());
    chapters
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// A command, and the response that its chapter shows for it, if any.
struct Example {
    command: String,
    answer: Option<Value>,
}

/// The commands of a chapter that are run, in order. Each command is marked as run, or as not run with a reason.
fn examples(path: &str) -> Vec<Example> {
    let chapter = read(path);
    let mut examples = Vec::new();
    let mut rest = &*chapter;
    while let Some((before, marked)) = rest.split_once("```sh\n") {
        let mark = before.lines().last().unwrap_or_default();
        let (command, after) = marked.split_once("```\n").expect("the command ends");
        rest = after;
        if mark.starts_with("<!-- not run: ") {
            continue;
        }
        assert_eq!(mark, "<!-- checked -->", "{path} does not say whether this is run:\n{command}");
        let shown = after.strip_prefix("\n```json\n").and_then(|json| json.split_once("```\n"));
        examples.push(Example {
            command: command.to_owned(),
            answer: shown.map(|(json, _)| serde_json::from_str(json).expect("the answer is JSON")),
        });
    }
    examples
}

/// Whether a response equals the one shown, in which `"..."` matches any text.
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

/// A server as the README starts it, but on a free port, and a reader's shell.
struct Shell {
    server: Process,
    database: Database,
    directory: TempDir,
}

impl Shell {
    async fn new() -> Self {
        let (directory, database) = (TempDir::new().unwrap(), Database::new().await);
        let mut command = binary();
        command.current_dir(directory.path());
        // SQLite is the default; another database needs `DATABASE_URL`.
        if Backend::of_this_run() != Backend::Sqlite {
            command.env("DATABASE_URL", database.url());
        }
        Self { server: Process::run(command).await, database, directory }
    }

    /// Runs a command, which must succeed, and returns its output.
    fn run(&self, command: &str) -> Vec<u8> {
        let command = command.replace("localhost:3000", &self.server.address.to_string());
        let command = command.replace("curl ", "curl --silent --show-error --fail ");
        let binaries = Path::new(env!("CARGO_BIN_EXE_metrics-server")).parent().unwrap().display();
        let mut bash = Command::new("bash");
        bash.args(["-euc", &format!("PATH={binaries}:$PATH\n{command}")]);
        bash.current_dir(self.directory.path());
        if Backend::of_this_run() != Backend::Sqlite {
            bash.env("DATABASE_URL", self.database.url());
        }
        let output = bash.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{stderr}");
        output.stdout
    }

    /// Watches the video of the README, as a reader would.
    fn watch(&self) {
        let batch = r#"{"events": [
            {"name": "play", "key": "HDsj3NfKQTNwn5Ix9g+cfQ==", "session_id": "a", "embed_id": "intro", "video_time": 0},
            {"name": "pause", "key": "HDsj3NfKQTNwn5Ix9g+cfQ==", "session_id": "a", "embed_id": "intro", "video_time": 12.5}
        ]}"#;
        let answer = self.run(&format!("curl localhost:3000/v1/events --json '{batch}'"));
        assert_eq!(answer, br#"{"accepted":2,"rejected":[]}"#);
    }
}

#[tokio::test]
async fn every_example_has_the_response_that_it_shows() {
    for path in chapters() {
        let examples = examples(&path);
        let expected =
            EXAMPLES.iter().find(|(name, _)| *name == path).map_or(0, |(_, number)| *number);
        assert_eq!(
            examples.len(),
            expected,
            "examples of {path} were added or lost: count them again"
        );
        if examples.is_empty() {
            continue;
        }
        let shell = Shell::new().await;
        if path != "docs/api.md" {
            shell.watch();
        }
        for Example { command, answer } in examples {
            let output = shell.run(&command);
            if let Some(shown) = answer {
                let answered: Value = serde_json::from_slice(&output).unwrap();
                assert!(
                    matches(&answered, &shown),
                    "{path}: {command}\nanswered {answered}\nshown {shown}"
                );
            }
        }
    }
}

#[tokio::test]
async fn every_use_case_has_a_request_that_the_server_accepts() {
    let shell = Shell::new().await;
    let queries = read("docs/queries.md");
    let (_, table) = queries.split_once("| question | request |\n|---|---|\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut accepted = 0;
    for row in table.lines() {
        // The second cell shows a query body, a path, or words about the row before.
        let request = row.split('|').nth(2).unwrap().split('`').nth(1).unwrap_or_default();
        let path = if request.starts_with('{') {
            let body = serde_json::from_str::<Value>(request).expect(row);
            shell.run(&format!("curl localhost:3000/api/v1/query --json '{body}'"));
            accepted += 1;
            continue;
        } else {
            request
        };
        if path.starts_with('/') {
            // The reports need a selection, which their chapter mentions in its text.
            let joint = if path.contains('?') { '&' } else { '?' };
            let all = "query=%7B%22key%22%3A%22HDsj3NfKQTNwn5Ix9g%2BcfQ%3D%3D%22%7D";
            shell.run(&format!("curl 'localhost:3000{path}{joint}{all}'"));
            accepted += 1;
        }
    }
    assert_eq!(accepted, 38, "requests were added or lost: count them again");
}

/// The schemas of `openapi.json` that list all metrics, and all dimensions.
const METRICS_SCHEMAS: [&str; 4] =
    ["QueryParameters", "QueryExportParameters", "VideosParameters", "VideosExportParameters"];
const DIMENSIONS_SCHEMAS: [&str; 2] = ["QueryParameters", "QueryExportParameters"];

#[test]
fn every_metric_and_dimension_is_documented_and_described() {
    let description: Value =
        serde_json::from_str(&read("metrics-server/src/api/openapi.json")).unwrap();
    let schemas = &description["components"]["schemas"];
    let names: Vec<_> = Metric::ALL.iter().map(|metric| metric.as_str()).collect();
    for schema in METRICS_SCHEMAS {
        let described = &schemas[schema]["properties"]["metrics"]["items"]["enum"];
        assert_eq!(described, &json!(names), "{schema}");
    }
    let chapter = read("docs/api.md");
    let row = |name: &str| chapter.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
    let (metrics, dimensions) = (row("metrics").unwrap(), row("dimensions").unwrap());
    for metric in Metric::ALL {
        assert!(metrics.contains(&format!("`{metric}`")), "{metric} is not in docs/api.md");
    }
    for name in Dimension::NAMES {
        let name = format!("`{name}`");
        assert!(dimensions.contains(&name), "{name} is not in docs/api.md");
        for schema in DIMENSIONS_SCHEMAS {
            let described = &schemas[schema]["properties"]["dimensions"]["items"]["description"];
            let described = described.as_str().unwrap();
            assert!(described.contains(&name), "{name} is not in {schema} of openapi.json");
        }
    }
}

/// The files whose links are checked: all documents for readers.
fn written() -> Vec<String> {
    let files =
        ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benches/README.md"];
    let github = [".github/pull_request_template.md"];
    chapters().into_iter().chain(files.into_iter().chain(github).map(str::to_owned)).collect()
}

/// The text without fenced code, in which brackets are no links.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let kept = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page, as GitHub derives them from headings.
fn anchors(text: &str) -> Vec<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for path in written() {
        let prose = prose(&read(&path));
        let folder = Path::new(&path).parent().unwrap();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { PathBuf::from(&path) } else { folder.join(file) };
            let found = root().join(&file);
            assert!(found.exists(), "{path} links to {target}, which does not exist");
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&found).unwrap());
                assert!(
                    anchors.iter().any(|it| it == anchor),
                    "{path} links to {target}: {anchors:?}"
                );
            }
        }
    }
    assert!(50 < links, "only {links} links were found");
}

#[test]
fn the_recipes_name_files_that_exist() {
    let contributing = prose(&read("CONTRIBUTING.md"));
    let (_, recipes) = contributing.split_once("## Recipes").unwrap();
    let paths = recipes.split('`').skip(1).step_by(2);
    let is_path = |path: &&str| path.contains('/') && !path.contains(' ') && !path.starts_with('/');
    let paths: Vec<_> = paths.filter(is_path).collect();
    for path in &paths {
        assert!(root().join(path).exists(), "CONTRIBUTING.md names {path}, which does not exist");
    }
    assert!(40 < paths.len(), "only {} paths were found", paths.len());
}

#[test]
fn the_ten_lines_are_those_of_the_example() {
    let (readme, example) = (read("README.md"), read("examples/embed.rs"));
    let (_, shown) = readme.split_once("```rust\n").expect("the README shows Rust");
    let (shown, _) = shown.split_once("```\n").expect("the lines end");
    let (header, program) = example.split_once("\n\n").expect("the example begins with a header");
    assert!(header.lines().all(|line| line.starts_with("//!") || line.starts_with("#![")));
    assert_eq!(shown, program, "examples/embed.rs is another program");
    let (_, body) = shown.split_once("-> Result<(), Box<dyn std::error::Error>> {\n").unwrap();
    let (body, _) = body.split_once("    Ok(())\n}\n").unwrap();
    assert!(body.lines().count() <= 10, "{body}");
}

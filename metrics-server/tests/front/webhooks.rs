//! Webhooks as an operator sets them up: the commands, and the programs in the documentation that verify a delivery.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use metrics_server_testing::binary;
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn chapter() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhooks.md");
    fs::read_to_string(path).unwrap()
}

/// The first block of the chapter in a language.
fn block(language: &str) -> String {
    let chapter = chapter();
    let (_, block) = chapter.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```\n").unwrap().0.to_owned()
}

/// Runs `metrics-server webhooks` with rules.
fn webhooks(directory: &TempDir, rules: &str, arguments: &[&str]) -> Output {
    let file = directory.path().join("webhooks.json");
    fs::write(&file, rules).unwrap();
    let mut command = binary();
    command.arg("webhooks").args(arguments).env("METRICS_WEBHOOKS", &file);
    command.current_dir(directory.path()).output().unwrap()
}

fn printed(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Sends a test delivery to a receiver that answers with `status`. Returns the output, and the headers and the body.
fn try_rule(directory: &TempDir, status: &str) -> (Output, Value, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nnoted");
    let receiving = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut headers = serde_json::Map::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line.trim_end().is_empty() { break } else { continue }
            };
            headers.insert(name.to_lowercase(), value.into());
        }
        let length = headers["content-length"].as_str().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (&stream).write_all(answer.as_bytes()).unwrap();
        (Value::Object(headers), String::from_utf8(body).unwrap())
    });
    let rule = json!({"name": "quiet", "kind": "silence", "after": "1 hour"});
    let rules = json!({"url": url, "secret": SECRET, "rules": [rule]});
    let output = webhooks(directory, &rules.to_string(), &["try", "quiet"]);
    let (headers, body) = receiving.join().unwrap();
    (output, headers, body)
}

#[test]
fn the_rules_of_the_chapter_are_listed() {
    let directory = TempDir::new().unwrap();
    let (code, stdout, stderr) = printed(&webhooks(&directory, &block("json"), &["check"]));
    assert_eq!((code, stdout.lines().count()), (Some(0), 6), "{stderr}");
    let first = "popular: plays of a video reach a power of ten, to https://example.com";
    assert_eq!(stdout.lines().next(), Some(first));
}

#[test]
fn rules_that_cannot_be_used_are_refused_with_the_fault() {
    let directory = TempDir::new().unwrap();
    let rules = json!({"rules": [{"name": "a", "kind": "silence", "url": "http://example.com/"}]});
    let (code, stdout, stderr) = printed(&webhooks(&directory, &rules.to_string(), &["check"]));
    assert_eq!((code, &*stdout), (Some(2), ""), "{stderr}");
    let fault = "which cannot be used: rule 1 (\"a\"): `url` must begin with https://";
    assert!(
        stderr.starts_with("metrics-server: METRICS_WEBHOOKS is") && stderr.contains(fault),
        "{stderr}"
    );
    // No other command reads them.
    let listed = binary()
        .args(["keys", "list"])
        .env("METRICS_WEBHOOKS", "missing")
        .current_dir(&directory)
        .output();
    assert!(!String::from_utf8(listed.unwrap().stderr).unwrap().contains("METRICS_WEBHOOKS"));
    let (code, _, stderr) = printed(&binary().args(["webhooks", "check"]).output().unwrap());
    assert!(code == Some(1) && stderr.contains("METRICS_WEBHOOKS is not set"), "{stderr}");
}

#[test]
fn a_rule_is_tried() {
    let directory = TempDir::new().unwrap();
    let (output, headers, body) = try_rule(&directory, "202 Accepted");
    let (code, stdout, stderr) = printed(&output);
    let receiver = format!("http://{}", headers["host"].as_str().unwrap());
    assert_eq!((code, stdout), (Some(0), format!("{receiver} answered 202 noted\n")), "{stderr}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["test"], &body["type"]), (&json!(true), &json!("silence.fired")));
    assert_eq!(body["text"], "Test: Nothing was played for 60 minutes.");

    let (output, ..) = try_rule(&directory, "404 Not Found");
    let (code, stdout, stderr) = printed(&output);
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert!(stderr.contains("the receiver answered 404"), "{stderr}");

    let (code, _, stderr) = printed(&webhooks(&directory, &block("json"), &["try", "nothing"]));
    assert!(code == Some(1) && stderr.contains("no rule has the name \"nothing\""), "{stderr}");
}

#[test]
fn the_programs_of_the_chapter_verify_a_delivery() {
    let directory = TempDir::new().unwrap();
    let (_, headers, body) = try_rule(&directory, "204 No Content");
    let given = json!([SECRET, headers, body]).to_string();
    fs::write(directory.path().join("given.json"), given).unwrap();
    let node = block("js")
        + r#"
import { readFileSync } from "node:fs";
const [secret, headers, body] = JSON.parse(readFileSync("given.json"));
const old = { ...headers, "webhook-timestamp": String(headers["webhook-timestamp"] - 301) };
const all = [verify(secret, headers, body), verify(secret, headers, body + " "), verify(secret + "BBBB", headers, body),
             verify(secret, old, body), verify(secret, { ...headers, "webhook-id": "another" }, body)];
console.log(all.map(Number).join(""));
"#;
    let python = block("python")
        + r#"
import json
secret, headers, body = json.load(open("given.json"))
old = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
all = [verify(secret, headers, body), verify(secret, headers, body + " "), verify(secret + "BBBB", headers, body),
       verify(secret, old, body), verify(secret, {**headers, "webhook-id": "another"}, body)]
print("".join(str(int(it)) for it in all))
"#;
    for (program, name, text) in [("node", "verify.mjs", node), ("python3", "verify.py", python)] {
        fs::write(directory.path().join(name), text).unwrap();
        let output = Command::new(program).arg(name).current_dir(&directory).output().unwrap();
        let (_, stdout, stderr) = printed(&output);
        assert_eq!(stdout, "10000\n", "{program}: {stderr}");
    }
}

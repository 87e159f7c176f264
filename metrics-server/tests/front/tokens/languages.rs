//! The programs of `docs/access.md` that make tokens, and the command that prints them.

use std::fs;
use std::process::Command;

use metrics_server::{Settings, Tokens};
use metrics_server_testing::{Database, TestServer, binary};
use serde_json::json;

use super::{SECRET, get};

/// The program of a chapter in a language.
fn program(language: &str) -> String {
    let chapter = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md"));
    let chapter = chapter.unwrap();
    let (_, program) = chapter.split_once(&format!("```{language}\n")).unwrap();
    program.split_once("\n```").unwrap().0.to_owned()
}

/// The output of a command in one line.
fn line(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn settings() -> Settings {
    Settings::default().tokens(Tokens::new(SECRET).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_lines_in_any_language_make_a_token() {
    let server = TestServer::with(settings()).await;
    let secret = line(
        binary().args(["token", "--secret-of", &server.key]).env("METRICS_TOKEN_SECRET", SECRET),
    );
    let languages =
        [("js", "node", &["-e"][..]), ("python", "python3", &["-c"]), ("php", "php", &["-r"])];
    let mut ran = Vec::new();
    for (language, interpreter, arguments) in languages {
        if Command::new(interpreter).arg("--version").output().is_err() {
            continue;
        }
        let mut command = Command::new(interpreter);
        command.args(arguments).arg(program(language));
        let token = line(command.env("KEY", &server.key).env("SECRET", &secret));
        let me = get(&server, "/api/v1/me", &token).await;
        assert_eq!(me.status, 200, "{language}: {me:?}");
        let me = me.json();
        assert_eq!(me["scope"], json!(["read", "live"]), "{language}");
        assert_eq!(me["keys"], json!([{ "key": server.key, "name": null }]), "{language}");
        assert_eq!(me["within"], json!({ "identifier": ["intro"] }), "{language}");
        ran.push(language);
    }
    assert!(ran.contains(&"python"), "python3 is where tests run: {ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_makes_the_same_tokens_as_the_server() {
    let server = Database::new().await.serve(settings()).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let mut command = binary();
    command.args(["token", "--key", &server.key, "--expires-in", "90 days", "--metrics", "plays"]);
    command.args(["--filters", r#"["is", "device", ["mobile"]]"#, "--identifier", "a"]);
    let token = line(command.env("METRICS_TOKEN_SECRET_FILE", &file));
    let me = get(&server, "/api/v1/me", &token).await.json();
    assert_eq!(me["scope"], json!(["read", "live"]), "{me}");
    assert_eq!(me["within"]["identifier"], json!(["a"]), "{me}");
    assert_eq!(me["within"]["metrics"], json!(["plays"]), "{me}");

    for (arguments, secret, expected) in [
        (&["token"][..], "", "METRICS_TOKEN_SECRET"),
        (&["token"], "short", "METRICS_TOKEN_SECRET must be a secret of at least 32 bytes"),
        (&["token", "--scope", "admin"], SECRET, "`scope`"),
        (&["token", "--expires-in", "500 days"], SECRET, "`expires_in`"),
        (&["token", "--scope", "write"], SECRET, "`write`"),
    ] {
        let output = binary().args(arguments).env("METRICS_TOKEN_SECRET", secret).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {stderr}");
        assert!(stderr.contains(expected), "{arguments:?} {stderr}");
    }
}

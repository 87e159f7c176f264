//! The binary as an operator meets it: what it links, how it refuses a bad setting, how it stops.

use std::process::{Command, Output};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_metrics-server");

/// Runs the binary in an empty directory until it ends by itself.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let directory = TempDir::new().unwrap();
    Command::new(BINARY)
        .args(arguments)
        .env_remove("DATABASE_URL")
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .envs(environment.iter().copied())
        .current_dir(directory.path())
        .output()
        .unwrap()
}

/// Expects the binary to refuse to start, in one line that holds all of `texts`.
#[track_caller]
fn check_refused(arguments: &[&str], environment: &[(&str, &str)], texts: &[&str]) {
    let output = run(arguments, environment);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it started");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    for text in texts {
        assert!(stderr.contains(text), "{text:?} is not in: {stderr}");
    }
}

#[test]
fn a_setting_that_cannot_be_read_stops_the_start_and_says_what_would_be_accepted() {
    check_refused(&["--listen", "nowhere"], &[], &["--listen", "nowhere", "127.0.0.1:3000"]);
    check_refused(&[], &[("METRICS_LISTEN", "3000")], &["METRICS_LISTEN", "3000"]);
    check_refused(&[], &[("METRICS_BOTS", "perhaps")], &["METRICS_BOTS", "refuse", "count"]);
    check_refused(&[], &[("METRICS_OPT_OUT", "no")], &["METRICS_OPT_OUT", "refuse", "ignore"]);
    check_refused(&[], &[("METRICS_MAX_CONNECTIONS", "many")], &["METRICS_MAX_CONNECTIONS"]);
    check_refused(&["--database-url", "mysql://x"], &[], &["--database-url", "sqlite:"]);
    check_refused(&["--colour"], &[], &["--colour"]);
}

#[test]
fn authentication_needs_a_user_and_a_password() {
    let on = ("METRICS_AUTH_ENABLED", "true");
    check_refused(&[], &[on], &["METRICS_USER", "METRICS_PASSWORD"]);
    check_refused(
        &[],
        &[on, ("METRICS_USER", "me"), ("METRICS_PASSWORD", "")],
        &["METRICS_PASSWORD"],
    );
}

#[test]
fn a_database_that_cannot_be_reached_stops_the_start() {
    // Nobody listens there: the port is taken from us only.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://me:secret@127.0.0.1:{port}/metrics");
    let output = run(&[], &[("DATABASE_URL", &url)]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("metrics-server: TimescaleDB is unavailable: "), "{stderr}");
    assert!(stderr.contains("refused") && !stderr.contains("secret"), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
}

#[test]
fn tables_are_brought_up_to_date_without_serving() {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite:{}", directory.path().join("metrics.db").display());
    let environment = [("DATABASE_URL", url.as_str())];
    check_refused(&["--no-migrate"], &environment, &["SQLite"]);
    assert_eq!(run(&["--migrate-only"], &environment).status.code(), Some(0));
    assert!(directory.path().join("metrics.db").exists());
    assert_eq!(run(&["--migrate-only"], &environment).status.code(), Some(0));
}

#[test]
fn a_database_is_copied_and_may_be_copied_again() {
    let directory = TempDir::new().unwrap();
    let url = |name: &str| format!("sqlite:{}", directory.path().join(name).display());
    for _ in 0..2 {
        let output = run(&["copy", &url("a.db"), &url("b.db")], &[("RUST_LOG", "info")]);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{stdout}");
        assert!(stdout.contains("copied 0 keys and 0 sessions"), "{stdout}");
    }
    check_refused(&["copy", "sqlite:no/such/a.db", &url("b.db")], &[], &["SQLite"]);
}

#[test]
fn the_health_of_a_server_that_is_not_there_is_bad() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    check_refused(&["health", "--listen", &format!("127.0.0.1:{port}")], &[], &["refused"]);
}

#[test]
fn a_database_that_cannot_be_used_stops_the_start() {
    check_refused(&["--database-url", "sqlite:no/such/directory/metrics.db"], &[], &["SQLite"]);
}

#[test]
fn an_address_that_is_taken_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_refused(&["--listen", &address], &[], &[&address]);
}

#[test]
fn help_names_every_setting() {
    let help = String::from_utf8(run(&["--help"], &[]).stdout).unwrap();
    for setting in [
        "--listen",
        "METRICS_LISTEN",
        "--database-url",
        "DATABASE_URL",
        "METRICS_AUTH_ENABLED",
        "METRICS_USER",
        "METRICS_PASSWORD",
        "METRICS_DEFAULT_KEY",
        "METRICS_BOTS",
        "METRICS_OPT_OUT",
        "METRICS_CORS_ORIGINS",
        "METRICS_MAX_CONNECTIONS",
        "RUST_LOG",
    ] {
        assert!(help.contains(setting), "{setting} is not in the help:\n{help}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn neither_libpq_nor_sqlite_is_linked_from_the_system() {
    let output = Command::new("ldd").arg(BINARY).output().unwrap();
    let libraries = String::from_utf8(output.stdout).unwrap();
    assert!(libraries.contains("libc."), "{libraries}");
    assert!(!libraries.contains("libpq") && !libraries.contains("sqlite"), "{libraries}");
}

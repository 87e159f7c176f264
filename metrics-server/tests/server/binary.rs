//! The binary from an operator's view: its dependencies, its refusals of bad settings, its stop.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use chrono::Utc;
use metrics_core::arrival::Arrival;
use metrics_core::key::SessionId;
use metrics_core::session::{Counters, Minutes, Stored};
use metrics_core::store::{
    DayTotals, KeyId, Rewrite, SessionWrite, SqliteStore, Store as _, Subject,
};
use metrics_core::upkeep::close;
use metrics_core::user_agent::UserAgentClass;
use metrics_core::{ApiKey, Video};
use metrics_server::EXAMPLE_KEY;
use metrics_server_testing::{Database, Process, binary};
use tempfile::TempDir;

/// Runs the binary in an empty directory to its end.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let directory = TempDir::new().unwrap();
    binary()
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(directory.path())
        .output()
        .unwrap()
}

/// Expects the binary to refuse to start, with one error line that contains all of `texts`.
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
fn an_invalid_setting_stops_the_start_and_names_valid_values() {
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
fn no_server_is_public_by_accident() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        check_refused(&["--listen", listen], &[], &["METRICS_AUTH_ENABLED=false", "METRICS_USER"]);
    }
    check_refused(&[], &[("METRICS_PASSWORD", "secret")], &["METRICS_USER", "METRICS_PASSWORD"]);
    check_refused(&[], &[("METRICS_CORS_ORIGIN", "*")], &["METRICS_CORS_ORIGINS"]);
    check_refused(&[], &[("METRICS_KEYZ", "*")], &["METRICS_KEYZ is not a setting: unset it"]);
}

#[tokio::test]
async fn a_default_key_must_exist_and_the_remedy_works() {
    let database = Database::new().await;
    let url = database.url();
    let environment = [("DATABASE_URL", &*url), ("METRICS_DEFAULT_KEY", "site-one")];
    let refused = run(&["--listen", "127.0.0.1:0"], &environment);
    let reported = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{reported}");
    assert!(
        reported.contains("METRICS_DEFAULT_KEY") && reported.contains("keys create"),
        "{reported}"
    );
    // A failed start changes nothing.
    let keys = run(&["keys", "list"], &environment);
    let keys = String::from_utf8(keys.stdout).unwrap();
    assert!(!keys.contains(EXAMPLE_KEY), "{keys}");

    assert!(run(&["keys", "create", "site-one"], &environment).status.success());
    let start = async || {
        let mut command = binary();
        command.envs(environment);
        Process::run(command).await.terminate().await
    };
    assert!(!start().await.contains("METRICS_DEFAULT_KEY"));
    // A key that was revoked while the server ran must not prevent the next start.
    assert!(run(&["keys", "revoke", "site-one"], &environment).status.success());
    let log = start().await;
    assert!(log.contains("ERROR") && log.contains("METRICS_DEFAULT_KEY is a revoked key"), "{log}");
}

#[tokio::test]
async fn the_example_key_may_be_the_default_of_an_empty_database() {
    let database = Database::new().await;
    let mut command = binary();
    command.env("DATABASE_URL", database.url()).env("METRICS_DEFAULT_KEY", EXAMPLE_KEY);
    Process::run(command).await.terminate().await;
}

#[tokio::test]
async fn with_authentication_and_without_a_key_the_log_names_the_command_for_one() {
    let database = Database::new().await;
    let mut command = binary();
    command.env("DATABASE_URL", database.url());
    // These settings enable authentication.
    command.env("METRICS_USER", "ada").env("METRICS_PASSWORD", "open sesame");
    let server = Process::run(command).await;
    assert_eq!(server.http("GET", "/api/v1/keys").send().await.status, 401);
    let log = server.terminate().await;
    assert!(log.contains("metrics-server keys create"), "{log}");
}

#[test]
fn a_database_that_cannot_be_reached_stops_the_start() {
    // The port is free again once the listener is dropped, so no server listens there.
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
fn a_system_without_trusted_roots_is_distinguished_from_an_untrusted_server() {
    let url = "postgres://me:secret@localhost/metrics?sslmode=verify-full";
    // The directory `.` of the binary is empty.
    let nobody = [("DATABASE_URL", url), ("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", ".")];
    check_refused(&[], &nobody, &["install its ca-certificates", "sslrootcert"]);
}

#[tokio::test]
async fn tables_are_brought_up_to_date_without_serving() {
    let database = Database::new().await;
    let url = database.url();
    let environment = [("DATABASE_URL", url.as_str())];
    check_refused(&["--no-migrate"], &environment, &["not up to date", "--migrate-only"]);
    for _ in 0..2 {
        assert_eq!(run(&["--migrate-only"], &environment).status.code(), Some(0));
    }
    let mut command = binary();
    command.arg("--no-migrate").env("DATABASE_URL", &url);
    let server = Process::run(command).await;
    assert_eq!(server.http("GET", "/health/ready").send().await.status, 200);
}

#[tokio::test]
async fn a_database_is_copied_and_may_be_copied_again() {
    let directory = TempDir::new().unwrap();
    let from = format!("sqlite:{}", directory.path().join("metrics.db").display());
    let database = Database::new().await;
    let to = database.url();
    assert!(run(&["--migrate-only"], &[("DATABASE_URL", &from)]).status.success());
    let log = ("RUST_LOG", "info");
    for (arguments, environment) in [
        (&["copy", &*from, &*to][..], &[log][..]),
        (&["copy", &*from], &[log, ("DATABASE_URL", &*to)]),
    ] {
        let output = run(arguments, environment);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{stdout}");
        assert!(stdout.contains("copied 0 keys and 0 sessions"), "{stdout}");
        assert!(output.stderr.is_empty(), "what is no terminal has no progress drawn on it");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_reports_it_and_goes_on() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("metrics.db");
    fill(&SqliteStore::open(&from).await.unwrap(), 10_000).await;
    let database = Database::new().await;
    let urls = [format!("sqlite:{}", from.display()), database.url()];
    let store = database.open().await;

    let mut command = binary();
    command.arg("copy").args(&urls).stdout(Stdio::null()).stderr(Stdio::piped());
    let copying = command.spawn().unwrap();
    while store.count_sessions().await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    let kill = Command::new("kill").arg(copying.id().to_string()).status().unwrap();
    assert!(kill.success());
    let output = copying.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "metrics-server: interrupted: run the command again to continue\n");
    assert_eq!(output.status.code(), Some(1));
    let copied = store.count_sessions().await.unwrap();
    assert!(copied < 10_000, "it was done before it was interrupted");

    let output = run(&["copy", &urls[0], &urls[1]], &[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains(&format!("copied 0 keys and {} sessions", 10_000 - copied)),
        "{stdout}"
    );
    assert_eq!(store.count_sessions().await.unwrap(), 10_000);
}

/// Stores `count` sessions.
async fn fill(store: &SqliteStore, count: usize) {
    let key = ApiKey::generate();
    store.create_key(&key, Utc::now()).await.unwrap();
    let stored = Stored {
        started_at_ms: 1_700_000_000_000,
        last_event_at_ms: 1_700_000_000_000,
        duration_ms: None,
        view_ms: 0,
        unique_ms: 0,
        segments: Vec::new(),
        minutes: Minutes::default(),
        counters: Counters::default(),
        resume: Vec::new(),
    };
    let subject = Arc::new(Subject {
        key: key.clone(),
        video: Video::labelled("intro"),
        source: None,
        user_agent: UserAgentClass::default(),
        session_data: None,
        arrival: Arrival::default(),
    });
    let writes = (0..count).map(|number| SessionWrite {
        id: SessionId::new(&key, &number.to_string()),
        subject: Arc::clone(&subject),
        expected: 0,
        stored: stored.clone(),
        watched_at: None,
    });
    store.commit(writes.collect()).await.unwrap();
}

#[tokio::test]
async fn blocks_are_verified_and_totals_rebuilt() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metrics.db");
    let url = format!("sqlite:{}", path.display());
    let environment = [("DATABASE_URL", &*url), ("RUST_LOG", "info")];
    let reported = |arguments: &[&str]| {
        let output = run(arguments, &environment);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{stdout}");
        assert!(output.stderr.is_empty(), "what is no terminal has no progress drawn on it");
        stdout
    };
    let nothing = reported(&["blocks", "verify"]);
    assert!(nothing.contains("decoded 0 sessions: all totals are correct"), "{nothing}");

    let store = SqliteStore::open(&path).await.unwrap();
    fill(&store, 100).await;
    while 0 < close(&store, Utc::now(), 1_000).await.unwrap().1 {}
    let right = reported(&["blocks", "verify"]);
    assert!(right.contains("decoded 100 sessions: all totals are correct"), "{right}");

    let mut unused_day = DayTotals::default();
    unused_day.add(0, UserAgentClass::default(), (1_000, 1_000), 1);
    let rewrite = Rewrite { totals: vec![(KeyId(1), 0, unused_day)], ..Rewrite::default() };
    store.rewrite(rewrite).await.unwrap();
    check_refused(
        &["blocks", "verify"],
        &environment,
        &["1 totals of days are wrong", "blocks rebuild"],
    );
    let rebuilt = reported(&["blocks", "rebuild"]);
    assert!(rebuilt.contains("decoded 100 sessions: repaired 1 totals"), "{rebuilt}");
    assert!(reported(&["blocks", "verify"]).contains("all totals are correct"));
    check_refused(&["blocks"], &[], &["a command is missing", "metrics-server blocks --help"]);
}

#[test]
fn a_file_that_is_not_there_is_not_copied() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("mistyped.db");
    let url = format!("sqlite:{}", path.display());
    check_refused(&["copy", &url, "sqlite:b.db"], &[], &["no file", "mistyped.db"]);
    assert!(!path.exists());
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
        "METRICS_BOT_NETWORKS",
        "METRICS_LIMITS",
        "METRICS_PAGES_PER_KEY",
        "METRICS_PAGES\n",
        "METRICS_OPT_OUT",
        "METRICS_CORS_ORIGINS",
        "METRICS_HOSTS",
        "METRICS_MAX_CONNECTIONS",
        "RUST_LOG",
    ] {
        assert!(help.contains(setting), "{setting} is not in the help:\n{help}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn neither_libpq_nor_sqlite_is_linked_from_the_system() {
    let output = Command::new("ldd").arg(binary().get_program()).output().unwrap();
    let libraries = String::from_utf8(output.stdout).unwrap();
    assert!(libraries.contains("libc."), "{libraries}");
    assert!(!libraries.contains("libpq") && !libraries.contains("sqlite"), "{libraries}");
}

//! The values that each setting accepts, and the errors for all others.

mod recording;

use std::ffi::OsString;

use metrics_core::ApiKey;

use super::*;
use crate::access::{Decision, Purpose};
use crate::cors::Cors;
use crate::hosts::Hosts;

pub(super) fn read(
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let variable = |name: &str| {
        let set = environment.iter().find(|(known, _)| *known == name);
        set.map(|(_, text)| OsString::from(text))
    };
    Config::read([&["metrics-server"], arguments].concat(), variable)
}

#[test]
fn without_settings_everything_is_as_documented() {
    let config = read(&[], &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.database, Database::Sqlite("metrics.db".into()));
    assert_eq!((config.bots, config.connections_max), (Bots::Refuse, 100_000));
    assert_eq!((&*config.log_filter, config.log_format), ("info", LogFormat::Text));
    assert!(config.settings.access.is_none() && config.settings.default_key.is_none());
    assert!(config.settings.forwarded_header.is_none() && config.settings.routes == Routes::ALL);
    assert_eq!((config.settings.refuse_opted_out, config.settings.cors), (false, Cors::Own));
    assert_eq!(config.settings.hosts, Hosts::Listed(Vec::new()));
}

#[test]
fn a_flag_wins_over_its_variable() {
    let environment = [
        ("METRICS_LISTEN", "[::]:4000"),
        ("METRICS_AUTH_ENABLED", "false"),
        ("DATABASE_URL", "sqlite:b.db"),
    ];
    let config = read(&[], &environment).unwrap();
    assert_eq!(config.listen.to_string(), "[::]:4000");
    let config = read(&["--listen", "127.0.0.1:0", "--database-url=sqlite:c.db"], &environment);
    let config = config.unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.database, Database::Sqlite("c.db".into()));
}

#[tokio::test]
async fn variables_are_read() {
    let config = read(
        &[],
        &[
            ("METRICS_AUTH_ENABLED", "true"),
            ("METRICS_USER", "me"),
            ("METRICS_PASSWORD", "secret"),
            ("METRICS_DEFAULT_KEY", "HDsj3NfKQTNwn5Ix9g+cfQ=="),
            ("METRICS_BOTS", "count"),
            ("METRICS_VIDEOS_PER_KEY", "5"),
            ("METRICS_OPT_OUT", "refuse"),
            ("METRICS_CORS_ORIGINS", "https://a.example, http://b.example:8080"),
            ("METRICS_HOSTS", "Metrics.example, *.internal.example"),
            ("METRICS_FORWARDED_HEADER", "X-Forwarded-For"),
            ("METRICS_FORWARDED_HOPS", "2"),
            ("METRICS_MAX_CONNECTIONS", "7"),
            ("METRICS_CONNECTIONS_PER_ADDRESS", "3"),
            ("METRICS_LOG_FORMAT", "json"),
            ("RUST_LOG", "metrics_core=debug"),
        ],
    );
    let config = config.unwrap();
    let access = config.settings.access.unwrap();
    for (authorization, allowed) in [("Basic bWU6c2VjcmV0", true), ("Basic bWU6c2VjcmV1", false)] {
        let request = http::Request::builder().header("authorization", authorization);
        let head = request.body(()).unwrap().into_parts().0;
        let decision = access.decide(&head, Purpose::Report).await;
        assert_eq!(matches!(decision, Decision::Allow), allowed, "{decision:?}");
    }
    let key = config.settings.default_key.unwrap();
    assert_eq!(key.as_str(), "HDsj3NfKQTNwn5Ix9g+cfQ==");
    assert_eq!((config.bots, config.connections_max), (Bots::Count, 7));
    assert_eq!(config.limits.videos, 5);
    assert!(config.settings.refuse_opted_out);
    assert_eq!(config.settings.forwarded_header.unwrap(), "x-forwarded-for");
    assert_eq!(config.settings.forwarded_hops.unwrap().get(), 2);
    assert_eq!(config.settings.connections_per_address, Some(3));
    let origins = ["https://a.example", "http://b.example:8080"].map(str::to_owned).to_vec();
    assert_eq!(config.settings.cors, Cors::Listed(origins));
    let hosts = ["metrics.example", "*.internal.example"].map(str::to_owned).to_vec();
    assert_eq!(config.settings.hosts, Hosts::Listed(hosts));
    assert_eq!((&*config.log_filter, config.log_format), ("metrics_core=debug", LogFormat::Json));
}

/// By default beside the database file, or in the working directory; named after the database, without secrets.
#[test]
fn spilled_sessions_are_kept_where_they_are_recovered() {
    let spool = |arguments: &[&str], environment: &[(&str, &str)]| {
        read(arguments, environment).unwrap().settings.spool.unwrap()
    };
    assert_eq!(spool(&[], &[]), Spool::new(".", "metrics.db"));
    let file = ("DATABASE_URL", "sqlite:/var/lib/a.db");
    assert_eq!(spool(&[], &[file]), Spool::new("/var/lib", "a.db"));
    assert_eq!(spool(&[], &[file, ("METRICS_SPOOL", "/tmp/x")]), Spool::new("/tmp/x", "a.db"));
    let url = "postgres://me:se@cret@db.example.com:5433/metrics?sslmode=require";
    let server = spool(&["--spool", "/srv"], &[("DATABASE_URL", url)]);
    assert_eq!(server, Spool::new("/srv", "db-example-com-5433-metrics"));
}

#[test]
fn databases_have_several_spellings() {
    let path = |url| match read(&["--database-url", url], &[]).unwrap().database {
        Database::Sqlite(path) => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(path("sqlite:a.db"), PathBuf::from("a.db"));
    assert_eq!(path("sqlite:/var/a.db"), PathBuf::from("/var/a.db"));
    assert_eq!(path("sqlite:///var/a.db"), PathBuf::from("/var/a.db"));
    assert_eq!(path("sqlite://a.db"), PathBuf::from("a.db"));
}

#[test]
fn the_url_of_a_database_is_never_shown_in_full() {
    let url = "postgres://me:secret@localhost/metrics";
    let config = read(&["--database-connections", "7"], &[("DATABASE_URL", url)]).unwrap();
    assert_eq!(config.database, Database::Postgres(PostgresUrl(url.to_owned())));
    assert_eq!((config.database_connections, config.migrations), (7, Migrations::Run));
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn flags_choose_the_actions_at_the_start() {
    let config = read(&[], &[]).unwrap();
    assert_eq!((config.command, config.wait_for_store), (None, false));
    let config = read(&["--no-migrate"], &[("METRICS_WAIT_FOR_STORE", "true")]).unwrap();
    assert_eq!((config.migrations, config.wait_for_store), (Migrations::Check, true));
    let config = read(&["--migrate-only", "--wait-for-store"], &[]).unwrap();
    assert_eq!((config.command, config.wait_for_store), (Some(Command::Migrate), true));
    let exclusive = "--migrate-only and --no-migrate exclude each other: leave one out";
    check_refused(&["--migrate-only", "--no-migrate"], &[], exclusive);
    let few = read(&["--database-connections=4"], &[]).unwrap_err().to_string();
    assert_eq!(few, "--database-connections is \"4\": it must be a number from 5 to 1000");
}

#[test]
fn the_page_can_be_disabled() {
    let hidden = |arguments: &[&str], environment: &[(&str, &str)]| {
        !read(arguments, environment).unwrap().settings.routes.contains(Routes::PAGE)
    };
    assert!(hidden(&["--page", "off"], &[]) && hidden(&[], &[("METRICS_PAGE", "off")]));
    assert!(!hidden(&["--page=on"], &[("METRICS_PAGE", "off")]));
    check_refused(&["--page", "no"], &[], "--page is \"no\": it must be on or off");
}

#[test]
fn sessions_of_a_page_can_be_erased() {
    let flags = ["erase", "--page", "https://example.com/reset/", "--dry-run"];
    let command = read(&flags, &[]).unwrap().command;
    assert!(format!("{command:?}").contains("https://example.com/reset/"), "{command:?}");
}

#[test]
fn commands_choose_the_actions_instead_of_serving() {
    assert_eq!(read(&[], &[]).unwrap().command, None);
    let command = |arguments: &[&str]| read(arguments, &[]).unwrap().command.unwrap();
    assert_eq!(command(&["health"]), Command::Health);
    let url = || PostgresUrl("postgres://me@localhost/a".to_owned());
    let server = || Database::Postgres(url());
    assert_eq!(
        command(&["copy", "sqlite:a.db", "postgres://me@localhost/a"]),
        Command::Copy { from: Database::Sqlite("a.db".into()), to: server() }
    );
    assert_eq!(
        command(&["import", "mave", "postgres://me@localhost/a"]),
        Command::ImportMave(url())
    );
    let sessions =
        |arguments: &[&str]| match command(&[&["import", "sessions"], arguments].concat()) {
            Command::ImportSessions(import) => import,
            other => panic!("{other:?}"),
        };
    let import = sessions(&["a.ndjson", "--key", "k", "--dry-run"]);
    assert_eq!(import.file.as_deref(), Some("a.ndjson".as_ref()));
    assert_eq!((import.key.as_ref().map(ApiKey::as_str), import.dry_run), (Some("k"), true));
    let import = sessions(&["-"]);
    assert_eq!((import.file, import.key, import.dry_run), (None, None, false));
    let no_key = "--key is not an API key: a key is 1 to 128 visible ASCII characters";
    check_refused(&["import", "sessions", "-", "--key", "a b"], &[], no_key);
    let mine = read(&["import", "mave", "sqlite:a.db"], &[]).unwrap_err().to_string();
    assert_eq!(mine, "the database to import must be postgres://USER@HOST/DATABASE");
    // The target's password need not appear in the list of processes.
    let config = read(&["copy", "sqlite:a.db"], &[("DATABASE_URL", "postgres://me@localhost/a")]);
    let copy = Command::Copy { from: Database::Sqlite("a.db".into()), to: server() };
    assert_eq!(config.unwrap().command, Some(copy));
    let target = "TO is missing: name it, or set DATABASE_URL";
    check_refused(&["copy", "sqlite:a.db"], &[], target);
    check_refused(
        &["copy"],
        &[],
        "the following required arguments were not provided: <FROM>; --help lists all flags",
    );
    let missing = "a command is missing; `metrics-server import --help` lists them";
    check_refused(&["import"], &[], missing);
    check_refused(
        &["--migrate-only", "health"],
        &[],
        "`health` does not take --migrate-only, which is for the server",
    );
    let secret = read(&["copy", "mysql:secret", "sqlite:a.db"], &[]).unwrap_err().to_string();
    assert!(secret.starts_with("FROM must be") && !secret.contains("secret"), "{secret}");
}

#[test]
fn sessions_are_kept_for_a_day_at_least() {
    let kept = |span| read(&[], &[("METRICS_RETENTION", span)]).map(|config| config.retention);
    assert_eq!(kept("25 months").unwrap(), Some("25 months".parse().unwrap()));
    assert_eq!(kept("1 day").unwrap(), Some("1 day".parse().unwrap()));
    for span in ["23 hours", "0 days", "long"] {
        let refused = kept(span).unwrap_err().to_string();
        assert!(
            refused.ends_with("it must be a time of a day or more, like 25 months"),
            "{refused}"
        );
    }
    assert_eq!(read(&[], &[]).unwrap().retention, None);
}

#[track_caller]
pub(super) fn check_refused(arguments: &[&str], environment: &[(&str, &str)], expected: &str) {
    let err = read(arguments, environment).unwrap_err();
    assert!(matches!(err, ConfigError::Refused(_)));
    assert_eq!(err.to_string(), expected);
}

#[test]
fn unreadable_settings_are_refused_in_one_line() {
    let address = "it must be an address and a port like 127.0.0.1:3000";
    check_refused(&["--listen", "3000"], &[], &format!("--listen is \"3000\": {address}"));
    let listen = [("METRICS_LISTEN", "here")];
    check_refused(&[], &listen, &format!("METRICS_LISTEN is \"here\": {address}"));
    check_refused(
        &["--colour"],
        &[],
        "unexpected argument '--colour' found; --help lists all flags",
    );
    check_refused(
        &["--database-url", "mysql://localhost"],
        &[],
        "--database-url must be sqlite:PATH, a file like sqlite:metrics.db, or \
         postgres://USER@HOST/DATABASE",
    );
    check_refused(
        &[],
        &[("METRICS_CORS_ORIGINS", "https://a.example/")],
        "METRICS_CORS_ORIGINS is \"https://a.example/\": it must be origins like https://example.com, \
         separated by commas, or *",
    );
    let frames = "METRICS_PAGE_FRAMES is \"https://a.example; x\": it must be origins like https://example.com or \
                  https://*.example.com, separated by commas, or *";
    check_refused(&[], &[("METRICS_PAGE_FRAMES", "https://a.example; x")], frames);
    let name = "n".repeat(61);
    let long =
        format!("METRICS_PAGE_NAME is \"{name}\": it must be a text of at most 60 characters");
    check_refused(&[], &[("METRICS_PAGE_NAME", &name)], &long);
    check_refused(
        &[],
        &[("METRICS_PAGE_LOGO", "Cargo.toml")],
        "METRICS_PAGE_LOGO is \"Cargo.toml\", which is no SVG, PNG, JPEG or WebP",
    );
    check_refused(
        &[],
        &[("METRICS_FORWARDED_HOPS", "2")],
        "METRICS_FORWARDED_HOPS is \"2\": it must be a number from 1 to 100, and \
         METRICS_FORWARDED_HEADER be set",
    );
    check_refused(
        &[],
        &[("METRICS_COUNTRY_HEADER", "cf-ipcountry")],
        "METRICS_COUNTRY_HEADER is \"cf-ipcountry\": it must be the name of a header, like cf-ipcountry, and \
         METRICS_FORWARDED_HEADER be set",
    );
    check_refused(
        &[],
        &[("METRICS_GEO", "Cargo.toml")],
        "METRICS_GEO is \"Cargo.toml\", which is no database in the MaxMind DB format, or is damaged: invalid database: \
         could not find MaxMind DB metadata in file; download it again",
    );
    check_refused(
        &[],
        &[("METRICS_DIMENSIONS", "referrer,city")],
        "METRICS_DIMENSIONS is \"referrer,city\": it must be referrer, utm_source, utm_medium, utm_campaign and country, or \
         some of them, separated by commas, or none",
    );
    check_refused(
        &[],
        &[("METRICS_AUTH_ENABLED", "true"), ("METRICS_USER", "me")],
        "METRICS_AUTH_ENABLED is true: METRICS_USER, without a colon, and METRICS_PASSWORD must be set",
    );
}

/// Reads settings for a server at an address, and returns whether the server requires user and password.
fn guarded(listen: &str, environment: &[(&str, &str)]) -> Result<bool, String> {
    let config = read(&["--listen", listen], environment).map_err(|err| err.to_string())?;
    Ok(config.settings.access.is_some())
}

#[test]
fn user_and_password_switch_authentication_on() {
    let (user, password) = (("METRICS_USER", "me"), ("METRICS_PASSWORD", "secret"));
    let (on, off) = (("METRICS_AUTH_ENABLED", "true"), ("METRICS_AUTH_ENABLED", "false"));
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        assert_eq!(guarded(listen, &[user, password]), Ok(true));
        assert_eq!(guarded(listen, &[on, user, password]), Ok(true));
        assert_eq!(guarded(listen, &[off]), Ok(false));
        for contradiction in [&[off, user, password][..], &[off, password]] {
            let error = guarded(listen, contradiction).unwrap_err();
            assert!(error.starts_with("METRICS_AUTH_ENABLED is false, but"), "{error}");
        }
        for half in [user, password] {
            let error = guarded(listen, &[half]).unwrap_err();
            assert!(error.contains("must both be set") && !error.contains("secret"), "{error}");
        }
        let colon = [("METRICS_USER", "a:b"), password];
        assert_eq!(guarded(listen, &colon).unwrap_err(), "METRICS_USER must not have a colon");
    }
}

#[test]
fn no_server_listens_on_public_addresses_by_accident() {
    for listen in ["127.0.0.1:3000", "127.1.2.3:3000", "[::1]:3000", "[::ffff:127.0.0.1]:3000"] {
        assert_eq!(guarded(listen, &[]), Ok(false), "{listen}");
    }
    for listen in ["0.0.0.0:3000", "[::]:3000", "192.0.2.1:3000", "[2001:db8::1]:3000"] {
        let error = guarded(listen, &[]).unwrap_err();
        let remedy = ["METRICS_USER", "METRICS_PASSWORD", "METRICS_AUTH_ENABLED=false", listen];
        assert!(remedy.iter().all(|word| error.contains(word)), "{error}");
        // Commands that do not serve expose nothing.
        for command in [&["health"][..], &["keys", "list"], &["--migrate-only"]] {
            assert!(read(command, &[("METRICS_LISTEN", listen)]).is_ok());
        }
    }
}

#[test]
fn secrets_are_not_repeated() {
    for (name, value) in
        [("DATABASE_URL", "mysql:me:secret@localhost"), ("METRICS_DEFAULT_KEY", "two secrets")]
    {
        let err = read(&[], &[(name, value)]).unwrap_err().to_string();
        assert!(err.starts_with(name) && !err.contains("secret"), "{err}");
    }
}

#[test]
fn an_address_in_a_wrong_place_is_not_repeated() {
    let url = "postgres://me:secret@localhost/metrics";
    for arguments in [
        &[url][..],
        &["import", url],
        &["copy", "sqlite:a.db", "sqlite:b.db", url],
        &["import", "mave", url, url],
        &["health", url],
    ] {
        let refusal = "a URL is given where none is expected; --help lists all flags";
        check_refused(arguments, &[], refusal);
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_not_taken_for_one_that_is_not_set() {
    use std::os::unix::ffi::OsStringExt as _;

    for unreadable in
        ["DATABASE_URL", "METRICS_AUTH_ENABLED", "METRICS_LISTEN", "METRICS_PASSWORD", "RUST_LOG"]
    {
        let variable = |name: &str| match name {
            _ if name == unreadable => Some(OsString::from_vec(b"\xe9".to_vec())),
            "METRICS_AUTH_ENABLED" => Some("true".into()),
            "METRICS_USER" => Some("me".into()),
            _ => None,
        };
        let err = Config::read(["metrics-server"], variable).unwrap_err();
        assert_eq!(err.to_string(), format!("{unreadable} must be UTF-8"));
    }
}

#[test]
fn origins_are_compared_as_browsers_send_them() {
    let config = read(&[], &[("METRICS_CORS_ORIGINS", "HTTPS://A.example")]).unwrap();
    assert_eq!(config.settings.cors, Cors::Listed(vec!["https://a.example".to_owned()]));
}

#[test]
fn help_is_no_refusal() {
    assert!(matches!(read(&["--help"], &[]), Err(ConfigError::Printed(_))));
    assert!(matches!(read(&["--version"], &[]), Err(ConfigError::Printed(_))));
}

#[test]
fn an_empty_flag_is_refused() {
    check_refused(&["--spool", ""], &[], "--spool is \"\": it must be a directory");
    assert!(read(&[], &[("METRICS_SPOOL", "")]).is_ok());
}

#[test]
fn a_mistyped_flag_or_command_is_refused_with_a_similar_one() {
    let line = "unexpected argument '--lisen' found: a similar argument exists: '--listen'; --help lists all flags";
    check_refused(&["--lisen", "[::1]:80"], &[], line);
    let line = "unrecognized subcommand 'kyes': a similar subcommand exists: 'keys'; --help lists all flags";
    check_refused(&["kyes"], &[], line);
}

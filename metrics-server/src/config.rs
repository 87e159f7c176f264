//! Every setting of the binary: its name, its unit, its default.
//!
//! Flags win over the environment. A value that cannot be read stops the start, with one line that says which it is and
//! what would be accepted.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use metrics_core::{ApiKey, Bots};
use tracing_subscriber::EnvFilter;

use crate::auth::Credentials;
use crate::cors::Cors;
use crate::service::Settings;

/// What follows the flags in `--help`.
const ENVIRONMENT: &str = "\
Environment (a flag wins over its variable):
  METRICS_LISTEN           like --listen
  DATABASE_URL             like --database-url
  METRICS_AUTH_ENABLED     true or false: whether reports, keys and the page ask for
                           user and password [default: false]
  METRICS_USER             the user, for METRICS_AUTH_ENABLED
  METRICS_PASSWORD         the password; not a flag, because flags show in the list of processes
  METRICS_DEFAULT_KEY      the API key of batches that name none [default: none]
  METRICS_BOTS             refuse or count: what to do with known bots [default: refuse]
  METRICS_OPT_OUT          ignore or refuse: what to do with viewers who send Sec-GPC: 1 or
                           DNT: 1 [default: ignore]
  METRICS_CORS_ORIGINS     origins whose pages may read reports, separated by commas, or *
                           [default: none]
  METRICS_MAX_CONNECTIONS  how many connections may be open at once [default: 100000]
  METRICS_LOG_FORMAT       text or json [default: text]
  RUST_LOG                 what is logged: off, error, warn, info, debug or trace, also per
                           module [default: info]";

/// The flags. They are texts here, so that a flag and its variable are read in the same way.
#[derive(Debug, clap::Parser)]
#[command(name = "metrics-server", version, after_help = ENVIRONMENT)]
#[command(about = "Measures how videos are watched, without tracking anyone")]
struct Flags {
    /// Address and port to listen on; `[::]:3000` listens everywhere, port 0 takes a free one
    /// [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// Where sessions are kept: sqlite:PATH, a file that is made if there is none
    /// [default: sqlite:metrics.db]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

/// Where to listen: on this machine only.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// How many connections may be open at once. At some 30 KiB each, they need 3 GB.
const CONNECTIONS_MAX: usize = 100_000;

/// The settings of the binary.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where sessions are kept.
    pub database: Database,
    /// What to do with known bots.
    pub bots: Bots,
    /// How the service behaves.
    pub settings: Settings,
    /// How many connections may be open at once.
    pub connections_max: usize,
    /// What is logged, as `RUST_LOG` says it.
    pub log_filter: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// Where sessions are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Database {
    /// In an SQLite file.
    Sqlite(PathBuf),
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, an object a line.
    Json,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Help or the version was asked for; this is it.
    #[error("{0}")]
    Asked(String),
    /// A setting cannot be read: which, and what would be accepted.
    #[error("{0}")]
    Refused(String),
}

impl ConfigError {
    /// Tells the operator, and returns how the process is to end.
    #[must_use]
    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "the operator asked, or is told why"
    )]
    pub fn exit(&self) -> ExitCode {
        match self {
            Self::Asked(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Self::Refused(line) => {
                eprintln!("metrics-server: {line}");
                ExitCode::from(2)
            }
        }
    }
}

impl Config {
    /// The settings of this process.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is a setting that cannot be read, or help was asked for.
    pub fn load() -> Result<Self, ConfigError> {
        Self::read(std::env::args_os(), |name| std::env::var(name).ok())
    }

    /// The settings that these arguments (the first is the name of the program) and this environment make.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is a setting that cannot be read, or help was asked for.
    pub fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let flags = Flags::try_parse_from(arguments).map_err(|err| refuse_flags(&err))?;
        let listen = Setting::new("--listen", flags.listen)
            .or("METRICS_LISTEN", &environment)
            .read("an address and a port like 127.0.0.1:3000", |text| text.parse().ok())?;
        let database = Setting::new("--database-url", flags.database_url)
            .or("DATABASE_URL", &environment)
            .read("sqlite:PATH, a file like sqlite:metrics.db", read_database)?;
        let variable = |name| Setting::variable(name, &environment);
        let bots = variable("METRICS_BOTS").read("refuse or count", |text| match text {
            "refuse" => Some(Bots::Refuse),
            "count" => Some(Bots::Count),
            _ => None,
        })?;
        let heed_opt_out =
            variable("METRICS_OPT_OUT").read("ignore or refuse", |text| match text {
                "ignore" => Some(false),
                "refuse" => Some(true),
                _ => None,
            })?;
        let cors = variable("METRICS_CORS_ORIGINS")
            .read("origins like https://example.com, separated by commas, or *", read_cors)?;
        let default_key = variable("METRICS_DEFAULT_KEY")
            .read("an API key, 1 to 128 visible ASCII characters", |text| ApiKey::new(text).ok())?;
        let connections_max = variable("METRICS_MAX_CONNECTIONS")
            .read("a number from 1 to 1000000", |text| {
                text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
            })?;
        let log_format =
            variable("METRICS_LOG_FORMAT").read("text or json", |text| match text {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?;
        let log_filter = variable("RUST_LOG")
            .read("a level like info, or filters per module", |text| {
                EnvFilter::try_new(text).ok().map(|_| text.to_owned())
            })?;
        let credentials = credentials(&environment)?;
        let settings = Settings {
            default_key,
            credentials,
            heed_opt_out: heed_opt_out.unwrap_or(false),
            cors: cors.unwrap_or_default(),
        };
        Ok(Self {
            listen: listen.unwrap_or(LISTEN),
            database: database.unwrap_or_else(|| Database::Sqlite("metrics.db".into())),
            bots: bots.unwrap_or_default(),
            settings,
            connections_max: connections_max.unwrap_or(CONNECTIONS_MAX),
            log_filter: log_filter.unwrap_or_else(|| "info".to_owned()),
            log_format: log_format.unwrap_or(LogFormat::Text),
        })
    }
}

/// One setting, wherever it was set. An empty variable is one that was not set.
struct Setting {
    name: &'static str,
    text: Option<String>,
}

impl Setting {
    fn new(name: &'static str, text: Option<String>) -> Self {
        Self { name, text }
    }

    fn variable(name: &'static str, environment: &impl Fn(&str) -> Option<String>) -> Self {
        Self { name, text: environment(name).filter(|text| !text.is_empty()) }
    }

    fn or(self, name: &'static str, environment: &impl Fn(&str) -> Option<String>) -> Self {
        if self.text.is_some() { self } else { Self::variable(name, environment) }
    }

    fn read<T>(
        self,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text else { return Ok(None) };
        read(text.trim()).map(Some).ok_or_else(|| {
            let shown = without_password(&text);
            ConfigError::Refused(format!("{} is {shown:?}: it must be {accepted}", self.name))
        })
    }
}

/// A URL without what stands between `://` and `@`, because the line ends up in a log.
fn without_password(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://...@{rest}"),
        _ => text.to_owned(),
    }
}

/// An error of clap's, as one line.
fn refuse_flags(err: &clap::Error) -> ConfigError {
    let text = err.to_string();
    if matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ConfigError::Asked(text);
    }
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    ConfigError::Refused(format!("{line}; --help lists all flags"))
}

fn credentials(
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Credentials>, ConfigError> {
    let variable = |name| Setting::variable(name, environment);
    let enabled = variable("METRICS_AUTH_ENABLED").read("true or false", |text| match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    })?;
    if enabled != Some(true) {
        return Ok(None);
    }
    let text = |name| variable(name).text.unwrap_or_default();
    let credentials = Credentials::new(&text("METRICS_USER"), &text("METRICS_PASSWORD"));
    credentials.map(Some).ok_or_else(|| {
        let reason = "METRICS_AUTH_ENABLED is true: METRICS_USER, without a colon, and METRICS_PASSWORD must be set";
        ConfigError::Refused(reason.to_owned())
    })
}

fn read_database(url: &str) -> Option<Database> {
    let path = url.strip_prefix("sqlite:")?;
    // Both sqlite:path and sqlite://path are in use; the latter has a third slash if the path is absolute.
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| Database::Sqlite(path.into()))
}

fn read_cors(text: &str) -> Option<Cors> {
    if text == "*" {
        return Some(Cors::Any);
    }
    let origins = text.split(',').map(|origin| {
        let origin = origin.trim();
        let (scheme, host) = origin.split_once("://")?;
        let sound = matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/');
        sound.then(|| origin.to_owned())
    });
    origins.collect::<Option<_>>().map(Cors::Listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variable = |name: &str| {
            let set = environment.iter().find(|(known, _)| *known == name);
            set.map(|(_, text)| (*text).to_owned())
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
        assert!(config.settings.credentials.is_none() && config.settings.default_key.is_none());
        assert_eq!((config.settings.heed_opt_out, config.settings.cors), (false, Cors::Own));
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let environment = [("METRICS_LISTEN", "[::]:4000"), ("DATABASE_URL", "sqlite:b.db")];
        let config = read(&[], &environment).unwrap();
        assert_eq!(config.listen.to_string(), "[::]:4000");
        let config = read(&["--listen", "127.0.0.1:0", "--database-url=sqlite:c.db"], &environment);
        let config = config.unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(config.database, Database::Sqlite("c.db".into()));
    }

    #[test]
    fn variables_are_read() {
        let config = read(
            &[],
            &[
                ("METRICS_AUTH_ENABLED", "true"),
                ("METRICS_USER", "me"),
                ("METRICS_PASSWORD", "secret"),
                ("METRICS_DEFAULT_KEY", "HDsj3NfKQTNwn5Ix9g+cfQ=="),
                ("METRICS_BOTS", "count"),
                ("METRICS_OPT_OUT", "refuse"),
                ("METRICS_CORS_ORIGINS", "https://a.example, http://b.example:8080"),
                ("METRICS_MAX_CONNECTIONS", "7"),
                ("METRICS_LOG_FORMAT", "json"),
                ("RUST_LOG", "metrics_core=debug"),
            ],
        );
        let config = config.unwrap();
        assert_eq!(config.settings.credentials, Credentials::new("me", "secret"));
        let key = config.settings.default_key.unwrap();
        assert_eq!(key.as_str(), "HDsj3NfKQTNwn5Ix9g+cfQ==");
        assert_eq!((config.bots, config.connections_max), (Bots::Count, 7));
        assert!(config.settings.heed_opt_out);
        let origins = ["https://a.example", "http://b.example:8080"].map(str::to_owned).to_vec();
        assert_eq!(config.settings.cors, Cors::Listed(origins));
        assert_eq!(
            (&*config.log_filter, config.log_format),
            ("metrics_core=debug", LogFormat::Json)
        );
    }

    #[test]
    fn databases_have_several_spellings() {
        let path = |url| match read(&["--database-url", url], &[]).unwrap().database {
            Database::Sqlite(path) => path,
        };
        assert_eq!(path("sqlite:a.db"), PathBuf::from("a.db"));
        assert_eq!(path("sqlite:/var/a.db"), PathBuf::from("/var/a.db"));
        assert_eq!(path("sqlite:///var/a.db"), PathBuf::from("/var/a.db"));
        assert_eq!(path("sqlite://a.db"), PathBuf::from("a.db"));
    }

    #[track_caller]
    fn check_refused(arguments: &[&str], environment: &[(&str, &str)], expected: &str) {
        let err = read(arguments, environment).unwrap_err();
        assert!(matches!(err, ConfigError::Refused(_)));
        assert_eq!(err.to_string(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_one_line() {
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
            &[],
            &[("DATABASE_URL", "postgres://localhost/metrics")],
            "DATABASE_URL is \"postgres://localhost/metrics\": it must be sqlite:PATH, a file like \
             sqlite:metrics.db",
        );
        check_refused(
            &[],
            &[("METRICS_CORS_ORIGINS", "https://a.example/")],
            "METRICS_CORS_ORIGINS is \"https://a.example/\": it must be origins like https://example.com, \
             separated by commas, or *",
        );
        check_refused(
            &[],
            &[("METRICS_AUTH_ENABLED", "true"), ("METRICS_USER", "me")],
            "METRICS_AUTH_ENABLED is true: METRICS_USER, without a colon, and METRICS_PASSWORD must be set",
        );
    }

    #[test]
    fn a_password_in_a_database_url_is_not_repeated() {
        let url = "postgres://me:secret@localhost/metrics";
        let err = read(&["--database-url", url], &[]).unwrap_err();
        assert!(!err.to_string().contains("secret"), "{err}");
    }

    #[test]
    fn help_is_no_refusal() {
        assert!(matches!(read(&["--help"], &[]), Err(ConfigError::Asked(_))));
        assert!(matches!(read(&["--version"], &[]), Err(ConfigError::Asked(_))));
    }
}

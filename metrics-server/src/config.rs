//! Every setting of the binary: its name, its unit, its default.
//!
//! Flags win over the environment. A value that cannot be read stops the start, with one line that says which it is and
//! what would be accepted.

mod command;
mod exposure;
mod memory;
mod names;
mod quota;
mod service;

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{TimeDelta, Utc};
use clap::Parser as _;
use clap::error::ErrorKind;
use metrics_core::Bots;
use metrics_core::limits::Limits;
use metrics_core::recorder::Spool;
use metrics_core::source::PageDetail;
use metrics_core::store::{Migrations, TimescaleOptions};
use metrics_core::time_bucket::Span;
use tracing_subscriber::EnvFilter;

use self::command::CommandFlags;
pub use self::command::{Command, KeysCommand, KeysFormat, SessionsImport};
use self::quota::Quota;
use crate::cors::Cors;
use crate::hosts::{self, Hosts};
use crate::memory::{CONNECTION_BYTES, CONNECTIONS_PART};
use crate::route::Routes;
use crate::settings::Settings;

/// What follows the flags in `--help`.
const ENVIRONMENT: &str = "\
Environment (a flag wins over its variable):
  METRICS_LISTEN           like --listen
  DATABASE_URL             like --database-url
  METRICS_DATABASE_CONNECTIONS
                           like --database-connections
  METRICS_RETENTION        like --retention
  METRICS_SPOOL            like --spool
  METRICS_PAGE             like --page
  METRICS_WAIT_FOR_STORE   true or false: like --wait-for-store [default: false]
  METRICS_AUTH_ENABLED     true or false: whether reports, keys and the page ask for user and
                           password; false must be said to listen beyond this machine without
                           [default: true if METRICS_USER and METRICS_PASSWORD are set]
  METRICS_USER             the user, without a colon
  METRICS_PASSWORD         the password; not a flag, because flags show in the list of processes
  METRICS_DEFAULT_KEY      the API key of batches that name none [default: none]
  METRICS_BOTS             refuse or count: what to do with known bots, also browsers that a
                           program drives [default: refuse]
  METRICS_BOT_NETWORKS     a file of networks whose clients are treated as bots, one a line like
                           203.0.113.0/24, with comments after # [default: none]
  METRICS_VIDEOS_PER_KEY   how many videos a key may have [default: 100000]
  METRICS_PAGES_PER_KEY    how many pages a key may have; further ones count as the page / of
                           their site [default: 50000]
  METRICS_LIMITS           rate limits, separated by commas: joins, events, new_videos, new_pages,
                           each also with _per_address, like new_videos=20000/day or joins=none
                           [default: joins=120000/minute, joins_per_address=3000/minute,
                           events=1200000/minute, events_per_address=60000/minute,
                           new_videos=20000/day, new_videos_per_address=2000/day,
                           new_pages=20000/day, new_pages_per_address=2000/day]
  METRICS_PAGES            path, host or none: how much of pages is kept [default: path]
  METRICS_OPT_OUT          ignore or refuse: what to do with viewers who send Sec-GPC: 1 or
                           DNT: 1 [default: ignore]
  METRICS_CORS_ORIGINS     origins whose pages may read reports, separated by commas, or *
                           [default: none]
  METRICS_HOSTS            host names by which the server is called without authentication, beside
                           addresses and localhost, separated by commas; *.example.com stands
                           for all names below, * for all [default: none]
  METRICS_FORWARDED_HEADER the header in which a reverse proxy says where a request comes from,
                           like x-forwarded-for; only if nobody reaches the server but through
                           the proxy [default: none]
  METRICS_FORWARDED_HOPS   how many proxies, one behind the other, add an element to that header
                           [default: 1, the last element counts]
  METRICS_MEMORY           like --memory
  METRICS_MAX_CONNECTIONS  how many connections may be open at once [default: one per 64 KiB of
                           --memory, at most 100000]
  METRICS_CONNECTIONS_PER_ADDRESS
                           how many of them an address, or a /64 network of IPv6, may hold; with
                           METRICS_FORWARDED_HEADER, its requests and websockets. This machine may
                           hold all [default: a quarter, at least 64]
  METRICS_LOG_FORMAT       text or json [default: text]
  RUST_LOG                 what is logged: off, error, warn, info, debug or trace, also per
                           module [default: info]";

/// The flags. They are texts here, so that a flag and its variable are read in the same way.
#[derive(Debug, clap::Parser)]
#[command(name = "metrics-server", version, after_help = ENVIRONMENT)]
#[command(about = "Measures how videos are watched, without tracking anyone")]
struct Flags {
    #[command(subcommand)]
    command: Option<CommandFlags>,

    /// Address and port to listen on; `[::]:3000` listens everywhere, port 0 takes a free one
    /// [default: 127.0.0.1:3000]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// Where sessions are kept: `sqlite:PATH`, a file that is made if there is none, or
    /// `postgres://USER@HOST/DATABASE`, a TimescaleDB or PostgreSQL. A password is better given
    /// in the environment, because flags show in the list of processes [default: sqlite:metrics.db]
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,

    /// How many connections to PostgreSQL are opened at most, 5 to 1000 [default: 10]
    #[arg(long, global = true, value_name = "NUMBER")]
    database_connections: Option<String>,

    /// How much memory clients may make the server hold, like "256 MiB", "2 GB" or a number of
    /// bytes, at least 96 MiB; it needs a third of that beside it, at least 64 MiB [default: three
    /// quarters of what this process may use]
    #[arg(long, global = true, value_name = "SIZE")]
    memory: Option<String>,

    /// Where to leave what the database does not take when the server stops while it is away
    /// [default: the directory of the SQLite file, or else the one it is started in]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    spool: Option<String>,

    /// How long sessions are kept, like "25 months", at least a day. Older ones are deleted every
    /// hour, unless the clock jumps or they are more than a quarter of all: see `forget`
    /// [default: for ever]
    #[arg(long, global = true, value_name = "SPAN")]
    retention: Option<String>,

    /// Whether there is a page at /, with charts and examples: `on` or `off` [default: on]
    // Not global: `erase` has a `--page` of its own.
    #[arg(long, value_name = "on|off")]
    page: Option<String>,

    /// Bring the tables up to date, and end
    #[arg(long, global = true, conflicts_with = "no_migrate")]
    migrate_only: bool,

    /// Do not change the tables: refuse to start if they are not up to date
    #[arg(long, global = true)]
    no_migrate: bool,

    /// If the database cannot be reached at the start, wait until it can
    #[arg(long, global = true)]
    wait_for_store: bool,
}

/// Where to listen: on this machine only.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// How many connections may be open at once. At some 30 KiB each, they need 3 GB.
const CONNECTIONS_MAX: usize = 100_000;

/// The settings of the binary.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// What to do.
    pub command: Command,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where sessions are kept.
    pub database: Database,
    /// How many connections to PostgreSQL are opened at most.
    pub database_connections: u32,
    /// How long sessions are kept; for ever, unless it is said.
    pub retention: Option<Span>,
    /// What is done about tables that are not up to date.
    pub migrations: Migrations,
    /// Whether to end when the tables are up to date.
    pub migrate_only: bool,
    /// Whether to wait for a database that cannot be reached at the start.
    pub wait_for_store: bool,
    /// What to do with known bots, also browsers that a program drives.
    pub bots: Bots,
    /// The limits of keys that set none.
    pub limits: Limits,
    /// How much of pages is kept.
    pub page_detail: PageDetail,
    /// How the service behaves.
    pub settings: Settings,
    /// How much memory clients may make the server hold, in bytes.
    pub memory: usize,
    /// How many connections may be open at once.
    pub connections_max: usize,
    /// What is logged, as `RUST_LOG` says it.
    pub log_filter: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// Where sessions are kept.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Database {
    /// In an SQLite file.
    Sqlite(PathBuf),
    /// In the TimescaleDB or PostgreSQL at this URL.
    Postgres(String),
}

impl Database {
    /// Where to leave what it does not take: in `directory`, or beside a file. The name is that of the database, so
    /// that several may share a directory, and holds no user and no password.
    fn spool(&self, directory: Option<PathBuf>) -> Spool {
        match self {
            Self::Sqlite(path) => {
                let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let beside = || beside.unwrap_or(Path::new(".")).to_owned();
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                Spool::new(directory.unwrap_or_else(beside), name)
            }
            Self::Postgres(url) => {
                let place = url.split_once("://").map_or(&**url, |(_, rest)| rest);
                let place = place.split_once('?').map_or(place, |(place, _)| place);
                let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
                let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
                let name: String = place.chars().map(plain).collect();
                Spool::new(directory.unwrap_or_else(|| ".".into()), name)
            }
        }
    }
}

impl fmt::Debug for Database {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
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
        let config = Self::read(std::env::args_os(), |name| std::env::var_os(name))?;
        names::check(std::env::vars_os())?;
        Ok(config)
    }

    /// The settings that these arguments (the first is the name of the program) and this environment make.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is a setting that cannot be read, or help was asked for.
    pub fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let flags = Flags::try_parse_from(arguments).map_err(|err| refuse_flags(&err))?;
        let listen = Setting::new("--listen", flags.listen)
            .or("METRICS_LISTEN", &environment)
            .read("an address and a port like 127.0.0.1:3000", |text| text.parse().ok())?;
        let database = database(
            Setting::new("--database-url", flags.database_url).or("DATABASE_URL", &environment),
        )?;
        let command = Command::read(flags.command, flags.migrate_only, database.as_ref())?;
        let database_connections =
            Setting::new("--database-connections", flags.database_connections)
                .or("METRICS_DATABASE_CONNECTIONS", &environment)
                .read("a number from 5 to 1000", read_connections)?;
        let retention = Setting::new("--retention", flags.retention)
            .or("METRICS_RETENTION", &environment)
            .read("a time of a day or more, like 25 months", read_retention)?;
        let spool = Setting::new("--spool", flags.spool)
            .or("METRICS_SPOOL", &environment)
            .read("a directory", |text| Some(PathBuf::from(text)))?;
        let database = database.unwrap_or_else(|| Database::Sqlite("metrics.db".into()));
        let variable = |name| Setting::variable(name, &environment);
        let wait_for_store = variable("METRICS_WAIT_FOR_STORE").read("true or false", read_bool)?;
        let bots = variable("METRICS_BOTS").read("refuse or count", read_bots)?;
        let Quota { limits, page_detail, bot_networks } = Quota::read(&environment)?;
        let (memory, connections_max) = read_room(flags.memory, &command, &environment)?;
        let log_format = variable("METRICS_LOG_FORMAT").read("text or json", read_log_format)?;
        let log_filter = variable("RUST_LOG")
            .read("a level like info, or filters per module", |text| {
                EnvFilter::try_new(text).ok().map(|_| text.to_owned())
            })?;
        let listen = listen.unwrap_or(LISTEN);
        let serves = matches!(command, Command::Serve) && !flags.migrate_only;
        let settings = service::read(&environment, serves.then_some(listen))?;
        let settings = Settings {
            routes: routes(flags.page, &environment)?,
            spool: Some(database.spool(spool)),
            bot_networks,
            ..settings
        };
        Ok(Self {
            command,
            listen,
            database,
            database_connections: database_connections
                .unwrap_or_else(|| TimescaleOptions::default().connections),
            retention,
            migrations: if flags.no_migrate { Migrations::Check } else { Migrations::Run },
            migrate_only: flags.migrate_only,
            wait_for_store: flags.wait_for_store || wait_for_store.unwrap_or(false),
            bots: bots.unwrap_or_default(),
            limits,
            page_detail,
            settings,
            memory,
            connections_max,
            log_filter: log_filter.unwrap_or_else(|| "info".to_owned()),
            log_format: log_format.unwrap_or(LogFormat::Text),
        })
    }
}

/// One setting, wherever it was set. An empty variable is one that was not set.
struct Setting {
    name: &'static str,
    set: Option<OsString>,
}

impl Setting {
    fn new(name: &'static str, flag: Option<String>) -> Self {
        Self { name, set: flag.map(OsString::from) }
    }

    fn variable(name: &'static str, environment: &impl Fn(&str) -> Option<OsString>) -> Self {
        Self { name, set: environment(name).filter(|set| !set.is_empty()) }
    }

    fn or(self, name: &'static str, environment: &impl Fn(&str) -> Option<OsString>) -> Self {
        if self.set.is_some() { self } else { Self::variable(name, environment) }
    }

    fn text(self) -> Result<Option<String>, ConfigError> {
        let name = self.name;
        let text = self.set.map(OsString::into_string).transpose();
        text.map_err(|_| ConfigError::Refused(format!("{name} must be UTF-8")))
    }

    fn read<T>(
        self,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.read_or(read, |name, text| format!("{name} is {text:?}: it must be {accepted}"))
    }

    /// Reads what may be a secret: the refusal ends up in a log, so it does not repeat the value.
    fn read_secret<T>(
        self,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.read_or(read, |name, _| format!("{name} must be {accepted}"))
    }

    fn read_or<T>(
        self,
        read: impl FnOnce(&str) -> Option<T>,
        refusal: impl FnOnce(&str, &str) -> String,
    ) -> Result<Option<T>, ConfigError> {
        let name = self.name;
        let Some(text) = self.text()? else { return Ok(None) };
        let refused = || ConfigError::Refused(refusal(name, &text));
        read(text.trim()).map(Some).ok_or_else(refused)
    }
}

/// An error of clap's, as one line.
fn refuse_flags(err: &clap::Error) -> ConfigError {
    let text = err.to_string();
    if matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ConfigError::Asked(text);
    }
    if err.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ConfigError::Refused("a word is missing; --help lists all commands".to_owned());
    }
    // What is missing is listed below the first line.
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let line = lines.collect::<Vec<_>>().join(" ");
    let line = match line.trim_start_matches("error: ") {
        // It may hold a password, and a refusal ends up in a log.
        line if line.contains("://") => "an address stands where none is expected",
        line => line,
    };
    ConfigError::Refused(format!("{line}; --help lists all flags"))
}

fn routes(
    page: Option<String>,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> Result<Routes, ConfigError> {
    let page = Setting::new("--page", page).or("METRICS_PAGE", environment);
    Ok(match page.read("on or off", read_switch)? {
        Some(false) => Routes::ALL.without(Routes::PAGE),
        _ => Routes::ALL,
    })
}

fn database(url: Setting) -> Result<Option<Database>, ConfigError> {
    let accepted = "sqlite:PATH, a file like sqlite:metrics.db, or postgres://USER@HOST/DATABASE";
    url.read_secret(accepted, read_database)
}

fn read_database(url: &str) -> Option<Database> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Some(Database::Postgres(url.to_owned()));
    }
    let path = url.strip_prefix("sqlite:")?;
    // Both sqlite:path and sqlite://path are in use; the latter has a third slash if the path is absolute.
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| Database::Sqlite(path.into()))
}

fn read_connections(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| (TimescaleOptions::CONNECTIONS_MIN..=1_000).contains(number))
}

/// The memory budget, and how many connections may be open at once: unless it is said, as many as fit into a part of it.
fn read_room(
    memory: Option<String>,
    command: &Command,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> Result<(usize, usize), ConfigError> {
    let memory = Setting::new("--memory", memory).or("METRICS_MEMORY", environment);
    let memory = read_memory(memory, matches!(command, Command::Serve))?;
    let connections_max = Setting::variable("METRICS_MAX_CONNECTIONS", environment)
        .read("a number from 1 to 1000000", read_connections_max)?;
    let fitting = memory / CONNECTIONS_PART / CONNECTION_BYTES;
    Ok((memory, connections_max.unwrap_or(fitting.clamp(1, CONNECTIONS_MAX))))
}

/// The memory budget, which must not be too small for a server.
fn read_memory(memory: Setting, serves: bool) -> Result<usize, ConfigError> {
    let least = memory::MEMORY_MIN >> 20;
    let accepted = format!(
        "a size like 256 MiB, 2 GB or a number of bytes, at least {least} MiB: \
         a quarter of it is for bodies of requests, one of which needs 20 MiB while it is read"
    );
    let read = |text: &str| memory::read_size(text).filter(|size| memory::MEMORY_MIN <= *size);
    if let Some(set) = memory.read(&accepted, read)? {
        return Ok(set);
    }
    match memory::default(Path::new("/")) {
        Err(usable) if serves => Err(ConfigError::Refused(format!(
            "this process may use {} MiB of memory, and needs at least {}: raise its limit, or set METRICS_MEMORY to \
             {least} MiB or more",
            usable >> 20,
            least + (memory::BESIDE_MIN >> 20),
        ))),
        default => Ok(default.unwrap_or(memory::MEMORY_MIN)),
    }
}

fn read_connections_max(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
}

fn read_retention(text: &str) -> Option<Span> {
    let (span, now): (Span, _) = (text.parse().ok()?, Utc::now());
    (span.before(now)? <= now - TimeDelta::days(1)).then_some(span)
}

fn read_bots(text: &str) -> Option<Bots> {
    match text {
        "refuse" => Some(Bots::Refuse),
        "count" => Some(Bots::Count),
        _ => None,
    }
}

fn read_log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn read_opt_out(text: &str) -> Option<bool> {
    match text {
        "ignore" => Some(false),
        "refuse" => Some(true),
        _ => None,
    }
}

fn read_switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn read_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn read_hosts(text: &str) -> Option<Hosts> {
    if text == "*" {
        return Some(Hosts::Any);
    }
    text.split(',').map(hosts::read).collect::<Option<_>>().map(Hosts::Listed)
}

fn read_cors(text: &str) -> Option<Cors> {
    if text == "*" {
        return Some(Cors::Any);
    }
    let origins = text.split(',').map(|origin| {
        // Browsers send it in lower case.
        let origin = origin.trim().to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://")?;
        let sound = matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/');
        sound.then_some(origin)
    });
    origins.collect::<Option<_>>().map(Cors::Listed)
}

#[cfg(test)]
mod tests;

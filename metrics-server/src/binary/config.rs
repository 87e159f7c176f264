//! The settings of the binary, and its command.
//!
//! `table.rs` has every setting. Flags win over the environment. A value that cannot be read stops the start, with one
//! line that names the setting, the value and the values that are accepted.

mod command;
mod exposure;
mod flags;
mod help;
mod memory;
mod names;
mod read;
mod setting;
mod source;
mod table;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use metrics_core::Bots;
use metrics_core::arrival::ArrivalPart;
use metrics_core::limits::Limits;
use metrics_core::recorder::Spool;
use metrics_core::source::PageDetail;
use metrics_core::store::Migrations;
use metrics_core::time_bucket::Span;

pub(crate) use self::command::{
    Command, KeysCommand, KeysFormat, SessionsImport, TokenCommand, WebhooksCommand,
};
use self::exposure::Authentication;
use self::source::Source;
use crate::access::Access;
use crate::memory::{CONNECTION_BYTES, CONNECTIONS_PART};
use crate::page::PageLook;
use crate::route::Routes;
use crate::settings::Settings;
use crate::token::Tokens;
use crate::users::{UserHeaders, Users};

/// The default number of connections that may be open at once, unless the memory is less. At some 30 KiB each, they
/// need 3 GB.
const CONNECTIONS_MAX: usize = 100_000;

/// The settings of the binary. Those that its command does not take have their defaults.
#[derive(Debug)]
pub(crate) struct Config {
    /// The command; without one, the binary serves.
    pub(crate) command: Option<Command>,
    pub(crate) listen: SocketAddr,
    pub(crate) database: Database,
    pub(crate) database_connections: u32,
    /// How long sessions are kept; for ever, unless it is set.
    pub(crate) retention: Option<Span>,
    /// The handling of tables that are not up to date.
    pub(crate) migrations: Migrations,
    /// Whether to wait for a database that cannot be reached at the start.
    pub(crate) wait_for_store: bool,
    pub(crate) bots: Bots,
    /// The limits of keys that set none.
    pub(crate) limits: Limits,
    pub(crate) page_detail: PageDetail,
    /// The parts of where viewers come from that are recorded.
    pub(crate) arrival_parts: Vec<ArrivalPart>,
    /// The settings of the service.
    pub(crate) settings: Settings,
    /// The memory that clients may make the server hold, in bytes.
    pub(crate) memory: usize,
    pub(crate) connections_max: usize,
    pub(crate) log_filter: String,
    pub(crate) log_format: LogFormat,
}

/// The database that holds the sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Database {
    /// In an SQLite file.
    Sqlite(PathBuf),
    /// In a TimescaleDB or PostgreSQL.
    Postgres(PostgresUrl),
}

/// The URL of a TimescaleDB or PostgreSQL, which may hold a password.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct PostgresUrl(pub(crate) String);

impl Database {
    /// The file for sessions that the database does not take: in `directory`, or beside the database. Its name is that
    /// of the database, so that several may share a directory, and holds no user and no password.
    fn spool(&self, directory: Option<PathBuf>) -> Spool {
        let (directory, name) = self.place(directory);
        Spool::new(directory, name)
    }

    /// The file for the state of webhooks, beside spooled sessions.
    fn webhooks_state(&self, directory: Option<PathBuf>) -> PathBuf {
        let (directory, name) = self.place(directory);
        directory.join(format!("{name}.webhooks"))
    }

    /// The directory for files of the server, and the beginning of their names.
    fn place(&self, directory: Option<PathBuf>) -> (PathBuf, String) {
        match self {
            Self::Sqlite(path) => {
                let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let beside = || beside.unwrap_or(Path::new(".")).to_owned();
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                (directory.unwrap_or_else(beside), name.into_owned())
            }
            Self::Postgres(PostgresUrl(url)) => {
                let location = url.split_once("://").map_or(&**url, |(_, rest)| rest);
                let location = location.split_once('?').map_or(location, |(location, _)| location);
                let location = location.rsplit_once('@').map_or(location, |(_, location)| location);
                let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
                let name: String = location.chars().map(plain).collect();
                (directory.unwrap_or_else(|| ".".into()), name)
            }
        }
    }
}

impl fmt::Debug for PostgresUrl {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresUrl(..)")
    }
}

/// The format of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines, an object a line.
    Json,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The operator asked for help or the version; this is the text.
    #[error("{0}")]
    Printed(String),
    /// A setting cannot be read: which one, and the values that are accepted.
    #[error("{0}")]
    Refused(String),
}

impl ConfigError {
    /// Prints the message, and returns the exit code of the process.
    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "prints the requested help, or the error"
    )]
    pub(crate) fn exit(&self) -> ExitCode {
        match self {
            Self::Printed(text) => {
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
    /// Reads the settings of this process.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting cannot be read or is unknown, or if the operator asks for help.
    pub(crate) fn load() -> Result<Self, ConfigError> {
        let config = Self::read(std::env::args_os(), |name| std::env::var_os(name))?;
        names::check(std::env::vars_os())?;
        Ok(config)
    }

    /// Reads the settings from arguments, of which the first is the name of the program, and from an environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting cannot be read, or if the operator asks for help.
    fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let parsed = flags::parse(arguments)?;
        let source = Source::new(parsed.path, parsed.settings, &environment)?;
        let (log_filter, log_format) =
            (source.get(&table::LOG_FILTER)?, source.get(&table::LOG_FORMAT)?);
        let database = source.get(&table::DATABASE)?;
        let (migrate_only, no_migrate) =
            (source.get(&table::MIGRATE_ONLY)?, source.get(&table::NO_MIGRATE)?);
        if migrate_only && no_migrate {
            let line = "--migrate-only and --no-migrate exclude each other: leave one out";
            return Err(ConfigError::Refused(line.to_owned()));
        }
        let command = match parsed.command {
            Some(flags) => {
                let is_set = source.is_set(&table::DATABASE.about)?;
                Some(Command::read(flags, is_set.then_some(&database))?)
            }
            None => migrate_only.then_some(Command::Migrate),
        };
        let serves = command.is_none();
        let listen = source.get(&table::LISTEN)?;
        let memory = memory_of(&source, serves)?;
        let fitting = (memory / CONNECTIONS_PART / CONNECTION_BYTES).clamp(1, CONNECTIONS_MAX);
        let directory = source.get(&table::SPOOL)?;
        let webhooks = source.get(&table::WEBHOOKS)?;
        let state_file = database.webhooks_state(directory.clone());
        let settings = Settings {
            spool: Some(database.spool(directory)),
            webhooks: webhooks.map(|webhooks| webhooks.state_file(state_file)),
            ..settings_of(&source, serves.then_some(listen))?
        };
        Ok(Self {
            command,
            listen,
            database,
            database_connections: source.get(&table::DATABASE_CONNECTIONS)?,
            retention: source.get(&table::RETENTION)?,
            migrations: if no_migrate { Migrations::Check } else { Migrations::Run },
            wait_for_store: source.get(&table::WAIT_FOR_STORE)?,
            bots: source.get(&table::BOTS)?,
            limits: limits_of(&source)?,
            page_detail: source.get(&table::PAGES)?,
            arrival_parts: source.get(&table::DIMENSIONS)?,
            settings,
            memory,
            connections_max: source.get(&table::MAX_CONNECTIONS)?.unwrap_or(fitting),
            log_filter,
            log_format,
        })
    }
}

/// Reads the settings of the service, with the address of the server if the command is to serve.
fn settings_of(source: &Source<'_>, listen: Option<SocketAddr>) -> Result<Settings, ConfigError> {
    let forwarded_header = source.get(&table::FORWARDED_HEADER)?;
    let forwarded_hops = source.get(&table::FORWARDED_HOPS)?;
    if forwarded_hops.is_some() && forwarded_header.is_none() {
        source.refuse(&table::FORWARDED_HOPS.about)?;
    }
    let country_header = source.get(&table::COUNTRY_HEADER)?;
    if country_header.is_some() && forwarded_header.is_none() {
        source.refuse(&table::COUNTRY_HEADER.about)?;
    }
    let tokens = tokens_of(source)?;
    let users = users_of(source, tokens.as_ref())?;
    let authentication = Authentication::read(source)?;
    if users.is_some() && matches!(authentication, Authentication::Off) {
        let line = "METRICS_AUTH_ENABLED is false, but METRICS_USERS or METRICS_USER_HEADER is set: unset one of them";
        return Err(ConfigError::Refused(line.to_owned()));
    }
    // A server with users is not open to everybody.
    let credentials = authentication.at(listen.filter(|_| users.is_none()))?;
    let routes =
        if source.get(&table::PAGE)? { Routes::ALL } else { Routes::ALL.without(Routes::PAGE) };
    let settings = Settings {
        tokens,
        default_key: source.get(&table::DEFAULT_KEY)?,
        access: credentials.clone().map(|it| Arc::new(it) as Arc<dyn Access>),
        refuse_opted_out: source.get(&table::OPT_OUT)?,
        cors: source.get(&table::CORS_ORIGINS)?,
        hosts: source.get(&table::HOSTS)?,
        forwarded_header,
        forwarded_hops,
        country_header,
        geo: source.get(&table::GEO)?,
        connections_per_address: source.get(&table::CONNECTIONS_PER_ADDRESS)?,
        bot_networks: source.get(&table::BOT_NETWORKS)?,
        routes,
        page: look_of(source)?,
        ..Settings::default()
    };
    Ok(match users {
        None => settings,
        Some(users) => settings.users(credentials.into_iter().fold(users, Users::operator)),
    })
}

/// Reads the users of a file, and those that a proxy names.
fn users_of(source: &Source<'_>, tokens: Option<&Tokens>) -> Result<Option<Users>, ConfigError> {
    let refused = |line: &str| Err(ConfigError::Refused(line.to_owned()));
    let of_file = source.get(&table::USERS)?;
    let header = source.get(&table::USER_HEADER)?;
    let proxies = source.get(&table::TRUSTED_PROXIES)?;
    let groups = source.get(&table::GROUPS_HEADER)?;
    let roles = source.get(&table::GROUP_ROLES)?;
    let headers = match (header, proxies) {
        (Some(header), Some(proxies)) => {
            let headers = UserHeaders::new(header, proxies);
            match groups {
                Some(groups) => Some(headers.groups(groups, roles)),
                None if roles.is_empty() => Some(headers),
                None if roles.iter().all(|(group, _)| group == "*") => {
                    // Everybody needs no header of groups.
                    Some(headers.everybody(roles))
                }
                None => return refused("METRICS_GROUP_ROLES needs METRICS_GROUPS_HEADER: set it"),
            }
        }
        (None, None) if groups.is_none() && roles.is_empty() => None,
        _ => {
            return refused(
                "METRICS_USER_HEADER and METRICS_TRUSTED_PROXIES must both be set, or neither: a header of any other \
                 client names nobody",
            );
        }
    };
    let users = match (of_file, &headers) {
        (None, None) => return Ok(None),
        (of_file, _) => of_file.unwrap_or_else(Users::none),
    };
    let users = headers.into_iter().fold(users, Users::headers);
    Ok(Some(tokens.into_iter().fold(users, Users::sessions)))
}

/// Reads the secret of tokens: from a variable, or from a file.
fn tokens_of(source: &Source<'_>) -> Result<Option<Tokens>, ConfigError> {
    match (source.get(&table::TOKEN_SECRET)?, source.get(&table::TOKEN_SECRET_FILE)?) {
        (Some(_), Some(_)) => {
            let line =
                "METRICS_TOKEN_SECRET and METRICS_TOKEN_SECRET_FILE exclude each other: unset one";
            Err(ConfigError::Refused(line.to_owned()))
        }
        (tokens, of_file) => Ok(tokens.or(of_file)),
    }
}

/// Reads the look of the page.
fn look_of(source: &Source<'_>) -> Result<PageLook, ConfigError> {
    let default = PageLook::default();
    Ok(PageLook {
        name: source.get(&table::PAGE_NAME)?.unwrap_or(default.name),
        logo: source.get(&table::PAGE_LOGO)?,
        frames: source.get(&table::PAGE_FRAMES)?,
    })
}

/// Reads the limits of keys that set none.
fn limits_of(source: &Source<'_>) -> Result<Limits, ConfigError> {
    let mut limits = source.get(&table::LIMITS)?;
    limits.videos = source.get(&table::VIDEOS_PER_KEY)?.unwrap_or(limits.videos);
    limits.pages = source.get(&table::PAGES_PER_KEY)?.unwrap_or(limits.pages);
    Ok(limits)
}

/// Reads the memory budget: by default, a part of the memory of the process, which must not be too small for a server.
fn memory_of(source: &Source<'_>, serves: bool) -> Result<usize, ConfigError> {
    if let Some(memory) = source.get(&table::MEMORY)? {
        return Ok(memory);
    }
    match memory::default(Path::new("/")) {
        Err(usable) if serves => {
            let least = memory::MEMORY_MIN >> 20;
            Err(ConfigError::Refused(format!(
                "this process may use {} MiB of memory, and needs at least {}: raise its limit, or set METRICS_MEMORY to \
                 {least} MiB or more",
                usable >> 20,
                least + (memory::BESIDE_MIN >> 20),
            )))
        }
        default => Ok(default.unwrap_or(memory::MEMORY_MIN)),
    }
}

#[cfg(test)]
mod tests;

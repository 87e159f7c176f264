//! What the binary does instead of serving, as it is said on the command line.

use std::path::PathBuf;

use chrono::Utc;
use metrics_core::ApiKey;
use metrics_core::key::{InvalidKeySettings, KeySettings, SettingsChange};
use serde_json::{Map, Value};

use super::{ConfigError, Database, Setting, database};
use crate::api::erase::EraseSelection;
use crate::api::params::{Params, structured, whole_query};
use crate::error::Error;
use crate::export::{Export, Format, Table};

/// What the binary is to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Serve.
    Serve,
    /// Copy one database to another.
    Copy {
        /// What is read.
        from: Database,
        /// What is written.
        to: Database,
    },
    /// Import the database of a mave/metrics server.
    ImportMave(Database),
    /// Import sessions from a file.
    ImportSessions(SessionsImport),
    /// Decode every block, and compute the totals of days again.
    CheckBlocks {
        /// Whether to mend totals that are wrong.
        mend: bool,
    },
    /// See to the keys.
    Keys(KeysCommand),
    /// Erase sessions.
    Erase {
        /// The sessions.
        selected: Box<EraseSelection>,
        /// Whether to count them only.
        dry_run: bool,
    },
    /// Delete the sessions that are older than the retention, by the clock alone.
    Forget {
        /// Whether to count them only.
        dry_run: bool,
    },
    /// Export a report, or sessions.
    Export {
        /// What, and how.
        export: Box<Export>,
        /// The file to write; none for the standard output.
        output: Option<PathBuf>,
    },
    /// Ask the server that runs for its health.
    Health,
}

/// The options of an import of sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionsImport {
    /// The file, or `None` for the standard input.
    pub file: Option<PathBuf>,
    /// The key of lines without one.
    pub key: Option<ApiKey>,
    /// Whether to check the lines without writing.
    pub dry_run: bool,
}

/// What is done about the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeysCommand {
    /// List them.
    List(KeysFormat),
    /// Add this one, or a new one, with these settings.
    Create(Option<ApiKey>, KeySettings),
    /// Replace the settings of this one that are members of the object.
    Change(ApiKey, SettingsChange),
    /// Revoke this one.
    Revoke(ApiKey),
    /// Make this one valid again.
    Restore(ApiKey),
}

/// How keys are listed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
#[non_exhaustive]
pub enum KeysFormat {
    /// A line each, for people.
    #[default]
    Text,
    /// As one JSON object, for programs.
    Json,
}

impl Command {
    /// Whether what it prints is for other programs, so that nothing else may be among it.
    #[must_use]
    pub fn prints(&self) -> bool {
        matches!(
            self,
            Self::Keys(_) | Self::Export { .. } | Self::Erase { .. } | Self::Forget { .. }
        )
    }

    /// `database_set` is the database of the settings, if they name one.
    pub(super) fn read(
        flags: Option<CommandFlags>,
        migrate_only: bool,
        database_set: Option<&Database>,
    ) -> Result<Self, ConfigError> {
        let refused = |line: &str| ConfigError::Refused(line.to_owned());
        if migrate_only && flags.is_some() {
            let line =
                "--migrate-only stands alone: commands bring tables up to date by themselves";
            return Err(refused(line));
        }
        let named = |name, url| {
            let read = database(Setting::new(name, Some(url)))?;
            read.ok_or_else(|| ConfigError::Refused(format!("{name} must not be empty")))
        };
        Ok(match flags {
            None => Self::Serve,
            Some(CommandFlags::Health) => Self::Health,
            Some(CommandFlags::Keys(flags)) => Self::Keys(flags.read()?),
            Some(CommandFlags::Erase(flags)) => flags.read()?,
            Some(CommandFlags::Forget(flags)) => Self::Forget { dry_run: flags.dry_run },
            Some(CommandFlags::Export(flags)) => flags.report.read(flags.table)?,
            Some(CommandFlags::Query { json, flags }) => {
                ReportFlags { q: json.or(flags.q), ..*flags }.read(Table::Query)?
            }
            Some(CommandFlags::Videos(flags)) => flags.read(Table::Videos)?,
            Some(CommandFlags::Copy { from, to }) => {
                let to = to.map(|to| named("TO", to)).transpose()?;
                let to = to.or_else(|| database_set.cloned());
                let to =
                    to.ok_or_else(|| refused("TO is missing: name it, or set DATABASE_URL"))?;
                Self::Copy { from: named("FROM", from)?, to }
            }
            Some(CommandFlags::Blocks(flags)) => {
                Self::CheckBlocks { mend: matches!(flags, BlocksFlags::Rebuild) }
            }
            Some(CommandFlags::Import(ImportFlags::Sessions { file, key, dry_run })) => {
                let file = Some(file).filter(|file| file.as_os_str() != "-");
                let key = key.as_deref().map(|key| read_key("--key", key)).transpose()?;
                Self::ImportSessions(SessionsImport { file, key, dry_run })
            }
            Some(CommandFlags::Import(ImportFlags::Mave { url })) => {
                match named("the database to import", url)? {
                    Database::Sqlite(_) => {
                        let line = "the database to import must be postgres://USER@HOST/DATABASE";
                        return Err(refused(line));
                    }
                    old @ Database::Postgres(_) => Self::ImportMave(old),
                }
            }
        })
    }
}

/// What is done instead of serving.
#[derive(Debug, clap::Subcommand)]
pub(super) enum CommandFlags {
    /// Copy a whole database to another, and compare the two; can be repeated
    Copy {
        /// The database to read, as in --database-url
        from: String,
        /// The database to write [default: that of --database-url or its variable, in which a
        /// password does not show]
        to: Option<String>,
    },
    /// Import sessions of another server or system into the database; can be repeated
    #[command(subcommand)]
    Import(ImportFlags),
    /// Check the blocks and totals that answer reports; servers may run meanwhile
    #[command(subcommand)]
    Blocks(BlocksFlags),
    /// See to the API keys; servers may run meanwhile, and heed it within a second
    #[command(subcommand)]
    Keys(KeysFlags),
    /// Erase sessions from the database, with the videos and pages that only they name; servers may
    /// run meanwhile. Each flag narrows the others, and one is needed
    Erase(Box<EraseFlags>),
    /// Delete the sessions that are older than --retention at once, by the clock alone; servers, which
    /// do so by themselves unless the clock jumps or it is a quarter of all, may run meanwhile
    Forget(SureFlags),
    /// Export a report, or every session, as CSV or NDJSON; servers may run meanwhile
    Export(Box<ExportFlags>),
    /// Print any metrics by any dimensions: `export query`, with the query as the first argument
    Query {
        /// The query, like `{"metrics": ["plays"], "dimensions": ["video"]}` [default: plays and view
        /// time of the last 30 days]
        #[arg(value_name = "JSON", conflicts_with = "q")]
        json: Option<String>,
        #[command(flatten)]
        flags: Box<ReportFlags>,
    },
    /// List the videos with their plays, view time and average percentage viewed: `export videos`
    Videos(Box<ReportFlags>),
    /// Ask the server that runs here whether it can record, for container health checks
    Health,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum KeysFlags {
    /// List all keys, the oldest first
    List {
        /// A line each, or one JSON object
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: KeysFormat,
    },
    /// Make a new key, or add this one, and print it
    Create {
        /// The key to add, 1 to 128 visible ASCII characters [default: 16 random bytes, as base64]
        key: Option<String>,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Change settings of a key; those that are not named stay
    Change {
        /// The key
        key: String,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Revoke a key; what it recorded stays
    Revoke {
        /// The key
        key: String,
    },
    /// Make a revoked key valid again
    Restore {
        /// The key
        key: String,
    },
}

/// The settings of a key. An empty value removes a setting.
#[derive(Debug, clap::Args)]
pub(super) struct SettingsFlags {
    /// A name of the key, for people
    #[arg(long)]
    name: Option<String>,

    /// A host whose pages may use the key, like example.com or *.example.com, or `none` for clients
    /// without a page; can be repeated [default: all]
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,

    /// A path that is kept instead of the paths that match it, like /reset/* or /u/*/watch; can be
    /// repeated
    #[arg(long, value_name = "PATH")]
    page_pattern: Vec<String>,

    /// A limit of the key, like `new_videos=1000/day`, or `videos=5000`, with the names in
    /// `METRICS_LIMITS`; can be repeated. Others stay; `videos=` removes one, an empty value all
    #[arg(long, value_name = "NAME=VALUE")]
    limit: Vec<String>,
}

impl SettingsFlags {
    /// The members of the settings that are named.
    fn members(self) -> Map<String, Value> {
        let mut members = Map::new();
        let list = |texts: Vec<String>| -> Value {
            texts.into_iter().filter(|text| !text.is_empty()).collect()
        };
        if let Some(name) = self.name {
            members.insert("name".to_owned(), name.into());
        }
        if !self.host.is_empty() {
            members.insert("hosts".to_owned(), list(self.host));
        }
        if !self.page_pattern.is_empty() {
            members.insert("pages".to_owned(), list(self.page_pattern));
        }
        if !self.limit.is_empty() {
            let limits = self.limit.iter().filter(|limit| !limit.is_empty());
            let limits = limits.map(|limit| match limit.split_once('=') {
                Some((name, "")) => (name.to_owned(), Value::Null),
                Some((name, value)) => (name.to_owned(), value.into()),
                None => (limit.clone(), "".into()),
            });
            let limits: Map<_, _> = limits.collect();
            let limits = if limits.is_empty() { Value::Null } else { Value::Object(limits) };
            members.insert("limits".to_owned(), limits);
        }
        members
    }
}

impl KeysFlags {
    fn read(self) -> Result<KeysCommand, ConfigError> {
        let read = |key: &str| read_key("KEY", key);
        let refused = |err: InvalidKeySettings| ConfigError::Refused(err.to_string());
        Ok(match self {
            Self::List { format } => KeysCommand::List(format),
            Self::Create { key, settings } => {
                let settings = KeySettings::from_json(&settings.members()).map_err(refused)?;
                KeysCommand::Create(key.as_deref().map(read).transpose()?, settings)
            }
            Self::Change { key, settings } => {
                let members = settings.members();
                if members.is_empty() {
                    let line =
                        "a setting to change is missing: --name, --host, --page-pattern or --limit";
                    return Err(ConfigError::Refused(line.to_owned()));
                }
                let change = SettingsChange::from_json(members).map_err(refused)?;
                KeysCommand::Change(read(&key)?, change)
            }
            Self::Revoke { key } => KeysCommand::Revoke(read(&key)?),
            Self::Restore { key } => KeysCommand::Restore(read(&key)?),
        })
    }
}

/// Whether it is done. One of them is needed.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct SureFlags {
    /// Count the sessions only
    #[arg(long)]
    dry_run: bool,

    /// Delete them, for good
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct EraseFlags {
    /// Sessions of this API key, valid or revoked
    #[arg(long)]
    key: Option<String>,

    /// Sessions of videos with this identifier; can be repeated
    #[arg(long)]
    identifier: Vec<String>,

    /// Sessions of videos whose metadata contains this, like `{"course": 7}`
    #[arg(long, value_name = "JSON")]
    video: Option<String>,

    /// Sessions on pages whose URL starts with this, like `https://example.com/reset/`
    #[arg(long, value_name = "PREFIX")]
    page: Option<String>,

    /// Sessions whose data contains this, like `{"user": 7}`
    #[arg(long, value_name = "JSON")]
    session_data: Option<String>,

    /// The session to which its client gave this id; needs --key
    #[arg(long, value_name = "ID", requires = "key")]
    session_id: Option<String>,

    /// Sessions that started then: a date, "7 days", an RFC 3339 time from which on, or
    /// `{"from": ..., "to": ...}` [default: whenever]
    #[arg(long)]
    timeframe: Option<String>,

    #[command(flatten)]
    sure: SureFlags,
}

impl EraseFlags {
    fn read(self) -> Result<Command, ConfigError> {
        let dry_run = self.sure.dry_run;
        let read = self.parameters().and_then(|params| EraseSelection::read(&params, Utc::now()));
        match read {
            Ok(selected) => Ok(Command::Erase { selected: Box::new(selected), dry_run }),
            Err(Error::Parameter { name: "query", .. }) => {
                let line = "one of --key, --identifier, --video, --page, --session-data, --session-id and \
                            --timeframe is needed, --key must be an API key, and JSON an object of at most 16 KiB";
                Err(ConfigError::Refused(line.to_owned()))
            }
            Err(Error::Parameter { name, expected, .. }) => {
                let name = name.replace('_', "-");
                Err(ConfigError::Refused(format!("--{name} {expected}")))
            }
            Err(err) => Err(ConfigError::Refused(err.to_string())),
        }
    }

    /// What a request would have.
    fn parameters(self) -> Result<Params, Error> {
        let mut query = Map::new();
        query.extend(self.key.map(|key| ("key".to_owned(), key.into())));
        for (name, json) in [("video", self.video), ("session", self.session_data)] {
            let json = json.map(|json| structured("query", &json)).transpose()?;
            query.extend(json.map(|json| (name.to_owned(), json)));
        }
        let mut values = Map::new();
        if !query.is_empty() {
            values.insert("query".to_owned(), query.into());
        }
        if !self.identifier.is_empty() {
            values.insert("identifier".to_owned(), self.identifier.into());
        }
        for (name, text) in [("page", self.page), ("session_id", self.session_id)] {
            values.extend(text.map(|text| (name.to_owned(), Value::String(text))));
        }
        if let Some(timeframe) = self.timeframe {
            values.insert("timeframe".to_owned(), structured("timeframe", &timeframe)?);
        }
        Ok(Params::of(values))
    }
}

fn read_key(name: &str, key: &str) -> Result<ApiKey, ConfigError> {
    // The value may be a mistyped secret, and the message ends up in a log.
    ApiKey::new(key).map_err(|err| ConfigError::Refused(format!("{name} cannot be one: {err}")))
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportFlags {
    /// A report, or every session
    table: Table,

    #[command(flatten)]
    report: ReportFlags,
}

/// The parameters of reports, by their names.
#[derive(Debug, clap::Args)]
pub(super) struct ReportFlags {
    /// CSV in which texts that begin like a formula have an apostrophe before them, or a JSON object a
    /// line
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: Format,

    /// The file to write; it is there when all of it is [default: the standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Only videos with this identifier; can be repeated. Reports need this, a key or a query
    #[arg(long)]
    identifier: Vec<String>,

    /// Only videos of this API key
    #[arg(long)]
    key: Option<String>,

    /// Only what contains this, like `{"video": {"course": 7}, "session": {"plan": "free"}}`
    #[arg(long, value_name = "JSON")]
    query: Option<String>,

    /// Only sessions that started then: "7 days", Unix seconds or an RFC 3339 time from which on, or
    /// `{"from": ..., "to": ...}` [default: 7 days; all sessions, if those are exported]
    #[arg(long)]
    timeframe: Option<String>,

    /// How wide time buckets are, like "1 day"; for engagement, every second of each bucket then
    /// [default: 12 months]
    #[arg(long)]
    interval: Option<String>,

    /// Only sessions that watched as much [default: 1; 0 for engagement and sessions]
    #[arg(long, value_name = "SECONDS")]
    minimum_watch_seconds: Option<String>,

    /// In how many parts engagement is cut [default: 10]
    #[arg(long, value_name = "NUMBER")]
    ranges: Option<String>,

    /// Of whose days and months buckets are made, like Europe/Amsterdam [default: UTC]
    #[arg(long, value_name = "NAME")]
    timezone: Option<String>,

    /// The members of a query, like `{"metrics": ["plays"], "limit": 10}`, for `query` and `videos`;
    /// the flags above add to it
    #[arg(long, value_name = "JSON")]
    q: Option<String>,

    /// Only videos with this text in their identifier or title, for `videos`
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Only sessions for which this holds, like `["is", "device", ["mobile"]]`
    #[arg(long, value_name = "JSON")]
    filters: Option<String>,
}

impl ReportFlags {
    fn read(self, table: Table) -> Result<Command, ConfigError> {
        let (format, output) = (self.format, self.output.clone());
        let export = self.parameters().and_then(|params| Export::read(table, format, &params));
        match export {
            Ok(export) => Ok(Command::Export { export: Box::new(export), output }),
            Err(Error::Parameter { name, expected, .. }) => {
                let name = name.replace('_', "-");
                Err(ConfigError::Refused(format!("--{name} {expected}")))
            }
            Err(err) => Err(ConfigError::Refused(err.to_string())),
        }
    }

    /// What a request would have.
    fn parameters(self) -> Result<Params, Error> {
        let mut values = self.q.as_deref().map(whole_query).transpose()?.unwrap_or_default();
        if let Some(filters) = self.filters {
            values.insert("filters".to_owned(), structured("filters", &filters)?);
        }
        let texts = [
            ("interval", self.interval),
            ("minimum_watch_seconds", self.minimum_watch_seconds),
            ("ranges", self.ranges),
            ("timezone", self.timezone),
            ("search", self.search),
        ];
        for (name, text) in texts {
            values.extend(text.map(|text| (name.to_owned(), Value::String(text))));
        }
        if !self.identifier.is_empty() {
            values.insert("identifier".to_owned(), self.identifier.into());
        }
        if let Some(timeframe) = self.timeframe {
            values.insert("timeframe".to_owned(), structured("timeframe", &timeframe)?);
        }
        let mut query = self.query.map(|query| structured("query", &query)).transpose()?;
        if let Some(key) = self.key {
            // What is no object is refused with what it is instead.
            let members = query.get_or_insert_with(|| Map::new().into()).as_object_mut();
            members.and_then(|members| members.insert("key".to_owned(), key.into()));
        }
        values.extend(query.map(|query| ("query".to_owned(), query)));
        Ok(Params::of(values))
    }
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum BlocksFlags {
    /// Decode every block, and name the days whose totals are not the sums of their sessions;
    /// changes nothing
    Verify,
    /// Decode every block, and mend the totals of days that are wrong
    Rebuild,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum ImportFlags {
    /// From the PostgreSQL database of a mave/metrics server, which must be stopped
    Mave {
        /// Its URL, `postgres://USER@HOST/DATABASE`
        url: String,
    },
    /// From NDJSON, a session a line, as `export sessions --format ndjson` writes it. Each line needs
    /// `key`, `identifier` or `metadata`, `started_at`, and `segments` or `view_time`
    Sessions {
        /// The file, or - for the standard input
        file: PathBuf,

        /// The key of lines without one
        #[arg(long)]
        key: Option<String>,

        /// Check every line without writing
        #[arg(long)]
        dry_run: bool,
    },
}

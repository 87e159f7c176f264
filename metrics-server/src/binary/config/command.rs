//! The commands of the binary, as the command line names them.

mod erase;
mod keys;
mod report;

use std::path::PathBuf;

use metrics_core::ApiKey;
use metrics_core::key::{KeySettings, SettingsChange};

use self::erase::EraseFlags;
use self::keys::KeysFlags;
use self::report::{ExportFlags, ReportFlags};
use super::read::read_database;
use super::table::DATABASE;
use super::{ConfigError, Database, PostgresUrl};
use crate::api::erase::EraseSelection;
use crate::export::Export;
use crate::table::Table;

/// A command that runs instead of the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Bring the tables up to date.
    Migrate,
    /// Copy one database to another.
    Copy {
        /// The database to read.
        from: Database,
        /// The database to write.
        to: Database,
    },
    /// Import the database of a mave/metrics server.
    ImportMave(PostgresUrl),
    /// Import sessions from a file.
    ImportSessions(SessionsImport),
    /// Decode every block, and compute the totals of days again.
    CheckBlocks {
        /// Whether to mend totals that are wrong.
        repair: bool,
    },
    /// Manage the keys.
    Keys(KeysCommand),
    /// Erase sessions.
    Erase {
        /// The sessions.
        selected: Box<EraseSelection>,
        /// Whether to count them only.
        dry_run: bool,
    },
    /// Delete the sessions that are older than the retention, by the clock alone.
    Delete {
        /// Whether to count them only.
        dry_run: bool,
    },
    /// Export a report, or sessions.
    Export {
        /// The table, its format and its parameters.
        export: Box<Export>,
        /// The file to write; none for the standard output.
        output: Option<PathBuf>,
    },
    /// Request the health of the running server.
    Health,
    /// Check or try the rules of webhooks.
    Webhooks(WebhooksCommand),
}

/// A command about webhooks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum WebhooksCommand {
    /// List the rules of the file, which were checked when it was read.
    Check,
    /// Send a test delivery of this rule.
    Try(String),
}

/// The options of an import of sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SessionsImport {
    /// The file, or `None` for the standard input.
    pub(crate) file: Option<PathBuf>,
    /// The key of lines without one.
    pub(crate) key: Option<ApiKey>,
    /// Whether to check the lines without writing.
    pub(crate) dry_run: bool,
}

/// A command about the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum KeysCommand {
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
pub(crate) enum KeysFormat {
    /// A line each, for people.
    #[default]
    Text,
    /// As one JSON object, for programs.
    Json,
}

impl Command {
    /// Whether the command prints for other programs, so that no other text may be mixed in.
    pub(crate) fn prints(&self) -> bool {
        matches!(
            self,
            Self::Keys(_)
                | Self::Export { .. }
                | Self::Erase { .. }
                | Self::Delete { .. }
                | Self::Webhooks(_)
        )
    }

    /// `database_set` is the database of the settings, if they name one.
    pub(super) fn read(
        flags: CommandFlags,
        database_set: Option<&Database>,
    ) -> Result<Self, ConfigError> {
        let refused = |line: &str| ConfigError::Refused(line.to_owned());
        Ok(match flags {
            CommandFlags::Health => Self::Health,
            CommandFlags::Webhooks(WebhooksFlags::Check) => Self::Webhooks(WebhooksCommand::Check),
            CommandFlags::Webhooks(WebhooksFlags::Try { rule }) => {
                Self::Webhooks(WebhooksCommand::Try(rule))
            }
            CommandFlags::Keys(flags) => Self::Keys(flags.read()?),
            CommandFlags::Erase(flags) => flags.read()?,
            CommandFlags::Delete(flags) => Self::Delete { dry_run: flags.dry_run },
            CommandFlags::Export(flags) => flags.report.read(flags.table)?,
            CommandFlags::Query { json, flags } => flags.with_q(json).read(Table::Query)?,
            CommandFlags::Videos(flags) => flags.read(Table::Videos)?,
            CommandFlags::Copy { from, to } => {
                let to = to.map(|to| named("TO", &to)).transpose()?;
                let to = to.or_else(|| database_set.cloned());
                let to =
                    to.ok_or_else(|| refused("TO is missing: name it, or set DATABASE_URL"))?;
                Self::Copy { from: named("FROM", &from)?, to }
            }
            CommandFlags::Blocks(flags) => {
                Self::CheckBlocks { repair: matches!(flags, BlocksFlags::Rebuild) }
            }
            CommandFlags::Import(ImportFlags::Sessions { file, key, dry_run }) => {
                let file = Some(file).filter(|file| file.as_os_str() != "-");
                let key = key.as_deref().map(|key| read_key("--key", key)).transpose()?;
                Self::ImportSessions(SessionsImport { file, key, dry_run })
            }
            CommandFlags::Import(ImportFlags::Mave { url }) => {
                match named("the database to import", &url)? {
                    Database::Sqlite(_) => {
                        let line = "the database to import must be postgres://USER@HOST/DATABASE";
                        return Err(refused(line));
                    }
                    Database::Postgres(url) => Self::ImportMave(url),
                }
            }
        })
    }
}

/// The words of a command.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CommandFlags {
    /// Copy a database to another, and compare the two; can be repeated
    Copy {
        /// The database to read, as in --database-url
        from: String,
        /// The database to write [default: that of --database-url or its variable, which hides
        /// a password]
        to: Option<String>,
    },
    /// Import sessions of another server or system into the database; can be repeated
    #[command(subcommand)]
    Import(ImportFlags),
    /// Verify or rebuild the blocks and totals that reports read; servers may run meanwhile
    #[command(subcommand)]
    Blocks(BlocksFlags),
    /// List, create, change, revoke and restore API keys; running servers follow in a second
    #[command(subcommand)]
    Keys(KeysFlags),
    /// Erase sessions, and videos and pages without others; each flag narrows the selection
    Erase(Box<EraseFlags>),
    /// Delete all sessions older than --retention now, by the clock alone
    Delete(SureFlags),
    /// Export a report or all sessions as CSV or NDJSON; servers may run meanwhile
    Export(Box<ExportFlags>),
    /// Print any metrics by any dimensions: `export query`, with the query as first argument
    Query {
        /// The query, like `{"metrics": ["plays"], "dimensions": ["video"]}` [default: plays and view
        /// time of the last 30 days]
        #[arg(value_name = "JSON", conflicts_with = "q")]
        json: Option<String>,
        #[command(flatten)]
        flags: Box<ReportFlags>,
    },
    /// List the videos with plays, view time and average percentage viewed: `export videos`
    Videos(Box<ReportFlags>),
    /// Check whether the local server is ready to record, for container health checks
    Health,
    /// Check the rules in `METRICS_WEBHOOKS`, or send a test delivery
    #[command(subcommand)]
    Webhooks(WebhooksFlags),
}

/// The confirmation: one of the two flags is required.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SureFlags {
    /// Only count the sessions
    #[arg(long)]
    dry_run: bool,

    /// Delete the sessions permanently
    #[arg(long)]
    yes: bool,
}

/// The database at a URL, which may hold a password that no message repeats.
fn named(name: &str, url: &str) -> Result<Database, ConfigError> {
    let accepted = DATABASE.about.accepted;
    read_database(url).map_err(|_| ConfigError::Refused(format!("{name} must be {accepted}")))
}

fn read_key(name: &str, key: &str) -> Result<ApiKey, ConfigError> {
    // The value may be a mistyped secret, and the message ends up in a log.
    ApiKey::new(key).map_err(|err| ConfigError::Refused(format!("{name} is not an API key: {err}")))
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum WebhooksFlags {
    /// Check the file of rules, and print a line per rule
    Check,
    /// Send a delivery that is marked as a test, and print the answer
    Try {
        /// The name of the rule
        rule: String,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum BlocksFlags {
    /// Decode all blocks, and list the days whose totals differ from their sessions; changes
    /// nothing
    Verify,
    /// Decode all blocks, and repair wrong totals of days
    Rebuild,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImportFlags {
    /// Import the PostgreSQL database of a mave/metrics server; stop that server first
    Mave {
        /// The URL of the database, `postgres://USER@HOST/DATABASE`
        url: String,
    },
    /// Import NDJSON with a session per line, as `export sessions --format ndjson` writes. A line requires
    /// `key`, `identifier` or `metadata`, `started_at`, and `segments` or `view_time`
    Sessions {
        /// The file, or `-` for the standard input
        file: PathBuf,

        /// The key of lines without one
        #[arg(long)]
        key: Option<String>,

        /// Check all lines, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
}

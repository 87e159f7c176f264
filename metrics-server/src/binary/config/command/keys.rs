//! The command line of `keys`.

use metrics_core::key::{InvalidKeySettings, KeySettings, SettingsChange};
use serde_json::{Map, Value};

use super::{ConfigError, KeysCommand, KeysFormat, read_key};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysFlags {
    /// List all keys, the oldest first
    List {
        /// A line per key, or one JSON object
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: KeysFormat,
    },
    /// Create a key, or add the given one, and print it
    Create {
        /// The key to add, 1 to 128 visible ASCII characters [default: 16 random bytes, as base64]
        key: Option<String>,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Change settings of a key; all others stay
    Change {
        /// The key
        key: String,
        #[command(flatten)]
        settings: SettingsFlags,
    },
    /// Revoke a key; its sessions stay
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
pub(crate) struct SettingsFlags {
    /// A display name of the key
    #[arg(long)]
    name: Option<String>,

    /// A host whose pages may use the key, like example.com or *.example.com, or `none` for clients
    /// without a page; can be repeated [default: all]
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,

    /// A pattern that is stored instead of the paths that match it, like /reset/* or /u/*/watch; can
    /// be repeated
    #[arg(long, value_name = "PATH")]
    page_pattern: Vec<String>,

    /// A limit of the key, like `new_videos=1000/day`, or `videos=5000`, with the names in
    /// `METRICS_LIMITS`; can be repeated. Other limits stay; `videos=` removes one, an empty value all
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
    pub(super) fn read(self) -> Result<KeysCommand, ConfigError> {
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

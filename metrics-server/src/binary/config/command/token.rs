//! The command line of `token`.

use metrics_core::ApiKey;
use serde_json::{Map, Value};

use super::ConfigError;
use super::read_key;
use crate::api::params::structured;
use crate::error::Error;

/// What `token` prints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenCommand {
    /// A token with these members, as a request has them.
    Create(Map<String, Value>),
    /// The secret of a key.
    SecretOf(ApiKey),
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenFlags {
    /// Print the secret with which the owner of this key signs tokens of it, instead of a token
    #[arg(long, value_name = "KEY", conflicts_with_all = ["key", "scope", "expires_in", "identifier", "query", "filters", "metrics"])]
    secret_of: Option<String>,

    /// Sessions of this key; can be repeated [default: all keys]
    #[arg(long)]
    key: Vec<String>,

    /// What the token permits: read, live or write; can be repeated [default: read and live]
    #[arg(long)]
    scope: Vec<String>,

    /// How long the token is valid, like "30 days", the default; at most 400 days
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<String>,

    /// Sessions of videos with this identifier; can be repeated
    #[arg(long)]
    identifier: Vec<String>,

    /// Sessions of this selection, like `{"video": {"course": 7}}`
    #[arg(long, value_name = "JSON")]
    query: Option<String>,

    /// Sessions for which these filters hold, like `["is", "page_host", ["a.example"]]`
    #[arg(long, value_name = "JSON")]
    filters: Option<String>,

    /// A metric that may be read; can be repeated [default: all]
    #[arg(long)]
    metrics: Vec<String>,
}

impl TokenFlags {
    pub(super) fn read(self) -> Result<TokenCommand, ConfigError> {
        if let Some(key) = self.secret_of {
            return Ok(TokenCommand::SecretOf(read_key("--secret-of", &key)?));
        }
        let members = self.members().map_err(|err| ConfigError::Refused(err.to_string()))?;
        Ok(TokenCommand::Create(members))
    }

    /// What a request would have.
    fn members(self) -> Result<Map<String, Value>, Error> {
        let mut members = Map::new();
        let lists = [
            ("key", self.key),
            ("scope", self.scope),
            ("identifier", self.identifier),
            ("metrics", self.metrics),
        ];
        let set = lists.into_iter().filter(|(_, texts)| !texts.is_empty());
        members.extend(set.map(|(name, texts)| (name.to_owned(), texts.into())));
        for (name, json) in [("query", self.query), ("filters", self.filters)] {
            let json = json.map(|json| structured(name, &json)).transpose()?;
            members.extend(json.map(|json| (name.to_owned(), json)));
        }
        members.extend(self.expires_in.map(|span| ("expires_in".to_owned(), span.into())));
        Ok(members)
    }
}

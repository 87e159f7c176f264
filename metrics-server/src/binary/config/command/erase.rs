//! The command line of `erase`.

use chrono::Utc;
use serde_json::{Map, Value};

use super::{Command, ConfigError, SureFlags};
use crate::access::Grant;
use crate::api::erase::EraseSelection;
use crate::api::params::{Params, structured};
use crate::error::Error;

#[derive(Debug, clap::Args)]
pub(crate) struct EraseFlags {
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

    /// The session with this id of its client; requires --key
    #[arg(long, value_name = "ID", requires = "key")]
    session_id: Option<String>,

    /// Sessions that started in this timeframe: a date, "7 days", an RFC 3339 time as the start, or
    /// `{"from": ..., "to": ...}` [default: all]
    #[arg(long)]
    timeframe: Option<String>,

    #[command(flatten)]
    sure: SureFlags,
}

impl EraseFlags {
    pub(super) fn read(self) -> Result<Command, ConfigError> {
        let dry_run = self.sure.dry_run;
        let read = self.parameters().and_then(|params| EraseSelection::read(&params, Utc::now()));
        match read {
            Ok(selected) => Ok(Command::Erase { selected: Box::new(selected), dry_run }),
            Err(Error::Parameter { name: "query", .. }) => {
                let line = "one of --key, --identifier, --video, --page, --session-data, --session-id and \
                            --timeframe is required, --key must be an API key, and JSON an object of at most 16 KiB";
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
        Ok(Params::of(values, Grant::all()))
    }
}

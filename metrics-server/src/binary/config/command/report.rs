//! The command line of `export`, `query` and `videos`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{Command, ConfigError};
use crate::access::Grant;
use crate::api::params::{Params, query_json, structured};
use crate::error::Error;
use crate::export::Export;
use crate::table::{Format, Table};

#[derive(Debug, clap::Args)]
pub(crate) struct ExportFlags {
    /// A report, or all sessions
    pub(super) table: Table,

    #[command(flatten)]
    pub(super) report: ReportFlags,
}

/// The parameters of reports, by their names.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportFlags {
    /// CSV, with an apostrophe before texts that begin like a formula; or a JSON object per line
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: Format,

    /// The file to write; it appears when it is complete [default: the standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Only videos with this identifier; can be repeated. A report requires an identifier, a
    /// key or a query
    #[arg(long)]
    identifier: Vec<String>,

    /// Only videos of this API key
    #[arg(long)]
    key: Option<String>,

    /// Only sessions whose metadata contains this, like `{"video": {"course": 7}, "session": {"plan":
    /// "free"}}`
    #[arg(long, value_name = "JSON")]
    query: Option<String>,

    /// Only sessions that started in this timeframe: "7 days", a start as Unix seconds or RFC 3339 time,
    /// or `{"from": ..., "to": ...}` [default: 7 days; all sessions, if those are exported]
    #[arg(long)]
    timeframe: Option<String>,

    /// The width of time buckets, like "1 day"; engagement then has every second of each bucket
    /// [default: 12 months]
    #[arg(long)]
    interval: Option<String>,

    /// Only sessions with at least this view time [default: 1; 0 for engagement and sessions]
    #[arg(long, value_name = "SECONDS")]
    minimum_watch_seconds: Option<String>,

    /// The number of equal parts of engagement [default: 10]
    #[arg(long, value_name = "NUMBER")]
    ranges: Option<String>,

    /// The time zone of days and months, like Europe/Amsterdam [default: UTC]
    #[arg(long, value_name = "NAME")]
    timezone: Option<String>,

    /// The members of a query, like `{"metrics": ["plays"], "limit": 10}`, for `query` and `videos`;
    /// the flags above add to them
    #[arg(long, value_name = "JSON")]
    q: Option<String>,

    /// Only videos with this text in their identifier or title, for `videos`
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Only sessions that match this filter, like `["is", "device", ["mobile"]]`
    #[arg(long, value_name = "JSON")]
    filters: Option<String>,
}

impl ReportFlags {
    /// Replaces the query, if there is another one.
    pub(super) fn with_q(self, q: Option<String>) -> Self {
        Self { q: q.or(self.q), ..self }
    }

    pub(super) fn read(self, table: Table) -> Result<Command, ConfigError> {
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

    /// The parameters that a request would have.
    fn parameters(self) -> Result<Params, Error> {
        let mut values = self.q.as_deref().map(query_json).transpose()?.unwrap_or_default();
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
            // A query that is no object is refused with its actual value.
            let members = query.get_or_insert_with(|| Map::new().into()).as_object_mut();
            members.and_then(|members| members.insert("key".to_owned(), key.into()));
        }
        values.extend(query.map(|query| ("query".to_owned(), query)));
        Ok(Params::of(values, Grant::all()))
    }
}

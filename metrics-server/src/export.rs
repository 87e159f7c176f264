//! Reports and sessions as files, for spreadsheets and data warehouses: CSV, NDJSON with an object a line, or Parquet.
//!
//! Reports are as large as their answers. Sessions may be millions, so they are read and written a page at a time.

pub(crate) mod respond;
mod sessions;

use bytes::Bytes;
#[cfg(feature = "binary")]
use chrono::{DateTime, Utc};
use metrics_core::budget::Account;
use metrics_core::query;
use metrics_core::store::{self, Store};
use metrics_core::time_bucket::Buckets;
use metrics_core::{BucketQuery, EngagementQuery, ReportError, Reports, VideosQuery};

use self::sessions::Sessions;
use crate::access::EVERYTHING;
use crate::answer::Text;
use crate::api::params::{Engagement, OLDER, Params};
use crate::api::{engagement, plays, query as api_query, sources, videos};
use crate::error::Error;
use crate::table::{self, Format, Table};

/// The parameters of an export of sessions.
const SESSIONS: [&str; 7] =
    ["identifier", "query", "filters", "timeframe", "timezone", "minimum_watch_seconds", "format"];

/// A table to export, its format and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Export {
    pub(crate) table: Table,
    pub(crate) format: Format,
    query: Query,
    // Whether the file must have all rows.
    is_complete: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Query {
    Plays(BucketQuery),
    // With limit and offset.
    Sources(BucketQuery, (u32, u64)),
    Ranges(EngagementQuery, u32),
    PerSecond(EngagementQuery, Buckets),
    Any(Box<query::Query>),
    // With whether durations and times of plays are shown.
    Videos(Box<VideosQuery>, bool),
    Sessions(EngagementQuery),
}

impl Export {
    /// Reads the parameters of an export.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if a parameter of the table cannot be read.
    pub(crate) fn read(table: Table, format: Format, params: &Params) -> Result<Self, Error> {
        if format == Format::Parquet && !table::HAS_PARQUET {
            let expected =
                "must be csv or ndjson: this program was built without the feature `parquet`";
            return Err(Error::parameter("format", expected));
        }
        match table {
            Table::Plays | Table::Engagement => {
                params.check_names(&[&OLDER[..], &["format"]].concat())?;
            }
            Table::Sources => {
                params.check_names(&[&OLDER[..], &sources::PAGE, &["format"]].concat())?;
            }
            Table::Sessions => params.check_names(&SESSIONS)?,
            // Their names are checked by their own readers.
            Table::Query | Table::Videos => {}
        }
        // A file has all rows unless the request limits them.
        let all = |query: query::Query| query.page(query::LIMIT_MAX, 0);
        let query = match table {
            Table::Plays => Query::Plays(params.bucket_query(&plays::SHOWS)?),
            Table::Sources => Query::Sources(
                params.bucket_query(&sources::SHOWS)?,
                params.page_of(u32::MAX, u32::MAX)?,
            ),
            Table::Engagement => match params.engagement()? {
                Engagement::Ranges(ranges) => Query::Ranges(params.engagement_query()?, ranges),
                Engagement::PerSecond(buckets) => {
                    Query::PerSecond(params.engagement_query()?, buckets)
                }
            },
            Table::Query => Query::Any(Box::new(params.query(all(query::Query::default()))?)),
            Table::Videos => {
                let videos = VideosQuery::from(all(VideosQuery::default().query));
                Query::Videos(Box::new(params.videos_query(videos)?), params.shows_times())
            }
            Table::Sessions => Query::Sessions(params.sessions_query(&[EVERYTHING])?),
        };
        Ok(Self { table, format, query, is_complete: params.get("limit").is_none() })
    }

    /// Answers the report to be exported. It is empty for sessions.
    pub(crate) async fn text(&self, reports: Reports<'_>) -> Result<Text, ReportError> {
        let (format, is_complete) = (self.format, self.is_complete);
        Ok(match &self.query {
            Query::Plays(query) => format.write(plays::buckets(reports, query).await?)?,
            Query::Sources(query, page) => {
                let (_, bytes, rows) = sources::pages(reports, query, *page).await?;
                format.write((bytes, rows))?
            }
            Query::Ranges(query, ranges) => {
                format.write(engagement::ranges(reports, query, *ranges).await?)?
            }
            Query::PerSecond(query, buckets) => {
                format.write(engagement::seconds(reports, query, *buckets).await?)?
            }
            Query::Any(query) => api_query::table(reports, query, format, is_complete).await?,
            Query::Videos(query, has_times) => {
                videos::table(reports, query, format, is_complete, *has_times).await?
            }
            Query::Sessions(_) => Text::new(0, |_| Ok(false)),
        })
    }

    /// Begins to export from `store`, with `now` as the current time. The rows of a report are complete on return.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if there is no such report, or the store failed.
    #[cfg(feature = "binary")]
    pub(crate) async fn begin(
        &self,
        store: &dyn Store,
        now: DateTime<Utc>,
    ) -> Result<Exporting, ReportError> {
        let account = Account::default();
        self.begin_within(Reports::new(store, now), account).await
    }

    /// The same, of certain reports. Accounts bytes of sessions in `account` until they are taken.
    pub(crate) async fn begin_within(
        &self,
        reports: Reports<'_>,
        account: Account,
    ) -> Result<Exporting, ReportError> {
        let rest = match &self.query {
            Query::Sessions(query) => {
                let sessions = Sessions::new(reports.sessions(query), self.format, account)?;
                Rest::Sessions(Box::new(sessions))
            }
            _ => Rest::Report(Some(self.text(reports).await?)),
        };
        Ok(Exporting { rest })
    }
}

/// An export in progress.
#[derive(Debug)]
pub(crate) struct Exporting {
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Report(Option<Text>),
    Sessions(Box<Sessions>),
}

impl Exporting {
    /// The next piece of the file, or `None` after the last.
    ///
    /// Not cancel safe: if it is dropped, the next call fails.
    ///
    /// # Errors
    ///
    /// [`store::Error`] if the store failed: the file is incomplete then.
    pub(crate) async fn next(&mut self, store: &dyn Store) -> Result<Option<Bytes>, store::Error> {
        match &mut self.rest {
            Rest::Sessions(sessions) => sessions.next(store).await,
            // The first piece of a table may be empty, and so may some of Parquet.
            Rest::Report(text) => loop {
                match Text::next(text).await? {
                    Some(piece) if piece.is_empty() => {}
                    piece => return Ok(piece),
                }
            },
        }
    }

    /// The number of sessions that were read, if sessions are exported.
    #[cfg(feature = "binary")]
    pub(crate) fn sessions_read(&self) -> Option<u64> {
        match &self.rest {
            Rest::Sessions(sessions) => Some(sessions.read()),
            _ => None,
        }
    }
}

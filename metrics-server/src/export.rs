//! Reports and sessions as files, for spreadsheets and data warehouses: CSV, NDJSON with an object a line, or Parquet.
//!
//! Reports are as large as their answers. Sessions may be millions, so they are read and written a page at a time.

mod csv;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "export/without_parquet.rs"]
mod parquet;
pub(crate) mod row;
mod sessions;
mod writer;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use metrics_core::query;
use metrics_core::store::{self, Store};
use metrics_core::time_bucket::Buckets;
use metrics_core::{BucketQuery, EngagementQuery, ReportError, Reports, VideosQuery};
use serde::Serialize;

use self::row::{Line, Row};
use self::sessions::Sessions;
use self::writer::Writer;
use crate::api::params::{Engagement, Params};
use crate::api::{engagement, plays, query as api_query, sources, videos};
use crate::error::Error;

/// What can be exported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "binary", derive(clap::ValueEnum))]
#[non_exhaustive]
pub enum Table {
    /// Plays per time bucket.
    Plays,
    /// Which parts of the videos are watched.
    Engagement,
    /// Plays per time bucket and page.
    Sources,
    /// Any metrics by any dimensions.
    Query,
    /// The videos with their metrics.
    Videos,
    /// Every session, as far as it is stored, without its id.
    Sessions,
}

impl Table {
    pub(crate) const ALL: [Self; 6] =
        [Self::Plays, Self::Engagement, Self::Sources, Self::Query, Self::Videos, Self::Sessions];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plays => "plays",
            Self::Engagement => "engagement",
            Self::Sources => "sources",
            Self::Query => "query",
            Self::Videos => "videos",
            Self::Sessions => "sessions",
        }
    }
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "binary", derive(clap::ValueEnum))]
#[non_exhaustive]
pub enum Format {
    /// CSV as RFC 4180 has it, with a line of names first.
    #[default]
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Apache Parquet, in programs that were built with the feature `parquet`.
    Parquet,
}

impl Format {
    /// The end of a file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Writes all rows of a table.
    fn write_all<R: Row>(self, rows: &[R]) -> Result<Bytes, store::Error> {
        self.write_rows(R::columns, rows.iter(), |row, line| row.cells(line))
    }

    /// Writes all rows of a table: `columns` names the columns, `cells` writes the values of each row.
    pub(crate) fn write_rows<R: Serialize>(
        self,
        columns: impl FnOnce(&mut Line<'_>),
        rows: impl Iterator<Item = R>,
        cells: impl Fn(&R, &mut Line<'_>),
    ) -> Result<Bytes, store::Error> {
        let mut writer = Writer::new(self, columns)?;
        for row in rows {
            writer.write(&row, |line| cells(&row, line))?;
        }
        writer.finish()?;
        Ok(writer.take().into())
    }
}

/// What is to be exported, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    pub(crate) table: Table,
    pub(crate) format: Format,
    query: Query,
    // Whether the file must have all rows.
    is_whole: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Query {
    Plays(BucketQuery),
    Sources(BucketQuery),
    Ranges(EngagementQuery, u32),
    PerSecond(EngagementQuery, Buckets),
    Any(Box<query::Query>),
    Videos(Box<VideosQuery>),
    Sessions(EngagementQuery),
}

impl Export {
    /// An export of a table.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if a parameter of the table cannot be read.
    pub(crate) fn read(table: Table, format: Format, params: &Params) -> Result<Self, Error> {
        if format == Format::Parquet && !parquet::IS_THERE {
            let expected =
                "must be csv or ndjson: this program was built without the feature `parquet`";
            return Err(Error::parameter("format", expected));
        }
        // A file has all rows unless the request limits them.
        let all = |query: query::Query| query.page(query::LIMIT_MAX, 0);
        let query = match table {
            Table::Plays => Query::Plays(params.bucket_query()?),
            Table::Sources => Query::Sources(params.bucket_query()?),
            Table::Engagement => match params.engagement()? {
                Engagement::Ranges(ranges) => Query::Ranges(params.engagement_query()?, ranges),
                Engagement::PerSecond(buckets) => {
                    Query::PerSecond(params.engagement_query()?, buckets)
                }
            },
            Table::Query => Query::Any(Box::new(params.query(all(query::Query::default()))?)),
            Table::Videos => {
                let videos = VideosQuery::from(all(VideosQuery::default().query));
                Query::Videos(Box::new(params.videos_query(videos)?))
            }
            Table::Sessions => Query::Sessions(params.sessions_query()?),
        };
        Ok(Self { table, format, query, is_whole: params.get("limit").is_none() })
    }

    /// Begins to export what is in `store`; it is `now`. A report is there as a whole then.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if there is no such report, or the store could not.
    pub async fn begin(
        &self,
        store: &dyn Store,
        now: DateTime<Utc>,
    ) -> Result<Exporting, ReportError> {
        let (reports, format) = (Reports::new(store, now), self.format);
        let rest = Rest::Whole(match &self.query {
            Query::Plays(query) => format.write_all(&plays::buckets(reports, query).await?)?,
            Query::Sources(query) => format.write_all(&sources::pages(reports, query).await?)?,
            Query::Ranges(query, ranges) => {
                format.write_all(&engagement::ranges(reports, query, *ranges).await?)?
            }
            Query::PerSecond(query, buckets) => {
                format.write_all(&engagement::seconds(reports, query, *buckets).await?)?
            }
            Query::Any(query) => api_query::table(reports, query, format, self.is_whole).await?,
            Query::Videos(query) => videos::table(reports, query, format, self.is_whole).await?,
            Query::Sessions(query) => {
                let sessions = Sessions::new(reports.sessions(query), format)?;
                return Ok(Exporting { rest: Rest::Sessions(Box::new(sessions)) });
            }
        });
        Ok(Exporting { rest })
    }
}

/// An export that is under way.
#[derive(Debug)]
pub struct Exporting {
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Whole(Bytes),
    Sessions(Box<Sessions>),
    Nothing,
}

impl Exporting {
    /// The next piece of the file, or `None` after the last.
    ///
    /// # Errors
    ///
    /// [`store::Error`] if the store could not: what there is by then is not all.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<Bytes>, store::Error> {
        match &mut self.rest {
            Rest::Nothing => Ok(None),
            Rest::Sessions(sessions) => sessions.next(store).await,
            Rest::Whole(whole) => {
                let whole = std::mem::take(whole);
                self.rest = Rest::Nothing;
                Ok(Some(whole))
            }
        }
    }

    /// How many sessions were looked at, if it is sessions that are exported.
    #[must_use]
    pub fn sessions_read(&self) -> Option<u64> {
        match &self.rest {
            Rest::Sessions(sessions) => Some(sessions.read()),
            _ => None,
        }
    }
}

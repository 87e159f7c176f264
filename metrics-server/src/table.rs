//! Tables, and the files that they are written as: CSV, NDJSON with an object a line, or Parquet.

mod csv;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "table/without_parquet.rs"]
mod parquet;
pub(crate) mod row;
mod writer;

use metrics_core::store;
use serde::Serialize;

pub(crate) use self::parquet::IS_THERE as HAS_PARQUET;
use self::row::{Line, Row};
pub(crate) use self::writer::Writer;
use crate::answer::Text;

/// How many rows are written at a time.
const ROWS: usize = 64;

/// What can be exported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "binary", derive(clap::ValueEnum))]
pub(crate) enum Table {
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
pub(crate) enum Format {
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

    /// Writes rows that hold about `bytes`.
    pub(crate) fn write<R: Row + 'static>(
        self,
        (bytes, rows): (usize, impl Iterator<Item = R> + Send + 'static),
    ) -> Result<Text, store::Error> {
        self.write_rows(bytes, R::columns, rows, R::cells)
    }

    /// Writes rows that hold about `bytes`: `columns` names the columns, `cells` writes the values of each row.
    pub(crate) fn write_rows<R: Serialize>(
        self,
        bytes: usize,
        columns: impl FnOnce(&mut Line<'_>),
        mut rows: impl Iterator<Item = R> + Send + 'static,
        cells: impl Fn(&R, &mut Line<'_>) + Send + 'static,
    ) -> Result<Text, store::Error> {
        let mut writer = Writer::new(self, columns)?;
        Ok(Text::new(bytes, move |out| {
            let mut is_over = false;
            for _ in 0..ROWS {
                let Some(row) = rows.next() else {
                    writer.finish()?;
                    is_over = true;
                    break;
                };
                writer.write(&row, |line| cells(&row, line))?;
            }
            out.append(&mut writer.take());
            Ok(!is_over)
        }))
    }
}

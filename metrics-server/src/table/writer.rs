//! Writes rows in any format into a buffer that the caller empties from time to time.

use metrics_core::store;
use serde::Serialize;

use super::Format;
use super::csv;
use super::parquet::Parquet;
use super::row::Line;

/// A file that is being written.
#[derive(Debug)]
pub(crate) enum Writer {
    Csv(Vec<u8>),
    Ndjson(Vec<u8>),
    Parquet(Box<Parquet>),
}

impl Writer {
    /// Begins a file with the columns that `columns` names.
    pub(crate) fn new(
        format: Format,
        columns: impl FnOnce(&mut Line<'_>),
    ) -> Result<Self, store::Error> {
        Ok(match format {
            Format::Csv => {
                let mut out = Vec::new();
                csv::line(&mut out, columns);
                Self::Csv(out)
            }
            Format::Ndjson => Self::Ndjson(Vec::new()),
            Format::Parquet => Self::Parquet(Box::new(Parquet::new(columns)?)),
        })
    }

    /// Appends a row with the values that `cells` writes.
    pub(crate) fn write(
        &mut self,
        row: &impl Serialize,
        cells: impl FnOnce(&mut Line<'_>),
    ) -> Result<(), store::Error> {
        match self {
            Self::Csv(out) => csv::line(out, cells),
            Self::Ndjson(out) => {
                // Encoding into memory cannot fail: all keys of maps in rows are texts.
                if serde_json::to_writer(&mut *out, row).is_ok() {
                    out.push(b'\n');
                }
            }
            Self::Parquet(parquet) => parquet.write(cells)?,
        }
        Ok(())
    }

    /// Ends the file. A second call does nothing.
    pub(crate) fn finish(&mut self) -> Result<(), store::Error> {
        match self {
            Self::Csv(_) | Self::Ndjson(_) => Ok(()),
            Self::Parquet(parquet) => parquet.finish(),
        }
    }

    /// Returns the number of bytes in the buffer.
    pub(crate) fn len(&mut self) -> usize {
        self.out().len()
    }

    /// Returns the approximate number of bytes held: by the buffer, and by the rows that are not in the buffer yet.
    pub(crate) fn held(&mut self) -> usize {
        let waiting = match self {
            Self::Csv(_) | Self::Ndjson(_) => 0,
            Self::Parquet(parquet) => parquet.waiting(),
        };
        self.out().capacity() + waiting
    }

    /// Takes the bytes in the buffer.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.out())
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Csv(out) | Self::Ndjson(out) => out,
            Self::Parquet(parquet) => parquet.out(),
        }
    }
}

//! Apache Parquet: columns, compressed, in groups of rows.
//!
//! Times are instants in milliseconds, texts are UTF-8, and every column may hold nulls. Metadata and session data are
//! JSON as text, segments a text as in CSV.

use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

use chrono::DateTime;
use metrics_core::store;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::row::{Kind, Line, Sink};

/// Whether this program can write Parquet files.
pub(crate) const IS_THERE: bool = true;

/// The largest number of rows of a group: readers skip and read groups as a whole.
const GROUP_ROWS: usize = 65_536;

/// The approximate size of the values in memory before a group is written, in bytes.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// A file that is being written.
pub(crate) struct Parquet {
    writer: SerializedFileWriter<Vec<u8>>,
    // The values of the rows that are not written yet.
    columns: Vec<Column>,
    // The next column of the row that is being written.
    next: usize,
    rows: usize,
    bytes: usize,
    is_finished: bool,
}

/// The values of a column, and for each row whether it has one.
struct Column {
    kind: Kind,
    values: Values,
    levels: Vec<i16>,
}

enum Values {
    Texts(Vec<ByteArray>),
    Integers(Vec<i64>),
    Doubles(Vec<f64>),
}

impl Parquet {
    pub(super) fn new(columns: impl FnOnce(&mut Line<'_>)) -> Result<Self, store::Error> {
        let mut named = Named(Vec::new());
        columns(&mut Line::new(&mut named));
        let schema = schema(&named.0).map_err(|err| failed(&err))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties));
        Ok(Self {
            writer: writer.map_err(|err| failed(&err))?,
            columns: named.0.iter().map(|(kind, _)| Column::new(*kind)).collect(),
            next: 0,
            rows: 0,
            bytes: 0,
            is_finished: false,
        })
    }

    pub(super) fn write(&mut self, cells: impl FnOnce(&mut Line<'_>)) -> Result<(), store::Error> {
        self.next = 0;
        cells(&mut Line::new(self));
        self.rows += 1;
        if self.rows < GROUP_ROWS && self.bytes < GROUP_BYTES {
            return Ok(());
        }
        self.write_group().map_err(|err| failed(&err))
    }

    /// Writes the last group and the index at the end, once.
    pub(super) fn finish(&mut self) -> Result<(), store::Error> {
        if self.is_finished {
            return Ok(());
        }
        self.is_finished = true;
        if 0 < self.rows {
            self.write_group().map_err(|err| failed(&err))?;
        }
        self.writer.finish().map_err(|err| failed(&err))?;
        Ok(())
    }

    /// Returns the approximate number of bytes of the rows that are not in the buffer.
    pub(super) fn waiting(&self) -> usize {
        self.bytes
    }

    /// Returns the buffer of bytes that have not been taken yet.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        self.writer.inner_mut()
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        (self.rows, self.bytes) = (0, 0);
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let Some(mut writer) = group.next_column()? else { break };
            let levels = Some(&column.levels[..]);
            match (&mut column.values, writer.untyped()) {
                (Values::Texts(values), ColumnWriter::ByteArrayColumnWriter(writer)) => {
                    writer.write_batch(values, levels, None)?;
                    values.clear();
                }
                (Values::Integers(values), ColumnWriter::Int64ColumnWriter(writer)) => {
                    writer.write_batch(values, levels, None)?;
                    values.clear();
                }
                (Values::Doubles(values), ColumnWriter::DoubleColumnWriter(writer)) => {
                    writer.write_batch(values, levels, None)?;
                    values.clear();
                }
                _ => return Err(ParquetError::General("a column has another type".to_owned())),
            }
            column.levels.clear();
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Appends an optional value to the next column.
    fn append(&mut self, bytes: usize, append: impl FnOnce(&mut Column) -> Option<()>) {
        let Some(column) = self.columns.get_mut(self.next) else { return };
        let is_there = append(column).is_some();
        column.levels.push(is_there.into());
        self.next += 1;
        self.bytes += size_of::<i16>() + if is_there { bytes } else { 0 };
    }
}

impl Sink for Parquet {
    fn column(&mut self, _: Kind, _: &str) {}

    fn text(&mut self, text: &str) {
        self.append(size_of::<ByteArray>() + text.len(), |column| {
            match (&mut column.values, column.kind) {
                (Values::Texts(values), _) => values.push(text.into()),
                (Values::Integers(values), Kind::Time) => values.push(time_ms(text)?),
                _ => return None,
            }
            Some(())
        });
    }

    fn integer(&mut self, number: u64) {
        self.append(size_of::<i64>(), |column| {
            match &mut column.values {
                Values::Texts(values) => values.push(number.to_string().as_str().into()),
                Values::Integers(values) => values.push(i64::try_from(number).unwrap_or(i64::MAX)),
                Values::Doubles(values) => values.push(number as f64),
            }
            Some(())
        });
    }

    fn double(&mut self, number: f64) {
        self.append(size_of::<f64>(), |column| {
            match &mut column.values {
                Values::Texts(values) => values.push(number.to_string().as_str().into()),
                Values::Integers(_) => return None,
                Values::Doubles(values) => values.push(number),
            }
            Some(())
        });
    }

    fn nothing(&mut self) {
        self.append(0, |_| None);
    }
}

impl fmt::Debug for Parquet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parquet").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Column {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Text => Values::Texts(Vec::new()),
            Kind::Integer | Kind::Time => Values::Integers(Vec::new()),
            Kind::Double => Values::Doubles(Vec::new()),
        };
        Self { kind, values, levels: Vec::new() }
    }
}

/// Columns by kind and name.
struct Named(Vec<(Kind, String)>);

impl Sink for Named {
    fn column(&mut self, kind: Kind, name: &str) {
        self.0.push((kind, name.to_owned()));
    }

    fn text(&mut self, _: &str) {}

    fn integer(&mut self, _: u64) {}

    fn double(&mut self, _: f64) {}

    fn nothing(&mut self) {}
}

fn schema(columns: &[(Kind, String)]) -> Result<Arc<Type>, ParquetError> {
    let column = |(kind, name): &(Kind, String)| {
        let (physical, logical) = match kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Integer => (Physical::INT64, None),
            Kind::Double => (Physical::DOUBLE, None),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        };
        let column = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        column.build().map(Arc::new)
    };
    let fields = columns.iter().map(column).collect::<Result<_, _>>()?;
    Type::group_type_builder("schema").with_fields(fields).build().map(Arc::new)
}

/// Parses a time by RFC 3339; a time without an offset is in UTC.
fn time_ms(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text);
    let time = time.or_else(|_| DateTime::parse_from_rfc3339(&format!("{text}Z")));
    time.ok().map(|time| time.timestamp_millis())
}

/// Converts an error. Writing into memory fails only at the limits of the format.
fn failed(err: &ParquetError) -> store::Error {
    store::Error::Unusable { store: "Parquet", reason: err.to_string() }
}

//! Rows of tables, independent of the file format.

use serde::Serialize;

/// The kind of a column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Texts.
    Text,
    /// Whole numbers from 0 on.
    Integer,
    /// Numbers.
    Double,
    /// Times by RFC 3339; a time without an offset is in UTC.
    Time,
}

/// A type that is written as a row of a table.
pub(crate) trait Row: Serialize {
    /// Names the columns.
    fn columns(line: &mut Line<'_>);

    /// Writes the values of the columns, in the same order.
    fn cells(&self, line: &mut Line<'_>);
}

/// A format that receives columns and cells one by one.
pub(crate) trait Sink {
    /// Writes the name of the next column.
    fn column(&mut self, kind: Kind, name: &str);

    /// Writes a text, which may be untrusted.
    fn text(&mut self, text: &str);

    /// Writes a whole number.
    fn integer(&mut self, number: u64);

    /// Writes a number.
    fn double(&mut self, number: f64);

    /// Writes a cell without a value.
    fn nothing(&mut self);
}

/// A number of either kind.
pub(crate) enum Number {
    Integer(u64),
    Double(f64),
}

/// A row that is being written.
pub(crate) struct Line<'a> {
    sink: &'a mut dyn Sink,
}

impl<'a> Line<'a> {
    pub(crate) fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink }
    }

    /// Names columns of one kind.
    pub(crate) fn columns(&mut self, kind: Kind, names: &[&str]) {
        names.iter().for_each(|name| self.sink.column(kind, name));
    }

    /// Writes a text, which may be untrusted.
    pub(crate) fn text(&mut self, text: &str) {
        self.sink.text(text);
    }

    /// Writes a number.
    pub(crate) fn number(&mut self, number: impl Into<Number>) {
        match number.into() {
            Number::Integer(number) => self.sink.integer(number),
            Number::Double(number) => self.sink.double(number),
        }
    }

    /// Writes a cell without a value.
    pub(crate) fn nothing(&mut self) {
        self.sink.nothing();
    }

    /// Writes a text, or a cell without a value.
    pub(crate) fn maybe_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.nothing(),
        }
    }

    /// Writes a number, or a cell without a value.
    pub(crate) fn maybe_number(&mut self, number: Option<impl Into<Number>>) {
        match number {
            Some(number) => self.number(number),
            None => self.nothing(),
        }
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<&u64> for Number {
    fn from(number: &u64) -> Self {
        Self::Integer(*number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Integer(number as u64)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}
